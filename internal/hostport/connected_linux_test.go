package hostport_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/conntrack"
	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// A port by which a program has a connection that is not tracked is refused: what its peer sends
// next would be translated. One that is tracked is not harmed.
func TestReserveConnected(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.Conntrack)
	const local = 7005
	for _, tt := range []struct {
		name, network, addr string
		tracked, closed     bool
		refused             bool
	}{
		{name: "older than tracking", network: "tcp4", addr: "127.0.0.1", refused: true},
		{name: "of IPv6", network: "tcp6", addr: "::1", refused: true},
		{name: "of a socket of both families", network: "tcp", addr: "::ffff:127.0.0.1", refused: true},
		{name: "tracked", network: "tcp4", addr: "127.0.0.1", tracked: true},
		{name: "tracked, of IPv6", network: "tcp6", addr: "::1", tracked: true},
		{name: "closed by us", network: "tcp4", addr: "127.0.0.1", closed: true},
	} {
		for _, before := range []uint16{0, 2} {
			t.Run(tt.name+", ports beside it "+strconv.Itoa(int(before)), func(t *testing.T) {
				nstest.Run(t, func() {
					nstest.Command(t, "ip", "link", "set", "lo", "up")
					track := func() {
						nstest.Command(t, "nft", "add table inet t; add chain inet t in { type filter hook prerouting priority 0; }; "+
							"add chain inet t out { type filter hook output priority 0; }; add rule inet t in ct state new; add rule inet t out ct state new")
					}
					if tt.tracked {
						track()
					}
					client, server := connectFrom(t, tt.addr, local)
					if tt.closed {
						_ = unix.Close(client)
						_ = server.Close()
						for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
							left := strings.TrimSpace(nstest.Command(t, "ss", "-Htn", "state", "connected", "exclude", "time-wait"))
							if left == "" {
								break
							}
							if time.Now().After(end) {
								t.Fatalf("connections are left: %s", left)
							}
						}
					} else {
						defer unix.Close(client)
						defer server.Close()
					}
					if !tt.tracked {
						track()
					}
					var f conntrack.Flusher
					defer f.Close()
					h := hostport.Holder{Tracked: func(ctx context.Context, local, remote netip.AddrPort) (bool, error) {
						return f.Tracks(ctx, unix.IPPROTO_TCP, local, remote)
					}}
					host := netip.IPv4Unspecified()
					if tt.network == "tcp6" {
						host = netip.IPv6Unspecified()
					}
					for _, port := range []uint16{local, uint16(server.LocalAddr().(*net.TCPAddr).Port)} { // who began, and who did not
						hold, err := h.Reserve(t.Context(), tcp, host, port-before, port+before)
						if hold != nil {
							defer hold.Close()
						}
						if !tt.refused && err != nil {
							t.Errorf("port %d: %v", port, err)
						}
						if tt.refused && (!errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "(pid "+strconv.Itoa(os.Getpid())+") has a connection")) {
							t.Errorf("port %d: %v, want one that is in use by us", port, err)
						}
					}
				})
			})
		}
	}
}

// connectFrom connects by a local port that others may bind too.
func connectFrom(t *testing.T, addr string, port int) (client int, server net.Conn) {
	t.Helper()
	at := netip.MustParseAddr(addr)
	l, err := net.Listen("tcp", netip.AddrPortFrom(at.Unmap(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer := l.Addr().(*net.TCPAddr).Port
	family, from, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: port, Addr: at.As16()}), unix.Sockaddr(&unix.SockaddrInet6{Port: peer, Addr: at.As16()})
	if at.Is4() {
		family, from, to = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: at.As4()}, &unix.SockaddrInet4{Port: peer, Addr: at.As4()}
	}
	client, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		unix.SetsockoptInt(client, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(client, from), unix.Connect(client, to),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}
