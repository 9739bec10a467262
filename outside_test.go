//go:build linux

package libnetwork_test

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/internal/drivers/outside/outsidetest"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/ipams/null"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// run runs a command of iproute2 on the host that the test has for itself.
func run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// in runs a command inside a sandbox.
func in(t testing.TB, sb libnetwork.Sandbox, args ...string) string {
	t.Helper()
	return run(t, append([]string{"nsenter", "--net=" + sb.Key()}, args...)...)
}

// vethDriver is a driver of somebody else that makes a veth pair for each endpoint.
// Its end on the host has the gateway's address.
type vethDriver struct {
	outsidetest.Driver
	gateway bool // says that it offers one
}

func newVethDriver(t testing.TB) *vethDriver {
	t.Helper()
	d := &vethDriver{Driver: outsidetest.Driver{Name: "veth"}}
	d.OnJoin = func(eid, _ string, j driverapi.JoinInfo, _ map[string]interface{}) error {
		host, peer := "vh"+eid[:8], "vp"+eid[:8]
		run(t, "ip", "link", "add", host, "type", "veth", "peer", "name", peer)
		run(t, "ip", "addr", "add", "10.60.0.1/24", "dev", host)
		run(t, "ip", "-6", "addr", "add", "fd00:60::1/64", "dev", host, "nodad")
		run(t, "ip", "link", "set", host, "up")
		gw, gw6 := net.IPv4(10, 60, 0, 1), net.ParseIP("fd00:60::1")
		err := errors.Join(j.InterfaceName().SetNames(peer, "net"),
			j.AddStaticRoute(cidr("192.0.2.0/24"), types.CONNECTED, nil),
			j.AddStaticRoute(cidr("203.0.113.0/24"), types.NEXTHOP, gw))
		if d.gateway {
			err = errors.Join(err, j.SetGateway(gw), j.SetGatewayIPv6(gw6))
		}
		return err
	}
	d.Fail = func(method, id string) error {
		if method == "DeleteEndpoint" {
			// The pair goes with either end: with the one that was in the sandbox, if it
			// has ever been made.
			if exec.CommandContext(t.Context(), "ip", "link", "show", "vh"+id[:8]).Run() == nil {
				run(t, "ip", "link", "del", "vp"+id[:8])
			}
		}
		return nil
	}
	return d
}

