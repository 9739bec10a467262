package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/types"
)

// refused checks the class, the exit code, and that the value is named.
func refused(t *testing.T, err error, named string) {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	if !errors.As(err, new(types.BadRequestError)) {
		t.Errorf("%v is not of class BadRequest", err)
	}
	if got := exitCode(err); got != codeUsage {
		t.Errorf("exit code %d, want %d", got, codeUsage)
	}
	if !strings.Contains(err.Error(), named) {
		t.Errorf("%q does not name %q", err, named)
	}
}

func containerRequest(t *testing.T, id string, args []string) (api.ContainerCreate, error) {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f := AddContainerFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f.Request(id)
}

func TestContainerFlags(t *testing.T) {
	got, err := containerRequest(t, "c1", []string{
		"--network", "web:ip=10.0.0.9,alias=a,alias=b", "--network", "db", "-p", "8080:80", "-p", "[::1]:53:53/udp",
		"--hostname", "h", "--dns", "9.9.9.9", "--dns", "fd00::1", "--dns-search", "example.com", "--dns-option", "ndots:1",
		"--add-host", "x:10.1.1.1", "--add-host", "y:fd00::2", "--add-host", "z:[fd00::3]", "--netns", "/run/netns/a",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := api.ContainerCreate{
		ID:       "c1",
		Networks: []api.Attachment{{Network: "web", IPv4: "10.0.0.9", Aliases: []string{"a", "b"}}, {Network: "db"}},
		Publish:  []api.Publish{{HostPort: 8080, Port: 80}, {HostIP: "::1", HostPort: 53, Port: 53, Protocol: "udp"}},
		Hostname: "h", DNS: []string{"9.9.9.9", "fd00::1"}, DNSSearch: []string{"example.com"}, DNSOptions: []string{"ndots:1"},
		ExtraHosts: []api.ExtraHost{{Name: "x", Address: "10.1.1.1"}, {Name: "y", Address: "fd00::2"}, {Name: "z", Address: "fd00::3"}},
		Netns:      "/run/netns/a",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		name, id string
		args     []string
		named    string
	}{
		{"bad name", "c/1", nil, `"c/1"`},
		{"no name", "", nil, `""`},
		{"port 0", "c1", []string{"-p", "0"}, `"0"`},
		{"port 65536", "c1", []string{"-p", "80:65536"}, `"65536"`},
		{"reversed range", "c1", []string{"-p", "90-80:90-80"}, "90-80"},
		{"ranges that do not fit", "c1", []string{"-p", "80-81:80-82"}, "3 ports"},
		{"unknown protocol", "c1", []string{"-p", "80/gre"}, `"gre"`},
		{"IPv6 for IPv4", "c1", []string{"--network", "web:ip=fd00::1"}, `"fd00::1"`},
		{"multicast MAC", "c1", []string{"--network", "web:mac=01:00:5e:00:00:01"}, "01:00:5e:00:00:01"},
		{"malformed MAC", "c1", []string{"--network", "web:mac=zz"}, `"zz"`},
		{"host with another", "c1", []string{"--network", "host", "--network", "web"}, "host"},
		{"ports on none", "c1", []string{"--network", "none", "-p", "80"}, "none"},
		{"host without an address", "c1", []string{"--add-host", "x"}, `"x"`},
		{"host with an empty address", "c1", []string{"--add-host", "x:"}, `"x:"`},
		{"host with a bad address", "c1", []string{"--add-host", "x:y"}, `"y"`},
		{"name server", "c1", []string{"--dns", "one"}, `"one"`},
		{"search domain", "c1", []string{"--dns-search", "a b"}, `"a b"`},
		{"host name", "c1", []string{"--hostname", "a b"}, `"a b"`},
		{"relative namespace", "c1", []string{"--netns", "a"}, `"a"`},
	} {
		t.Run("bad, "+tt.name, func(t *testing.T) {
			_, err := containerRequest(t, tt.id, tt.args)
			refused(t, err, tt.named)
		})
	}
}

func TestNetworkFlags(t *testing.T) {
	f := networkFlags{
		driver: "bridge", ipv6: true, ipamDriver: "default", ipamOptions: []string{"a=b"}, options: []string{"k=v=w", "flag"},
		subnets: []string{"10.1.0.0/16", "fd00:1::/64"}, gateways: []string{"fd00:1::9", "10.1.0.9"},
		ranges: []string{"10.1.4.0/24"}, aux: []string{"dns=10.1.0.2", "dns=fd00:1::2"}, label: []string{"l=1"},
	}
	got, err := f.request("web")
	if err != nil {
		t.Fatal(err)
	}
	want := api.NetworkCreate{
		Name: "web", Driver: "bridge", IPv6: true, IPAM: api.IPAM{Driver: "default", Options: map[string]string{"a": "b"}},
		Options: map[string]string{"k": "v=w", "flag": ""}, Labels: map[string]string{"l": "1"},
		Subnets: []api.Subnet{
			{Subnet: "10.1.0.0/16", Gateway: "10.1.0.9", IPRange: "10.1.4.0/24", Aux: map[string]string{"dns": "10.1.0.2"}},
			{Subnet: "fd00:1::/64", Gateway: "fd00:1::9", Aux: map[string]string{"dns": "fd00:1::2"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	one := []string{"10.1.0.0/16"}
	for _, tt := range []struct {
		name  string
		f     networkFlags
		named string
	}{
		{"malformed subnet", networkFlags{subnets: []string{"10.1"}}, `"10.1"`},
		{"host bits", networkFlags{subnets: []string{"10.1.0.1/16"}}, "10.1.0.0/16"},
		{"gateway without a subnet", networkFlags{gateways: []string{"10.1.0.1"}}, "10.1.0.1"},
		{"gateway outside", networkFlags{subnets: one, gateways: []string{"10.2.0.1"}}, "10.2.0.1"},
		{"gateway of the other family", networkFlags{subnets: one, gateways: []string{"fd00::1"}}, "fd00::1"},
		{"gateway malformed", networkFlags{subnets: one, gateways: []string{"x"}}, `"x"`},
		{"gateway is the subnet", networkFlags{subnets: one, gateways: []string{"10.1.0.0"}}, "10.1.0.0"},
		{"gateway is the broadcast address", networkFlags{subnets: one, gateways: []string{"10.1.255.255"}}, "10.1.255.255"},
		{"two gateways", networkFlags{subnets: one, gateways: []string{"10.1.0.1", "10.1.0.2"}}, "10.1.0.2"},
		{"range malformed", networkFlags{subnets: one, ranges: []string{"x"}}, `"x"`},
		{"range outside", networkFlags{subnets: one, ranges: []string{"10.2.0.0/24"}}, "10.2.0.0/24"},
		{"range larger", networkFlags{subnets: one, ranges: []string{"10.1.0.0/8"}}, "10.1.0.0/8"},
		{"two ranges", networkFlags{subnets: one, ranges: []string{"10.1.1.0/24", "10.1.2.0/24"}}, "10.1.2.0/24"},
		{"auxiliary address without a name", networkFlags{subnets: one, aux: []string{"10.1.0.2"}}, `"10.1.0.2"`},
		{"auxiliary address malformed", networkFlags{subnets: one, aux: []string{"a=b"}}, `"b"`},
		{"auxiliary address outside", networkFlags{subnets: one, aux: []string{"a=10.2.0.1"}}, "10.2.0.1"},
		{"auxiliary address twice", networkFlags{subnets: one, aux: []string{"a=10.1.0.2", "a=10.1.0.3"}}, "a"},
		{"option without a key", networkFlags{options: []string{"=v"}}, `"=v"`},
		{"option twice", networkFlags{options: []string{"k=v", "k=w"}}, "k"},
		{"unknown bridge option", networkFlags{options: []string{"com.docker.network.bridge.nam=x"}}, "com.docker.network.bridge.nam"},
		{"label without a key", networkFlags{label: []string{"="}}, `"="`},
	} {
		t.Run("bad, "+tt.name, func(t *testing.T) {
			_, err := tt.f.request("web")
			refused(t, err, tt.named)
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, s := range []string{
		"", "[daemon]\nhosts = [\"unix:///a\"]\nkeepalive = false\n", "[daemon]\nhots = 1", "[scopes.global]\nx = 1", "a.b.c = 1", "[[daemon]]", "\"a=\" = 1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parseConfig("dnet.toml", data)
		if err == nil {
			if file == nil {
				t.Error("neither a configuration nor an error")
			}
			return
		}
		if exitCode(err) != codeUsage || !strings.Contains(err.Error(), "dnet.toml") {
			t.Errorf("%v", err)
		}
	})
}

// Whatever the flags of a container and a network say, the answer is a request
// that passes its own check, or an error for the usage that can be shown.
func FuzzRequests(f *testing.F) {
	f.Add("web:ip=10.0.0.2,alias=a", "127.0.0.1:8080-8081:80-81/udp", "db:[fd00::1]", "a=b=c", "10.0.0.0/24")
	f.Add("", "", "", "", "")
	f.Add("web:", "::", "a:", "=", "::/129")
	f.Add("a:mac=02:00:00:00:00:01,ifname=eth9", "[::1]::80", ":1", "a", "1.2.3.4")
	f.Fuzz(func(t *testing.T, network, publish, host, pair, subnet string) {
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		c := AddContainerFlags(fs)
		if err := fs.Parse([]string{"--network=" + network, "-p=" + publish, "--add-host=" + host}); err != nil {
			t.Fatal(err)
		}
		req, err := c.Request("c1")
		check(t, err, req.Check)
		one := []string{pair}
		n := networkFlags{label: one, options: one, ipamOptions: one, aux: one, subnets: []string{subnet}}
		made, err := n.request("web")
		check(t, err, made.Check)
	})
}

func check(t *testing.T, err error, again func() error) {
	t.Helper()
	if err == nil {
		err = again()
		if err != nil {
			t.Fatalf("a request that was made is refused: %v", err)
		}
		return
	}
	if !errors.As(err, new(types.BadRequestError)) && exitCode(err) != codeUsage || err.Error() == "" {
		t.Fatalf("error %T %v", err, err)
	}
}
