package osl

import (
	"net"

	"github.com/libnetwork/libnetwork/types"
)

// nwIface is what was asked for with an interface.
type nwIface struct {
	srcName, dstName string
	address          *net.IPNet
	addressIPv6      *net.IPNet
	bridge           bool
	master           string
	mac              net.HardwareAddr
	routes           []*net.IPNet
}

// neigh is what was asked for with a neighbour entry.
type neigh struct {
	ip       net.IP
	mac      net.HardwareAddr
	linkName string
	family   int
	// dev is the link that the entry was added to.
	dev string
}

// setters make options; they hold nothing.
type (
	ifaceOptions    struct{}
	neighborOptions struct{}
)

func (ifaceOptions) Bridge(is bool) IfaceOption {
	return func(i *nwIface) { i.bridge = is }
}

func (ifaceOptions) Address(a *net.IPNet) IfaceOption {
	return func(i *nwIface) { i.address = types.GetIPNetCopy(a) }
}

func (ifaceOptions) AddressIPv6(a *net.IPNet) IfaceOption {
	return func(i *nwIface) { i.addressIPv6 = types.GetIPNetCopy(a) }
}

func (ifaceOptions) Master(name string) IfaceOption {
	return func(i *nwIface) { i.master = name }
}

func (ifaceOptions) MacAddress(mac net.HardwareAddr) IfaceOption {
	return func(i *nwIface) { i.mac = types.GetMacCopy(mac) }
}

func (ifaceOptions) Routes(routes []*net.IPNet) IfaceOption {
	return func(i *nwIface) { i.routes = copyNets(routes) }
}

func (neighborOptions) LinkName(name string) NeighOption {
	return func(nh *neigh) { nh.linkName = name }
}

func (neighborOptions) Family(family int) NeighOption {
	return func(nh *neigh) { nh.family = family }
}

func copyNets(from []*net.IPNet) []*net.IPNet {
	var to []*net.IPNet
	for _, n := range from {
		to = append(to, types.GetIPNetCopy(n))
	}
	return to
}
