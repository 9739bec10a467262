package hostport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// A Holder holds ports in the network namespace of the calling thread. The zero
// value is ready.
//
// A held port is taken for other programs, with one exception: where holds of
// ours overlap, on all addresses and on one, a program of the same user that sets
// SO_REUSEPORT may share it.
type Holder struct {
	// Steps counts reservations; nil counts nothing.
	Steps *step.Counter
	// Limit is how many ports are held at most, since each is a descriptor: 0 for
	// DefaultLimit, less than 0 for none. What is above it is checked alone.
	Limit int
	// Tracked says whether the kernel knows the TCP connection of a socket of this host; nil
	// leaves connections unasked for.
	Tracked func(ctx context.Context, local, remote netip.AddrPort) (bool, error)

	// mu stands above held and count, and is kept while sockets are bound, which waits for
	// nothing: else a reservation could take a sibling's half-made one for a
	// foreign program.
	mu    sync.Mutex
	held  map[place][]*Hold
	count int // of sockets
	// checked stands for all single ports without a socket: they may be many.
	checked *Hold

	programs programs
}

// place is a port of all addresses.
type place struct {
	proto uint8
	port  uint16
}

// A Hold keeps a port until it is closed, or says how it is kept otherwise.
type Hold struct {
	h     *Holder
	proto uint8
	host  netip.Addr
	port  uint16
	fd    int // guarded by Holder.mu; -1 without a socket
	how   How
}

// How says how the port is kept from others.
func (o *Hold) How() How { return o.how }

// Reserve takes the ports from first to last of a host address, the unspecified
// one for all addresses of its family. All or none: else the error has the class
// Forbidden, names the port and the program that has it, and wraps EADDRINUSE. An address
// that the host does not have, or that is of many, is a BadRequest error.
//
// A single port is held by a socket, up to the limit. Above it the port is bound
// for a moment, which shows that it is free. A range is looked up in one dump of
// the sockets of its protocol, of TCP those that listen, and not held. Where the kernel
// has no sockets of the protocol, nobody can be in the way. TCP connections by such a local
// port are in the way if they are not tracked; of a single port they are looked for only where
// a socket is bound to it.
func (h *Holder) Reserve(ctx context.Context, proto uint8, host netip.Addr, first, last uint16) (*Hold, error) {
	if host = host.Unmap(); host.IsMulticast() || isBroadcast(host) {
		return nil, types.BadRequestErrorf("%s port %s: %s is the address of many machines: choose one of this host's own",
			protocol(proto), netip.AddrPortFrom(host, first), host)
	}
	connected := proto == unix.IPPROTO_TCP && h.Tracked != nil && (first != last || bound(host, first))
	hold, err := h.reserve(ctx, bind, lookAgain, false, proto, host, first, last)
	if err != nil || !connected {
		return hold, err
	}
	if err := h.checkConnected(ctx, hold, proto, host, first, last); err != nil {
		return nil, errors.Join(err, hold.Close())
	}
	return hold, nil
}

// isBroadcast says whether an address is that of all machines of a network: who has not asked
// to send to many is refused (ip(7), SO_BROADCAST).
func isBroadcast(host netip.Addr) bool {
	if host == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true // no route may lead there
	}
	if !host.Is4() || host.IsUnspecified() {
		return false
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Port: 9, Addr: host.As4()}
	return errors.Is(unix.Connect(fd, to), unix.EACCES) && // or a route refuses all
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1) == nil && unix.Connect(fd, to) == nil
}

// Resume is Reserve for ports that were published before. The host may get their
// address later: one of IPv6 is not to be had while the kernel looks for duplicates, and
// one from DHCP comes when it comes. What must have a socket gets one beyond the limit.
func (h *Holder) Resume(ctx context.Context, proto uint8, host netip.Addr, first, last uint16, must bool) (*Hold, error) {
	return h.reserve(ctx, bindFree, 0, must, proto, host, first, last)
}

