package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

// forwardUDP returns a server's socket and the address from which a forwarder
// leads to it.
func forwardUDP(t testing.TB, network, listen string, cfg Config) (server *net.UDPConn, front netip.AddrPort, f *Forwarder) {
	t.Helper()
	server = limit(t, listenUDP(t, "udp4", "127.0.0.1:0"))
	cfg.Target = addrPort(server.LocalAddr())
	f = closed(t, New(cfg))
	c := listenUDP(t, network, listen)
	front = addrPort(c.LocalAddr())
	if err := f.ServeUDP(c); err != nil {
		t.Fatal(err)
	}
	return server, front, f
}

func dialUDP(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return limit(t, c)
}

// recv reads one datagram and says who has sent it.
func recv(t testing.TB, c *net.UDPConn, want string) netip.AddrPort {
	t.Helper()
	buf := make([]byte, maxDatagram)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != want {
		t.Fatalf("got %.40q (%d bytes), %v; want %.40q (%d bytes)", buf[:n], n, err, want, len(want))
	}
	return from
}

func answer(t testing.TB, c *net.UDPConn, to netip.AddrPort, text string) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort([]byte(text), to); err != nil {
		t.Fatal(err)
	}
}

func TestUDPFlows(t *testing.T) {
	nstest.Leaks(t)
	s, front, f := forwardUDP(t, "udp6", "[::1]:0", Config{})
	a, b := dialUDP(t, front), dialUDP(t, front)
	write(t, a, "from a")
	asA := recv(t, s, "from a")
	write(t, b, "from b")
	asB := recv(t, s, "from b")
	if asA == asB {
		t.Fatal("two clients have one flow")
	}
	write(t, a, "again")
	if got := recv(t, s, "again"); got != asA {
		t.Errorf("the client has changed from %s to %s", asA, got)
	}
	for _, text := range []string{"to b", "", "more"} { // an empty datagram is one too
		answer(t, s, asB, text)
		recv(t, b, text)
	}
	write(t, b, "")
	recv(t, s, "")
	answer(t, s, asA, "to a")
	recv(t, a, "to a")
	if got := f.Stats(); got.Flows != 2 || got.Opened != 2 {
		t.Errorf("%+v, want 2 flows", got)
	}
}

func TestUDPLargest(t *testing.T) {
	nstest.Leaks(t)
	s, front, _ := forwardUDP(t, "udp6", "[::1]:0", Config{})
	c := dialUDP(t, front)
	largest := string(bytes.Repeat([]byte("x"), 65507))
	write(t, c, largest+"yz") // more than IPv4 can carry: lost as a whole
	write(t, c, largest)
	from := recv(t, s, largest)
	answer(t, s, from, largest)
	recv(t, c, largest)
}

// addresses gives the host two addresses more.
func addresses(t *testing.T) {
	t.Helper()
	nstest.Require(t, nstest.Root, nstest.IPv6)
	for _, a := range []string{"fd00:5::1/128", "fd00:5::2/128"} {
		if out, err := exec.CommandContext(t.Context(), "ip", "addr", "replace", a, "dev", "lo", "nodad").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// The kernel enters the address at once, and later the route by which it takes what
		// comes for it (addrconf_dad_work).
		host := strings.TrimSuffix(a, "/128")
		for begun := time.Now(); ; time.Sleep(time.Millisecond) {
			out, err := exec.CommandContext(t.Context(), "ip", "-6", "route", "get", host).CombinedOutput()
			if strings.HasPrefix(string(out), "local "+host) {
				break
			}
			if time.Since(begun) > 5*time.Second {
				t.Fatalf("%s is not taken: %v: %s", host, err, out)
			}
		}
	}
}

// On a socket of all addresses, an answer comes from the address that was asked,
// also if another one is nearer to the client.
func TestUDPSource(t *testing.T) {
	addresses(t)
	for _, tt := range []struct{ network, listen, host, client string }{
		{"udp4", "0.0.0.0:0", "127.0.0.5", "127.0.0.1:0"},
		{"udp4", "0.0.0.0:0", "127.0.0.1", "127.0.0.5:0"},
		{"udp6", "[::]:0", "::1", "[::1]:0"},
		{"udp6", "[::]:0", "fd00:5::1", "[fd00:5::2]:0"},
		{"udp6", "[::]:0", "fd00:5::2", "[fd00:5::1]:0"},
		{"udp6", "[fd00:5::2]:0", "fd00:5::2", "[fd00:5::1]:0"},
		{"udp", "[::]:0", "127.0.0.5", "127.0.0.1:0"}, // of both families
		{"udp", "[::]:0", "fd00:5::2", "[fd00:5::1]:0"},
	} {
		t.Run(tt.network+" "+tt.listen+" asked at "+tt.host, func(t *testing.T) {
			nstest.Leaks(t)
			s, front, _ := forwardUDP(t, tt.network, tt.listen, Config{})
			to := netip.AddrPortFrom(netip.MustParseAddr(tt.host), front.Port())
			c := limit(t, listenUDP(t, "udp", tt.client))
			answer(t, c, to, "question")
			answer(t, s, recv(t, s, "question"), "answer")
			if from := recv(t, c, "answer"); from != to {
				t.Errorf("answer from %s, want %s", from, to)
			}
		})
	}
}

