package rtnl

import (
	"context"
	"math"

	"golang.org/x/sys/unix"
)

// EgressMTU returns the MTU of the default route of a family in the main table,
// of several the one that the kernel prefers: its own if it has one, else that of
// its link, of several the first. It is 0 without a default route.
func (s *Socket) EgressMTU(ctx context.Context, v6 bool) (int, error) {
	fam := uint8(unix.AF_INET)
	if v6 {
		fam = unix.AF_INET6
	}
	none := egress{metric: math.MaxUint32}
	best := none
	r := request{op: "list", object: "routes", m: newMsg(unix.RTM_GETROUTE, 0, rtMsg(unix.RtMsg{Family: fam})...)}
	err := s.dump(ctx, r, func() { best = none }, func(kind uint16, body []byte) {
		e, ok := parseEgress(body)
		if ok && kind == unix.RTM_NEWROUTE && body[0] == fam && (best.link == 0 || e.metric < best.metric) {
			best = e
		}
	})
	if err != nil || best.link == 0 || best.mtu != 0 {
		return int(best.mtu), classify(err)
	}
	var l Link
	r = request{op: "find", object: "link", m: newMsg(unix.RTM_GETLINK, 0, ifInfo(unix.AF_UNSPEC, best.link, 0, 0)...)}
	r.m.u32(unix.IFLA_EXT_MASK, extMaskSkipStats)
	err = s.get(ctx, r, func(_ uint16, body []byte) { l, _ = parseLink(body) })
	return l.MTU, classify(err)
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
