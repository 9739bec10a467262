package run

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// enter moves the calling thread, which is locked, into the container.
func enter(o order) error {
	if o.Container.Netns != "" {
		if err := enterNetns(o.Container.Netns); err != nil {
			return err
		}
	}
	if o.Owner.PID != 0 {
		joined, err := join(o.Owner)
		if joined || err != nil {
			return err
		}
	}
	flags := unix.CLONE_NEWNS
	if o.Container.Hostname != "" {
		flags |= unix.CLONE_NEWUTS
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("new mount namespace: it needs CAP_SYS_ADMIN: %w", os.NewSyscallError("unshare", err))
	}
	if o.Container.Hostname != "" {
		if err := unix.Sethostname([]byte(o.Container.Hostname)); err != nil {
			return fmt.Errorf("host name %q: %w", o.Container.Hostname, os.NewSyscallError("sethostname", err))
		}
	}
	return furnish(o.Container)
}

func enterNetns(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network namespace %s: is the daemon on this machine, and in the same mount namespace? %w", path, err)
	}
	defer unix.Close(fd)
	err = os.NewSyscallError("setns", unix.Setns(fd, unix.CLONE_NEWNET))
	switch {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("enter network namespace %s: the file is none: %w", path, err)
	case err != nil:
		return fmt.Errorf("enter network namespace %s: it needs CAP_SYS_ADMIN: %w", path, err)
	}
	return nil
}

// join enters mounts and host name of the owner. It reports false if the owner
// has no mounts of its own.
func join(owner Process) (bool, error) {
	pidfd, err := unix.PidfdOpen(owner.PID, 0)
	if err != nil {
		return false, fmt.Errorf("process %d of the container: %w", owner.PID, os.NewSyscallError("pidfd_open", err))
	}
	defer unix.Close(pidfd)
	dir := "/proc/" + strconv.Itoa(owner.PID)
	theirs, err := os.Readlink(dir + "/ns/mnt")
	if err != nil {
		return false, fmt.Errorf("process %d of the container: %w", owner.PID, err)
	}
	root, err := unix.Open(dir+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("root of process %d of the container: %w", owner.PID, err)
	}
	defer unix.Close(root)
	// The process is the one of pidfd if it still is who we look for.
	if start, err := startTime(owner.PID); err != nil || owner.Start != 0 && start != owner.Start {
		return false, fmt.Errorf("process %d of the container has ended", owner.PID)
	}
	ours, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil || ours == theirs {
		return false, err
	}
	wd, err := os.Getwd()
	if err != nil {
		wd = "/"
	}
	// Mounts cannot be changed while the threads share their directories.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return false, os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(pidfd, unix.CLONE_NEWNS|unix.CLONE_NEWUTS); err != nil {
		return false, fmt.Errorf("enter the mounts of process %d: %w", owner.PID, os.NewSyscallError("setns", err))
	}
	return true, goTo(root, wd)
}

// goTo makes a directory the thread's root, and dir under it, where there is
// one, its working directory.
func goTo(root int, dir string) error {
	if err := unix.Fchdir(root); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	if err := unix.Chroot("."); err != nil {
		return os.NewSyscallError("chroot", err)
	}
	if unix.Chdir(dir) != nil {
		return os.NewSyscallError("chdir", unix.Chdir("/"))
	}
	return nil
}

// startTime reads field 22 of /proc/PID/stat (proc(5)). The second field, in
// brackets, may hold anything.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	const start = 22 - 3 // counted from the third
	if len(fields) <= start {
		return 0, fmt.Errorf("stat of process %d is not understood", pid)
	}
	return strconv.ParseUint(string(fields[start]), 10, 64)
}
