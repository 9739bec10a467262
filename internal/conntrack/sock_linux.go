package conntrack

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// A sock is a netlink socket. It reads large pieces: a dump that comes in pages
// of 4 KiB takes the kernel ten times as long. The kernel answers within the call
// that sends or reads, so no read waits.
type sock struct {
	fd  int
	seq uint32
	buf []byte
}

func dial() (*sock, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return &sock{fd: fd, buf: make([]byte, 64<<10)}, nil
}

func (s *sock) Close() error { return unix.Close(s.fd) }

// appendRequest adds a message to b; it gets the next sequence number.
func (s *sock) appendRequest(b []byte, typ, flags uint16, v6 bool, attrs []byte) []byte {
	family := byte(unix.AF_INET)
	if v6 {
		family = unix.AF_INET6
	}
	s.seq++
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+4+len(attrs)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, s.seq)
	b = append(b, 0, 0, 0, 0, family, unix.NFNETLINK_V0, 0, 0)
	return append(b, attrs...)
}

// exchange sends messages and calls fn with the body of each answer until all of
// them are answered. It returns all errors, joined.
func (s *sock) exchange(b []byte, pending int, fn func([]byte)) error {
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	first := s.seq - uint32(pending) + 1
	var errs []error
	for pending > 0 {
		n, _, err := unix.Recvfrom(s.fd, s.buf, unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return errors.Join(append(errs, os.NewSyscallError("recvfrom", err))...)
		}
		for b := s.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.SizeofNlMsghdr || size > len(b) {
				return errors.New("malformed answer of the kernel")
			}
			body := b[unix.SizeofNlMsghdr:size]
			seq := binary.NativeEndian.Uint32(b[8:])
			typ := binary.NativeEndian.Uint16(b[4:])
			b = b[min((size+3)&^3, len(b)):]
			if seq < first || seq > s.seq {
				continue // of a request that failed before
			}
			switch typ {
			case unix.NLMSG_DONE:
				pending--
			case unix.NLMSG_ERROR:
				pending--
				if len(body) < 4 {
					errs = append(errs, errors.New("malformed answer of the kernel"))
				} else if code := -int32(binary.NativeEndian.Uint32(body)); code != 0 {
					errs = append(errs, unix.Errno(code))
				}
			default:
				if fn != nil {
					fn(body)
				}
			}
		}
	}
	return errors.Join(errs...)
}
