package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/internal/sysctl"
	"github.com/libnetwork/libnetwork/types"
)

// Namespace is an open network namespace. It stays alive until Close, whatever
// becomes of its file. It is safe for concurrent use.
type Namespace struct {
	path  string
	steps *step.Counter
	// ours says that Create made it, with settings of ours.
	ours bool

	// mu guards what follows.
	mu   sync.Mutex
	fd   int // -1 when closed
	sock *rtnl.Socket
}

// Create makes a network namespace, pins it to the file path and raises its
// loopback. A file or namespace of that name is detached first. Links made in
// it accept no router advertisements unless told otherwise. If it fails nothing
// of it is left. Steps may be nil; the Namespace keeps it for its changes.
func Create(ctx context.Context, steps *step.Counter, path string) (*Namespace, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := makeFile(steps, path); err != nil {
		return nil, fmt.Errorf("create network namespace %s: %w", path, err)
	}
	n := &Namespace{path: path, steps: steps, ours: true, fd: -1}
	if err := visit(n.create); err != nil {
		err = fmt.Errorf("create network namespace %s: %w", path, err)
		return nil, errors.Join(err, n.Close(), Remove(steps, path))
	}
	return n, nil
}

// makeFile makes the empty file that the namespace is mounted on.
func makeFile(steps *step.Counter, path string) error {
	if err := steps.Next("netns: create file " + path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if errors.Is(err, fs.ErrExist) {
		if err := Remove(steps, path); err != nil {
			return err
		}
		f, err = os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// create leaves the thread in a new namespace.
func (n *Namespace) create() error {
	if err := n.steps.Next("netns: unshare " + n.path); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		why := "it needs CAP_SYS_ADMIN"
		if errors.Is(err, unix.ENOSPC) {
			why = "there are as many as user.max_net_namespaces allows"
		}
		return fmt.Errorf("%s: %w", why, os.NewSyscallError("unshare", err))
	}
	var err error
	if n.fd, err = openNS(current); err != nil {
		return err
	}
	// A container that hears a false router would send it everything.
	err = sysctl.Write(n.steps, "0", "net", "ipv6", "conf", "default", "accept_ra")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if n.sock, err = rtnl.Open(n.config()); err != nil {
		return err
	}
	if err := n.sock.RaiseLoopback(); err != nil {
		return err
	}
	if err := n.steps.Next("netns: pin " + n.path); err != nil {
		return err
	}
	if err := unix.Mount(current, n.path, "", unix.MS_BIND, ""); err != nil {
		return os.NewSyscallError("bind mount", err)
	}
	return nil
}

// Open opens the network namespace of a file: one that Create pinned, or
// something like /proc/1/ns/net. The error is of class NotFound where there is
// no such file and BadRequest where it is something else.
func Open(steps *step.Counter, path string) (*Namespace, error) {
	fd, err := openNS(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, types.NotFoundErrorf("network namespace: %w", err)
	} else if err != nil {
		return nil, types.ForbiddenErrorf("network namespace: %w", err)
	}
	if !isNetns(fd) {
		_ = unix.Close(fd)
		return nil, types.BadRequestErrorf("%s is not a network namespace", path)
	}
	return &Namespace{path: path, steps: steps, fd: fd}, nil
}

// Pin pins the namespace to one more file, from which whatever was pinned there
// before is detached. If it fails the file is not left.
func (n *Namespace) Pin(path string) error {
	err := makeFile(n.steps, path)
	if err == nil {
		if err = n.steps.Next("netns: pin " + path); err == nil {
			from := "/proc/self/fd/" + strconv.Itoa(n.FD())
			err = os.NewSyscallError("bind mount", unix.Mount(from, path, "", unix.MS_BIND, ""))
		}
		if err != nil {
			err = errors.Join(err, Remove(n.steps, path))
		}
	}
	if err != nil {
		return fmt.Errorf("pin network namespace %s to %s: %w", n.path, path, err)
	}
	return nil
}

// Host opens the namespace that the process is in.
func Host(steps *step.Counter) (*Namespace, error) {
	return Open(steps, "/proc/self/ns/net")
}

// OpenSelf opens the namespace that the calling thread is in.
func OpenSelf(steps *step.Counter) (*Namespace, error) {
	n, err := Open(steps, current)
	if err == nil {
		n.path = "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(n.FD())
	}
	return n, err
}

// Path is the file that the namespace was made or opened with.
func (n *Namespace) Path() string { return n.path }

// FD is a descriptor of the namespace, valid until Close and -1 afterwards.
func (n *Namespace) FD() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fd
}

// Close lets go of the namespace. It goes when nobody else holds it: no file,
// process or socket. A second call does nothing.
func (n *Namespace) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var err error
	if n.sock != nil {
		err = n.sock.Close()
	}
	if n.fd >= 0 {
		err = errors.Join(err, unix.Close(n.fd))
		n.fd = -1
	}
	return err
}

// Do runs fn on a thread inside the namespace and waits for it. It is meant for
// opening things only: fn must neither block nor start goroutines, which would
// not be inside.
func (n *Namespace) Do(fn func() error) error { return n.do(n.FD(), fn) }

func (n *Namespace) do(fd int, fn func() error) error {
	return visit(func() error {
		if err := enter(fd, n.path); err != nil {
			return err
		}
		return fn()
	})
}

// Rtnl returns the namespace's rtnetlink socket, which is opened once and
// closed with the namespace.
func (n *Namespace) Rtnl() (*rtnl.Socket, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sock != nil {
		return n.sock, nil
	}
	err := n.do(n.fd, func() (err error) {
		n.sock, err = rtnl.Open(n.config())
		return err
	})
	return n.sock, err
}

func (n *Namespace) config() rtnl.Config {
	return rtnl.Config{Enter: n.Do, Steps: n.steps, NoAdvertisements: n.ours}
}

// Same says whether a and b are the same namespace.
func Same(a, b *Namespace) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a.FD(), &x) == nil && unix.Fstat(b.FD(), &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}
