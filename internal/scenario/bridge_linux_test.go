package scenario_test

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

func TestScenario01Options(t *testing.T) {
	onEachBesideDocker(t, "scenario 1 each option of a network has its effect", testScenario01Options)
}

func testScenario01Options(t *testing.T, on backend) {
	h := newHost(t, on.option())
	srv := h.lanServer()
	_ = srv

	t.Run("name", func(t *testing.T) {
		n := h.network(1, label(labelName, "blue"))
		defer h.drop(n)
		if out := h.sh("ip", "-br", "addr", "show", "blue"); !strings.Contains(out, "10.99.1.1/24") || !strings.Contains(out, "fd99:0:0:1::1/64") {
			t.Errorf("bridge blue has %s", out)
		}
	})
	t.Run("MAC address", func(t *testing.T) {
		n := h.network(1)
		before := h.sh("cat", "/sys/class/net/br1/address")
		for _, name := range []string{"c1", "c2", "c3"} {
			h.container(name, nil, n)
			if now := h.sh("cat", "/sys/class/net/br1/address"); now != before {
				t.Errorf("with %s the MAC address of the bridge is %s, it was %s", name, now, before)
			}
		}
		for len(h.running) > 0 {
			h.remove(h.running[0])
		}
		h.drop(n)
	})
	t.Run("no name", func(_ *testing.T) {
		n := h.network(1, func(c *netConfig) { delete(c.labels, labelName) })
		defer h.drop(n)
		h.sh("ip", "link", "show", "br-"+n.ID()[:12])
	})
	t.Run("masquerade off", func(_ *testing.T) {
		on, off := h.network(1), h.network(2, label(labelMasquerade, "false"))
		c1, c2 := h.container("c1", nil, on), h.container("c2", nil, off)
		h.visit(
			visit{"c1", c1.ns, at(lanV4, port), "lan", hostV4},
			visit{"c1", c1.ns, at(lanV6, port), "lan", hostV6},
			visit{"c2", c2.ns, at(lanV4, port), "lan", c2.v4.String()},
			visit{"c2", c2.ns, at(lanV6, port), "lan", c2.v6.String()},
		)
		h.remove(c1)
		h.remove(c2)
		h.drop(on, off)
	})
	t.Run("mtu", func(t *testing.T) {
		n := h.network(1, label(netlabel.DriverMTU, "1400"))
		c := h.container("c1", nil, n)
		if out := h.in(c.sb.Key(), "ip", "-o", "link", "show", "eth0"); !strings.Contains(out, " mtu 1400 ") {
			t.Errorf("the container's link is %s", out)
		}
		for link := range strings.Lines(h.sh("ip", "-o", "link", "show", "master", "br1")) {
			if !strings.Contains(link, " mtu 1400 ") {
				t.Errorf("the host's end is %s", link)
			}
		}
		h.remove(c)
		h.drop(n)
	})
	t.Run("host binding", func(_ *testing.T) {
		n := h.network(1, label(labelHostIP, hostV4))
		c := h.container("c1", publish(types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001}), n)
		h.visitBy([]string{"tcp"},
			visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: "c1"},
			visit{who: "host", from: h.own, to: at("127.0.0.1", 7001)},
			visit{who: "lan", from: h.lan, to: at(hostV6, 7001)},
		)
		h.remove(c)
		h.drop(n)
	})
	t.Run("default bridge", func(t *testing.T) {
		n := h.network(1, label(labelDefault, "true"), func(c *netConfig) { delete(c.labels, labelName) })
		h.sh("ip", "link", "show", "docker0")
		h.drop(n)
		_, err := h.tryNetwork(1, label(labelDefault, "true"), label(labelName, "other"))
		failed(t, err, "Forbidden", "net1", "other")
	})
}

// lanServer makes the other machine serve.
func (h *host) lanServer() *server {
	h.t.Helper()
	s, err := serve(h.lan, "lan", port)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(s.close)
	return s
}

func TestScenario02Conflicts(t *testing.T) {
	onEachBesideDocker(t, "scenario 2 a name, a subnet or a bridge that is taken is refused, and nothing remains", testScenario02Conflicts)
}

