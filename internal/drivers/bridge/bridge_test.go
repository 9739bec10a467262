package bridge_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

const (
	group = 7
	netID = "0123456789abcdef"
)

var d = bridge.Driver{Group: group}

func noLinks(string) (model.HostLink, bool) { return model.HostLink{}, false }

func withLink(l model.HostLink) func(string) (model.HostLink, bool) {
	return func(name string) (model.HostLink, bool) { return l, name == l.Name }
}

func pool(prefix, gateway string) model.Pool {
	p := netip.MustParsePrefix(prefix)
	return model.Pool{Prefix: p, Gateway: netip.PrefixFrom(netip.MustParseAddr(gateway), p.Bits())}
}

func network(opts map[string]string) *model.Network {
	return &model.Network{ID: netID, Name: "web", Options: opts}
}

func TestPrepare(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts map[string]string
		link func(string) (model.HostLink, bool)
		want *model.BridgeNetwork
		bad  func(error) bool
		text string

		internal bool
	}{
		{
			name: "ok, defaults",
			want: &model.BridgeNetwork{Link: "br-0123456789ab", ICC: true, Masquerade: true},
		},
		{
			name: "ok, everything set",
			opts: map[string]string{
				"com.docker.network.bridge.name": "web0", "com.docker.network.bridge.enable_icc": "false",
				"com.docker.network.bridge.enable_ip_masquerade": "0", "com.docker.network.driver.mtu": "1400",
				"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1", "unknown": "ignored",
			},
			want: &model.BridgeNetwork{Link: "web0", MTU: 1400, HostIP: netip.MustParseAddr("127.0.0.1")},
		},
		{
			name: "ok, modes and addresses",
			opts: map[string]string{
				"com.docker.network.bridge.gateway_mode_ipv4": "routed", "com.docker.network.bridge.gateway_mode_ipv6": "nat-unprotected",
				"com.docker.network.host_ipv4": "192.0.2.1", "com.docker.network.host_ipv6": "2001:db8::1",
				"com.docker.network.bridge.host_binding_ipv4": "0.0.0.0", "com.docker.network.bridge.host_binding_ipv6": "::1",
				"com.docker.network.bridge.inhibit_ipv4": "1", "com.docker.network.bridge.trusted_host_interfaces": "eth0:wg0",
				"com.docker.network.bridge.accept_fwmark": "0x10/0xf0", "com.docker.network.container_iface_prefix": "lan",
			},
			want: &model.BridgeNetwork{
				Link: "br-0123456789ab", ICC: true, Masquerade: true, Mode4: model.ModeRouted, Mode6: model.ModeNATUnprotected,
				Source4: netip.MustParseAddr("192.0.2.1"), Source6: netip.MustParseAddr("2001:db8::1"), HostIP6: netip.IPv6Loopback(),
				InhibitIPv4: true, Trusted: []string{"eth0", "wg0"}, TrustedMark: model.Mark{Value: 0x10, Mask: 0xf0}, IfPrefix: "lan",
			},
		},
		{
			name: "ok, a mark without a mask is all of it",
			opts: map[string]string{"com.docker.network.bridge.accept_fwmark": "7"},
			want: &model.BridgeNetwork{
				Link: "br-0123456789ab", ICC: true, Masquerade: true, TrustedMark: model.Mark{Value: 7, Mask: 0xffffffff},
			},
		},
		{
			name: "bad, an isolated network on a foreign bridge",
			opts: map[string]string{
				"com.docker.network.bridge.name": "virbr0", "com.docker.network.bridge.gateway_mode_ipv4": "isolated",
			},
			internal: true,
			link:     withLink(model.HostLink{Name: "virbr0", Kind: "bridge", Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}}),
			bad:      isForbidden, text: "virbr0",
		},
		{
			name: "bad, boolean",
			opts: map[string]string{"com.docker.network.bridge.enable_icc": "perhaps"},
			bad:  isBadRequest, text: `com.docker.network.bridge.enable_icc="perhaps"`,
		},
		{
			name: "bad, MTU below zero", opts: map[string]string{"com.docker.network.driver.mtu": "-1"},
			bad: isBadRequest, text: `"-1"`,
		},
		{
			name: "bad, MTU is a word", opts: map[string]string{"com.docker.network.driver.mtu": "big"},
			bad: isBadRequest, text: `"big"`,
		},
		{
			name: "bad, the mark of packets without one", opts: map[string]string{"com.docker.network.bridge.accept_fwmark": "0"},
			bad: isBadRequest, text: "without a mark",
		},
		{
			name: "bad, the mark of packets without one, in a mask", opts: map[string]string{"com.docker.network.bridge.accept_fwmark": "0/0xff"},
			bad: isBadRequest, text: `"0/0xff"`,
		},
		{
			name: "bad, the mark of what is accepted", opts: map[string]string{"com.docker.network.bridge.accept_fwmark": "0x2000001/0xffffffff"},
			bad: isBadRequest, text: "0x2000000",
		},
		{
			name: "bad, a mark that every packet has", opts: map[string]string{"com.docker.network.bridge.accept_fwmark": "0x0/0"},
			bad: isBadRequest, text: `"0x0/0"`,
		},
		{
			name: "bad, a mark outside of its mask", opts: map[string]string{"com.docker.network.bridge.accept_fwmark": "0x3/0x1"},
			bad: isBadRequest, text: `"0x3/0x1"`,
		},
		{
			name: "bad, host address", opts: map[string]string{"com.docker.network.bridge.host_binding_ipv4": "1.2.3"},
			bad: isBadRequest, text: `"1.2.3"`,
		},
		{
			name: "bad, name too long", opts: map[string]string{"com.docker.network.bridge.name": "sixteen-letters!"},
			bad: isBadRequest, text: "15 bytes",
		},
		{
			name: "bad, name is a path", opts: map[string]string{"com.docker.network.bridge.name": "a/b"},
			bad: isBadRequest, text: `"a/b"`,
		},
		{
			name: "bad, the name is a link of another kind",
			opts: map[string]string{"com.docker.network.bridge.name": "eth7"},
			link: withLink(model.HostLink{Name: "eth7", Kind: "veth"}),
			bad:  isForbidden, text: "eth7",
		},
		{
			name: "bad, a default bridge of another name that does not exist",
			opts: map[string]string{
				"com.docker.network.bridge.name": "mine", "com.docker.network.bridge.default_bridge": "true",
			},
			bad: isForbidden, text: "mine",
		},
		{
			name: "bad, a foreign bridge without an address",
			opts: map[string]string{"com.docker.network.bridge.name": "virbr0"},
			link: withLink(model.HostLink{Name: "virbr0", Kind: "bridge"}),
			bad:  isInternal, text: "no IPv4 address",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := model.Env{Link: tt.link}
			if env.Link == nil {
				env.Link = noLinks
			}
			n := network(tt.opts)
			n.Internal = tt.internal
			err := d.Prepare(n, env)
			if tt.bad == nil {
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, n.Bridge, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
				return
			}
			if !tt.bad(err) || !strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), "web") {
				t.Errorf("error %T %v, want its class and %q and the network's name", err, err, tt.text)
			}
		})
	}
}

