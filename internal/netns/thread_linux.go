package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// current is the network namespace of the calling thread. /proc/self/ns/net is
// that of the main thread.
const current = "/proc/thread-self/ns/net"

// visit runs fn on a thread that may change its network namespace, and waits.
// Afterwards the thread is back where it came from; otherwise it ends.
func visit(fn func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread never ends, so it must not get lost: it is kept
			// busy while another one does the work.
			errc <- visit(fn)
			runtime.UnlockOSThread()
			return
		}
		err := errLeft
		defer func() { errc <- err }()
		home, herr := openNS(current)
		if herr != nil {
			err = herr
			runtime.UnlockOSThread()
			return
		}
		defer unix.Close(home)
		err = fn()
		// Without UnlockOSThread the thread ends with its goroutine.
		if goHome(home) {
			runtime.UnlockOSThread()
		}
	}()
	return <-errc
}

// errLeft is the result of a function that ended its goroutine.
var errLeft = errors.New("the function called inside the namespace did not return")

// goHome brings the thread back to a namespace and says whether it is there.
func goHome(home int) bool {
	if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
		return false
	}
	var is, want unix.Stat_t
	return unix.Stat(current, &is) == nil && unix.Fstat(home, &want) == nil && is.Dev == want.Dev && is.Ino == want.Ino
}

// openNS opens a file for setns.
func openNS(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// isNetns says whether fd is a network namespace.
func isNetns(fd int) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil || st.Type != unix.NSFS_MAGIC {
		return false
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	return err == nil && kind == unix.CLONE_NEWNET
}

// enter moves the calling thread; only for use in visit.
func enter(fd int, path string) error {
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, os.NewSyscallError("setns", err))
	}
	return nil
}
