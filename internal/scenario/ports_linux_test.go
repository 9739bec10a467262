package scenario_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/types"
)

var protocols = map[string]types.Protocol{"tcp": types.TCP, "udp": types.UDP}

// both is one wish for TCP and one for UDP.
func both(host net.IP, first, last uint16) []libnetwork.SandboxOption {
	b := types.PortBinding{Proto: types.TCP, Port: port, HostIP: host, HostPort: first, HostPortEnd: last}
	u := b
	u.Proto = types.UDP
	return publish(b, u)
}

func TestScenario11Conflicts(t *testing.T) {
	onEachBesideDocker(t, "scenario 11 a port that is taken is refused, and nothing remains", testScenario11Conflicts)
}

func testScenario11Conflicts(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	mine := h.container("mine", append(both(nil, 7001, 0), libnetwork.OptionHostname("mine")), n)
	ns, err := serve(h.own, "foreign", 7002)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.close()
	pid := "pid " + strconv.Itoa(os.Getpid())
	program, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	comm := strings.TrimSpace(string(program))
	before := machine(t)
	store := h.store()
	for proto, number := range protocols {
		for _, tt := range []struct {
			name        string
			host        net.IP
			first, last uint16
			text        []string
		}{
			{"own, same address", nil, 7001, 0, []string{"7001", "mine"}},
			{"foreign, all addresses", nil, 7002, 0, []string{proto, "7002", comm, pid}},
			{"foreign, one address of all", net.ParseIP(hostV4), 7002, 0, []string{proto, "7002", comm, pid}},
			{"foreign, one IPv6 address of all", net.ParseIP(hostV6), 7002, 0, []string{proto, "7002", comm, pid}},
			{"a range that is full", nil, 7001, 7002, []string{"c1", "7002", comm, pid}},
		} {
			t.Run(proto+" "+tt.name, func(t *testing.T) {
				_, err := h.tryContainer("c1", publish(types.PortBinding{
					Proto: number, Port: port, HostIP: tt.host, HostPort: tt.first, HostPortEnd: tt.last,
				}), n)
				failed(t, err, "Forbidden", tt.text...)
				same(t, "the machine", before, func() string { return machine(t) })
				same(t, "the store", store, h.store)
			})
		}
		t.Run(proto+" the second wish fails", func(t *testing.T) {
			_, err := h.tryContainer("c1", publish(
				types.PortBinding{Proto: number, Port: port, HostPort: 7003},
				types.PortBinding{Proto: number, Port: port + 1, HostPort: 7001},
			), n)
			failed(t, err, "Forbidden", "7001")
			same(t, "the machine", before, func() string { return machine(t) })
			listenable(t, proto, ":7003")
		})
		for _, tt := range []struct {
			name   string
			a, b   types.PortBinding
			number string
		}{
			{"the same port", types.PortBinding{HostPort: 7003}, types.PortBinding{HostPort: 7003}, "7003 failed: port is already allocated to c1: it is asked for twice"},
			{"the same port of one address", types.PortBinding{HostPort: 7003, HostIP: net.ParseIP(hostV6)}, types.PortBinding{HostPort: 7003, HostIP: net.ParseIP(hostV6)}, "7003"},
			{"more ports than a range has", types.PortBinding{HostPort: 7003, HostPortEnd: 7003}, types.PortBinding{HostPort: 7001, HostPortEnd: 7003}, "700"},
		} {
			t.Run(proto+" within one request "+tt.name, func(t *testing.T) {
				tt.a.Proto, tt.a.Port, tt.b.Proto, tt.b.Port = number, port, number, port+1
				_, err := h.tryContainer("c1", publish(tt.a, tt.b), n)
				failed(t, err, "Forbidden", "c1", tt.number)
				same(t, "the machine", before, func() string { return machine(t) })
				listenable(t, proto, ":7003")
			})
		}
		t.Run(proto+" within one request a choice leaves the others what they need", func(t *testing.T) {
			c := h.container("c1", publish(
				types.PortBinding{Proto: number, Port: port, HostPort: 7003, HostPortEnd: 7004},
				types.PortBinding{Proto: number, Port: port, HostPort: 7003},
			), n)
			h.visitBy(
				[]string{proto},
				visit{who: "lan", from: h.lan, to: at(hostV4, 7003), want: "c1", sees: lanV4},
				visit{who: "lan", from: h.lan, to: at(hostV4, 7004), want: "c1", sees: lanV4},
			)
			h.remove(c)
			same(t, "the store", store, h.store)
		})
		t.Run(proto+" own, one address of all", func(t *testing.T) {
			// Not in the way of each other: the one address goes before all.
			c := h.container("c1", publish(
				types.PortBinding{Proto: number, Port: port, HostIP: net.ParseIP(hostV4), HostPort: 7001},
				types.PortBinding{Proto: number, Port: port, HostIP: net.ParseIP(hostV6), HostPort: 7001},
			), n)
			_, err := h.tryContainer("c2", publish(types.PortBinding{Proto: number, Port: port, HostIP: net.ParseIP(hostV4), HostPort: 7001}), n)
			failed(t, err, "Forbidden", hostV4+":7001", "c1")
			h.visitBy(
				[]string{proto},
				visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: "c1"},
				visit{who: "lan", from: h.lan, to: at(hostV6, 7001), want: "c1"},
				visit{who: "host", from: h.own, to: at("127.0.0.1", 7001), want: "mine"},
			)
			h.remove(c)
			h.visitBy([]string{proto}, visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: "mine"})
		})
		t.Run(proto+" a range with one free port", func(_ *testing.T) {
			c := h.container("c1", publish(types.PortBinding{Proto: number, Port: port, HostPort: 7001, HostPortEnd: 7003}), n)
			h.visitBy(
				[]string{proto},
				visit{who: "lan", from: h.lan, to: at(hostV4, 7003), want: "c1"},
				visit{who: "lan", from: h.lan, to: at(hostV6, 7003), want: "c1"},
				visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: "mine"},
				visit{who: "lan", from: h.lan, to: at(hostV6, 7002), want: "foreign"},
			)
			h.remove(c)
		})
	}
	t.Run("an address that the host does not have", func(t *testing.T) {
		_, err := h.tryContainer("c1", both(net.ParseIP("192.0.2.77"), 7004, 0), n)
		failed(t, err, "BadRequest", "192.0.2.77", "7004")
		same(t, "the machine", before, func() string { return machine(t) })
	})
	h.remove(mine)
}

