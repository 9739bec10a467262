package rtnl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxBatch is how many requests go to the kernel in one call: every one of
	// them may answer with an error, and the answers must fit the socket's
	// receive buffer.
	maxBatch = 100
	// maxBytes is how many bytes do, well below the send buffer.
	maxBytes = 64 << 10
	// bufSize is the largest answer of the kernel to a dump.
	bufSize = 32 << 10
	// dumpTries is how often a dump is tried that others disturb by changes.
	dumpTries = 20
)

var buffers = sync.Pool{New: func() any { return new([bufSize]byte) }}

// Socket is a connection to rtnetlink in one network namespace. It keeps the
// namespace alive until it is closed. It is safe for concurrent use.
type Socket struct {
	cfg Config
	fd  int

	// mu is held for one exchange, from the request to the last answer, and
	// guards what follows.
	mu     sync.Mutex
	seq    uint32
	closed bool
}

// Open opens a socket in the network namespace of the calling thread.
func Open(cfg Config) (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", os.NewSyscallError("socket", err))
	}
	// Both need Linux 4.12; without them errors only say less.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open rtnetlink socket: %w", os.NewSyscallError("bind", err))
	}
	if cfg.Enter == nil {
		cfg.Enter = func(fn func() error) error { return fn() }
	}
	return &Socket{cfg: cfg, fd: fd}, nil
}

// Close closes the socket after a running exchange. A second call does nothing.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return os.NewSyscallError("close", unix.Close(s.fd))
}

// request is a message and what an error about it tells.
type request struct {
	op, object string
	m          msg
	// fine are answers that are as good as success.
	fine []unix.Errno
}

// change announces one step and sends the requests in one call, or in several
// if they are very many. All are carried out; the error is that of the first
// one that failed.
func (s *Socket) change(ctx context.Context, step string, reqs ...request) error {
	if len(reqs) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.cfg.Steps.Next(step); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var first error
	for len(reqs) > 0 {
		n, size := 0, 0
		for n < len(reqs) && n < maxBatch && (n == 0 || size+len(reqs[n].m) <= maxBytes) {
			size += len(reqs[n].m)
			n++
		}
		if err := s.exchange(reqs[:n], nil); first == nil {
			first = err
		}
		reqs = reqs[n:]
	}
	return first
}

// get sends one request and gives each message of the answer to each.
func (s *Socket) get(ctx context.Context, r request, each func(kind uint16, body []byte)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exchange([]request{r}, each)
}

var errInterrupted = errors.New("changed during the listing")

// dump lists objects: reset starts the list anew, each takes one object.
func (s *Socket) dump(ctx context.Context, r request, reset func(), each func(kind uint16, body []byte)) error {
	native.PutUint16(r.m[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	var err error
	for range dumpTries {
		reset()
		if err = s.get(ctx, r, each); !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return err
}

// exchange sends the requests, of which only the last asks for a confirmation,
// since the kernel goes through them in order and reports errors unasked, and
// reads the answers. The lock is held.
func (s *Socket) exchange(reqs []request, each func(uint16, []byte)) error {
	if s.closed {
		return fmt.Errorf("%s %s: rtnetlink socket: %w", reqs[0].op, reqs[0].object, os.ErrClosed)
	}
	base := s.seq + 1
	s.seq += uint32(len(reqs))
	var out []byte
	for i, r := range reqs {
		native.PutUint32(r.m, uint32(len(r.m)))
		native.PutUint32(r.m[8:], base+uint32(i))
		if i == len(reqs)-1 && native.Uint16(r.m[6:])&unix.NLM_F_DUMP != unix.NLM_F_DUMP {
			native.PutUint16(r.m[6:], native.Uint16(r.m[6:])|unix.NLM_F_ACK)
		}
		if len(reqs) == 1 {
			out = r.m
		} else {
			out = append(out, r.m...)
		}
	}
	if err := s.send(out); err != nil {
		return &Error{Op: reqs[0].op, Object: reqs[0].object, Err: os.NewSyscallError("send", err)}
	}
	buf := buffers.Get().(*[bufSize]byte)
	defer buffers.Put(buf)
	a := answers{reqs: reqs, base: base, each: each}
	for !a.done {
		n, err := s.recv(buf[:])
		if err != nil {
			return &Error{Op: reqs[0].op, Object: reqs[0].object, Err: os.NewSyscallError("receive", err)}
		}
		a.read(buf[:n])
	}
	if a.err == nil && a.interrupted {
		return &Error{Op: reqs[0].op, Object: reqs[0].object, Err: errInterrupted}
	}
	return a.err
}

func (s *Socket) send(b []byte) error {
	for {
		err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return err
		}
	}
}

// recv reads one datagram of the kernel.
func (s *Socket) recv(b []byte) (int, error) {
	for {
		n, _, flags, from, err := unix.RecvmsgBuffers(s.fd, [][]byte{b}, nil, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case flags&unix.MSG_TRUNC != 0:
			return 0, unix.EMSGSIZE
		}
		// Any process may send to a netlink socket; only the kernel is port 0.
		if nl, ok := from.(*unix.SockaddrNetlink); ok && nl.Pid == 0 {
			return n, nil
		}
	}
}

// answers reads what the kernel says to a batch.
type answers struct {
	reqs        []request
	base        uint32
	each        func(uint16, []byte)
	done        bool
	interrupted bool
	err         error
}

func (a *answers) read(b []byte) {
	for len(b) >= hdrLen && !a.done {
		n := int(native.Uint32(b))
		if n < hdrLen || n > len(b) {
			return
		}
		kind, flags, i := native.Uint16(b[4:]), native.Uint16(b[6:]), int(native.Uint32(b[8:])-a.base)
		body := b[hdrLen:n]
		b = b[min((n+3)&^3, len(b)):]
		if i < 0 || i >= len(a.reqs) {
			continue // of an exchange that was given up
		}
		if flags&unix.NLM_F_DUMP_INTR != 0 {
			a.interrupted = true
		}
		switch kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			a.status(i, kind, flags, body)
		default:
			if a.each != nil {
				a.each(kind, body)
			}
		}
	}
}

// status takes the end of request i.
func (a *answers) status(i int, kind, flags uint16, body []byte) {
	a.done = i == len(a.reqs)-1
	errno := unix.Errno(-int32(u32(body)))
	if errno == 0 || a.err != nil {
		return
	}
	r := a.reqs[i]
	if slices.Contains(r.fine, errno) {
		return
	}
	e := &Error{Op: r.op, Object: r.object, Err: errno}
	// With NETLINK_CAP_ACK an error repeats only the header of the request.
	skip := 4
	if kind == unix.NLMSG_ERROR {
		skip += hdrLen
		if flags&unix.NLM_F_CAPPED == 0 && len(body) >= 8 {
			skip = 4 + int((u32(body[4:])+3)&^3)
		}
	}
	if flags&unix.NLM_F_ACK_TLVS != 0 && len(body) >= skip && skip >= 4 {
		for k, v := range attrs(body[skip:]) {
			if k == unix.NLMSGERR_ATTR_MSG {
				e.Text = text(v)
			}
		}
	}
	a.err = e
}

// Index returns the index of the link of that name. It does not take the
// kernel's link lock, so it costs next to nothing.
func (s *Socket) Index(name string) (int32, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, &Error{Op: "find", Object: "link " + name, Err: unix.EINVAL, Text: "bad name"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, &Error{Op: "find", Object: "link " + name, Err: os.ErrClosed}
	}
	if err := unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, &Error{Op: "find", Object: "link " + name, Err: err}
	}
	return int32(ifr.Uint32()), nil
}