// What is sent to many at once is not for the target.
func TestUnicast(t *testing.T) {
	for text, want := range map[string]bool{"fd00::1": true, "::ffff:10.0.0.1": true, "ff02::1": false, "::ffff:224.0.0.1": false, "::ffff:255.255.255.255": false} {
		a := netip.MustParseAddr(text)
		if got, ok := unicast(a.AsSlice()); ok != want || want && got != a.Unmap() {
			t.Errorf("a datagram to %s is for %s, %v", text, got, ok)
		}
	}
}

// One client that asks two addresses of the host has two flows.
func TestUDPTwoHosts(t *testing.T) {
	addresses(t)
	nstest.Leaks(t)
	s, front, f := forwardUDP(t, "udp6", "[::]:0", Config{})
	c := limit(t, listenUDP(t, "udp6", "[fd00:5::1]:0"))
	for _, host := range []string{"fd00:5::1", "fd00:5::2"} {
		to := netip.AddrPortFrom(netip.MustParseAddr(host), front.Port())
		answer(t, c, to, "question")
		answer(t, s, recv(t, s, "question"), "answer")
		if from := recv(t, c, "answer"); from != to {
			t.Errorf("answer from %s, want %s", from, to)
		}
	}
	if got := f.Stats().Flows; got != 2 {
		t.Errorf("%d flows, want 2", got)
	}
}

// A target that refuses does not end the flow: when it is there again the next
// datagram reaches it.
func TestUDPRefused(t *testing.T) {
	nstest.Leaks(t)
	s, front, f := forwardUDP(t, "udp6", "[::1]:0", Config{})
	c := dialUDP(t, front)
	write(t, c, "before")
	as := recv(t, s, "before")
	at := s.LocalAddr().String()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		write(t, c, "nobody")
	}
	s = limit(t, listenUDP(t, "udp4", at))
	// What was on its way may come too, but the last word is this one.
	write(t, c, "after")
	buf := make([]byte, 16)
	for {
		n, from, err := s.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		if from != as {
			t.Errorf("now from %s, before from %s", from, as)
		}
		if string(buf[:n]) == "after" {
			break
		}
	}
	if got := f.Stats(); got.Opened != 1 {
		t.Errorf("%+v, want one flow", got)
	}
}

func TestUDPMaxFlows(t *testing.T) {
	nstest.Leaks(t)
	s, front, f := forwardUDP(t, "udp6", "[::1]:0", Config{MaxFlows: 2})
	a, b, c := dialUDP(t, front), dialUDP(t, front), dialUDP(t, front)
	write(t, a, "a")
	asA := recv(t, s, "a")
	write(t, b, "b")
	asB := recv(t, s, "b")
	answer(t, s, asA, "to a") // so b is silent for longer
	recv(t, a, "to a")
	write(t, c, "c")
	recv(t, s, "c")
	if got := f.Stats(); got.Opened != 3 || got.Evicted != 1 {
		t.Errorf("%+v: want one evicted", got)
	}
	write(t, a, "a again")
	if got := recv(t, s, "a again"); got != asA {
		t.Error("a was evicted, and has spoken after b")
	}
	write(t, b, "b again")
	if got := recv(t, s, "b again"); got == asB {
		t.Error("b was not evicted")
	}
	eventually(t, "two flows", func() bool { return f.Stats().Flows == 2 })
}

// Two ports share the places of flows: one that has none left takes from its own, or drops.
func TestUDPShared(t *testing.T) {
	nstest.Leaks(t)
	shared := make(chan struct{}, 2)
	s, front, f := forwardUDP(t, "udp4", "127.0.0.1:0", Config{Flows: shared})
	s2, front2, f2 := forwardUDP(t, "udp4", "127.0.0.1:0", Config{Flows: shared, Idle: time.Second})
	a, b, c := dialUDP(t, front), dialUDP(t, front), dialUDP(t, front2)
	write(t, a, "a")
	recv(t, s, "a")
	write(t, b, "b")
	recv(t, s, "b")
	write(t, c, "dropped")
	write(t, a, "a again") // so b was silent for longer
	recv(t, s, "a again")
	d := dialUDP(t, front)
	write(t, d, "d")
	recv(t, s, "d")
	eventually(t, "the flow of b leaves", func() bool { return f.Stats().Flows == 2 })
	if got, got2 := f.Stats(), f2.Stats(); got.Evicted != 1 || got2.Opened != 0 || len(shared) != 2 {
		t.Errorf("%+v, %+v, %d places taken", got, got2, len(shared))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, c, "c")
	recv(t, s2, "c")
	eventually(t, "no flow", func() bool { return f2.Stats().Flows == 0 && len(shared) == 0 })
}

