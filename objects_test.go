//go:build linux

package libnetwork_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/netlabel"
)

func TestManyEndpoints(t *testing.T) {
	c := newController(t)
	a, b := newNetwork(t, c, "a", subnet("10.1.0.0/24")), newNetwork(t, c, "b", subnet("10.2.0.0/24"))
	t.Run("MOD-2 a sandbox holds endpoints of several networks, and several of one", func(t *testing.T) {
		sb := newSandbox(t, c, "c1")
		for i, n := range []libnetwork.Network{a, a, b} {
			ok(t, newEndpoint(t, n, fmt.Sprint("e", i)).Join(sb))
		}
		if got := sb.Endpoints(); len(got) != 3 {
			t.Errorf("endpoints are %v", got)
		}
		diff(t, "links inside", []string{"eth0", "eth1", "eth2"}, linkNames(t, inside(t, sb)))
		ok(t, sb.Delete())
	})
	t.Run("MOD-4 a network has the scope of its driver", func(t *testing.T) {
		diff(t, "scope", "local", a.Info().Scope())
	})
}

func TestOneFamily(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"), libnetwork.NetworkOptionEnableIPv6(true))
	t.Run("EP-3 without an IPv6 subnet an endpoint has no IPv6 address", func(t *testing.T) {
		if got := newEndpoint(t, n, "v4").Info().Iface().AddressIPv6(); got != nil {
			t.Errorf("address is %v", got)
		}
	})
	t.Run("EP-3 a wanted IPv6 address without a subnet is a BadRequest", func(t *testing.T) {
		_, err := n.CreateEndpoint("v6", libnetwork.CreateOptionIpam(nil, net.ParseIP("fd00::5"), nil))
		wantClass(t, err, "BadRequest")
	})
}

func TestJoinOptions(t *testing.T) {
	c := newController(t)
	a, b := newNetwork(t, c, "a", subnet("10.1.0.0/24")), newNetwork(t, c, "b", subnet("10.2.0.0/24"))
	newEndpoint(t, b, "db")
	sb := newSandbox(t, c, "c1")
	ok(t, newEndpoint(t, a, "e").Join(sb))
	options := []libnetwork.EndpointOption{libnetwork.JoinOptionPriority(nil, 5), libnetwork.CreateOptionAlias("db", "store")}
	e := newEndpoint(t, b, "e", options...)
	ok(t, e.Join(sb))
	t.Run("EP-11 priority and aliases given to CreateEndpoint have no effect", func(t *testing.T) {
		diff(t, "default routes", []string{"10.1.0.1 eth0"}, defaults(t, inside(t, sb)))
		if ips, _ := sb.ResolveName("store", 1); len(ips) != 0 {
			t.Errorf("the alias resolves to %v", ips)
		}
	})
	ok(t, e.Leave(sb))
	ok(t, e.Join(sb, options...))
	t.Run("EP-11 priority and aliases given to Join have effect while it lasts", func(t *testing.T) {
		diff(t, "default routes", []string{"10.2.0.1 eth2"}, defaults(t, inside(t, sb)))
		if ips, _ := sb.ResolveName("store", 1); len(ips) != 1 {
			t.Errorf("the alias resolves to %v", ips)
		}
		ok(t, e.Leave(sb))
		ok(t, e.Join(sb))
		diff(t, "default routes", []string{"10.1.0.1 eth0"}, defaults(t, inside(t, sb)))
	})
}

func TestTransientNetwork(t *testing.T) {
	d := newDirs(t)
	c := d.open(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"), libnetwork.NetworkOptionPersist(false))
	t.Run("PER-3 a network that is not to persist works until Stop", func(t *testing.T) {
		sb := attach(t, c, "c1", n)
		diff(t, "default routes", []string{"10.1.0.1 eth0"}, defaults(t, inside(t, sb)))
		second := newSandbox(t, c, "c2")
		ep := newEndpoint(t, n, "e2", libnetwork.EndpointOptionGeneric(map[string]any{netlabel.MacAddress: net.HardwareAddr{2, 0, 0, 0, 0, 9}}))
		ok(t, ep.Join(second))
		ok(t, ep.Leave(second))
		ok(t, ep.Delete(false))
	})
	c.Stop()
	t.Run("PER-3 of a network that is not to persist nothing is left after a new start", func(t *testing.T) {
		c := d.open(t)
		if nets := c.Networks(); len(nets) != 0 {
			t.Errorf("networks are %v", nets)
		}
		if links := hostLinks(t); len(links) != 0 {
			t.Errorf("links are %v", links)
		}
		ok(t, newNetwork(t, c, "web", subnet("10.1.0.0/24")).Delete())
	})
}
