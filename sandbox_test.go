//go:build linux

package libnetwork_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/sysctl"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

func TestNewSandbox(t *testing.T) {
	d := newDirs(t)
	c := d.open(t)
	for _, id := range []string{"", " "} {
		t.Run(fmt.Sprintf("SB-1 a container id of %q is refused", id), func(t *testing.T) {
			sb, err := c.NewSandbox(id)
			wantClass(t, err, "BadRequest")
			if sb != nil {
				t.Errorf("sandbox is %v, want nil", sb)
			}
		})
	}
	t.Run("SB-1 a second sandbox of a container is refused", func(t *testing.T) {
		sb := newSandbox(t, c, "c1")
		checkID(t, sb.ID())
		if sb.ContainerID() != "c1" {
			t.Errorf("container is %s", sb.ContainerID())
		}
		t.Run("OSL-1 the key is in the run directory's netns and has the id's first 12 digits", func(t *testing.T) {
			diff(t, "key", filepath.Join(d.run, "netns", sb.ID()[:12]), sb.Key())
		})
		_, err := c.NewSandbox("c1")
		wantClass(t, err, "BadRequest")
		ok(t, sb.Delete())
		ok(t, newSandbox(t, c, "c1").Delete())
	})
	t.Run("SB-1 of many creations at once one succeeds", func(t *testing.T) {
		errs := make([]error, 16)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = c.NewSandbox("race") })
		}
		wg.Wait()
		errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
		for _, err := range errs {
			wantClass(t, err, "BadRequest")
		}
		if len(errs) != 15 || len(c.Sandboxes()) != 1 {
			t.Errorf("%d creations failed, there are %d sandboxes", len(errs), len(c.Sandboxes()))
		}
		ok(t, c.SandboxDestroy("race"))
	})
	for _, tt := range []struct {
		name string
		opt  libnetwork.SandboxOption
	}{
		{"that is to copy a missing resolv.conf", libnetwork.OptionOriginResolvConfPath("/no/such/file")},
		{"whose ports are of another type", libnetwork.OptionGeneric(map[string]any{netlabel.PortMap: "80"})},
		{"whose exposed ports are of another type", libnetwork.OptionGeneric(map[string]any{netlabel.ExposedPorts: "80"})},
		{"whose name server is no address", libnetwork.OptionDNS("name")},
	} {
		t.Run("SB-3 a sandbox "+tt.name+" leaves neither files nor a namespace", func(t *testing.T) {
			_, err := c.NewSandbox("bad", tt.opt)
			if got := classesOf(err, false); len(got) != 1 {
				t.Errorf("error %v is of the classes %v, want one", err, got)
			}
			if len(c.Sandboxes()) != 0 {
				t.Errorf("sandboxes are %v", c.Sandboxes())
			}
			d.empty(t)
		})
	}
}

func TestSandboxLabels(t *testing.T) {
	c := newController(t)
	ports := []types.PortBinding{{Proto: types.TCP, Port: 80, HostPort: 8080}}
	exposed := []types.TransportPort{{Proto: types.TCP, Port: 80}}
	given := map[string]any{"label": "value"}
	sb := newSandbox(t, c, "c1", libnetwork.OptionGeneric(given), libnetwork.OptionPortMapping(ports), libnetwork.OptionExposedPorts(exposed), nil)
	want := func() map[string]any {
		return map[string]any{
			"label":               "value",
			netlabel.PortMap:      []types.PortBinding{{Proto: types.TCP, Port: 80, HostPort: 8080}},
			netlabel.ExposedPorts: []types.TransportPort{{Proto: types.TCP, Port: 80}},
		}
	}
	t.Run("SB-4 labels are what was given with the ports", func(t *testing.T) { diff(t, "labels", want(), sb.Labels()) })
	t.Run("SB-4 labels are a copy, and so are arguments", func(t *testing.T) {
		given["label"], ports[0].Port, exposed[0].Port = "x", 81, 81
		labels := sb.Labels()
		labels["label"] = "x"
		labels[netlabel.PortMap].([]types.PortBinding)[0].Port = 81
		labels[netlabel.ExposedPorts].([]types.TransportPort)[0].Port = 81
		diff(t, "labels", want(), sb.Labels())
	})
}

