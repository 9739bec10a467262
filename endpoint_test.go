//go:build linux

package libnetwork_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// foreign is a sandbox that this package did not make.
type foreign struct{ libnetwork.Sandbox }

func address(ip string) libnetwork.EndpointOption {
	return libnetwork.CreateOptionIpam(net.ParseIP(ip), nil, nil)
}

func TestCreateEndpoint(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", dual("10.1.0.0/29", "fd00:1::/64")...)
	mac := net.HardwareAddr{2, 1, 2, 3, 4, 5}
	t.Run("EP-2 a new endpoint has an address of each subnet and a MAC address", func(t *testing.T) {
		ep := newEndpoint(t, n, "e")
		checkID(t, ep.ID())
		if ep.Name() != "e" || ep.Network() != "web" {
			t.Errorf("endpoint %s on network %s", ep.Name(), ep.Network())
		}
		i := ep.Info().Iface()
		diff(t, "addresses", "10.1.0.2/29 fd00:1::2/64 02:42:0a:01:00:02",
			i.Address().String()+" "+i.AddressIPv6().String()+" "+i.MacAddress().String())
		diff(t, "driver information", map[string]any{netlabel.MacAddress: i.MacAddress()}, must(ep.DriverInfo())(t))
		ok(t, ep.Delete(false))
	})
	t.Run("OPT wanted addresses, MAC and ports", func(t *testing.T) {
		exposed := []types.TransportPort{{Proto: types.TCP, Port: 80}}
		ep := newEndpoint(t, n, "e", nil,
			libnetwork.CreateOptionIpam(net.ParseIP("10.1.0.5"), net.ParseIP("fd00:1::99"), nil),
			libnetwork.EndpointOptionGeneric(map[string]any{netlabel.MacAddress: mac}),
			libnetwork.CreateOptionExposedPorts(exposed),
			libnetwork.CreateOptionPortMapping([]types.PortBinding{{Proto: types.TCP, Port: 80, HostPort: 8080}}))
		exposed[0].Port = 81
		i := ep.Info().Iface()
		diff(t, "addresses", "10.1.0.5/29 fd00:1::99/64 02:01:02:03:04:05",
			i.Address().String()+" "+i.AddressIPv6().String()+" "+i.MacAddress().String())
		diff(t, "driver information", map[string]any{
			netlabel.MacAddress: mac, netlabel.ExposedPorts: []types.TransportPort{{Proto: types.TCP, Port: 80}},
		}, must(ep.DriverInfo())(t))
		t.Run("EP-2 what a caller does to the addresses of an endpoint changes nothing", func(t *testing.T) {
			i.Address().IP[0], i.AddressIPv6().IP[0], i.MacAddress()[0] = 9, 9, 9
			again := ep.Info().Iface()
			diff(t, "addresses", "10.1.0.5/29 fd00:1::99/64 02:01:02:03:04:05",
				again.Address().String()+" "+again.AddressIPv6().String()+" "+again.MacAddress().String())
		})
		ok(t, ep.Delete(false))
	})
	t.Run("OPT a MAC address of another type is ignored", func(t *testing.T) {
		ep := newEndpoint(t, n, "e", libnetwork.EndpointOptionGeneric(map[string]any{netlabel.MacAddress: "02:01:02:03:04:05"}))
		diff(t, "MAC", "02:42:0a:01:00", ep.Info().Iface().MacAddress().String()[:14])
		ok(t, ep.Delete(false))
	})
	for label, v := range map[string]any{
		"com.docker.network.endpoint.ifname": 7, "com.docker.network.endpoint.sysctls": []string{"x"}, netlabel.ExposedPorts: "80",
	} {
		t.Run("OPT an option of another type is a BadRequest: "+label, func(t *testing.T) {
			_, err := n.CreateEndpoint("e", libnetwork.EndpointOptionGeneric(map[string]any{label: v}))
			wantClass(t, err, "BadRequest")
			if err == nil || !strings.Contains(err.Error(), label) {
				t.Errorf("the error does not name the option: %v", err)
			}
		})
		ep := newEndpoint(t, n, "e", libnetwork.EndpointOptionGeneric(map[string]any{label: nil}))
		ok(t, ep.Delete(false))
	}
	newEndpoint(t, n, "taken", address("10.1.0.6"))
	for _, tt := range []struct {
		name, ep, class string
		opts            []libnetwork.EndpointOption
	}{
		{"EP-5 a name that is taken on the network is Forbidden", "taken", "Forbidden", nil},
		{"EP-3 a wanted address that is taken is Forbidden", "e", "Forbidden", []libnetwork.EndpointOption{address("10.1.0.6")}},
		{"EP-3 the gateway's address is Forbidden", "e", "Forbidden", []libnetwork.EndpointOption{address("10.1.0.1")}},
		{"EP-3 a wanted address that is none is a BadRequest", "e", "BadRequest", []libnetwork.EndpointOption{
			libnetwork.CreateOptionIpam(net.IP{10, 1, 0}, nil, nil),
		}},
		{"EP-3 a wanted address in no subnet is a BadRequest", "e", "BadRequest", []libnetwork.EndpointOption{address("10.2.0.1")}},
		{"EP-3 the address of the subnet itself is a BadRequest", "e", "BadRequest", []libnetwork.EndpointOption{address("10.1.0.0")}},
		{"EP-3 the broadcast address is a BadRequest", "e", "BadRequest", []libnetwork.EndpointOption{address("10.1.0.7")}},
		{"EP-3 a wanted IPv6 address in no subnet is a BadRequest, and the IPv4 address is given back", "e", "BadRequest", []libnetwork.EndpointOption{
			libnetwork.CreateOptionIpam(net.ParseIP("10.1.0.5"), net.ParseIP("fd00:2::1"), nil),
		}},
		{"EP-4 a multicast MAC address is a BadRequest", "e", "BadRequest", []libnetwork.EndpointOption{
			libnetwork.EndpointOptionGeneric(map[string]any{netlabel.MacAddress: net.HardwareAddr{1, 0, 0, 0, 0, 1}}),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ep, err := n.CreateEndpoint(tt.ep, tt.opts...)
			wantClass(t, err, tt.class)
			if ep != nil {
				t.Errorf("endpoint is %v, want nil", ep)
			}
			t.Run("EP-4 after a refusal there is no endpoint and its address is free", func(t *testing.T) {
				if eps := n.Endpoints(); len(eps) != 1 {
					t.Errorf("endpoints are %v", eps)
				}
				ok(t, newEndpoint(t, n, "e", address("10.1.0.5")).Delete(false))
			})
		})
	}
	for _, name := range []string{"", "  "} {
		t.Run("EP-6 a blank name is ErrInvalidName", func(t *testing.T) {
			_, err := n.CreateEndpoint(name)
			wantErr[libnetwork.ErrInvalidName](t, err, "BadRequest")
		})
	}
	t.Run("EP-3 an endpoint on a network that is full is NoService, and gets the address that comes free", func(t *testing.T) {
		var eps []libnetwork.Endpoint
		for i := range 4 {
			eps = append(eps, newEndpoint(t, n, fmt.Sprint("full", i)))
		}
		_, err := n.CreateEndpoint("more")
		wantClass(t, err, "NoService")
		ok(t, eps[1].Delete(false))
		newEndpoint(t, n, "more")
	})
}

