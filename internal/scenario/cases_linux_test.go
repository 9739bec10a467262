package scenario_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

func TestClientAddresses(t *testing.T) {
	onEachBesideDocker(t, "case 29 the container sees the client's address, or its gateway's where the answer must come back by the host", testClientAddresses)
}

func testClientAddresses(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n1, n2, n3 := h.network(1), h.network(2), h.network(3, inside)
	c := h.container("c1", both(nil, 7001, 0), n1)
	h.container("c2", both(nil, 7002, 0), n1, n2) // it could answer by its other link
	h.container("c3", both(nil, 7003, 0), n1, n3)
	sibling, stranger := h.container("sibling", nil, n1), h.container("stranger", nil, n2)
	var list []visit
	for _, f := range []struct{ host, lan, gw, other, inner, loop string }{
		{hostV4, lanV4, "10.99.1.1", "10.99.2.1", "10.99.3.1", "127.0.0.1"},
		{hostV6, lanV6, "fd99:0:0:1::1", "fd99:0:0:2::1", "fd99:0:0:3::1", ""},
	} {
		list = append(
			list,
			visit{"lan", h.lan, at(f.host, 7001), "c1", f.lan},
			visit{"host", h.own, at(f.host, 7001), "c1", f.host},
			visit{"sibling", sibling.ns, at(f.host, 7001), "c1", f.gw},
			visit{"sibling by the gateway", sibling.ns, at(f.gw, 7001), "c1", f.gw},
			visit{"itself", c.ns, at(f.host, 7001), "c1", f.gw},
			visit{"stranger", stranger.ns, at(f.host, 7001), "c1", f.gw},
			visit{"stranger by its gateway", stranger.ns, at(f.other, 7001), "c1", f.gw},
			visit{"host by a gateway", h.own, at(f.gw, 7001), "c1", f.gw},
			visit{"host by the gateway of another network", h.own, at(f.other, 7001), "c1", f.gw},
			visit{"host by the gateway of a network of the container's", h.own, at(f.other, 7002), "c2", f.gw},
			visit{"host by the gateway of an internal network", h.own, at(f.inner, 7001), "c1", f.gw},
			visit{"host by the gateway of an internal network of the container's", h.own, at(f.inner, 7003), "c3", f.gw},
		)
		if f.loop != "" {
			list = append(list, visit{"host by loopback", h.own, at(f.loop, 7001), "c1", f.gw})
		}
	}
	h.visit(list...)
}

func TestPortsBesideEachOther(t *testing.T) {
	onEachBesideDocker(t, "case 32 what shares a port number is apart", testPortsBesideEachOther)
}