func testScenario02Conflicts(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1, func(c *netConfig) {
		c.v4.PreferredPool, c.v6.PreferredPool = "10.98.0.0/16", "fd98::/48"
	})
	if _, err := n.CreateEndpoint("ep"); err != nil {
		t.Fatal(err)
	}
	full := h.network(3, only4, func(c *netConfig) { c.v4.PreferredPool = "10.99.3.0/30" })
	if _, err := full.CreateEndpoint("last"); err != nil {
		t.Fatal(err)
	}
	before, store := machine(t), h.store()
	v4 := func(s string) netOption { return func(c *netConfig) { c.v4.PreferredPool = s } }
	v6 := func(s string) netOption { return func(c *netConfig) { c.v6.PreferredPool = s } }
	for _, tt := range []struct {
		name string
		opts []netOption
		text string
	}{
		{"same subnet", []netOption{v4("10.98.0.0/16")}, "10.98.0.0/16"},
		{"same subnet and gateway", []netOption{func(c *netConfig) { c.v4.PreferredPool, c.v4.Gateway = "10.98.0.0/16", "10.98.0.1" }}, "10.98.0.0/16"},
		{"same subnet, which is full", []netOption{v4("10.99.3.0/30")}, "10.99.3.0/30"},
		{"inside the other", []netOption{v4("10.98.7.0/24")}, "10.98.7.0/24"},
		{"around the other", []netOption{v4("10.96.0.0/12")}, "10.96.0.0/12"},
		{"same IPv6 subnet", []netOption{v6("fd98::/48")}, "fd98::/48"},
		{"inside the other, IPv6", []netOption{v6("fd98:0:0:7::/64")}, "fd98:0:0:7::/64"},
		{"around the other, IPv6", []netOption{v6("fd98::/32")}, "fd98::/32"},
		{"same bridge", []netOption{label(labelName, "br1")}, "br1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := h.tryNetwork(2, tt.opts...)
			failed(t, err, "Forbidden", "net2", tt.text)
		})
	}
	t.Run("same name", func(t *testing.T) {
		_, err := h.ctl.NewNetwork("bridge", "net1")
		failed(t, err, "Forbidden", "net1")
	})
	t.Run("same endpoint", func(t *testing.T) {
		_, err := n.CreateEndpoint("ep")
		failed(t, err, "Forbidden", "ep", "net1")
	})
	same(t, "the machine", before, func() string { return machine(t) })
	same(t, "the store", store, h.store)
}

// victimEnv holds the data and run directories and the backend of a process that makes networks
// and containers, and waits to be killed.
const victimEnv = "LIBNETWORK_SCENARIO_VICTIM"

func victim() {
	dirs := strings.Split(os.Getenv(victimEnv), ":")
	err := func() error {
		ctl, err := libnetwork.New(config.OptionDataDir(dirs[0]), config.OptionRunDir(dirs[1]), backend(dirs[2]).option())
		if err != nil {
			return err
		}
		for _, name := range []string{"c1", "c2", "c3"} {
			n, err := ctl.NetworkByName("net1")
			if err != nil {
				return err
			}
			sb, err := ctl.NewSandbox(name, publish(types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7100, HostPortEnd: 7110})...)
			if err != nil {
				return err
			}
			ep, err := n.CreateEndpoint(name)
			if err != nil {
				return err
			}
			if err := ep.Join(sb); err != nil {
				return err
			}
		}
		return nil
	}()
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString("ready\n")
	select {}
}

// killed lets another process use the directories, and kills it when it has made
// its containers.
func (h *host) killed() {
	h.t.Helper()
	h.ctl.Stop()
	for _, c := range h.running {
		c.close()
	}
	h.running = nil
	c := nstest.StartChild(h.t, victimEnv+"="+h.data+":"+h.run+":"+string(h.backend()))
	if c.Said != "ready" {
		h.t.Errorf("the process that is to be killed says %q", c.Said)
	}
	if err := c.Kill(); err != nil {
		h.t.Error(err)
	}
	h.start()
}

func TestScenario03RestartAndNames(t *testing.T) {
	onEachBesideDocker(t, "scenario 3 containers reach each other by name and the outside, also after a restart and a kill", testScenario03RestartAndNames)
}

