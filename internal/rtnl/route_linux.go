package rtnl

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

const (
	rtmProtocol    = 5      // rtmsg.rtm_protocol
	rtmFibMatch    = 0x2000 // RTM_F_FIB_MATCH: the route, not what it says of one address
	addrconfMetric = 256    // IP6_RT_PRIO_ADDRCONF, of routes to the subnets of addresses
)

// route is a request for a route through a gateway or, without via, on the link
// itself. An index of 0 leaves the choice of the link to the kernel.
func route(kind uint16, index int32, dev string, dst netip.Prefix, via netip.Addr) request {
	via = via.Unmap()
	m := unix.RtMsg{
		Family: familyOf(dst.Addr().Unmap()), Dst_len: uint8(dst.Bits()), Table: unix.RT_TABLE_MAIN,
		Protocol: unix.RTPROT_STATIC, Scope: unix.RT_SCOPE_UNIVERSE, Type: unix.RTN_UNICAST,
	}
	if !via.IsValid() && m.Family == unix.AF_INET {
		m.Scope = unix.RT_SCOPE_LINK
	}
	r := request{op: "add", object: "route to " + dst.String()}
	flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_EXCL)
	if kind == unix.RTM_DELROUTE {
		// Whoever made it: what is asked for is the destination.
		m.Protocol, m.Scope, flags, r.op = unix.RTPROT_UNSPEC, unix.RT_SCOPE_NOWHERE, 0, "delete"
	}
	r.m = newMsg(kind, flags, rtMsg(m)...)
	if dst.Bits() > 0 {
		r.m.bytes(unix.RTA_DST, dst.Masked().Addr().Unmap().AsSlice()...)
	}
	if via.IsValid() {
		r.m.bytes(unix.RTA_GATEWAY, via.AsSlice()...)
		r.object += " via " + via.String()
	}
	if index != 0 {
		r.m.u32(unix.RTA_OIF, uint32(index))
		r.object += " by link " + dev
	}
	return r
}

// AddConnected puts back the route to the subnet of an address of a link, which the
// kernel makes with the address, and says whether it was missing. One of somebody else
// to the same subnet stays in its place.
func (s *Socket) AddConnected(ctx context.Context, l Link, addr netip.Prefix) (missed bool, err error) {
	if addr.IsSingleIP() {
		return false, nil // that is no route
	}
	r := route(unix.RTM_NEWROUTE, int32(l.Index), l.Name, addr, netip.Addr{})
	r.m[hdrLen+rtmProtocol] = unix.RTPROT_KERNEL
	if addr.Addr().IsLinkLocalUnicast() && addr.Addr().Is6() {
		// One of many that are there beside each other: only that of the same link is in
		// the way.
		native.PutUint16(r.m[6:], unix.NLM_F_REQUEST|unix.NLM_F_CREATE)
	}
	if addr.Addr().Is4() {
		r.m.bytes(unix.RTA_PREFSRC, addr.Addr().AsSlice()...)
	} else {
		r.m.u32(unix.RTA_PRIORITY, addrconfMetric)
	}
	err = s.get(ctx, r, nil) // no step: mostly nothing is done
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, classify(err)
}

// AddRoute adds a route by the link dev or, if that is empty, by the one that
// the gateway is behind.
func (s *Socket) AddRoute(ctx context.Context, dev string, r model.Route) error {
	return s.oneRoute(ctx, unix.RTM_NEWROUTE, dev, r)
}

// DeleteRoute deletes a route; dev as for AddRoute. One that is not there is a
// NotFound error.
func (s *Socket) DeleteRoute(ctx context.Context, dev string, r model.Route) error {
	return s.oneRoute(ctx, unix.RTM_DELROUTE, dev, r)
}

func (s *Socket) oneRoute(ctx context.Context, kind uint16, dev string, r model.Route) error {
	if !r.Dst.IsValid() {
		return types.BadRequestErrorf("route without a destination")
	}
	var index int32
	if dev != "" || !r.Via.IsValid() {
		var err error
		if index, err = s.Index(dev); err != nil {
			return classify(err)
		}
	}
	req := route(kind, index, dev, r.Dst, r.Via)
	return classify(s.change(ctx, "route: "+req.op+" "+r.Dst.String(), req))
}

