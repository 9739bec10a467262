package rtnl

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// PutVeth makes the host's end of a pair a port of its bridge again, as it was when
// it was made, and raises it. The settings come before the port has a carrier.
func (s *Socket) PutVeth(ctx context.Context, v model.Veth) error {
	if err := s.ChangeLink(ctx, v.Host, LinkChange{Master: v.Bridge, Down: true}); err != nil {
		return err
	}
	if err := s.setPort(ctx, v); err != nil {
		return classify(err)
	}
	return s.SetLinkUp(ctx, v.Host)
}

// Unset says whether the host's end of a pair has other settings than [Socket.SetPort] gives
// it: an earlier version did not know them, or somebody else has changed them.
func Unset(v model.Veth, l, bridge Link) bool {
	return v.Bridge != "" && (!l.StrictSource || !v.Adopted && (l.GroupMask != groupMask || l.Narrowed || blocked(l, bridge)) ||
		l.Isolated != v.Isolated || l.Hairpin != v.Hairpin || l.MTU != MTU(v.MTU))
}

// blocked says whether somebody has taken a port out of use. Without a carrier the kernel
// does, and for loops whoever runs STP, be it somebody else's, on a bridge of ours as well.
func blocked(l, bridge Link) bool { return l.Blocked && l.Running && bridge.Up && !bridge.STP }

// SetPort gives the host's end of a pair, which is l, the settings of a port, and leaves it up.
func (s *Socket) SetPort(ctx context.Context, v model.Veth, l, bridge Link) error {
	if l.MTU != MTU(v.MTU) {
		if err := s.ChangeLink(ctx, v.Host, LinkChange{MTU: MTU(v.MTU)}); err != nil {
			return err
		}
	}
	if err := s.setPort(ctx, v); err != nil || v.Adopted {
		return classify(err)
	}
	// A new port has all that.
	r := setLink("open", v.Host, 0, 0)
	r.m.port(func() {
		r.m.u8(unix.IFLA_BRPORT_LEARNING, 1)
		r.m.u8(unix.IFLA_BRPORT_UNICAST_FLOOD, 1)
		r.m.u8(unix.IFLA_BRPORT_MCAST_FLOOD, 1)
		r.m.u8(unix.IFLA_BRPORT_BCAST_FLOOD, 1)
		r.m.u8(unix.IFLA_BRPORT_PROXYARP, 0)
		r.m.u8(unix.IFLA_BRPORT_LOCKED, 0)
	})
	reqs := []request{r}
	if blocked(l, bridge) {
		r := setLink("open", v.Host, 0, 0)
		r.m.port(func() { r.m.u8(unix.IFLA_BRPORT_STATE, portForwarding) })
		r.fine = []unix.Errno{unix.ENETDOWN, unix.EBUSY} // no carrier any more, or STP meanwhile
		reqs = append(reqs, r)
	}
	return classify(s.change(ctx, "link: set up port "+v.Host, reqs...))
}

// setPort sets what the message that makes a pair does not carry. The port has
// no carrier before the other end is up, so no frame passes meanwhile.
//
// A port of a bridge has no IP of its own: frames to a group address of bridges
// (01:80:c2:00:00:0X, IEEE 802.1D) come to the host by the port and not by the bridge,
// so that no rule about bridges meets them. A router advertisement among them would make
// the container the host's router.
func (s *Socket) setPort(ctx context.Context, v model.Veth) error {
	port := v.Bridge != ""
	var quiet []request
	if v.Bridge != "" {
		// Where settings cannot be written, there is at least no link-local address.
		err := s.setIPv6Conf(v.Host, "disable_ipv6", "1")
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EROFS) {
			return err
		}
		quiet = append(quiet, noLinkLocal(v.Host), noSources(v.Host))
	}
	if v.Alias == "" && !port {
		return s.change(ctx, "link: set up port "+v.Host, quiet...)
	}
	r := setLink("set up", v.Host, 0, 0)
	if v.Alias != "" {
		r.m.bytes(unix.IFLA_IFALIAS, clip(v.Alias)...)
	}
	if port {
		portSettings(&r, v)
	}
	return s.change(ctx, "link: set up port "+v.Host, append(quiet, r)...)
}

// noSources has the kernel drop IPv4 packets whose answer would leave by another link: on
// one without addresses these are all but those of 0.0.0.0 to everybody, which
// [portSettings] has go by the bridge.
func noSources(link string) request {
	r := setLink("set up", link, 0, 0)
	r.m.nest(unix.IFLA_AF_SPEC, func() {
		r.m.nest(unix.AF_INET, func() {
			r.m.nest(inetConf, func() { r.m.u32(confRPFilter, 1) })
		})
	})
	return r
}

// portSettings adds the settings of a port of a bridge.
//
// Frames to group addresses of bridges are forwarded like others, but for those of bit 1,
// MAC PAUSE, which are dropped: so they come to the host by the bridge, where its rules
// are, not by the port. Through a bridge of somebody else they could get to his switch.
func portSettings(r *request, v model.Veth) {
	r.m.port(func() {
		r.m.u8(unix.IFLA_BRPORT_MODE, flag(v.Hairpin))
		r.m.u8(unix.IFLA_BRPORT_ISOLATED, flag(v.Isolated))
		if !v.Adopted {
			r.m.bytes(unix.IFLA_BRPORT_GROUP_FWD_MASK, native.AppendUint16(nil, groupMask)...)
		}
	})
}

func flag(on bool) uint8 {
	if on {
		return 1
	}
	return 0
}
