package scenario_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/types"
)

func TestScenario04Pairs(t *testing.T) {
	onEachBesideDocker(t, "scenario 4 containers reach those that they share a network with", testScenario04Pairs)
}

func testScenario04Pairs(t *testing.T, on backend) {
	h := newHost(t, on.option())
	nets := []libnetwork.Network{h.network(1), h.network(2), h.network(3)}
	var cs []*container
	for i := range nets {
		cs = append(cs, h.container(fmt.Sprintf("c%d", i), nil, nets[i], nets[(i+1)%3]))
	}
	var list []visit
	for i, from := range cs {
		next, last := cs[(i+1)%3], cs[(i+2)%3]
		// from is on nets i and i+1, next on i+1 and i+2, last on i+2 and i.
		for _, way := range []struct {
			c    *container
			ep   int
			want string
		}{
			{next, 0, next.name},
			{next, 1, ""},
			{last, 0, ""},
			{last, 1, last.name},
		} {
			iface := way.c.eps[way.ep].Info().Iface()
			for _, n := range []string{at(toAddr(iface.Address()), port), at(toAddr(iface.AddressIPv6()), port)} {
				list = append(list, visit{who: from.name, from: from.ns, to: n, want: way.want})
			}
		}
	}
	h.visit(list...)
}

func TestScenario05Internal(t *testing.T) {
	onEachBesideDocker(t, "scenario 5 an internal network stays internal, also after a restart and a flush of all rules", testScenario05Internal)
}

func testScenario05Internal(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	in, out := h.network(1, inside), h.network(2)
	b := types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001}
	check := func(t *testing.T) {
		t.Helper()
		c1, c2 := h.container("c1", publish(b), in), h.container("c2", nil, in)
		other := h.container("other", nil, out)
		for _, c := range []*container{c1, c2} {
			if got := h.in(c.sb.Key(), "ip", "route", "show", "default") + h.in(c.sb.Key(), "ip", "-6", "route", "show", "default"); got != "" {
				t.Errorf("%s has the route %s", c.name, got)
			}
			// As a container does that wants out.
			h.in(c.sb.Key(), "ip", "route", "add", "default", "via", "10.99.1.1")
			h.in(c.sb.Key(), "ip", "route", "add", "default", "via", "fd99:0:0:1::1")
		}
		probe := func() {
			var list []visit
			list = append(list, to("c1", c1.ns, c2, "c2")...)
			list = append(list, to("c2", c2.ns, c1, "c1")...)
			list = append(list, to("lan", h.lan, c1, "")...)
			list = append(list, to("other", other.ns, c1, "")...)
			list = append(list, to("c1", c1.ns, other, "")...)
			h.visit(append(
				list,
				visit{who: "c1", from: c1.ns, to: at(lanV4, port)},
				visit{who: "c1", from: c1.ns, to: at(lanV6, port)},
				visit{who: "lan", from: h.lan, to: at(hostV4, 7001)},
				visit{who: "lan", from: h.lan, to: at(hostV6, 7001)},
				visit{who: "other", from: other.ns, to: at(hostV4, 7001)},
				visit{"other", other.ns, at(lanV4, port), "lan", hostV4},
				visit{"other", other.ns, at(lanV6, port), "lan", hostV6},
			)...)
		}
		probe()
		h.flush(on)
		if on.alone() == nftables {
			// Not only ours has gone.
			if err := standardTables(); err != nil {
				t.Fatal(err)
			}
		} else {
			h.drop(h.network(3)) // the next change repairs
		}
		probe()
	}
	t.Run("first", check)
	h.restart()
	in, out = h.netByName("net1"), h.netByName("net2")
	t.Run("after a restart", check)
}

func TestScenario06ICC(t *testing.T) {
	onEachBesideDocker(t, "scenario 6 without ICC members do not reach each other", testScenario06ICC)
}

func testScenario06ICC(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	n, open := h.network(1, label(labelICC, "false")), h.network(2)
	b := types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001}
	c1, c2 := h.container("c1", publish(b), n), h.container("c2", nil, n)
	other := h.container("other", nil, open)
	ways := func() []visit {
		return append(to("c1", c1.ns, c2, ""), to("c2", c2.ns, c1, "")...)
	}
	t.Run("by the bridge", func(*testing.T) { h.visit(ways()...) })
	t.Run("by the host", func(*testing.T) {
		for _, c := range []*container{c1, c2} {
			for _, sibling := range []*container{c1, c2} {
				if c == sibling {
					continue
				}
				h.in(c.sb.Key(), "ip", "route", "add", sibling.v4.String(), "via", "10.99.1.1")
				h.in(c.sb.Key(), "ip", "route", "add", sibling.v6.String(), "via", "fd99:0:0:1::1")
			}
		}
		h.visit(ways()...)
	})
	t.Run("what stays open", func(*testing.T) {
		h.visitBy(
			[]string{"tcp"},
			visit{"c1", c1.ns, at(lanV4, port), "lan", hostV4},
			visit{"c1", c1.ns, at(lanV6, port), "lan", hostV6},
			visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: "c1"},
			visit{who: "lan", from: h.lan, to: at(hostV6, 7001), want: "c1"},
			visit{who: "other", from: other.ns, to: at(hostV4, 7001), want: "c1"},
			visit{who: "other", from: other.ns, to: at(hostV6, 7001), want: "c1"},
		)
		h.visit(append(to("host", h.own, c1, "c1"), to("host", h.own, c2, "c2")...)...)
	})
}

func TestScenario07Isolation(t *testing.T) {
	onEachBesideDocker(t, "scenario 7 networks are isolated, and rules of deleted ones gone", testScenario07Isolation)
}

func testScenario07Isolation(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	var nets []libnetwork.Network
	var cs []*container
	add := func() {
		num := len(nets) + 1
		nets = append(nets, h.network(num))
		cs = append(cs, h.container(fmt.Sprintf("c%d", num), nil, nets[num-1]))
	}
	check := func() {
		t.Helper()
		var list []visit
		for _, from := range cs {
			for _, c := range cs {
				want := ""
				if c == from {
					want = c.name
				}
				list = append(list, to(from.name, from.ns, c, want)...)
			}
			list = append(
				list,
				visit{from.name, from.ns, at(lanV4, port), "lan", hostV4},
				visit{from.name, from.ns, at(lanV6, port), "lan", hostV6},
			)
		}
		h.visit(list...)
	}
	for add(); len(nets) < 4; {
		add()
		check()
	}
	for len(nets) > 1 {
		last := len(nets) - 1
		id := nets[last].ID()
		h.remove(cs[last])
		h.drop(nets[last])
		nets, cs = nets[:last], cs[:last]
		check()
		rules := h.sh("nft", "list", "ruleset")
		for _, name := range []string{fmt.Sprintf("br%d", last+1), id[:12]} {
			if strings.Contains(rules, name) {
				t.Errorf("rules name %s, which is deleted:\n%s", name, rules)
			}
		}
	}
}