func testPortsBesideEachOther(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	host := func(p types.Protocol, ip string) types.PortBinding {
		return types.PortBinding{Proto: p, Port: port, HostPort: 7001, HostIP: net.ParseIP(ip)}
	}
	pair := func(ip string) []libnetwork.SandboxOption { return publish(host(types.TCP, ip), host(types.UDP, ip)) }
	own := func(ip, want string) visit { return visit{who: "host", from: h.own, to: at(ip, 7001), want: want} }
	lan := func(ip, want string) visit { return visit{who: "lan", from: h.lan, to: at(ip, 7001), want: want} }

	t.Run("case 30 two containers have the same port of two loopback addresses", func(*testing.T) {
		one, two := h.container("one", pair("127.0.0.1"), n), h.container("two", pair("127.0.0.2"), n)
		h.visit(own("127.0.0.1", "one"), own("127.0.0.2", "two"), lan(hostV4, ""))
		h.remove(one)
		h.visit(own("127.0.0.1", ""), own("127.0.0.2", "two"))
		h.remove(two)
		h.visit(own("127.0.0.2", ""))
	})
	for _, order := range [][]string{{"all", "one"}, {"one", "all"}} {
		for _, one := range []string{hostV4, hostV6} {
			t.Run("case 38 one address, "+one+", goes before all of them, published "+strings.Join(order, " then "), func(*testing.T) {
				other, loop := hostV6, "127.0.0.1"
				if one == hostV6 {
					other, loop = hostV4, "::1"
				}
				cs := map[string]*container{}
				for _, name := range order {
					cs[name] = h.container(name, pair(map[string]string{"one": one}[name]), n)
				}
				h.visit(lan(one, "one"), lan(other, "all"), own(one, "one"), own(loop, "all"))
				// Whichever goes first takes nothing of the other with it.
				h.remove(cs[order[0]])
				if order[0] == "all" {
					h.visit(lan(one, "one"), lan(other, ""), own(loop, ""))
				} else {
					h.visit(lan(one, "all"), lan(other, "all"))
				}
				h.remove(cs[order[1]])
				h.visit(lan(hostV4, ""), lan(hostV6, ""))
			})
		}
	}
	four := h.network(2, only4)
	for _, order := range [][]string{{"all", "one"}, {"one", "all"}} {
		t.Run("case 38 so does one IPv6 address that is forwarded, published "+strings.Join(order, " then "), func(*testing.T) {
			cs := map[string]*container{}
			for _, name := range order {
				if name == "all" {
					cs[name] = h.container(name, pair(""), n)
				} else {
					cs[name] = h.container(name, pair(hostV6), four)
				}
			}
			h.visit(lan(hostV6, "one"), own(hostV6, "one"), lan(hostV4, "all"), own("::1", "all"))
			h.remove(cs[order[0]])
			if order[0] == "all" {
				h.visit(lan(hostV6, "one"), lan(hostV4, ""))
			} else {
				h.visit(lan(hostV6, "all"), lan(hostV4, "all"))
			}
			h.remove(cs[order[1]])
			h.visit(lan(hostV6, ""), lan(hostV4, ""))
		})
	}
	t.Run("case 38 and the first network of IPv6 comes and goes beside it", func(t *testing.T) {
		if err := n.Delete(); err != nil {
			t.Fatal(err)
		}
		one := h.container("one", pair(hostV6), four)
		h.visit(lan(hostV6, "one"))
		n = h.network(1)
		all := h.container("all", pair(""), n)
		h.visit(lan(hostV6, "one"), own("::1", "all"))
		h.remove(all)
		if err := n.Delete(); err != nil {
			t.Fatal(err)
		}
		h.visit(lan(hostV6, "one"))
		h.remove(one)
		n = h.network(1)
		all = h.container("all", pair(""), n)
		h.visit(lan(hostV6, "all"))
		h.remove(all)
	})
	for _, order := range [][]string{{"tcp", "udp"}, {"udp", "tcp"}} {
		t.Run("case 32 one protocol goes without the other, "+order[0]+" first", func(*testing.T) {
			cs := map[string]*container{}
			for _, proto := range order {
				cs[proto] = h.container(proto, publish(host(protocols[proto], "")), n)
			}
			for _, proto := range order {
				h.visitBy([]string{proto}, lan(hostV4, proto), lan(hostV6, proto))
			}
			h.remove(cs[order[0]])
			h.visitBy(order[:1], lan(hostV4, ""), lan(hostV6, ""))
			h.visitBy(order[1:], lan(hostV4, order[1]), lan(hostV6, order[1]))
			h.remove(cs[order[1]])
		})
	}
	t.Run("case 34 a port is used again while old connections are in TIME_WAIT", func(t *testing.T) {
		for _, name := range []string{"first", "second", "third"} {
			c := h.container(name, pair(""), n)
			for range 3 { // closed by the server, then by the client
				h.visitBy([]string{"tcp"}, lan(hostV4, name), lan(hostV6, name), own("127.0.0.1", name))
				for _, addr := range []string{hostV4, hostV6} {
					if _, err := ask(h.lan, "tcp", at(addr, 7001), patience); err != nil {
						t.Error(err)
					}
				}
			}
			h.remove(c)
		}
	})
	t.Run("case 34 a port of which a program of the host has connections in TIME_WAIT is published, and forwarded", func(t *testing.T) {
		srv, err := serve(h.own, "program", 7002)
		if err != nil {
			t.Fatal(err)
		}
		defer srv.close()
		eventually(t, "the program has no connection in TIME_WAIT", func() bool {
			for _, addr := range []string{hostV4, hostV6} { // closed by the program
				if _, err := ask(h.lan, "tcp", at(addr, 7002), patience); err != nil {
					t.Error(err)
				}
			}
			list := h.sh("ss", "-Htn", "state", "time-wait", "sport = 7002")
			return strings.Contains(list, lanV4) && strings.Contains(list, lanV6)
		})
		srv.close()
		for name, net := range map[string]libnetwork.Network{"ruled": n, "forwarded": four} {
			c := h.container(name, both(nil, 7002, 0), net)
			h.visit(
				visit{who: "lan", from: h.lan, to: at(hostV4, 7002), want: name}, visit{who: "lan", from: h.lan, to: at(hostV6, 7002), want: name},
				visit{who: "host", from: h.own, to: at("::1", 7002), want: name},
			)
			h.remove(c)
		}
	})
}

