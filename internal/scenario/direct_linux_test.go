package scenario_test

import (
	"net"
	"testing"

	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/types"
)

// TestDirectRouting has published ports of networks of mode nat open at the
// containers' own addresses, which a setting of the driver allows.
func TestDirectRouting(t *testing.T) {
	onEachBesideDocker(t, "direct routing opens published ports at the containers' own addresses, and nothing else", testDirectRouting)
}

func testDirectRouting(t *testing.T, on backend) {
	h := newHost(t, on.option("AllowDirectRouting"))
	n := h.network(1)
	c, sibling := h.container("c1", both(nil, 7001, 0), n), h.container("c2", nil, n)
	h.serveMore(c)
	other := h.container("c3", nil, h.network(9))
	local := h.container("local", publish(
		types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7002, HostIP: net.ParseIP("127.0.0.1")},
		types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7002, HostIP: net.ParseIP(hostV6)},
	), n)
	bound := h.container("bound", both(nil, 7003, 0), h.network(2, label(labelHostIP, hostV4), label(labelBinding6, hostV6)))
	inner := h.container("inner", both(nil, 7004, 0), h.network(3, inside))
	var list []visit
	for who, from := range map[string]*netns.Namespace{"lan": h.lan, "another network": other.ns} {
		list = append(list, direct(who, from, c, port, "c1")...)
		list = append(list, direct(who, from, c, more, "")...)
		for _, x := range []*container{sibling, local, bound, inner} {
			list = append(list, direct(who, from, x, port, "")...)
		}
		for _, host := range []string{hostV4, hostV6} {
			list = append(list,
				visit{who: who, from: from, to: at(host, 7001), want: "c1"},
				visit{who: who, from: from, to: at(host, 7003), want: "bound"})
		}
	}
	list = append(list,
		visit{"lan", h.lan, at(c.v4, port), "c1", lanV4},
		visit{"lan", h.lan, at(c.v6, port), "c1", lanV6})
	h.visit(list...)
	for _, addr := range []string{c.v4.String(), c.v6.String()} {
		if err := pings(h.lan, addr, false); err != nil {
			t.Errorf("lan: %v", err)
		}
	}
	h.remove(c)
	again := h.container("c4", nil, n)
	if again.v4 != c.v4 {
		t.Fatalf("the next container has %s, want %s", again.v4, c.v4)
	}
	h.visit(direct("lan", h.lan, again, port, "")...)
}

func TestDirectRoutingChanges(t *testing.T) {
	onEachBesideDocker(t, "a start opens and closes the containers' own addresses, as the setting says then", testDirectRoutingChanges)
}

func testDirectRoutingChanges(t *testing.T, on backend) {
	h := bareHost(t, on.option())
	for i, allowed := range []bool{false, true, true, false} {
		var env []string
		want := ""
		if allowed {
			env, want = []string{daemonEnv + "_DIRECT=1"}, "c1"
		}
		d := h.daemon(on, env...)
		ns, err := netns.Open(nil, d.key)
		if err != nil {
			t.Fatal(err)
		}
		s, err := serve(ns, "c1", port)
		if err != nil {
			t.Fatal(err)
		}
		h.visit(
			visit{who: "lan", from: h.lan, to: at("10.99.1.2", port), want: want},
			visit{who: "lan", from: h.lan, to: at("fd99:0:0:1::2", port), want: want},
			visit{who: "lan", from: h.lan, to: at("10.99.1.2", more)},
			visit{who: "lan", from: h.lan, to: at(hostV4, port), want: "c1"},
			visit{who: "lan", from: h.lan, to: at(hostV6, port), want: "c1"})
		s.close()
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
		if i%2 == 0 {
			d.stop(t)
		} else {
			d.kill(t)
		}
	}
	h.clean(on)
}
