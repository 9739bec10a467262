//go:build linux

package libnetwork_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/options"
	"github.com/libnetwork/libnetwork/types"
)

// ipam is the option for the default address manager.
func ipam(v4, v6 []*libnetwork.IpamConf) libnetwork.NetworkOption {
	return libnetwork.NetworkOptionIpam("", "", v4, v6, nil)
}

// hostLinks are the links of the tests' own namespace.
func hostLinks(t testing.TB) []string {
	t.Helper()
	ns := must(netns.Host(nil))(t)
	defer ns.Close()
	return linkNames(t, ns)
}

func TestNewNetwork(t *testing.T) {
	c := newController(t)
	t.Run("NET-1 a new network is found by every look-up, has no endpoints, and the scope of its driver", func(t *testing.T) {
		n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
		checkID(t, n.ID())
		if n.Name() != "web" || n.Type() != "bridge" || n.Info().Scope() != "local" {
			t.Errorf("network is %s of type %s in scope %s", n.Name(), n.Type(), n.Info().Scope())
		}
		if len(n.Endpoints()) != 0 {
			t.Errorf("a new network has endpoints %v", n.Endpoints())
		}
		if !slices.Contains(c.Networks(), n) || must(c.NetworkByName("web"))(t) != n || must(c.NetworkByID(n.ID()))(t) != n {
			t.Error("a look-up does not find the network")
		}
		if want := "br-" + n.ID()[:12]; !slices.Contains(hostLinks(t), want) {
			t.Errorf("links are %v, want also %s", hostLinks(t), want)
		}
		ok(t, n.Delete())
		if got := hostLinks(t); len(got) != 0 {
			t.Errorf("links are left: %v", got)
		}
	})
	for _, tt := range []struct {
		name, kind, network string
		opts                []libnetwork.NetworkOption
		class               string
	}{
		{"MOD-4 a type that no driver is registered for is NotFound", "no-such-driver", "n", nil, "NotFound"},
		{"NET-5 an unknown address manager is a BadRequest", "bridge", "n", []libnetwork.NetworkOption{libnetwork.NetworkOptionIpam("none", "", nil, nil, nil)}, "BadRequest"},
		{"NET-5 an unknown address space is a BadRequest", "bridge", "n", []libnetwork.NetworkOption{libnetwork.NetworkOptionIpam("", "none", nil, nil, nil)}, "BadRequest"},
		{"NET-7 a gateway that is no address is a BadRequest", "bridge", "n", []libnetwork.NetworkOption{ipam([]*libnetwork.IpamConf{{PreferredPool: "10.1.0.0/24", Gateway: "x"}}, nil)}, "BadRequest"},
		{"NET-7 a subnet that is none is a BadRequest", "bridge", "n", []libnetwork.NetworkOption{subnet("10.1.0.0")}, "BadRequest"},
		{"NET-7 a part of a subnet that is no subnet is a BadRequest", "bridge", "n", []libnetwork.NetworkOption{ipam([]*libnetwork.IpamConf{{PreferredPool: "10.1.0.0/24", SubPool: "x"}}, nil)}, "BadRequest"},
		{"NET-8 a gateway outside the subnet is a BadRequest", "bridge", "n", []libnetwork.NetworkOption{ipam([]*libnetwork.IpamConf{{PreferredPool: "10.1.0.0/24", Gateway: "10.1.1.1"}}, nil)}, "BadRequest"},
		{"NET-9 an auxiliary address that is none is a BadRequest", "bridge", "n", []libnetwork.NetworkOption{ipam([]*libnetwork.IpamConf{{PreferredPool: "10.1.0.0/24", AuxAddresses: map[string]string{"a": "x"}}}, nil)}, "BadRequest"},
		{"NET-9 an auxiliary address outside the subnet is Forbidden", "bridge", "n", []libnetwork.NetworkOption{ipam([]*libnetwork.IpamConf{{PreferredPool: "10.1.0.0/24", AuxAddresses: map[string]string{"a": "10.1.1.2"}}}, nil)}, "Forbidden"},
		{"NET-9 an auxiliary address that is taken is an Internal error", "bridge", "n", []libnetwork.NetworkOption{ipam([]*libnetwork.IpamConf{{PreferredPool: "10.1.0.0/24", AuxAddresses: map[string]string{"a": "10.1.0.1"}}}, nil)}, "Internal"},
		{"NET-10 when the IPv6 side fails, the IPv4 side is given back", "bridge", "n", dual("10.1.0.0/24", "fd00::/129"), "BadRequest"},
		{"NET-10 when one subnet fails, those before it are given back", "bridge", "n", []libnetwork.NetworkOption{ipam([]*libnetwork.IpamConf{{PreferredPool: "10.1.0.0/24"}, {PreferredPool: "10.1.0.0/25"}}, nil)}, "Forbidden"},
		{"OPT EnableIPv6 of another type", "bridge", "n", []libnetwork.NetworkOption{libnetwork.NetworkOptionGeneric(map[string]any{netlabel.EnableIPv6: "true"})}, "BadRequest"},
		{"OPT Internal of another type", "bridge", "n", []libnetwork.NetworkOption{libnetwork.NetworkOptionGeneric(map[string]any{netlabel.Internal: 1})}, "BadRequest"},
		{"OPT driver option that cannot be", "bridge", "n", []libnetwork.NetworkOption{libnetwork.NetworkOptionDriverOpts(map[string]string{"com.docker.network.bridge.enable_icc": "perhaps"})}, "BadRequest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, err := c.NewNetwork(tt.kind, tt.network, tt.opts...)
			wantClass(t, err, tt.class)
			if n != nil {
				t.Errorf("network is %v, want nil", n)
			}
			t.Run("NET-2 after a refusal nothing is left, and the same network can be made", func(t *testing.T) {
				if nets, links := c.Networks(), hostLinks(t); len(nets) > 0 || len(links) > 0 {
					t.Errorf("networks %v and links %v are left", nets, links)
				}
				n := newNetwork(t, c, "n", ipam([]*libnetwork.IpamConf{{PreferredPool: "10.1.0.0/24", Gateway: "10.1.0.1", AuxAddresses: map[string]string{"a": "10.1.0.9"}}}, nil))
				ok(t, n.Delete())
			})
		})
	}
	for _, name := range []string{"", " ", "\t\n"} {
		t.Run("NET-1 a blank name is ErrInvalidName", func(t *testing.T) {
			_, err := c.NewNetwork("bridge", name)
			wantErr[libnetwork.ErrInvalidName](t, err, "BadRequest")
		})
	}
	t.Run("OPT nil options are skipped", func(t *testing.T) {
		ok(t, newNetwork(t, c, "n", nil, libnetwork.NetworkOptionInternalNetwork(), nil).Delete())
	})
}

