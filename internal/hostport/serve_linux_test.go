package hostport_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// The socket that holds a port answers while it is served, and nobody before and
// after that; the port is held all the time.
func TestServe(t *testing.T) {
	nstest.Require(t, nstest.Root)
	nstest.Leaks(t)
	var h hostport.Holder
	at := netip.MustParseAddrPort("[::]:8080")
	if _, err := h.Serve(tcp, at, false); !errors.As(err, new(types.NoServiceError)) {
		t.Fatalf("got %v for a port that nobody holds, want NoService", err)
	}
	hold, err := h.Reserve(t.Context(), tcp, at.Addr(), at.Port(), at.Port())
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	answers := func() bool {
		c, err := net.DialTimeout("tcp", "[::1]:8080", 300*time.Millisecond)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	if answers() {
		t.Error("it answers before it is served")
	}
	f, err := h.Serve(tcp, at, false)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	c, err := net.Dial("tcp", "[::1]:8080")
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = got.Close()
	if err := errors.Join(h.Rest(tcp, at), l.Close()); err != nil {
		t.Fatal(err)
	}
	if answers() {
		t.Error("it answers when it is not served any more")
	}
	if done, err := foreign(tcp, "[::]:8080", true); err == nil {
		done()
		t.Error("the port is not held any more")
	}
	if err := hold.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Rest(tcp, at); err != nil {
		t.Error(err)
	}
}

// A socket that is served apart answers at ::1 and at link-local addresses alone; to
// others it says nothing, nor that a connection is unknown.
func TestServeApart(t *testing.T) {
	nstest.Require(t, nstest.Root, nstest.IPv6)
	nstest.Leaks(t)
	addrs := map[string]bool{ // and whether they are answered
		"::1": true, "fe80::5": true, "febf::5": true, "fd00:5::1": false, "::2": false, "::1:0:1": false, "0:0:1::1": false, "0:1::1": false, "fec0::1": false,
	}
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	for a := range addrs {
		if a != "::1" {
			ip("addr", "replace", a+"/128", "dev", "lo", "nodad")
			defer ip("addr", "del", a+"/128", "dev", "lo")
		}
	}
	for _, proto := range []uint8{tcp, udp} {
		var h hostport.Holder
		at := netip.MustParseAddrPort("[::]:8080")
		hold, err := h.Reserve(t.Context(), proto, at.Addr(), at.Port(), at.Port())
		if err != nil {
			t.Fatal(err)
		}
		f, err := h.Serve(proto, at, true)
		if err != nil {
			t.Fatal(err)
		}
		var served io.Closer
		if proto == tcp {
			l, err := net.FileListener(f)
			if err != nil {
				t.Fatal(err)
			}
			go echoTCP(l)
			served = l
		} else {
			c, err := net.FilePacketConn(f)
			if err != nil {
				t.Fatal(err)
			}
			go echoUDP(c)
			served = c
		}
		_ = f.Close()
		for a, want := range addrs {
			host := a
			if strings.HasPrefix(a, "fe8") || strings.HasPrefix(a, "feb") {
				host += "%lo"
			}
			network := map[uint8]string{tcp: "tcp", udp: "udp"}[proto]
			if got := echoed(t, network, net.JoinHostPort(host, "8080")); got != want {
				t.Errorf("%s to %s is answered: %t, want %t", network, a, got, want)
			}
		}
		if err := errors.Join(served.Close(), hold.Close()); err != nil {
			t.Error(err)
		}
	}
}

func echoTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c)
		_ = c.Close()
	}
}

func echoUDP(c net.PacketConn) {
	buf := make([]byte, 100)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(buf[:n], from)
	}
}

// echoed says whether an address answers what it is told. It refuses nothing.
func echoed(t *testing.T, network, to string) bool {
	t.Helper()
	c, err := net.DialTimeout(network, to, 200*time.Millisecond)
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = c.Write([]byte("hello"))
		_, err = io.ReadFull(c, make([]byte, 5))
	}
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%s to %s: %v", network, to, err)
	}
	return err == nil
}
