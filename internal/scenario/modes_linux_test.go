package scenario_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

const (
	labelMode4    = "com.docker.network.bridge.gateway_mode_ipv4"
	labelMode6    = "com.docker.network.bridge.gateway_mode_ipv6"
	labelInhibit  = "com.docker.network.bridge.inhibit_ipv4"
	labelTrusted  = "com.docker.network.bridge.trusted_host_interfaces"
	labelMark     = "com.docker.network.bridge.accept_fwmark"
	labelBinding6 = "com.docker.network.bridge.host_binding_ipv6"
	labelSource4  = "com.docker.network.host_ipv4"
	labelSource6  = "com.docker.network.host_ipv6"
	labelPrefix   = "com.docker.network.container_iface_prefix"
	labelIPv4     = "com.docker.network.enable_ipv4"
	labelIfName   = "com.docker.network.endpoint.ifname"
	labelSysctls  = "com.docker.network.endpoint.sysctls"
)

func mode(name string) netOption {
	return func(c *netConfig) { c.labels[labelMode4], c.labels[labelMode6] = name, name }
}

// more is a port that containers serve besides port.
const more = 8081

// serveMore makes a container serve one more port.
func (h *host) serveMore(c *container) {
	h.t.Helper()
	s, err := serve(c.ns, c.name, more)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(s.close)
}

// direct are visits of a container at its own addresses.
func direct(who string, from *netns.Namespace, c *container, port uint16, want string) []visit {
	return []visit{
		{who: who, from: from, to: at(c.v4, port), want: want},
		{who: who, from: from, to: at(c.v6, port), want: want},
	}
}

// pings sends an echo request from a namespace, and fails unless it is answered as wanted.
// One that shall be answered is sent again for a while: the kernel answers in all namespaces
// by one socket a processor, and ICMPv6 errors to neighbours that are not there, as forged
// packets provoke them, fill that for 3 s (seen with Linux 6.18).
func pings(from *netns.Namespace, addr string, want bool) error {
	often := []string{"-c", "1", "-W", "1"}
	if want {
		often = []string{"-c", "1", "-i", "0.2", "-w", strconv.Itoa(int(patience / time.Second))}
	}
	_, err := run(slices.Concat([]string{"nsenter", "--net=" + from.Path(), "ping", addr}, often)...)
	switch {
	case want:
		return err
	case err == nil:
		return fmt.Errorf("%s answers a ping", addr)
	}
	return nil
}

// TestGatewayModes asks for each mode who reaches a container's published and
// unpublished ports at its own addresses, from everywhere.
func TestGatewayModes(t *testing.T) {
	onEachBesideDocker(t, "case 31 each mode opens what it says, from everywhere", testGatewayModes)
}

func testGatewayModes(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	plain := h.network(9)
	other := h.container("c3", nil, plain)
	h.serveMore(other)
	for i, tt := range []struct {
		name, mode               string
		published, other, ping   bool // from lan and from another network, directly
		byHost, translated, mine bool // by the host's address; outwards; within
	}{
		{name: "nat: nothing but published ports, at the host's addresses", mode: "nat", byHost: true, translated: true},
		{
			name: "nat-unprotected: every port at the container's own addresses as well", mode: "nat-unprotected",
			published: true, other: true, ping: true, byHost: true, translated: true,
		},
		{
			name: "routed: published ports and ICMP at the container's own addresses, nothing is translated", mode: "routed",
			published: true, ping: true,
		},
	} {
		t.Run("31 "+tt.name, func(t *testing.T) {
			defer h.within(t)()
			n := h.network(i+1, mode(tt.mode)) // those of the other modes stay
			c := h.container("c1", both(nil, 7001, 0), n)
			sibling := h.container("c2", nil, n)
			h.serveMore(c)
			want := func(yes bool) string {
				if yes {
					return "c1"
				}
				return ""
			}
			var list []visit
			for who, from := range map[string]*netns.Namespace{"lan": h.lan, "another network": other.ns} {
				list = append(list, direct(who, from, c, port, want(tt.published))...)
				list = append(list, direct(who, from, c, more, want(tt.other))...)
				list = append(list, direct(who, from, sibling, port, map[bool]string{true: "c2"}[tt.other])...)
			}
			for who, from := range map[string]*netns.Namespace{"host": h.own, "sibling": sibling.ns} {
				list = append(list, direct(who, from, c, port, "c1")...)
				list = append(list, direct(who, from, c, more, "c1")...)
			}
			// A network of another mode is not open because this one is.
			list = append(list, direct("c1", c.ns, other, more, "")...)
			for host, out := range map[string]string{hostV4: lanV4, hostV6: lanV6} {
				seen := host
				if !tt.translated {
					seen = c.v4.String()
					if host == hostV6 {
						seen = c.v6.String()
					}
				}
				list = append(list,
					visit{"c1", c.ns, at(out, port), "lan", seen},
					visit{who: "lan", from: h.lan, to: at(host, 7001), want: want(tt.byHost)},
					visit{who: "host", from: h.own, to: at(host, 7001), want: want(tt.byHost)})
			}
			h.visit(list...)
			for _, addr := range []string{c.v4.String(), c.v6.String()} {
				if err := pings(h.lan, addr, tt.ping); err != nil {
					t.Errorf("lan: %v", err)
				}
				if err := pings(h.own, addr, true); err != nil {
					t.Errorf("the host: %v", err)
				}
			}
			// Once the container is gone nothing of it is open.
			h.remove(c)
			again := h.container("c4", nil, n)
			if again.v4 == c.v4 && tt.mode == "routed" {
				h.visit(direct("lan", h.lan, again, port, "")...)
			}
			h.remove(again)
			h.remove(sibling)
		})
	}
}