func TestNetworkNames(t *testing.T) {
	c := newController(t)
	t.Run("NET-3 a name that is taken is refused with NetworkNameError, whatever the type", func(t *testing.T) {
		n := newNetwork(t, c, "web")
		_, err := c.NewNetwork("bridge", "web")
		wantErr[libnetwork.NetworkNameError](t, err, "Forbidden")
		_, err = c.NewNetwork("null", "web")
		wantErr[libnetwork.NetworkNameError](t, err, "Forbidden")
		ok(t, n.Delete())
		ok(t, newNetwork(t, c, "web").Delete())
	})
	t.Run("NET-3 of 100 creations of one name at once one succeeds", func(t *testing.T) {
		const many = 100
		errs := make([]error, many)
		var wg sync.WaitGroup
		for i := range many {
			wg.Go(func() { _, errs[i] = c.NewNetwork("bridge", "race") })
		}
		wg.Wait()
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
				continue
			}
			wantErr[libnetwork.NetworkNameError](t, err, "Forbidden")
		}
		if made != 1 || len(c.Networks()) != 1 || len(hostLinks(t)) != 1 {
			t.Errorf("%d creations succeeded, there are %d networks and the links %v", made, len(c.Networks()), hostLinks(t))
		}
	})
}

func TestSingleNetworks(t *testing.T) {
	c := newController(t)
	for _, kind := range []string{"host", "null"} {
		t.Run("NET-4 there is one network of type "+kind+", which has no subnets and stays", func(t *testing.T) {
			n := must(c.NewNetwork(kind, kind))(t)
			_, err := c.NewNetwork(kind, "second")
			wantClass(t, err, "Forbidden")
			v4, v6 := n.Info().IpamInfo()
			if len(v4)+len(v6) != 0 {
				t.Errorf("it has the subnets %v and %v", v4, v6)
			}
			wantClass(t, n.Delete(), "Forbidden")
			t.Run("NET-13 a network whose deletion was refused is found and works as before", func(t *testing.T) {
				if got := must(c.NetworkByName(kind))(t); got != n || !slices.Contains(c.Networks(), n) {
					t.Error("the network cannot be looked up any more")
				}
				ep := newEndpoint(t, n, "e")
				t.Run("EP-1 endpoints on networks of type "+kind+" have no address", func(t *testing.T) {
					if i := ep.Info().Iface(); i.Address() != nil || i.AddressIPv6() != nil {
						t.Errorf("endpoint has the addresses %v and %v", i.Address(), i.AddressIPv6())
					}
				})
				ok(t, ep.Delete(false))
			})
		})
	}
}

