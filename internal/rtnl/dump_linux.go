package rtnl

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/types"
)

// Links lists all links of the namespace.
func (s *Socket) Links(ctx context.Context) ([]Link, error) {
	var links []Link
	r := request{op: "list", object: "links", m: newMsg(unix.RTM_GETLINK, 0, ifInfo(unix.AF_UNSPEC, 0, 0, 0)...)}
	r.m.u32(unix.IFLA_EXT_MASK, extMaskSkipStats)
	err := s.dump(ctx, r, func() { links = nil }, func(kind uint16, body []byte) {
		if l, ok := parseLink(body); ok && kind == unix.RTM_NEWLINK {
			links = append(links, l)
		}
	})
	return links, classify(err)
}

// Link returns the link of that name.
func (s *Socket) Link(ctx context.Context, name string) (Link, error) {
	var l Link
	r := request{op: "find", object: "link " + name, m: newMsg(unix.RTM_GETLINK, 0, ifInfo(unix.AF_UNSPEC, 0, 0, 0)...)}
	r.m.str(unix.IFLA_IFNAME, name)
	r.m.u32(unix.IFLA_EXT_MASK, extMaskSkipStats)
	err := s.get(ctx, r, func(_ uint16, body []byte) { l, _ = parseLink(body) })
	return l, classify(err)
}

// Name returns the name of the link of that index.
func (s *Socket) Name(ctx context.Context, index uint32) (string, error) {
	var l Link
	r := request{op: "find", object: "link", m: newMsg(unix.RTM_GETLINK, 0, ifInfo(unix.AF_UNSPEC, int32(index), 0, 0)...)}
	r.m.u32(unix.IFLA_EXT_MASK, extMaskSkipStats)
	err := s.get(ctx, r, func(_ uint16, body []byte) { l, _ = parseLink(body) })
	return l.Name, classify(err)
}

func parseLink(b []byte) (Link, bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return Link{}, false
	}
	flags := u32(b[8:])
	l := Link{
		Index: int(int32(u32(b[4:]))), Up: flags&unix.IFF_UP != 0, NoARP: flags&unix.IFF_NOARP != 0,
		Carrier: flags&unix.IFF_LOWER_UP != 0, Running: flags&unix.IFF_RUNNING != 0, PeerNetns: -1,
	}
	for k, v := range attrs(b[unix.SizeofIfInfomsg:]) {
		switch k {
		case unix.IFLA_IFNAME:
			l.Name = text(v)
		case unix.IFLA_GROUP:
			l.Group = u32(v)
		case unix.IFLA_MASTER:
			l.Master = int(u32(v))
		case unix.IFLA_LINK:
			l.Peer = int(u32(v))
		case unix.IFLA_LINK_NETNSID:
			l.PeerNetns = int(int32(u32(v)))
		case unix.IFLA_ADDRESS:
			l.MAC = append(net.HardwareAddr(nil), v...)
		case unix.IFLA_MTU:
			l.MTU = int(u32(v))
		case unix.IFLA_IFALIAS:
			l.Alias = text(v)
		case unix.IFLA_LINKINFO:
			l.parseInfo(v)
		case unix.IFLA_AF_SPEC:
			l.parseConf(v)
		}
	}
	return l, true
}

func (l *Link) parseInfo(b []byte) {
	var data []byte
	for k, v := range attrs(b) {
		switch k {
		case unix.IFLA_INFO_KIND:
			l.Kind = text(v)
		case unix.IFLA_INFO_DATA:
			data = v
		case unix.IFLA_INFO_SLAVE_DATA:
			l.parseSettings(v)
		}
	}
	if l.Kind != "bridge" {
		return
	}
	for k, v := range attrs(data) {
		if k == unix.IFLA_BR_STP_STATE && len(v) >= 4 {
			l.STP = u32(v) != 0
		}
	}
}

// parseSettings reads those of a port of a bridge.
func (l *Link) parseSettings(b []byte) {
	for k, v := range attrs(b) {
		on := len(v) > 0 && v[0] != 0
		switch k {
		case unix.IFLA_BRPORT_MODE:
			l.Hairpin = on
		case unix.IFLA_BRPORT_ISOLATED:
			l.Isolated = on
		case unix.IFLA_BRPORT_STATE:
			l.Blocked = len(v) == 0 || v[0] != portForwarding
		case unix.IFLA_BRPORT_LEARNING, unix.IFLA_BRPORT_UNICAST_FLOOD, unix.IFLA_BRPORT_MCAST_FLOOD, unix.IFLA_BRPORT_BCAST_FLOOD:
			l.Narrowed = l.Narrowed || !on
		case unix.IFLA_BRPORT_PROXYARP, unix.IFLA_BRPORT_LOCKED:
			l.Narrowed = l.Narrowed || on
		case unix.IFLA_BRPORT_GROUP_FWD_MASK:
			if len(v) >= 2 {
				l.GroupMask = binary.NativeEndian.Uint16(v)
			}
		}
	}
}

// parsePort reads a message of a bridge about one of its ports. Only the index, the master
// and the settings are of use in it, if it has those.
func parsePort(b []byte) (l Link, ok bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return Link{}, false
	}
	l.Index = int(int32(u32(b[4:])))
	for k, v := range attrs(b[unix.SizeofIfInfomsg:]) {
		switch k {
		case unix.IFLA_MASTER:
			l.Master = int(u32(v))
		case unix.IFLA_PROTINFO:
			l.parseSettings(v)
			ok = true
		}
	}
	return l, ok
}

