package kernel

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/rtnl"
)

// An announcer tells everybody on a bridge which MAC address an address is at, on
// behalf of a container that is about to be there: who knew another one, of a
// container that had the address before, would send to nobody.
//
// It is told from the host and before the link exists. From inside, the first
// frames would get lost until the bridge has noticed its new port; a packet socket
// would have to be made in each namespace, and closing one waits for all processors
// to pass by (synchronize_net). And once its link is up, a container that hears of
// its own address would log that somebody else has it.
type announcer struct {
	log *slog.Logger

	mu     sync.Mutex // guards the following
	fd     int        // 0 before the first use
	closed bool
}

// send announces the addresses of a veth pair. That it could not is no reason to
// fail: neighbours find out by themselves within half a minute.
func (a *announcer) send(rt *rtnl.Socket, v model.Veth) {
	mac, err := net.ParseMAC(v.MAC)
	if err != nil || v.Bridge == "" || len(v.Addrs) == 0 {
		return
	}
	index, err := rt.Index(v.Bridge)
	if err != nil {
		return // the creation of the pair will say so
	}
	for _, p := range v.Addrs {
		if err := a.write(index, announcement(mac, p.Addr())); err != nil {
			a.log.Debug("announce address", "addr", p.Addr(), "bridge", v.Bridge, "err", err)
		}
	}
}

// write sends a frame out of a link.
func (a *announcer) write(index int32, frame []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return net.ErrClosed
	}
	if a.fd == 0 {
		// Protocol 0 receives nothing.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		a.fd = fd
	}
	return unix.Sendto(a.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: int(index)})
}

func (a *announcer) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.fd == 0 {
		return nil
	}
	err := unix.Close(a.fd)
	a.fd = 0
	return err
}

// announcement is an Ethernet frame that says that addr is at mac: an ARP
// announcement (RFC 5227, 3), or an unsolicited neighbour advertisement that
// overrides (RFC 4861, 7.2.6).
func announcement(mac net.HardwareAddr, addr netip.Addr) []byte {
	if addr.Is4() {
		ip := addr.As4()
		f := ethernet(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac, unix.ETH_P_ARP)
		f = append(f, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, a request
		f = append(append(f, mac...), ip[:]...)
		return append(append(f, 0, 0, 0, 0, 0, 0), ip[:]...)
	}
	src := addr.As16()
	dst := netip.MustParseAddr("ff02::1").As16()
	const (
		size     = 32
		override = 0x20
	)
	f := ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, mac, unix.ETH_P_IPV6)
	f = append(f, 0x60, 0, 0, 0, 0, size, unix.IPPROTO_ICMPV6, 255)
	f = append(append(f, src[:]...), dst[:]...)
	start := len(f)
	f = append(f, 136, 0, 0, 0, override, 0, 0, 0)
	f = append(f, src[:]...)
	f = append(append(f, 2, 1), mac...) // the target's link-layer address
	sum := checksum(src[:], dst[:], []byte{0, 0, 0, size, 0, 0, 0, unix.IPPROTO_ICMPV6}, f[start:])
	binary.BigEndian.PutUint16(f[start+2:], sum)
	return f
}

func ethernet(dst, src net.HardwareAddr, proto uint16) []byte {
	f := make([]byte, 0, 96)
	f = append(append(f, dst...), src...)
	return binary.BigEndian.AppendUint16(f, proto)
}

// checksum is that of RFC 1071; all parts but the last one are of even length.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for ; len(p) > 1; p = p[2:] {
			sum += uint32(binary.BigEndian.Uint16(p))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
