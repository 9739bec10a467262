package scenario_test

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

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
