//go:build linux

package netns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// directory makes a directory for namespaces.
func directory(t testing.TB) string {
	t.Helper()
	dir := filepath.Join("/run", "netns-"+filepath.Base(t.Name()))
	if err := netns.EnsureDir(nil, dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.RemoveDir(nil, dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func create(t testing.TB, path string) *netns.Namespace {
	t.Helper()
	ns, err := netns.Create(t.Context(), nil, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ns.Close(), netns.Remove(nil, path)); err != nil {
			t.Error(err)
		}
	})
	return ns
}

func host(t testing.TB) *rtnl.Socket {
	t.Helper()
	h, err := netns.Host(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	s, err := h.Rtnl()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func veth(dir string, i int) model.Veth {
	return model.Veth{
		Host: fmt.Sprintf("ve%d", i), Netns: filepath.Join(dir, fmt.Sprint(i)), Name: "eth0", Bridge: "br0", Group: 77,
		MAC: fmt.Sprintf("02:42:0a:00:%02x:%02x", i>>8, i&255), Addrs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 16)},
	}
}

func bridge(t testing.TB, h *rtnl.Socket) {
	t.Helper()
	err := h.CreateBridge(t.Context(), model.Bridge{Name: "br0", Group: 77, MAC: "02:42:00:00:00:01", Addrs: []netip.Prefix{netip.MustParsePrefix("10.9.255.1/16")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.DeleteGroup(context.Background(), 77); err != nil {
			t.Error(err)
		}
	})
}

func TestCreate(t *testing.T) {
	nstest.Require(t, nstest.Root)
	nstest.Leaks(t)
	dir := directory(t)
	path := filepath.Join(dir, "a")
	first := create(t, path)
	t.Run("OSL-3 the file is the namespace, and no thread stays inside", func(t *testing.T) {
		other, err := netns.Open(nil, path)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if !netns.Same(first, other) || !netns.IsNamespace(path) {
			t.Error("the file is another namespace")
		}
		self, err := netns.OpenSelf(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer self.Close()
		if netns.Same(first, self) {
			t.Error("the caller is inside")
		}
		nstest.Threads(t)
	})
	t.Run("OSL-2 lo is up, and a second one of the same key is fresh", func(t *testing.T) {
		sock, err := first.Rtnl()
		if err != nil {
			t.Fatal(err)
		}
		lo, err := sock.Link(t.Context(), "lo")
		if err != nil || !lo.Up {
			t.Errorf("lo is %+v (%v), want it up", lo, err)
		}
		second, err := netns.Create(t.Context(), nil, path)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		if netns.Same(first, second) {
			t.Error("the second one is the first one")
		}
	})
	t.Run("OSL-5 what is pinned is listed, and gone when it is removed", func(t *testing.T) {
		got, err := netns.List(dir)
		if err != nil || len(got) != 1 || got[0] != path {
			t.Errorf("List = %q, %v, want %q", got, err, path)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	nstest.Require(t, nstest.Root)
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path string
		class      func(error) bool
	}{
		{"missing", plain + "x", is[types.NotFoundError]},
		{"plain file", plain, is[types.BadRequestError]},
		{"pipe", fifo, is[types.BadRequestError]},
		{"namespace of another kind", "/proc/self/ns/mnt", is[types.BadRequestError]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n, err := netns.Open(nil, tc.path)
			if n != nil || !tc.class(err) {
				t.Errorf("Open = %v, %v (%T)", n, err, err)
			}
			if netns.IsNamespace(tc.path) {
				t.Error("IsNamespace")
			}
		})
	}
}

func is[T any](err error) bool { _, ok := err.(T); return ok }

func TestSockets(t *testing.T) {
	nstest.Require(t, nstest.Root)
	nstest.Leaks(t)
	ns := create(t, filepath.Join(directory(t), "a"))
	for _, a := range []string{"127.0.0.1:4000", "[::1]:4000"} {
		l, err := ns.ListenTCP(netip.MustParseAddrPort(a))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		u, err := ns.ListenUDP(netip.MustParseAddrPort(a))
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		if c, err := net.Dial("tcp", a); err == nil {
			c.Close()
			t.Errorf("%s answers outside", a)
		}
		for _, network := range []string{"tcp", "udp"} {
			c, err := ns.Dial(t.Context(), network, a)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("x")); err != nil || c.RemoteAddr().String() != a {
				t.Errorf("%s to %s: %v", network, c.RemoteAddr(), err)
			}
		}
	}
	if _, err := ns.Dial(t.Context(), "tcp", "127.0.0.1:4001"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("dial of a closed port: %v, want ECONNREFUSED", err)
	}
	if _, err := ns.ListenUDP(netip.MustParseAddrPort("127.0.0.1:4000")); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("second listen: %v, want EADDRINUSE", err)
	}
	nstest.Threads(t)
}

// TestFaults fails every changing call once: nothing may be left.
func TestFaults(t *testing.T) {
	nstest.Require(t, nstest.Root)
	for at := 1; ; at++ {
		failed := true
		t.Run(fmt.Sprintf("call %d", at), func(t *testing.T) {
			nstest.Leaks(t)
			dir := directory(t)
			steps, err := step.FromEnv(fmt.Sprintf("fail:%d", at))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "a")
			ns, err := netns.Create(t.Context(), steps, path)
			if failed = err != nil; !failed {
				if err := errors.Join(ns.Close(), netns.Remove(nil, path)); err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, step.ErrInjected) {
				t.Error(err)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("the file is left")
			}
		})
		if !failed {
			if at < 5 {
				t.Errorf("only %d calls were failed", at-1)
			}
			return
		}
	}
}

func TestWholeLife(t *testing.T) {
	nstest.Require(t, nstest.Root, nstest.Bridge, nstest.Veth)
	nstest.Leaks(t)
	dir := directory(t)
	h := host(t)
	bridge(t, h)
	one := func(t *testing.T, i int) {
		v := veth(dir, i)
		ns, err := netns.Create(t.Context(), nil, v.Netns)
		if err != nil {
			t.Error(err)
			return
		}
		in, err := ns.Rtnl()
		if err != nil {
			t.Error(err)
			return
		}
		if err := h.CreateVeth(t.Context(), in, ns.FD(), v); err != nil {
			t.Error(err)
		}
		err = in.ReplaceDefaultRoute(t.Context(), model.DefaultRoute{Netns: v.Netns, Via: netip.MustParseAddr("10.9.255.1"), Dev: v.Name})
		if err := errors.Join(err, h.DetachVeth(t.Context(), v.Host), ns.Close(), netns.Remove(nil, v.Netns)); err != nil {
			t.Error(err)
		}
	}
	t.Run("200 rounds leave no descriptor", func(t *testing.T) {
		nstest.Leaks(t)
		for i := range 200 {
			one(t, i+1)
		}
	})
	t.Run("64 at a time", func(t *testing.T) {
		nstest.Leaks(t)
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() { one(t, 1000+i) })
		}
		wg.Wait()
	})
}

