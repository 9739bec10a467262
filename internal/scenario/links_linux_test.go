package scenario_test

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// bulk is one more port that linked containers expose.
const bulk = 8082

// links are the options of a sandbox that is linked with endpoints, and exposes
// port.
func links(parents, children []string) []libnetwork.SandboxOption {
	m := map[string]any{}
	if parents != nil {
		m["ParentEndpoints"] = parents
	}
	if children != nil {
		m["ChildEndpoints"] = children
	}
	return append(exposes(), libnetwork.OptionGeneric(map[string]any{netlabel.GenericData: m}))
}

func exposes() []libnetwork.SandboxOption {
	return []libnetwork.SandboxOption{libnetwork.OptionExposedPorts([]types.TransportPort{
		{Proto: types.TCP, Port: port}, {Proto: types.UDP, Port: port}, {Proto: types.UDP, Port: bulk},
	})}
}

// among are visits of each container by each other one at two ports, of which
// only those that allowed names by client and server lead anywhere.
func among(cs []*container, allowed ...string) []visit {
	var list []visit
	for _, from := range cs {
		for _, c := range cs {
			if from == c {
				continue
			}
			want := ""
			for _, a := range allowed {
				if a == from.name+" "+c.name {
					want = c.name
				}
			}
			list = append(list, direct(from.name, from.ns, c, port, want)...)
			list = append(list, direct(from.name, from.ns, c, more, "")...)
		}
	}
	return list
}

func TestScenario06Links(t *testing.T) {
	onEachBesideDocker(t, "links", testLinks)
}

func testLinks(t *testing.T, on backend) {
	for _, frames := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+frames, func(t *testing.T) {
			h := newHost(t, on.option())
			h.frames(frames == "1")
			h.scenario06Links(t)
		})
	}
}

func (h *host) scenario06Links(t *testing.T) {
	t.Helper()
	h.lanServer()
	n := h.network(1, label(labelICC, "false"))
	server, stranger := h.container("server", exposes(), n), h.container("stranger", exposes(), n)
	client := h.container("client", links(nil, []string{server.eps[0].ID()}), n)
	parent := h.container("parent", links([]string{stranger.eps[0].ID()}, nil), n)
	cs := []*container{server, stranger, client, parent}
	for _, c := range cs {
		h.serveMore(c)
	}
	both := []string{"client server", "stranger parent"}
	t.Run("6 linked members reach exposed ports, nobody else anything", func(*testing.T) {
		h.visit(among(cs, both...)...)
	})
	t.Run("6 nobody takes the place of a linked member", func(t *testing.T) {
		outsider := h.container("outsider", nil, n)
		for _, thief := range []*container{outsider, stranger, parent} {
			h.forgeLinks(t, thief, client, server)
		}
		h.remove(outsider)
		h.visit(among(cs, both...)...)
	})
	t.Run("6 what is not between members stays open", func(*testing.T) {
		h.visit(
			visit{"client", client.ns, at(lanV4, port), "lan", hostV4},
			visit{"client", client.ns, at(lanV6, port), "lan", hostV6},
			visit{who: "host", from: h.own, to: at(client.v4, more), want: "client"},
			visit{who: "host", from: h.own, to: at(client.v6, more), want: "client"},
		)
		for _, addr := range []string{server.v4.String(), server.v6.String()} {
			if err := pings(client.ns, addr, false); err != nil {
				t.Errorf("client: %v", err)
			}
		}
	})
	t.Run("6 large datagrams pass in both directions", func(t *testing.T) {
		for _, addr := range []netip.Addr{server.v4, server.v6} {
			large(t, client.ns, server.ns, netip.AddrPortFrom(addr, bulk))
		}
	})
	t.Run("6 the leave of the other end closes a link, its join opens it", func(t *testing.T) {
		if err := server.eps[0].Leave(server.sb); err != nil {
			t.Fatal(err)
		}
		if rules := h.sh("nft", "list", "ruleset"); strings.Contains(rules, server.v4.String()) || strings.Contains(rules, server.v6.String()) {
			t.Errorf("rules name the server's address, which has left:\n%s", rules)
		}
		if err := server.eps[0].Join(server.sb); err != nil {
			t.Fatal(err)
		}
		h.visit(among(cs, both...)...)
	})
	t.Run("6 refresh without links closes them", func(t *testing.T) {
		if err := client.sb.Refresh(exposes()...); err != nil {
			t.Fatal(err)
		}
		h.visit(among(cs, both[1])...)
		if err := client.sb.Refresh(links(nil, []string{server.eps[0].ID()})...); err != nil {
			t.Fatal(err)
		}
		h.visit(among(cs, both...)...)
	})
	t.Run("6 unlink closes them", func(*testing.T) {
		h.remove(client)
		h.visit(among([]*container{server, stranger, parent}, both[1])...)
		h.remove(parent)
		h.visit(among([]*container{server, stranger})...)
		if rules := h.sh("nft", "list", "ruleset"); strings.Contains(rules, "table bridge") {
			t.Errorf("rules of links without links:\n%s", rules)
		}
	})
}

