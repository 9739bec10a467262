package model

import "net/netip"

// MovedLink is a link that an outside driver has made in the host's namespace
// and that is inside a sandbox under another name, up, with addresses and routes.
// When it is not wanted any more it goes back.
type MovedLink struct {
	// Host is the name of the link in the host's namespace.
	Host string
	// Netns is the path of the sandbox's namespace; empty for the host's own, where the
	// link keeps its name.
	Netns string
	// Name is the name inside.
	Name string
	// MAC is empty for the address that the link has.
	MAC    string
	Addrs  []netip.Prefix
	Routes []Route
}

// Key identifies the link by its name on the host.
func (l MovedLink) Key() string { return "moved/" + l.Host }

// Order is the object's place in the order of creation.
func (MovedLink) Order() Order { return OrderVeth }

// StaticRoute is a route inside a sandbox through a gateway, by whichever link
// that is behind.
type StaticRoute struct {
	Netns string
	Route Route
}

// Key identifies the route by its namespace and destination.
func (r StaticRoute) Key() string {
	return "route/" + r.Netns + "/" + r.Route.Dst.String() + "/" + r.Route.Via.String()
}

// Order is the object's place in the order of creation.
func (StaticRoute) Order() Order { return OrderRoute }

// DriverNetwork is a network that an outside driver has made.
type DriverNetwork struct {
	Network *Network
}

// Key identifies the network.
func (n DriverNetwork) Key() string { return "driver/network/" + n.Network.ID }

// Order is the object's place in the order of creation.
func (DriverNetwork) Order() Order { return OrderDriver }

// Connectivity is the way from outside to an endpoint of an outside driver, which
// it opens for the endpoint that its sandbox's default route leads through.
type Connectivity struct {
	Driver, Network, Endpoint string
	// Labels are the sandbox's options, the ports to publish among them.
	Labels map[string]any
}

// Key identifies the way by its endpoint.
func (c Connectivity) Key() string { return "driver/connectivity/" + c.Endpoint }

// Order is the object's place in the order of creation.
func (Connectivity) Order() Order { return OrderConnectivity }