func TestSandboxDelete(t *testing.T) {
	d := newDirs(t)
	c := d.open(t)
	a, b := newNetwork(t, c, "a"), newNetwork(t, c, "b")
	sb := attach(t, c, "c1", a, b)
	free := newEndpoint(t, a, "free")
	eps := sb.Endpoints()
	t.Run("SB-6 a sandbox is deleted with the endpoints joined to it, and no others", func(t *testing.T) {
		ok(t, sb.Delete())
		if got := c.Sandboxes(); len(got) != 0 {
			t.Errorf("sandboxes are %v", got)
		}
		if !slices.Equal(a.Endpoints(), []libnetwork.Endpoint{free}) || len(b.Endpoints()) != 0 {
			t.Errorf("endpoints are %v and %v", a.Endpoints(), b.Endpoints())
		}
		for _, ep := range eps {
			if ep.Info() != nil {
				t.Errorf("endpoint %s still has information", ep.Name())
			}
		}
	})
	t.Run("SB-7 a deleted sandbox leaves no directory and no namespace", func(t *testing.T) { d.empty(t) })
	t.Run("SB-6 what is done to a deleted sandbox is Forbidden", func(t *testing.T) {
		wantClass(t, sb.Delete(), "Forbidden")
		wantClass(t, sb.Refresh(), "Forbidden")
		wantClass(t, sb.Rename("x"), "Forbidden")
		wantClass(t, sb.SetKey("/proc/self/ns/net"), "Forbidden")
	})
	t.Run("SB-6 of many deletions at once one succeeds", func(t *testing.T) {
		sb := attach(t, c, "c2", a, b)
		errs := make([]error, 16)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = sb.Delete() })
		}
		wg.Wait()
		errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
		if len(errs) != 15 {
			t.Errorf("%d deletions failed, want 15", len(errs))
		}
		for _, err := range errs {
			wantClass(t, err, "Forbidden")
		}
	})
	t.Run("SB-6 files that the user has placed outlive the sandbox", func(t *testing.T) {
		dir := t.TempDir()
		hosts, resolv := filepath.Join(dir, "h", "hosts"), filepath.Join(dir, "r", "resolv.conf")
		sb := newSandbox(t, c, "c3", libnetwork.OptionHostsPath(hosts), libnetwork.OptionResolvConfPath(resolv))
		ok(t, sb.Delete())
		read(t, hosts)
		read(t, resolv)
	})
}

