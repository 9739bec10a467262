// Package ipamapi is the contract between the core and an address manager (IPAM
// driver), built in or outside.
//
// A driver registers itself once through a Callback. From then on the core calls
// its methods from any goroutine, so it guards its own state. The core holds no
// lock of its own during a call. The core recognises ErrNoAvailableIPs and
// ErrIPOutOfRange with errors.Is, so a driver may wrap them.
package ipamapi

import (
	"net"

	"github.com/libnetwork/libnetwork/discoverapi"
	"github.com/libnetwork/libnetwork/types"
)

const (
	// DefaultIPAM is the name of the driver that is used when none is named.
	DefaultIPAM = "default"

	// PluginEndpointType is the name under which a plugin says that it is an address
	// manager.
	PluginEndpointType = "IpamDriver"

	// RequestAddressType is the option of RequestAddress that says what the address is
	// for, such as netlabel.Gateway.
	RequestAddressType = "RequestAddressType"
)

// Callback is where a driver registers itself.
type Callback interface {
	// RegisterIpamDriver makes driver the one of that name, with no capability. It
	// fails with Forbidden if the name is taken, and with BadRequest if it is blank.
	RegisterIpamDriver(name string, driver Ipam) error

	// RegisterIpamDriverWithCapabilities does the same with a capability.
	RegisterIpamDriverWithCapabilities(name string, driver Ipam, capability *Capability) error
}

// The errors that drivers return, to be compared with errors.Is.
var (
	// ErrIpamInternalError is a failure of the driver itself. Class Internal.
	ErrIpamInternalError = types.InternalErrorf("address manager: internal error")

	// ErrInvalidAddressSpace is for an address space that is empty or malformed. Class
	// BadRequest.
	ErrInvalidAddressSpace = types.BadRequestErrorf("invalid address space")

	// ErrInvalidPool is for a pool that is not in CIDR notation. Class BadRequest.
	ErrInvalidPool = types.BadRequestErrorf("invalid address pool")

	// ErrInvalidSubPool is for a sub pool that is not in CIDR notation, or that comes
	// without a pool. Class BadRequest.
	ErrInvalidSubPool = types.BadRequestErrorf("invalid address sub pool")

	// ErrInvalidRequest is for any other bad request. Class BadRequest.
	ErrInvalidRequest = types.BadRequestErrorf("invalid address request")

	// ErrPoolNotFound is for a pool that is not known. Class BadRequest.
	ErrPoolNotFound = types.BadRequestErrorf("address pool not found")

	// ErrOverlapPool is for a pool that overlaps with another. Class Forbidden.
	ErrOverlapPool = types.ForbiddenErrorf("address pool overlaps with an existing pool")

	// ErrNoAvailablePool is for when no pool is left. Class NoService.
	ErrNoAvailablePool = types.NoServiceErrorf("no available address pool")

	// ErrNoAvailableIPs is for when the pool or sub pool has no address left. Class
	// NoService.
	ErrNoAvailableIPs = types.NoServiceErrorf("no available address in this pool")

	// ErrIPAlreadyAllocated is for a wanted address that is taken. Class Forbidden.
	ErrIPAlreadyAllocated = types.ForbiddenErrorf("address already in use")

	// ErrIPOutOfRange is for an address outside the pool. Class BadRequest.
	ErrIPOutOfRange = types.BadRequestErrorf("address is outside the pool")

	// ErrPoolOverlap is for a pool that overlaps with another of its address space.
	// Class Forbidden.
	ErrPoolOverlap = types.ForbiddenErrorf("address pool overlaps with another one of this address space")

	// ErrBadPool is for the release of a pool that is not known. Class BadRequest.
	ErrBadPool = types.BadRequestErrorf("address space does not contain the address pool")
)

// Ipam hands out pools of addresses, and addresses of them.
type Ipam interface {
	discoverapi.Discover

	// GetDefaultAddressSpaces returns the names of the address spaces for networks of
	// the scopes local and global. The core asks once, at registration.
	GetDefaultAddressSpaces() (string, string, error)

	// RequestPool takes a pool of the address space: the one wanted, in CIDR notation,
	// or one of the driver's choice, of IPv6 if v6, if pool is empty. subPool limits
	// the addresses that are chosen. It returns the pool's id, the pool, and data about
	// it by label. The same request gives the same pool again, and each has to be
	// released.
	RequestPool(addressSpace, pool, subPool string, options map[string]string, v6 bool) (string, *net.IPNet, map[string]string, error)

	// ReleasePool gives back what one RequestPool took.
	ReleasePool(poolID string) error

	// RequestAddress takes an address of the pool: the one wanted, or one of the
	// driver's choice if ip is nil. It returns the address with the mask of the pool,
	// and data about it by label. A nil address without error means that the pool has
	// no addresses and needs none.
	RequestAddress(poolID string, ip net.IP, opts map[string]string) (*net.IPNet, map[string]string, error)

	// ReleaseAddress gives back an address of the pool.
	ReleaseAddress(poolID string, ip net.IP) error
}

// Capability is what the core must know of a driver.
type Capability struct {
	// RequiresMACAddress says that an endpoint's request must carry its hardware
	// address, in the option netlabel.MacAddress.
	RequiresMACAddress bool
}
