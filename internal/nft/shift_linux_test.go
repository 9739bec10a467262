package nft_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// tellPorts answers at ports of a namespace with the number of the port.
func (p *topology) tellPorts(ns *nstest.NS, first, last int) {
	p.t.Helper()
	var wg sync.WaitGroup
	p.t.Cleanup(wg.Wait)
	for port := first; port <= last; port++ {
		addr, told := ":"+strconv.Itoa(port), []byte(strconv.Itoa(port))
		var l net.Listener
		var c net.PacketConn
		err := ns.Do(func() (err error) {
			if l, err = net.Listen("tcp", addr); err == nil {
				c, err = net.ListenPacket("udp", addr)
			}
			return err
		})
		if err != nil {
			p.t.Fatal(err)
		}
		p.t.Cleanup(func() { _, _ = l.Close(), c.Close() })
		wg.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write(told)
				_ = conn.Close()
			}
		})
		wg.Go(func() {
			buf := make([]byte, 100)
			for {
				_, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(told, from)
			}
		})
	}
}

// told asks at an address which port of the container answers there.
func (p *topology) told(ns *nstest.NS, proto, addr string) (string, error) {
	buf := make([]byte, 100)
	n := 0
	err := ns.Do(func() error {
		c, err := net.DialTimeout(proto, addr, patience)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write([]byte("x")); err != nil && proto == "udp" {
			return err
		}
		n, err = c.Read(buf)
		return err
	})
	return string(buf[:n]), err
}

// TestBlocks cuts ranges of all kinds.
func TestBlocks(t *testing.T) {
	t.Run("5000 ports are a few intervals, wherever they begin", func(t *testing.T) {
		for first := 1; first+4999 <= 65535; first++ {
			if n := cut(t, first, first+4999); n > 24 {
				t.Fatalf("%d-%d is %d blocks", first, first+4999, n)
			}
		}
	})
	t.Run("short ones, and all ports", func(t *testing.T) {
		for size := 2; size < 40; size++ {
			for first := 1; first < 200; first++ {
				cut(t, first, first+size-1)
			}
			cut(t, 65536-size, 65535)
		}
		cut(t, 1, 65535)
	})
}

// cut checks that the blocks of a range are right, and counts them.
func cut(t *testing.T, first, last int) (n int) {
	t.Helper()
	at := first
	for begin, size := range nft.Blocks(uint16(first), uint16(last)) {
		if int(begin) != at || size == 0 || size&(size-1) != 0 || begin%size != 0 {
			t.Fatalf("%d-%d: block of %d ports at %d, want one at %d", first, last, size, begin, at)
		}
		at += int(size)
		n++
	}
	if at != last+1 {
		t.Fatalf("%d-%d: the blocks end before %d", first, last, at)
	}
	return n
}

// TestShiftedRanges asks at each port of ranges that have other numbers in the
// container, from another machine and from the host itself: it is the kernel that adds.
func TestShiftedRanges(t *testing.T) {
	for _, tt := range []struct {
		name        string
		first, last int
		to          int
	}{
		{"upward, odd", 20_001, 20_037, 30_002},
		{"downward by one", 1008, 1023, 1007},
		{"to a multiple of nothing", 40_000, 40_016, 77},
		{"to the last port", 50_000, 50_004, 65_531},
		{"from the last port", 65_530, 65_535, 7},
		{"onto itself", 30_000, 30_009, 30_003},
	} {
		t.Run("each port of a shifted range leads to its own: "+tt.name, func(t *testing.T) {
			p := newTopology(t)
			f := p.firewall(nft.Config{})
			ports := slices.Concat(fwtest.Both("0.0.0.0", uint16(tt.first), uint16(tt.last), "172.20.1.2", uint16(tt.to)),
				fwtest.Both("::", uint16(tt.first), uint16(tt.last), "fd00:1::2", uint16(tt.to)))
			p.apply(f, nft.Change{Networks: twoNetworks(), Ports: ports}, nft.Change{})
			p.tellPorts(p.c1a, tt.to, tt.to+tt.last-tt.first)
			ask := func(ns *nstest.NS, proto, host string) {
				t.Helper()
				for i := range tt.last - tt.first + 1 {
					got, err := p.told(ns, proto, net.JoinHostPort(host, strconv.Itoa(tt.first+i)))
					if want := strconv.Itoa(tt.to + i); err != nil || got != want {
						t.Errorf("%s %s port %d: %q answers (%v), want %s", proto, host, tt.first+i, got, err, want)
					}
				}
			}
			for _, proto := range []string{"tcp", "udp"} {
				ask(p.lan, proto, "192.0.2.1")
				ask(p.lan, proto, "2001:db8:2::1")
				ask(p.host, proto, "192.0.2.1")
			}
			// What is beside the range is not published, and all of it goes.
			p.closed(p.lan, "tcp", net.JoinHostPort("192.0.2.1", strconv.Itoa(tt.first-1)))
			p.apply(f, nft.Change{}, nft.Change{Ports: ports})
			p.closed(p.lan, "tcp", net.JoinHostPort("192.0.2.1", strconv.Itoa(tt.first)))
			p.closed(p.lan, "tcp", net.JoinHostPort("192.0.2.1", strconv.Itoa(tt.last)))
		})
	}
}

// TestShiftedRangeCollision has a client use one source port for the same port of two
// addresses of the host: to the container both would be one connection, so the kernel
// takes another port for the second one. It must not be one that is not published.
func TestShiftedRangeCollision(t *testing.T) {
	p := newTopology(t)
	f := p.firewall(nft.Config{})
	const first, last, to = 20_000, 20_003, 30_000
	p.apply(f, nft.Change{Networks: twoNetworks(), Ports: fwtest.Both("0.0.0.0", first, last, "172.20.1.2", to)}, nft.Change{})
	p.tellPorts(p.c1a, to-2, to+8)
	var c net.PacketConn
	if err := p.lan.Do(func() (err error) {
		c, err = net.ListenPacket("udp", "0.0.0.0:5555")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := make(map[string]bool)
	for i, host := range []string{"192.0.2.1", "192.0.3.1"} {
		if _, err := c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(fmt.Sprintf("%s:%d", host, last)))); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		port, err := strconv.Atoi(string(buf[:n]))
		if err != nil || port < to || port > to+last-first || i == 0 && port != to+last-first {
			t.Errorf("by %s port %d, %d of the container answers (%v)", host, last, port, err)
		}
		seen[string(buf[:n])] = true
	}
	if len(seen) != 2 {
		t.Errorf("both went to %v: the kernel does not see a collision any more, so this tests nothing", seen)
	}
}