func TestSeveralNetworks(t *testing.T) {
	c := newController(t)
	outer := newNetwork(t, c, "outer", dual("10.1.0.0/24", "fd00:1::/64")...)
	web := newNetwork(t, c, "web", subnet("10.2.0.0/24"))
	inner := newNetwork(t, c, "inner", append(dual("10.3.0.0/24", "fd00:3::/64"), libnetwork.NetworkOptionInternalNetwork())...)
	null := must(c.NewNetwork("null", "null"))(t)
	nets := map[string]libnetwork.Network{"outer": outer, "web": web, "inner": inner, "null": null}
	names := func(sb libnetwork.Sandbox) string {
		var out []string
		for _, ep := range sb.Endpoints() {
			out = append(out, ep.Network())
		}
		return strings.Join(out, " ")
	}
	for _, order := range []string{"outer web inner", "web inner outer", "inner web outer", "inner outer web", "web outer inner", "outer inner web"} {
		t.Run("OSL-20 internal networks come last, the others by name, if joined in the order "+order, func(t *testing.T) {
			sb := newSandbox(t, c, "c1")
			ns := inside(t, sb)
			for name := range strings.FieldsSeq(order) {
				ok(t, newEndpoint(t, nets[name], "e").Join(sb))
			}
			t.Run("SB-5 the first endpoint is the highest in order", func(t *testing.T) {
				diff(t, "order", "outer web inner", names(sb))
			})
			t.Run("OSL-21 the first with a gateway gives the default routes", func(t *testing.T) {
				routes := defaults(t, ns)
				if len(routes) != 2 || !strings.HasPrefix(routes[0], "10.1.0.1 ") || !strings.HasPrefix(routes[1], "fd00:1::1 ") {
					t.Errorf("default routes are %v, want those of outer", routes)
				}
			})
			t.Run("OSL-21 when the provider leaves the next one takes over", func(t *testing.T) {
				ok(t, must(outer.EndpointByName("e"))(t).Delete(true))
				routes := defaults(t, ns)
				if len(routes) != 1 || !strings.HasPrefix(routes[0], "10.2.0.1 ") {
					t.Errorf("default routes are %v, want that of web", routes)
				}
				ok(t, must(web.EndpointByName("e"))(t).Delete(true))
				diff(t, "default routes of an internal network", []string{}, defaults(t, ns))
			})
			ok(t, sb.Delete())
		})
	}
	t.Run("OSL-20 a higher priority goes first, but for internal networks", func(t *testing.T) {
		sb := newSandbox(t, c, "c1")
		ok(t, newEndpoint(t, outer, "e").Join(sb))
		ok(t, newEndpoint(t, inner, "e").Join(sb, libnetwork.JoinOptionPriority(nil, 9)))
		ok(t, newEndpoint(t, web, "e").Join(sb, libnetwork.JoinOptionPriority(nil, 5)))
		diff(t, "order", "web outer inner", names(sb))
		routes := defaults(t, inside(t, sb))
		if len(routes) != 2 || !strings.HasPrefix(routes[0], "10.2.0.1 ") || !strings.HasPrefix(routes[1], "fd00:1::1 ") {
			t.Errorf("default routes are %v, want IPv4 of web and IPv6 of outer", routes)
		}
		ok(t, sb.Delete())
	})
	t.Run("OSL-20 two endpoints of one network are ordered by their ids", func(t *testing.T) {
		sb := newSandbox(t, c, "c1")
		e1, e2 := newEndpoint(t, web, "e1"), newEndpoint(t, web, "e2")
		ok(t, e1.Join(sb))
		ok(t, e2.Join(sb))
		want := []libnetwork.Endpoint{e1, e2}
		slices.SortFunc(want, func(a, b libnetwork.Endpoint) int { return strings.Compare(a.ID(), b.ID()) })
		if !slices.Equal(sb.Endpoints(), want) {
			t.Errorf("order is %v, want %v", sb.Endpoints(), want)
		}
		diff(t, "links", []string{"eth0", "eth1"}, linkNames(t, inside(t, sb)))
		ok(t, sb.Delete())
	})
	t.Run("OSL-21 a network of type null provides no default route", func(t *testing.T) {
		sb := newSandbox(t, c, "c1")
		ok(t, newEndpoint(t, null, "e").Join(sb))
		ok(t, newEndpoint(t, web, "e").Join(sb))
		if routes := defaults(t, inside(t, sb)); len(routes) != 1 {
			t.Errorf("default routes are %v", routes)
		}
		ok(t, sb.Delete())
	})
	t.Run("OSL-12 default routes of both families are replaced and taken back as networks come and go", func(t *testing.T) {
		other := newNetwork(t, c, "other", dual("10.4.0.0/24", "fd00:4::/64")...)
		sb := newSandbox(t, c, "c1")
		ns := inside(t, sb)
		e1, e2 := newEndpoint(t, other, "e"), newEndpoint(t, outer, "e")
		gateways := func() string {
			var out []string
			for _, r := range defaults(t, ns) {
				via, _, _ := strings.Cut(r, " ")
				out = append(out, via)
			}
			return strings.Join(out, " ")
		}
		for range 3 {
			ok(t, e1.Join(sb))
			diff(t, "first network", "10.4.0.1 fd00:4::1", gateways())
			ok(t, e2.Join(sb, libnetwork.JoinOptionPriority(nil, 1)))
			diff(t, "second network", "10.1.0.1 fd00:1::1", gateways())
			ok(t, e2.Leave(sb))
			diff(t, "back", "10.4.0.1 fd00:4::1", gateways())
			ok(t, e1.Leave(sb))
			diff(t, "none", "", gateways())
		}
	})
}

func TestTraffic(t *testing.T) {
	d := newDirs(t)
	c := d.open(t)
	n := newNetwork(t, c, "web", dual("10.1.0.0/24", "fd00:1::/64")...)
	a, b := attach(t, c, "a", n), attach(t, c, "b", n)
	info := b.Endpoints()[0].Info().Iface()
	talk := func(t *testing.T, from, to *netns.Namespace, ip net.IP) {
		t.Helper()
		addr, _ := netip.AddrFromSlice(ip)
		l := must(to.ListenTCP(netip.AddrPortFrom(addr, 80)))(t)
		defer l.Close()
		go func() {
			conn, err := l.Accept()
			if err == nil {
				_, _ = io.WriteString(conn, "hello")
				_ = conn.Close()
			}
		}()
		conn := must(from.Dial(t.Context(), "tcp", l.Addr().String()))(t)
		defer conn.Close()
		diff(t, "text", "hello", string(must(io.ReadAll(conn))(t)))
	}
	t.Run("EP-7 containers reach each other", func(t *testing.T) {
		talk(t, inside(t, a), inside(t, b), info.Address().IP)
		talk(t, inside(t, a), inside(t, b), info.AddressIPv6().IP)
	})
	t.Run("SB-11 statistics are by the names inside, without the loopback, and empty without a namespace", func(t *testing.T) {
		st := must(a.Statistics())(t)
		if len(st) != 1 || st["eth0"] == nil || st["eth0"].TxBytes == 0 || st["eth0"].RxPackets == 0 {
			t.Errorf("statistics are %v, want traffic on eth0 alone", st)
		}
		st["eth0"].TxBytes = 0
		if must(a.Statistics())(t)["eth0"].TxBytes == 0 {
			t.Error("W-28: a result was changed from outside")
		}
		empty := must(newSandbox(t, c, "waiting", libnetwork.OptionUseExternalKey()).Statistics())(t)
		if empty == nil || len(empty) != 0 {
			t.Errorf("without a namespace they are %v, want an empty map", empty)
		}
	})
	t.Run("OSL-3 all threads are in the namespace that they were in", func(t *testing.T) { nstest.Threads(t) })
	t.Run("OSL-3 the key file is the namespace of the sandbox", func(t *testing.T) {
		if !netns.IsNamespace(a.Key()) || netns.Same(inside(t, a), inside(t, b)) {
			t.Error("the keys are not the namespaces of two sandboxes")
		}
	})
}

