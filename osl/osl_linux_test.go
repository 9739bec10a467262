package osl_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/osl"
	"github.com/libnetwork/libnetwork/types"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// sandbox makes a sandbox that ends with the test.
func sandbox(t *testing.T) osl.Sandbox {
	t.Helper()
	nstest.Require(t, nstest.Root, nstest.Bridge, nstest.Veth, nstest.IPv6)
	t.Cleanup(func() {
		if err := netns.RemoveDir(nil, "/run/libnetwork/netns"); err != nil {
			t.Error(err)
		}
	})
	sb, err := osl.NewSandbox(osl.GenerateKey("0123456789abcdef"), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sb.Destroy(); err != nil {
			t.Error(err)
		}
	})
	return sb
}

// pair makes a veth pair in the test's namespace; its first end stays there.
func pair(t *testing.T, name string) {
	t.Helper()
	l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name + "x"}, PeerName: name}
	if err := errors.Join(netlink.LinkAdd(l), netlink.LinkSetUp(l)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if l, err := netlink.LinkByName(name + "x"); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
}

func cidr(t *testing.T, s string) *net.IPNet {
	t.Helper()
	n, err := types.ParseCIDR(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// inside runs fn in the sandbox.
func inside(t *testing.T, sb osl.Sandbox, fn func() error) {
	t.Helper()
	var err error
	if err := errors.Join(sb.InvokeFunc(func() { err = fn() }), err); err != nil {
		t.Error(err)
	}
}

// add adds an interface with addresses of both families.
func add(t *testing.T, sb osl.Sandbox, name string) osl.Interface {
	t.Helper()
	pair(t, name)
	o := sb.InterfaceOptions()
	err := sb.AddInterface(name, "eth", o.Address(cidr(t, "10.1.0.2/24")), o.AddressIPv6(cidr(t, "fd00:1::2/64")),
		o.MacAddress(net.HardwareAddr{2, 0x42, 10, 1, 0, 2}), o.Routes([]*net.IPNet{cidr(t, "10.7.0.0/16")}))
	if err != nil {
		t.Fatal(err)
	}
	ifs := sb.Info().Interfaces()
	return ifs[len(ifs)-1]
}

func TestKeys(t *testing.T) {
	for _, tc := range []struct{ name, id, want string }{
		{"OSL-1 a key ends with the first 12 characters of the id", "0123456789abcdef", "/run/libnetwork/netns/0123456789ab"},
		{"short", "abc", "/run/libnetwork/netns/abc"},
		{"not out of the directory", "../../../etc", "/run/libnetwork/netns/..-..-..-etc"},
		{"not the directory above", "..", "/run/libnetwork/netns/-.."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := osl.GenerateKey(tc.id); got != tc.want {
				t.Errorf("key %s, want %s", got, tc.want)
			}
		})
	}
	t.Run("OSL-1 the directory of keys is configurable", func(t *testing.T) {
		t.Setenv("LIBNETWORK_RUN_DIR", "/x")
		if got := osl.GenerateKey("abc"); got != "/x/netns/abc" {
			t.Errorf("key %s", got)
		}
	})
}

func TestLife(t *testing.T) {
	nstest.Require(t, nstest.Root)
	nstest.Leaks(t)
	sb := sandbox(t)
	t.Run("OSL-2 a second sandbox of one key is a fresh and empty namespace", func(t *testing.T) {
		pair(t, "vfresh")
		if err := sb.AddInterface("vfresh", "eth"); err != nil {
			t.Fatal(err)
		}
		again, err := osl.NewSandbox(sb.Key(), true)
		if err != nil {
			t.Fatal(err)
		}
		inside(t, again, func() error {
			links, err := netlink.LinkList()
			if len(links) != 1 || links[0].Attrs().Name != "lo" || links[0].Attrs().Flags&net.FlagUp == 0 {
				t.Errorf("links are %v, want lo alone, up", links)
			}
			return err
		})
		if err := again.Destroy(); err != nil {
			t.Error(err)
		}
	})
	t.Run("OSL-5 a destroyed sandbox leaves no file, and a second Destroy is an error", func(t *testing.T) {
		other, err := osl.NewSandbox(osl.GenerateKey("other"), true)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Destroy(); err != nil {
			t.Error(err)
		}
		if _, ok := other.Destroy().(types.NotFoundError); !ok {
			t.Error("the second Destroy is no NotFound error")
		}
		osl.GC()
		if _, err := os.Stat(other.Key()); err == nil {
			t.Error("the file is left")
		}
	})
	t.Run("OSL-16 InvokeFunc runs inside, and the thread is back", func(t *testing.T) {
		unlock := osl.InitOSContext()
		defer unlock()
		inside(t, sb, func() error {
			in, err := os.Readlink("/proc/thread-self/ns/net")
			if out, _ := os.Readlink("/proc/self/ns/net"); in == out {
				t.Error("not inside")
			}
			return err
		})
		nstest.Threads(t)
	})
	t.Run("OSL-6a GetSandboxForExternalKey pins somebody else's namespace to the key", func(t *testing.T) {
		ns := nstest.New(t)
		key := filepath.Join(t.TempDir(), "key")
		ext, err := osl.GetSandboxForExternalKey(ns.Path(), key)
		if err != nil {
			t.Fatal(err)
		}
		inside(t, ext, func() error {
			return ns.Do(func() error {
				_, err := net.InterfaceByName("lo")
				return err
			})
		})
		if !netns.IsNamespace(key) || ext.Key() != key {
			t.Errorf("key %s is no namespace", ext.Key())
		}
		if err := ext.Destroy(); err != nil {
			t.Error(err)
		}
		if _, err := osl.GetSandboxForExternalKey("/dev/null", key); err == nil {
			t.Error("a file that is no namespace is taken")
		} else if _, ok := err.(types.BadRequestError); !ok {
			t.Errorf("%v (%T), want BadRequest", err, err)
		}
	})
}

// TestNoChild makes a namespace as a program does that has called nothing before.
func TestNoChild(t *testing.T) {
	nstest.Require(t, nstest.Root)
	children := func() (u unix.Rusage) {
		if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &u); err != nil {
			t.Fatal(err)
		}
		return u
	}
	t.Run("OSL-4 a namespace is made without a call at the program's start and without another process", func(t *testing.T) {
		before := children()
		sb := sandbox(t)
		if !netns.IsNamespace(sb.Key()) {
			t.Errorf("%s is no namespace", sb.Key())
		}
		if diff := cmp.Diff(before, children()); diff != "" {
			t.Errorf("a child has run (-before +after):\n%s", diff)
		}
	})
	t.Run("OSL-6a InitOSContext locks the thread, which is in the first namespace", func(t *testing.T) {
		unlock := osl.InitOSContext()
		defer unlock()
		thread, err := os.Readlink("/proc/thread-self/ns/net")
		if home, _ := os.Readlink("/proc/self/ns/net"); err != nil || thread != home {
			t.Errorf("the thread is in %s, the process in %s, %v", thread, home, err)
		}
		id := unix.Gettid()
		for range 100 {
			runtime.Gosched()
		}
		if unix.Gettid() != id {
			t.Error("the goroutine has changed its thread")
		}
	})
}

