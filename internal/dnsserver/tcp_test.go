package dnsserver

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func dialTCP(t *testing.T, addr string) *dns.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &dns.Conn{Conn: c}
}

func frame(tb testing.TB, m *dns.Msg) []byte {
	tb.Helper()
	b := pack(tb, m)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

func TestTCP(t *testing.T) {
	t.Run("half messages do not stall others", func(t *testing.T) {
		_, udp, tcp := start(t, Config{})
		whole := frame(t, question("web.", dns.TypeA))
		for _, part := range [][]byte{nil, {0}, {0, 0}, {0xff, 0xff}, whole[:2], whole[:len(whole)-1]} {
			c := dialTCP(t, tcp)
			if _, err := c.Conn.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		for network, addr := range map[string]string{"udp": udp, "tcp": tcp} {
			if r := ask(t, network, addr, question("web.", dns.TypeA)); len(r.Answer) != 1 {
				t.Errorf("%s: %v", network, r)
			}
		}
	})
	t.Run("a message in pieces", func(t *testing.T) {
		_, _, tcp := start(t, Config{})
		c := dialTCP(t, tcp)
		for _, b := range frame(t, question("web.", dns.TypeA)) {
			if _, err := c.Conn.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := c.ReadMsg(); err != nil || len(r.Answer) != 1 {
			t.Errorf("reply %v, %v", r, err)
		}
	})
	t.Run("zero length ends the connection", func(t *testing.T) {
		_, _, tcp := start(t, Config{})
		c := dialTCP(t, tcp)
		if _, err := c.Conn.Write([]byte{0, 0}); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %d, %v; want the end", n, err)
		}
	})
	t.Run("a silent connection is closed", func(t *testing.T) {
		_, _, tcp := start(t, Config{IdleTimeout: 10 * time.Millisecond})
		c := dialTCP(t, tcp)
		if _, err := c.Conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read: %v, want EOF", err)
		}
	})
	t.Run("pipelined queries, a slow one does not hold up the next", func(t *testing.T) {
		release := make(chan struct{})
		up := startUpstream(t, func(q *dns.Msg) *dns.Msg { <-release; return reply(q, "192.0.2.1") })
		_, _, tcp := start(t, Config{Upstreams: upstreams(up)})
		c := dialTCP(t, tcp)
		slow, fast := question("slow.test.", dns.TypeA), question("web.", dns.TypeA)
		slow.Id, fast.Id = 1, 2
		if _, err := c.Conn.Write(append(frame(t, slow), frame(t, fast)...)); err != nil {
			t.Fatal(err)
		}
		// The client may close its side before the last reply.
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []uint16{2, 1} {
			r, err := c.ReadMsg()
			if err != nil {
				t.Fatal(err)
			}
			if r.Id != want || len(r.Answer) != 1 {
				t.Errorf("reply %v, want id %d", r, want)
			}
			if want == 2 {
				close(release)
			}
		}
	})
	t.Run("too many connections", func(t *testing.T) {
		s, _, tcp := start(t, Config{MaxConns: 4, IdleTimeout: time.Hour})
		first := dialTCP(t, tcp)
		for s.Stats().Conns < 1 {
			runtime.Gosched()
		}
		for range 3 {
			dialTCP(t, tcp)
		}
		for s.Stats().Conns < 4 {
			runtime.Gosched()
		}
		if r := ask(t, "tcp", tcp, question("web.", dns.TypeA)); len(r.Answer) != 1 {
			t.Errorf("reply %v", r)
		}
		if _, err := first.Conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("oldest connection: %v, want EOF", err)
		}
		if n := s.Stats().Conns; n > 4 {
			t.Errorf("%d connections", n)
		}
	})
	t.Run("a client that never reads", func(t *testing.T) {
		_, _, tcp := start(t, Config{})
		deaf := dialTCP(t, tcp)
		big := frame(t, question("crowd6.", dns.TypeAAAA))
		// As many replies as no pair of socket buffers holds.
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 1000 {
				if _, err := deaf.Conn.Write(big); err != nil {
					return
				}
			}
		})
		if r := ask(t, "tcp", tcp, question("web.", dns.TypeA)); len(r.Answer) != 1 {
			t.Errorf("reply %v", r)
		}
		if err := deaf.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}

func TestClose(t *testing.T) {
	up := silent(t)
	s, udp, tcp := start(t, Config{Upstreams: upstreams(up), Timeout: time.Hour, IdleTimeout: time.Hour})
	c, err := net.Dial("udp", udp)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write(pack(t, question("a.test.", dns.TypeA))); err != nil {
		t.Fatal(err)
	}
	if err := dialTCP(t, tcp).WriteMsg(question("b.test.", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	dialTCP(t, tcp) // idle
	for s.Stats().Conns < 2 || up.count.Load() < 2 {
		runtime.Gosched()
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	wg.Wait()
	buf := make([]byte, 1<<20)
	if stacks := string(buf[:runtime.Stack(buf, true)]); strings.Contains(stacks, "dnsserver.(*Server).") || strings.Contains(stacks, "dnsserver.(*udpSocket).") {
		t.Errorf("goroutines left:\n%s", stacks)
	}
	if got := s.Stats(); got.Outstanding != 0 || got.Conns != 0 {
		t.Errorf("left: %+v", got)
	}
	u, l := listenUDP(t), listenTCP(t)
	if err := s.Serve([]net.PacketConn{u}, []net.Listener{l}); !errors.Is(err, ErrClosed) {
		t.Errorf("serve after close: %v", err)
	}
	if _, err := u.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("socket given to a closed server: %v, want closed", err)
	}
	s.SetUpstreams(nil)
	s.FlushUpstreams()
}

// wrapped hides that a socket is a net.UDPConn.
type wrapped struct{ net.PacketConn }

func TestOtherPacketConn(t *testing.T) {
	s := newServer(t, Config{})
	u := listenUDP(t)
	if err := s.Serve([]net.PacketConn{wrapped{u}, listenUDP(t)}, nil); err != nil {
		t.Fatal(err)
	}
	if r := ask(t, "udp", u.LocalAddr().String(), question("web.", dns.TypeA)); len(r.Answer) != 1 {
		t.Errorf("reply %v", r)
	}
}
