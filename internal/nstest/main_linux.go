package nstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// mainEnv tells a test binary where it stands: "enter" in fresh namespaces
// that it has to furnish, "inside" in furnished ones.
const mainEnv = "LIBNETWORK_NSTEST_MAIN"

// Main runs the tests of a package in a process that has network and mount
// namespaces of its own, with empty /run and /var/lib, and ends the process
// with their exit code. It is the body of TestMain:
//
//	func TestMain(m *testing.M) { nstest.Main(m) }
//
// Without root the tests run as they are, and [Require] skips them.
func Main(m *testing.M) {
	switch {
	case os.Getenv(mainEnv) == "inside" || os.Geteuid() != 0:
		os.Exit(m.Run())
	case os.Getenv(mainEnv) == "enter":
		var err error
		inherited, err = mounts()
		if err := errors.Join(err, furnish(), os.Setenv(mainEnv, "inside")); err != nil {
			fmt.Fprintln(os.Stderr, "nstest:", err)
			os.Exit(2)
		}
		os.Exit(m.Run())
	default:
		os.Exit(again())
	}
}

// inherited are the mounts that came along into the mount namespace of the tests. They
// are somebody else's, and go when he deletes what they are on.
var inherited []string

// Mounts are those that were made in the mount namespace of [Main], as lines of
// mountinfo (proc_pid_mountinfo(5)).
func Mounts(t testing.TB) []string {
	t.Helper()
	all, err := mounts()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(m string) bool { return slices.Contains(inherited, m) })
}

func mounts() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	return slices.Collect(strings.Lines(string(text))), err
}

// again runs this binary with its arguments in fresh namespaces.
func again() int {
	// The signal comes when the thread that started the child ends.
	runtime.LockOSThread()
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), mainEnv+"=enter")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// Unshareflags, not Cloneflags: only these make the mounts private.
		Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nstest:", err)
		return 2
	}
	return 0
}