func TestNetworkAddresses(t *testing.T) {
	c := newController(t)
	type info struct {
		pools, gateways []string
		aux             []string
	}
	read := func(infos []*libnetwork.IpamInfo) (out info) {
		for _, i := range infos {
			out.pools = append(out.pools, i.Pool.String())
			out.gateways = append(out.gateways, i.Gateway.String())
			for name, a := range i.AuxAddresses {
				out.aux = append(out.aux, name+"="+a.String())
			}
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		opts   []libnetwork.NetworkOption
		v4, v6 info
	}{
		{
			"NET-8 the gateway is the first address of the subnet",
			[]libnetwork.NetworkOption{subnet("10.1.0.0/24")},
			info{pools: []string{"10.1.0.0/24"}, gateways: []string{"10.1.0.1/24"}},
			info{},
		},
		{
			"NET-9 an auxiliary address may lie outside the part of the subnet that containers get addresses from",
			[]libnetwork.NetworkOption{ipam([]*libnetwork.IpamConf{{
				PreferredPool: "10.1.0.0/24", SubPool: "10.1.0.128/25", Gateway: "10.1.0.254",
				AuxAddresses: map[string]string{"a": "10.1.0.5"},
			}}, nil)},
			info{pools: []string{"10.1.0.0/24"}, gateways: []string{"10.1.0.254/24"}, aux: []string{"a=10.1.0.5/24"}},
			info{},
		},
		{
			"NET-6 with IPv6 a network has the subnets asked for of both families",
			dual("10.1.0.0/24", "fd00:1::/64"),
			info{pools: []string{"10.1.0.0/24"}, gateways: []string{"10.1.0.1/24"}},
			info{pools: []string{"fd00:1::/64"}, gateways: []string{"fd00:1::1/64"}},
		},
		{
			"NET-6 IPv6 subnets are left out unless IPv6 is enabled",
			[]libnetwork.NetworkOption{ipam([]*libnetwork.IpamConf{{PreferredPool: "10.1.0.0/24"}}, []*libnetwork.IpamConf{{PreferredPool: "fd00:1::/64"}})},
			info{pools: []string{"10.1.0.0/24"}, gateways: []string{"10.1.0.1/24"}},
			info{},
		},
		{
			"NET-6 IPv6 without a subnet asked for is no error and gives none",
			[]libnetwork.NetworkOption{subnet("10.1.0.0/24"), libnetwork.NetworkOptionEnableIPv6(true)},
			info{pools: []string{"10.1.0.0/24"}, gateways: []string{"10.1.0.1/24"}},
			info{},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNetwork(t, c, "n", tt.opts...)
			v4, v6 := n.Info().IpamInfo()
			diff(t, "IPv4", tt.v4, read(v4), cmp.AllowUnexported(info{}))
			diff(t, "IPv6", tt.v6, read(v6), cmp.AllowUnexported(info{}))
			ok(t, n.Delete())
		})
	}
	t.Run("NET-6 no IPv4 subnet asked for means one of the address manager's choice", func(t *testing.T) {
		a, b := newNetwork(t, c, "a"), newNetwork(t, c, "b")
		ia, _ := a.Info().IpamInfo()
		ib, _ := b.Info().IpamInfo()
		if len(ia) != 1 || len(ib) != 1 || ia[0].Pool.String() == ib[0].Pool.String() {
			t.Errorf("pools are %v and %v, want one each, not the same", ia, ib)
		}
		if ia[0].AddressSpace == "" || ia[0].PoolID == "" {
			t.Errorf("address space %q and pool id %q are not given", ia[0].AddressSpace, ia[0].PoolID)
		}
		t.Run("NET-5 no address space means the local default one of the address manager", func(t *testing.T) {
			diff(t, "address space", "LocalDefault", ia[0].AddressSpace)
		})
	})
}

