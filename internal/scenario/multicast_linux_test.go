package scenario_test

import (
	"net"
	"net/netip"
	"testing"
)

// addrsOf returns the addresses of the packet in a frame.
func addrsOf(frame []byte) (src, dst netip.Addr) {
	if frame[14]>>4 == 4 {
		return netip.AddrFrom4([4]byte(frame[26:30])), netip.AddrFrom4([4]byte(frame[30:34]))
	}
	return netip.AddrFrom16([16]byte(frame[22:38])), netip.AddrFrom16([16]byte(frame[38:54]))
}

func TestMulticast(t *testing.T) {
	onEachBesideDocker(t, "case 40 multicast leaves with the container's own address", testMulticast)
}

func testMulticast(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	c := h.container("c1", nil, n)
	mac := c.eps[0].Info().Iface().MacAddress()
	out, err := newSender(c.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer out.close()
	bridge, err := net.ParseMAC(h.macOf("br1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		name                    string
		own, host, unicast, all netip.Addr
	}{
		{"IPv4", c.v4, netip.MustParseAddr(hostV4), netip.MustParseAddr(lanV4), netip.MustParseAddr("239.9.9.9")},
		{"IPv6", c.v6, netip.MustParseAddr(hostV6), netip.MustParseAddr(lanV6), netip.MustParseAddr("ff0e::9")},
	} {
		t.Run(f.name, func(t *testing.T) {
			h.t = t
			defer h.routeMulticast("br1", "eth0", f.own, f.all)()
			text := "multicast " + f.name
			s := h.spy("lan", h.lan, "eth0", []byte(text))
			for _, tt := range []struct {
				what      string
				to        net.HardwareAddr
				dst, want netip.Addr
			}{
				{"one machine", bridge, f.unicast, f.host},
				{"a group", groupMAC(f.all), f.all, f.own},
			} {
				word := text + " to " + tt.what
				if err := out.send(carried(mac, tt.to, netip.AddrPortFrom(f.own, 4000), netip.AddrPortFrom(tt.dst, 4001), word)); err != nil {
					t.Fatal(err)
				}
				frame := s.sees(t, []byte(word))
				if frame == nil {
					continue
				}
				if src, dst := addrsOf(frame); src != tt.want || dst != tt.dst {
					t.Errorf("a datagram to %s arrives from %s to %s, want it from %s to %s", tt.what, src, dst, tt.want, tt.dst)
				}
			}
			s.end(t)
		})
	}
	h.t = t
}
