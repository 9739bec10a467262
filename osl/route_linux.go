package osl

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/types"
)

// gateway is a default route that was set.
type gateway struct {
	ip    net.IP
	route model.DefaultRoute
}

func (s *sandbox) SetGateway(gw net.IP) error     { return s.setGateway(&s.gw4, gw, false) }
func (s *sandbox) SetGatewayIPv6(gw net.IP) error { return s.setGateway(&s.gw6, gw, true) }
func (s *sandbox) UnsetGateway() error            { return s.unsetGateway(&s.gw4) }
func (s *sandbox) UnsetGatewayIPv6() error        { return s.unsetGateway(&s.gw6) }

func (s *sandbox) setGateway(g *gateway, ip net.IP, v6 bool) error {
	if len(ip) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	via, ok := netip.AddrFromSlice(ip)
	via = via.Unmap()
	if !ok || via.Is6() != v6 {
		return types.BadRequestErrorf("set gateway %s of sandbox %s: wrong address family", ip, s.key)
	}
	dev, err := s.reach(via)
	if err != nil {
		return s.wrap("set gateway of", err)
	}
	r := model.DefaultRoute{Netns: s.key, Via: via, Dev: dev}
	if err := s.rt.ReplaceDefaultRoute(context.Background(), r); err != nil {
		return s.wrap("set gateway of", err)
	}
	*g = gateway{ip: types.GetIPCopy(ip), route: r}
	return nil
}

func (s *sandbox) unsetGateway(g *gateway) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.ip == nil {
		return nil
	}
	err := s.rt.DeleteDefaultRoute(context.Background(), g.route)
	// The route has gone with its link.
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return s.wrap("unset gateway of", err)
	}
	*g = gateway{}
	return nil
}

func (s *sandbox) gatewayIP(g *gateway) net.IP {
	s.mu.Lock()
	defer s.mu.Unlock()
	return types.GetIPCopy(g.ip)
}

// reach returns the link on which an address is.
func (s *sandbox) reach(to netip.Addr) (string, error) {
	dev, via, err := s.rt.RouteTo(context.Background(), to)
	if err != nil {
		return "", err
	}
	if via.IsValid() && via != to {
		return "", types.NoServiceErrorf("no link reaches %s directly", to)
	}
	return dev, nil
}

// convert returns a route with the link of its next hop.
func (s *sandbox) convert(r *types.StaticRoute) (string, model.Route, error) {
	if r == nil {
		return "", model.Route{}, types.BadRequestErrorf("no route")
	}
	dst, err := prefix(r.Destination)
	if err != nil {
		return "", model.Route{}, err
	}
	via, ok := netip.AddrFromSlice(r.NextHop)
	via = via.Unmap()
	if !ok || via.Is6() != dst.Addr().Is6() {
		return "", model.Route{}, types.BadRequestErrorf("route to %s: next hop %q is missing or of another family", dst, r.NextHop)
	}
	dev, err := s.reach(via)
	return dev, model.Route{Dst: dst.Masked(), Via: via}, err
}

func (s *sandbox) AddStaticRoute(r *types.StaticRoute) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	dev, route, err := s.convert(r)
	if err == nil {
		err = s.rt.AddRoute(context.Background(), dev, route)
	}
	if err != nil {
		return s.wrap("add route in", err)
	}
	s.routes = append(s.routes, r.GetCopy())
	return nil
}

func (s *sandbox) RemoveStaticRoute(r *types.StaticRoute) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	dev, route, err := s.convert(r)
	if err == nil {
		err = s.rt.DeleteRoute(context.Background(), dev, route)
	}
	if err != nil {
		return s.wrap("remove route in", err)
	}
	s.routes = slices.DeleteFunc(s.routes, func(o *types.StaticRoute) bool {
		return types.CompareIPNet(o.Destination, r.Destination) && o.NextHop.Equal(r.NextHop)
	})
	return nil
}

func (s *sandbox) AddNeighbor(dstIP net.IP, dstMac net.HardwareAddr, options ...NeighOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.neighbor(dstIP, dstMac) >= 0 {
		return nil
	}
	nh := neigh{ip: types.GetIPCopy(dstIP), mac: types.GetMacCopy(dstMac)}
	for _, o := range options {
		if o != nil {
			o(&nh)
		}
	}
	err := s.locate(&nh)
	if err == nil {
		err = s.rt.AddNeighbour(context.Background(), nh.entry())
	}
	if err != nil {
		return s.wrap("add neighbour in", err)
	}
	s.neighs = append(s.neighs, nh)
	return nil
}

// locate finds the link of a neighbour.
func (s *sandbox) locate(nh *neigh) error {
	ip, ok := netip.AddrFromSlice(nh.ip)
	if !ok {
		return types.BadRequestErrorf("neighbour %q is not an IP address", nh.ip)
	}
	if nh.linkName == "" {
		dev, err := s.reach(ip.Unmap())
		nh.dev = dev
		return err
	}
	at := slices.IndexFunc(s.ifaces, func(i *iface) bool { return i.srcName == nh.linkName })
	if at < 0 {
		return types.NotFoundErrorf("neighbour %s: no interface %s was added", nh.ip, nh.linkName)
	}
	nh.dev = s.ifaces[at].dstName
	return nil
}

func (nh *neigh) entry() rtnl.Neighbour {
	ip, _ := netip.AddrFromSlice(nh.ip)
	return rtnl.Neighbour{Dev: nh.dev, Addr: ip.Unmap(), MAC: nh.mac, Bridge: nh.family == unix.AF_BRIDGE}
}

func (s *sandbox) DeleteNeighbor(dstIP net.IP, dstMac net.HardwareAddr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.neighbor(dstIP, dstMac)
	if at < 0 {
		return types.NotFoundErrorf("delete neighbour %s (%s) in sandbox %s: it was not added", dstIP, dstMac, s.key)
	}
	err := s.rt.DeleteNeighbour(context.Background(), s.neighs[at].entry())
	// It may have gone with its link.
	if err != nil && !is[types.NotFoundError](err) {
		return s.wrap("delete neighbour in", err)
	}
	s.neighs = slices.Delete(s.neighs, at, at+1)
	return nil
}

// neighbor is the place of an entry that was added, or -1.
func (s *sandbox) neighbor(ip net.IP, mac net.HardwareAddr) int {
	return slices.IndexFunc(s.neighs, func(nh neigh) bool { return nh.ip.Equal(ip) && bytes.Equal(nh.mac, mac) })
}