// TestGatewayModesDiffer has another mode for each family.
func TestGatewayModesDiffer(t *testing.T) {
	onEachBesideDocker(t, "case 31 each family has its own mode", testGatewayModesDiffer)
}

func testGatewayModesDiffer(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	n := h.network(1, label(labelMode6, "routed"))
	c := h.container("c1", both(nil, 7001, 0), n)
	check := func() {
		t.Helper()
		h.visit(
			visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: "c1"},
			visit{who: "lan", from: h.lan, to: at(c.v4, port)},
			visit{who: "lan", from: h.lan, to: at(hostV6, 7001)},
			visit{who: "lan", from: h.lan, to: at(c.v6, port), want: "c1"},
			visit{"c1", c.ns, at(lanV4, port), "lan", hostV4},
			visit{"c1", c.ns, at(lanV6, port), "lan", c.v6.String()},
		)
	}
	check()
	// A port for one address of the host is none for everybody.
	h.remove(c)
	loop := []types.PortBinding{{Proto: types.TCP, Port: port, HostPort: 7001, HostIP: net.IPv6loopback}}
	c = h.container("c1", publish(loop...), n)
	h.visitBy([]string{"tcp"}, visit{who: "lan", from: h.lan, to: at(c.v6, port)})
	h.remove(c)
	h.restart()
	c = h.container("c1", both(nil, 7001, 0), h.netByName("net1"))
	check()
}

func TestIsolated(t *testing.T) {
	onEachBesideDocker(t, "an isolated network does not reach the host", testIsolated)
}

