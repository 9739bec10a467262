package unixsock_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/unixsock"
	"github.com/libnetwork/libnetwork/types"
)

func TestListen(t *testing.T) {
	dir := nstest.ShortDir(t)
	path := filepath.Join(dir, "s")
	private := func(path string) error { return os.Chmod(path, 0o600) }
	empty := func(t *testing.T) {
		t.Helper()
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	t.Run("nobody else is in the directory where a socket gets its mode", func(t *testing.T) {
		l, err := unixsock.Listen(t.Context(), path, func(at string) error {
			info, err := os.Stat(filepath.Dir(at))
			if err == nil && info.Mode().Perm() != 0o700 {
				t.Errorf("mode of %s is %o", filepath.Dir(at), info.Mode().Perm())
			}
			return errors.Join(err, private(at))
		})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
			t.Errorf("mode of the socket is %v, %v", info.Mode(), err)
		}
		if c, err := net.Dial("unix", path); err != nil {
			t.Error(err)
		} else {
			_ = c.Close()
		}
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		empty(t)
	})
	t.Run("a socket whose mode cannot be set is not left", func(t *testing.T) {
		want := errors.New("no")
		if _, err := unixsock.Listen(t.Context(), path, func(string) error { return want }); !errors.Is(err, want) {
			t.Errorf("error %v", err)
		}
		empty(t)
	})
	t.Run("the socket of somebody who came later stays", func(t *testing.T) {
		first, err := unixsock.Listen(t.Context(), path, private)
		if err != nil {
			t.Fatal(err)
		}
		second, err := unixsock.Listen(t.Context(), path, private)
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
		if err := second.Close(); err != nil {
			t.Error(err)
		}
		empty(t)
	})
	t.Run("a path that is too long is BadRequest", func(t *testing.T) {
		_, err := unixsock.Listen(t.Context(), "/"+strings.Repeat("x", unixsock.MaxPath), private)
		if !errors.As(err, new(types.BadRequestError)) {
			t.Errorf("error %v (%T)", err, err)
		}
	})
}

// What a process has left that was killed while it made a socket goes, and nothing else.
func TestSweep(t *testing.T) {
	dir := nstest.ShortDir(t)
	socket := func(name string, dead bool) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		if dead {
			l.SetUnlinkOnClose(false)
			_ = l.Close()
		}
	}
	socket(".s1/s", true)
	socket(".s2/s", false)
	socket(".s3/s", true)
	socket(".s3/other", true)
	socket(".s4x/s", true)
	socket("s", true)
	for _, name := range []string{".s5", ".sx"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".s6"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unixsock.Sweep(t.Context(), dir), unixsock.Sweep(t.Context(), filepath.Join(dir, "none"))); err != nil {
		t.Error(err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got, want := strings.Join(left, " "), ".s2 .s3 .s4x .s6 .sx s"; got != want {
		t.Errorf("left are %s, want %s", got, want)
	}
}
