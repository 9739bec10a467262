// Package api holds the messages between the core and an address manager that runs as
// a plugin.
//
// It is a leaf of plain values with no behaviour beyond their JSON: the keys are the
// names of the fields. The plugin gets POST /IpamDriver.METHOD with the METHOD's
// request, or an empty body where there is no request type, and answers with its
// response. The fields said to be of later engines are not used by this module's own
// client.
package api

import "github.com/libnetwork/libnetwork/ipamapi"

// Response is what all responses have in common.
type Response struct {
	// Error is the text of the error, "" for success.
	Error string `json:",omitempty"`
}

// IsSuccess says whether there was no error.
func (r *Response) IsSuccess() bool {
	return r.Error == ""
}

// GetError returns the text of the error, "" for success.
func (r *Response) GetError() string {
	return r.Error
}

// GetCapabilityResponse is the response of GetCapabilities, which has no request and
// which a plugin need not have.
type GetCapabilityResponse struct {
	Response
	// RequiresMACAddress says that an endpoint's request must carry its hardware
	// address.
	RequiresMACAddress bool
	// RequiresRequestReplay says that the requests of local networks are to be repeated
	// at the start of the engine. Of later engines.
	RequiresRequestReplay bool `json:",omitempty"`
}

// ToCapability returns what the driver is registered with.
func (r GetCapabilityResponse) ToCapability() *ipamapi.Capability {
	return &ipamapi.Capability{RequiresMACAddress: r.RequiresMACAddress}
}

// GetAddressSpacesResponse is the response of GetDefaultAddressSpaces, which has no
// request.
type GetAddressSpacesResponse struct {
	Response
	// LocalDefaultAddressSpace is the address space of local networks.
	LocalDefaultAddressSpace string
	// GlobalDefaultAddressSpace is the address space of global networks.
	GlobalDefaultAddressSpace string
}

// RequestPoolRequest is the request of RequestPool.
type RequestPoolRequest struct {
	// AddressSpace is the address space to take the pool from.
	AddressSpace string
	// Pool is the pool wanted, in CIDR notation; "" leaves the choice to the driver.
	Pool string
	// SubPool limits the addresses that are chosen, in CIDR notation, or "".
	SubPool string
	// Options are the options of the request by label.
	Options map[string]string
	// V6 says that the driver chooses an IPv6 pool.
	V6 bool
}

// RequestPoolResponse is the response of RequestPool.
type RequestPoolResponse struct {
	Response
	// PoolID is what later requests name the pool by.
	PoolID string
	// Pool is the pool, in CIDR notation.
	Pool string
	// Data is what the driver says about the pool, by label; netlabel.Gateway offers a
	// gateway, in CIDR notation.
	Data map[string]string
}

// ReleasePoolRequest is the request of ReleasePool.
type ReleasePoolRequest struct {
	// PoolID is the id of the pool.
	PoolID string
}

// ReleasePoolResponse is the response of ReleasePool.
type ReleasePoolResponse struct {
	Response
}

// RequestAddressRequest is the request of RequestAddress.
type RequestAddressRequest struct {
	// PoolID is the id of the pool.
	PoolID string
	// Address is the address wanted, without prefix length; "" leaves the choice to the
	// driver.
	Address string
	// Options are the options of the request by label.
	Options map[string]string
}

// RequestAddressResponse is the response of RequestAddress.
type RequestAddressResponse struct {
	Response
	// Address is the address, in CIDR notation with the prefix length of the pool.
	Address string
	// Data is what the driver says about the address, by label.
	Data map[string]string
}

// ReleaseAddressRequest is the request of ReleaseAddress.
type ReleaseAddressRequest struct {
	// PoolID is the id of the pool.
	PoolID string
	// Address is the address, without prefix length.
	Address string
}

// ReleaseAddressResponse is the response of ReleaseAddress.
type ReleaseAddressResponse struct {
	Response
}