func cidr(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

func register(t testing.TB, c libnetwork.NetworkController, name string, d driverapi.Driver, scope string) error {
	t.Helper()
	return c.(driverapi.DriverCallback).RegisterDriver(name, d, driverapi.Capability{DataScope: scope})
}

func TestRegisterDriver(t *testing.T) {
	c := newController(t)
	d := &outsidetest.Driver{Name: "mine"}
	t.Run("CTL-13 a blank name is ErrInvalidName", func(t *testing.T) {
		wantErr[libnetwork.ErrInvalidName](t, register(t, c, " ", d, "local"), "BadRequest")
	})
	t.Run("CTL-13 a name that is taken is ErrActiveRegistration", func(t *testing.T) {
		wantErr[driverapi.ErrActiveRegistration](t, register(t, c, "bridge", d, "local"), "Forbidden")
		ok(t, register(t, c, "mine", d, "local"))
		wantErr[driverapi.ErrActiveRegistration](t, register(t, c, "mine", d, "local"), "Forbidden")
	})
	t.Run("CTL-13 a driver that is registered makes networks of its type", func(t *testing.T) {
		n := must(c.NewNetwork("mine", "n", libnetwork.NetworkOptionGeneric(map[string]interface{}{"label": 7})))(t)
		opts := d.Options(n.ID())
		diff(t, "options", map[string]interface{}{"label": 7, netlabel.GenericData: map[string]string{}}, opts)
		ok(t, n.Delete())
	})
	t.Run("MOD-4 the scope of a network is that of its driver's capability", func(t *testing.T) {
		n := must(c.NewNetwork("mine", "n"))(t)
		if got := n.Info().Scope(); got != "local" {
			t.Errorf("scope %q", got)
		}
		ok(t, n.Delete())
	})
	t.Run("PER-6 a network of a scope without a store is Forbidden before anything is allocated", func(t *testing.T) {
		far := &outsidetest.Driver{Name: "far"}
		ok(t, register(t, c, "far", far, "global"))
		_, err := c.NewNetwork("far", "n")
		wantClass(t, err, "Forbidden")
		if calls := far.Calls(); calls != nil {
			t.Errorf("the driver was called: %v", calls)
		}
	})
	t.Run("CTL-15 a type that nobody has registered is NotFound at once", func(t *testing.T) {
		_, err := c.NewNetwork("nobody", "n")
		wantClass(t, err, "NotFound")
	})
	ipam := c.(ipamapi.Callback)
	t.Run("CTL-14 an address manager needs a name that is not blank and not taken, and must say its address spaces", func(t *testing.T) {
		wantErr[libnetwork.ErrInvalidName](t, ipam.RegisterIpamDriver("", nullIpam(t)), "BadRequest")
		wantClass(t, ipam.RegisterIpamDriver("none", nil), "BadRequest")
		wantClass(t, ipam.RegisterIpamDriver("default", nullIpam(t)), "Forbidden")
		wantClass(t, ipam.RegisterIpamDriver("broken", brokenSpaces{nullIpam(t)}), "Internal")
		ok(t, ipam.RegisterIpamDriverWithCapabilities("mine", nullIpam(t), &ipamapi.Capability{RequiresMACAddress: true}))
	})
}

// liar is an address manager that answers what it likes.
type liar struct {
	ipamapi.Ipam
	pool, addr string
	released   []string
}

func (l *liar) RequestPool(string, string, string, map[string]string, bool) (string, *net.IPNet, map[string]string, error) {
	return "pool", cidr(l.pool), map[string]string{netlabel.Gateway: "10.61.0.1/24"}, nil
}

func (l *liar) ReleasePool(string) error { return nil }

func (l *liar) RequestAddress(string, net.IP, map[string]string) (*net.IPNet, map[string]string, error) {
	ip, n, err := net.ParseCIDR(l.addr)
	return &net.IPNet{IP: ip, Mask: n.Mask}, nil, err
}

func (l *liar) ReleaseAddress(_ string, ip net.IP) error {
	l.released = append(l.released, ip.String())
	return nil
}

func TestLyingAddressManager(t *testing.T) {
	c := newController(t)
	l := &liar{Ipam: nullIpam(t), pool: "fd00::/64"}
	ok(t, c.(ipamapi.Callback).RegisterIpamDriver("liar", l))
	ipam := libnetwork.NetworkOptionIpam("liar", "", nil, nil, nil)
	t.Run("NET-7 a pool of the other family is refused", func(t *testing.T) {
		_, err := c.NewNetwork("bridge", "n", ipam)
		wantClass(t, err, "Internal")
	})
	l.pool = "10.61.0.0/24"
	n := newNetwork(t, c, "n", ipam)
	for _, tt := range []struct{ addr, released string }{
		{"fd00::5/64", "fd00::5"}, {"10.62.0.5/24", "10.62.0.5"}, {"10.61.0.5/8", "10.61.0.5"},
	} {
		t.Run("EP-3 an address that is none of the pool is refused and given back: "+tt.addr, func(t *testing.T) {
			l.addr, l.released = tt.addr, nil
			_, err := n.CreateEndpoint("e")
			wantClass(t, err, "Internal")
			diff(t, "given back", []string{tt.released}, l.released)
		})
	}
	l.addr = "10.61.0.5/24"
	ok(t, newEndpoint(t, n, "e").Delete(false))
	ok(t, n.Delete())
}

type brokenSpaces struct{ ipamapi.Ipam }

func (brokenSpaces) GetDefaultAddressSpaces() (string, string, error) {
	return "", "", errors.New("not today")
}

// nullIpam returns the null address manager.
func nullIpam(t testing.TB) ipamapi.Ipam {
	t.Helper()
	var r taker
	ok(t, null.Init(&r, nil, nil))
	return r.Ipam
}

type taker struct{ ipamapi.Ipam }

func (r *taker) RegisterIpamDriver(_ string, d ipamapi.Ipam) error { r.Ipam = d; return nil }

func (r *taker) RegisterIpamDriverWithCapabilities(_ string, d ipamapi.Ipam, _ *ipamapi.Capability) error {
	r.Ipam = d
	return nil
}

func TestOutsideDriver(t *testing.T) {
	c := newController(t)
	d := newVethDriver(t)
	d.gateway = true
	ok(t, register(t, c, "veth", d, "local"))
	n := must(c.NewNetwork("veth", "out", dual("10.60.0.0/24", "fd00:60::/64")...))(t)
	ep := newEndpoint(t, n, "e")
	sb := newSandbox(t, c, "c1", libnetwork.OptionPortMapping([]types.PortBinding{{Proto: types.TCP, Port: 80, HostPort: 8080}}))
	t.Run("EP-7 gateways are known once the endpoint has joined", func(t *testing.T) {
		if i := ep.Info(); i.Gateway() != nil || i.GatewayIPv6() != nil || i.Sandbox() != nil {
			t.Errorf("before: %v %v %v", i.Gateway(), i.GatewayIPv6(), i.Sandbox())
		}
		ok(t, ep.Join(sb))
		if i := ep.Info(); !i.Gateway().Equal(net.IPv4(10, 60, 0, 1)) || !i.GatewayIPv6().Equal(net.ParseIP("fd00:60::1")) || i.Sandbox() != sb {
			t.Errorf("after: %v %v %v", i.Gateway(), i.GatewayIPv6(), i.Sandbox())
		}
	})
	peer := "vp" + ep.ID()[:8]
	t.Run("EP-10 the driver's link is inside under its name, with addresses and routes", func(t *testing.T) {
		diff(t, "links", []string{"net0"}, linkNames(t, inside(t, sb)))
		diff(t, "default routes", []string{"10.60.0.1 net0", "fd00:60::1 net0"}, defaults(t, inside(t, sb)))
		routes := in(t, sb, "ip", "route")
		for _, want := range []string{"192.0.2.0/24 dev net0", "203.0.113.0/24 via 10.60.0.1 dev net0"} {
			if !strings.Contains(routes, want) {
				t.Errorf("no route %q in\n%s", want, routes)
			}
		}
		in(t, sb, "ping", "-c1", "-W5", "10.60.0.1")
		in(t, sb, "ping", "-c1", "-W5", "fd00:60::1")
		diff(t, "static routes", []*types.StaticRoute{{Destination: cidr("203.0.113.0/24"), RouteType: types.NEXTHOP, NextHop: net.IP{10, 60, 0, 1}}}, ep.Info().StaticRoutes())
		if st := must(sb.Statistics())(t); st["net0"] == nil || st["net0"].RxPackets == 0 {
			t.Errorf("statistics %v", st)
		}
	})
	t.Run("EP-10 setters outside a Join fail and do not panic", func(t *testing.T) {
		var kept driverapi.JoinInfo
		join := d.OnJoin
		d.OnJoin = func(eid, key string, j driverapi.JoinInfo, o map[string]interface{}) error {
			kept = j
			return join(eid, key, j, o)
		}
		other := newEndpoint(t, n, "other")
		sb2 := newSandbox(t, c, "c2")
		ok(t, other.Join(sb2))
		d.OnJoin = join
		kept.DisableGatewayService()
		for _, err := range []error{kept.SetGateway(net.IPv4(1, 2, 3, 4)), kept.InterfaceName().SetNames("a", "b"), kept.AddStaticRoute(cidr("10.0.0.0/8"), types.CONNECTED, nil)} {
			if err == nil {
				t.Error("no error")
			}
		}
		ok(t, sb2.Delete())
	})
	t.Run("SB-4 the driver gets the sandbox's labels, ports among them", func(t *testing.T) {
		if got, _ := d.Options(sb.Key())[netlabel.PortMap].([]types.PortBinding); len(got) != 1 || got[0].HostPort != 8080 {
			t.Errorf("port map %v", got)
		}
	})
	t.Run("EP-22 DriverInfo is what the driver says", func(t *testing.T) {
		d.Info = map[string]interface{}{"x": 1}
		diff(t, "info", d.Info, must(ep.DriverInfo())(t))
	})
	t.Run("OSL-10 the link goes back under its name when the endpoint leaves", func(t *testing.T) {
		ok(t, ep.Leave(sb))
		diff(t, "links inside", []string(nil), linkNames(t, inside(t, sb)))
		run(t, "ip", "link", "show", peer)
		if out := in(t, sb, "ip", "route"); strings.TrimSpace(out) != "" {
			t.Errorf("routes left: %s", out)
		}
	})
	t.Run("EP-8 a link that is not there fails the join, and everything is as before", func(t *testing.T) {
		d.OnJoin = func(_, _ string, j driverapi.JoinInfo, _ map[string]interface{}) error {
			return j.InterfaceName().SetNames("nothere", "eth")
		}
		wantClass(t, ep.Join(sb), "NotFound")
		if ep.Info().Sandbox() != nil {
			t.Error("it is joined")
		}
		ok(t, d.Violations())
	})
	ok(t, ep.Delete(false))
	ok(t, sb.Delete())
	ok(t, n.Delete())
	ok(t, d.Violations())
	diff(t, "the driver knows", []string(nil), d.Known())
}

func TestDefaultGateway(t *testing.T) {
	c := newController(t)
	d := newVethDriver(t)
	ok(t, register(t, c, "veth", d, "local"))
	n := must(c.NewNetwork("veth", "out", subnet("10.60.0.0/24")))(t)
	ep := newEndpoint(t, n, "e")
	sb := newSandbox(t, c, "c1", libnetwork.OptionPortMapping([]types.PortBinding{{Proto: types.TCP, Port: 80, HostPort: 8080}}))
	ok(t, ep.Join(sb))
	t.Run("GW-2 a sandbox without a way out gets one through the default-gateway network", func(t *testing.T) {
		gw := must(c.NetworkByName("dnet_gwbridge"))(t)
		v4, _ := gw.Info().IpamInfo()
		want := v4[0].Gateway.IP.String() + " eth1"
		diff(t, "default routes", []string{want}, defaults(t, inside(t, sb)))
		in(t, sb, "ping", "-c1", "-W5", v4[0].Gateway.IP.String())
		if eps := sb.Endpoints(); len(eps) != 2 || eps[1].Name() != "gateway_c1" || eps[1].Network() != gw.Name() {
			t.Errorf("SB-5 endpoints %v", eps)
		}
	})
	t.Run("EP-22 DriverInfo is that of the endpoint on the default-gateway network", func(t *testing.T) {
		info := must(ep.DriverInfo())(t)
		if b, _ := info[netlabel.PortMap].([]types.PortBinding); len(b) == 0 || b[0].HostPort != 8080 {
			t.Errorf("info %v", info)
		}
	})
	t.Run("GW-2 its endpoint is deleted by force, and another one takes its place", func(t *testing.T) {
		gw := must(c.NetworkByName("dnet_gwbridge"))(t)
		for range 3 {
			old := gw.Endpoints()[0]
			ok(t, old.Delete(true))
			if eps := sb.Endpoints(); len(eps) != 2 || eps[1].ID() == old.ID() || eps[1].Network() != gw.Name() {
				t.Fatalf("endpoints %v", eps)
			}
			if routes := defaults(t, inside(t, sb)); len(routes) != 1 {
				t.Errorf("default routes %v", routes)
			}
		}
	})
	t.Run("GW-6 a network with IPv6 alone and a gateway for it is not given IPv4", func(t *testing.T) {
		six := newVethDriver(t)
		six.Name = "six"
		join := six.OnJoin
		six.OnJoin = func(eid, key string, j driverapi.JoinInfo, o map[string]interface{}) error {
			return join(eid, key, onlyIPv6{j}, o)
		}
		six.OnCreate = func(_ string, i driverapi.InterfaceInfo, _ map[string]interface{}) error {
			a := netip.MustParseAddr("fd00:60::2")
			return i.SetIPAddress(&net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(64, 128)})
		}
		ok(t, register(t, c, "six", six, "local"))
		n6 := must(c.NewNetwork("six", "six", libnetwork.NetworkOptionIpam("null", "", nil, nil, nil)))(t)
		sb6 := newSandbox(t, c, "c6")
		ok(t, newEndpoint(t, n6, "e6").Join(sb6))
		if eps := sb6.Endpoints(); len(eps) != 1 {
			t.Errorf("endpoints %v", eps)
		}
		diff(t, "default routes", []string{"fd00:60::1 net0"}, defaults(t, inside(t, sb6)))
		ok(t, sb6.Delete())
		ok(t, n6.Delete())
	})
	t.Run("GW-2 an endpoint whose driver excuses it does not count", func(t *testing.T) {
		join := d.OnJoin
		d.OnJoin = func(eid, key string, j driverapi.JoinInfo, o map[string]interface{}) error {
			j.DisableGatewayService()
			return join(eid, key, j, o)
		}
		sb2 := newSandbox(t, c, "c2")
		ok(t, newEndpoint(t, n, "excused").Join(sb2))
		d.OnJoin = join
		if eps := sb2.Endpoints(); len(eps) != 1 {
			t.Errorf("endpoints %v", eps)
		}
		ok(t, sb2.Delete())
	})
	t.Run("GW-2 a static route without a destination is a default route", func(t *testing.T) {
		join := d.OnJoin
		d.OnJoin = func(eid, key string, j driverapi.JoinInfo, o map[string]interface{}) error {
			return errors.Join(join(eid, key, j, o), j.AddStaticRoute(nil, types.NEXTHOP, net.IPv4(10, 60, 0, 1)))
		}
		sb3 := newSandbox(t, c, "c3")
		ok(t, newEndpoint(t, n, "routed").Join(sb3))
		d.OnJoin = join
		if eps := sb3.Endpoints(); len(eps) != 1 {
			t.Errorf("endpoints %v", eps)
		}
		diff(t, "default routes", []string{"10.60.0.1 net0"}, defaults(t, inside(t, sb3)))
		ok(t, sb3.Delete())
	})
	t.Run("GW-4 it goes with the sandbox", func(t *testing.T) {
		ok(t, sb.Delete())
		ok(t, must(c.NetworkByName("dnet_gwbridge"))(t).Delete())
		ok(t, n.Delete())
	})
	ok(t, d.Violations())
}