// listenable checks that nobody has a port of the host.
func listenable(t *testing.T, proto, addr string) {
	t.Helper()
	if proto == "udp" {
		c, err := (&net.ListenConfig{}).ListenPacket(t.Context(), proto, addr)
		if err != nil {
			t.Error(err)
			return
		}
		_ = c.Close()
		return
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), proto, addr)
	if err != nil {
		t.Error(err)
		return
	}
	_ = l.Close()
}

func TestScenario11Held(t *testing.T) {
	onEachBesideDocker(t, "scenario 11 a published port is held against other programs", testScenario11Held)
}

func testScenario11Held(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.container("c1", both(nil, 7001, 0), h.network(1))
	for _, addr := range []string{"0.0.0.0:7001", "127.0.0.1:7001", hostV4 + ":7001", "[::]:7001", "[" + hostV6 + "]:7001"} {
		if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr); err == nil {
			_ = l.Close()
			t.Errorf("tcp %s is free for other programs", addr)
		}
		if c, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", addr); err == nil {
			_ = c.Close()
			t.Errorf("udp %s is free for other programs", addr)
		}
	}
}

func TestScenario12EphemeralSequence(t *testing.T) {
	onEachBesideDocker(t, "scenario 12 ephemeral ports come in sequence", testScenario12EphemeralSequence)
}