func TestEndpointLookups(t *testing.T) {
	c := newController(t)
	n, other := newNetwork(t, c, "a"), newNetwork(t, c, "b")
	e1, e2 := newEndpoint(t, n, "e1"), newEndpoint(t, n, "e2")
	t.Run("EP-6 an endpoint is found by its exact name or whole id; none is ErrNoSuchEndpoint", func(t *testing.T) {
		if got := n.Endpoints(); !slices.Equal(got, []libnetwork.Endpoint{e1, e2}) {
			t.Errorf("endpoints are %v", got)
		}
		if must(n.EndpointByName("e2"))(t) != e2 || must(n.EndpointByID(e1.ID()))(t) != e1 {
			t.Error("a look-up finds another endpoint")
		}
		for _, name := range []string{"x", e1.ID(), "E1"} {
			ep, err := n.EndpointByName(name)
			wantErr[libnetwork.ErrNoSuchEndpoint](t, err, "NotFound")
			if ep != nil {
				t.Errorf("endpoint is %v, want nil", ep)
			}
		}
		_, err := n.EndpointByName("")
		wantErr[libnetwork.ErrInvalidName](t, err, "BadRequest")
		_, err = n.EndpointByID("")
		wantErr[libnetwork.ErrInvalidID](t, err, "BadRequest")
		_, err = n.EndpointByID(e1.ID()[:12])
		wantErr[libnetwork.ErrNoSuchEndpoint](t, err, "NotFound")
	})
	t.Run("MOD-1 an endpoint belongs to one network", func(t *testing.T) {
		_, err := other.EndpointByID(e1.ID())
		wantErr[libnetwork.ErrNoSuchEndpoint](t, err, "NotFound")
		_, err = other.EndpointByName("e1")
		wantErr[libnetwork.ErrNoSuchEndpoint](t, err, "NotFound")
		if got := must(other.CreateEndpoint("e1"))(t); got.ID() == e1.ID() {
			t.Error("two endpoints have one id")
		}
	})
	t.Run("EP-5 of many creations of one name at once one succeeds, and the others are Forbidden", func(t *testing.T) {
		errs := make([]error, 50)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, errs[i] = n.CreateEndpoint("race") })
		}
		wg.Wait()
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
				continue
			}
			wantClass(t, err, "Forbidden")
		}
		if made != 1 || len(n.Endpoints()) != 3 {
			t.Errorf("%d creations succeeded, there are %d endpoints", made, len(n.Endpoints()))
		}
	})
}

