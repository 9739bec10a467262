package ipam

import (
	"net"
	"net/netip"
	"strings"

	"github.com/libnetwork/libnetwork/discoverapi"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// Default is a Manager with the methods of ipamapi.Ipam. Errors are those of the
// Manager's methods.
type Default struct{ *Manager }

var _ ipamapi.Ipam = Default{}

// GetDefaultAddressSpaces returns LocalSpace and GlobalSpace.
func (Default) GetDefaultAddressSpaces() (local, global string, err error) {
	return LocalSpace, GlobalSpace, nil
}

// RequestPool is Manager.RequestPool with prefixes as text. Besides "0.0.0.0/24"
// and "::/64" the text "/24" asks for a pool of that length, IPv6 if v6.
func (d Default) RequestPool(space, pool, subPool string, opts map[string]string, v6 bool) (string, *net.IPNet, map[string]string, error) {
	if _, err := d.space(space); err != nil {
		return "", nil, nil, err
	}
	if strings.HasPrefix(pool, "/") {
		unspecified := "0.0.0.0"
		if v6 {
			unspecified = "::"
		}
		pool = unspecified + pool
	}
	prefix, err := parsePrefix(pool, ipamapi.ErrInvalidPool)
	if err != nil {
		return "", nil, nil, types.BadRequestErrorf("address space %s: pool %q: %w", space, pool, err)
	}
	sub, err := parsePrefix(subPool, ipamapi.ErrInvalidSubPool)
	if err != nil {
		return "", nil, nil, types.BadRequestErrorf("address space %s: sub pool %q of pool %q: %w", space, subPool, pool, err)
	}
	p, err := d.Manager.RequestPool(space, prefix, sub, opts, v6)
	if err != nil {
		return "", nil, nil, err
	}
	return p.ID, ipNet(p.Prefix), p.Meta, nil
}

// parsePrefix reads a prefix; "" is the zero one.
func parsePrefix(s string, invalid error) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, invalid
	}
	return p, nil
}

// RequestAddress is Manager.RequestAddress; a nil ip is any address.
func (d Default) RequestAddress(poolID string, ip net.IP, opts map[string]string) (*net.IPNet, map[string]string, error) {
	var want netip.Addr
	if len(ip) > 0 {
		var ok bool
		if want, ok = netip.AddrFromSlice(ip); !ok {
			return nil, nil, types.BadRequestErrorf("address of %d bytes, pool %s: %w", len(ip), poolID, ipamapi.ErrInvalidRequest)
		}
	}
	p, err := d.Manager.RequestAddress(poolID, want, opts)
	if err != nil {
		return nil, nil, err
	}
	return ipNet(p), nil, nil
}

// ReleaseAddress is Manager.ReleaseAddress; an ip is needed.
func (d Default) ReleaseAddress(poolID string, ip net.IP) error {
	addr, _ := netip.AddrFromSlice(ip)
	return d.Manager.ReleaseAddress(poolID, addr)
}

// DiscoverNew does nothing: there is no store to be told of.
func (Default) DiscoverNew(discoverapi.DiscoveryType, interface{}) error { return nil }

// DiscoverDelete does nothing.
func (Default) DiscoverDelete(discoverapi.DiscoveryType, interface{}) error { return nil }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