func TestInterfaces(top *testing.T) {
	t := top // subtests hand links on, which end with the whole test
	nstest.Require(t, nstest.Root)
	nstest.Leaks(t)
	sb := sandbox(t)
	i := add(t, sb, "va")
	t.Run("OSL-7 a link is moved in, named by prefix and number, addressed, raised, and has its routes", func(t *testing.T) {
		inside(t, sb, func() error {
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			if a := l.Attrs(); a.Flags&net.FlagUp == 0 || a.HardwareAddr.String() != "02:42:0a:01:00:02" {
				t.Errorf("link %+v", a)
			}
			routes, err := netlink.RouteGet(net.IPv4(10, 7, 0, 1))
			if err == nil && routes[0].LinkIndex != l.Attrs().Index {
				t.Errorf("route %v", routes)
			}
			return err
		})
		if i.DstName() != "eth0" || i.SrcName() != "va" || i.Address().String() != "10.1.0.2/24" || i.AddressIPv6().String() != "fd00:1::2/64" {
			t.Errorf("interface %s %s %s", i.DstName(), i.Address(), i.AddressIPv6())
		}
	})
	t.Run("OSL-15 an interface has counters", func(t *testing.T) {
		if _, err := i.Statistics(); err != nil {
			t.Error(err)
		}
	})
	t.Run("OSL-11 a failure puts the link back and uses up no number", func(t *testing.T) {
		pair(top, "vb")
		o := sb.InterfaceOptions()
		// A route that the first interface has already cannot be added.
		err := sb.AddInterface("vb", "eth", o.Routes([]*net.IPNet{cidr(t, "10.7.0.0/16")}))
		if !errors.Is(err, unix.EEXIST) {
			t.Errorf("error %v, want EEXIST", err)
		}
		if _, err := netlink.LinkByName("vb"); err != nil {
			t.Errorf("the link is not back: %v", err)
		}
		if err := sb.AddInterface("vb", "eth"); err != nil {
			t.Fatal(err)
		}
		if got := sb.Info().Interfaces()[1].DstName(); got != "eth1" {
			t.Errorf("next name %s, want eth1", got)
		}
	})
	t.Run("OSL-10 a removed link is back under its former name", func(t *testing.T) {
		for _, i := range sb.Info().Interfaces() {
			if err := i.Remove(); err != nil {
				t.Fatal(err)
			}
			if _, err := netlink.LinkByName(i.SrcName()); err != nil {
				t.Error(err)
			}
		}
		if _, ok := i.Remove().(types.NotFoundError); !ok {
			t.Error("the second Remove is no NotFound error")
		}
		if _, ok := func() error { _, err := i.Statistics(); return err }().(types.NotFoundError); !ok {
			t.Error("counters of a removed interface")
		}
	})
	t.Run("OSL-7 numbers of interfaces are not used again", func(t *testing.T) {
		if i := add(top, sb, "vc"); i.DstName() != "eth2" {
			t.Errorf("name %s, want eth2", i.DstName())
		}
	})
	t.Run("OSL-8 a bridge is made inside, and a master must be one that was added", func(t *testing.T) {
		pair(top, "vd")
		o := sb.InterfaceOptions()
		if err := sb.AddInterface("vd", "p", o.Master("br")); err == nil {
			t.Error("an unknown master is taken")
		}
		if err := sb.AddInterface("br", "br", o.Bridge(true), o.AddressIPv6(cidr(t, "fd00:2::1/64"))); err != nil {
			t.Fatal(err)
		}
		if err := sb.AddInterface("vd", "p", o.Master("br")); err != nil {
			t.Fatal(err)
		}
		inside(t, sb, func() error {
			br, err := netlink.LinkByName("br3")
			if err != nil {
				return err
			}
			port, err := netlink.LinkByName("p4")
			if err == nil && port.Attrs().MasterIndex != br.Attrs().Index {
				t.Errorf("master %d, want %d", port.Attrs().MasterIndex, br.Attrs().Index)
			}
			return err
		})
		for _, i := range sb.Info().Interfaces() {
			if err := i.Remove(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestGateways(t *testing.T) {
	nstest.Require(t, nstest.Root)
	nstest.Leaks(t)
	sb := sandbox(t)
	i := add(t, sb, "va")
	for _, tc := range []struct {
		name        string
		set         func(net.IP) error
		unset       func() error
		get         func() net.IP
		a, b, far   string
		otherFamily string
	}{
		{"OSL-12 an IPv4 gateway replaces another one, must be reachable, and is unset", sb.SetGateway, sb.UnsetGateway, sb.Info().Gateway, "10.1.0.1", "10.1.0.9", "192.0.2.1", "fd00:1::1"},
		{"OSL-12 an IPv6 gateway replaces another one, must be reachable, and is unset", sb.SetGatewayIPv6, sb.UnsetGatewayIPv6, sb.Info().GatewayIPv6, "fd00:1::1", "fd00:1::9", "2001:db8::1", "10.1.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := errors.Join(tc.set(nil), tc.unset()); err != nil || tc.get() != nil {
				t.Errorf("nothing set: %v", err)
			}
			for _, bad := range []string{tc.far, tc.otherFamily} {
				if err := tc.set(net.ParseIP(bad)); err == nil {
					t.Errorf("%s is taken", bad)
				}
			}
			for _, gw := range []string{tc.a, tc.b} {
				if err := tc.set(net.ParseIP(gw)); err != nil {
					t.Fatal(err)
				}
				if got := tc.get().String(); got != gw {
					t.Errorf("gateway %s, want %s", got, gw)
				}
				inside(t, sb, func() error {
					r, err := netlink.RouteGet(net.ParseIP(tc.far))
					if err == nil && !r[0].Gw.Equal(net.ParseIP(gw)) {
						t.Errorf("route %v, want gateway %s", r, gw)
					}
					return err
				})
			}
			if err := tc.set(net.ParseIP(tc.far)); err == nil {
				t.Error("a gateway behind the gateway is taken")
			}
			if err := errors.Join(tc.unset(), tc.unset()); err != nil || tc.get() != nil {
				t.Errorf("unset: %v", err)
			}
		})
	}
	t.Run("OSL-16 Info tells interfaces, gateways and routes, as copies", func(t *testing.T) {
		r := &types.StaticRoute{Destination: cidr(t, "10.60.0.0/16"), NextHop: net.ParseIP("10.1.0.1")}
		if err := errors.Join(sb.SetGateway(net.ParseIP("10.1.0.1")), sb.SetGatewayIPv6(net.ParseIP("fd00:1::1")), sb.AddStaticRoute(r)); err != nil {
			t.Fatal(err)
		}
		said := func() []string {
			in := sb.Info()
			return []string{
				in.Interfaces()[0].DstName(), in.Interfaces()[0].Address().String(),
				in.Gateway().String(), in.GatewayIPv6().String(), in.StaticRoutes()[0].Destination.String(),
			}
		}
		want := []string{"eth0", "10.1.0.2/24", "10.1.0.1", "fd00:1::1", "10.60.0.0/16"}
		if diff := cmp.Diff(want, said()); diff != "" {
			t.Errorf("info (-want +got):\n%s", diff)
		}
		in := sb.Info()
		in.Gateway()[len(in.Gateway())-1]++
		in.Interfaces()[0].Address().IP[0]++
		in.StaticRoutes()[0].Destination.IP[0]++
		if diff := cmp.Diff(want, said()); diff != "" {
			t.Errorf("info after the caller has changed it (-want +got):\n%s", diff)
		}
		if err := errors.Join(sb.UnsetGateway(), sb.UnsetGatewayIPv6(), sb.RemoveStaticRoute(r)); err != nil {
			t.Error(err)
		}
	})
	t.Run("OSL-12 a gateway can be unset when its link has gone", func(t *testing.T) {
		if err := errors.Join(sb.SetGateway(net.ParseIP("10.1.0.1")), i.Remove(), sb.UnsetGateway()); err != nil {
			t.Error(err)
		}
	})
}

func TestRoutesAndNeighbors(t *testing.T) {
	nstest.Require(t, nstest.Root)
	nstest.Leaks(t)
	sb := sandbox(t)
	add(t, sb, "va")
	for _, tc := range []struct{ name, dst, via string }{
		{"OSL-13 an IPv4 route goes by its next hop, a neighbour is added twice and deleted once", "10.50.0.0/16", "10.1.0.1"},
		{"OSL-13 an IPv6 route goes by its next hop, a neighbour is added twice and deleted once", "fd00:50::/64", "fd00:1::1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &types.StaticRoute{Destination: cidr(t, tc.dst), NextHop: net.ParseIP(tc.via)}
			if err := sb.AddStaticRoute(r); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]*types.StaticRoute{r}, sb.Info().StaticRoutes()); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			if err := sb.RemoveStaticRoute(r); err != nil {
				t.Fatal(err)
			}
			if _, ok := sb.RemoveStaticRoute(r).(types.NotFoundError); !ok || len(sb.Info().StaticRoutes()) != 0 {
				t.Error("a second removal is no NotFound error")
			}
			ip, mac := net.ParseIP(tc.via), net.HardwareAddr{2, 0, 0, 0, 0, 1}
			for range 2 {
				if err := sb.AddNeighbor(ip, mac); err != nil {
					t.Fatal(err)
				}
			}
			if err := sb.DeleteNeighbor(ip, mac); err != nil {
				t.Error(err)
			}
			if _, ok := sb.DeleteNeighbor(ip, mac).(types.NotFoundError); !ok {
				t.Error("deleting an unknown neighbour is no NotFound error")
			}
		})
	}
	t.Run("OSL-13 a neighbour may name its link and family", func(t *testing.T) {
		o, mac := sb.NeighborOptions(), net.HardwareAddr{2, 0, 0, 0, 0, 2}
		if err := sb.AddNeighbor(net.IPv4(192, 0, 2, 1), mac, o.LinkName("nothing")); err == nil {
			t.Error("an unknown link is taken")
		}
		if err := sb.AddNeighbor(net.IPv4(192, 0, 2, 1), mac, o.LinkName("va"), o.Family(unix.AF_INET)); err != nil {
			t.Error(err)
		}
	})
}