func TestNetworkDelete(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	ep := newEndpoint(t, n, "api")
	t.Run("NET-12 a network whose deletion was refused for its endpoints, which are named, is not hidden", func(t *testing.T) {
		err := n.Delete()
		wantErr[*libnetwork.ActiveEndpointsError](t, err, "Forbidden")
		if !strings.Contains(err.Error(), "web") || !strings.Contains(err.Error(), "api") {
			t.Errorf("error %q does not name network and endpoint", err)
		}
		if must(c.NetworkByName("web"))(t) != n {
			t.Error("the network is hidden after a refused deletion")
		}
	})
	ok(t, ep.Delete(false))
	ok(t, n.Delete())
	t.Run("NET-11 a second deletion is an UnknownNetworkError", func(t *testing.T) {
		wantErr[*libnetwork.UnknownNetworkError](t, n.Delete(), "NotFound")
	})
	t.Run("NET-12 a deleted network is found by no look-up", func(t *testing.T) {
		_, err := c.NetworkByID(n.ID())
		wantErr[libnetwork.ErrNoSuchNetwork](t, err, "NotFound")
		_, err = c.NetworkByName("web")
		wantErr[libnetwork.ErrNoSuchNetwork](t, err, "NotFound")
		if nets := c.Networks(); len(nets) != 0 {
			t.Errorf("networks are %v", nets)
		}
	})
	t.Run("NET-12 an endpoint on a network that is gone is NotFound", func(t *testing.T) {
		_, err := n.CreateEndpoint("late")
		wantClass(t, err, "NotFound")
	})
	t.Run("NET-10 the subnet of a deleted network is free", func(t *testing.T) {
		// The same subnet could be shared, an overlapping one could not.
		ok(t, newNetwork(t, c, "other", subnet("10.1.0.0/16")).Delete())
		again := newNetwork(t, c, "again", subnet("10.1.0.0/24"))
		v4, _ := again.Info().IpamInfo()
		diff(t, "gateway", "10.1.0.1/24", v4[0].Gateway.String())
		ok(t, again.Delete())
	})
	t.Run("NET-11 of many deletions at once one succeeds", func(t *testing.T) {
		n := newNetwork(t, c, "web")
		var wg sync.WaitGroup
		errs := make([]error, 16)
		for i := range errs {
			wg.Go(func() { errs[i] = n.Delete() })
		}
		wg.Wait()
		deleted := 0
		for _, err := range errs {
			if err == nil {
				deleted++
				continue
			}
			wantErr[*libnetwork.UnknownNetworkError](t, err, "NotFound")
		}
		if deleted != 1 {
			t.Errorf("%d deletions succeeded, want 1", deleted)
		}
	})
}

