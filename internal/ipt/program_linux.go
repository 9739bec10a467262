package ipt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/types"
)

// programs are the paths of the programs of one family.
type programs struct {
	save, restore string
}

// dirs are where the programs are looked for besides PATH: that of a daemon may
// lack them.
func dirs() []string { return []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} }

// find looks for the programs of a family.
func find(v Variant, v6 bool, more []string) (programs, error) {
	name := "iptables"
	if v6 {
		name = "ip6tables"
	}
	if v != Any {
		name += "-" + string(v)
	}
	save, err := look(name+"-save", more)
	if err != nil {
		return programs{}, err
	}
	restore, err := look(name+"-restore", more)
	return programs{save, restore}, err
}

func look(name string, more []string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if more == nil {
		more = dirs()
	}
	for _, dir := range more {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", types.NoServiceErrorf(
		"the program %s is not in PATH (%s) nor in %s: install the package iptables, or choose the firewall backend nftables",
		name, os.Getenv("PATH"), strings.Join(more, ", "))
}

// variant asks a program which of the two it is; before version 1.8 there was but
// one.
func variant(ctx context.Context, program string) (Variant, error) {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return Any, failure(program, nil, err)
	}
	if bytes.Contains(out, []byte("nf_tables")) {
		return NFT, nil
	}
	return Legacy, nil
}

// run runs a program in a network namespace and returns what it writes. The program
// is one of own, unless that is nil.
func run(ctx context.Context, ns int, own *processes, input string, program string, args ...string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := inside(ns, func() error { return own.start(cmd) }); err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	err := cmd.Wait()
	own.ended(cmd)
	if err != nil {
		return nil, failure(program, stderr.Bytes(), errors.Join(ctx.Err(), err))
	}
	return stdout.Bytes(), nil
}

func failure(program string, stderr []byte, err error) error {
	if text := bytes.TrimSpace(stderr); len(text) > 0 {
		return fmt.Errorf("%s: %w: %s", program, err, text)
	}
	return fmt.Errorf("%s: %w", program, err)
}

// inside calls f on a thread that is in a network namespace: what it starts is
// there, too.
func inside(ns int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("opening the thread's namespace: %w", err)
			return
		}
		defer unix.Close(home)
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- os.NewSyscallError("setns", err)
			return
		}
		err = f()
		// Without the way back the thread stays locked, and ends here.
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