func (h *Holder) reserve(ctx context.Context, bind bindFunc, again int, must bool, proto uint8, host netip.Addr, first, last uint16) (*Hold, error) {
	host = host.Unmap()
	if err := valid(proto, []netip.Addr{host}, first, last); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := h.Steps.Next("hostport: reserve"); err != nil {
		return nil, err
	}
	if first != last {
		return h.checkRange(ctx, bind, proto, host, first, last)
	}
	hold, err := h.takeBy(bind, must, proto, host, first)
	for range again {
		if !errors.Is(err, unix.EADDRINUSE) || h.isHeld(ctx, proto, host, first) {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(lookPause):
		}
		hold, err = h.takeBy(bind, must, proto, host, first)
	}
	if err != nil {
		return nil, h.explain(ctx, proto, host, first, err)
	}
	return hold, nil
}

// How often, and after which pause, a port is tried again that was in use when nobody was
// found who had it: he may just have gone.
const (
	lookAgain = 3
	lookPause = 10 * time.Millisecond
)

// isHeld says whether a program is found that has a port.
func (h *Holder) isHeld(ctx context.Context, proto uint8, host netip.Addr, port uint16) bool {
	socks, err := sockets(ctx, proto, host, port)
	return err == nil && h.programs.of(ctx, socks) != ""
}

// take binds a port, and keeps the socket if there may be one more.
func (h *Holder) take(proto uint8, host netip.Addr, port uint16) (*Hold, error) {
	return h.takeBy(bind, false, proto, host, port)
}

// bindFunc opens a socket that has a port and takes no packet.
type bindFunc func(proto uint8, host netip.Addr, port uint16, share bool) (int, error)

func (h *Holder) takeBy(bind bindFunc, must bool, proto uint8, host netip.Addr, port uint16) (*Hold, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := place{proto, port}
	fd, err := bind(proto, host, port, false)
	if ours := h.held[at]; errors.Is(err, unix.EADDRINUSE) && len(ours) > 0 {
		// It may be that only we are in the way. Sockets of one user that all
		// have SO_REUSEPORT may overlap, so they get it for this moment.
		for _, o := range ours {
			_ = unix.SetsockoptInt(o.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}
		if fd, err = bind(proto, host, port, true); err == nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 0)
		}
		for _, o := range ours {
			_ = unix.SetsockoptInt(o.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 0)
		}
	}
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return &Hold{h: h, fd: -1, how: RuleOnly}, nil
	}
	if err != nil {
		return nil, err
	}
	limit := h.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if h.count >= limit && !must {
		if h.checked == nil {
			h.checked = &Hold{h: h, fd: -1, how: Checked}
		}
		return h.checked, release(fd)
	}
	hold := &Hold{h: h, proto: proto, host: host, port: port, fd: fd, how: Held}
	h.count++
	if h.held == nil {
		h.held = map[place][]*Hold{}
	}
	h.held[at] = append(h.held[at], hold)
	return hold, nil
}

// Close gives the port back. A second call does nothing.
func (o *Hold) Close() error {
	o.h.mu.Lock()
	defer o.h.mu.Unlock()
	if o.fd < 0 {
		return nil
	}
	err := release(o.fd)
	o.fd = -1
	o.h.count--
	at := place{o.proto, o.port}
	o.h.held[at] = slices.DeleteFunc(o.h.held[at], func(x *Hold) bool { return x == o })
	if len(o.h.held[at]) == 0 {
		delete(o.h.held, at)
	}
	return err
}

// release closes a socket so that its port is free. A program that is just being started
// has a copy of all descriptors until it is executed: see syscall.ForkLock.
func release(fd int) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.NewSyscallError("close", unix.Close(fd))
}

// bind is a bindFunc for addresses that the host has.
func bind(proto uint8, host netip.Addr, port uint16, share bool) (int, error) {
	return open(proto, host, port, options(proto, host.Is6(), share))
}