func testIsolated(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	hostServer, err := serve(h.own, "host", port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hostServer.close)
	n := h.network(1, inside, mode("isolated"))
	c1, c2 := h.container("c1", nil, n), h.container("c2", nil, n)
	list := append(direct("c1", c1.ns, c2, port, "c2"), direct("c2", c2.ns, c1, port, "c1")...)
	list = append(list, direct("lan", h.lan, c1, port, "")...)
	list = append(list, direct("host", h.own, c1, port, "")...)
	h.visit(list...)
	// Link-local addresses come with the first port.
	if err := carries("", "br1"); err != nil {
		t.Fatal(err)
	}
	if out := h.sh("ip", "-o", "addr", "show", "br1"); strings.Contains(out, "inet") {
		t.Errorf("the bridge has an address: %s", out)
	}
	// As a container does that knows the host is behind the bridge.
	for _, r := range [][]string{
		{"route", "add", hostV4 + "/32", "dev", "eth0"},
		{"route", "add", hostV6 + "/128", "dev", "eth0"},
		{"neigh", "add", hostV4, "lladdr", h.macOf("br1"), "dev", "eth0"},
		{"neigh", "add", hostV6, "lladdr", h.macOf("br1"), "dev", "eth0"},
	} {
		h.in(c1.sb.Key(), append([]string{"ip"}, r...)...)
	}
	s, err := newSender(c1.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, mac := range []net.HardwareAddr{broadcastMAC, portMAC, {1, 0x80, 0xc2, 0, 0, 3}} {
		for _, dst := range []string{"255.255.255.255", "224.0.0.1", hostV4} {
			if err := s.send(carried(c1.eps[0].Info().Iface().MacAddress(), mac, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort(at(dst, port)), secret)); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.visit(visit{who: "c1", from: c1.ns, to: at(hostV4, port)}, visit{who: "c1", from: c1.ns, to: at(hostV6, port)})
	if hostServer.has(secret) {
		t.Error("the host has heard a member")
	}
	for _, c := range []*container{c1, c2} {
		h.remove(c)
	}
	h.drop(n)
	_, err = h.tryNetwork(1, mode("isolated"))
	failed(t, err, "BadRequest", "net1", "isolated", "internal")
}

func (h *host) macOf(link string) string {
	h.t.Helper()
	return strings.TrimSpace(h.sh("cat", "/sys/class/net/"+link+"/address"))
}

func TestTrustedInterface(t *testing.T) {
	onEachBesideDocker(t, "case 41 every port is open to a trusted interface, and to no other", testTrustedInterface)
}

func testTrustedInterface(t *testing.T, on backend) {
	h := newHost(t, on.option())
	other := h.anotherMachine("other", 3)
	n := h.network(1, label(labelTrusted, "eth3:nothere"))
	c := h.container("c1", nil, n)
	list := direct("other", other, c, port, "c1")
	h.visit(append(list, direct("lan", h.lan, c, port, "")...)...)
}

func TestTrustedMark(t *testing.T) {
	onEachBesideDocker(t, "case 41 every port is open to packets with the trusted mark, and to no others", testTrustedMark)
}

func testTrustedMark(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1, label(labelMark, "0x8/0xc"))
	c := h.container("c1", nil, n)
	h.sh("nft", "add table inet marks; add chain inet marks pre { type filter hook prerouting priority mangle; }; "+
		fmt.Sprintf("add rule inet marks pre iifname eth0 th dport %d meta mark set 0x18", port))
	t.Cleanup(func() { h.sh("nft", "delete table inet marks") })
	h.serveMore(c)
	list := direct("lan", h.lan, c, port, "c1")
	h.visit(append(list, direct("lan", h.lan, c, more, "")...)...)
}

func TestSourceAddress(t *testing.T) {
	onEachBesideDocker(t, "case 40 packets leave with the source address that is chosen", testSourceAddress)
}

func testSourceAddress(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	for _, a := range []string{"192.0.2.7/24", "2001:db8:2::7/64"} {
		add := []string{"ip", "addr", "add", a, "dev", "eth0"}
		if strings.Contains(a, ":") {
			add = append(add, "nodad")
		}
		h.sh(add...)
		t.Cleanup(func() { h.sh("ip", "addr", "del", a, "dev", "eth0") })
	}
	c := h.container("c1", nil, h.network(1, label(labelSource4, "192.0.2.7"), label(labelSource6, "2001:db8:2::7")))
	h.visit(
		visit{"c1", c.ns, at(lanV4, port), "lan", "192.0.2.7"},
		visit{"c1", c.ns, at(lanV6, port), "lan", "2001:db8:2::7"},
	)
}

func TestDefaultBindings(t *testing.T) {
	onEachBesideDocker(t, "case 28 the default host address of ports is that of the network", testDefaultBindings)
}

func testDefaultBindings(t *testing.T, on backend) {
	h := newHost(t, on.option())
	for _, tt := range []struct {
		name   string
		labels map[string]string
		v4, v6 bool
	}{
		{"an address of each family", map[string]string{labelHostIP: hostV4, labelBinding6: hostV6}, true, true},
		{"0.0.0.0 is both families", map[string]string{labelHostIP: "0.0.0.0"}, true, true},
		{"an IPv6 address is that family alone", map[string]string{labelHostIP: hostV6}, false, true},
		{"an IPv6 address by its own label", map[string]string{labelBinding6: hostV6}, false, true},
		{"loopback addresses", map[string]string{labelHostIP: "127.0.0.1", labelBinding6: "::1"}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer h.within(t)()
			var opts []netOption
			for k, v := range tt.labels {
				opts = append(opts, label(k, v))
			}
			n := h.network(1, opts...)
			c := h.container("c1", publish(types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001}), n)
			want := map[bool]string{true: "c1"}
			h.visitBy([]string{"tcp"},
				visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: want[tt.v4]},
				visit{who: "lan", from: h.lan, to: at(hostV6, 7001), want: want[tt.v6]},
			)
			h.remove(c)
			h.drop(n)
		})
	}
}

