package rtnl_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/internal/sysctl"
	"github.com/libnetwork/libnetwork/types"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// space is a namespace of a test.
type space struct {
	*netns.Namespace
	*rtnl.Socket
}

func (s space) Close() error { return s.Namespace.Close() }

// open makes a namespace; steps numbers what is changed in it.
func open(t testing.TB, steps *step.Counter) space {
	t.Helper()
	nstest.Require(t, nstest.Root, nstest.Bridge, nstest.Veth, nstest.IPv6)
	ns, err := netns.Open(steps, nstest.New(t).Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	sock, err := ns.Rtnl()
	if err != nil {
		t.Fatal(err)
	}
	return space{ns, sock}
}

func prefixes(s ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, a := range s {
		p = append(p, netip.MustParsePrefix(a))
	}
	return p
}

func testBridge() model.Bridge {
	return model.Bridge{
		Name: "br0", Group: 77, Alias: "net one", MAC: "02:42:00:00:00:01", MTU: 1400,
		Addrs: prefixes("10.9.0.1/24", "fd00:9::1/64"), IPv6: true, RouteLocalnet: true, StrictSource: true,
	}
}

func testVeth() model.Veth {
	return model.Veth{
		Host: "ve0", Netns: "/x", Name: "eth0", Bridge: "br0", Group: 77, Alias: "ep one", MAC: "02:42:0a:09:00:02",
		MTU: 1400, Addrs: prefixes("10.9.0.2/24", "fd00:9::2/64"),
		Routes:   []model.Route{{Dst: netip.MustParsePrefix("10.99.0.0/16"), Via: netip.MustParseAddr("10.9.0.1")}, {Dst: netip.MustParsePrefix("10.98.0.0/16")}},
		Isolated: true, Hairpin: true,
	}
}

// addresses lists those of a link.
func addresses(t testing.TB, s space, name string) []string {
	t.Helper()
	index, err := s.Index(name)
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Addresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, a := range all {
		if a.Index == int(index) {
			got = append(got, a.Prefix.String())
		}
	}
	slices.Sort(got)
	return got
}

func conf(t testing.TB, s space, path string) string {
	t.Helper()
	v, err := sysctl.ReadIn(s, strings.Split(path, "/")...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCreateBridge(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*model.Bridge)
		addrs  []string
		conf   map[string]string
	}{
		{
			"both families", func(*model.Bridge) {},
			[]string{"10.9.0.1/24", "fd00:9::1/64", "fe80::1/64"},
			map[string]string{"ipv6/conf/br0/disable_ipv6": "0", "ipv6/conf/br0/accept_ra": "0", "ipv4/conf/br0/route_localnet": "1", "ipv4/conf/br0/rp_filter": "1"},
		},
		{
			"IPv4 alone", func(b *model.Bridge) {
				b.IPv6, b.RouteLocalnet, b.StrictSource, b.Addrs = false, false, false, b.Addrs[:1]
			},
			[]string{"10.9.0.1/24"},
			map[string]string{"ipv6/conf/br0/disable_ipv6": "1", "ipv4/conf/br0/route_localnet": "0", "ipv4/conf/br0/rp_filter": "0"},
		},
		{
			"fe80::1 given", func(b *model.Bridge) { b.Addrs = prefixes("fe80::1/64") },
			[]string{"fe80::1/64"},
			nil,
		},
		{
			"nothing but a name", func(b *model.Bridge) { *b = model.Bridge{Name: "br0", MTU: 1400, Group: 77, Alias: "net one"} },
			[]string{},
			nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, b := open(t, nil), testBridge()
			tc.change(&b)
			if err := s.CreateBridge(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			l, err := s.Link(t.Context(), b.Name)
			if err != nil {
				t.Fatal(err)
			}
			mac := b.MAC
			if mac == "" {
				mac = l.MAC.String()
			}
			got := fmt.Sprint(l.Name, l.Group, l.Kind, l.MTU, l.Alias, l.Up, l.MAC.String())
			want := fmt.Sprint(b.Name, b.Group, "bridge", 1400, "net one", true, mac)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("link (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.addrs, addresses(t, s, b.Name)); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			for path, want := range tc.conf {
				if got := conf(t, s, "net/"+path); got != want {
					t.Errorf("%s = %s, want %s", path, got, want)
				}
			}
		})
	}
}

func TestCreateVeth(t *testing.T) {
	h, in := open(t, nil), open(t, nil)
	if err := h.CreateBridge(t.Context(), testBridge()); err != nil {
		t.Fatal(err)
	}
	if err := h.CreateVeth(t.Context(), in.Socket, in.FD(), testVeth()); err != nil {
		t.Fatal(err)
	}
	br, err := h.Link(t.Context(), "br0")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"ipv6/conf/ve0/disable_ipv6": "1", "ipv4/conf/ve0/rp_filter": "1"} {
		if got := conf(t, h, "net/"+path); got != want {
			t.Errorf("%s = %s, want %s", path, got, want)
		}
	}
	host, err := h.Link(t.Context(), "ve0")
	if err != nil {
		t.Fatal(err)
	}
	inside, err := in.Link(t.Context(), "eth0")
	if err != nil {
		t.Fatal(err)
	}
	want := rtnl.Link{
		Index: host.Index, Name: "ve0", Group: 77, Kind: "veth", Master: br.Index, Peer: inside.Index, PeerNetns: 0,
		MAC: host.MAC, MTU: 1400, Alias: "ep one", Up: true, Carrier: true, Running: host.Running, Isolated: true, Hairpin: true, GroupMask: 0xfffd, StrictSource: true,
		StopsV4: true, StopsV6: true, AcceptsRA: true, // the host is no router
	}
	if diff := cmp.Diff(want, host); diff != "" {
		t.Errorf("host end (-want +got):\n%s", diff)
	}
	if inside.MAC.String() != "02:42:0a:09:00:02" || inside.MTU != 1400 || !inside.Up {
		t.Errorf("end inside: %+v", inside)
	}
	t.Run("OSL-9 IPv6 addresses are usable at once, without duplicate address detection", func(t *testing.T) {
		err := in.Do(func() error {
			fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.MustParseAddr("fd00:9::2").As16()})
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("routes", func(t *testing.T) {
		got, err := in.Routes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var dst []string
		for _, r := range got {
			dst = append(dst, r.Dst.String()+" "+r.Via.String())
		}
		slices.Sort(dst)
		want := []string{"10.9.0.0/24 invalid IP", "10.98.0.0/16 invalid IP", "10.99.0.0/16 10.9.0.1", "fd00:9::/64 invalid IP"}
		if diff := cmp.Diff(want, dst); diff != "" {
			t.Errorf("routes (-want +got):\n%s", diff)
		}
	})
	t.Run("OSL-15 the counters of a link are those of its namespace", func(t *testing.T) {
		if _, err := in.Stats(t.Context(), "eth0"); err != nil {
			t.Error(err)
		}
		_, err := in.Stats(t.Context(), "eth9")
		if _, ok := err.(types.NotFoundError); !ok || !errors.Is(err, unix.ENODEV) {
			t.Errorf("unknown device: %v (%T), want NotFound and ENODEV", err, err)
		}
	})
	t.Run("taken names", func(t *testing.T) {
		v := testVeth()
		v.Name = "eth1"
		err := h.CreateVeth(t.Context(), in.Socket, in.FD(), v)
		if _, ok := err.(types.ForbiddenError); !ok || !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "veth ve0") {
			t.Errorf("host name taken: %v (%T)", err, err)
		}
		v.Host, v.Name = "ve1", "eth0"
		if err := h.CreateVeth(t.Context(), in.Socket, in.FD(), v); !errors.Is(err, unix.EEXIST) {
			t.Errorf("inside name taken: %v", err)
		}
		if l, err := h.Link(t.Context(), "ve0"); err != nil || l.Master != br.Index {
			t.Errorf("the first pair has changed: %+v, %v", l, err)
		}
	})
	t.Run("detach, then delete", func(t *testing.T) {
		if err := h.DetachVeth(t.Context(), "ve0", "nothing"); err != nil {
			t.Fatal(err)
		}
		if l, err := h.Link(t.Context(), "ve0"); err != nil || l.Master != 0 || l.Up {
			t.Errorf("after detach: %+v, %v", l, err)
		}
		if err := h.DeleteLinks(t.Context(), "ve0", "nothing", "br0"); err != nil {
			t.Fatal(err)
		}
		if links, err := h.Links(t.Context()); err != nil || len(links) != 1 {
			t.Errorf("left: %v, %v", links, err)
		}
	})
}

func TestIPv6Inside(t *testing.T) {
	for _, tc := range []struct {
		name, disabled string
		v6             bool
		addrs          int // with the link-local one
		want           string
	}{
		{"OSL-14 an IPv6 address turns IPv6 on", "1", true, 2, "0"},
		{"OSL-14 an IPv6 address leaves IPv6 on", "0", true, 2, "0"},
		{"OSL-14 a link without an IPv6 address leaves IPv6 off", "1", false, 0, "1"},
		{"OSL-14 a link without an IPv6 address leaves IPv6 on, and has no link-local one", "0", false, 0, "0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, in := open(t, nil), open(t, nil)
			if err := sysctl.WriteIn(in, nil, tc.disabled, "net", "ipv6", "conf", "default", "disable_ipv6"); err != nil {
				t.Fatal(err)
			}
			if err := h.CreateBridge(t.Context(), testBridge()); err != nil {
				t.Fatal(err)
			}
			v := testVeth()
			if !tc.v6 {
				v.Addrs = v.Addrs[:1]
			}
			if err := h.CreateVeth(t.Context(), in.Socket, in.FD(), v); err != nil {
				t.Fatal(err)
			}
			if got := conf(t, in, "net/ipv6/conf/eth0/disable_ipv6"); got != tc.want {
				t.Errorf("disable_ipv6 = %s, want %s", got, tc.want)
			}
			if got := conf(t, in, "net/ipv6/conf/eth0/accept_ra"); got != "0" {
				t.Errorf("accept_ra = %s, want 0", got)
			}
			// The kernel adds the link-local address when the link carries packets.
			var got []string
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				got = slices.DeleteFunc(addresses(t, in, "eth0"), func(a string) bool { return !strings.Contains(a, ":") })
				if len(got) >= tc.addrs || time.Now().After(end) {
					break
				}
			}
			if len(got) != tc.addrs {
				t.Errorf("IPv6 addresses %v, want %d", got, tc.addrs)
			}
			nstest.Threads(t)
		})
	}
}