func testScenario03RestartAndNames(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	h.network(1)
	check := func(t *testing.T) {
		t.Helper()
		n := h.netByName("net1")
		var cs []*container
		for _, name := range []string{"c1", "c2", "c3"} {
			cs = append(cs, h.container(name, nil, n))
		}
		for _, from := range cs {
			for _, c := range cs {
				for network, want := range map[string]netip.Addr{"ip4": c.v4, "ip6": c.v6} {
					got, err := from.lookup(t.Context(), network, c.name)
					if err != nil || len(got) != 1 || got[0].Unmap() != want {
						t.Errorf("%s finds %s by %s at %v, %v, want %s", from.name, c.name, network, got, err, want)
					}
				}
				h.visit(to(from.name, from.ns, c, c.name)...)
			}
			h.visit(
				visit{from.name, from.ns, at(lanV4, port), "lan", hostV4},
				visit{from.name, from.ns, at(lanV6, port), "lan", hostV6},
			)
		}
	}
	t.Run("first", check)
	h.restart()
	t.Run("after a graceful end", check)
	h.killed()
	t.Run("after a kill", check)
}

func TestScenario08ForeignBridge(t *testing.T) {
	onEachBesideDocker(t, "scenario 8 a foreign bridge is used as it is, and left as it was", testScenario08ForeignBridge)
}

func testScenario08ForeignBridge(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.sh("ip", "link", "add", "virbr7", "type", "bridge")
	t.Cleanup(func() { h.sh("ip", "link", "del", "virbr7") })
	h.sh("ip", "link", "set", "virbr7", "group", "55", "alias", "of somebody else", "address", "02:00:00:00:00:77",
		"addrgenmode", "none", "up")
	h.sh("ip", "addr", "add", "10.77.0.1/24", "dev", "virbr7")
	h.sh("ip", "addr", "add", "10.78.0.1/24", "dev", "virbr7")
	h.sh("ip", "addr", "add", "fd77::1/64", "dev", "virbr7", "nodad")
	look := func() string {
		return h.sh("ip", "link", "show", "virbr7") + h.sh("ip", "addr", "show", "virbr7") +
			h.sh("sysctl", "net.ipv4.conf.virbr7", "net.ipv6.conf.virbr7.disable_ipv6", "net.ipv6.conf.virbr7.accept_ra")
	}
	before, all := look(), machine(t)
	subnets := func(v4, gw4, v6, gw6 string) netOption {
		return func(c *netConfig) {
			c.labels[labelName] = "virbr7"
			c.v4 = &libnetwork.IpamConf{PreferredPool: v4, Gateway: gw4}
			c.v6 = &libnetwork.IpamConf{PreferredPool: v6, Gateway: gw6}
		}
	}
	for _, tt := range []struct {
		name string
		opt  netOption
		text string
	}{
		{"another subnet", subnets("10.79.0.0/24", "", "fd77::/64", ""), "10.79.0.1/24"},
		{"another gateway", subnets("10.77.0.0/24", "10.77.0.2", "fd77::/64", ""), "10.77.0.2/24"},
		{"another IPv6 subnet", subnets("10.77.0.0/24", "", "fd79::/64", ""), "fd79::1/64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := h.tryNetwork(1, tt.opt)
			failed(t, err, "BadRequest", "net1", "virbr7", tt.text)
			same(t, "the bridge", before, look)
			same(t, "the machine", all, func() string { return machine(t) })
		})
	}
	t.Run("a link that is no bridge", func(t *testing.T) {
		_, err := h.tryNetwork(1, label(labelName, "eth0"))
		failed(t, err, "Forbidden", "net1", "eth0")
	})
	for _, tt := range []struct {
		name string
		opt  netOption
	}{
		{"its own subnets", subnets("10.77.0.0/24", "", "fd77::/64", "")},
		{"no subnet named", func(c *netConfig) { c.labels[labelName], c.v4, c.v6 = "virbr7", nil, nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := h.network(1, tt.opt)
			c1 := h.container("c1", publish(types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001}), n)
			c2 := h.container("c2", nil, n)
			if want := netip.MustParseAddr("10.77.0.2"); c1.v4 != want {
				t.Errorf("the first container got %s, want %s", c1.v4, want)
			}
			h.visit(to("c2", c2.ns, c1, "c1")...)
			h.visitBy([]string{"tcp"}, visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: "c1"})
			h.remove(c1)
			h.remove(c2)
			h.drop(n)
			same(t, "the bridge", before, look)
			same(t, "the machine", all, func() string { return machine(t) })
		})
	}
	t.Run("after a restart", func(t *testing.T) {
		n := h.network(1, subnets("10.77.0.0/24", "", "fd77::/64", ""))
		h.container("c1", nil, n)
		h.restart()
		h.drop(h.netByName("net1"))
		same(t, "the bridge", before, look)
	})
}