func TestInhibitIPv4(t *testing.T) {
	onEachBesideDocker(t, "a bridge may go without an IPv4 address", testInhibitIPv4)
}

func testInhibitIPv4(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	n := h.network(1, label(labelInhibit, "true"))
	if out := h.sh("ip", "-4", "-o", "addr", "show", "br1"); out != "" {
		t.Errorf("the bridge has %s", out)
	}
	c1, c2 := h.container("c1", nil, n), h.container("c2", nil, n)
	h.visit(append(direct("c1", c1.ns, c2, port, "c2"), visit{"c1", c1.ns, at(lanV6, port), "lan", hostV6})...)
	// The host has no route to the container but that by which all goes to elsewhere.
	h.sh("ip", "route", "add", "default", "via", lanV4)
	defer h.sh("ip", "route", "del", "default", "via", lanV4)
	c3 := h.container("c3", both(nil, 7001, 0), n)
	c4 := h.container("c4", both(nil, 7002, 0), h.network(2, only4, label(labelInhibit, "true")))
	spy := h.spy("lan", h.lan, "eth0", c3.v4.AsSlice(), c4.v4.AsSlice())
	served := func(want string) []visit {
		return []visit{{who: "host", from: h.own, to: at("::1", 7002), want: want}, {who: "lan", from: h.lan, to: at(hostV6, 7002), want: want}}
	}
	// With a way back, which it has not by itself, it answers.
	h.in(c4.sb.Key(), "ip", "route", "add", hostV4, "dev", "eth0")
	h.visit(served("c4")...)
	h.visit(
		visit{who: "lan", from: h.lan, to: at(hostV4, 7001)}, visit{who: "host", from: h.own, to: at("127.0.0.1", 7001)},
		visit{who: "host", from: h.own, to: at(hostV4, 7001)}, visit{"lan", h.lan, at(hostV6, 7001), "c3", lanV6},
	)
	if frames := spy.end(t); len(frames) > 0 {
		t.Errorf("what was sent to a published port has left: %x", frames[0])
	}
	// The gateway is somebody else's business; here it comes after all.
	h.sh("ip", "addr", "add", "10.99.1.1/24", "dev", "br1")
	h.visit(visit{"c1", c1.ns, at(lanV4, port), "lan", hostV4}, visit{"lan", h.lan, at(hostV4, 7001), "c3", lanV4})
}

func TestIPv6Alone(t *testing.T) {
	onEachBesideDocker(t, "scenario 9 a network may be IPv6 alone", testIPv6Alone)
}

func testIPv6Alone(t *testing.T, on backend) {
	t.Run("by the driver's option", func(t *testing.T) { ipv6Alone(t, on, label(labelIPv4, "false")) })
	t.Run("by the network's option", func(t *testing.T) {
		ipv6Alone(t, on, func(c *netConfig) {
			c.more = append(c.more, libnetwork.NetworkOptionGeneric(map[string]any{labelIPv4: false}))
		})
	})
}

func ipv6Alone(t *testing.T, on backend, how netOption) {
	t.Helper()
	h := newHost(t, on.option())
	h.lanServer()
	n := h.network(1, how, func(c *netConfig) { c.v4 = nil })
	c1, c2 := h.container("c1", both(nil, 7001, 0), n), h.container("c2", nil, n)
	if c1.v4.IsValid() || !c1.v6.IsValid() {
		t.Fatalf("the container has the addresses %s and %s", c1.v4, c1.v6)
	}
	for _, out := range []string{h.sh("ip", "-4", "-o", "addr", "show", "br1"), h.in(c1.sb.Key(), "ip", "-4", "-o", "addr", "show", "eth0")} {
		if out != "" {
			t.Errorf("an IPv4 address: %s", out)
		}
	}
	h.visit(
		visit{who: "c1", from: c1.ns, to: at(c2.v6, port), want: "c2"},
		visit{"c1", c1.ns, at(lanV6, port), "lan", hostV6},
		visit{who: "lan", from: h.lan, to: at(hostV6, 7001), want: "c1"},
		visit{who: "c2", from: c2.ns, to: at(hostV6, 7001), want: "c1"},
		visit{who: "lan", from: h.lan, to: at(hostV4, 7001)},
	)
	addrs, err := c2.lookup(t.Context(), "ip", "c1")
	if err != nil || len(addrs) != 1 || addrs[0] != c1.v6 {
		t.Errorf("c1 is known as %v (%v)", addrs, err)
	}
	h.restart()
	h.container("c3", nil, h.netByName("net1"))
}

