package rtnl

import (
	"context"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// How long the kernel is waited for, and how long at first between two looks.
const (
	solicitedWait = 500 * time.Millisecond
	solicitedLook = 100 * time.Microsecond
)

// AwaitSolicited waits until a link is in the groups by which neighbours look for its
// IPv6 addresses (solicited-node multicast, RFC 4291, 2.7.1). The kernel joins them some
// time after it has taken the address, in a work that needs the lock of all links (seen on
// Linux 6.18): whoever looks before that finds nobody, and looks again after a second. It
// waits half a second at most, and says whether the link is in all.
func (s *Socket) AwaitSolicited(ctx context.Context, link string, addrs []netip.Prefix) (bool, error) {
	want := make(map[netip.Addr]bool)
	for _, p := range addrs {
		if p.Addr().Is6() {
			want[solicited(p.Addr())] = true
		}
	}
	if len(want) == 0 {
		return true, nil
	}
	index, err := s.Index(link)
	if err != nil {
		return false, classify(err)
	}
	r := request{op: "list", object: "multicast groups of link " + link}
	end := time.Now().Add(solicitedWait)
	for pause := solicitedLook; ; pause *= 2 {
		r.m = newMsg(unix.RTM_GETMULTICAST, 0, append([]byte{unix.AF_INET6}, make([]byte, unix.SizeofIfAddrmsg-1)...)...)
		found := make(map[netip.Addr]bool, len(want))
		err := s.dump(ctx, r, func() {}, func(_ uint16, body []byte) {
			if len(body) < unix.SizeofIfAddrmsg || u32(body[4:]) != uint32(index) {
				return
			}
			for k, v := range attrs(body[unix.SizeofIfAddrmsg:]) {
				if k == unix.IFA_MULTICAST && want[addr(v)] {
					found[addr(v)] = true
				}
			}
		})
		switch {
		case err != nil:
			return false, classify(err)
		case len(found) == len(want):
			return true, nil
		case time.Now().After(end):
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// solicited is the solicited-node multicast address of a.
func solicited(a netip.Addr) netip.Addr {
	b, group := a.As16(), netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(group[13:], b[13:])
	return netip.AddrFrom16(group)
}
