package inplace

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lease waits until nobody else has the file open, and then makes those who open
// it wait until release. alone is false if others have it open all the time, or
// the file system has no leases.
//
// The kernel refuses a write lease while the file has other open descriptions
// (check_conflicting_open, 5.3 and newer) and tells the holder by a signal when
// somebody waits. That is SIGURG here, which the Go runtime uses for itself and
// which everybody else ignores; we are done before we could react.
func lease(f *os.File, patience time.Duration) (release func(), alone bool) {
	const poll = 100 * time.Microsecond
	none := func() {}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETSIG, int(unix.SIGURG)); err != nil {
		return none, false
	}
	for end := time.Now().Add(patience); ; time.Sleep(poll) {
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
		switch {
		case err == nil:
			return func() { _, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK) }, true
		case err != unix.EAGAIN || time.Now().After(end):
			return none, false
		}
	}
}
