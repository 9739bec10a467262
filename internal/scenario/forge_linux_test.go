package scenario_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/types"
)

// TestForgedFrames sends datagrams from a container, a member of an internal network and
// lan, by the link address of the host, from whomever somebody might trust.
func TestForgedFrames(t *testing.T) {
	onEachBesideDocker(t, "scenario 7 forged frames reach nobody, neither from another network nor from the LAN", testForgedFrames)
}

func testForgedFrames(t *testing.T, on backend) {
	h := newHost(t, on.option())
	var ports []types.PortBinding
	for _, proto := range protocols {
		for _, ip := range []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback} {
			ports = append(ports, types.PortBinding{Proto: proto, Port: port, HostIP: ip, HostPort: 7001})
		}
		ports = append(ports, types.PortBinding{Proto: proto, Port: port, HostPort: 7002})
	}
	a, b := h.container("a", nil, h.network(1)), h.container("b", publish(ports...), h.network(2))
	in, r := h.container("in", nil, h.network(3, inside)), h.container("r", both(nil, 7003, 0), h.network(4, mode("routed")))
	// The port of r that is not published is served under a name of its own.
	servers := map[string]*server{"a": a.srv, "b": b.srv, "in": in.srv, "r": r.srv}
	for name, at := range map[string]struct {
		ns   *netns.Namespace
		port uint16
	}{"closed": {r.ns, more}, "host": {h.own, 9000}} {
		srv, err := serve(at.ns, name, at.port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(srv.close)
		servers[name] = srv
	}
	// All of these are reached from the host. It knows the way then: what it lets through
	// arrives at once.
	known := func() {
		t.Helper()
		list := append(direct("host", h.own, a, port, "a"), direct("host", h.own, b, port, "b")...)
		list = append(append(list, direct("host", h.own, in, port, "in")...), direct("host", h.own, r, more, "closed")...)
		for _, ip := range []string{"127.0.0.1", "::1"} {
			list = append(list, visit{who: "host", from: h.own, to: at(ip, 7001), want: "b"}, visit{who: "host", from: h.own, to: at(ip, 9000), want: "host"})
		}
		h.visitBy([]string{"udp"}, append(list, direct("host", h.own, r, port, "r")...)...)
	}
	known()
	ap := netip.AddrPortFrom
	everybody := []netip.Addr{a.v4, a.v6, b.v4, b.v6, in.v4, in.v6, r.v4, r.v6}
	for _, s := range []string{hostV4, hostV6, lanV4, lanV6, "127.0.0.1", "::1", "fe80::9"} {
		everybody = append(everybody, netip.MustParseAddr(s))
	}
	for num := 1; num <= 4; num++ { // bridges, and members that are not there
		for _, s := range []string{"10.99.%d.1", "10.99.%d.77", "fd99:0:0:%d::1", "fd99:0:0:%d::77"} {
			everybody = append(everybody, netip.MustParseAddr(fmt.Sprintf(s, num)))
		}
	}
	loops := []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:7001"), netip.MustParseAddrPort("127.0.0.1:9000"),
		netip.MustParseAddrPort("[::1]:7001"), netip.MustParseAddrPort("[::1]:9000"),
	}
	host4, host6 := netip.MustParseAddr(hostV4), netip.MustParseAddr(hostV6)
	what := make(map[string]string)
	for _, f := range []struct {
		who     string
		from    *netns.Namespace
		link    string // of the host
		v4, v6  netip.Addr
		targets []netip.AddrPort
		honest  [2]netip.AddrPort
		reaches string
	}{
		{
			"a", a.ns, "br1", a.v4, a.v6,
			[]netip.AddrPort{ap(b.v4, port), ap(b.v6, port), ap(in.v4, port), ap(in.v6, port), ap(r.v4, more), ap(r.v6, more)},
			[2]netip.AddrPort{ap(host4, 7002), ap(host6, 7002)},
			"b",
		},
		{
			"in", in.ns, "br3", in.v4, in.v6,
			[]netip.AddrPort{ap(a.v4, port), ap(a.v6, port), ap(b.v4, port), ap(b.v6, port), ap(r.v4, port), ap(r.v6, port)},
			[2]netip.AddrPort{ap(netip.MustParseAddr("10.99.3.1"), 9000), ap(netip.MustParseAddr("fd99:0:0:3::1"), 9000)},
			"host",
		},
		{
			"lan", h.lan, "eth0", netip.MustParseAddr(lanV4), netip.MustParseAddr(lanV6),
			[]netip.AddrPort{ap(b.v4, port), ap(b.v6, port), ap(in.v4, port), ap(in.v6, port), ap(r.v4, more), ap(r.v6, more)},
			[2]netip.AddrPort{ap(r.v4, port), ap(r.v6, port)},
			"r",
		},
	} {
		to, err := net.ParseMAC(h.macOf(f.link))
		if err != nil {
			t.Fatal(err)
		}
		s, err := newSender(f.from, "eth0")
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		send := func(src, dst netip.AddrPort, text string) {
			t.Helper()
			if err := s.send(carried(net.HardwareAddr{2, 0, 0, 0, 0, 9}, to, src, dst, text)); err != nil {
				t.Fatal(err)
			}
		}
		for _, dst := range append(f.targets, loops...) {
			for _, src := range everybody {
				if src.Is6() != dst.Addr().Is6() {
					continue
				}
				text := fmt.Sprint("forged ", len(what))
				from := ap(src, uint16(4000+len(what))) // no two are of one connection
				what[text] = fmt.Sprintf("of %s from %s to %s", f.who, from, dst)
				send(from, dst, text)
			}
		}
		// The forge works: what is allowed arrives, after the others.
		for i, own := range []netip.Addr{f.v4, f.v6} {
			text := fmt.Sprint("honest ", f.who, i)
			send(ap(own, 3999), f.honest[i], text)
			eventually(t, f.reaches+" gets nothing from "+f.who, func() bool { return servers[f.reaches].has(text) })
		}
	}
	known() // behind what is still on its way to a server
	for text, of := range what {
		for name, srv := range servers {
			if srv.has(text) {
				t.Errorf("a datagram %s has reached %s", of, name)
			}
		}
	}
}