func TestInterfaceNames(t *testing.T) {
	onEach(t, "links have the names that are asked for, and one that is taken is refused", testInterfaceNames)
}

func testInterfaceNames(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n1, n2 := h.network(1, label(labelPrefix, "lan")), h.network(2)
	c := h.container("c1", both(nil, 7001, 0), n1, n2)
	fixed := func(n libnetwork.Network, name string) (libnetwork.Endpoint, error) {
		return n.CreateEndpoint("fixed"+name, libnetwork.EndpointOptionGeneric(map[string]any{labelIfName: name}))
	}
	ep, err := fixed(n1, "eth2")
	if err != nil {
		t.Fatal(err)
	}
	if err := ep.Join(c.sb); err != nil {
		t.Fatal(err)
	}
	ep, err = n2.CreateEndpoint("next")
	if err != nil {
		t.Fatal(err)
	}
	if err := ep.Join(c.sb); err != nil {
		t.Errorf("5 a name that looks like the next one: %v", err)
	}
	for _, name := range []string{"lan0", "eth1", "eth2", "eth3"} {
		h.in(c.sb.Key(), "ip", "link", "show", name)
	}
	ep, err = fixed(n2, "lan0")
	if err != nil {
		t.Fatal(err)
	}
	before := machine(t)
	failed(t, ep.Join(c.sb), "Forbidden", "lan0")
	same(t, "the machine", before, func() string { return machine(t) })
}

func TestSysctls(t *testing.T) {
	onEach(t, "an endpoint has the settings that are asked for, and bad ones undo its join", testSysctls)
}

func testSysctls(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	endpoint := func(name, list string) (libnetwork.Endpoint, error) {
		return n.CreateEndpoint(name, libnetwork.EndpointOptionGeneric(map[string]any{labelSysctls: list}))
	}
	sb, err := h.ctl.NewSandbox("c1", both(nil, 7001, 0)...)
	if err != nil {
		t.Fatal(err)
	}
	ep, err := endpoint("good", "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2,net.ipv4.neigh.IFNAME.ucast_solicit=5")
	if err != nil {
		t.Fatal(err)
	}
	if err := ep.Join(sb); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"net.ipv4.conf.eth0.log_martians": "1", "net.ipv6.conf.eth0.accept_ra": "2", "net.ipv4.neigh.eth0.ucast_solicit": "5",
	} {
		path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
		if got := strings.TrimSpace(h.in(sb.Key(), "cat", path)); got != want {
			t.Errorf("14 %s is %s, want %s", name, got, want)
		}
	}
	before := machine(t)
	for _, bad := range []string{"net.ipv4.conf.IFNAME.no_such_thing=1", "net.ipv4.conf.IFNAME.log_martians=many"} {
		ep, err := endpoint("bad", bad)
		if err != nil {
			t.Fatal(err)
		}
		key, value, _ := strings.Cut(bad, "=")
		err = ep.Join(sb)
		failed(t, err, "BadRequest", key, value)
		if err := ep.Delete(false); err != nil {
			t.Error(err)
		}
		same(t, "the machine", before, func() string { return machine(t) })
	}
	for _, bad := range []string{
		"net.ipv4.ip_forward=1", "net.ipv4.conf.all.forwarding=1", "net.ipv4.conf.eth0.log_martians=1", "kernel.IFNAME.x.y.z=1",
		"net.ipv4.conf.IFNAME.log_martians", "net.ipv4.conf.IFNAME.log_martians=", "net.ipv4.conf.IFNAME/../all.log_martians=1", "net.ipv4..IFNAME.x=1", ",",
	} {
		_, err := endpoint("bad", bad)
		failed(t, err, "BadRequest", labelSysctls, bad)
	}
	for _, bad := range []string{"1", "0x1", " 1"} {
		_, err := endpoint("bad", "net.ipv6.conf.IFNAME.disable_ipv6="+bad)
		failed(t, err, "BadRequest", "bad", "disable_ipv6="+bad, "fd99:0:0:1::")
	}
}

