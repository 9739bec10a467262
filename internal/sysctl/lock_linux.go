package sysctl

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock keeps other processes of ours, which do the same, from a setting until unlock is called.
func lock(path ...string) (unlock func(), err error) {
	file, err := locate(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, classify("lock", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, classify("lock", path, err)
	}
	return func() { _ = f.Close() }, nil
}
