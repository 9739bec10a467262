package run

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// retry is after how many milliseconds a file is looked for that is away.
const retry = 500

// guard mounts the container's files again whenever they are gone, until the
// command ends: the kernel takes a mount off a file that is removed or replaced
// in another mount namespace, as the host's tools do with /etc/resolv.conf. It
// returns at once; c.wg has the work.
func (c *child) guard(thread int, of Container) {
	files := binds(of)
	if len(files) == 0 {
		return
	}
	g, err := newGuard(thread, files)
	if err != nil {
		return // the command has ended
	}
	c.wg.Go(func() {
		<-c.ended
		_ = g.stop.Close()
	})
	c.wg.Go(func() {
		defer g.close()
		done := make(chan struct{})
		go g.run(done)
		<-done
	})
}

// A guardian looks at the mounts of a process.
type guardian struct {
	binds      []bind
	mounts     *os.File // the mount namespace
	root       *os.File
	wake, stop *os.File // ends of a pipe
}

func newGuard(thread int, binds []bind) (*guardian, error) {
	dir := "/proc/" + strconv.Itoa(thread) // threads are there, but not listed
	g := &guardian{binds: binds}
	var errs [3]error
	g.mounts, errs[0] = os.Open(dir + "/ns/mnt")
	g.root, errs[1] = os.OpenFile(dir+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
	g.wake, g.stop, errs[2] = os.Pipe()
	if err := errors.Join(errs[:]...); err != nil {
		g.close()
		_ = g.stop.Close()
		return nil, err
	}
	return g, nil
}

func (g *guardian) close() {
	for _, f := range []*os.File{g.mounts, g.root, g.wake} {
		_ = f.Close()
	}
}

// run works on a thread that ends with it, and not on the main thread, which
// cannot end.
func (g *guardian) run(done chan<- struct{}) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		other := make(chan struct{})
		go g.run(other)
		<-other
		runtime.UnlockOSThread()
		close(done)
		return
	}
	defer close(done)
	if unix.Unshare(unix.CLONE_FS) != nil || unix.Setns(int(g.mounts.Fd()), unix.CLONE_NEWNS) != nil {
		return
	}
	if goTo(int(g.root.Fd()), "/") != nil {
		return
	}
	// Polling tells of changes since the file was opened, and to the first alone
	// who asks: it must not be an os.File, which the runtime polls too.
	table, err := unix.Open("/proc/thread-self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(table) //nolint:errcheck // read only
	// A link whose target has a mount can be replaced without any mount being lost.
	links := watch(g.binds)
	defer unix.Close(links) //nolint:errcheck // read only
	fds := []unix.PollFd{
		{Fd: int32(g.wake.Fd()), Events: unix.POLLIN},
		{Fd: int32(table), Events: unix.POLLPRI},
		{Fd: int32(links), Events: unix.POLLIN},
	}
	var events [4096]byte
	for {
		timeout := -1
		if !g.repair() {
			timeout = retry
		}
		_, err := unix.Poll(fds, timeout)
		if err != nil && !errors.Is(err, unix.EINTR) || fds[0].Revents != 0 {
			return
		}
		if fds[2].Revents != 0 {
			_, _ = unix.Read(links, events[:]) // they only say when to look
		}
	}
}

// watch returns a descriptor that tells of new files in the directories of the
// files that are mounted on, or -1, which is never polled.
func watch(binds []bind) int {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return -1
	}
	for _, b := range binds {
		// Without it only mounts are watched.
		_, _ = unix.InotifyAddWatch(fd, filepath.Dir(b.to), unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	}
	return fd
}

// repair mounts the files again that have lost their mount. What the command
// itself has mounted over one stays. It reports false if a file has nothing to
// be mounted on just now.
func (g *guardian) repair() bool {
	done := true
	for _, b := range g.binds {
		var at unix.Statx_t
		err := unix.Statx(unix.AT_FDCWD, b.to, 0, 0, &at)
		if err == nil && at.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
			err = mountFile(b)
		}
		done = done && err == nil
	}
	return done
}