// ReplaceDefaultRoute makes r the default route of its family in place of any
// other one. A gateway outside the subnets of the link is taken to be on it.
func (s *Socket) ReplaceDefaultRoute(ctx context.Context, r model.DefaultRoute) error {
	index, err := s.Index(r.Dev)
	if err != nil {
		return classify(err)
	}
	replace := defaultRoute(unix.RTM_NEWROUTE, index, r)
	replace.op = "set"
	native.PutUint16(replace.m[6:], unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	return classify(s.change(ctx, "route: default via "+r.Via.String(), replace))
}

// DeleteDefaultRoute deletes that default route; one that is not there is no
// error.
func (s *Socket) DeleteDefaultRoute(ctx context.Context, r model.DefaultRoute) error {
	var index int32
	if r.Dev != "" {
		i, err := s.Index(r.Dev)
		switch {
		case errors.Is(err, unix.ENODEV):
			return nil // it went with its link
		case err != nil:
			return classify(err)
		}
		index = i
	}
	del := defaultRoute(unix.RTM_DELROUTE, index, r)
	del.fine = []unix.Errno{unix.ESRCH}
	return classify(s.change(ctx, "route: no default via "+r.Via.String(), del))
}

func defaultRoute(kind uint16, index int32, r model.DefaultRoute) request {
	via := r.Via.Unmap()
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if via.Is6() {
		all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	req := route(kind, index, r.Dev, all, via)
	req.object = "default " + req.object
	return req
}

// RouteTo returns how the kernel would send a packet to that address: the name
// of the link and the gateway, which is not valid for a neighbour.
func (s *Socket) RouteTo(ctx context.Context, to netip.Addr) (dev string, via netip.Addr, err error) {
	index, via, err := s.route(ctx, to)
	if err != nil {
		return "", netip.Addr{}, err
	}
	dev, err = s.Name(ctx, index)
	return dev, via, err
}

// Routed says whether there is a route to an address, by the error of RouteTo. It
// asks less of the kernel than that.
func (s *Socket) Routed(ctx context.Context, to netip.Addr) error {
	_, _, err := s.route(ctx, to)
	return err
}

func (s *Socket) route(ctx context.Context, to netip.Addr) (index uint32, via netip.Addr, err error) {
	to = to.Unmap()
	r := request{op: "find", object: "route to " + to.String()}
	r.m = newMsg(unix.RTM_GETROUTE, 0, rtMsg(unix.RtMsg{Family: familyOf(to), Dst_len: uint8(to.BitLen())})...)
	r.m.bytes(unix.RTA_DST, to.AsSlice()...)
	err = s.get(ctx, r, func(_ uint16, body []byte) {
		if len(body) < unix.SizeofRtMsg {
			return
		}
		for k, v := range attrs(body[unix.SizeofRtMsg:]) {
			switch k {
			case unix.RTA_OIF:
				index = u32(v)
			case unix.RTA_GATEWAY:
				via = addr(v)
			}
		}
	})
	return index, via, classify(err)
}

// Connected returns the route by which the host reaches the members of the subnet of an
// address of its own. Its destination is not valid if that is a default route, or there is
// none; refused says that a route or a rule has packets for them dropped or refused, which
// the kernel tells no more of.
func (s *Socket) Connected(ctx context.Context, addr netip.Prefix) (by Route, refused bool, err error) {
	member := addr.Addr().Next()
	prev, two := addr.Addr().Prev(), addr.Bits() == addr.Addr().BitLen()-1
	if addr.Contains(prev) && (two || prev != addr.Masked().Addr()) {
		member = prev // neither the first address nor the last, which may be the host's too
	}
	if !addr.Contains(member) {
		return Route{}, false, types.BadRequestErrorf("the subnet of %s has no other member", addr)
	}
	r := request{op: "find", object: "route to " + addr.String()}
	r.m = newMsg(unix.RTM_GETROUTE, 0, rtMsg(unix.RtMsg{
		Family: familyOf(member), Dst_len: uint8(member.BitLen()), Flags: unix.RTM_F_LOOKUP_TABLE | rtmFibMatch,
	})...)
	r.m.bytes(unix.RTA_DST, member.AsSlice()...)
	err = s.get(ctx, r, func(_ uint16, body []byte) { by, _ = parseRoute(body) })
	switch { // ip-route(8), types of routes
	case errors.Is(err, unix.ENETUNREACH):
		return Route{}, false, nil
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL):
		return Route{}, true, nil
	}
	return by, false, classify(err)
}

// Local says whether the kernel takes an address for the host's own: it does not when
// somebody has deleted the route of type local that it made with the address.
func (s *Socket) Local(ctx context.Context, addr netip.Addr) (local bool, err error) {
	r := request{op: "find", object: "route to " + addr.String()}
	r.m = newMsg(unix.RTM_GETROUTE, 0, rtMsg(unix.RtMsg{Family: familyOf(addr), Dst_len: uint8(addr.BitLen())})...)
	r.m.bytes(unix.RTA_DST, addr.AsSlice()...)
	err = s.get(ctx, r, func(_ uint16, body []byte) { local = len(body) >= unix.SizeofRtMsg && body[7] == unix.RTN_LOCAL })
	switch { // as Connected
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL):
		return false, nil
	}
	return local, classify(err)
}