func testScenario12EphemeralSequence(t *testing.T, on backend) {
	h := bareHost(t, on.option())
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	h.sysctl("ipv4/ip_local_port_range", "50000\t50003")
	h.start()
	n := h.network(1)
	cs := map[string]*container{}
	add := func(name string, want uint16) {
		t.Helper()
		cs[name] = h.container(name, both(nil, 0, 0), n)
		for _, b := range cs[name].bindings(t) {
			if b.HostPort != want {
				t.Errorf("%s got %s port %d, want %d", name, b.Proto.String(), b.HostPort, want)
			}
		}
		h.visit(
			visit{who: "lan", from: h.lan, to: at(hostV4, want), want: name},
			visit{who: "lan", from: h.lan, to: at(hostV6, want), want: name},
		)
	}
	add("c0", 50000)
	add("c1", 50001)
	h.remove(cs["c0"])
	add("c2", 50002)
	add("c3", 50003)
	add("c4", 50000)
	before := machine(t)
	_, err := h.tryContainer("c5", both(nil, 0, 0), n)
	failed(t, err, "NoService", "50000", "50003")
	same(t, "the machine", before, func() string { return machine(t) })
	h.remove(cs["c1"])
	add("c6", 50001)
}

// TestBusyPorts has others take more of the ports to choose from than are tried.
func TestBusyPorts(t *testing.T) {
	onEachBesideDocker(t, "a free port is chosen wherever it is among those of others", testBusyPorts)
}

func testBusyPorts(t *testing.T, on backend) {
	h := bareHost(t, on.option())
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	h.sysctl("ipv4/ip_local_port_range", "50000\t50030")
	prog := string(on.alone())
	if on.alone() == nftables {
		prog = string(iptablesNFT)
	}
	t.Cleanup(func() { h.sh(prog, "-w", "-t", "nat", "-F", "OUTPUT") })
	for port := 50000; port < 50030; port++ {
		if port%2 == 0 {
			l, err := net.Listen("tcp", fmt.Sprint("0.0.0.0:", port))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			continue
		}
		h.sh(prog, "-w", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", strconv.Itoa(port), "-j", "DNAT", "--to-destination", "10.9.9.9:80")
	}
	h.start()
	n := h.network(1)
	c := h.container("c1", publish(types.PortBinding{Proto: types.TCP, Port: 80}), n)
	for _, b := range c.bindings(t) {
		if b.HostPort != 50030 {
			t.Errorf("port %d was chosen, and 50030 alone is free", b.HostPort)
		}
	}
	before := machine(t)
	_, err := h.tryContainer("c2", publish(types.PortBinding{Proto: types.TCP, Port: 80, HostPort: 50000, HostPortEnd: 50029}), n)
	failed(t, err, "Forbidden", "c2", "in use")
	same(t, "the machine", before, func() string { return machine(t) })
}

func TestScenario13Matrix(t *testing.T) {
	onEachBesideDocker(t, "scenario 13 a published port is reached from everywhere", testScenario13Matrix)
}

func testScenario13Matrix(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n1, n2 := h.network(1), h.network(2)
	sibling, stranger := h.container("sibling", nil, n1), h.container("stranger", nil, n2)
	for _, tt := range []struct {
		name        string
		host        net.IP
		first, last uint16
	}{
		{"explicit", nil, 7001, 0},
		{"ephemeral", nil, 0, 0},
		{"range", nil, 7010, 7020},
		{"one address", net.ParseIP(hostV4), 7001, 0},
		{"one IPv6 address", net.ParseIP(hostV6), 7001, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := h.container("c1", both(tt.host, tt.first, tt.last), n1)
			ports := map[string]uint16{}
			for _, b := range c.bindings(t) {
				ports[b.Proto.String()] = b.HostPort
				if tt.first != 0 && (b.HostPort < tt.first || b.HostPort > max(tt.first, tt.last)) {
					t.Errorf("got port %d", b.HostPort)
				}
			}
			for proto, p := range ports {
				var list []visit
				for _, addr := range []string{hostV4, hostV6} {
					if tt.host != nil && !tt.host.Equal(net.ParseIP(addr)) {
						continue
					}
					to := at(addr, p)
					own := lanV4
					if addr == hostV6 {
						own = lanV6
					}
					list = append(
						list,
						visit{who: "host", from: h.own, to: to, want: "c1"},
						visit{"lan", h.lan, to, "c1", own},
						visit{who: "sibling", from: sibling.ns, to: to, want: "c1"},
						visit{who: "itself", from: c.ns, to: to, want: "c1"},
						visit{who: "stranger", from: stranger.ns, to: to, want: "c1"},
					)
				}
				if tt.host == nil {
					list = append(
						list,
						visit{who: "host", from: h.own, to: at("127.0.0.1", p), want: "c1"},
						visit{who: "host", from: h.own, to: at("127.8.9.10", p), want: "c1"},
						visit{who: "sibling by the bridge", from: sibling.ns, to: at("10.99.1.1", p), want: "c1"},
						visit{who: "sibling by the bridge", from: sibling.ns, to: at("fd99:0:0:1::1", p), want: "c1"},
					)
				}
				h.visitBy([]string{proto}, list...)
			}
			if len(ports) != 2 {
				t.Errorf("published are %v, want TCP and UDP", ports)
			}
			h.remove(c)
		})
	}
}

