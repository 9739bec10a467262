package rtnl

import (
	"errors"
	"syscall"

	"github.com/libnetwork/libnetwork/types"
)

// Error is a request that the kernel refused. It is found by errors.As in what
// the methods of a Socket return, and so is its errno by errors.Is.
type Error struct {
	// Op and Object are what was tried, such as "create" and "bridge br0".
	Op, Object string
	// Err is the errno, or what went wrong with the socket.
	Err error
	// Text is what the kernel says about it, if anything.
	Text string
}

// Error is "create bridge br0: file exists (text of the kernel)".
func (e *Error) Error() string {
	s := e.Op + " " + e.Object + ": " + e.Err.Error()
	if e.Text != "" {
		s += " (" + e.Text + ")"
	}
	if errors.Is(e.Err, syscall.EPERM) {
		s += "; it needs CAP_NET_ADMIN"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// classify gives err the class that its errno stands for. Errors that are not
// of the kernel stay as they are.
func classify(err error) error {
	var e *Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	var errno syscall.Errno
	_ = errors.As(e.Err, &errno)
	switch errno {
	case syscall.ENODEV, syscall.ENOENT, syscall.ESRCH, syscall.ENXIO:
		return types.NotFoundErrorf("%w", err)
	case syscall.EEXIST, syscall.EPERM, syscall.EACCES, syscall.EBUSY:
		return types.ForbiddenErrorf("%w", err)
	case syscall.EINVAL, syscall.ERANGE, syscall.EADDRNOTAVAIL:
		return types.BadRequestErrorf("%w", err)
	case syscall.ENOMEM, syscall.ENOBUFS, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN:
		return types.NoServiceErrorf("%w", err)
	case syscall.EOPNOTSUPP, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT:
		return types.NotImplementedErrorf("%w", err)
	default:
		return types.InternalErrorf("%w", err)
	}
}
