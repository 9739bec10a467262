package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

func TestTCPHalfClose(t *testing.T) {
	for _, tt := range []struct{ name, first string }{
		{"the client ends its direction and is still answered", "client"},
		{"the server ends its direction and still gets what the client sends", "server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nstest.Leaks(t)
			l, front, f := forwardTCP(t, Config{})
			a := dialTCP(t, front)
			b := accept(t, l)
			if tt.first == "server" {
				a, b = b, a
			}
			write(t, a, "question")
			if err := a.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(b); string(got) != "question" || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
			write(t, b, "answer")
			read(t, a, "answer")
			if s := f.Stats(); s.Conns != 1 {
				t.Errorf("%+v: half a connection counts", s)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(a); len(got) > 0 || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
			eventually(t, "the connection ends", func() bool { return f.Stats().Conns == 0 })
		})
	}
}

func TestTCPReset(t *testing.T) {
	readErr := func(c net.Conn) error {
		_, err := c.Read(make([]byte, 1))
		return err
	}
	for _, tt := range []struct {
		name string
		// broken resets one side and returns what the other gets.
		broken func(client, server *net.TCPConn) error
	}{
		{"of the client reaches the server", func(c, s *net.TCPConn) error { reset(c); return readErr(s) }},
		{"of the server reaches the client", func(c, s *net.TCPConn) error { reset(s); return readErr(c) }},
		{"of a client that has ended its direction reaches a server that sends", func(c, s *net.TCPConn) error {
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, s) // the end has arrived
			reset(c)
			_, err := io.Copy(s, zeros{})
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nstest.Leaks(t)
			l, front, f := forwardTCP(t, Config{})
			c := dialTCP(t, front)
			s := accept(t, l)
			write(t, c, "x")
			read(t, s, "x")
			if err := tt.broken(c, s); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("got %v, want a reset", err)
			}
			eventually(t, "the connection ends", func() bool { return f.Stats().Conns == 0 })
		})
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// cutOff connects and returns how the connection ends. A reset may come before
// the connect has returned.
func cutOff(to netip.AddrPort) error {
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Read(make([]byte, 1))
	return err
}

func TestTCPRefused(t *testing.T) {
	nstest.Leaks(t)
	var text bytes.Buffer
	l, front, f := forwardTCP(t, Config{Logger: slog.New(slog.NewTextHandler(&text, nil))})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	const many = 20
	for range many {
		if err := cutOff(front); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want a reset", err)
		}
	}
	if s := f.Stats(); s.Failed != many || s.Accepted != many {
		t.Errorf("%+v", s)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text.String(), "connection refused"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, &text)
	}
}

func TestTCPDialFails(t *testing.T) {
	nstest.Leaks(t)
	a, b := net.Pipe()
	defer b.Close()
	_, front, _ := forwardTCP(t, Config{Dial: func(context.Context, string, string) (net.Conn, error) { return a, nil }})
	if err := cutOff(front); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset: a pipe has no half-close", err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the pipe is left open: %v", err)
	}
}

// Many connections at once, each way its own bytes, end at both ends.
func TestTCPMany(t *testing.T) {
	nstest.Leaks(t)
	l, front, f := forwardTCP(t, Config{})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // answers when it has got everything
				defer c.Close()
				all, _ := io.ReadAll(c)
				_, _ = c.Write(all)
			}()
		}
	}()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			sent := make([]byte, 100_000+i)
			_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(sent)
			c := dialTCP(t, front)
			defer c.Close()
			if _, err := c.Write(sent); err != nil {
				t.Error(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("got %d bytes of %d, %v", len(got), len(sent), err)
			}
		})
	}
	wg.Wait()
	eventually(t, "all end", func() bool { return f.Stats().Conns == 0 })
	if s := f.Stats(); s.Accepted != 64 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