func TestUDPMany(t *testing.T) {
	nstest.Leaks(t)
	s, front, f := forwardUDP(t, "udp6", "[::1]:0", Config{})
	go func() { // echo
		buf := make([]byte, 100)
		for {
			n, from, err := s.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = s.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	// A socket's receive buffer holds 256 datagrams as small as these, of which the
	// kernel may count a quarter that has been read already: more at once can be lost.
	const many, atOnce = 200, 100
	speak := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			speak <- struct{}{}
			defer func() { <-speak }()
			c := dialUDP(t, front)
			for j := range 5 {
				text := fmt.Sprint(i, " ", j)
				if _, err := c.Write([]byte(text)); err != nil {
					t.Error(err)
				}
				buf := make([]byte, 100)
				if n, err := c.Read(buf); err != nil || string(buf[:n]) != text {
					t.Errorf("got %q, %v; want %q", buf[:n], err, text)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := f.Stats(); got.Flows != many || got.Opened != many || got.Evicted != 0 {
		t.Errorf("%+v, want %d flows", got, many)
	}
}

func TestUDPClosed(t *testing.T) {
	nstest.Leaks(t)
	f := New(Config{Target: netip.MustParseAddrPort("127.0.0.1:9")})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c := listenUDP(t, "udp4", "127.0.0.1:0")
	if err := f.ServeUDP(c); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is open: %v", err)
	}
}

// fakeSocket is a socket of the host without a kernel, so that the clock is the
// test's.
type fakeSocket struct {
	in, out chan string
	closed  chan struct{}
}

var fakeClient = netip.MustParseAddrPort("[2001:db8::1]:1000")

func (s *fakeSocket) ReadMsgUDPAddrPort(b, _ []byte) (n, oobn, flags int, addr netip.AddrPort, err error) {
	select {
	case text := <-s.in:
		return copy(b, text), 0, 0, fakeClient, nil
	case <-s.closed:
		return 0, 0, 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (s *fakeSocket) WriteMsgUDPAddrPort(b, _ []byte, addr netip.AddrPort) (n, oobn int, err error) {
	if addr == fakeClient {
		s.out <- string(b)
	}
	return len(b), 0, nil
}

func (s *fakeSocket) Close() error {
	close(s.closed)
	return nil
}

func TestUDPIdle(t *testing.T) {
	const second = time.Second
	for _, tt := range []struct {
		name string
		idle time.Duration
		// pauses are followed by a word: of the client, or of the target.
		pauses []time.Duration
		target bool
		// opened is how many flows it takes.
		opened uint64
	}{
		{"a flow lives on while the client speaks", 0, []time.Duration{89 * second, 89 * second, 89 * second}, false, 1},
		{"a flow lives on while the target speaks", 0, []time.Duration{89 * second, 89 * second, 89 * second}, true, 1},
		{"a flow that is silent for 90 s ends", 0, []time.Duration{91 * second, 10 * second, 91 * second}, false, 3},
		{"the limit can be set", 5 * second, []time.Duration{4 * second, 6 * second}, false, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				targets := make(chan net.Conn, 10)
				f := New(Config{Idle: tt.idle, Dial: func(context.Context, string, string) (net.Conn, error) {
					a, b := net.Pipe()
					targets <- b
					return a, nil
				}})
				s := &fakeSocket{make(chan string), make(chan string), make(chan struct{})}
				if err := f.serveUDP(s, noControl{}); err != nil {
					t.Fatal(err)
				}
				var target net.Conn
				say := func() {
					s.in <- "q"
					synctest.Wait()
					if len(targets) > 0 {
						target = <-targets
					}
					read(t, target, "q")
				}
				say()
				for _, p := range tt.pauses {
					time.Sleep(p) // of the bubble's clock
					synctest.Wait()
					if !tt.target {
						say()
						continue
					}
					write(t, target, "a")
					if got := <-s.out; got != "a" {
						t.Errorf("got %q", got)
					}
				}
				if got := f.Stats(); got.Opened != tt.opened || got.Flows != 1 {
					t.Errorf("%+v, want %d opened and one left", got, tt.opened)
				}
				time.Sleep(2 * 90 * second)
				synctest.Wait()
				if got := f.Stats(); got.Flows != 0 {
					t.Errorf("%+v: want none left", got)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func BenchmarkUDP(b *testing.B) {
	for _, way := range []string{"direct", "forwarded"} {
		b.Run("round trip/"+way, func(b *testing.B) {
			s, to, _ := forwardUDP(b, "udp6", "[::]:0", Config{})
			if way == "direct" {
				to = addrPort(s.LocalAddr())
			} else {
				to = netip.AddrPortFrom(netip.IPv6Loopback(), to.Port())
			}
			go func() {
				buf := make([]byte, 2048)
				for {
					n, from, err := s.ReadFromUDPAddrPort(buf)
					if err != nil {
						return
					}
					_, _ = s.WriteToUDPAddrPort(buf[:n], from)
				}
			}()
			c := dialUDP(b, to)
			msg := make([]byte, 512)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(msg); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Read(msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