func TestScenario14ClosedToLAN(t *testing.T) {
	onEachBesideDocker(t, "scenario 14 what is not published, or on 127.0.0.1, is not reached from outside", testScenario14ClosedToLAN)
}

func testScenario14ClosedToLAN(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n, wide := h.network(1), h.network(2)
	loop := h.container("loop", both(net.IPv4(127, 0, 0, 1), 7001, 0), n)
	open := h.container("open", both(nil, 7002, 0), wide)
	h.visit(
		visit{who: "host", from: h.own, to: at("127.0.0.1", 7001), want: "loop"},
		visit{who: "lan", from: h.lan, to: at(hostV4, 7001)},
		visit{who: "lan", from: h.lan, to: at(hostV6, 7001)},
		visit{who: "sibling network", from: open.ns, to: at(hostV4, 7001)},
		visit{who: "own network", from: loop.ns, to: at(hostV4, 7001)},
	)
	t.Run("by direct route", func(*testing.T) {
		// lan routes everything by the host.
		h.visit(append(to("lan", h.lan, loop, ""), to("lan", h.lan, open, "")...)...)
	})
	t.Run("by a route for loopback addresses", func(t *testing.T) {
		evil := h.anotherMachine("evil", 3)
		for _, l := range []string{
			"ip addr del 127.0.0.1/8 dev lo",
			"sysctl -q -w net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.eth0.route_localnet=1",
			"ip route add 127.0.0.0/8 via 192.0.3.1",
		} {
			h.in(evil.Path(), strings.Fields(l)...)
		}
		// It does come through where nothing is to be guarded.
		if _, err := ask(evil, "tcp", at("192.0.3.1", 7002), patience); err != nil {
			t.Fatal(err)
		}
		h.visit(visit{who: "evil", from: evil, to: at("127.0.0.1", 7001)})
		// The same from a container.
		h.in(open.sb.Key(), strings.Fields("ip addr del 127.0.0.1/8 dev lo")...)
		h.in(open.sb.Key(), strings.Fields("sysctl -q -w net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.eth0.route_localnet=1")...)
		h.in(open.sb.Key(), strings.Fields("ip route add 127.0.0.0/8 via 10.99.2.1")...)
		h.visit(visit{who: "container", from: open.ns, to: at("127.0.0.1", 7001)})
	})
	t.Run("by forged datagrams", func(t *testing.T) {
		for i, f := range []struct {
			what     string
			from, to netip.AddrPort
		}{
			{"to a loopback address", netip.MustParseAddrPort(at(lanV4, 4000)), netip.MustParseAddrPort("127.0.0.1:7001")},
			{"from a loopback address to the same", netip.MustParseAddrPort("127.0.0.1:4000"), netip.MustParseAddrPort("127.0.0.1:7001")},
			{"from a loopback address", netip.MustParseAddrPort("127.0.0.1:4000"), netip.AddrPortFrom(loop.v4, port)},
			{"from a sibling's address", netip.MustParseAddrPort("10.99.1.77:4000"), netip.AddrPortFrom(loop.v4, port)},
			{"from a sibling's IPv6 address", netip.MustParseAddrPort("[fd99:0:0:1::77]:4000"), netip.AddrPortFrom(loop.v6, port)},
			{"from the bridge's address", netip.MustParseAddrPort("10.99.1.1:4000"), netip.AddrPortFrom(loop.v4, port)},
			{"from the bridge's IPv6 address", netip.MustParseAddrPort("[fd99:0:0:1::1]:4000"), netip.AddrPortFrom(loop.v6, port)},
			{"from a sibling's address to a published port", netip.MustParseAddrPort("10.99.2.77:4000"), netip.AddrPortFrom(open.v4, port)},
		} {
			text := fmt.Sprintf("forged %d", i)
			if err := h.forge(f.from, f.to, text); err != nil {
				t.Fatal(err)
			}
			// What follows on the same way arrives: so the forged one is lost.
			h.visitBy([]string{"udp"}, visit{who: "lan", from: h.lan, to: at(hostV4, 7002), want: "open"})
			if loop.srv.has(text) || open.srv.has(text) {
				t.Errorf("a datagram %s, %s to %s, has reached a container", f.what, f.from, f.to)
			}
		}
		// The forge works: what is allowed arrives.
		if err := h.forge(netip.MustParseAddrPort(at(lanV4, 4000)), netip.MustParseAddrPort(at(hostV4, 7002)), "honest"); err != nil {
			t.Fatal(err)
		}
		if err := h.forge(netip.MustParseAddrPort(at(lanV6, 4000)), netip.MustParseAddrPort(at(hostV6, 7002)), "honest6"); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"honest", "honest6"} {
			same(t, "the datagram "+text, "true", func() string { return strconv.FormatBool(open.srv.has(text)) })
		}
	})
}

