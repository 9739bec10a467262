package hostport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/types"
)

// connectedStates are those in which a TCP socket may get segments that belong to it: all but
// TIME_WAIT, SYN_RECV, CLOSE and LISTEN.
const connectedStates = 1<<1 | 1<<2 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11

// checkConnected refuses ports by which a program of this host has a TCP connection that is not
// tracked, as it is older than the first rule that needs that: the next segment of its peer would
// begin a connection for the kernel, and be translated.
func (h *Holder) checkConnected(ctx context.Context, hold *Hold, proto uint8, host netip.Addr, first, last uint16) error {
	host = host.Unmap()
	req := make([]byte, tcpDiagLen)
	binary.NativeEndian.PutUint32(req[52:], connectedStates)
	socks, err := dump(ctx, proto, host, 0, []netlink.Message{{Header: netlink.Header{Type: tcpDiag}, Data: req}})
	if err != nil {
		return nil // as where the kernel cannot list its sockets
	}
	for _, s := range socks {
		if s.port < first || s.port > last || s.peer.Port() == 0 {
			continue
		}
		at := netip.AddrPortFrom(s.addr.Unmap(), s.port)
		tracked, err := h.Tracked(ctx, at, netip.AddrPortFrom(s.peer.Addr().Unmap(), s.peer.Port()))
		if err != nil {
			return fmt.Errorf("looking for the connection of TCP port %s: %w", at, err)
		}
		if tracked || h.serves(hold, proto, s) {
			continue
		}
		who := h.programs.of(ctx, []socket{s})
		if who == "" {
			who = "a program that is not visible here"
		}
		return types.ForbiddenErrorf("%s port %s is in use: %s has a connection by it with %s: %w",
			protocol(proto), netip.AddrPortFrom(host, s.port), who, s.peer, unix.EADDRINUSE)
	}
	return nil
}

// bound says whether a socket is bound to a port, be it one that lets others bind it too.
func bound(host netip.Addr, port uint16) bool {
	host = host.Unmap()
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(port), Addr: host.As16()})
	if host.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(port), Addr: host.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = release(fd) }()
	return errors.Is(unix.Bind(fd, sa), unix.EADDRINUSE)
}

// serves says whether a socket is of a connection to a port that we held before a hold, and serve.
func (h *Holder) serves(hold *Hold, proto uint8, s socket) bool {
	h.mu.Lock()
	other := slices.ContainsFunc(h.held[place{proto, s.port}], func(o *Hold) bool { return o != hold })
	h.mu.Unlock()
	if !other {
		return false
	}
	own, _ := os.ReadDir("/proc/self/fd")
	return slices.ContainsFunc(own, func(fd os.DirEntry) bool {
		to, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		return to == fmt.Sprintf("socket:[%d]", s.inode)
	})
}