func TestNetworkInfo(t *testing.T) {
	c := newController(t)
	conf := &libnetwork.IpamConf{PreferredPool: "10.1.0.0/24", SubPool: "10.1.0.0/25", Gateway: "10.1.0.1", AuxAddresses: map[string]string{"a": "10.1.0.9"}}
	conf6 := &libnetwork.IpamConf{PreferredPool: "fd00:1::/64"}
	ipamOpts, labels := map[string]string{"o": "v"}, map[string]string{"l": "v"}
	driverOpts := map[string]string{"com.docker.network.driver.mtu": "1400"}
	n := newNetwork(t, c, "web",
		libnetwork.NetworkOptionEnableIPv6(true),
		libnetwork.NetworkOptionIpam("default", "", []*libnetwork.IpamConf{conf}, []*libnetwork.IpamConf{conf6}, ipamOpts),
		libnetwork.NetworkOptionDriverOpts(driverOpts), libnetwork.NetworkOptionLabels(labels))
	check := func(t *testing.T) {
		t.Helper()
		driver, opts, c4, c6 := n.Info().IpamConfig()
		diff(t, "address manager", "default", driver)
		diff(t, "its options", map[string]string{"o": "v"}, opts)
		diff(t, "IPv4 wishes", []*libnetwork.IpamConf{{PreferredPool: "10.1.0.0/24", SubPool: "10.1.0.0/25", Gateway: "10.1.0.1", AuxAddresses: map[string]string{"a": "10.1.0.9"}}}, c4)
		diff(t, "IPv6 wishes", []*libnetwork.IpamConf{{PreferredPool: "fd00:1::/64"}}, c6)
		v4, v6 := n.Info().IpamInfo()
		diff(t, "IPv4 subnet", "10.1.0.0/24 10.1.0.1/24 10.1.0.9/24",
			v4[0].Pool.String()+" "+v4[0].Gateway.String()+" "+v4[0].AuxAddresses["a"].String())
		diff(t, "IPv6 subnet", "fd00:1::/64", v6[0].Pool.String())
		diff(t, "driver options", map[string]string{"com.docker.network.driver.mtu": "1400"}, n.Info().DriverOptions())
		diff(t, "labels", map[string]string{"l": "v"}, n.Info().Labels())
	}
	t.Run("NET-15 a network tells what was asked for and what the address manager gave", check)
	t.Run("NET-15 what a caller does to arguments and results changes nothing", func(t *testing.T) {
		conf.AuxAddresses["a"], ipamOpts["o"], labels["l"] = "x", "x", "x"
		driverOpts["com.docker.network.driver.mtu"] = "x"
		_, opts, c4, _ := n.Info().IpamConfig()
		opts["o"], c4[0].PreferredPool, c4[0].AuxAddresses["a"] = "x", "x", "x"
		v4, v6 := n.Info().IpamInfo()
		v4[0].Pool.IP[0], v4[0].Gateway.IP[0], v4[0].AuxAddresses["a"].IP[0], v6[0].Pool.Mask[0] = 99, 99, 99, 99
		delete(v4[0].AuxAddresses, "a")
		n.Info().DriverOptions()["com.docker.network.driver.mtu"] = "x"
		n.Info().Labels()["l"] = "x"
		check(t)
	})
}