// forge sends a UDP datagram from the link of lan to the host, with whatever
// addresses.
func (h *host) forge(from, to netip.AddrPort, text string) error {
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	packet, proto := datagram(from, to, text), uint16(unix.ETH_P_IP)
	if to.Addr().Is6() {
		proto = unix.ETH_P_IPV6
	}
	proto = proto<<8 | proto>>8
	return h.lan.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		own, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		sa := &unix.SockaddrLinklayer{Protocol: proto, Ifindex: own.Index, Halen: 6}
		copy(sa.Addr[:], link.HardwareAddr)
		return unix.Sendto(fd, packet, 0, sa)
	})
}

// datagram is an IP packet with UDP inside (RFC 768, 791, 8200).
func datagram(from, to netip.AddrPort, text string) []byte {
	udp := binary.BigEndian.AppendUint16(nil, from.Port())
	udp = binary.BigEndian.AppendUint16(udp, to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(text)))
	udp = append(udp, 0, 0)
	udp = append(udp, text...)
	pseudo := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_UDP)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(udp)))
	binary.BigEndian.PutUint16(udp[6:], checksum(append(pseudo, udp...)))

	const hops = 64
	if to.Addr().Is6() {
		ip := []byte{0x60, 0, 0, 0, 0, byte(len(udp)), unix.IPPROTO_UDP, hops}
		ip = append(ip, from.Addr().AsSlice()...)
		ip = append(ip, to.Addr().AsSlice()...)
		return append(ip, udp...)
	}
	ip := []byte{0x45, 0, 0, byte(20 + len(udp)), 0, 0, 0, 0, hops, unix.IPPROTO_UDP, 0, 0}
	ip = append(ip, from.Addr().AsSlice()...)
	ip = append(ip, to.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, udp...)
}

// checksum is that of the Internet (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i, x := range b {
		if i%2 == 0 {
			sum += uint32(x) << 8
		} else {
			sum += uint32(x)
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
