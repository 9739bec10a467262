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
// TCP and UDP. Apart, which is for [::], opens it only to those that are sent to ::1 and
// to link-local addresses. A port that is not held by a socket is a NoService error. The
// caller closes the file, and calls Rest when nobody serves the port any more.
func (h *Holder) Serve(proto uint8, at netip.AddrPort, apart bool) (*os.File, error) {
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
	if apart {
		err = filter(fd, apartFilter())
	} else {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	if proto == unix.IPPROTO_TCP {
		if err := unix.Listen(fd, backlog); err != nil { // sets a new length
			_ = f.Close()
			return nil, os.NewSyscallError("listen", err)
		}
	}
	return f, nil
}

// apartFilter passes IPv6 packets to ::1 and to fe80::/10. Connections that are accepted
// inherit it.
func apartFilter() []unix.SockFilter {
	const dest = 24 // of the address in the header (RFC 8200, 3)
	load := func(word uint32) unix.SockFilter {
		// From the network header on (SKF_NET_OFF, linux/filter.h).
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0xfff00000 + dest + 4*word}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	return []unix.SockFilter{
		load(0), unless(0, 7), // ::1
		load(1), unless(0, 8),
		load(2), unless(0, 6),
		load(3), unless(1, 4),
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xffc00000}, // fe80::/10
		unless(0xfe800000, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
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