func TestScenario15UDPRehoming(t *testing.T) {
	onEachBesideDocker(t, "scenario 15 a UDP client that never pauses reaches the next container", testScenario15UDPRehoming)
}

func testScenario15UDPRehoming(t *testing.T, on backend) {
	for _, way := range []struct {
		name, host string
		opts       []netOption
	}{
		{"IPv4", hostV4, nil}, {"IPv6", hostV6, nil}, {"IPv6 to a container of IPv4 alone", hostV6, []netOption{only4}},
	} {
		if way.opts != nil && on != nftables {
			continue // the forwarder's, which neither backend nor Docker has to do with
		}
		t.Run(way.name, func(t *testing.T) {
			h := newHost(t, on.option())
			n := h.network(1, way.opts...)
			c, err := h.lan.Dial(t.Context(), "udp", at(way.host, 7001))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			// talk sends until the server answers, as clients do that know nothing of it.
			talk := func(want string) {
				t.Helper()
				buf := make([]byte, 100)
				got := "nobody"
				for end := time.Now().Add(time.Second); time.Now().Before(end); {
					_, _ = c.Write([]byte("hello")) // refused in between
					_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
					if n, err := c.Read(buf); err == nil {
						got, _, _ = strings.Cut(string(buf[:n]), " ")
						if got == want {
							return
						}
					}
				}
				t.Fatalf("%s answers, want %s", got, want)
			}
			c1 := h.container("c1", both(nil, 7001, 0), n)
			talk("c1")
			h.remove(c1)
			// The kernel remembers that this flow leads to the host itself.
			_, _ = c.Write([]byte("into the void"))
			// The next container has another address, and the one after it the same.
			h.container("other", nil, n)
			c2 := h.container("c2", both(nil, 7001, 0), n)
			if c1.v4 == c2.v4 || c1.v6 == c2.v6 && c1.v6.IsValid() {
				t.Errorf("the containers have the same addresses %s and %s", c1.v4, c1.v6)
			}
			talk("c2")
			h.remove(c2)
			h.container("c3", both(nil, 7001, 0), n)
			talk("c3")
		})
	}
}

func TestScenario16FreeAtOnce(t *testing.T) {
	onEachBesideDocker(t, "scenario 16 a port is free at once when its container is gone", testScenario16FreeAtOnce)
}

