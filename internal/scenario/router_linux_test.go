package scenario_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// advertisement offers a router, and a prefix for addresses, to everybody on a link
// (RFC 4861).
func advertisement(mac, to net.HardwareAddr, dst netip.Addr, prefix netip.Prefix) []byte {
	const lifetime = 1800
	body := []byte{134, 0, 0, 0, 64, 0}
	body = binary.BigEndian.AppendUint16(body, lifetime)
	body = append(body, 0, 0, 0, 0, 0, 0, 0, 0)
	body = append(append(body, 1, 1), mac...)
	body = append(body, 3, 4, byte(prefix.Bits()), 0xc0) // on the link, for addresses
	body = binary.BigEndian.AppendUint32(body, lifetime)
	body = binary.BigEndian.AppendUint32(body, lifetime)
	body = append(body, 0, 0, 0, 0)
	body = append(body, prefix.Addr().AsSlice()...)
	return icmp6(mac, to, netip.MustParseAddr("fe80::bad"), dst, body)
}

// The prefixes that a container offers to everybody: at first, and with its last frame.
var (
	offered     = netip.MustParsePrefix("2001:db8:bad::/64")
	offeredLast = netip.MustParsePrefix("2001:db8:bad:1::/64")
)

// offer has a container offer itself as a router, by all link addresses that bring a
// frame to the host.
func (h *host) offer(c *container, bridge string) {
	h.t.Helper()
	mac, all := c.eps[0].Info().Iface().MacAddress(), netip.MustParseAddr("ff02::1")
	own, err := net.ParseMAC(h.macOf(bridge))
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := newSender(c.ns, "eth0")
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.close()
	macs := []net.HardwareAddr{own, broadcastMAC, groupMAC(all)}
	for x := range byte(16) {
		macs = append(macs, net.HardwareAddr{1, 0x80, 0xc2, 0, 0, x}) // of bridges
	}
	var frames [][]byte
	for _, to := range macs {
		for _, dst := range []netip.Addr{all, netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fd99:0:0:1::1")} {
			frames = append(frames, advertisement(mac, to, dst, offered))
		}
	}
	for _, f := range append(frames, advertisement(mac, groupMAC(all), all, offeredLast)) {
		if err := s.send(f); err != nil {
			h.t.Fatal(err)
		}
	}
}

// TestRouterAdvertisement has containers offer themselves as routers, as in
// CVE-2020-13401.
func TestRouterAdvertisement(t *testing.T) {
	for _, tt := range []struct{ name, forwarding, accept string }{
		{"a host that is no router takes no container for one", "0", "1"},
		{"a host that is a router takes no container for one", "1", "1"},
		{"a host that is a router and looks for others takes no container for one", "1", "2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := bareHost(t)
			h.sysctl("ipv4/ip_forward", "1")
			h.sysctl("ipv6/conf/all/forwarding", tt.forwarding)
			h.sysctl("ipv6/conf/default/accept_ra", tt.accept)
			h.start()
			n, four := h.network(1), h.network(2, only4)
			evil, evil4 := h.container("evil", nil, n), h.container("evil4", nil, four)
			neighbour, other := h.container("neighbour", nil, n), h.container("other", nil, h.network(3))
			// Who asks for them gets those of its own network: so they are good ones.
			willing := h.container("willing", nil, n)
			for _, c := range []*container{willing, other} {
				h.in(c.sb.Key(), "sysctl", "-w", "net.ipv6.conf.eth0.accept_ra=2")
			}
			h.offer(evil4, "br2")
			h.offer(evil, "br1")
			const list = "ip -6 addr; ip -6 route show table all"
			eventually(t, "a container that asks for advertisements gets none", func() bool {
				out := h.in(willing.sb.Key(), "sh", "-c", list)
				return strings.Contains(out, "2001:db8:bad:1:") && strings.Contains(out, "default via fe80::bad")
			})
			for name, out := range map[string]string{
				"the host": h.sh("sh", "-c", list), "its neighbour": h.in(neighbour.sb.Key(), "sh", "-c", list),
				"a container of another network": h.in(other.sb.Key(), "sh", "-c", list),
			} {
				if strings.Contains(out, "2001:db8:bad:") || strings.Contains(out, "fe80::bad") || strings.Contains(out, "proto ra") {
					t.Errorf("%s has taken what a container has offered:\n%s", name, out)
				}
			}
		})
	}
}