// onlyIPv6 leaves out what a driver says of IPv4.
type onlyIPv6 struct{ driverapi.JoinInfo }

func (j onlyIPv6) AddStaticRoute(*net.IPNet, int, net.IP) error {
	return j.SetGatewayIPv6(net.ParseIP("fd00:60::1"))
}

// TestTwoDrivers has two drivers of somebody else in one sandbox: each sees its own
// endpoints alone.
func TestTwoDrivers(t *testing.T) {
	c := newController(t)
	a, b := newVethDriver(t), newVethDriver(t)
	a.Name, b.Name, a.gateway, b.gateway = "a", "b", true, true
	ok(t, register(t, c, "a", a, "local"))
	ok(t, register(t, c, "b", b, "local"))
	na := must(c.NewNetwork("a", "na", subnet("10.60.0.0/24")))(t)
	nb := must(c.NewNetwork("b", "nb", subnet("10.61.0.0/24")))(t)
	b.OnJoin = func(eid, _ string, j driverapi.JoinInfo, _ map[string]interface{}) error {
		run(t, "ip", "link", "add", "vh"+eid[:8], "type", "veth", "peer", "name", "vp"+eid[:8])
		return errors.Join(j.InterfaceName().SetNames("vp"+eid[:8], "net"), j.SetGateway(net.IPv4(10, 61, 0, 1)))
	}
	ea, eb := newEndpoint(t, na, "ea"), newEndpoint(t, nb, "eb")
	sb := newSandbox(t, c, "c1")
	ok(t, ea.Join(sb))
	a.Calls()
	b.Calls()
	t.Run("EP-9 the former provider is revoked by its own driver, the new one programmed by its own", func(t *testing.T) {
		ok(t, eb.Join(sb, libnetwork.JoinOptionPriority(nil, 1)))
		diff(t, "calls of a", []string{"Revoke " + ea.ID()[:8]}, a.Calls())
		diff(t, "calls of b", []string{"Join " + eb.ID()[:8], "Program " + eb.ID()[:8]}, b.Calls())
	})
	t.Run("EP-9 when the provider leaves, the next one's driver opens the way", func(t *testing.T) {
		ok(t, eb.Leave(sb))
		diff(t, "calls of b", []string{"Revoke " + eb.ID()[:8], "Leave " + eb.ID()[:8]}, b.Calls())
		diff(t, "calls of a", []string{"Program " + ea.ID()[:8]}, a.Calls())
	})
	ok(t, eb.Delete(false))
	ok(t, sb.Delete())
	ok(t, errors.Join(na.Delete(), nb.Delete(), a.Violations(), b.Violations()))
}
