package rtnl

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"
)

// outside are addresses that no network has (RFC 5737, RFC 3849), so that what leads
// to them is the default route.
var outside = map[uint8]netip.Addr{
	unix.AF_INET: netip.MustParseAddr("192.0.2.1"), unix.AF_INET6: netip.MustParseAddr("2001:db8::1"),
}

// Egress returns the link of the default route of a family in the main table, of several
// the one that the kernel prefers, and of several links the first. Its MTU is that of the
// route if that has one. Without a default route it is zero.
func (s *Socket) Egress(ctx context.Context, v6 bool) (l Link, err error) {
	fam := uint8(unix.AF_INET)
	if v6 {
		fam = unix.AF_INET6
	}
	best, err := s.wayOut(ctx, fam)
	if err != nil || best.link == 0 {
		return Link{}, classify(err)
	}
	r := request{op: "find", object: "link", m: newMsg(unix.RTM_GETLINK, 0, ifInfo(unix.AF_UNSPEC, best.link, 0, 0)...)}
	r.m.u32(unix.IFLA_EXT_MASK, extMaskSkipStats)
	if err := s.get(ctx, r, func(_ uint16, body []byte) { l, _ = parseLink(body) }); err != nil {
		return Link{}, classify(err)
	}
	l.MTU = cmp.Or(int(best.mtu), l.MTU)
	return l, nil
}

// wayOut asks the kernel where it would send what is for the outside. Only if that
// is by something else than a default route of the main table, all routes are
// listed: there is one for each network.
func (s *Socket) wayOut(ctx context.Context, fam uint8) (best egress, err error) {
	to := outside[fam]
	r := request{op: "find", object: "route to " + to.String()}
	r.m = newMsg(unix.RTM_GETROUTE, 0, rtMsg(unix.RtMsg{Family: fam, Dst_len: uint8(to.BitLen()), Flags: unix.RTM_F_FIB_MATCH | unix.RTM_F_LOOKUP_TABLE})...)
	r.m.bytes(unix.RTA_DST, to.AsSlice()...)
	found := false
	err = s.get(ctx, r, func(_ uint16, body []byte) { best, found = parseEgress(body) })
	switch {
	case errors.Is(err, unix.ENETUNREACH):
		return egress{}, nil
	case err == nil && found:
		return best, nil
	}
	none := egress{metric: math.MaxUint32}
	r = request{op: "list", object: "routes", m: newMsg(unix.RTM_GETROUTE, 0, rtMsg(unix.RtMsg{Family: fam})...)}
	err = s.dump(ctx, r, func() { best = none }, func(kind uint16, body []byte) {
		e, ok := parseEgress(body)
		if ok && kind == unix.RTM_NEWROUTE && body[0] == fam && (best.link == 0 || e.metric < best.metric) {
			best = e
		}
	})
	return best, err
}

type egress struct {
	link        int32
	mtu, metric uint32
}

// parseEgress reads a route; ok says that it is a default route of the main table.
func parseEgress(b []byte) (e egress, ok bool) {
	if len(b) < unix.SizeofRtMsg || b[1] != 0 || b[7] != unix.RTN_UNICAST {
		return e, false
	}
	table := uint32(b[4])
	for k, v := range attrs(b[unix.SizeofRtMsg:]) {
		switch k {
		case unix.RTA_TABLE:
			table = u32(v)
		case unix.RTA_OIF:
			e.link = int32(u32(v))
		case unix.RTA_PRIORITY:
			e.metric = u32(v)
		case unix.RTA_MULTIPATH: // struct rtnexthop; its third field is the link
			if len(v) >= unix.SizeofRtNexthop {
				e.link = int32(u32(v[4:]))
			}
		case unix.RTA_METRICS:
			for k, v := range attrs(v) {
				if k == unix.RTAX_MTU {
					e.mtu = u32(v)
				}
			}
		}
	}
	return e, table == unix.RT_TABLE_MAIN && e.link != 0
}