func TestScenario09IPv6(t *testing.T) {
	onEachBesideDocker(t, "scenario 9 IPv6 has addresses, gateways, routes and masquerading as IPv4 has", testScenario09IPv6)
}

func testScenario09IPv6(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	n := h.network(1, func(c *netConfig) { c.v6.AuxAddresses = map[string]string{"spare": "fd99:0:0:1::2"} })
	c1, c2 := h.container("c1", nil, n), h.container("c2", nil, n)
	if want := netip.MustParseAddr("fd99:0:0:1::3"); c1.v6 != want {
		t.Errorf("the first container got %s, want %s: the one before is taken", c1.v6, want)
	}
	info := c1.eps[0].Info()
	if gw := info.GatewayIPv6(); !gw.Equal(net.ParseIP("fd99:0:0:1::1")) {
		t.Errorf("gateway %s", gw)
	}
	if out := h.in(c1.sb.Key(), "ip", "-6", "route"); !strings.Contains(out, "default via fd99:0:0:1::1 dev eth0") ||
		!strings.Contains(out, "fd99:0:0:1::/64 dev eth0") {
		t.Errorf("routes of the container:\n%s", out)
	}
	if out := h.sh("ip", "-6", "route", "show", "dev", "br1"); !strings.Contains(out, "fd99:0:0:1::/64 ") {
		t.Errorf("routes of the host by the bridge:\n%s", out)
	}
	h.visit(append(to("c2", c2.ns, c1, "c1"), visit{"c2", c2.ns, at(lanV6, port), "lan", hostV6})...)

	t.Run("auxiliary gateway wins", func(t *testing.T) {
		n := h.network(2, func(c *netConfig) {
			c.v4.AuxAddresses = map[string]string{"DefaultGatewayIPv4": "10.99.2.254"}
			c.v6.AuxAddresses = map[string]string{"DefaultGatewayIPv6": "fd99:0:0:2::fe"}
		})
		c := h.container("c3", nil, n)
		for family, want := range map[string]string{"-4": "default via 10.99.2.254 ", "-6": "default via fd99:0:0:2::fe "} {
			if out := h.in(c.sb.Key(), "ip", family, "route"); !strings.Contains(out, want) {
				t.Errorf("want %s in the routes of the container:\n%s", want, out)
			}
		}
		h.remove(c)
		h.drop(n)
	})
	t.Run("address from MAC", func(t *testing.T) {
		n := h.network(2, func(c *netConfig) {
			c.v6.PreferredPool = "2001:db8:2600:2700:2800::/80"
			c.more = append(c.more, libnetwork.NetworkOptionDeferIPv6Alloc(true))
		})
		ep, err := n.CreateEndpoint("ep", libnetwork.EndpointOptionGeneric(map[string]any{
			netlabel.MacAddress: net.HardwareAddr{0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xfe},
		}))
		if err != nil {
			t.Fatal(err)
		}
		want := netip.MustParseAddr("2001:db8:2600:2700:2800:aabb:ccdd:eefe")
		if got := toAddr(ep.Info().Iface().AddressIPv6()); got != want {
			t.Errorf("address %s, want %s", got, want)
		}
		if err := ep.Delete(false); err != nil {
			t.Error(err)
		}
		h.drop(n)
	})
}

func TestScenario10NothingLeft(t *testing.T) {
	onEachBesideDocker(t, "scenario 10 when all is deleted nothing is left", testScenario10NothingLeft)
}

func testScenario10NothingLeft(t *testing.T, on backend) {
	h := newHost(t, on.option())
	before := machine(t)
	store := h.store()
	for range 2 {
		n1, n2, n3 := h.network(1), h.network(2, label(labelICC, "false")), h.network(3, inside)
		all := types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7000, HostPortEnd: 7010}
		udp := types.PortBinding{Proto: types.UDP, Port: port}
		c1, c2 := h.container("c1", publish(all, udp), n1, n2, n3), h.container("c2", publish(all, udp), n2, n1)
		h.visit(to("c1", c1.ns, c2, "")...)
		for _, c := range []*container{c1, c2} {
			h.remove(c)
		}
		h.drop(n1, n2, n3)
		same(t, "the machine when all is deleted", before, func() string { return machine(t) })
		same(t, "the store when all is deleted", store, h.store)
	}
}
