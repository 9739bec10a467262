// Package unixsock listens on unix sockets that only those can connect to who are
// meant to, from the first moment on.
//
// A socket is made in a directory that is closed to others, gets its owner and
// mode there, and then moves to its place, where it replaces what was there. All
// functions may be called from many goroutines. Limit: the path of a socket is
// short, see [MaxPath].
package unixsock

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/libnetwork/libnetwork/types"
)

// MaxPath is how long the path of a socket can be, in bytes: sun_path less its
// final zero (unix(7)).
const MaxPath = 107

// The directory in which a socket is made has a name of these letters and a number, and
// nothing in it but the socket.
const (
	halfMade   = ".s"
	socketName = "s"
)

// Listen listens at path, in a directory that it makes if it is missing. permit
// gives the socket, by the path that it is handed, its mode and owner. Closing the
// listener removes the socket, unless another one is there by then. A path that is
// too long is a BadRequest error.
func Listen(ctx context.Context, path string, permit func(path string) error) (_ net.Listener, err error) {
	if len(path) > MaxPath {
		return nil, types.BadRequestErrorf("the path of socket %s is longer than %d bytes: choose a directory with a shorter one", path, MaxPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), halfMade)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing depends on it
	l, err := new(net.ListenConfig).Listen(ctx, "unix", filepath.Join(dir, socketName))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := permit(l.Addr().String()); err != nil {
		return nil, err
	}
	if err := os.Rename(l.Addr().String(), path); err != nil {
		return nil, err
	}
	file, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return &listener{Listener: l, path: path, file: file}, nil
}

// Dead says whether a socket is one that nobody listens at any more. A socket has a listener as
// long as it has its name.
func Dead(ctx context.Context, path string) bool {
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// Sweep removes what processes have left that were killed in [Listen], from a directory in
// which nobody else makes sockets now. What somebody listens at stays, and so does what is no
// such directory.
func Sweep(ctx context.Context, dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, halfMade+"[0-9]*"))
	for _, path := range paths {
		if strings.Trim(strings.TrimPrefix(filepath.Base(path), halfMade), "0123456789") != "" {
			continue
		}
		socket := filepath.Join(path, socketName)
		if Dead(ctx, socket) {
			err = errors.Join(err, os.Remove(socket))
		}
		if left, e := os.ReadDir(path); e == nil && len(left) == 0 {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

// listener removes its file when it is closed, unless that is somebody else's by
// then.
type listener struct {
	net.Listener
	path string
	file os.FileInfo
	once sync.Once
}

// Addr is where the socket is, not where it was made.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: l.path} }

// Close ends the listener and removes its file. A second call does nothing.
func (l *listener) Close() (err error) {
	l.once.Do(func() {
		// While it still answers, nobody replaces it.
		if now, e := os.Lstat(l.path); e == nil && os.SameFile(now, l.file) {
			err = os.Remove(l.path)
		}
		err = errors.Join(err, l.Listener.Close())
	})
	return err
}
