package rtnl

import (
	"context"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SyncCarrier makes the kernel act at once on carriers of these links that have
// come up. It does so by itself only once a second where links change a lot, and
// until then drops what is sent by a bridge whose first port has just come up
// (seen on 6.18): a container's first packets would be lost. Name ports before
// their bridge. A link that is not there is no error.
func (s *Socket) SyncCarrier(ctx context.Context, names ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return &Error{Op: "read the carrier of", Object: "links", Err: os.ErrClosed}
	}
	for _, name := range names {
		if err := readCarrier(s.fd, name); err != nil && err != unix.ENODEV && err != unix.EOPNOTSUPP { //nolint:errorlint // a plain errno
			return &Error{Op: "read the carrier of", Object: "link " + name, Err: err}
		}
	}
	return nil
}

// readCarrier asks as ethtool does. The kernel brings the link's state up to date
// before it answers (linkwatch_sync_dev in ethtool_op_get_link).
func readCarrier(fd int, name string) error {
	value := struct{ cmd, data uint32 }{cmd: unix.ETHTOOL_GLINK}
	// struct ifreq of netdevice(7) with a pointer.
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	if len(name) >= len(req.name) {
		return unix.EINVAL
	}
	copy(req.name[:], name)
	req.data = unsafe.Pointer(&value)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}
