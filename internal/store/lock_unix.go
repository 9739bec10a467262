//go:build linux || darwin || freebsd

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/libnetwork/libnetwork/types"
)

// lockDir makes this process the owner of dir. The kernel drops the lock when
// the process ends; the file stays. Package os opens files close-on-exec, so
// no child inherits it.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock directory %s: %w", dir, err)
	}
	for end := time.Now().Add(forkTime); ; time.Sleep(5 * time.Millisecond) {
		err = flock(f)
		// A process that is killed while it starts another one leaves that with all of
		// its descriptors, until it executes its program a moment later.
		if !errors.Is(err, syscall.EWOULDBLOCK) || !ended(path) || time.Now().After(end) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		owner, _ := os.ReadFile(path)
		_ = f.Close()
		who := strings.TrimSpace(string(owner))
		if who == "" {
			who = "another process"
		}
		return nil, types.ForbiddenErrorf("directory %s is in use by %s: stop it first, or choose another directory", dir, who)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "pid %d, %s\n", os.Getpid(), filepath.Base(os.Args[0]))
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock directory %s: %w", dir, err)
	}
	return f, nil
}

// forkTime is longer than a child takes between fork and exec on a busy machine.
const forkTime = 2 * time.Second

// flock takes the lock of a file, if nobody has it.
func flock(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// ended says that the process that a lock file names does not exist any more.
func ended(path string) bool {
	owner, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	var pid int
	if _, err := fmt.Sscanf(string(owner), "pid %d", &pid); err != nil || pid <= 0 {
		return false
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// syncDir makes a created or renamed file in dir outlive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
