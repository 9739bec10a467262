package ipamapi_test

import (
	"errors"
	"fmt"
	"net"

	"github.com/libnetwork/libnetwork/discoverapi"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// single is an address manager of one pool with one address.
type single struct {
	pool  net.IPNet
	addr  net.IP
	taken bool
}

func (s *single) GetDefaultAddressSpaces() (string, string, error) {
	return "single", "single", nil
}

func (s *single) RequestPool(addressSpace, pool, _ string, _ map[string]string, _ bool) (string, *net.IPNet, map[string]string, error) {
	if addressSpace != "single" {
		return "", nil, nil, ipamapi.ErrInvalidAddressSpace
	}
	if pool != "" && pool != s.pool.String() {
		return "", nil, nil, ipamapi.ErrNoAvailablePool
	}
	return "the pool", &s.pool, nil, nil
}

func (s *single) ReleasePool(string) error { return nil }

func (s *single) RequestAddress(poolID string, ip net.IP, _ map[string]string) (*net.IPNet, map[string]string, error) {
	if ip != nil && !ip.Equal(s.addr) {
		return nil, nil, ipamapi.ErrIPOutOfRange
	}
	if s.taken {
		return nil, nil, types.NoServiceErrorf("%s: %w", poolID, ipamapi.ErrNoAvailableIPs)
	}
	s.taken = true
	return &net.IPNet{IP: s.addr, Mask: s.pool.Mask}, nil, nil
}

func (s *single) ReleaseAddress(string, net.IP) error {
	s.taken = false
	return nil
}

func (s *single) DiscoverNew(discoverapi.DiscoveryType, interface{}) error { return nil }

func (s *single) DiscoverDelete(discoverapi.DiscoveryType, interface{}) error { return nil }

// The core takes a pool, and addresses of it.
func Example() {
	var manager ipamapi.Ipam = &single{
		pool: net.IPNet{IP: net.IPv4(192, 0, 2, 0), Mask: net.CIDRMask(24, 32)},
		addr: net.IPv4(192, 0, 2, 9),
	}

	local, _, _ := manager.GetDefaultAddressSpaces()
	id, pool, _, err := manager.RequestPool(local, "", "", nil, false)
	fmt.Println(id, pool, err)

	addr, _, err := manager.RequestAddress(id, nil, nil)
	fmt.Println(addr, err)

	_, _, err = manager.RequestAddress(id, nil, nil)
	fmt.Println(err)
	fmt.Println("try the next pool:", errors.Is(err, ipamapi.ErrNoAvailableIPs))
	// Output:
	// the pool 192.0.2.0/24 <nil>
	// 192.0.2.9/24 <nil>
	// the pool: no available address in this pool
	// try the next pool: true
}
