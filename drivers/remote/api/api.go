// Package api holds the messages between the core and a network driver that runs as
// a plugin.
//
// It is a leaf of plain values with no behaviour beyond their JSON: the keys are the
// names of the fields. The plugin gets POST /NetworkDriver.METHOD with the METHOD's
// request, or an empty body where there is no request type, and answers with its
// response. The messages and fields said to be of later engines are not used by this
// module's own client.
package api

import (
	"net"

	"github.com/libnetwork/libnetwork/discoverapi"
	"github.com/libnetwork/libnetwork/driverapi"
)

// Response is what all responses have in common.
type Response struct {
	// Err is the text of the error, "" for success.
	Err string `json:",omitempty"`
}

// GetError returns the text of the error, "" for success.
func (r *Response) GetError() string {
	return r.Err
}

// GetCapabilityResponse is the response of GetCapabilities, which has no request.
type GetCapabilityResponse struct {
	Response
	// Scope is the scope of the driver's networks, "local" or "global".
	Scope string
	// ConnectivityScope is how far the driver's networks reach, "local" or "global";
	// "" means the same as Scope. Of later engines.
	ConnectivityScope string `json:",omitempty"`
	// GwAllocChecker says that the plugin has GwAllocCheck. Of later engines.
	GwAllocChecker bool `json:",omitempty"`
}

// AllocateNetworkRequest is the request of AllocateNetwork, by which the manager of a
// cluster reserves what a network needs. Of later engines.
type AllocateNetworkRequest struct {
	// NetworkID is the id of the network.
	NetworkID string
	// Options are the network's options by label.
	Options map[string]string
	// IPv4Data has one element for each IPv4 subnet.
	IPv4Data []driverapi.IPAMData
	// IPv6Data has one element for each IPv6 subnet.
	IPv6Data []driverapi.IPAMData
}

// AllocateNetworkResponse is the response of AllocateNetwork.
type AllocateNetworkResponse struct {
	Response
	// Options are the network's options from now on, by label.
	Options map[string]string
}

// FreeNetworkRequest is the request of FreeNetwork, the undoing of AllocateNetwork. Of
// later engines.
type FreeNetworkRequest struct {
	// NetworkID is the id of the network.
	NetworkID string
}

// FreeNetworkResponse is the response of FreeNetwork.
type FreeNetworkResponse struct {
	Response
}

// GwAllocCheckRequest is the request of GwAllocCheck, which asks whether a network
// needs gateway addresses. Of later engines.
type GwAllocCheckRequest struct {
	// Options are the network's options by label.
	Options map[string]interface{}
}

// GwAllocCheckResponse is the response of GwAllocCheck.
type GwAllocCheckResponse struct {
	Response
	// SkipIPv4 says that no IPv4 gateway address is to be taken.
	SkipIPv4 bool
	// SkipIPv6 says that no IPv6 gateway address is to be taken.
	SkipIPv6 bool
}

// CreateNetworkRequest is the request of CreateNetwork.
type CreateNetworkRequest struct {
	// NetworkID is the id of the network.
	NetworkID string
	// Options are the network's options by label.
	Options map[string]interface{}
	// IPv4Data has one element for each IPv4 subnet.
	IPv4Data []driverapi.IPAMData
	// IPv6Data has one element for each IPv6 subnet.
	IPv6Data []driverapi.IPAMData
}

// CreateNetworkResponse is the response of CreateNetwork.
type CreateNetworkResponse struct {
	Response
}

// DeleteNetworkRequest is the request of DeleteNetwork.
type DeleteNetworkRequest struct {
	// NetworkID is the id of the network.
	NetworkID string
}

// DeleteNetworkResponse is the response of DeleteNetwork.
type DeleteNetworkResponse struct {
	Response
}

// CreateEndpointRequest is the request of CreateEndpoint.
type CreateEndpointRequest struct {
	// NetworkID is the id of the network.
	NetworkID string
	// EndpointID is the id of the endpoint.
	EndpointID string
	// Interface holds the addresses that the endpoint has; it is never nil.
	Interface *EndpointInterface
	// Options are the endpoint's options by label.
	Options map[string]interface{}
}

// EndpointInterface holds the addresses of an endpoint, each "" if there is none.
type EndpointInterface struct {
	// Address is the IPv4 address in CIDR notation.
	Address string
	// AddressIPv6 is the IPv6 address in CIDR notation.
	AddressIPv6 string
	// MacAddress is the hardware address, in hex with colons.
	MacAddress string
}

// CreateEndpointResponse is the response of CreateEndpoint.
type CreateEndpointResponse struct {
	Response
	// Interface holds the addresses that the driver adds, only those that the request
	// has not; nil if there are none.
	Interface *EndpointInterface
}