func TestJoinLeave(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", dual("10.1.0.0/24", "fd00:1::/64")...)
	ep := newEndpoint(t, n, "e")
	sb, other := newSandbox(t, c, "c1"), newSandbox(t, c, "c2")
	ns := inside(t, sb)
	addrs := ep.Info().Iface().Address().String() + ep.Info().Iface().AddressIPv6().String() + ep.Info().Iface().MacAddress().String()
	unjoined := func(t *testing.T) {
		t.Helper()
		i := ep.Info()
		if i.Gateway() != nil || i.GatewayIPv6() != nil || i.Sandbox() != nil || len(i.StaticRoutes()) != 0 {
			t.Errorf("gateways %v and %v, sandbox %v", i.Gateway(), i.GatewayIPv6(), i.Sandbox())
		}
		if got := sb.Endpoints(); len(got) != 0 {
			t.Errorf("the sandbox has the endpoints %v", got)
		}
		diff(t, "routes inside", []string{}, defaults(t, ns))
	}
	t.Run("EP-7 before Join an endpoint has addresses, but neither gateways nor a sandbox", unjoined)
	t.Run("EP-14 Leave of an endpoint that is not joined is Forbidden", func(t *testing.T) { wantClass(t, ep.Leave(sb), "Forbidden") })
	t.Run("EP-7 after Join an endpoint has the gateways and the sandbox, which has its interface and routes", func(t *testing.T) {
		ok(t, ep.Join(sb))
		i := ep.Info()
		diff(t, "gateways", "10.1.0.1 fd00:1::1", i.Gateway().String()+" "+i.GatewayIPv6().String())
		if i.Sandbox() != sb || !slices.Equal(sb.Endpoints(), []libnetwork.Endpoint{ep}) {
			t.Errorf("sandbox is %v with endpoints %v", i.Sandbox(), sb.Endpoints())
		}
		diff(t, "links inside", []string{"eth0"}, linkNames(t, ns))
		diff(t, "routes inside", []string{"10.1.0.1 eth0", "fd00:1::1 eth0"}, defaults(t, ns))
		i.Gateway()[0] = 99
		diff(t, "gateway", "10.1.0.1", ep.Info().Gateway().String())
	})
	t.Run("MOD-1 an endpoint that is joined joins no sandbox, not even its own", func(t *testing.T) {
		wantClass(t, ep.Join(sb), "Forbidden")
		wantClass(t, ep.Join(other), "Forbidden")
		if ep.Info().Sandbox() != sb {
			t.Errorf("sandbox is now %v", ep.Info().Sandbox())
		}
	})
	for name, bad := range map[string]libnetwork.Sandbox{"nil": nil, "foreign": foreign{}} {
		t.Run("EP-14 Join and Leave with a sandbox that is "+name+" are a BadRequest", func(t *testing.T) {
			wantClass(t, ep.Join(bad), "BadRequest")
			wantClass(t, ep.Leave(bad), "BadRequest")
		})
	}
	t.Run("EP-14 Leave of another sandbox is Forbidden", func(t *testing.T) {
		wantClass(t, ep.Leave(other), "Forbidden")
		if ep.Info().Sandbox() != sb {
			t.Errorf("sandbox is now %v", ep.Info().Sandbox())
		}
	})
	t.Run("EP-18 Delete of a joined endpoint is an ActiveContainerError that names the container", func(t *testing.T) {
		err := ep.Delete(false)
		wantErr[*libnetwork.ActiveContainerError](t, err, "Forbidden")
		if !strings.Contains(err.Error(), "c1") {
			t.Errorf("error %q does not name the container", err)
		}
	})
	t.Run("MOD-3 an endpoint keeps its addresses over Leave and Join", func(t *testing.T) {
		for range 3 {
			ok(t, ep.Leave(sb))
			unjoined(t)
			i := ep.Info().Iface()
			diff(t, "addresses", addrs, i.Address().String()+i.AddressIPv6().String()+i.MacAddress().String())
			ok(t, ep.Join(sb))
		}
	})
	t.Run("OSL-7 the names of interfaces count up and are not used again", func(t *testing.T) {
		if got := linkNames(t, ns); !slices.Contains(got, "eth3") {
			t.Errorf("links inside are %v, want eth3 after three more joins", got)
		}
	})
	t.Run("EP-12 Join of a sandbox that is deleted is Forbidden", func(t *testing.T) {
		ok(t, other.Delete())
		free := newEndpoint(t, n, "free")
		wantClass(t, free.Join(other), "Forbidden")
		if free.Info().Sandbox() != nil {
			t.Errorf("sandbox is %v", free.Info().Sandbox())
		}
		ok(t, free.Delete(false))
	})
	ok(t, ep.Leave(sb))
	ok(t, ep.Delete(false))
	t.Run("EP-14 Join and Leave of an endpoint that is gone are NotFound", func(t *testing.T) {
		wantClass(t, ep.Join(sb), "NotFound")
		wantClass(t, ep.Leave(sb), "NotFound")
	})
	t.Run("EP-18 Delete of an endpoint that is gone is NotFound, by force too", func(t *testing.T) {
		wantClass(t, ep.Delete(false), "NotFound")
		wantClass(t, ep.Delete(true), "NotFound")
	})
	t.Run("EP-22 driver information of an endpoint that is gone is NotFound", func(t *testing.T) {
		wantClass(t, second(ep.DriverInfo()), "NotFound")
	})
	t.Run("EP-23 an endpoint that is gone has no information, and still the name of its network", func(t *testing.T) {
		if ep.Info() != nil {
			t.Errorf("information is %v, want nil", ep.Info())
		}
		diff(t, "network", "web", ep.Network())
	})
	t.Run("EP-21 a network has no endpoints after the last one was deleted", func(t *testing.T) {
		if eps := n.Endpoints(); len(eps) != 0 {
			t.Errorf("endpoints are %v", eps)
		}
		ok(t, n.Delete())
	})
}

