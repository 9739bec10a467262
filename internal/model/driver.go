package model

import "net/netip"

// A Driver decides what a type of network looks like in the kernel. It is pure:
// it turns records into wanted objects and touches nothing.
type Driver interface {
	// Type is the name that networks of this driver carry.
	Type() string
	// Traits are what the engine must know of it.
	Traits() Traits
	// Prepare reads the options of a new network before it gets addresses. It may
	// fill the driver's part of the record and what the user left open in the
	// wishes for addresses.
	Prepare(n *Network, env Env) error
	// Plan completes a new network once it has its addresses, and refuses it if it
	// gets in the way of another one.
	Plan(n *Network, env Env) error
	// Network returns what the kernel shall hold for a network.
	Network(n *Network) []Object
	// Attach returns what the kernel shall hold for an endpoint that is joined to a
	// sandbox.
	Attach(n *Network, ep *Endpoint, sb *Sandbox) []Object
	// Gateway returns the default gateway that a network offers an endpoint in a
	// family, or the zero value.
	Gateway(n *Network, ep *Endpoint, v6 bool) netip.Addr
}

// Traits are the fixed properties of a driver.
type Traits struct {
	// Scope is "local" or "global".
	Scope string
	// Single drivers have one network, which stays.
	Single bool
	// Addresses says that endpoints get addresses and an interface.
	Addresses bool
	// Ports says that the driver can publish ports, by rules of the firewall; Forwards
	// that there is no firewall, and the process alone can.
	Ports, Forwards bool
	// DirectRouting says that, on its networks of mode nat, published ports are open at
	// the containers' own addresses too.
	DirectRouting bool
}

// Env is what a driver may know of the world when it plans a network.
type Env struct {
	// Others are the networks of the same driver, those being made included. Only Plan
	// knows them.
	Others []*Network
	// Link looks up a link of the host by name.
	Link func(name string) (HostLink, bool)
	// EgressMTU is the MTU of the host's default route; 0 if there is none. Nil knows
	// of none.
	EgressMTU func() int
}

// HostLink is a link of the host's namespace.
type HostLink struct {
	Name  string
	Kind  string
	Group uint32
	Addrs []netip.Prefix
}
