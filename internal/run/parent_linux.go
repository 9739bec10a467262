package run

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/types"
)

// child is the process that becomes the command, seen from its parent.
type child struct {
	cmd   *exec.Cmd
	sock  *os.File
	sigs  chan os.Signal
	ended chan struct{}
	wg    sync.WaitGroup
}

// start starts the child, which waits. Until close, signals go to it.
func start(ctx context.Context, what Command) (*child, error) {
	if len(what.Args) == 0 || what.Args[0] == "" {
		return nil, types.BadRequestErrorf("no command given")
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "socket of the child"), os.NewFile(uintptr(fds[1]), "socket of the parent")
	defer theirs.Close()
	files, err := inherited()
	defer closeAll(files)
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	// The end of ctx first asks the command to end: see watch.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/proc/self/exe")
	cmd.Args = append([]string{childName, strconv.Itoa(firstFD + len(files))}, what.Args...)
	cmd.Env, cmd.Dir = what.Env, what.Dir
	cmd.ExtraFiles = append(slices.Clip(files), theirs)
	// A nil file in the interface would not be nil.
	if what.Stdin != nil {
		cmd.Stdin = what.Stdin
	}
	if what.Stdout != nil {
		cmd.Stdout = what.Stdout
	}
	if what.Stderr != nil {
		cmd.Stderr = what.Stderr
	}
	c := &child{cmd: cmd, sock: ours, sigs: make(chan os.Signal, 16), ended: make(chan struct{})}
	signal.Notify(c.sigs, passedOn()...)
	if err := cmd.Start(); err != nil {
		signal.Stop(c.sigs)
		_ = ours.Close()
		return nil, fmt.Errorf("start the command: %w", err)
	}
	c.wg.Go(func() {
		_ = cmd.Wait() // the state says it all
		close(c.ended)
	})
	c.wg.Go(func() { c.watch(ctx) })
	return c, nil
}

// firstFD is the first descriptor after the standard ones.
const firstFD = 3

// inherited returns what the command finds at the descriptors from 3 on: those
// that this process was given by its own parent, nil where there is none. They
// are copies.
func inherited() (files []*os.File, err error) {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name.Name())
		if err != nil || fd < firstFD {
			continue
		}
		// All that Go opens is closed on exec. EBADF: that of ReadDir.
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstFD)
		if err != nil {
			return files, os.NewSyscallError("fcntl", err)
		}
		if n := fd - firstFD + 1; len(files) < n {
			files = slices.Grow(files, n-len(files))[:n]
		}
		files[fd-firstFD] = os.NewFile(uintptr(dup), "inherited")
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // a nil one says that it is invalid
	}
}

// close waits for the child's end and gives back what start took.
func (c *child) close() {
	_ = c.sock.Close()
	c.wg.Wait()
	signal.Stop(c.sigs)
}

// code is the exit code of a child that has ended.
func (c *child) code() int {
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return codeSignal + int(status.Signal())
	}
	return c.cmd.ProcessState.ExitCode()
}

// watch passes signals on, and ends the child when ctx ends.
func (c *child) watch(ctx context.Context) {
	stop := ctx.Done()
	var kill <-chan time.Time
	for {
		select {
		case <-c.ended:
			return
		case s := <-c.sigs:
			if !c.hears(s) {
				_ = c.cmd.Process.Signal(s) // it may have ended just now
			}
		case <-stop:
			stop, kill = nil, time.After(grace)
			_ = c.cmd.Process.Signal(unix.SIGTERM)
		case <-kill:
			_ = c.cmd.Process.Kill()
		}
	}
}

// passedOn are the signals that go to the command. One that was ignored when
// this process started stays ignored, for the command too: so wants nohup.
// SIGTSTP is not among them: from the terminal it stops both.
func passedOn() []os.Signal {
	return slices.DeleteFunc([]os.Signal{
		unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT,
	}, signal.Ignored)
}

// hears reports whether the child gets the signal from the terminal, which
// sends it to all processes of the foreground group.
func (c *child) hears(s os.Signal) bool {
	switch s {
	case unix.SIGINT, unix.SIGQUIT, unix.SIGWINCH, unix.SIGCONT:
	default:
		return false
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		return false
	}
	own, err := unix.Getpgid(c.cmd.Process.Pid)
	return err == nil && own == group
}