// TestFaults fails every changing call once: nothing may be left.
func TestFaults(t *testing.T) {
	in := open(t, nil)
	if err := sysctl.WriteIn(in, nil, "1", "net", "ipv6", "conf", "default", "disable_ipv6"); err != nil {
		t.Fatal(err)
	}
	for at := 1; ; at++ {
		var n int
		steps := step.New(func(i int, name string) error {
			n = i
			if i == at {
				return fmt.Errorf("%s: %w", name, step.ErrInjected)
			}
			return nil
		})
		h := open(t, steps)
		inside, err := rtnlIn(t, in, steps)
		if err != nil {
			t.Fatal(err)
		}
		err = h.CreateBridge(t.Context(), testBridge())
		if err == nil {
			err = h.CreateVeth(t.Context(), inside, in.FD(), testVeth())
		}
		if err == nil {
			if n < 8 {
				t.Errorf("only %d calls were counted", n)
			}
			return
		}
		if !errors.Is(err, step.ErrInjected) {
			t.Errorf("call %d: %v", at, err)
		}
		if err := h.DeleteLinks(t.Context(), "br0"); err != nil {
			t.Error(err)
		}
		for _, s := range []space{h, in} {
			if links, err := s.Links(t.Context()); err != nil || len(links) != 1 {
				t.Errorf("call %d: left %+v, %v", at, links, err)
			}
		}
	}
}

