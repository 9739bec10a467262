// Package ipamutils finds addresses that are free on this host.
//
// All functions are safe for concurrent use and look at the network namespace of
// the calling thread, each time anew. They work on Linux alone. InitNetworks
// expands the predefined pools into lists because they are published as such; the
// library itself cuts them as they are asked for.
package ipamutils

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/resolvconf"
	"github.com/libnetwork/libnetwork/types"
)

var (
	// PredefinedBroadNetworks is 172.17.0.0/16 to 172.31.0.0/16 and then
	// 192.168.0.0/20 to 192.168.240.0/20, 31 networks. InitNetworks fills it.
	PredefinedBroadNetworks []*net.IPNet

	// PredefinedGranularNetworks is 10.0.0.0/24 to 10.255.255.0/24, 65 536
	// networks. InitNetworks fills it.
	PredefinedGranularNetworks []*net.IPNet

	initNetworks sync.Once
)

// InitNetworks fills the lists of predefined networks. Only the first call does
// something.
func InitNetworks() {
	initNetworks.Do(func() {
		for i := range 15 {
			PredefinedBroadNetworks = append(PredefinedBroadNetworks, network(172, byte(17+i), 0, 16))
		}
		for i := range 16 {
			PredefinedBroadNetworks = append(PredefinedBroadNetworks, network(192, 168, byte(16*i), 20))
		}
		PredefinedGranularNetworks = make([]*net.IPNet, 1<<16)
		for i := range PredefinedGranularNetworks {
			PredefinedGranularNetworks[i] = network(10, byte(i>>8), byte(i), 24)
		}
	})
}

func network(a, b, c byte, bits int) *net.IPNet {
	return &net.IPNet{IP: net.IP{a, b, c, 0}, Mask: net.CIDRMask(bits, 32)}
}

// ElectInterfaceAddresses returns the first IPv4 address of the interface and all
// of its IPv6 addresses, each with its prefix length. If there is no such
// interface, or it has no IPv4 address, the first result is the first of
// PredefinedBroadNetworks that FindAvailableNetwork accepts.
func ElectInterfaceAddresses(name string) (*net.IPNet, []*net.IPNet, error) {
	host, err := readHost()
	if err != nil {
		return nil, nil, types.InternalErrorf("addresses of interface %s: %w", name, err)
	}
	var v4 *net.IPNet
	var v6 []*net.IPNet
	for _, a := range host.addressesOf(name) {
		switch {
		case a.Addr().Is6():
			v6 = append(v6, ipNet(a))
		case v4 == nil:
			v4 = ipNet(a)
		}
	}
	if v4 == nil {
		InitNetworks()
		if v4, err = host.firstFree(PredefinedBroadNetworks); err != nil {
			return nil, nil, types.NotFoundErrorf("address for interface %s: %w", name, err)
		}
	}
	return v4, v6, nil
}

// FindAvailableNetwork returns a copy of the first network of the list that
// overlaps with no address of this host, no network that is on one of its links,
// and no name server of /etc/resolv.conf. It fails with class NotFound if there
// is none.
func FindAvailableNetwork(list []*net.IPNet) (*net.IPNet, error) {
	host, err := readHost()
	if err != nil {
		return nil, types.InternalErrorf("find an available network: %w", err)
	}
	return host.firstFree(list)
}

// host is what the kernel and resolv.conf say at one moment.
type host struct {
	links []rtnl.Link
	addrs []rtnl.Address
	taken []netip.Prefix
}

func readHost() (host, error) {
	ctx := context.Background() // the published functions take none; local reads only
	s, err := rtnl.Open(rtnl.Config{})
	if err != nil {
		return host{}, err
	}
	defer s.Close()
	var h host
	if h.links, err = s.Links(ctx); err != nil {
		return host{}, err
	}
	if h.addrs, err = s.Addresses(ctx); err != nil {
		return host{}, err
	}
	routes, err := s.Routes(ctx)
	if err != nil {
		return host{}, err
	}
	for _, a := range h.addrs {
		h.taken = append(h.taken, a.Prefix.Masked())
	}
	for _, r := range routes {
		// A route by a gateway may well be half of the internet: that of a VPN.
		if !r.Via.IsValid() {
			h.taken = append(h.taken, r.Dst)
		}
	}
	h.taken = append(h.taken, nameServers()...)
	return h, nil
}

// nameServers are those of resolv.conf; one that cannot be read has none.
func nameServers() (list []netip.Prefix) {
	f, err := resolvconf.Get()
	if err != nil {
		return nil
	}
	for _, s := range resolvconf.GetNameserversAsCIDR(f.Content) {
		if p, err := netip.ParsePrefix(s); err == nil {
			list = append(list, p)
		}
	}
	return list
}

func (h host) addressesOf(link string) (list []netip.Prefix) {
	for _, l := range h.links {
		if l.Name != link {
			continue
		}
		for _, a := range h.addrs {
			if a.Index == l.Index {
				list = append(list, a.Prefix)
			}
		}
	}
	return list
}

func (h host) firstFree(list []*net.IPNet) (*net.IPNet, error) {
	for _, n := range list {
		if p, ok := prefixOf(n); ok && !h.overlaps(p) {
			return types.GetIPNetCopy(n), nil
		}
	}
	return nil, types.NotFoundErrorf("none of %d networks is free on this host", len(list))
}

func (h host) overlaps(p netip.Prefix) bool {
	for _, t := range h.taken {
		if t.Bits() > 0 && t.Overlaps(p) {
			return true
		}
	}
	return false
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	n = types.GetMinimalIPNet(n)
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits != a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones), true
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
