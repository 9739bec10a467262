package scenario_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// TestForgedEstablished has two members of a network talk, which connection tracking sees
// on a host where frames pass the rules of IP. Lan, and a container of another network,
// send to one of them in the name of the other one, which would be a part of that.
func TestForgedEstablished(t *testing.T) {
	onEachBesideDocker(t, "scenario 7 nobody elsewhere takes a place in what members say to each other", testForgedEstablished)
}

func testForgedEstablished(t *testing.T, on backend) {
	nstest.Require(t, nstest.BrNetfilter)
	const served, dialed, published = 9999, 5555, 7009
	h := newHost(t, on.option())
	h.frames(true)
	other := h.container("other", nil, h.network(2))
	for _, n := range []struct {
		num  int
		mode string
	}{{1, "nat"}, {3, "nat-unprotected"}} {
		net1 := h.network(n.num, mode(n.mode))
		d := h.container("d "+n.mode, nil, net1)
		c := h.container("c "+n.mode, publish(types.PortBinding{Proto: types.UDP, Port: served, HostPort: uint16(published + n.num)}), net1)
		srv, err := serve(c.ns, "served by "+c.name, served)
		if err != nil {
			t.Fatal(err)
		}
		defer srv.close()
		for _, v := range []struct {
			d, c, lan, other netip.Addr
			host             string
		}{
			{d.v4, c.v4, netip.MustParseAddr(lanV4), other.v4, hostV4},
			{d.v6, c.v6, netip.MustParseAddr(lanV6), other.v6, hostV6},
		} {
			from, to := netip.AddrPortFrom(v.d, dialed), netip.AddrPortFrom(v.c, served)
			end, err := d.ns.ListenUDP(from)
			if err != nil {
				t.Fatal(err)
			}
			defer end.Close()
			talk := func() {
				t.Helper()
				eventually(t, "c does not answer d", func() bool {
					if _, err := end.WriteToUDPAddrPort([]byte("hello"), to); err != nil {
						t.Fatal(err)
					}
					_ = end.SetReadDeadline(time.Now().Add(impatience))
					_, _, err := end.ReadFromUDPAddrPort(make([]byte, 100))
					return err == nil
				})
			}
			talk()
			talk()
			for _, f := range []struct {
				who  string
				ns   *netns.Namespace
				link string
				own  netip.Addr
			}{{"lan", h.lan, "eth0", v.lan}, {"other", other.ns, "br2", v.other}} {
				mac, err := net.ParseMAC(h.macOf(f.link))
				if err != nil {
					t.Fatal(err)
				}
				s, err := newSender(f.ns, "eth0")
				if err != nil {
					t.Fatal(err)
				}
				defer s.close()
				send := func(src, dst netip.AddrPort, text string) {
					t.Helper()
					if err := s.send(carried(net.HardwareAddr{2, 0, 0, 0, 0, 9}, mac, src, dst, text)); err != nil {
						t.Fatal(err)
					}
				}
				word := fmt.Sprintf("%s, %s, %s", f.who, n.mode, v.d)
				send(from, to, "forged by "+word)
				// What is allowed arrives, after that.
				send(netip.AddrPortFrom(f.own, 3999), netip.AddrPortFrom(netip.MustParseAddr(v.host), uint16(published+n.num)), "honest "+word)
				eventually(t, c.name+" gets nothing from "+f.who, func() bool { return srv.has("honest " + word) })
				if srv.has("forged by " + word) {
					t.Errorf("a datagram that is forged by %s comes to %s", word, c.name)
				}
			}
			talk()
		}
	}
}
