package scenario_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/netns"
)

// TestUntranslated has members send segments of no connection, which the kernel does not
// translate: they do not leave with an address that is to be hidden.
func TestUntranslated(t *testing.T) {
	onEachBesideDocker(t, "nothing leaves a masqueraded network with an address of its own", testUntranslated)
}

func testUntranslated(t *testing.T, on backend) {
	h := newHost(t, on.option())
	hidden := h.container("hidden", nil, h.network(1))
	to := h.container("to", nil, h.network(2, label(labelSource4, hostV4), label(labelSource6, hostV6)))
	shown := h.container("shown", nil, h.network(3, label(labelMasquerade, "false")))
	routed := h.container("routed", nil, h.network(4, mode("routed")))
	s := h.spy("lan", h.lan, "eth0", []byte("segment of "))
	for _, dst := range []string{lanV4, lanV6} {
		for _, c := range []*container{hidden, to, shown, routed} {
			if err := stray(c.ns, netip.MustParseAddr(dst), fmt.Sprintf("segment of %s to %s", c.name, dst)); err != nil {
				t.Fatal(err)
			}
		}
		// These are behind the others.
		s.sees(t, []byte("segment of routed to "+dst))
		s.sees(t, []byte("segment of shown to "+dst))
	}
	for _, frame := range s.end(t) {
		for _, c := range []*container{hidden, to} {
			if bytes.Contains(frame, []byte("segment of "+c.name+" ")) {
				t.Errorf("what %s sends leaves: % x", c.name, frame)
			}
		}
	}
}

// stray sends a segment of TCP with RST and ACK, of no connection.
func stray(ns *netns.Namespace, dst netip.Addr, text string) error {
	segment := make([]byte, 20, 20+len(text))
	binary.BigEndian.PutUint16(segment, 4000)
	binary.BigEndian.PutUint16(segment[2:], port)
	binary.BigEndian.PutUint32(segment[8:], 1)
	segment[12], segment[13] = 5<<4, 0x14
	return ns.Do(func() error {
		family, addr := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte(dst.AsSlice())})
		if dst.Is6() {
			family, addr = unix.AF_INET6, &unix.SockaddrInet6{Addr: dst.As16()}
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, append(segment, text...), 0, addr)
	})
}
