package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/types"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "A9", "0", "a_b.c-d", strings.Repeat("a", 63)} {
		if err := api.CheckName("network", name); err != nil {
			t.Errorf("%q is refused: %v", name, err)
		}
	}
	for _, name := range []string{"", "-a", ".a", "_a", "a b", "a/b", "a:b", "ä", "a\n", "a\x00", strings.Repeat("a", 64)} {
		t.Run(fmt.Sprintf("bad, %q", name), func(t *testing.T) {
			refused(t, api.CheckName("network", name), fmt.Sprintf("%q", name))
		})
	}
}

func TestNetworkCheck(t *testing.T) {
	subnet := func(s api.Subnet) api.NetworkCreate { return api.NetworkCreate{Name: "web", Subnets: []api.Subnet{s}} }
	for _, tt := range []struct {
		name  string
		req   api.NetworkCreate
		named string // empty: accepted
	}{
		{"ok, nothing but a name", api.NetworkCreate{Name: "web"}, ""},
		{"ok, everything", subnet(api.Subnet{
			Subnet: "10.1.0.0/16", Gateway: "10.1.0.1", IPRange: "10.1.5.0/24", Aux: map[string]string{"dns": "10.1.0.2"},
		}), ""},
		{"ok, both addresses of a /31", subnet(api.Subnet{Subnet: "10.1.0.0/31", Gateway: "10.1.0.0"}), ""},
		{"ok, the last IPv6 address", subnet(api.Subnet{Subnet: "fd00::/64", Gateway: "fd00::ffff:ffff:ffff:ffff"}), ""},
		{"ok, the host network of its driver", api.NetworkCreate{Name: "host", Driver: "host"}, ""},
		{"ok, options of others", api.NetworkCreate{Name: "web", Options: map[string]string{
			"mine": "1", "com.docker.network.driver.mtu": "1400", "com.docker.network.bridge.enable_icc": "false",
		}}, ""},
		{"bad, name", api.NetworkCreate{Name: "a b"}, `"a b"`},
		{"bad, name that is kept", api.NetworkCreate{Name: "none", Driver: "bridge"}, "none"},
		{"bad, driver of one network", api.NetworkCreate{Name: "web", Driver: "null"}, "none"},
		{"bad, not a CIDR", subnet(api.Subnet{Subnet: "10.1.0.0"}), `"10.1.0.0"`},
		{"bad, length of prefix", subnet(api.Subnet{Subnet: "10.1.0.0/33"}), `"10.1.0.0/33"`},
		{"bad, host bits", subnet(api.Subnet{Subnet: "10.1.0.5/16"}), "10.1.0.5/16"},
		{"bad, the whole address space", subnet(api.Subnet{Subnet: "0.0.0.0/0"}), "0.0.0.0/0"},
		{"bad, multicast", subnet(api.Subnet{Subnet: "224.1.0.0/16"}), "224.1.0.0/16"},
		{"bad, IPv4 inside IPv6", subnet(api.Subnet{Subnet: "::ffff:10.0.0.0/120"}), "::ffff:10.0.0.0/120"},
		{"bad, gateway is no address", subnet(api.Subnet{Subnet: "10.1.0.0/16", Gateway: "one"}), `"one"`},
		{"bad, gateway of the other family", subnet(api.Subnet{Subnet: "10.1.0.0/16", Gateway: "fd00::1"}), "fd00::1"},
		{"bad, gateway outside", subnet(api.Subnet{Subnet: "10.1.0.0/16", Gateway: "10.2.0.1"}), "10.2.0.1"},
		{"bad, gateway is the subnet", subnet(api.Subnet{Subnet: "10.1.0.0/16", Gateway: "10.1.0.0"}), "itself"},
		{"bad, gateway is the broadcast address", subnet(api.Subnet{Subnet: "10.1.0.0/16", Gateway: "10.1.255.255"}), "broadcast"},
		{"bad, range", subnet(api.Subnet{Subnet: "10.1.0.0/16", IPRange: "x"}), `"x"`},
		{"bad, range outside", subnet(api.Subnet{Subnet: "10.1.0.0/16", IPRange: "10.2.0.0/24"}), "10.2.0.0/24"},
		{"bad, range larger than the subnet", subnet(api.Subnet{Subnet: "10.1.0.0/16", IPRange: "10.1.0.0/8"}), "10.1.0.0/8"},
		{"bad, auxiliary address", subnet(api.Subnet{Subnet: "10.1.0.0/16", Aux: map[string]string{"a": "10.2.0.1"}}), "10.2.0.1"},
		{
			"bad, auxiliary address twice",
			subnet(api.Subnet{Subnet: "10.1.0.0/16", Aux: map[string]string{"a": "10.1.0.9", "b": "10.1.0.9"}}), "b=10.1.0.9 is a's",
		},
		{
			"bad, auxiliary address is the gateway",
			subnet(api.Subnet{Subnet: "10.1.0.0/16", Gateway: "10.1.0.1", Aux: map[string]string{"a": "10.1.0.1"}}), "gateway",
		},
		{
			"bad, subnets that overlap",
			api.NetworkCreate{Name: "web", Subnets: []api.Subnet{{Subnet: "10.1.0.0/16"}, {Subnet: "10.1.2.0/24"}}},
			"10.1.2.0/24",
		},
		{
			"a label that is a field",
			api.NetworkCreate{Name: "web", Options: map[string]string{"com.docker.network.internal": "true"}},
			"internal (--internal)",
		},
		{
			"bad, unknown option of the bridge driver",
			api.NetworkCreate{Name: "web", Options: map[string]string{"com.docker.network.bridge.enable_ic": "false"}},
			"com.docker.network.bridge.enable_ic",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.req.Check()
			if tt.named != "" {
				refused(t, err, tt.named)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestContainerCheck(t *testing.T) {
	for _, tt := range []struct {
		name  string
		req   api.ContainerCreate
		named string // empty: accepted
	}{
		{"ok, nothing but a name", api.ContainerCreate{ID: "c1"}, ""},
		{"ok, much", api.ContainerCreate{
			ID: "c1", Hostname: "h_1.example.", DNS: []string{"1.1.1.1", "fd00::1"}, DNSSearch: []string{"example.com", "."},
			DNSOptions: []string{"ndots:2"}, ExtraHosts: []api.ExtraHost{{Name: "db", Address: "fd00::2"}}, Netns: "/run/netns/a",
		}, ""},
		{"bad, name", api.ContainerCreate{ID: "../c1"}, `"../c1"`},
		{"bad, host name", api.ContainerCreate{ID: "c1", Hostname: "a\nb"}, `"a\nb"`},
		{"bad, host name with a blank", api.ContainerCreate{ID: "c1", Hostname: "a b"}, `"a b"`},
		{"bad, name server", api.ContainerCreate{ID: "c1", DNS: []string{"dns"}}, `"dns"`},
		{"bad, search domain", api.ContainerCreate{ID: "c1", DNSSearch: []string{"a..b"}}, `"a..b"`},
		{"bad, resolver option", api.ContainerCreate{ID: "c1", DNSOptions: []string{"a\nb"}}, `"a\nb"`},
		{"bad, host without an address", api.ContainerCreate{ID: "c1", ExtraHosts: []api.ExtraHost{{Name: "db"}}}, "db"},
		{"bad, address of a host", api.ContainerCreate{ID: "c1", ExtraHosts: []api.ExtraHost{{Name: "db", Address: "x"}}}, `"x"`},
		{"bad, namespace path", api.ContainerCreate{ID: "c1", Netns: "netns/a"}, `"netns/a"`},
		{"bad, owner", api.ContainerCreate{ID: "c1", OwnerPID: -1}, "-1"},
		{
			"bad, host network with another",
			api.ContainerCreate{ID: "c1", Networks: []api.Attachment{{Network: "host"}, {Network: "web"}}},
			"host",
		},
		{
			"bad, another with no network",
			api.ContainerCreate{ID: "c1", Networks: []api.Attachment{{Network: "web"}, {Network: "none"}}},
			"none",
		},
		{
			"bad, host network in a namespace",
			api.ContainerCreate{ID: "c1", Networks: []api.Attachment{{Network: "host"}}, Netns: "/run/netns/a"},
			"/run/netns/a",
		},
		{"bad, port", api.ContainerCreate{ID: "c1", Publish: []api.Publish{{HostPort: 80}}}, "port is 0"},
		{"bad, end without a start", api.ContainerCreate{ID: "c1", Publish: []api.Publish{{Port: 80, HostPortEnd: 9}}}, "port is 0"},
		{"bad, protocol", api.ContainerCreate{ID: "c1", Publish: []api.Publish{{Port: 80, Protocol: "gre"}}}, `"gre"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.req.Check()
			if tt.named != "" {
				refused(t, err, tt.named)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	cause := types.NotFoundErrorf("no file")
	for _, tt := range []struct {
		name   string
		err    error
		code   string
		status int
	}{
		{"bad request", types.BadRequestErrorf("x"), "bad_request", http.StatusBadRequest},
		{"not found", types.NotFoundErrorf("x"), "not_found", http.StatusNotFound},
		{"forbidden", types.ForbiddenErrorf("x"), "conflict", http.StatusForbidden},
		{"timeout", types.TimeoutErrorf("x"), "timeout", http.StatusRequestTimeout},
		{"context", fmt.Errorf("wait: %w", context.DeadlineExceeded), "timeout", http.StatusRequestTimeout},
		{"not implemented", types.NotImplementedErrorf("x"), "not_implemented", http.StatusNotImplemented},
		{"no service", types.NoServiceErrorf("x"), "unavailable", http.StatusServiceUnavailable},
		{"retry", types.RetryErrorf("x"), "unavailable", http.StatusServiceUnavailable},
		{"internal", types.InternalErrorf("x"), "internal", http.StatusInternalServerError},
		{"no class", errors.New("x"), "internal", http.StatusInternalServerError},
		{"wrapped", fmt.Errorf("a: %w", types.ForbiddenErrorf("x")), "conflict", http.StatusForbidden},
		{"the outer class counts", types.InternalErrorf("a: %w", cause), "internal", http.StatusInternalServerError},
		{"the first of joined ones counts", errors.Join(types.ForbiddenErrorf("x"), types.BadRequestErrorf("y")), "conflict", http.StatusForbidden},
		{"joined, the first without a class", errors.Join(errors.New("x"), cause), "not_found", http.StatusNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := api.Code(tt.err); got != tt.code {
				t.Errorf("code %s, want %s", got, tt.code)
			}
			if got := api.Status(tt.err); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
			// Over the wire and back it is the same.
			data, err := json.Marshal(api.Encode(tt.err))
			if err != nil {
				t.Fatal(err)
			}
			var e api.Error
			if err := json.Unmarshal(data, &e); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tt.err.Error(), tt.code}, []string{e.Err().Error(), api.Code(e.Err())}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseHost(t *testing.T) {
	for _, tt := range []struct{ in, network, address string }{
		{"unix:///run/libnetwork/dnet.sock", "unix", "/run/libnetwork/dnet.sock"},
		{"tcp://127.0.0.1:2385", "tcp", "127.0.0.1:2385"},
		{"tcp://[::1]:2385", "tcp", "[::1]:2385"},
	} {
		network, address, err := api.ParseHost(tt.in)
		if err != nil || network != tt.network || address != tt.address {
			t.Errorf("%s: got %s %s, %v", tt.in, network, address, err)
		}
	}
	for _, in := range []string{
		"", "/run/dnet.sock", "unix://", "unix://run/dnet.sock", "unix:///" + strings.Repeat("a", 107), "tcp://", "tcp://127.0.0.1",
		"tcp://:2385", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:http", "http://127.0.0.1:80", "fd://",
	} {
		t.Run("bad, "+in, func(t *testing.T) {
			_, _, err := api.ParseHost(in)
			refused(t, err, fmt.Sprintf("%q", in))
		})
	}
}