// parseConf reads settings of IPv4, an array whose indices begin with 1, and of IPv6, one
// whose indices begin with 0.
func (l *Link) parseConf(afSpec []byte) {
	is := func(b []byte, at int, value uint32) bool { return len(b) >= 4*(at+1) && u32(b[4*at:]) == value }
	for family, v := range attrs(afSpec) {
		for k, v := range attrs(v) {
			switch {
			case family == unix.AF_INET && k == inetConf:
				l.StrictSource, l.RouteLocalnet = is(v, confRPFilter-1, 1), is(v, confRouteLocal-1, 1)
				l.StopsV4 = is(v, confForwarding-1, 0)
			case family == unix.AF_INET6 && k == inet6Conf:
				l.StopsV6, l.IPv6, l.AcceptsRA = is(v, conf6Forwarding, 0), is(v, conf6Disable, 0), !is(v, conf6AcceptRA, 0)
			case family == unix.AF_INET6 && k == unix.IFLA_INET6_ADDR_GEN_MODE:
				l.LinkLocal = len(v) > 0 && v[0] != addrGenModeNone
			}
		}
	}
}

// Addresses lists all addresses of the namespace.
func (s *Socket) Addresses(ctx context.Context) ([]Address, error) {
	var addrs []Address
	r := request{op: "list", object: "addresses", m: newMsg(unix.RTM_GETADDR, 0, make([]byte, unix.SizeofIfAddrmsg)...)}
	err := s.dump(ctx, r, func() { addrs = nil }, func(kind uint16, body []byte) {
		if a, ok := parseAddress(body); ok && kind == unix.RTM_NEWADDR {
			addrs = append(addrs, a)
		}
	})
	return addrs, classify(err)
}

func parseAddress(b []byte) (Address, bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return Address{}, false
	}
	var local, remote netip.Addr
	for k, v := range attrs(b[unix.SizeofIfAddrmsg:]) {
		switch k {
		case unix.IFA_LOCAL:
			local = addr(v)
		case unix.IFA_ADDRESS:
			remote = addr(v)
		}
	}
	if !local.IsValid() { // IPv6 has it only for point-to-point links
		local = remote
	}
	p := netip.PrefixFrom(local, int(b[1]))
	return Address{Index: int(u32(b[4:])), Prefix: p}, p.IsValid()
}

// Routes lists the unicast routes of all tables, but default routes and those
// of link-local IPv6.
func (s *Socket) Routes(ctx context.Context) ([]Route, error) {
	var routes []Route
	r := request{op: "list", object: "routes", m: newMsg(unix.RTM_GETROUTE, 0, rtMsg(unix.RtMsg{})...)}
	err := s.dump(ctx, r, func() { routes = nil }, func(kind uint16, body []byte) {
		if rt, ok := parseRoute(body); ok && kind == unix.RTM_NEWROUTE {
			routes = append(routes, rt)
		}
	})
	return routes, classify(err)
}

func parseRoute(b []byte) (Route, bool) {
	if len(b) < unix.SizeofRtMsg {
		return Route{}, false
	}
	bits, kind, cloned := int(b[1]), b[7], u32(b[8:])&unix.RTM_F_CLONED != 0
	rt := Route{Table: uint32(b[4])}
	var dst netip.Addr
	for k, v := range attrs(b[unix.SizeofRtMsg:]) {
		switch k {
		case unix.RTA_DST:
			dst = addr(v)
		case unix.RTA_GATEWAY:
			rt.Via = addr(v)
		case unix.RTA_OIF:
			rt.Index = int(u32(v))
		case unix.RTA_TABLE:
			rt.Table = u32(v)
		}
	}
	rt.Dst = netip.PrefixFrom(dst, bits)
	ok := kind == unix.RTN_UNICAST && !cloned && bits > 0 && rt.Dst.IsValid() &&
		!(dst.Is6() && (dst.IsLinkLocalUnicast() || dst.IsMulticast()))
	return rt, ok
}

// Stats returns the counters of the link of that name.
func (s *Socket) Stats(ctx context.Context, name string) (*types.InterfaceStatistics, error) {
	r := request{op: "read", object: "counters of link " + name, m: newMsg(unix.RTM_GETLINK, 0, ifInfo(unix.AF_UNSPEC, 0, 0, 0)...)}
	r.m.str(unix.IFLA_IFNAME, name)
	var st *types.InterfaceStatistics
	err := s.get(ctx, r, func(_ uint16, body []byte) { st = parseStats(body) })
	if err != nil {
		return nil, classify(err)
	}
	if st == nil {
		return nil, types.InternalErrorf("read counters of link %s: the kernel sent none", name)
	}
	return st, nil
}

// parseStats reads struct rtnl_link_stats64.
func parseStats(b []byte) *types.InterfaceStatistics {
	if len(b) < unix.SizeofIfInfomsg {
		return nil
	}
	for k, v := range attrs(b[unix.SizeofIfInfomsg:]) {
		if k != unix.IFLA_STATS64 || len(v) < 8*8 {
			continue
		}
		n := func(i int) uint64 { return native.Uint64(v[8*i:]) }
		return &types.InterfaceStatistics{
			RxPackets: n(0), TxPackets: n(1), RxBytes: n(2), TxBytes: n(3),
			RxErrors: n(4), TxErrors: n(5), RxDropped: n(6), TxDropped: n(7),
		}
	}
	return nil
}