// bindFree is a bindFunc for all addresses.
func bindFree(proto uint8, host netip.Addr, port uint16, share bool) (int, error) {
	free := option{unix.IPPROTO_IP, unix.IP_FREEBIND}
	if host.Is6() {
		free = option{unix.IPPROTO_IPV6, unix.IPV6_FREEBIND}
	}
	return open(proto, host, port, append(options(proto, host.Is6(), share), free))
}

func open(proto uint8, host netip.Addr, port uint16, set []option) (int, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	var sa unix.Sockaddr
	if host.Is6() {
		family = unix.AF_INET6
		s := &unix.SockaddrInet6{Port: int(port), Addr: host.As16()}
		if host.Zone() != "" {
			link, err := net.InterfaceByName(host.Zone())
			if err != nil {
				return -1, err
			}
			s.ZoneId = uint32(link.Index)
		}
		sa = s
	} else {
		sa = &unix.SockaddrInet4{Port: int(port), Addr: host.As4()}
	}
	if proto == unix.IPPROTO_UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, int(proto))
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := prepare(fd, proto, set); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if host.Is4() && host.IsLoopback() {
		// A host with route_localnet takes packets for 127.0.0.0/8 from other links too; of
		// ::1 the kernel itself takes none.
		if err := unix.BindToDevice(fd, "lo"); err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("setsockopt SO_BINDTODEVICE", err)
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	if kind == unix.SOCK_STREAM {
		// Only a listener is in the way of those who set SO_REUSEADDR.
		if err := unix.Listen(fd, 0); err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("listen", err)
		}
	}
	return fd, nil
}

// option is a socket option that is switched on.
type option struct{ level, name int }

func options(proto uint8, v6, share bool) []option {
	var set []option
	if v6 {
		set = append(set, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY})
	}
	if proto == unix.IPPROTO_TCP {
		// Connections of an earlier listener that linger are no obstacle. For UDP
		// the option would let others share the port.
		set = append(set, option{unix.SOL_SOCKET, unix.SO_REUSEADDR})
	}
	if share {
		set = append(set, option{unix.SOL_SOCKET, unix.SO_REUSEPORT})
	}
	return set
}

func prepare(fd int, proto uint8, set []option) error {
	for _, o := range set {
		if err := unix.SetsockoptInt(fd, o.level, o.name, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if proto == unix.IPPROTO_SCTP {
		return nil // has no socket filter
	}
	return deafen(fd)
}

// deafen has a socket take no packet.
func deafen(fd int) error {
	// What reaches the socket before, or around, the translation rules must not
	// queue: it would be answered by nobody.
	return filter(fd, []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}})
}

func filter(fd int, code []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: unsafe.SliceData(code)}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog)
	return os.NewSyscallError("setsockopt", err)
}

// explain turns a failed bind into an error for the caller.
func (h *Holder) explain(ctx context.Context, proto uint8, host netip.Addr, port uint16, cause error) error {
	what := protocol(proto) + " port " + netip.AddrPortFrom(host, port).String()
	switch {
	case errors.Is(cause, unix.EADDRNOTAVAIL):
		return types.BadRequestErrorf("%s: this host does not have the address %s: %w", what, host, cause)
	case !errors.Is(cause, unix.EADDRINUSE):
		return fmt.Errorf("holding %s: %w", what, cause)
	}
	socks, err := sockets(ctx, proto, host, port)
	if err != nil {
		return types.ForbiddenErrorf("%s is in use, and who has it is unknown (%v): %w", what, err, cause)
	}
	return h.inUse(ctx, what, socks, cause)
}

// inUse names the programs that have sockets.
func (h *Holder) inUse(ctx context.Context, what string, socks []socket, cause error) error {
	who := h.programs.of(ctx, socks)
	if who == "" {
		return types.ForbiddenErrorf("%s is in use by a program that is not visible here: %w", what, cause)
	}
	return types.ForbiddenErrorf("%s is in use: held by %s: %w", what, who, cause)
}

