package hostport_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

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
	if _, err := h.Serve(tcp, at); !errors.As(err, new(types.NoServiceError)) {
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
	f, err := h.Serve(tcp, at)
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
