//go:build linux

package sysctl_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/internal/sysctl"
	"github.com/libnetwork/libnetwork/types"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestReadWrite(t *testing.T) {
	nstest.Require(t, nstest.Root, nstest.IPv6)
	ns := nstest.New(t)
	path := []string{"net", "ipv6", "conf", "default", "disable_ipv6"}
	if err := sysctl.WriteIn(ns, nil, "1", path...); err != nil {
		t.Fatal(err)
	}
	inside, err := sysctl.ReadIn(ns, path...)
	outside, err2 := sysctl.Read(path...)
	if err := errors.Join(err, err2); err != nil || inside != "1" || outside != "0" {
		t.Errorf("inside %s, outside %s (%v), want 1 and 0", inside, outside, err)
	}
	steps := step.New(nil)
	if err := sysctl.WriteIn(ns, steps, "1", path...); err != nil || steps.Count() != 0 {
		t.Errorf("write of the same value: %v, %d changes", err, steps.Count())
	}
	nstest.Threads(t)
}

func TestErrors(t *testing.T) {
	nstest.Require(t, nstest.Root)
	read := func(path ...string) error { _, err := sysctl.Read(path...); return err }
	for _, tc := range []struct {
		name  string
		err   error
		class any
		cause error
	}{
		{"missing", read("net", "ipv4", "nothing"), new(types.NotFoundError), fs.ErrNotExist},
		{"missing on write", sysctl.Write(nil, "1", "net", "nothing"), new(types.NotFoundError), fs.ErrNotExist},
		{"read-only", sysctl.Write(nil, "1", "kernel", "osrelease"), new(types.ForbiddenError), fs.ErrPermission},
		{"bad value", sysctl.Write(nil, "x", "net", "ipv4", "ip_forward"), new(types.BadRequestError), nil},
		{"no name", read(), new(types.BadRequestError), nil},
		{"slash", read("net/ipv4", "ip_forward"), new(types.BadRequestError), nil},
		{"up", read("net", ".."), new(types.BadRequestError), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.err == nil || !errors.As(tc.err, tc.class) || tc.cause != nil && !errors.Is(tc.err, tc.cause) {
				t.Errorf("error %v (%T)", tc.err, tc.err)
			}
		})
	}
}

func TestEnableForwarding(t *testing.T) {
	nstest.Require(t, nstest.Root, nstest.IPv6)
	for _, tc := range []struct {
		name string
		ipv6 bool
		want []string
	}{
		{"IPv4", false, []string{"net/ipv4/ip_forward: 0 -> 1"}},
		{"IPv6 after router advertisements are kept", true, []string{
			"net/ipv6/conf/default/accept_ra: 1 -> 2", "net/ipv6/conf/lo/accept_ra: 1 -> 2", "net/ipv6/conf/all/forwarding: 0 -> 1",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := nstest.New(t).Do(func() error {
				for _, want := range [][]string{tc.want, nil} { // the second time nothing is left to do
					changes, err := sysctl.EnableForwarding(nil, tc.ipv6)
					if err != nil {
						return err
					}
					var got []string
					for _, c := range changes {
						got = append(got, fmt.Sprint(c))
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("changes (-want +got):\n%s", diff)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// Several at once turn forwarding on, while links come and go: all links forward then.
func TestEnableForwardingTogether(t *testing.T) {
	nstest.Require(t, nstest.Root, nstest.Bridge)
	ns := nstest.New(t)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	defer func() {
		close(stop)
		busy.Wait()
	}()
	for i := range 2 {
		busy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprint("br", i)
				if err := ns.Do(func() error {
					return errors.Join(
						exec.Command("ip", "link", "add", name, "type", "bridge").Run(),
						exec.Command("ip", "link", "del", name).Run())
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 100 {
		err := ns.Do(func() error { return sysctl.Write(nil, "0", "net", "ipv4", "ip_forward") })
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := ns.Do(func() error {
					_, err := sysctl.EnableForwarding(nil, false)
					return err
				}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if v, err := sysctl.ReadIn(ns, "net", "ipv4", "conf", "lo", "forwarding"); err != nil || v != "1" {
			t.Fatalf("forwarding of lo is %s, %v", v, err)
		}
	}
}

// Whoever may read a setting may lock its file: that keeps nobody from turning forwarding on.
func TestLockedByOthers(t *testing.T) {
	nstest.Require(t, nstest.Root)
	ns := nstest.New(t)
	if err := ns.Do(func() error {
		f, err := os.Open("/proc/sys/net/ipv4/ip_forward")
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			return err
		}
		if err := sysctl.Write(nil, "0", "net", "ipv4", "ip_forward"); err != nil {
			return err
		}
		_, err = sysctl.EnableForwarding(nil, false)
		return err
	}); err != nil {
		t.Error(err)
	}
	if v, err := sysctl.ReadIn(ns, "net", "ipv4", "ip_forward"); err != nil || v != "1" {
		t.Errorf("ip_forward is %s, %v", v, err)
	}
}