func TestAdopt(t *testing.T) {
	host := model.HostLink{Name: "virbr0", Kind: "bridge", Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}}
	env := model.Env{Link: withLink(host)}
	opts := map[string]string{"com.docker.network.bridge.name": "virbr0"}

	n := network(opts)
	if err := d.Prepare(n, env); err != nil {
		t.Fatal(err)
	}
	want := []model.IPAMConf{{Pool: "10.9.0.0/24", Gateway: "10.9.0.1"}}
	if diff := cmp.Diff(want, n.IPAM.Conf4); diff != "" || !n.Bridge.Adopted {
		t.Errorf("adopted %v (-want +got)\n%s", n.Bridge.Adopted, diff)
	}
	n.IPAM.Pools4 = []model.Pool{pool("10.9.0.0/24", "10.9.0.1")}
	if err := d.Plan(n, env); err != nil {
		t.Errorf("the address that it has: %v", err)
	}

	n = network(opts)
	n.IPAM.Conf4 = []model.IPAMConf{{Pool: "10.8.0.0/24"}}
	if err := d.Prepare(n, env); err != nil {
		t.Fatal(err)
	}
	n.IPAM.Pools4 = []model.Pool{pool("10.8.0.0/24", "10.8.0.1")}
	if err := d.Plan(n, env); !isBadRequest(err) {
		t.Errorf("another address: %v, want BadRequest", err)
	}
}