// AddNeighbour adds a permanent entry, or replaces the one of that address.
func (s *Socket) AddNeighbour(ctx context.Context, n Neighbour) error {
	r, err := s.neighbour("add", unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, n)
	if err != nil {
		return classify(err)
	}
	return classify(s.change(ctx, "neighbour: add to "+n.Dev, r))
}

// DeleteNeighbour deletes an entry. One that is not there is a NotFound error.
func (s *Socket) DeleteNeighbour(ctx context.Context, n Neighbour) error {
	r, err := s.neighbour("delete", unix.RTM_DELNEIGH, 0, n)
	if err != nil {
		return classify(err)
	}
	return classify(s.change(ctx, "neighbour: delete from "+n.Dev, r))
}

// FlushNeighbour makes the host forget where these addresses are on a link, so
// that the next owner of an address is found at once. Addresses that are not
// known are no error.
func (s *Socket) FlushNeighbour(ctx context.Context, dev string, addrs ...netip.Addr) error {
	var reqs []request
	for _, a := range addrs {
		r, err := s.neighbour("forget", unix.RTM_DELNEIGH, 0, Neighbour{Dev: dev, Addr: a})
		if err != nil {
			return classify(err)
		}
		r.fine = []unix.Errno{unix.ENOENT}
		reqs = append(reqs, r)
	}
	return classify(s.change(ctx, "neighbour: forget on "+dev, reqs...))
}

func (s *Socket) neighbour(op string, kind, flags uint16, n Neighbour) (request, error) {
	index, err := s.Index(n.Dev)
	if err != nil {
		return request{}, err
	}
	a := n.Addr.Unmap()
	nd := make([]byte, unix.SizeofNdMsg)
	nd[0] = familyOf(a)
	if n.Bridge {
		nd[0] = unix.AF_BRIDGE
		nd[10] = unix.NTF_SELF
	}
	native.PutUint32(nd[4:], uint32(index))
	native.PutUint16(nd[8:], unix.NUD_PERMANENT)
	r := request{op: op, object: "neighbour " + a.String() + " of link " + n.Dev, m: newMsg(kind, flags, nd...)}
	if n.Addr.IsValid() {
		r.m.bytes(unix.NDA_DST, a.AsSlice()...)
	}
	if n.MAC != nil {
		r.m.bytes(unix.NDA_LLADDR, slices.Clone(n.MAC)...)
		r.object += " (" + n.MAC.String() + ")"
	}
	return r, nil
}