func testScenario16FreeAtOnce(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	before := machine(t)
	for range 3 {
		c := h.container("c1", both(nil, 7001, 0), n)
		h.remove(c)
		for proto := range protocols {
			listenable(t, proto, "0.0.0.0:7001")
			listenable(t, proto, "[::]:7001")
		}
		h.visit(visit{who: "lan", from: h.lan, to: at(hostV4, 7001)}, visit{who: "lan", from: h.lan, to: at(hostV6, 7001)})
	}
	t.Run("endpoint deleted by force", func(t *testing.T) {
		c := h.container("c1", both(nil, 7001, 0), n)
		if err := c.eps[0].Delete(true); err != nil {
			t.Fatal(err)
		}
		listenable(t, "tcp", ":7001")
		listenable(t, "udp", ":7001")
		h.remove(c)
	})
	t.Run("endpoint left", func(t *testing.T) {
		c := h.container("c1", both(nil, 7001, 0), n)
		if err := c.eps[0].Leave(c.sb); err != nil {
			t.Fatal(err)
		}
		listenable(t, "tcp", ":7001")
		listenable(t, "udp", ":7001")
		h.remove(c)
		if err := c.eps[0].Delete(false); err != nil {
			t.Error(err)
		}
	})
	same(t, "the machine", before, func() string { return machine(t) })
}

// refusedBeside makes a rule of somebody else for port 7001, which is not published as long as it
// is there, and is open at the host's address when it has gone.
func (h *host) refusedBeside(n libnetwork.Network, add, gone func(), addr string) {
	t := h.t
	t.Helper()
	add()
	// The link of the last container goes a moment after it.
	eventually(t, "a container's link is left", func() bool { return !strings.Contains(h.sh("ip", "-o", "link"), ": veth") })
	before, store := machine(t), h.store()
	var err error
	// The rules of others are read again when the kernel, or a look every two
	// seconds, has told of a change.
	eventually(t, "the foreign rule is not seen", func() bool {
		var c *container
		if c, err = h.tryContainer("c1", both(nil, 7001, 0), n); err == nil {
			h.remove(c)
		}
		return err != nil
	})
	failed(t, err, "Forbidden", "c1", "7001", "chain")
	same(t, "the machine", before, func() string { return machine(t) })
	same(t, "the store", store, h.store)
	gone()
	var c *container
	eventually(t, "the foreign rule is still seen", func() bool {
		c, err = h.tryContainer("c1", both(nil, 7001, 0), n)
		return err == nil
	})
	h.visit(visit{who: "lan", from: h.lan, to: at(addr, 7001), want: c.name})
	h.remove(c)
}

// TestForeignRules has a rule of somebody else lead a port elsewhere.
func TestForeignRules(t *testing.T) {
	onEachBesideDocker(t, "a port that a foreign rule leads elsewhere is not published, and nothing is left", testForeignRules)
}

func testForeignRules(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	programs := []string{"nft", string(iptablesNFT)}
	if on.alone() == iptablesLegacy {
		programs = append(programs, string(iptablesLegacy))
	}
	for _, family := range []struct{ name, to, host string }{
		{"ip", "10.9.9.9:80", hostV4}, {"ip6", "[fd00:9::9]:80", hostV6},
	} {
		for _, prog := range programs {
			t.Run(family.name+" "+prog, func(t *testing.T) {
				defer h.within(t)()
				prog := strings.Replace(prog, "ip", family.name, 1)
				rule := strings.Fields("PREROUTING -p tcp -m tcp --dport 7001 -j DNAT --to-destination " + family.to)
				add, gone := append([]string{prog, "-w", "-t", "nat", "-A"}, rule...), append([]string{prog, "-w", "-t", "nat", "-D"}, rule...)
				if prog == "nft" {
					table := family.name + " other"
					add = []string{prog, "add table " + table + "; add chain " + table + " pre { type nat hook prerouting priority -90; }; add rule " + table + " pre tcp dport 7001 dnat to " + family.to}
					gone = []string{prog, "delete table " + table}
				}
				h.refusedBeside(n, func() { h.sh(add...) }, func() { h.sh(gone...) }, family.host)
			})
		}
	}
}
