package hostport

import (
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/types"
)

// backlog is how many connections wait to be accepted at most.
const backlog = 1024

// Serve opens the socket that holds a port to packets, and returns it. It is for
// TCP and UDP. A port that is not held by a socket is a NoService error. The
// caller closes the file, and calls Rest when nobody serves the port any more.
func (h *Holder) Serve(proto uint8, at netip.AddrPort) (*os.File, error) {
	what := protocol(proto) + " port " + at.String()
	if err := h.Steps.Next("hostport: serve " + what); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.findLocked(proto, at)
	if o == nil {
		return nil, types.NoServiceErrorf("%s has no socket that could be served: the limit of held ports is reached, or another program has the port", what)
	}
	fd, err := unix.FcntlInt(uintptr(o.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), what)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
		_ = f.Close()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if proto == unix.IPPROTO_TCP {
		if err := unix.Listen(fd, backlog); err != nil { // sets a new length
			_ = f.Close()
			return nil, os.NewSyscallError("listen", err)
		}
	}
	return f, nil
}

// Rest makes the socket of a port answer nobody again. A port that is not held is
// no error.
func (h *Holder) Rest(proto uint8, at netip.AddrPort) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if o := h.findLocked(proto, at); o != nil {
		return deafen(o.fd)
	}
	return nil
}

func (h *Holder) findLocked(proto uint8, at netip.AddrPort) *Hold {
	list := h.held[place{proto, at.Port()}]
	if i := slices.IndexFunc(list, func(o *Hold) bool { return o.host == at.Addr() }); i >= 0 {
		return list[i]
	}
	return nil
}