// forgeLinks has a member send in the name of two that are linked.
func (h *host) forgeLinks(t *testing.T, thief, client, server *container) {
	t.Helper()
	s, err := newSender(thief.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	mac := func(c *container) net.HardwareAddr { return c.eps[0].Info().Iface().MacAddress() }
	bridge, err := net.InterfaceByName("br1")
	if err != nil {
		t.Fatal(err)
	}
	text := "forged by " + thief.name
	for _, addrs := range [][2]netip.Addr{{client.v4, server.v4}, {client.v6, server.v6}} {
		c, srv := netip.AddrPortFrom(addrs[0], port), netip.AddrPortFrom(addrs[1], port)
		for _, from := range []net.HardwareAddr{mac(thief), mac(client), mac(server)} {
			for _, to := range []net.HardwareAddr{bridge.HardwareAddr, mac(client), mac(server), broadcastMAC} {
				for _, way := range [][2]netip.AddrPort{{c, srv}, {srv, c}} {
					if err := s.send(carried(from, to, way[0], way[1], text)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	// What comes last comes by the same ways: so the forged frames have come or will not.
	h.visit(direct(client.name, client.ns, server, port, server.name)...)
	for _, c := range []*container{client, server} {
		if c.srv.has(text) {
			t.Errorf("%s has heard what is %s", c.name, text)
		}
	}
	if thief.name == "outsider" {
		h.stealAddress(t, thief, client, server, s)
	}
}

// stealAddress has a member answer for the address of a linked one, and serve there. It
// may keep the client from its server, but is not taken for it.
func (h *host) stealAddress(t *testing.T, thief, client, server *container, s sender) {
	t.Helper()
	mac := thief.eps[0].Info().Iface().MacAddress()
	for _, a := range []struct {
		ask             func(net.HardwareAddr, netip.Addr, netip.Addr) []byte
		client, server  netip.Addr
		bits, duplicate string
	}{{arpRequest, client.v4, server.v4, "/32", ""}, {solicitation, client.v6, server.v6, "/128", "nodad"}} {
		h.in(thief.sb.Key(), strings.Fields("ip addr add "+a.server.String()+a.bits+" dev lo "+a.duplicate)...)
		for range 3 {
			if err := s.send(a.ask(mac, a.server, a.client)); err != nil {
				t.Fatal(err)
			}
		}
		if answer, err := ask(client.ns, "tcp", at(a.server, port), impatience); err == nil && !strings.HasPrefix(answer, server.name+" ") {
			t.Errorf("%s is answered by %s instead of %s", client.name, answer, server.name)
		}
		h.in(thief.sb.Key(), "ip", "addr", "del", a.server.String()+a.bits, "dev", "lo")
		h.in(client.sb.Key(), "ip", "neigh", "flush", "dev", "eth0")
	}
}

// large sends a datagram that has to be fragmented, and gets it back.
func large(t *testing.T, from, server *netns.Namespace, to netip.AddrPort) {
	t.Helper()
	u, err := server.ListenUDP(to)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	c, err := from.Dial(t.Context(), "udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	data, buf := bytes.Repeat([]byte("large"), 1000), make([]byte, 10000)
	end := time.Now().Add(patience)
	_, _ = u.SetReadDeadline(end), c.SetReadDeadline(end)
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	n, client, err := u.ReadFrom(buf)
	if err != nil {
		t.Fatalf("%d bytes to %s: %v", len(data), to, err)
	}
	if _, err := u.WriteTo(buf[:n], client); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], data) {
		t.Errorf("%d bytes from %s: %v", n, to, err)
	}
}

func TestBadLinks(t *testing.T) {
	onEach(t, "links that cannot be are refused, and nothing remains", testBadLinks)
}

func testBadLinks(t *testing.T, on backend) {
	h := newHost(t, on.option())
	off, icc := h.network(1, label(labelICC, "false")), h.network(2)
	elsewhere := h.container("elsewhere", nil, icc)
	before, store := machine(t), h.store()
	for name, id := range map[string]string{"unknown endpoint": "nobody", "endpoint of another network": elsewhere.eps[0].ID()} {
		t.Run("6 "+name, func(t *testing.T) {
			_, err := h.tryContainer("c1", links(nil, []string{id}), off)
			failed(t, err, "BadRequest", "c1", id)
			_, err = h.tryContainer("c1", links([]string{id}, nil), off)
			failed(t, err, "BadRequest", "c1", id)
			same(t, "the machine", before, func() string { return machine(t) })
			same(t, "the store", store, h.store)
		})
	}
	for name, v := range map[string]any{"a word": "x", "a blank": []string{" "}, "numbers": []int{1}} {
		t.Run("6 "+name, func(t *testing.T) {
			_, err := h.ctl.NewSandbox("c1", libnetwork.OptionGeneric(map[string]any{netlabel.GenericData: map[string]any{"ChildEndpoints": v}}))
			failed(t, err, "BadRequest", "c1", "ChildEndpoints")
			same(t, "the store", store, h.store)
		})
	}
	t.Run("6 with ICC links change nothing", func(*testing.T) {
		c := h.container("c2", links(nil, []string{"nobody"}), icc)
		h.visit(append(to("c2", c.ns, elsewhere, "elsewhere"), to("elsewhere", elsewhere.ns, c, "c2")...)...)
	})
}
