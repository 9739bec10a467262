package scenario_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/types"
)

// A rawSCTP is a raw socket for packets of SCTP: the kernel need not know the
// protocol.
type rawSCTP struct {
	file *os.File
	v6   bool
}

func openSCTP(t *testing.T, ns *netns.Namespace, v6 bool) rawSCTP {
	t.Helper()
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	var fd int
	err := ns.Do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := rawSCTP{os.NewFile(uintptr(fd), "sctp"), v6}
	t.Cleanup(func() { _ = s.file.Close() })
	return s
}

// send sends a chunk from one port to another one of an address.
func (s rawSCTP) send(from uint16, to netip.AddrPort, tag uint32, chunk byte) error {
	p := sctpPacket(from, to.Port(), tag, chunk)
	if s.v6 {
		return unix.Sendto(int(s.file.Fd()), p, 0, &unix.SockaddrInet6{Addr: to.Addr().As16()})
	}
	return unix.Sendto(int(s.file.Fd()), p, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
}

// receive returns the source of the next packet, and the port that it came to.
func (s rawSCTP) receive(wait time.Duration) (from netip.AddrPort, to uint16, chunk byte, err error) {
	buf := make([]byte, 1500)
	tv := unix.NsecToTimeval(int64(wait))
	if err := unix.SetsockoptTimeval(int(s.file.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return from, 0, 0, err
	}
	n, sa, err := unix.Recvfrom(int(s.file.Fd()), buf, 0)
	if err != nil {
		return from, 0, 0, err
	}
	b, addr := buf[:n], netip.Addr{}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		addr = netip.AddrFrom4(sa.Addr)
		b = b[int(b[0]&0xf)*4:]
	case *unix.SockaddrInet6:
		addr = netip.AddrFrom16(sa.Addr)
	}
	if len(b) < 13 {
		return from, 0, 0, errors.New("short packet")
	}
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b)), binary.BigEndian.Uint16(b[2:]), b[12], nil
}

// Chunks of SCTP (RFC 9260).
const sctpInit, sctpInitAck = 1, 2

// sctpPacket is an SCTP packet with one chunk, an INIT or INIT ACK.
func sctpPacket(from, to uint16, tag uint32, chunk byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint32(b, tag)
	b = append(b, 0, 0, 0, 0) // checksum
	b = append(b, chunk, 0, 0, 20)
	b = binary.BigEndian.AppendUint32(b, 4711) // tag of the sender
	b = binary.BigEndian.AppendUint32(b, 65535)
	b = append(b, 0, 1, 0, 1)
	b = binary.BigEndian.AppendUint32(b, 1)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func TestPublishSCTP(t *testing.T) {
	onEachBesideDocker(t, "case 28 a port of SCTP is published", testPublishSCTP)
}

func testPublishSCTP(t *testing.T, on backend) {
	if _, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established"); err != nil {
		t.Skip("this kernel does not track SCTP")
	}
	h := newHost(t, on.option())
	n := h.network(1)
	bind := func(host net.IP, first, last, to uint16) types.PortBinding {
		return types.PortBinding{Proto: types.SCTP, HostIP: host, HostPort: first, HostPortEnd: last, Port: to}
	}
	c := h.container("c1", publish(bind(nil, 7001, 0, 80), bind(net.ParseIP(hostV4), 7002, 0, 81)), n)
	for _, tt := range []struct {
		name, host, lan string
		port, want      uint16
	}{
		{"all addresses", hostV4, lanV4, 7001, 80},
		{"all addresses, ipv6", hostV6, lanV6, 7001, 80},
		{"one address", hostV4, lanV4, 7002, 81},
		{"not published", hostV4, lanV4, 7003, 0},
	} {
		t.Run("sctp is published and answered: "+tt.name, func(t *testing.T) {
			host, lan := netip.MustParseAddr(tt.host), netip.MustParseAddr(tt.lan)
			outside, inside := openSCTP(t, h.lan, host.Is6()), openSCTP(t, c.ns, host.Is6())
			if err := outside.send(5000, netip.AddrPortFrom(host, tt.port), 0, sctpInit); err != nil {
				t.Fatal(err)
			}
			if tt.want == 0 {
				if from, to, _, err := inside.receive(impatience); err == nil {
					t.Errorf("the container got a packet from %s to port %d", from, to)
				}
				return
			}
			from, to, chunk, err := inside.receive(patience)
			if err != nil || from != netip.AddrPortFrom(lan, 5000) || to != tt.want || chunk != sctpInit {
				t.Fatalf("the container got chunk %d from %s to port %d, %v; want one from %s to port %d", chunk, from, to, err, lan, tt.want)
			}
			if err := inside.send(tt.want, from, 4711, sctpInitAck); err != nil {
				t.Fatal(err)
			}
			from, to, chunk, err = outside.receive(patience)
			if err != nil || from != netip.AddrPortFrom(host, tt.port) || to != 5000 || chunk != sctpInitAck {
				t.Errorf("the answer is chunk %d from %s to port %d, %v; want it from %s:%d", chunk, from, to, err, host, tt.port)
			}
		})
	}
	t.Run("sctp is unpublished with the container", func(t *testing.T) {
		h.t = t
		v4, v6 := c.v4, c.v6
		if got := h.connections(v4, v6); len(got) == 0 {
			t.Error("the kernel tracks nothing, so this shows nothing")
		}
		h.remove(c)
		if got := h.connections(v4, v6); len(got) != 0 {
			t.Errorf("left: %q", got)
		}
	})
}