func BenchmarkFloor(b *testing.B) {
	nstest.Require(b, nstest.Root, nstest.Bridge, nstest.Veth)
	dir := directory(b)
	h := host(b)
	bridge(b, h)
	i := 0
	life := func(b *testing.B, upTo int) {
		type made struct {
			ns *netns.Namespace
			v  model.Veth
		}
		var all []made
		clear := func() {
			b.StopTimer()
			var names []string
			for _, m := range all {
				names = append(names, m.v.Host)
			}
			_ = h.DeleteLinks(b.Context(), names...)
			for _, m := range all {
				if err := errors.Join(m.ns.Close(), netns.Remove(nil, m.v.Netns)); err != nil {
					b.Fatal(err)
				}
			}
			all = nil
			b.StartTimer()
		}
		for range b.N {
			i++
			v := veth(dir, i%60000)
			if upTo == 2 {
				b.StopTimer()
			}
			ns, err := netns.Create(b.Context(), nil, v.Netns)
			if err != nil {
				b.Fatal(err)
			}
			if upTo == 2 {
				b.StartTimer()
			}
			all = append(all, made{ns, v})
			if upTo > 1 {
				in, _ := ns.Rtnl()
				if err := h.CreateVeth(b.Context(), in, ns.FD(), v); err != nil {
					b.Fatal(err)
				}
				if upTo > 2 {
					err := in.ReplaceDefaultRoute(b.Context(), model.DefaultRoute{Netns: v.Netns, Via: netip.MustParseAddr("10.9.255.1"), Dev: v.Name})
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			if len(all) == 100 {
				clear()
			}
		}
		clear()
	}
	b.Run("namespace", func(b *testing.B) { life(b, 1) })
	b.Run("veth", func(b *testing.B) { life(b, 2) })
	b.Run("namespace, veth, address, route", func(b *testing.B) { life(b, 3) })
}

func BenchmarkOpenSocket(b *testing.B) {
	nstest.Require(b, nstest.Root)
	ns := create(b, filepath.Join(directory(b), "a"))
	for b.Loop() {
		c, err := ns.ListenUDP(netip.MustParseAddrPort("127.0.0.1:4000"))
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