// TestSysctlsWin sets what the library sets too, and what the kernel does when a link
// goes up.
func TestSysctlsWin(t *testing.T) {
	h := newHost(t)
	four := func(c *netConfig) {
		c.v6 = nil
		c.more = append(c.more, libnetwork.NetworkOptionEnableIPv6(false))
	}
	for i, n := range []libnetwork.Network{h.network(1), h.network(2, four)} {
		for list, want := range map[string]string{
			"accept_ra=1": "1", "addr_gen_mode=0": "0", "addr_gen_mode=1": "1", "mtu=1300": "1300", "disable_ipv6=0": "0", "disable_ipv6=1": "1",
		} {
			name, _, _ := strings.Cut(list, "=")
			if list == "disable_ipv6=1" && i == 0 {
				continue // contradicts the address
			}
			t.Run(n.Name()+" "+list, func(t *testing.T) {
				ep, err := n.CreateEndpoint("ep", libnetwork.EndpointOptionGeneric(map[string]any{labelSysctls: "net.ipv6.conf.IFNAME." + list}))
				if err != nil {
					t.Fatal(err)
				}
				sb, err := h.ctl.NewSandbox("c1")
				if err != nil {
					t.Fatal(err)
				}
				if err := ep.Join(sb); err != nil {
					t.Fatal(err)
				}
				if got := strings.TrimSpace(h.in(sb.Key(), "cat", "/proc/sys/net/ipv6/conf/eth0/"+name)); got != want {
					t.Errorf("%s is %s, want %s", name, got, want)
				}
				if err := sb.Delete(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestMTU(t *testing.T) {
	onEachBesideDocker(t, "case 25 the MTU is that of the way out", testMTU)
}

func testMTU(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.sh("ip", "link", "set", "eth0", "mtu", "1400")
	t.Cleanup(func() { h.sh("ip", "link", "set", "eth0", "mtu", "1500") })
	for _, gw := range []string{lanV4, lanV6} {
		h.sh("ip", "route", "add", "default", "via", gw)
		t.Cleanup(func() { h.sh("ip", "route", "del", "default", "via", gw) })
	}
	for i, tt := range []struct {
		name, want string
		opts       []netOption
	}{
		{"that of the egress link", "1400", nil},
		{"the one given", "1500", []netOption{label(netlabel.DriverMTU, "1500")}},
		{"of an internal network the default", "1500", []netOption{inside}},
	} {
		t.Run("25 "+tt.name, func(t *testing.T) {
			n := h.network(i+1, tt.opts...)
			c := h.container(fmt.Sprint("c", i), nil, n)
			if out := h.in(c.sb.Key(), "ip", "-o", "link", "show", "eth0"); !strings.Contains(out, " mtu "+tt.want+" ") {
				t.Errorf("want an MTU of %s: %s", tt.want, out)
			}
		})
	}
}

// TestMSS has a link on the way that is smaller than those of both ends, and
// nobody to say so.
func TestMSS(t *testing.T) {
	onEachBesideDocker(t, "segments are not larger than the way to the outside", testMSS)
}

func testMSS(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	c := h.container("c1", both(nil, 7001, 0), h.network(1))
	// As when a tunnel comes up after the network.
	h.sh("ip", "link", "set", "eth0", "mtu", "1300")
	t.Cleanup(func() { h.sh("ip", "link", "set", "eth0", "mtu", "1500") })
	for _, way := range []struct {
		name string
		from *netns.Namespace
		to   string
		want int // the MTU without headers
	}{
		{"from a container, IPv4", c.ns, at(lanV4, port), 1300 - 40},
		{"from a container, IPv6", c.ns, at(lanV6, port), 1300 - 60},
		{"to a container, IPv4", h.lan, at(hostV4, 7001), 1300 - 40},
		{"to a container, IPv6", h.lan, at(hostV6, 7001), 1300 - 60},
	} {
		t.Run(way.name, func(t *testing.T) {
			if got := maxSegment(t, way.from, way.to); got > way.want || got < way.want-20 {
				t.Errorf("the largest segment to be sent is of %d bytes, want %d less options", got, way.want)
			}
		})
	}
}

// maxSegment connects and returns the largest segment that may be sent.
func maxSegment(t *testing.T, from *netns.Namespace, to string) int {
	t.Helper()
	c, err := from.Dial(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var mss int
	if ctl := raw.Control(func(fd uintptr) { mss, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) }); ctl != nil || err != nil {
		t.Fatal(ctl, err)
	}
	return mss
}
