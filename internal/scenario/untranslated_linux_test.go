package scenario_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/types"
)

// TestUntranslated has members send what the kernel does not translate: segments of no
// connection, and neighbour discovery. It does not leave with an address that is to be
// hidden, be it to the LAN or to other networks.
func TestUntranslated(t *testing.T) {
	onEachBesideDocker(t, "nothing leaves a masqueraded network with an address of its own", testUntranslated)
}

func testUntranslated(t *testing.T, on backend) {
	h := newHost(t, on.option())
	hidden := h.container("hidden", nil, h.network(1))
	to := h.container("to", nil, h.network(2, label(labelSource4, hostV4), label(labelSource6, hostV6)))
	shown := h.container("shown", nil, h.network(3, label(labelMasquerade, "false")))
	routed := h.container("routed", nil, h.network(4, mode("routed")))
	published := h.container("published", publish(types.PortBinding{Proto: types.TCP, Port: port}), h.network(5, mode("routed")))
	open := h.container("open", nil, h.network(6, mode("nat-unprotected")))
	for _, at := range []struct {
		where  string
		ns     *netns.Namespace
		v4, v6 netip.Addr
	}{
		{"lan", h.lan, netip.MustParseAddr(lanV4), netip.MustParseAddr(lanV6)},
		{"published", published.ns, published.v4, published.v6},
		{"open", open.ns, open.v4, open.v6},
	} {
		s := h.spy(at.where, at.ns, "eth0", []byte("segment of "))
		for _, dst := range []netip.Addr{at.v4, at.v6} {
			for _, c := range []*container{hidden, to, shown, routed} {
				if err := stray(c.ns, dst, fmt.Sprintf("segment of %s to %s", c.name, dst)); err != nil {
					t.Fatal(err)
				}
			}
			// These are behind the others.
			s.sees(t, fmt.Appendf(nil, "segment of routed to %s", dst))
			s.sees(t, fmt.Appendf(nil, "segment of shown to %s", dst))
		}
		for kind := byte(133); kind <= 137; kind++ {
			for _, c := range []*container{hidden, to, shown, routed} {
				if err := discover(c.ns, kind, at.v6, fmt.Sprintf("segment of %s, type %d", c.name, kind)); err != nil {
					t.Fatal(err)
				}
			}
			s.sees(t, fmt.Appendf(nil, "segment of routed, type %d", kind))
			s.sees(t, fmt.Appendf(nil, "segment of shown, type %d", kind))
		}
		for _, frame := range s.end(t) {
			for _, c := range []*container{hidden, to} {
				if bytes.Contains(frame, []byte("segment of "+c.name)) {
					t.Errorf("what %s sends comes to %s: % x", c.name, at.where, frame)
				}
			}
		}
	}
}

// discover sends a message of neighbour discovery (RFC 4861), which is of no connection
// ever.
func discover(ns *netns.Namespace, kind byte, dst netip.Addr, text string) error {
	return raw(ns, unix.IPPROTO_ICMPV6, dst, append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, text...))
}

// stray sends a segment of TCP with RST and ACK, of no connection.
func stray(ns *netns.Namespace, dst netip.Addr, text string) error {
	segment := make([]byte, 20, 20+len(text))
	binary.BigEndian.PutUint16(segment, 4000)
	binary.BigEndian.PutUint16(segment[2:], port)
	binary.BigEndian.PutUint32(segment[8:], 1)
	segment[12], segment[13] = 5<<4, 0x14
	return raw(ns, unix.IPPROTO_TCP, dst, append(segment, text...))
}

func raw(ns *netns.Namespace, proto int, dst netip.Addr, body []byte) error {
	return ns.Do(func() error {
		family, addr := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte(dst.AsSlice())})
		if dst.Is6() {
			family, addr = unix.AF_INET6, &unix.SockaddrInet6{Addr: dst.As16()}
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, body, 0, addr)
	})
}
