// Package driverapi is the contract between the core and a network driver, built
// in or outside.
//
// A driver registers itself once through a DriverCallback. From then on the core
// calls its methods from any goroutine. Calls for one network or endpoint come one
// after the other, calls for different ones at the same time, so a driver guards
// the state they share. The core holds no lock of its own during a call. What is
// handed to a driver, the InterfaceInfo and JoinInfo included, is valid during that
// call only.
//
// Every method but Type may be called again with the same arguments after a
// failure or a restart. The class of an error, one of the marker interfaces of
// package types, says what the core does about it: a Forbidden error of
// DeleteNetwork or DeleteEndpoint blocks the removal, a Maskable one passes in
// silence, any other is logged.
package driverapi

import (
	"net"

	"github.com/libnetwork/libnetwork/discoverapi"
)

// NetworkPluginEndpointType is the name under which a plugin says that it is a
// network driver.
const NetworkPluginEndpointType = "NetworkDriver"

// Driver makes networks of one type.
type Driver interface {
	discoverapi.Discover

	// CreateNetwork makes a network, entirely or not at all. options holds the
	// network's options by label, ipV4Data and ipV6Data one element for each subnet. A
	// known id is a Forbidden error, a bad option a BadRequest.
	CreateNetwork(nid string, options map[string]interface{}, ipV4Data, ipV6Data []IPAMData) error

	// DeleteNetwork removes a network that has no endpoints any more.
	DeleteNetwork(nid string) error

	// CreateEndpoint makes an endpoint of a network. Addresses are in ifInfo; the
	// driver may set those that are missing there. options holds the endpoint's
	// options by label.
	CreateEndpoint(nid, eid string, ifInfo InterfaceInfo, options map[string]interface{}) error

	// DeleteEndpoint removes an endpoint.
	DeleteEndpoint(nid, eid string) error

	// EndpointOperInfo returns a copy of what the driver knows of an endpoint, by
	// label; an empty map if it knows nothing.
	EndpointOperInfo(nid, eid string) (map[string]interface{}, error)

	// Join makes an endpoint ready to be attached to a sandbox, whose key is the path
	// of its network namespace. The driver names the interface in jinfo, and may set
	// gateways and routes there. options holds the sandbox's options by label.
	Join(nid, eid string, sboxKey string, jinfo JoinInfo, options map[string]interface{}) error

	// Leave undoes Join.
	Leave(nid, eid string) error

	// ProgramExternalConnectivity opens the way to an endpoint from outside: it has
	// become the one that its sandbox's default route leads through. options holds the
	// sandbox's options by label, the ports to publish among them.
	ProgramExternalConnectivity(nid, eid string, options map[string]interface{}) error

	// RevokeExternalConnectivity undoes ProgramExternalConnectivity.
	RevokeExternalConnectivity(nid, eid string) error

	// Type returns the name of the network type, the one registered.
	Type() string
}

// InterfaceInfo is the interface of an endpoint, as the driver sees it during
// CreateEndpoint. Addresses are copies.
type InterfaceInfo interface {
	// SetMacAddress sets the hardware address. It fails with Forbidden if there is
	// one already, and with BadRequest if mac is nil.
	SetMacAddress(mac net.HardwareAddr) error

	// SetIPAddress sets the address of ip's family. It fails with Forbidden if there
	// is one already, and with BadRequest if ip is nil.
	SetIPAddress(ip *net.IPNet) error

	// MacAddress returns the hardware address, or nil.
	MacAddress() net.HardwareAddr

	// Address returns the IPv4 address with the mask of its subnet, or nil.
	Address() *net.IPNet

	// AddressIPv6 returns the IPv6 address with the mask of its subnet, or nil.
	AddressIPv6() *net.IPNet
}

// InterfaceNameInfo takes the names of an endpoint's interface.
type InterfaceNameInfo interface {
	// SetNames says that the link srcName of the host becomes the interface of the
	// sandbox. Its name there is dstPrefix with the next free number.
	SetNames(srcName, dstPrefix string) error
}

// JoinInfo takes what a driver has to say about an endpoint that joins a sandbox.
type JoinInfo interface {
	// InterfaceName returns what takes the names of the interface.
	InterfaceName() InterfaceNameInfo

	// SetGateway sets the IPv4 gateway of the endpoint.
	SetGateway(net.IP) error

	// SetGatewayIPv6 sets the IPv6 gateway of the endpoint.
	SetGatewayIPv6(net.IP) error

	// AddStaticRoute adds a route to destination. routeType is types.NEXTHOP, through
	// nextHop, or types.CONNECTED, through the interface itself.
	AddStaticRoute(destination *net.IPNet, routeType int, nextHop net.IP) error

	// DisableGatewayService says that this endpoint does without the default-gateway
	// network.
	DisableGatewayService()
}

// DriverCallback is where a driver registers itself.
type DriverCallback interface {
	// RegisterDriver makes driver the one of the network type name. It fails with
	// ErrActiveRegistration if the type has a driver, and with BadRequest if the name
	// is blank.
	RegisterDriver(name string, driver Driver, capability Capability) error
}

// Capability is what the core must know of a driver.
type Capability struct {
	// DataScope is the scope of the driver's networks, "local" or "global". It says
	// which store holds their records; only a global one is told of other nodes.
	DataScope string
}
