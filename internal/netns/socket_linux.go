package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/types"
)

// backlog is how many TCP connections wait to be accepted at most.
const backlog = 1024

// Listen opens a UDP socket and listens for TCP connections at the same address
// inside the namespace, as ListenUDP and ListenTCP do, in one visit.
func (n *Namespace) Listen(a netip.AddrPort) (*net.UDPConn, *net.TCPListener, error) {
	fds, err := n.sockets(a, unix.SOCK_DGRAM, unix.SOCK_STREAM)
	if err != nil {
		return nil, nil, fmt.Errorf("listen on %s in %s: %w", a, n.path, err)
	}
	udp, err := n.udp(fds[0], a)
	if err != nil {
		_ = unix.Close(fds[1])
		return nil, nil, err
	}
	tcp, err := n.tcp(fds[1], a)
	if err != nil {
		_ = udp.Close()
		return nil, nil, err
	}
	return udp, tcp, nil
}

// ListenUDP opens a UDP socket inside the namespace. An IPv6 address takes no
// IPv4 packets.
func (n *Namespace) ListenUDP(a netip.AddrPort) (*net.UDPConn, error) {
	fds, err := n.sockets(a, unix.SOCK_DGRAM)
	if err != nil {
		return nil, fmt.Errorf("listen on udp %s in %s: %w", a, n.path, err)
	}
	return n.udp(fds[0], a)
}

// udp makes a socket, which it closes, one that is bound.
func (n *Namespace) udp(fd int, a netip.AddrPort) (*net.UDPConn, error) {
	f := os.NewFile(uintptr(fd), "udp")
	defer f.Close()
	if err := n.bind(fd, a); err != nil {
		return nil, fmt.Errorf("listen on udp %s in %s: %w", a, n.path, err)
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// ListenTCP listens for TCP connections inside the namespace. An IPv6 address
// takes no IPv4 connections.
func (n *Namespace) ListenTCP(a netip.AddrPort) (*net.TCPListener, error) {
	fds, err := n.sockets(a, unix.SOCK_STREAM)
	if err != nil {
		return nil, fmt.Errorf("listen on tcp %s in %s: %w", a, n.path, err)
	}
	return n.tcp(fds[0], a)
}

// tcp makes a socket, which it closes, one that listens.
func (n *Namespace) tcp(fd int, a netip.AddrPort) (*net.TCPListener, error) {
	f := os.NewFile(uintptr(fd), "tcp")
	defer f.Close()
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = n.bind(fd, a)
	}
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, backlog))
	}
	if err != nil {
		return nil, fmt.Errorf("listen on tcp %s in %s: %w", a, n.path, err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// Dial connects to an IP address and port from inside the namespace. The
// network is tcp or udp, with or without 4 or 6.
func (n *Namespace) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return n.DialBy(ctx, "", network, address)
}

// DialBy is Dial by a link, whatever the routes say; the empty name is none.
func (n *Namespace) DialBy(ctx context.Context, link, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, types.BadRequestErrorf("dial %s: %w", network, err)
	}
	kind := 0
	switch strings.TrimRight(network, "46") {
	case "tcp":
		kind = unix.SOCK_STREAM
	case "udp":
		kind = unix.SOCK_DGRAM
	default:
		return nil, types.BadRequestErrorf("dial %s %s: want tcp or udp", network, address)
	}
	c, err := n.dial(ctx, link, kind, to)
	if err != nil {
		return nil, fmt.Errorf("dial %s %s in %s: %w", network, address, n.path, err)
	}
	return c, nil
}

func (n *Namespace) dial(ctx context.Context, link string, kind int, to netip.AddrPort) (net.Conn, error) {
	fds, err := n.sockets(to, kind)
	if err != nil {
		return nil, err
	}
	fd := fds[0]
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	if link != "" {
		if err := unix.BindToDevice(fd, link); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	// Before the first connect a stream socket would count as hung up.
	err = unix.Connect(fd, n.sockaddr(to))
	if errors.Is(err, unix.EINPROGRESS) {
		err = connected(ctx, f)
	}
	if err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	return net.FileConn(f)
}

// connected waits for the end of a connect.
func connected(ctx context.Context, f *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = f.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			result = err
		case errno != 0:
			result = unix.Errno(errno)
		default:
			_, err := unix.Getpeername(int(fd))
			if errors.Is(err, unix.ENOTCONN) {
				return false
			}
			result = err
		}
		return true
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(err, result)
}

// bind binds a socket, of IPv6 to that family alone.
func (n *Namespace) bind(fd int, a netip.AddrPort) (err error) {
	if a.Addr().Is6() {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil {
		err = unix.Bind(fd, n.sockaddr(a))
	}
	return os.NewSyscallError("bind", err)
}

// sockets opens sockets of some kinds inside. Nothing else happens inside: package
// net, which finds out once what the machine can do, must not find that out in there.
func (n *Namespace) sockets(a netip.AddrPort, kinds ...int) (fds []int, err error) {
	family := unix.AF_INET
	if a.Addr().Is6() {
		family = unix.AF_INET6
	}
	err = n.Do(func() error {
		for _, kind := range kinds {
			fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return os.NewSyscallError("socket", err)
			}
			fds = append(fds, fd)
		}
		return nil
	})
	if err != nil {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return nil, err
	}
	return fds, nil
}

// sockaddr returns the address as the kernel takes it. A zone is the name of a
// link of the namespace.
func (n *Namespace) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		if sock, err := n.Rtnl(); err == nil {
			index, _ := sock.Index(zone)
			sa.ZoneId = uint32(index)
		}
	}
	return sa
}