func TestTCPMaxConns(t *testing.T) {
	nstest.Leaks(t)
	l, front, f := forwardTCP(t, Config{MaxConns: 2})
	first, second := dialTCP(t, front), dialTCP(t, front)
	accept(t, l)
	accept(t, l)
	third := dialTCP(t, front) // in the queue
	write(t, third, "x")
	if s := f.Stats(); s.Conns != 2 || s.Accepted != 2 {
		t.Errorf("%+v: want 2", s)
	}
	reset(first)
	read(t, accept(t, l), "x")
	if s := f.Stats(); s.Accepted != 3 {
		t.Errorf("%+v: want a third", s)
	}
	write(t, second, "still there")
}

// Forwarders that share what they may carry leave descriptors for all else.
func TestTCPShared(t *testing.T) {
	nstest.Leaks(t)
	shared := make(chan struct{}, 2)
	l, front, f := forwardTCP(t, Config{Conns: shared})
	l2, front2, f2 := forwardTCP(t, Config{Conns: shared})
	first, second := dialTCP(t, front), dialTCP(t, front2)
	accept(t, l)
	accept(t, l2)
	third := dialTCP(t, front2) // waits
	write(t, third, "x")
	if a, b := f.Stats().Conns, f2.Stats().Conns; a != 1 || b != 1 {
		t.Errorf("%d and %d connections, want 1 of each", a, b)
	}
	reset(first)
	read(t, accept(t, l2), "x")
	write(t, second, "still there")
	fourth := dialTCP(t, front)
	defer fourth.Close() // one that waits ends with its forwarder
}

func TestClose(t *testing.T) {
	nstest.Leaks(t)
	l, front, f := forwardTCP(t, Config{})
	c := dialTCP(t, front)
	s := accept(t, l)
	// A connection whose dial is broken off, as the kernel has made it already, just
	// ends.
	if _, err := c.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, side := range []*net.TCPConn{c, s} {
		if _, err := side.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want a reset: the stream was cut", err)
		}
	}
	if _, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(front)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the port is still there: %v", err)
	}
	late := listenTCP(t, "127.0.0.1:0")
	if err := f.ServeTCP(late); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if _, err := late.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the late listener is open: %v", err)
	}
}

// Close does not wait for a target that does not answer.
func TestCloseWhileDialing(t *testing.T) {
	nstest.Leaks(t)
	dialing := make(chan struct{})
	_, front, f := forwardTCP(t, Config{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		close(dialing)
		<-ctx.Done()
		return nil, fmt.Errorf("dial %s %s: %w", network, address, ctx.Err())
	}})
	c := dialTCP(t, front)
	<-dialing
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

func BenchmarkTCP(b *testing.B) {
	for _, way := range []string{"direct", "forwarded"} {
		b.Run("throughput/"+way, func(b *testing.B) {
			l, to := benchTarget(b, way)
			done := make(chan struct{})
			go func() {
				defer close(done)
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				_, _ = io.Copy(io.Discard, onlyReader{c})
			}()
			c := dialBench(b, to)
			buf := make([]byte, 256<<10)
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				if _, err := c.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			_ = c.CloseWrite()
			<-done
		})
		b.Run("connect/"+way, func(b *testing.B) {
			l, to := benchTarget(b, way)
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = c.Write([]byte{1})
					_ = c.Close()
				}
			}()
			for b.Loop() {
				c := dialBench(b, to)
				if _, err := io.ReadAll(c); err != nil {
					b.Fatal(err)
				}
				_ = c.Close()
			}
		})
	}
}

// onlyReader keeps io.Copy from its short cuts.
type onlyReader struct{ io.Reader }

func benchTarget(b *testing.B, way string) (*net.TCPListener, netip.AddrPort) {
	b.Helper()
	b.ReportAllocs()
	l, front, _ := forwardTCP(b, Config{})
	if way == "direct" {
		return l, addrPort(l.Addr())
	}
	return l, front
}

func dialBench(b *testing.B, to netip.AddrPort) *net.TCPConn {
	b.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		b.Fatal(err)
	}
	return c
}