func rtnlIn(t *testing.T, s space, steps *step.Counter) (sock *rtnl.Socket, err error) {
	t.Helper()
	err = s.Do(func() error {
		sock, err = rtnl.Open(rtnl.Config{Enter: s.Do, Steps: steps})
		return err
	})
	t.Cleanup(func() { _ = sock.Close() })
	return sock, err
}

func TestDefaultRoute(t *testing.T) {
	h, in := open(t, nil), open(t, nil)
	if err := h.CreateBridge(t.Context(), testBridge()); err != nil {
		t.Fatal(err)
	}
	if err := h.CreateVeth(t.Context(), in.Socket, in.FD(), testVeth()); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, first, second, to, bad string }{
		{"OSL-12 an IPv4 gateway replaces another one, must be reachable, and is deleted", "10.9.0.1", "10.9.0.7", "192.0.2.1", "10.77.0.1"},
		{"OSL-12 an IPv6 gateway replaces another one, must be reachable, and is deleted", "fd00:9::1", "fd00:9::7", "2001:db8::1", "fd00:77::1"},
		{"OSL-12 a link-local gateway replaces another one, must be reachable, and is deleted", "fe80::1", "fe80::7", "2001:db8::1", "fd00:77::1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, via := range []string{tc.first, tc.second} {
				r := model.DefaultRoute{Via: netip.MustParseAddr(via), Dev: "eth0"}
				if err := in.ReplaceDefaultRoute(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				dev, got, err := in.RouteTo(t.Context(), netip.MustParseAddr(tc.to))
				if err != nil || dev != "eth0" || got != r.Via {
					t.Errorf("route to %s: %s %s (%v), want eth0 %s", tc.to, dev, got, err, via)
				}
				if err := in.Routed(t.Context(), netip.MustParseAddr(tc.to)); err != nil {
					t.Errorf("route to %s: %v", tc.to, err)
				}
			}
			if err := in.ReplaceDefaultRoute(t.Context(), model.DefaultRoute{Via: netip.MustParseAddr(tc.bad), Dev: "eth0"}); err == nil {
				t.Error("a gateway that is not on the link is taken")
			}
			last := model.DefaultRoute{Via: netip.MustParseAddr(tc.second), Dev: "eth0"}
			for range 2 { // the second time there is none
				if err := in.DeleteDefaultRoute(t.Context(), last); err != nil {
					t.Error(err)
				}
			}
			if err := in.DeleteDefaultRoute(t.Context(), model.DefaultRoute{Via: last.Via, Dev: "gone"}); err != nil {
				t.Errorf("route of a link that is gone: %v", err)
			}
			_, _, err := in.RouteTo(t.Context(), netip.MustParseAddr(tc.to))
			if again := in.Routed(t.Context(), netip.MustParseAddr(tc.to)); again == nil || again.Error() != err.Error() {
				t.Errorf("route after delete: %v, and %v", err, again)
			}
			if _, ok := err.(types.NoServiceError); !ok {
				t.Errorf("route after delete: %v (%T), want NoService", err, err)
			}
		})
	}
}

