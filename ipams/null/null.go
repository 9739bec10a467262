// Package null is the address manager of networks without addresses, such as
// those of the drivers host and null.
//
// It hands out one pool, 0.0.0.0/0, and no addresses. It has no state, so it is
// safe for concurrent use.
package null

import (
	"net"

	"github.com/libnetwork/libnetwork/discoverapi"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

const (
	name   = "null"
	space  = "null"
	poolID = "null/0.0.0.0/0"
)

type allocator struct{}

// Init registers the address manager with ic under the name null. The other two,
// stores of the scopes local and global, are not used. It fails if ic does.
func Init(ic ipamapi.Callback, _, _ interface{}) error {
	return ic.RegisterIpamDriver(name, allocator{})
}

func (allocator) GetDefaultAddressSpaces() (local, global string, err error) {
	return space, space, nil
}

func (allocator) RequestPool(addressSpace, pool, subPool string, _ map[string]string, v6 bool) (string, *net.IPNet, map[string]string, error) {
	switch {
	case addressSpace != space:
		return "", nil, nil, types.BadRequestErrorf("address manager %s: address space %q is not %s: %w", name, addressSpace, space, ipamapi.ErrInvalidAddressSpace)
	case pool != "":
		return "", nil, nil, types.BadRequestErrorf("address manager %s: pool %s: it has no pools to name: %w", name, pool, ipamapi.ErrInvalidPool)
	case subPool != "":
		return "", nil, nil, types.BadRequestErrorf("address manager %s: sub pool %s: it has no pools to name: %w", name, subPool, ipamapi.ErrInvalidSubPool)
	case v6:
		return "", nil, nil, types.BadRequestErrorf("address manager %s: it has no IPv6 pool: %w", name, ipamapi.ErrInvalidRequest)
	}
	return poolID, &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, nil, nil
}

func (allocator) ReleasePool(string) error { return nil }

func (allocator) RequestAddress(id string, _ net.IP, _ map[string]string) (*net.IPNet, map[string]string, error) {
	return nil, nil, check(id)
}

func (allocator) ReleaseAddress(id string, _ net.IP) error { return check(id) }

func check(id string) error {
	if id != poolID {
		return types.BadRequestErrorf("address manager %s: pool %q: %w", name, id, ipamapi.ErrPoolNotFound)
	}
	return nil
}

func (allocator) DiscoverNew(discoverapi.DiscoveryType, interface{}) error { return nil }

func (allocator) DiscoverDelete(discoverapi.DiscoveryType, interface{}) error { return nil }