func TestNetworkOptions(t *testing.T) {
	c := newController(t)
	type result struct {
		IPv6, Internal bool
		Options        map[string]string
	}
	for _, tt := range []struct {
		name string
		opts []libnetwork.NetworkOption
		want result
	}{
		{"OPT defaults", nil, result{Options: map[string]string{}}},
		{"OPT generic properties", []libnetwork.NetworkOption{libnetwork.NetworkOptionGeneric(map[string]any{
			netlabel.EnableIPv6: true, netlabel.Internal: true,
		})}, result{IPv6: true, Internal: true, Options: map[string]string{}}},
		{"OPT the last one wins", []libnetwork.NetworkOption{
			libnetwork.NetworkOptionEnableIPv6(true), libnetwork.NetworkOptionEnableIPv6(false),
			libnetwork.NetworkOptionDriverOpts(map[string]string{"a": "1"}), libnetwork.NetworkOptionDriverOpts(map[string]string{"b": "2"}),
		}, result{Options: map[string]string{"b": "2"}}},
		{"OPT IPv6 as an option of the network wins over the driver's", []libnetwork.NetworkOption{
			libnetwork.NetworkOptionDriverOpts(map[string]string{netlabel.EnableIPv6: "true"}), libnetwork.NetworkOptionEnableIPv6(false),
		}, result{Options: map[string]string{}}},
		{"OPT IPv6 as an option of the driver", []libnetwork.NetworkOption{
			libnetwork.NetworkOptionDriverOpts(map[string]string{netlabel.EnableIPv6: "true"}),
		}, result{IPv6: true, Options: map[string]string{netlabel.EnableIPv6: "true"}}},
		{"OPT nil driver options", []libnetwork.NetworkOption{
			libnetwork.NetworkOptionDriverOpts(map[string]string{"a": "1"}), libnetwork.NetworkOptionDriverOpts(nil),
		}, result{Options: map[string]string{}}},
		{"NET-15 driver options may come as options.Generic, of which the text entries count", []libnetwork.NetworkOption{libnetwork.NetworkOptionGeneric(map[string]any{
			netlabel.GenericData: options.Generic{"a": "1", "other": 7},
		})}, result{Options: map[string]string{"a": "1"}}},
		{"OPT driver options may have the types of what they mean", []libnetwork.NetworkOption{libnetwork.NetworkOptionGeneric(map[string]any{
			netlabel.GenericData: options.Generic{"com.docker.network.bridge.enable_icc": false, netlabel.DriverMTU: 1400},
		})}, result{Options: map[string]string{"com.docker.network.bridge.enable_icc": "false", netlabel.DriverMTU: "1400"}}},
		{"OPT driver options may have the names of fields, then what is not given is off", []libnetwork.NetworkOption{libnetwork.NetworkOptionGeneric(map[string]any{
			netlabel.GenericData: map[string]any{
				"BridgeName": "br7", "EnableICC": true, "Mtu": 1400, "DefaultBindingIP": net.IPv4(127, 0, 0, 1), "Internal": true,
				"DefaultGatewayIPv4": net.IP(nil), "AddressIPv4": (*net.IPNet)(nil),
			},
		})}, result{Internal: true, Options: map[string]string{
			"com.docker.network.bridge.name": "br7", "com.docker.network.bridge.enable_icc": "true",
			"com.docker.network.bridge.enable_ip_masquerade": "false", netlabel.DriverMTU: "1400",
			"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
		}}},
		{"OPT options of text stand in for typed ones", []libnetwork.NetworkOption{
			libnetwork.NetworkOptionGeneric(map[string]any{netlabel.GenericData: options.Generic{"EnableICC": false}}),
			libnetwork.NetworkOptionDriverOpts(map[string]string{"b": "2"}),
		}, result{Options: map[string]string{"b": "2"}}},
		{"NET-15 driver options may come as a map of text", []libnetwork.NetworkOption{libnetwork.NetworkOptionGeneric(map[string]any{
			netlabel.GenericData: map[string]string{"a": "1"},
		})}, result{Options: map[string]string{"a": "1"}}},
		{"OPT internal", []libnetwork.NetworkOption{libnetwork.NetworkOptionInternalNetwork()}, result{Internal: true, Options: map[string]string{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNetwork(t, c, "n", tt.opts...)
			diff(t, "network", tt.want, result{n.Info().IPv6Enabled(), n.Info().Internal(), n.Info().DriverOptions()})
			ok(t, n.Delete())
		})
	}
	for _, tt := range []struct {
		name  string
		value any
		text  string
	}{
		{"EnableICC", "yes", `"yes"`},
		{"EnableICC", 1.5, "float64"},
		{"Mtu", []int{1}, "[]int"},
		{"Mtu", -1, `"-1"`},
		{"Internal", "maybe", `"maybe"`},
		{"BridgeName", true, "bool"},
		{"DefaultBindingIP", net.IP{1, 2, 3}, `"?010203"`},
		{"DefaultGatewayIPv4", net.IPv4(10, 0, 0, 1), `"10.0.0.1"`},
		{"com.docker.network.bridge.enable_icc", 1.5, "float64"},
		{netlabel.DriverMTU, struct{}{}, "struct {}"},
	} {
		t.Run(fmt.Sprintf("OPT no driver option %s=%v", tt.name, tt.value), func(t *testing.T) {
			n, err := c.NewNetwork("bridge", "n", libnetwork.NetworkOptionGeneric(map[string]any{netlabel.GenericData: options.Generic{tt.name: tt.value}}))
			if err == nil {
				ok(t, n.Delete())
			}
			if !errors.As(err, new(types.BadRequestError)) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want BadRequest that names %s", err, tt.text)
			}
		})
	}
	t.Run("OPT an empty driver name keeps the one before", func(t *testing.T) {
		n := newNetwork(t, c, "n", libnetwork.NetworkOptionIpam("null", "", nil, nil, nil), libnetwork.NetworkOptionIpam("default", "", nil, nil, nil), subnet("10.1.0.0/24"))
		driver, _, _, _ := n.Info().IpamConfig()
		diff(t, "address manager", "default", driver)
		ok(t, n.Delete())
	})
	t.Run("OPT deferred IPv6 addresses are made from the MAC address", func(t *testing.T) {
		n := newNetwork(t, c, "n", append(dual("10.1.0.0/24", "fd00:1::/64"), libnetwork.NetworkOptionDeferIPv6Alloc(true))...)
		mac := net.HardwareAddr{2, 1, 2, 3, 4, 5}
		ep := newEndpoint(t, n, "e", libnetwork.EndpointOptionGeneric(map[string]any{netlabel.MacAddress: mac}))
		diff(t, "address", "fd00:1::201:203:405/64", ep.Info().Iface().AddressIPv6().String())
	})
	t.Run("OPT an IPv6 prefix has room for the MAC address up to 80 bits, and is Forbidden above", func(t *testing.T) {
		deferred := libnetwork.NetworkOptionDeferIPv6Alloc(true)
		n := newNetwork(t, c, "n80", append(dual("10.2.0.0/24", "2001:db8:2600:2700:2800::/80"), deferred)...)
		mac := net.HardwareAddr{0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}
		ep := newEndpoint(t, n, "e", libnetwork.EndpointOptionGeneric(map[string]any{netlabel.MacAddress: mac}))
		diff(t, "address", "2001:db8:2600:2700:2800:aabb:ccdd:eeff/80", ep.Info().Iface().AddressIPv6().String())
		n = newNetwork(t, c, "n81", append(dual("10.3.0.0/30", "2001:db8:2600:2701::/81"), deferred)...)
		for range 3 { // the subnet has one address for an endpoint, which is not kept
			_, err := n.CreateEndpoint("e")
			wantClass(t, err, "Forbidden")
			if err == nil || !strings.Contains(err.Error(), "2001:db8:2600:2701::/81") {
				t.Errorf("the error does not name the subnet: %v", err)
			}
		}
		newEndpoint(t, n, "e", libnetwork.CreateOptionIpam(nil, net.ParseIP("2001:db8:2600:2701::5"), nil))
	})
}