func TestForeignTraffic(t *testing.T) {
	onEachBesideDocker(t, "case 37 what is not for us is not touched", testForeignTraffic)
}

func testForeignTraffic(t *testing.T, on backend) {
	h := newHost(t, on.option())
	other := h.anotherMachine("other", 3)
	srv, err := serve(other, "other", 7001)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.close)
	n := h.network(1)
	c := h.container("c1", publish(
		types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001}, types.PortBinding{Proto: types.UDP, Port: port, HostPort: 7001},
	), n)
	crossing := "other"
	if on != on.alone() {
		crossing = "" // dropped by Docker's policy, and not led to the container either
	}
	t.Run("case 37 a published port number of a foreign address that crosses the host is not touched", func(*testing.T) {
		h.visit(
			visit{"lan", h.lan, at("192.0.3.9", 7001), crossing, lanV4}, visit{"lan", h.lan, at("2001:db8:3::9", 7001), crossing, lanV6},
			visit{"c1", c.ns, at("192.0.3.9", 7001), "other", "192.0.3.1"}, visit{"c1", c.ns, at("2001:db8:3::9", 7001), "other", "2001:db8:3::1"},
			visit{who: "host", from: h.own, to: at("192.0.3.9", 7001), want: "other"},
		)
	})
	t.Run("case 37 a mark that somebody saves to the connection is his own", func(*testing.T) {
		// Answers find their way by the mark of the link that the connection came by.
		h.sh("nft", `add table inet ways
			add chain inet ways in { type filter hook prerouting priority mangle; }
			add rule inet ways in meta mark set ct mark
			add rule inet ways in iifname "eth0" meta mark set 2
			add chain inet ways out { type filter hook postrouting priority mangle + 1; }
			add rule inet ways out ct mark set meta mark`)
		defer h.sh("nft", "delete table inet ways")
		for _, f := range []string{"-4", "-6"} {
			for _, rule := range []string{"pref 100 fwmark 2 lookup main", "pref 101 iif br1 prohibit"} {
				h.sh(append([]string{"ip", f, "rule", "add"}, strings.Fields(rule)...)...)
				defer h.sh(append([]string{"ip", f, "rule", "del"}, strings.Fields(rule)...)...)
			}
		}
		h.visit(visit{"lan", h.lan, at(hostV4, 7001), "c1", lanV4}, visit{"lan", h.lan, at(hostV6, 7001), "c1", lanV6})
	})
	t.Run("case 36 with a strict reverse path filter a port of a container on two networks works, from everywhere", func(*testing.T) {
		for _, name := range []string{"all", "default", "eth0", "br1"} {
			h.sysctl("ipv4/conf/"+name+"/rp_filter", "1")
		}
		two, three := h.network(2), h.network(3)
		sibling, stranger := h.container("sibling", nil, two), h.container("stranger", nil, three)
		for _, order := range [][]libnetwork.Network{{n, two}, {two, n}} {
			c2 := h.container("c2", both(nil, 7002, 0), order...)
			list := []visit{
				{"lan", h.lan, at(hostV4, 7002), "c2", lanV4},
				{"lan", h.lan, at(hostV6, 7002), "c2", lanV6},
				{who: "host", from: h.own, to: at("127.0.0.1", 7002), want: "c2"},
			}
			for _, from := range []*container{c, sibling, stranger, c2} {
				for _, host := range []string{hostV4, hostV6} {
					list = append(list, visit{who: from.name, from: from.ns, to: at(host, 7002), want: "c2"})
				}
			}
			h.visit(list...)
			h.remove(c2)
		}
		h.remove(sibling)
		h.remove(stranger)
		h.drop(two, three)
	})
	t.Run("case 42 with a foreign table that drops what comes in and is forwarded, names are found", func(t *testing.T) {
		two := h.container("two", nil, n)
		h.sh("nft", "add table inet strict; add chain inet strict in { type filter hook input priority filter; policy drop; }; "+
			"add chain inet strict passing { type filter hook forward priority filter; policy drop; }")
		defer h.sh("nft", "delete table inet strict")
		got, err := two.lookup(t.Context(), "ip4", "c1")
		if err != nil || len(got) != 1 || got[0].Unmap() != c.v4 {
			t.Errorf("two finds c1 at %v, %v", got, err)
		}
	})
}

