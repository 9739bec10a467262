// Package types holds the values and error classes that every other package
// of the module shares: ports and port bindings, routes, counters, helpers for
// the net.IP family, and the marker interfaces that say what kind of failure an
// error is.
//
// Everything here is a plain value or a pure function. A value may be used from
// several goroutines as long as none of them changes it. The package knows no
// operating system and imports nothing of the module.
package types

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// UUID is an opaque identifier of an object.
type UUID string

// Protocol is a transport protocol by its number in the IP header, as assigned
// by IANA.
type Protocol uint8

// The protocols that have a name.
const (
	ICMP Protocol = 1
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String returns the lower-case name of the protocol, or its decimal number if
// it has none here.
func (p Protocol) String() string {
	switch p {
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	default:
		return strconv.Itoa(int(p))
	}
}

// ParseProtocol returns the protocol of that name, in whatever case, or 0 if
// there is none. Numbers are not names.
func ParseProtocol(s string) Protocol {
	switch strings.ToLower(s) {
	case "icmp":
		return ICMP
	case "tcp":
		return TCP
	case "udp":
		return UDP
	case "sctp":
		return SCTP
	default:
		return 0
	}
}

// Kinds of static routes.
const (
	// NEXTHOP is a route that goes through a gateway.
	NEXTHOP = iota
	// CONNECTED is a route to what the interface itself reaches.
	CONNECTED
)

// StaticRoute is one route of an endpoint.
type StaticRoute struct {
	// Destination is the network that the route leads to.
	Destination *net.IPNet
	// RouteType is NEXTHOP or CONNECTED.
	RouteType int
	// NextHop is the gateway; nil if the route is CONNECTED.
	NextHop net.IP
}

// GetCopy returns a copy that shares no memory with r.
func (r *StaticRoute) GetCopy() *StaticRoute {
	return &StaticRoute{
		Destination: GetIPNetCopy(r.Destination),
		RouteType:   r.RouteType,
		NextHop:     GetIPCopy(r.NextHop),
	}
}

// InterfaceStatistics counts what went through one interface since it was made.
type InterfaceStatistics struct {
	RxBytes   uint64
	RxPackets uint64
	RxErrors  uint64
	RxDropped uint64
	TxBytes   uint64
	TxPackets uint64
	TxErrors  uint64
	TxDropped uint64
}

// String returns all counters in two lines, what was received and what was sent.
func (is *InterfaceStatistics) String() string {
	return fmt.Sprintf("rx: bytes %d, packets %d, errors %d, dropped %d\ntx: bytes %d, packets %d, errors %d, dropped %d",
		is.RxBytes, is.RxPackets, is.RxErrors, is.RxDropped,
		is.TxBytes, is.TxPackets, is.TxErrors, is.TxDropped)
}

// GetMacCopy returns a copy of the address, nil for nil.
func GetMacCopy(from net.HardwareAddr) net.HardwareAddr {
	return slices.Clone(from)
}

// GetIPCopy returns a copy of the address in the same form, nil for nil.
func GetIPCopy(from net.IP) net.IP {
	return slices.Clone(from)
}

// GetIPNetCopy returns a copy of the network that shares no memory with it, nil
// for nil.
func GetIPNetCopy(from *net.IPNet) *net.IPNet {
	if from == nil {
		return nil
	}
	return &net.IPNet{IP: GetIPCopy(from.IP), Mask: slices.Clone(from.Mask)}
}

// GetIPNetCanonical returns a copy of the network whose host bits are zero, nil
// for nil.
func GetIPNetCanonical(nw *net.IPNet) *net.IPNet {
	if nw == nil {
		return nil
	}
	c := GetIPNetCopy(nw)
	c.IP = c.IP.Mask(c.Mask)
	return c
}

// CompareIPNet says whether both networks have the same address, in whatever
// form, and the same bytes of mask. Two nils are equal.
func CompareIPNet(a, b *net.IPNet) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.IP.Equal(b.IP) && bytes.Equal(a.Mask, b.Mask)
}

// GetMinimalIP returns the 4-byte form of an IPv4 address, and any other address
// as it is.
func GetMinimalIP(ip net.IP) net.IP {
	if v4 := ip.To4(); v4 != nil {
		return v4
	}
	return ip
}

// GetMinimalIPNet returns the network with a 4-byte address and a 4-byte mask if
// it is IPv4, and any other network as it is.
func GetMinimalIPNet(nw *net.IPNet) *net.IPNet {
	if nw == nil {
		return nil
	}
	v4 := nw.IP.To4()
	if v4 == nil {
		return nw
	}
	mask := nw.Mask
	if m, ok := mask4(mask); ok {
		mask = m
	}
	return &net.IPNet{IP: v4, Mask: mask}
}

// GetHostPartIP returns the address with its network bits cleared, in the form of
// ip. It fails with BadRequest if mask is not one of ip's family.
func GetHostPartIP(ip net.IP, mask net.IPMask) (net.IP, error) {
	host, mask, err := alignMask(ip, mask)
	if err != nil {
		return nil, err
	}
	tail := host[len(host)-len(mask):]
	for i, m := range mask {
		tail[i] &^= m
	}
	return host, nil
}

// GetBroadcastIP returns the address with its host bits set, in the form of ip. It
// fails with BadRequest if mask is not one of ip's family.
func GetBroadcastIP(ip net.IP, mask net.IPMask) (net.IP, error) {
	cast, mask, err := alignMask(ip, mask)
	if err != nil {
		return nil, err
	}
	tail := cast[len(cast)-len(mask):]
	for i, m := range mask {
		tail[i] |= ^m
	}
	return cast, nil
}

// ParseCIDR parses an address with its prefix length, such as 10.1.2.3/16. Other
// than net.ParseCIDR it keeps the host bits: the IP of the result is the address
// as written.
func ParseCIDR(cidr string) (*net.IPNet, error) {
	ip, nw, err := net.ParseCIDR(cidr)
	if err != nil {
		return nil, BadRequestErrorf("parse %q: %w", cidr, err)
	}
	nw.IP = ip
	return nw, nil
}

// alignMask returns a copy of ip and the mask that applies to its last bytes: 4
// of them for IPv4 in either form, 16 for IPv6.
func alignMask(ip net.IP, mask net.IPMask) (net.IP, net.IPMask, error) {
	if ip.To4() != nil {
		if m, ok := mask4(mask); ok {
			return GetIPCopy(ip), m, nil
		}
	} else if len(ip) == net.IPv6len && len(mask) == net.IPv6len {
		return GetIPCopy(ip), mask, nil
	}
	return nil, nil, BadRequestErrorf("mask %s does not fit address %s", mask, ip)
}

// mask4 returns the 4-byte form of an IPv4 mask. The 16-byte form covers the
// whole prefix of IPv4-mapped addresses.
func mask4(mask net.IPMask) (net.IPMask, bool) {
	switch len(mask) {
	case net.IPv4len:
		return mask, true
	case net.IPv6len:
		for _, b := range mask[:12] {
			if b != 0xff {
				return nil, false
			}
		}
		return mask[12:], true
	default:
		return nil, false
	}
}
