package nstest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lackingEnv names the test that runs on a kernel that lacks something.
const lackingEnv = "LIBNETWORK_NSTEST_LACKING"

// WithoutNFTables runs fn as [Run] does, on a kernel that has no nftables: a process of
// its own, which runs this test alone, and all that it starts are told so when they
// ask for it.
func WithoutNFTables(t *testing.T, fn func()) {
	t.Helper()
	Require(t, Root)
	if os.Getenv(lackingEnv) == t.Name() {
		if err := denyNetfilter(); err != nil {
			t.Fatal(err)
		}
		Run(t, fn)
		return
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), lackingEnv+"="+t.Name())
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")) {
		t.Errorf("%v:\n%s", err, out)
	}
}

// denyNetfilter makes all threads, and what they start, fail to open a netlink socket
// for netfilter, as they do where the kernel has no nfnetlink (seccomp(2)).
func denyNetfilter() error {
	const nr, domain, proto = 0, 16, 32 // in struct seccomp_data: nr, args[0], args[2]
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	answer := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	filter := []unix.SockFilter{
		load(nr), unless(unix.SYS_SOCKET, 5),
		load(domain), unless(unix.AF_NETLINK, 3),
		load(proto), unless(unix.NETLINK_NETFILTER, 1),
		answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)),
		answer(unix.SECCOMP_RET_ALLOW),
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	if fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER); !errors.Is(err, unix.EPROTONOSUPPORT) {
		_ = unix.Close(fd)
		return errors.New("the filter does not hold")
	}
	return nil
}