func TestForeignBridge(t *testing.T) {
	onEach(t, "case 43 foreign frames and packets pass before, during and after our being there", testForeignBridge)
}

func testForeignBridge(t *testing.T, on backend) {
	nstest.Require(t, nstest.BrNetfilter)
	h := bareHost(t, on.option())
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	h.frames(true)
	kind := "nft"
	if on == iptablesLegacy {
		kind = "legacy"
	}
	a, b := h.foreignPair("virbr8")
	srv, err := serve(b, "foreign", port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.close)
	pass := func() {
		t.Helper()
		h.visit(
			visit{"foreign sibling", a, at("10.88.0.3", port), "foreign", "10.88.0.2"},
			visit{"foreign sibling", a, at("fd88::3", port), "foreign", "fd88::2"},
			visit{"lan", h.lan, at("10.88.0.3", port), "foreign", lanV4},
			visit{"lan", h.lan, at("fd88::3", port), "foreign", lanV6},
			visit{"host", h.own, at("10.88.0.3", port), "foreign", "10.88.0.1"},
		)
	}
	pass()
	h.start()
	pass()
	h.container("c1", both(nil, 7001, 0), h.network(1))
	pass()
	h.restart()
	pass()
	c := h.container("c1", both(nil, 7001, 0), h.netByName("net1"))
	pass()
	// A foreign network is not open to ours, nor ours to it.
	h.visit(append(to("foreign", a, c, ""), visit{"c1", c.ns, at("10.88.0.3", port), "foreign", "10.88.0.1"})...)
	for len(h.running) > 0 {
		h.remove(h.running[0])
	}
	h.drop(h.netByName("net1"))
	pass()
	t.Run("case 43 a foreign rule that drops, at the end of FORWARD, does not break us", func(t *testing.T) {
		h.docker(t, kind)
		for _, prog := range []string{"iptables-" + kind, "ip6tables-" + kind} {
			h.sh(prog, "-w", "-A", "FORWARD", "-j", "DROP")
			t.Cleanup(func() { h.sh(prog, "-w", "-D", "FORWARD", "-j", "DROP") })
		}
		n := h.network(1)
		c1, c2 := h.container("c1", both(nil, 7001, 0), n), h.container("c2", nil, n)
		h.visit(append(to("c2", c2.ns, c1, "c1"),
			visit{"lan", h.lan, at(hostV4, 7001), "c1", lanV4}, visit{"lan", h.lan, at(hostV6, 7001), "c1", lanV6})...)
		h.remove(c1)
		h.remove(c2)
		h.drop(n)
	})
}

