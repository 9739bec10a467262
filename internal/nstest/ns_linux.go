package nstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// NS is a network namespace that vanishes with its test. It is safe for
// concurrent use.
type NS struct {
	f *os.File
}

// New makes a namespace whose loopback is up. It goes when the test ends and
// all sockets in it are closed.
func New(t testing.TB) *NS {
	t.Helper()
	Require(t, Root)
	ns, err := newNS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.f.Close() })
	return ns
}

func newNS() (*NS, error) {
	var ns NS
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		if err = loUp(); err != nil {
			return err
		}
		ns.f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ns, nil
}

// Do runs fn on a thread of its own inside the namespace and waits for it.
// Goroutines that fn starts are not inside.
func (n *NS) Do(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace: %w", err)
		}
		return fn()
	})
}

// FD is a descriptor of the namespace, open until the test ends.
func (n *NS) FD() int { return int(n.f.Fd()) }

// Path is a file of the namespace for setns or a bind mount, valid in this
// process and, with the same /proc, in others until the test ends.
func (n *NS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.FD()) }

// Run runs fn on a thread of its own in a fresh network and mount namespace,
// with empty /run and /var/lib and a /sys of that network. fn may call t.Fatal
// and t.Skip. Goroutines that fn starts are not inside.
func Run(t testing.TB, fn func()) {
	t.Helper()
	Require(t, Root)
	ended := false
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("new network and mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := furnish(); err != nil {
			return err
		}
		fn()
		ended = true
		return nil
	})
	switch {
	case err != nil:
		t.Fatal(err)
	case !ended && t.Skipped():
		t.SkipNow()
	case !ended:
		t.FailNow()
	}
}

// Command runs a program in the namespace of the calling thread, fails the test if it
// fails, and returns what it writes.
func Command(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.Background(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// furnish makes a fresh network and mount namespace fit for tests.
func furnish() error {
	for _, m := range []struct{ fstype, dir string }{
		{"tmpfs", "/run"}, {"tmpfs", "/var/lib"}, {"sysfs", "/sys"},
	} {
		if err := unix.Mount(m.fstype, m.dir, m.fstype, 0, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.dir, err)
		}
	}
	return loUp()
}

// loUp raises the loopback of the calling thread's namespace.
func loUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("raise lo: %w", err)
	}
	return nil
}

var errGone = errors.New("the function left by runtime.Goexit")

// onThread runs fn on an OS thread that ends with it, and never on the main
// thread, which cannot end: a main thread that it gets is kept busy until
// another one has taken the work. A fn that leaves by runtime.Goexit, as
// t.Fatal does, gives nil.
func onThread(fn func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			errc <- onThread(fn)
			runtime.UnlockOSThread()
			return
		}
		err := errGone
		defer func() { errc <- err }()
		err = fn()
	}()
	if err := <-errc; !errors.Is(err, errGone) {
		return err
	}
	return nil
}
