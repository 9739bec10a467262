package scenario_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/netns"
)

// A spy sees all frames that a link sends and receives, and keeps those that hold
// one of its words.
type spy struct {
	where string
	fd    int
	words [][]byte
	stop  atomic.Bool
	wg    sync.WaitGroup

	mu   sync.Mutex // guards kept and err
	kept [][]byte
	err  error
}

// spy watches a link until the test ends or end is called.
func (h *host) spy(where string, ns *netns.Namespace, link string, words ...[]byte) *spy {
	h.t.Helper()
	s := &spy{where: where, words: words}
	err := ns.Do(func() (err error) {
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		l, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		tick := unix.NsecToTimeval(int64(20 * time.Millisecond))
		if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tick); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20); err != nil {
			return err
		}
		return unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Index})
	})
	if err != nil {
		h.t.Fatalf("spy on %s: %v", where, err)
	}
	s.wg.Go(s.watch)
	h.t.Cleanup(func() { s.end(h.t) })
	return s
}

func (s *spy) watch() {
	buf := make([]byte, 65536)
	for {
		last := s.stop.Load()
		n, _, err := unix.Recvfrom(s.fd, buf, 0)
		s.mu.Lock()
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN && last, err != nil && err != unix.EAGAIN && err != unix.ENETDOWN:
			if err != unix.EAGAIN {
				s.err = err
			}
			s.mu.Unlock()
			return
		case err == nil:
			for _, w := range s.words {
				if bytes.Contains(buf[:n], w) {
					s.kept = append(s.kept, bytes.Clone(buf[:n]))
					break
				}
			}
		}
		s.mu.Unlock()
	}
}

// sees waits for a frame that holds a word, and returns the first one.
func (s *spy) sees(t *testing.T, word []byte) []byte {
	t.Helper()
	var frame []byte
	eventually(t, s.where+" sees no frame with "+string(word), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if i := slices.IndexFunc(s.kept, func(f []byte) bool { return bytes.Contains(f, word) }); i >= 0 {
			frame = s.kept[i]
		}
		return frame != nil
	})
	return frame
}

// end ends the watching and returns what was kept. Nothing was lost meanwhile.
func (s *spy) end(t *testing.T) [][]byte {
	t.Helper()
	if s.stop.Swap(true) {
		return s.kept
	}
	s.wg.Wait()
	stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil || stats.Drops > 0 {
		t.Errorf("spy on %s: %v, lost %d frames", s.where, err, stats.Drops)
	}
	if s.err != nil {
		t.Errorf("spy on %s: %v", s.where, s.err)
	}
	_ = unix.Close(s.fd)
	return s.kept
}

// A sender sends frames from a link of a namespace as it likes.
type sender struct{ fd, link int }

func newSender(ns *netns.Namespace, link string) (s sender, err error) {
	err = ns.Do(func() error {
		l, err := net.InterfaceByName(link)
		if err != nil {
			return err
		}
		s.link = l.Index
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	return s, err
}

func (s sender) send(frame []byte) error {
	return unix.Sendto(s.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: s.link})
}

func (s sender) close() { _ = unix.Close(s.fd) }

// ethernet is a frame (IEEE 802.3) with something inside.
func ethernet(from, to net.HardwareAddr, kind uint16, body []byte) []byte {
	b := append(append([]byte{}, to...), from...)
	return append(binary.BigEndian.AppendUint16(b, kind), body...)
}

// carried is a frame with a datagram inside.
func carried(mac, to net.HardwareAddr, src, dst netip.AddrPort, text string) []byte {
	kind := uint16(unix.ETH_P_IP)
	if dst.Addr().Is6() {
		kind = unix.ETH_P_IPV6
	}
	return ethernet(mac, to, kind, datagram(src, dst, text))
}

// dying is a frame whose packet has but one hop left.
func dying(frame []byte) []byte {
	f := slices.Clone(frame)
	ip := f[14:]
	if ip[0]>>4 == 6 {
		ip[7] = 1
		return f
	}
	ip[8], ip[10], ip[11] = 1, 0, 0
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
	return f
}

// groupMAC is the address of the frames to a multicast group (RFC 1112, RFC 2464).
func groupMAC(group netip.Addr) net.HardwareAddr {
	b := group.AsSlice()
	if group.Is4() {
		return net.HardwareAddr{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

var broadcastMAC = net.HardwareAddr{255, 255, 255, 255, 255, 255}

// routeMulticast makes the host a router for packets from one link to a group, as
// programs for that do, until the test ends or what is returned is called. In IPv4
// a route has a source, in IPv6 as well.
func (h *host) routeMulticast(from, to string, source, group netip.Addr) (end func()) {
	h.t.Helper()
	var index [2]int
	for i, name := range []string{from, to} {
		l, err := net.InterfaceByName(name)
		if err != nil {
			h.t.Fatal(err)
		}
		index[i] = l.Index
	}
	fd, err := openRouter(index, source, group)
	if err != nil {
		h.t.Fatalf("route multicast from %s: %v", from, err)
	}
	end = sync.OnceFunc(func() { _ = unix.Close(fd) })
	h.t.Cleanup(end)
	return end
}

// The interface of multicast routing, of which <linux/mroute.h> and
// <linux/mroute6.h> tell.
const (
	mrtInit, mrtAddLink, mrtAddRoute = 200, 202, 204
	mrtByIndex                       = 8 // VIFF_USE_IFINDEX
)

func openRouter(index [2]int, source, group netip.Addr) (int, error) {
	family, proto := unix.AF_INET, unix.IPPROTO_IGMP
	if group.Is6() {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, err
	}
	level := unix.IPPROTO_IP
	if group.Is6() {
		level = unix.IPPROTO_IPV6
	}
	err = unix.SetsockoptInt(fd, level, mrtInit, 1)
	for i, x := range index {
		if err != nil {
			break
		}
		var b []byte
		if group.Is6() { // struct mif6ctl
			b = binary.NativeEndian.AppendUint16(b, uint16(i))
			b = append(b, 0, 1)
			b = binary.NativeEndian.AppendUint16(b, uint16(x))
			b = append(b, make([]byte, 6)...)
		} else { // struct vifctl
			b = binary.NativeEndian.AppendUint16(b, uint16(i))
			b = append(b, mrtByIndex, 1, 0, 0, 0, 0)
			b = binary.NativeEndian.AppendUint32(b, uint32(x))
			b = append(b, 0, 0, 0, 0)
		}
		err = unix.SetsockoptString(fd, level, mrtAddLink, string(b))
	}
	if err == nil {
		var b []byte
		if group.Is6() { // struct mf6cctl
			for _, a := range []netip.Addr{source, group} {
				b = binary.NativeEndian.AppendUint16(b, unix.AF_INET6)
				b = append(b, make([]byte, 6)...)
				b = append(append(b, a.AsSlice()...), 0, 0, 0, 0)
			}
			b = append(b, 0, 0, 0, 0)
			b = binary.NativeEndian.AppendUint32(b, 1<<1)
			b = append(b, make([]byte, 28)...)
		} else { // struct mfcctl
			b = append(append(b, source.AsSlice()...), group.AsSlice()...)
			b = append(b, 0, 0)
			b = append(append(b, 0, 1), make([]byte, 30)...)
			b = append(b, make([]byte, 18)...)
		}
		err = unix.SetsockoptString(fd, level, mrtAddRoute, string(b))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