func TestPlan(t *testing.T) {
	other := &model.Network{
		ID: "other", Name: "old", Bridge: &model.BridgeNetwork{Link: "br-old"},
		IPAM: model.IPAM{
			Pools4: []model.Pool{pool("10.1.0.0/16", "10.1.0.1")},
			Pools6: []model.Pool{pool("fd00:1::/64", "fd00:1::1")},
		},
	}
	for _, tt := range []struct {
		name   string
		link   string
		v4, v6 []model.Pool
		bad    func(error) bool
	}{
		{name: "ok, both families", v4: []model.Pool{pool("10.2.0.0/24", "10.2.0.1")}, v6: []model.Pool{pool("fd00:2::/64", "fd00:2::1")}},
		{name: "ok, point to point", v4: []model.Pool{pool("10.2.0.0/31", "10.2.0.0")}},
		{name: "bad, no subnet", bad: isBadRequest},
		{name: "bad, the null address manager", v4: []model.Pool{pool("0.0.0.0/0", "0.0.0.0")}, bad: isBadRequest},
		{name: "bad, no room", v4: []model.Pool{pool("10.2.0.9/32", "10.2.0.9")}, bad: isBadRequest},
		{name: "bad, no room in IPv6", v6: []model.Pool{pool("fd00:2::/127", "fd00:2::1")}, bad: isBadRequest},
		{name: "bad, link-local addresses", v6: []model.Pool{pool("fe80::/64", "fe80::1")}, bad: isBadRequest},
		{name: "bad, gateway outside", v4: []model.Pool{pool("10.2.0.0/24", "10.3.0.1")}, bad: isBadRequest},
		{
			name: "bad, two subnets of a family",
			v4:   []model.Pool{pool("10.2.0.0/24", "10.2.0.1"), pool("10.3.0.0/24", "10.3.0.1")}, bad: isForbidden,
		},
		{name: "bad, inside another subnet", v4: []model.Pool{pool("10.1.7.0/24", "10.1.7.1")}, bad: isForbidden},
		{name: "bad, around another subnet", v4: []model.Pool{pool("10.0.0.0/8", "10.0.0.1")}, bad: isForbidden},
		{
			name: "bad, IPv6 overlap",
			v4:   []model.Pool{pool("10.2.0.0/24", "10.2.0.1")}, v6: []model.Pool{pool("fd00:1::/48", "fd00:1::1")}, bad: isForbidden,
		},
		{name: "bad, same bridge", link: "br-old", v4: []model.Pool{pool("10.2.0.0/24", "10.2.0.1")}, bad: isForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := network(map[string]string{})
			if tt.link != "" {
				n.Options["com.docker.network.bridge.name"] = tt.link
			}
			env := model.Env{Link: noLinks, Others: []*model.Network{other, n}}
			if err := d.Prepare(n, env); err != nil {
				t.Fatal(err)
			}
			n.IPAM.Pools4, n.IPAM.Pools6 = tt.v4, tt.v6
			err := d.Plan(n, env)
			if tt.bad == nil && err != nil || tt.bad != nil && !tt.bad(err) {
				t.Errorf("error %T %v", err, err)
			}
		})
	}
}

// TestTrustedTwice wants each trusted link once: an element that is wanted twice is
// there once, so the rules would never be as they should.
func TestTrustedTwice(t *testing.T) {
	n := network(map[string]string{"com.docker.network.bridge.trusted_host_interfaces": "wg0:eth0:wg0"})
	if err := d.Prepare(n, model.Env{Link: noLinks}); err != nil {
		t.Fatal(err)
	}
	n.IPAM.Pools4 = []model.Pool{pool("10.2.0.0/24", "10.2.0.1")}
	fw, ok := d.Network(n)[0].(model.FirewallNetwork)
	if !ok {
		t.Fatalf("the first object is a %T", d.Network(n)[0])
	}
	if diff := cmp.Diff([]string{"eth0", "wg0"}, fw.V4.Trusted); diff != "" {
		t.Errorf("trusted links (-want +got):\n%s", diff)
	}
}

