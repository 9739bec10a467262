// Package outside makes a driver of somebody else, which implements the published
// driverapi.Driver, one of ours.
//
// Such a driver is told what to do instead of being asked what is wanted, and has
// a part of its own in the kernel and a memory of its own. So its Driver has two
// halves: the pure one of model.Driver, which wants what the engine does itself
// (moving the link, routes) and names what the driver is to do (its network, the
// way to an endpoint from outside); and the calls, which convert records into
// what the published interface takes, and what it says into records.
//
// A Driver holds nothing but the driver. Its calls are made one at a time for one
// network or endpoint, in parallel for others.
package outside

import (
	"net/netip"

	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/internal/model"
)

// Driver is a driver of somebody else.
type Driver struct {
	name, scope string
	driver      driverapi.Driver // nil: not there
}

// New returns the driver of a network type.
func New(name, scope string, d driverapi.Driver) Driver {
	return Driver{name: name, scope: scope, driver: d}
}

// Absent stands for a driver that networks of an earlier process had and that is
// not there yet. Its networks can be seen; all of its calls are NotFound errors.
func Absent(name, scope string) Driver { return Driver{name: name, scope: scope} }

// Missing says whether the driver is not there.
func (d Driver) Missing() bool { return d.driver == nil }

// Type is the name of the network type.
func (d Driver) Type() string { return d.name }

// Traits are those of a driver with addresses that publishes ports by itself.
func (d Driver) Traits() model.Traits { return model.Traits{Scope: d.scope, Addresses: true} }

// Prepare accepts all options: the driver sees them when it makes the network.
func (Driver) Prepare(*model.Network, model.Env) error { return nil }

// Plan leaves the decision to the driver.
func (Driver) Plan(*model.Network, model.Env) error { return nil }

// Network wants the driver to make the network.
func (Driver) Network(n *model.Network) []model.Object {
	return []model.Object{model.DriverNetwork{Network: n}}
}

// Attach wants the link that the driver has named, and its routes.
func (Driver) Attach(_ *model.Network, ep *model.Endpoint, sb *model.Sandbox) []model.Object {
	o := ep.Attached.Outside
	if o == nil || o.Link == "" {
		return nil
	}
	l := model.MovedLink{Host: o.Link, Name: ep.Attached.Name, MAC: ep.MAC, Routes: o.Routes}
	if !sb.Host {
		l.Netns = sb.Key
	}
	for _, p := range []netip.Prefix{ep.V4, ep.V6} {
		if p.IsValid() {
			l.Addrs = append(l.Addrs, p)
		}
	}
	objs := []model.Object{l}
	for _, r := range o.Static {
		objs = append(objs, model.StaticRoute{Netns: l.Netns, Route: r})
	}
	return objs
}

// Gateway is what the driver said when the endpoint joined.
func (Driver) Gateway(_ *model.Network, ep *model.Endpoint, v6 bool) netip.Addr {
	if ep == nil || ep.Attached == nil || ep.Attached.Outside == nil {
		return netip.Addr{}
	}
	if v6 {
		return ep.Attached.Outside.Gateway6
	}
	return ep.Attached.Outside.Gateway4
}
