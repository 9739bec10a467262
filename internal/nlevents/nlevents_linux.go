package nlevents

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// receiveBuffer is the size of the socket's queue: a ruleset of some ten thousand
// elements that goes at once fits into it.
const receiveBuffer = 4 << 20

// Socket is subscribed to multicast groups.
type Socket struct {
	f *os.File
}

// Open opens a socket in the network namespace of the calling thread, subscribed to
// groups of a netlink family, such as NETLINK_ROUTE. From then on nothing is
// missed.
func Open(protocol int, groups ...int) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", os.NewSyscallError("socket", err))
	}
	f := os.NewFile(uintptr(fd), "netlink")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(fmt.Errorf("open a netlink socket: %w", os.NewSyscallError("bind", err)), f.Close())
	}
	// Without the privilege for more the queue is shorter, and messages are lost
	// earlier.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	for _, g := range groups {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			return nil, errors.Join(fmt.Errorf("listen to netlink group %d: %w", g, os.NewSyscallError("setsockopt", err)), f.Close())
		}
	}
	return &Socket{f}, nil
}

// Filter has the kernel drop what the program returns 0 for before it is queued
// (Documentation/networking/filter.rst). What is queued already stays.
func (s *Socket) Filter(program []unix.SockFilter) error {
	conn, err := s.f.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = conn.Control(func(fd uintptr) {
		set = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
	return errors.Join(err, os.NewSyscallError("setsockopt", set))
}

// Close gives the socket back. A running Read fails.
func (s *Socket) Close() error { return s.f.Close() }

// Read calls each for each message, and lost when there were more of them than the
// queue could hold (netlink(7), ENOBUFS), until ctx ends, which is no error.
func (s *Socket) Read(ctx context.Context, each func(Message), lost func()) error {
	conn, err := s.f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		n, err := receive(conn, buf)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			lost()
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("read netlink messages: %w", err)
		default:
			parse(buf[:n], each)
		}
	}
	return nil
}

type rawConn interface {
	Read(f func(fd uintptr) (done bool)) error
}

// receive waits for a datagram of the kernel.
func receive(conn rawConn, buf []byte) (n int, err error) {
	waitErr := conn.Read(func(fd uintptr) bool {
		for {
			n, _, err = unix.Recvfrom(int(fd), buf, 0)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if waitErr != nil {
		return 0, waitErr
	}
	return n, err
}

// parse takes a datagram apart; what is cut short is dropped.
func parse(b []byte, each func(Message)) {
	native := binary.NativeEndian
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(native.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return
		}
		each(Message{Type: native.Uint16(b[4:]), Port: native.Uint32(b[12:]), Body: b[unix.SizeofNlMsghdr:size]})
		b = b[min(len(b), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
}
