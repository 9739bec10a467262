package scenario_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"
	"os"
	"strconv"
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
	bind := func(host string, first, to uint16) types.PortBinding {
		return types.PortBinding{Proto: types.SCTP, HostIP: net.ParseIP(host), HostPort: first, Port: to}
	}
	c := h.container("c1", publish(bind("", 7001, 80), bind(hostV4, 7002, 81), bind("127.0.0.1", 7004, 82)), n)
	// Its TCP port has the same number.
	sibling := h.container("sibling", publish(types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001}), n)
	stranger := h.container("stranger", nil, h.network(2))
	routed := h.container("routed", publish(bind("", 7005, 80)), h.network(3, mode("routed")))
	const gw4, gw6 = "10.99.1.1", "fd99:0:0:1::1"
	for _, tt := range []struct {
		name       string
		from       *netns.Namespace
		host, sees string
		port, want uint16
	}{
		{"all addresses", h.lan, hostV4, lanV4, 7001, 80},
		{"all addresses, ipv6", h.lan, hostV6, lanV6, 7001, 80},
		{"one address", h.lan, hostV4, lanV4, 7002, 81},
		{"from the host", h.own, hostV4, hostV4, 7001, 80},
		{"from the host, ipv6", h.own, hostV6, hostV6, 7001, 80},
		{"from the host by loopback", h.own, "127.0.0.1", gw4, 7001, 80},
		{"a loopback address", h.own, "127.0.0.1", gw4, 7004, 82},
		{"from a sibling", sibling.ns, hostV4, gw4, 7001, 80},
		{"from a sibling, ipv6", sibling.ns, hostV6, gw6, 7001, 80},
		{"from itself", c.ns, hostV4, gw4, 7001, 80},
		{"from itself, ipv6", c.ns, hostV6, gw6, 7001, 80},
		{"from another network", stranger.ns, hostV4, gw4, 7001, 80},
		{"from another network, ipv6", stranger.ns, hostV6, gw6, 7001, 80},
		{"in routed mode", h.lan, routed.v4.String(), lanV4, 80, 80},
		{"in routed mode, ipv6", h.lan, routed.v6.String(), lanV6, 80, 80},
	} {
		t.Run("sctp is published and answered: "+tt.name, func(t *testing.T) {
			host, sees := netip.MustParseAddr(tt.host), netip.MustParseAddr(tt.sees)
			ns := c.ns
			if host == routed.v4 || host == routed.v6 {
				ns = routed.ns
			}
			outside, inside := openSCTP(t, tt.from, host.Is6()), openSCTP(t, ns, host.Is6())
			if err := outside.send(5000, netip.AddrPortFrom(host, tt.port), 0, sctpInit); err != nil {
				t.Fatal(err)
			}
			from, to, chunk, err := inside.receive(patience)
			if err != nil || from.Addr() != sees || to != tt.want || chunk != sctpInit {
				t.Fatalf("the container got chunk %d from %s to port %d, %v; want one from %s to port %d", chunk, from, to, err, sees, tt.want)
			}
			if err := inside.send(tt.want, from, 4711, sctpInitAck); err != nil {
				t.Fatal(err)
			}
			// Who asks itself sees its own question first.
			for chunk = sctpInit; chunk == sctpInit && err == nil; {
				from, to, chunk, err = outside.receive(patience)
			}
			if err != nil || from != netip.AddrPortFrom(host, tt.port) || to != 5000 || chunk != sctpInitAck {
				t.Errorf("the answer is chunk %d from %s to port %d, %v; want it from %s:%d", chunk, from, to, err, host, tt.port)
			}
		})
	}
	t.Run("sctp that is not published is closed", func(t *testing.T) {
		for _, tt := range []struct {
			to   *container
			open string // what follows on the same way
			port uint16
			shut []string
		}{
			{c, hostV4, 7001, []string{at(hostV4, 7003), at(hostV4, 7004), at(c.v4, 80), at(c.v4, 82)}},
			{c, hostV6, 7001, []string{at(hostV6, 7002), at(hostV6, 7003), at(hostV6, 7004), at(c.v6, 80)}},
			{routed, routed.v4.String(), 80, []string{at(routed.v4, 81), at(hostV4, 7005)}},
			{routed, routed.v6.String(), 80, []string{at(routed.v6, 81), at(hostV6, 7005)}},
		} {
			end := netip.AddrPortFrom(netip.MustParseAddr(tt.open), tt.port)
			outside, inside := openSCTP(t, h.lan, end.Addr().Is6()), openSCTP(t, tt.to.ns, end.Addr().Is6())
			for i, to := range tt.shut {
				if err := outside.send(uint16(5001+i), netip.MustParseAddrPort(to), 0, sctpInit); err != nil {
					t.Fatal(err)
				}
			}
			if err := outside.send(4999, end, 0, sctpInit); err != nil {
				t.Fatal(err)
			}
			if from, to, _, err := inside.receive(patience); err != nil || from.Port() != 4999 {
				t.Errorf("%s got a packet from %s to port %d, %v; want none but that from port 4999", tt.to.name, from, to, err)
			}
		}
	})
	t.Run("sctp and tcp have ports of their own", func(t *testing.T) {
		defer h.within(t)()
		h.visitBy([]string{"tcp"}, visit{"lan", h.lan, at(hostV4, 7001), "sibling", lanV4}, visit{"lan", h.lan, at(hostV6, 7001), "sibling", lanV6})
		for _, b := range []types.PortBinding{bind("", 7001, 80), bind(hostV4, 7002, 80)} {
			_, err := h.tryContainer("c2", publish(b), n)
			failed(t, err, "Forbidden", "c2", "c1", strconv.Itoa(int(b.HostPort)))
		}
	})
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