func TestSize(t *testing.T) {
	for _, tt := range []struct {
		name, given    string
		egress         int
		internal, ipv6 bool
		mtu            int
	}{
		{name: "no default route"},
		{name: "the kernel's default", egress: 1500},
		{name: "that of the egress", egress: 1420, mtu: 1420},
		{name: "a larger one too", egress: 9000, mtu: 9000},
		{name: "a loopback is no way out", egress: 65536},
		{name: "one too small for IPv6", egress: 1000, ipv6: true},
		{name: "internal networks lead nowhere", egress: 1420, internal: true},
		{name: "given and equal", given: "1420", egress: 1420, mtu: 1420},
		{name: "given and larger", given: "1500", egress: 1420, mtu: 1500},
		{name: "given and smaller", given: "1300", egress: 1500, mtu: 1300},
		{name: "given without a way out", given: "1300", mtu: 1300},
	} {
		t.Run("25 "+tt.name, func(t *testing.T) {
			n := network(map[string]string{})
			if tt.given != "" {
				n.Options["com.docker.network.driver.mtu"] = tt.given
			}
			n.Internal, n.IPv6 = tt.internal, tt.ipv6
			if err := d.Prepare(n, model.Env{Link: noLinks, EgressMTU: func() int { return tt.egress }}); err != nil {
				t.Fatal(err)
			}
			if n.Bridge.MTU != tt.mtu {
				t.Errorf("MTU %d, want %d", n.Bridge.MTU, tt.mtu)
			}
		})
	}
}

func TestAddressesOfTheBridge(t *testing.T) {
	for _, tt := range []struct {
		name   string
		opts   map[string]string
		v4, v6 bool
	}{
		{name: "both", v4: true, v6: true},
		{name: "inhibited", opts: map[string]string{"com.docker.network.bridge.inhibit_ipv4": "true"}, v6: true},
		{name: "isolated in IPv4", opts: map[string]string{"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}, v6: true},
		{name: "isolated in IPv6", opts: map[string]string{"com.docker.network.bridge.gateway_mode_ipv6": "isolated"}, v4: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := network(tt.opts)
			n.IPv6, n.Internal = true, true
			env := model.Env{Link: noLinks}
			if err := d.Prepare(n, env); err != nil {
				t.Fatal(err)
			}
			n.IPAM.Pools4, n.IPAM.Pools6 = []model.Pool{pool("10.2.0.0/24", "10.2.0.1")}, []model.Pool{pool("fd00:2::/64", "fd00:2::1")}
			if err := d.Plan(n, env); err != nil {
				t.Fatal(err)
			}
			for _, o := range d.Network(n) {
				b, ok := o.(model.Bridge)
				if !ok {
					continue
				}
				var v4, v6 bool
				for _, a := range b.Addrs {
					v4, v6 = v4 || a.Addr().Is4(), v6 || a.Addr().Is6()
				}
				if v4 != tt.v4 || v6 != tt.v6 || b.IPv6 != tt.v6 {
					t.Errorf("the bridge has %v, IPv6 %t", b.Addrs, b.IPv6)
				}
			}
		})
	}
}

func TestGatewayFromAux(t *testing.T) {
	n := network(nil)
	if err := d.Prepare(n, model.Env{Link: noLinks}); err != nil {
		t.Fatal(err)
	}
	p := pool("10.2.0.0/24", "10.2.0.1")
	p.Aux = map[string]netip.Prefix{"DefaultGatewayIPv4": netip.MustParsePrefix("10.2.0.254/24")}
	n.IPAM.Pools4 = []model.Pool{p}
	if err := d.Plan(n, model.Env{Link: noLinks}); err != nil {
		t.Fatal(err)
	}
	if gw := d.Gateway(n, nil, false); gw != netip.MustParseAddr("10.2.0.254") {
		t.Errorf("gateway %s, want the auxiliary one", gw)
	}
	n.Internal = true
	if gw := d.Gateway(n, nil, false); gw.IsValid() {
		t.Errorf("an internal network offers the gateway %s", gw)
	}
}

func isBadRequest(err error) bool { return errors.As(err, new(types.BadRequestError)) }
func isForbidden(err error) bool  { return errors.As(err, new(types.ForbiddenError)) }
func isInternal(err error) bool   { return errors.As(err, new(types.InternalError)) }