func TestDeleteByForce(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	sb := attach(t, c, "c1", n)
	ep := sb.Endpoints()[0]
	t.Run("EP-19 Delete by force leaves the sandbox first", func(t *testing.T) {
		ok(t, ep.Delete(true))
		if eps := sb.Endpoints(); len(eps) != 0 || len(n.Endpoints()) != 0 {
			t.Errorf("sandbox has %v, network has %v", eps, n.Endpoints())
		}
		if ep.Info() != nil {
			t.Errorf("information is %v", ep.Info())
		}
		diff(t, "default routes", []string{}, defaults(t, inside(t, sb)))
	})
	t.Run("EP-20 the address of a deleted endpoint is free at once", func(t *testing.T) {
		ok(t, newEndpoint(t, n, "c1", address("10.1.0.2")).Join(sb))
	})
}

func TestParallelJoins(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	var sbs []libnetwork.Sandbox
	for i := range 8 {
		sbs = append(sbs, newSandbox(t, c, fmt.Sprint("c", i)))
	}
	t.Run("EP-13 of many joins of one endpoint one succeeds, and the others are Forbidden and change nothing", func(t *testing.T) {
		for range 5 {
			ep := newEndpoint(t, n, "e")
			errs := make([]error, len(sbs))
			var wg sync.WaitGroup
			for i, sb := range sbs {
				wg.Go(func() { errs[i] = ep.Join(sb) })
			}
			wg.Wait()
			var winner libnetwork.Sandbox
			for i, err := range errs {
				switch {
				case err != nil:
					wantClass(t, err, "Forbidden")
				case winner != nil:
					t.Fatal("two joins succeeded")
				default:
					winner = sbs[i]
				}
			}
			if winner == nil || ep.Info().Sandbox() != winner || !slices.Equal(winner.Endpoints(), []libnetwork.Endpoint{ep}) {
				t.Fatalf("joined to %v, winner is %v", ep.Info().Sandbox(), winner)
			}
			if got := defaults(t, inside(t, winner)); len(got) != 1 {
				t.Errorf("the winner has the default routes %v", got)
			}
			for _, sb := range sbs {
				if sb != winner && len(sb.Endpoints()) != 0 {
					t.Errorf("%s has endpoints %v too", sb.ContainerID(), sb.Endpoints())
				}
			}
			ok(t, ep.Delete(true))
		}
	})
}