func TestIpamValues(t *testing.T) {
	t.Run("3.6 Validate", func(t *testing.T) {
		for _, c := range []*libnetwork.IpamConf{{Gateway: "x"}, {AuxAddresses: map[string]string{"a": ""}}} {
			wantClass(t, c.Validate(), "BadRequest")
		}
		ok(t, (&libnetwork.IpamConf{Gateway: "10.0.0.1", AuxAddresses: map[string]string{"a": "fd00::1"}}).Validate())
	})
	t.Run("3.6 CopyTo is deep", func(t *testing.T) {
		from := &libnetwork.IpamConf{PreferredPool: "p", AuxAddresses: map[string]string{"a": "1"}}
		var to libnetwork.IpamConf
		ok(t, from.CopyTo(&to))
		to.AuxAddresses["a"] = "2"
		diff(t, "source", "1", from.AuxAddresses["a"])
		info := &libnetwork.IpamInfo{PoolID: "p", Meta: map[string]string{"m": "1"}}
		info.Pool = &net.IPNet{IP: net.IP{10, 0, 0, 0}, Mask: net.IPMask{255, 0, 0, 0}}
		info.AuxAddresses = map[string]*net.IPNet{"a": types.GetIPNetCopy(info.Pool)}
		var copied libnetwork.IpamInfo
		ok(t, info.CopyTo(&copied))
		diff(t, "copy", info, &copied)
		copied.Meta["m"], copied.Pool.IP[0], copied.AuxAddresses["a"].IP[0] = "2", 11, 11
		diff(t, "source", "1 10.0.0.0/8 10.0.0.0/8", info.Meta["m"]+" "+info.Pool.String()+" "+info.AuxAddresses["a"].String())
	})
	t.Run("PER-2 IPAM information is read back from its JSON, and what cannot be decoded changes nothing", func(t *testing.T) {
		info := &libnetwork.IpamInfo{PoolID: "p", Meta: map[string]string{"m": "1"}}
		info.AddressSpace = "s"
		info.Pool = &net.IPNet{IP: net.IP{10, 0, 0, 0}, Mask: net.IPMask{255, 0, 0, 0}}
		info.Gateway = &net.IPNet{IP: net.IP{10, 0, 0, 1}, Mask: net.IPMask{255, 0, 0, 0}}
		data := must(info.MarshalJSON())(t)
		var back libnetwork.IpamInfo
		ok(t, back.UnmarshalJSON(data))
		diff(t, "value", string(data), string(must(back.MarshalJSON())(t)))
		for _, bad := range []string{"", "7", "[]", `{"PoolID":7}`, `{"IPAMData":{}}`, `{"IPAMData":"7"}`, `{"IPAMData":"{\"Pool\":7}"}`, `{"IPAMData":"{\"Pool\":\"x\"}"}`} {
			if err := back.UnmarshalJSON([]byte(bad)); err == nil {
				t.Errorf("%s is accepted", bad)
			}
		}
		diff(t, "value after errors", string(data), string(must(back.MarshalJSON())(t)))
	})
}