func TestRoutesAndNeighbours(t *testing.T) {
	h := open(t, nil)
	if err := h.CreateBridge(t.Context(), testBridge()); err != nil {
		t.Fatal(err)
	}
	for _, r := range []model.Route{
		{Dst: netip.MustParsePrefix("10.50.0.0/16")},
		{Dst: netip.MustParsePrefix("10.51.0.0/16"), Via: netip.MustParseAddr("10.9.0.9")},
		{Dst: netip.MustParsePrefix("fd00:50::/64")},
		{Dst: netip.MustParsePrefix("fd00:51::/64"), Via: netip.MustParseAddr("fd00:9::9")},
	} {
		t.Run("OSL-13 a static route is added and deleted: "+r.Dst.String(), func(t *testing.T) {
			if err := h.AddRoute(t.Context(), "br0", r); err != nil {
				t.Fatal(err)
			}
			if err := h.AddRoute(t.Context(), "br0", r); !errors.Is(err, unix.EEXIST) {
				t.Errorf("second add: %v, want EEXIST", err)
			}
			if err := h.DeleteRoute(t.Context(), "br0", r); err != nil {
				t.Fatal(err)
			}
			err := h.DeleteRoute(t.Context(), "br0", r)
			if _, ok := err.(types.NotFoundError); !ok {
				t.Errorf("second delete: %v (%T), want NotFound", err, err)
			}
		})
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	for _, a := range []string{"10.9.0.9", "fd00:9::9"} {
		t.Run("OSL-13 a neighbour is added twice and deleted once: "+a, func(t *testing.T) {
			n := rtnl.Neighbour{Dev: "br0", Addr: netip.MustParseAddr(a), MAC: mac}
			for range 2 {
				if err := h.AddNeighbour(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			if err := h.DeleteNeighbour(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			if err := h.FlushNeighbour(t.Context(), "br0", n.Addr); err != nil {
				t.Errorf("flush of an unknown one: %v", err)
			}
			n.Addr = n.Addr.Next()
			err := h.DeleteNeighbour(t.Context(), n)
			if _, ok := err.(types.NotFoundError); !ok {
				t.Errorf("delete of an unknown one: %v (%T), want NotFound", err, err)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	h := open(t, nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name string
		err  error
		want any
	}{
		{"long name", h.CreateBridge(t.Context(), model.Bridge{Name: "sixteen-bytes-br"}), new(types.BadRequestError)},
		{"name with a slash", h.CreateBridge(t.Context(), model.Bridge{Name: "a/b"}), new(types.BadRequestError)},
		{"negative MTU", h.CreateBridge(t.Context(), model.Bridge{Name: "br0", MTU: -1}), new(types.BadRequestError)},
		{"huge MTU", h.CreateBridge(t.Context(), model.Bridge{Name: "br0", MTU: 1 << 40}), new(types.BadRequestError)},
		{"MTU that a bridge cannot have", h.CreateBridge(t.Context(), model.Bridge{Name: "br0", MTU: 1 << 20}), new(types.BadRequestError)},
		{"bad MAC", h.CreateBridge(t.Context(), model.Bridge{Name: "br0", MAC: "x"}), new(types.BadRequestError)},
		{"no bridge", h.CreateVeth(t.Context(), h.Socket, h.FD(), testVeth()), new(types.NotFoundError)},
		{"group of everybody", h.DeleteGroup(t.Context(), 0), new(types.BadRequestError)},
		{"context that has ended", h.CreateBridge(ended, testBridge()), new(interface{ Error() string })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.err == nil || !errors.As(tc.err, tc.want) {
				t.Errorf("error %v (%T)", tc.err, tc.err)
			}
		})
	}
	if links, err := h.Links(t.Context()); err != nil || len(links) != 1 {
		t.Errorf("left: %v, %v", links, err)
	}
	if err := h.DeleteLinks(t.Context(), "nothing"); err != nil {
		t.Errorf("delete of nothing: %v", err)
	}
	if err := h.DeleteGroup(t.Context(), 4711); err != nil {
		t.Errorf("delete of an empty group: %v", err)
	}
}

func TestManyLinks(t *testing.T) {
	h := open(t, nil)
	const n = 300 // more than one batch
	var names []string
	for i := range n {
		name := fmt.Sprintf("b%d", i)
		names = append(names, name)
		if err := h.CreateBridge(t.Context(), model.Bridge{Name: name, Group: 7}); err != nil {
			t.Fatal(err)
		}
	}
	if links, err := h.Links(t.Context()); err != nil || len(links) != n+1 {
		t.Errorf("%d links (%v), want %d", len(links), err, n+1)
	}
	if err := h.DeleteLinks(t.Context(), names...); err != nil {
		t.Fatal(err)
	}
	if links, err := h.Links(t.Context()); err != nil || len(links) != 1 {
		t.Errorf("left: %v, %v", links, err)
	}
}

func BenchmarkPieces(b *testing.B) {
	h := open(b, nil)
	if err := h.CreateBridge(b.Context(), testBridge()); err != nil {
		b.Fatal(err)
	}
	b.Run("bridge", func(b *testing.B) {
		br := testBridge()
		br.Addrs = prefixes("10.8.0.1/24")
		n := 0
		for b.Loop() {
			br.Name = fmt.Sprintf("b%d", n)
			br.Group, br.MAC = 9, ""
			n++
			if err := h.CreateBridge(b.Context(), br); err != nil {
				b.Fatal(err)
			}
		}
		if err := h.DeleteGroup(context.Background(), 9); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("veth, detach, delete in a batch", func(b *testing.B) { benchmarkVeth(b, h) })
	b.Run("route", func(b *testing.B) {
		for b.Loop() {
			if err := h.ReplaceDefaultRoute(b.Context(), model.DefaultRoute{Via: netip.MustParseAddr("10.9.0.9"), Dev: "br0"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("links", func(b *testing.B) {
		for b.Loop() {
			if _, err := h.Links(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// benchmarkVeth times each piece of the life of a pair, a hundred at a time.
func benchmarkVeth(b *testing.B, h space) {
	b.Helper()
	const batch = 100
	var made, detached, deleted time.Duration
	for b.Loop() {
		in := open(b, nil)
		var names []string
		start := time.Now()
		for i := range batch {
			v := testVeth()
			v.Host, v.Name, v.MAC = fmt.Sprintf("ve%d", i), fmt.Sprintf("eth%d", i), ""
			v.Addrs, v.Routes = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i), 2}), 24)}, nil
			if err := h.CreateVeth(b.Context(), in.Socket, in.FD(), v); err != nil {
				b.Fatal(err)
			}
			names = append(names, v.Host)
		}
		made += time.Since(start)
		start = time.Now()
		for _, n := range names {
			if err := h.DetachVeth(b.Context(), n); err != nil {
				b.Fatal(err)
			}
		}
		detached += time.Since(start)
		start = time.Now()
		if err := h.DeleteLinks(b.Context(), names...); err != nil {
			b.Fatal(err)
		}
		deleted += time.Since(start)
	}
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(b.N) / batch }
	b.ReportMetric(per(made), "ns/create")
	b.ReportMetric(per(detached), "ns/detach")
	b.ReportMetric(per(deleted), "ns/delete")
}