func TestIPv6DisabledInside(t *testing.T) {
	nstest.Require(t, nstest.IPv6)
	c := newController(t)
	v4, v6 := newNetwork(t, c, "v4", subnet("10.1.0.0/24")), newNetwork(t, c, "v6", dual("10.2.0.0/24", "fd00:2::/64")...)
	for _, value := range []string{"0", "1"} {
		t.Run("OSL-14 an IPv6 address works, and a link without one keeps the setting, if disable_ipv6 is "+value, func(t *testing.T) {
			given := nstest.New(t)
			ns := must(netns.Open(nil, given.Path()))(t)
			defer ns.Close()
			ok(t, ns.Do(func() error { return sysctl.Write(nil, value, "net", "ipv6", "conf", "default", "disable_ipv6") }))
			sb := newSandbox(t, c, "c1", libnetwork.OptionUseExternalKey())
			ok(t, sb.SetKey(given.Path()))
			ok(t, newEndpoint(t, v4, "e").Join(sb))
			ok(t, newEndpoint(t, v6, "e").Join(sb))
			var got [2]string
			ok(t, ns.Do(func() (err error) {
				for i := range got {
					if got[i], err = sysctl.Read("net", "ipv6", "conf", fmt.Sprint("eth", i), "disable_ipv6"); err != nil {
						return err
					}
				}
				return nil
			}))
			diff(t, "settings of the links without and with an IPv6 address", [2]string{value, "0"}, got)
			diff(t, "default routes", []string{"10.1.0.1 eth0", "fd00:2::1 eth1"}, defaults(t, ns))
			ok(t, sb.Delete())
		})
	}
}

func TestDefaultSandbox(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	before := hostLinks(t)
	sb := newSandbox(t, c, "c1", libnetwork.OptionUseDefaultSandbox())
	t.Run("SB-3 OptionUseDefaultSandbox uses the host's namespace", func(t *testing.T) {
		if host := must(netns.OpenSelf(nil))(t); !netns.Same(inside(t, sb), host) {
			t.Errorf("%s is not the host's namespace", sb.Key())
			_ = host.Close()
		} else {
			_ = host.Close()
		}
		ok(t, newEndpoint(t, n, "e").Join(sb))
		t.Run("OSL-8 links stay in the host's namespace", func(t *testing.T) {
			if got := hostLinks(t); len(got) != len(before)+2 {
				t.Errorf("links are %v, were %v, want both ends of a pair more", got, before)
			}
		})
		host := must(netns.Host(nil))(t)
		defer host.Close()
		diff(t, "the host's default routes", []string{}, defaults(t, host))
	})
	t.Run("SB-10 a sandbox of the host's namespace gets no other one", func(t *testing.T) {
		wantClass(t, sb.SetKey(nstest.New(t).Path()), "Forbidden")
	})
	t.Run("OSL-6 two containers share the host's namespace", func(t *testing.T) {
		second := newSandbox(t, c, "c2", libnetwork.OptionUseDefaultSandbox())
		t.Run("OSL-1 two sandboxes of the host's namespace have keys of their own", func(t *testing.T) {
			if second.Key() == sb.Key() {
				t.Errorf("both have the key %s", sb.Key())
			}
		})
		host := must(c.NewNetwork("host", "host"))(t)
		ok(t, newEndpoint(t, host, "c2").Join(second))
		ok(t, second.Delete())
	})
	t.Run("SB-6 the host's namespace outlives its sandboxes", func(t *testing.T) {
		ok(t, sb.Delete())
		host := must(netns.Host(nil))(t)
		defer host.Close()
		if _, err := must(host.Rtnl())(t).Link(t.Context(), "lo"); err != nil {
			t.Error(err)
		}
	})
}