func TestHostSandbox(t *testing.T) {
	nstest.Require(t, nstest.Root)
	nstest.Leaks(t)
	sandbox(t) // for the directory
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sb, err := osl.NewSandbox(osl.GenerateKey("default"), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("OSL-2 without creation the key pins the caller's own namespace", func(t *testing.T) {
		inside(t, sb, func() error {
			in, err := os.Readlink("/proc/thread-self/ns/net")
			if out, _ := os.Readlink("/proc/self/ns/net"); in != out {
				t.Errorf("inside is %s, the caller is in %s", in, out)
			}
			return err
		})
	})
	pair(t, "va")
	o := sb.InterfaceOptions()
	t.Run("OSL-8 in the host's namespace links are neither moved nor renamed", func(t *testing.T) {
		if err := sb.AddInterface("va", "eth", o.Address(cidr(t, "10.1.0.2/24"))); err != nil {
			t.Fatal(err)
		}
		i := sb.Info().Interfaces()[0]
		if l, err := net.InterfaceByName("va"); err != nil || l.Flags&net.FlagUp == 0 || i.DstName() != "va" {
			t.Errorf("link %+v (%v) named %s", l, err, i.DstName())
		}
		if err := i.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := net.InterfaceByName("va"); err != nil {
			t.Errorf("the link of the host does not stay: %v", err)
		}
	})
	if err := sb.Destroy(); err != nil {
		t.Error(err)
	}
}