// Interface is an EndpointInterface taken apart.
type Interface struct {
	// Address is the IPv4 address with the mask of its subnet, or nil.
	Address *net.IPNet
	// AddressIPv6 is the IPv6 address with the mask of its subnet, or nil.
	AddressIPv6 *net.IPNet
	// MacAddress is the hardware address, or nil.
	MacAddress net.HardwareAddr
}

// DeleteEndpointRequest is the request of DeleteEndpoint.
type DeleteEndpointRequest struct {
	// NetworkID is the id of the network.
	NetworkID string
	// EndpointID is the id of the endpoint.
	EndpointID string
}

// DeleteEndpointResponse is the response of DeleteEndpoint.
type DeleteEndpointResponse struct {
	Response
}

// EndpointInfoRequest is the request of EndpointOperInfo.
type EndpointInfoRequest struct {
	// NetworkID is the id of the network.
	NetworkID string
	// EndpointID is the id of the endpoint.
	EndpointID string
}

// EndpointInfoResponse is the response of EndpointOperInfo.
type EndpointInfoResponse struct {
	Response
	// Value is what the driver knows of the endpoint, by label.
	Value map[string]interface{}
}

// JoinRequest is the request of Join.
type JoinRequest struct {
	// NetworkID is the id of the network.
	NetworkID string
	// EndpointID is the id of the endpoint.
	EndpointID string
	// SandboxKey is the path of the sandbox's network namespace.
	SandboxKey string
	// Options are the sandbox's options by label.
	Options map[string]interface{}
}

// IfaceName holds the names of an endpoint's interface.
type IfaceName struct {
	// SrcName is the link of the host that becomes the sandbox's interface; "" if there
	// is nothing to move.
	SrcName string
	// DstName is not used.
	DstName string
	// DstPrefix with the next free number is the name in the sandbox.
	DstPrefix string
}

// StaticRoute is a route of an endpoint.
type StaticRoute struct {
	// Destination is where it leads to, in CIDR notation.
	Destination string
	// RouteType is types.NEXTHOP or types.CONNECTED.
	RouteType int
	// NextHop is the address of the gateway for types.NEXTHOP, else "".
	NextHop string
}

// JoinResponse is the response of Join.
type JoinResponse struct {
	Response
	// InterfaceName holds the names of the interface; nil if there is nothing to move.
	InterfaceName *IfaceName
	// Gateway is the address of the IPv4 gateway, without prefix length, or "".
	Gateway string
	// GatewayIPv6 is the address of the IPv6 gateway, without prefix length, or "".
	GatewayIPv6 string
	// StaticRoutes are the endpoint's routes.
	StaticRoutes []StaticRoute
	// DisableGatewayService says that the endpoint does without the default-gateway
	// network.
	DisableGatewayService bool
}

// LeaveRequest is the request of Leave.
type LeaveRequest struct {
	// NetworkID is the id of the network.
	NetworkID string
	// EndpointID is the id of the endpoint.
	EndpointID string
}

// LeaveResponse is the response of Leave.
type LeaveResponse struct {
	Response
}

// ProgramExternalConnectivityRequest is the request of ProgramExternalConnectivity,
// which a plugin need not have.
type ProgramExternalConnectivityRequest struct {
	// NetworkID is the id of the network.
	NetworkID string
	// EndpointID is the id of the endpoint.
	EndpointID string
	// Options are the sandbox's options by label.
	Options map[string]interface{}
}

// ProgramExternalConnectivityResponse is the response of ProgramExternalConnectivity.
type ProgramExternalConnectivityResponse struct {
	Response
}

// RevokeExternalConnectivityRequest is the request of RevokeExternalConnectivity,
// which a plugin need not have.
type RevokeExternalConnectivityRequest struct {
	// NetworkID is the id of the network.
	NetworkID string
	// EndpointID is the id of the endpoint.
	EndpointID string
}

// RevokeExternalConnectivityResponse is the response of RevokeExternalConnectivity.
type RevokeExternalConnectivityResponse struct {
	Response
}

// DiscoveryNotification is the request of DiscoverNew and of DiscoverDelete.
type DiscoveryNotification struct {
	// DiscoveryType says what DiscoveryData is; only discoverapi.NodeDiscovery is sent.
	DiscoveryType discoverapi.DiscoveryType
	// DiscoveryData is a discoverapi.NodeDiscoveryData, and the generic form of its JSON
	// where it is received.
	DiscoveryData interface{}
}

// DiscoveryResponse is the response of DiscoverNew and of DiscoverDelete.
type DiscoveryResponse struct {
	Response
}
