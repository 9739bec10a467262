package outside

import (
	"net"
	"net/netip"
	"strings"

	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// interfaceInfo is an endpoint as its driver sees it during CreateEndpoint.
type interfaceInfo struct{ ep *model.Endpoint }

// errOver is for those who keep what is valid during a call only.
func errOver(what string) error {
	return types.ForbiddenErrorf("%s: the call that it was handed out for is over", what)
}

func (i *interfaceInfo) SetMacAddress(mac net.HardwareAddr) error {
	switch {
	case i.ep == nil:
		return errOver("set MAC address")
	case i.ep.MAC != "":
		return types.ForbiddenErrorf("endpoint %s has the MAC address %s already", i.ep.Name, i.ep.MAC)
	case mac == nil:
		return types.BadRequestErrorf("endpoint %s: no MAC address is given", i.ep.Name)
	case len(mac) != 6:
		return types.BadRequestErrorf("endpoint %s: MAC address %s is not of 6 bytes", i.ep.Name, mac)
	}
	i.ep.MAC = mac.String()
	return nil
}

func (i *interfaceInfo) SetIPAddress(ip *net.IPNet) error {
	if i.ep == nil {
		return errOver("set IP address")
	}
	if ip == nil || len(ip.IP) == 0 {
		return types.BadRequestErrorf("endpoint %s: no IP address is given", i.ep.Name)
	}
	p, ok := prefix(ip)
	if !ok {
		return types.BadRequestErrorf("endpoint %s: %v is not an IP address with the mask of its subnet", i.ep.Name, ip)
	}
	field := &i.ep.V4
	if p.Addr().Is6() {
		field = &i.ep.V6
	}
	if field.IsValid() {
		return types.ForbiddenErrorf("endpoint %s has the address %s already", i.ep.Name, *field)
	}
	*field = p
	return nil
}

func (i *interfaceInfo) MacAddress() net.HardwareAddr {
	if i.ep == nil {
		return nil
	}
	mac, err := net.ParseMAC(i.ep.MAC)
	if err != nil {
		return nil
	}
	return mac
}

func (i *interfaceInfo) Address() *net.IPNet {
	if i.ep == nil {
		return nil
	}
	return ipNet(i.ep.V4)
}

func (i *interfaceInfo) AddressIPv6() *net.IPNet {
	if i.ep == nil {
		return nil
	}
	return ipNet(i.ep.V6)
}

// joinInfo takes down what a driver says during Join.
type joinInfo struct{ said *model.Outside }

func (j *joinInfo) InterfaceName() driverapi.InterfaceNameInfo { return j }

func (j *joinInfo) SetNames(srcName, dstPrefix string) error {
	if j.said == nil {
		return errOver("name the interface")
	}
	const most = 12 // of IFNAMSIZ less the end, with room for a number
	for _, name := range []string{srcName, dstPrefix} {
		if strings.ContainsAny(name, "/ \t\n") || name == "." || name == ".." {
			return types.BadRequestErrorf("%q is no name of a link", name)
		}
	}
	if len(srcName) > 15 || len(dstPrefix) > most {
		return types.BadRequestErrorf("the names %q and %q are too long for a link: 15 bytes, and %d for what a number is put behind", srcName, dstPrefix, most)
	}
	j.said.Link, j.said.Prefix = srcName, dstPrefix
	return nil
}

func (j *joinInfo) SetGateway(ip net.IP) error     { return j.setGateway(ip, false) }
func (j *joinInfo) SetGatewayIPv6(ip net.IP) error { return j.setGateway(ip, true) }

func (j *joinInfo) setGateway(ip net.IP, v6 bool) error {
	if j.said == nil {
		return errOver("set gateway")
	}
	a, ok := netip.AddrFromSlice(ip)
	a = a.Unmap()
	if len(ip) != 0 && (!ok || a.Is6() != v6) {
		return types.BadRequestErrorf("gateway %v is not an address of its family", ip)
	}
	if v6 {
		j.said.Gateway6 = a
	} else {
		j.said.Gateway4 = a
	}
	return nil
}

// AddStaticRoute takes a route. One through a gateway that names no destination is
// the default route of the gateway's family.
func (j *joinInfo) AddStaticRoute(destination *net.IPNet, routeType int, nextHop net.IP) error {
	if j.said == nil {
		return errOver("add static route")
	}
	dst, ok := prefix(destination)
	via, hasVia := netip.AddrFromSlice(nextHop)
	via = via.Unmap()
	switch routeType {
	case types.CONNECTED:
		if !ok {
			return types.BadRequestErrorf("route to %v: not a subnet", destination)
		}
		j.said.Routes = append(j.said.Routes, model.Route{Dst: dst.Masked()})
	case types.NEXTHOP:
		if !hasVia {
			return types.BadRequestErrorf("route to %v: the next hop %v is not an IP address", destination, nextHop)
		}
		if destination == nil {
			dst, ok = netip.PrefixFrom(unspecified(via), 0), true
		}
		if !ok || dst.Addr().Is6() != via.Is6() {
			return types.BadRequestErrorf("route to %v through %s: the destination is not a subnet of that family", destination, via)
		}
		j.said.Static = append(j.said.Static, model.Route{Dst: dst.Masked(), Via: via})
	default:
		return types.BadRequestErrorf("route to %v: unknown type %d", destination, routeType)
	}
	return nil
}

func (j *joinInfo) DisableGatewayService() {
	if j.said != nil {
		j.said.NoGateway = true
	}
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is6() {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}
