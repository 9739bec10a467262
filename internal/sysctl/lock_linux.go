package sysctl

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockTime is how long a lock is waited for. It is held for as long as the kernel takes to write
// some settings; but whoever may read a setting may lock its file, too.
const lockTime = 2 * time.Second

// lock keeps other processes of ours, which do the same, from a setting until unlock is called, if
// it gets the lock in time.
func lock(path ...string) (unlock func(), err error) {
	file, err := locate(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, classify("lock", path, err)
	}
	for end := time.Now().Add(lockTime); ; time.Sleep(time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil, errors.Is(err, unix.EWOULDBLOCK) && time.Now().After(end):
			return func() { _ = f.Close() }, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			_ = f.Close()
			return nil, classify("lock", path, err)
		}
	}
}