// checkRange asks for all sockets once and says which port of a range is taken.
func (h *Holder) checkRange(ctx context.Context, bind bindFunc, proto uint8, host netip.Addr, first, last uint16) (*Hold, error) {
	hold := &Hold{h: h, proto: proto, port: first, fd: -1, how: Checked}
	if err := local(bind, host); err != nil {
		return nil, h.explain(ctx, proto, host, first, err)
	}
	socks, err := sockets(ctx, proto, host, 0)
	if err != nil {
		return h.tryRange(ctx, hold, host, last)
	}
	socks = slices.DeleteFunc(socks, func(s socket) bool { return s.port < first || s.port > last })
	for _, s := range h.foreign(proto, socks) {
		what := fmt.Sprintf("%s port %s", protocol(proto), netip.AddrPortFrom(host, s.port))
		return nil, h.inUse(ctx, what, []socket{s}, unix.EADDRINUSE)
	}
	return hold, nil
}

// local fails as a bind does where the host does not have the address.
func local(bind bindFunc, host netip.Addr) error {
	if host.IsUnspecified() {
		return nil
	}
	fd, err := bind(unix.IPPROTO_UDP, host, 0, false)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil // as for single ports
	}
	if err != nil {
		return err
	}
	return os.NewSyscallError("close", unix.Close(fd))
}

// Busy returns the ports that other programs keep from us on one of the hosts. They
// may be more than those that Reserve refuses.
func (h *Holder) Busy(ctx context.Context, proto uint8, hosts []netip.Addr) (map[uint16]bool, error) {
	busy := make(map[uint16]bool)
	for _, host := range hosts {
		socks, err := sockets(ctx, proto, host.Unmap(), 0)
		if err != nil {
			return nil, err
		}
		for _, s := range h.foreign(proto, socks) {
			busy[s.port] = true
		}
	}
	return busy, nil
}

// foreign leaves out the sockets of our own holds.
func (h *Holder) foreign(proto uint8, socks []socket) []socket {
	if len(socks) == 0 {
		return nil
	}
	ours := h.inodes(proto)
	return slices.DeleteFunc(socks, func(s socket) bool { return ours[s.inode] })
}

// tryRange asks port by port, where the kernel cannot list its sockets.
func (h *Holder) tryRange(ctx context.Context, hold *Hold, host netip.Addr, last uint16) (*Hold, error) {
	for p := int(hold.port); p <= int(last); p++ {
		one, err := h.take(hold.proto, host, uint16(p))
		if err != nil {
			return nil, h.explain(ctx, hold.proto, host, uint16(p), err)
		}
		if err := one.Close(); err != nil {
			return nil, err
		}
		if hold.how = one.how; hold.how == RuleOnly {
			return hold, nil
		}
	}
	hold.how = Checked
	return hold, nil
}

// inodes are the sockets of our own holds.
func (h *Holder) inodes(proto uint8) map[uint32]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	set := map[uint32]bool{}
	for at, holds := range h.held {
		for _, o := range holds {
			var st unix.Stat_t
			if at.proto == proto && unix.Fstat(o.fd, &st) == nil {
				set[uint32(st.Ino)] = true
			}
		}
	}
	return set
}

// EphemeralRange returns the bounds of the range from which the system gives
// ports, DefaultLow and DefaultHigh if it does not say.
func EphemeralRange() (low, high uint16) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return DefaultLow, DefaultHigh
	}
	return parseRange(string(text))
}

func parseRange(text string) (low, high uint16) {
	f := strings.Fields(text)
	if len(f) != 2 {
		return DefaultLow, DefaultHigh
	}
	a, errA := strconv.ParseUint(f[0], 10, 16)
	b, errB := strconv.ParseUint(f[1], 10, 16)
	if errA != nil || errB != nil || a == 0 || b < a {
		return DefaultLow, DefaultHigh
	}
	return uint16(a), uint16(b)
}
