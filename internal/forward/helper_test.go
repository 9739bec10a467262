package forward

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// patience is how long a test waits for what must come. It is no bound of what
// is tested: it keeps a test that fails from hanging.
const patience = 20 * time.Second

func listenTCP(t testing.TB, addr string) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func listenUDP(t testing.TB, network, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	return netip.MustParseAddrPort(a.String())
}

func closed(t testing.TB, f *Forwarder) *Forwarder {
	t.Helper()
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// forwardTCP returns a server's listener and the address from which a forwarder
// leads to it.
func forwardTCP(t testing.TB, cfg Config) (server *net.TCPListener, front netip.AddrPort, f *Forwarder) {
	t.Helper()
	server = listenTCP(t, "127.0.0.1:0")
	cfg.Target = addrPort(server.Addr())
	f = closed(t, New(cfg))
	l := listenTCP(t, "[::1]:0")
	front = addrPort(l.Addr())
	if err := f.ServeTCP(l); err != nil {
		t.Fatal(err)
	}
	return server, front, f
}

func dialTCP(t testing.TB, to netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return limit(t, c)
}

func accept(t testing.TB, l *net.TCPListener) *net.TCPConn {
	t.Helper()
	if err := l.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return limit(t, c)
}

func limit[C net.Conn](t testing.TB, c C) C {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t testing.TB, c io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// read reads exactly the text.
func read(t testing.TB, c io.Reader, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
		t.Fatalf("read %q, %v; want %q", buf, err, want)
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