// foreignPair makes a bridge of somebody else's with two machines.
func (h *host) foreignPair(bridge string) (a, b *netns.Namespace) {
	h.t.Helper()
	h.sh("ip", "link", "add", bridge, "type", "bridge")
	h.t.Cleanup(func() { h.sh("ip", "link", "del", bridge) })
	for _, l := range []string{
		"ip link set " + bridge + " addrgenmode none up", "ip addr add 10.88.0.1/24 dev " + bridge, "ip addr add fd88::1/64 dev " + bridge + " nodad",
	} {
		h.sh(strings.Fields(l)...)
	}
	make := func(i int) *netns.Namespace {
		ns, err := netns.Create(h.t.Context(), nil, fmt.Sprintf("/run/%s-%d", bridge, i))
		if err != nil {
			h.t.Fatal(err)
		}
		link := fmt.Sprintf("vforeign%d", i)
		h.t.Cleanup(func() {
			_, _ = run("ip", "link", "del", link)
			_ = ns.Close()
			if err := netns.Remove(nil, ns.Path()); err != nil {
				h.t.Error(err)
			}
		})
		inside := "nsenter --net=" + ns.Path() + " "
		for _, l := range []string{
			"ip link add " + link + " type veth peer name eth0 netns " + ns.Path(),
			"ip link set " + link + " addrgenmode none master " + bridge + " up",
			inside + "ip link set eth0 addrgenmode none", inside + "ip link set eth0 up",
			inside + fmt.Sprintf("ip addr add 10.88.0.%d/24 dev eth0", i), inside + fmt.Sprintf("ip addr add fd88::%d/64 dev eth0 nodad", i),
			inside + "ip route add default via 10.88.0.1", inside + "ip route add default via fd88::1",
		} {
			h.sh(strings.Fields(l)...)
		}
		if err := errors.Join(carries("", link), carries(inside, "eth0")); err != nil {
			h.t.Fatal(err)
		}
		return ns
	}
	return make(2), make(3)
}

func TestFlushedRules(t *testing.T) {
	onEachBesideDocker(t, "case 44 rules that somebody else has flushed are repaired", testFlushedRules)
}

func testFlushedRules(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	check := func(c *container) {
		t.Helper()
		h.visit(append(to("lan", h.lan, c, ""), visit{"lan", h.lan, at(hostV4, 7001), "c1", lanV4}, visit{"lan", h.lan, at(hostV6, 7001), "c1", lanV6})...)
	}
	c := h.container("c1", both(nil, 7001, 0), n)
	check(c)
	t.Run("case 44 by the next change", func(*testing.T) {
		h.flush(on)
		h.drop(h.network(2))
		check(c)
	})
	t.Run("case 44 by a restart", func(*testing.T) {
		h.flush(on)
		h.restart()
		check(h.container("c1", both(nil, 7001, 0), h.netByName("net1")))
	})
	if on.alone() == nftables {
		// Not only ours has gone.
		if err := standardTables(); err != nil {
			t.Fatal(err)
		}
	}
}

// flush empties all tables of a backend, as an administrator does.
func (h *host) flush(on backend) {
	h.t.Helper()
	on = on.alone()
	if on == nftables {
		// Where the kernel protects our tables this fails.
		_, err := run("nft", "flush", "ruleset")
		h.t.Log("nft flush ruleset:", err)
		return
	}
	for _, prog := range []string{string(on), "ip6" + strings.TrimPrefix(string(on), "ip")} {
		for _, table := range []string{"filter", "nat", "raw", "mangle"} {
			h.sh(prog, "-w", "-t", table, "-F")
		}
	}
}

// A connection goes on while networks and ports come and go beside it.
func TestEstablishedGoOn(t *testing.T) {
	onEachBesideDocker(t, "established connections go on while networks and ports come and go", testEstablishedGoOn)
}

func testEstablishedGoOn(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	c := h.container("c1", both(nil, 7001, 0), n)
	l, err := c.ns.ListenTCP(netip.MustParseAddrPort("0.0.0.0:9090"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h.remove(h.container("c2", both(nil, 7002, 0), n))
	conn, err := h.own.Dial(t.Context(), "tcp", at(c.v4, 9090))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	for i := range 3 {
		other := h.network(2)
		h.remove(h.container("c2", both(nil, 7002, 0), other, n))
		h.drop(other)
		text := fmt.Sprint("still there ", i)
		_ = peer.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(text))
		if _, err := io.ReadFull(peer, buf); err != nil || string(buf) != text {
			t.Fatalf("%q has come, %v", buf, err)
		}
	}
}