func TestDriverInfo(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	bindings := []types.PortBinding{
		{Proto: types.TCP, Port: 80, HostIP: net.ParseIP("127.0.0.1"), HostPort: 8080},
		{Proto: types.UDP, Port: 53, HostIP: net.ParseIP("0.0.0.0")},
	}
	exposed := []types.TransportPort{{Proto: types.TCP, Port: 80}}
	sb := newSandbox(t, c, "c1", libnetwork.OptionPortMapping(bindings), libnetwork.OptionExposedPorts(exposed))
	ep := newEndpoint(t, n, "e")
	ok(t, ep.Join(sb))
	info := must(ep.DriverInfo())(t)
	t.Run("EP-22 driver information holds the MAC address", func(t *testing.T) {
		diff(t, "MAC", ep.Info().Iface().MacAddress(), info[netlabel.MacAddress].(net.HardwareAddr))
	})
	t.Run("EP-22 driver information holds the exposed ports", func(t *testing.T) { diff(t, "ports", exposed, info[netlabel.ExposedPorts]) })
	t.Run("EP-22 driver information holds the published ports, with the host ports that were chosen", func(t *testing.T) {
		got := info[netlabel.PortMap].([]types.PortBinding)
		diff(t, "ports", []types.PortBinding{
			{Proto: types.TCP, IP: net.ParseIP("10.1.0.2").To4(), Port: 80, HostIP: net.ParseIP("127.0.0.1").To4(), HostPort: 8080, HostPortEnd: 8080},
			{Proto: types.UDP, IP: net.ParseIP("10.1.0.2").To4(), Port: 53, HostIP: net.ParseIP("0.0.0.0").To4()},
		}, got, cmpopts.IgnoreSliceElements(func(types.PortBinding) bool { return false }),
			cmpopts.AcyclicTransformer("ephemeral", func(b types.PortBinding) types.PortBinding {
				if b.Proto == types.UDP {
					b.HostPort, b.HostPortEnd = 0, 0
				}
				return b
			}))
		if got[1].HostPort == 0 {
			t.Error("no port was chosen for the one without a host port")
		}
	})
	t.Run("SB-4 a port mapping that can never be met is BadRequest", func(t *testing.T) {
		_, err := c.NewSandbox("c2", libnetwork.OptionPortMapping([]types.PortBinding{{Proto: types.TCP, Port: 0}}))
		wantClass(t, err, "BadRequest")
	})
	t.Run("EP-8 a join that fails for a port that is taken is taken back as a whole", func(t *testing.T) {
		second := newSandbox(t, c, "c3", libnetwork.OptionPortMapping(bindings[:1]))
		e2 := newEndpoint(t, n, "e2")
		wantClass(t, e2.Join(second), "Forbidden")
		if e2.Info().Sandbox() != nil || len(second.Endpoints()) != 0 {
			t.Errorf("joined to %v", e2.Info().Sandbox())
		}
		if got := defaults(t, inside(t, second)); len(got) != 0 {
			t.Errorf("default routes are left: %v", got)
		}
		ok(t, ep.Leave(sb))
		ok(t, e2.Join(second))
	})
}
