package rtnl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/sysctl"
	"github.com/libnetwork/libnetwork/types"
)

// undoTime limits how long a failed creation cleans up.
const undoTime = 10 * time.Second

// routerLinkLocal is the IPv6 link-local address of every bridge: the gateway
// of networks that have no other.
var routerLinkLocal = netip.MustParsePrefix("fe80::1/64")

// CreateBridge makes a bridge with all that belongs to it and raises it. The
// name, group, MAC and MTU come into being at once. If it fails nothing of it
// is left; a link of that name that was there before stays as it was, and the
// error is EEXIST.
func (s *Socket) CreateBridge(ctx context.Context, b model.Bridge) error {
	mac, err := parseMAC(b.Name, b.MAC)
	if err := errors.Join(err, checkName(b.Name), checkMTU(b.Name, b.MTU)); err != nil {
		return err
	}
	r := request{op: "create", object: "bridge " + b.Name}
	r.m = newMsg(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ifInfo(unix.AF_UNSPEC, 0, 0, 0)...)
	r.m.str(unix.IFLA_IFNAME, b.Name)
	r.m.u32(unix.IFLA_GROUP, b.Group)
	if mac != nil {
		r.m.bytes(unix.IFLA_ADDRESS, mac...)
	}
	if b.MTU != 0 {
		r.m.u32(unix.IFLA_MTU, uint32(b.MTU))
	}
	r.m.nest(unix.IFLA_LINKINFO, func() {
		r.m.str(unix.IFLA_INFO_KIND, "bridge")
		r.m.nest(unix.IFLA_INFO_DATA, func() {
			r.m.u32(unix.IFLA_BR_STP_STATE, 0)
			r.m.u32(unix.IFLA_BR_FORWARD_DELAY, 0)
		})
	})
	if err := s.change(ctx, "link: create bridge "+b.Name, r); err != nil {
		return classify(err)
	}
	if err := s.furnishBridge(ctx, b); err != nil {
		return classify(s.undo(ctx, b.Name, err))
	}
	return nil
}

// furnishBridge turns a bridge without anything into the wanted one.
func (s *Socket) furnishBridge(ctx context.Context, b model.Bridge) error {
	index, err := s.Index(b.Name)
	if err != nil {
		return err
	}
	if err := s.cfg.Enter(func() error { return s.bridgeSettings(b) }); err != nil {
		return err
	}
	set := setLink("set up", b.Name, 0, 0)
	if b.Alias != "" {
		set.m.bytes(unix.IFLA_IFALIAS, clip(b.Alias)...)
	}
	set.m.nest(unix.IFLA_AF_SPEC, func() {
		if b.RouteLocalnet || b.StrictSource {
			set.m.nest(unix.AF_INET, func() {
				set.m.nest(inetConf, func() {
					if b.RouteLocalnet {
						set.m.u32(confRouteLocal, 1)
					}
					if b.StrictSource {
						set.m.u32(confRPFilter, 1)
					}
				})
			})
		}
		if b.IPv6 {
			// The link-local address is ours, not one made from the MAC.
			set.m.nest(unix.AF_INET6, func() { set.m.u8(unix.IFLA_INET6_ADDR_GEN_MODE, addrGenModeNone) })
		}
	})
	reqs := []request{set}
	for _, a := range BridgeAddresses(b) {
		reqs = append(reqs, address(index, b.Name, a))
	}
	reqs = append(reqs, setLink("raise", b.Name, unix.IFF_UP, unix.IFF_UP))
	return s.change(ctx, "link: furnish bridge "+b.Name, reqs...)
}

// BridgeAddresses are all addresses that a bridge is given.
func BridgeAddresses(b model.Bridge) []netip.Prefix {
	if !b.IPv6 || slices.Contains(b.Addrs, routerLinkLocal) {
		return b.Addrs
	}
	return append(slices.Clip(b.Addrs), routerLinkLocal)
}

// bridgeSettings writes the settings that rtnetlink cannot change. It runs in
// the bridge's namespace.
func (s *Socket) bridgeSettings(b model.Bridge) error {
	conf := func(value, name string) error {
		err := sysctl.Write(s.cfg.Steps, value, "net", "ipv6", "conf", b.Name, name)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if b.IPv6 {
			return types.NotImplementedErrorf("bridge %s: this kernel has no IPv6: %w", b.Name, err)
		}
		return nil
	}
	// A container must not become the router of its host.
	if err := conf("0", "accept_ra"); err != nil {
		return err
	}
	if b.IPv6 {
		return conf("0", "disable_ipv6")
	}
	return conf("1", "disable_ipv6")
}

// undo deletes what was made under that name, and returns cause with whatever
// goes wrong.
func (s *Socket) undo(ctx context.Context, name string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if err := s.DeleteLinks(ctx, name); err != nil {
		return fmt.Errorf("%w; and it could not be taken back: %w", cause, err)
	}
	return cause
}

// CreateVeth makes a pair of links, one end a port of a bridge in the namespace
// of s, the other one in the namespace that inside and netnsFD stand for, both
// up, with addresses and routes. Names, group, MAC, MTU and bridge come into
// being at once. If it fails nothing of it is left; links of these names that
// were there before stay as they were, and the error is EEXIST.
//
// The end inside takes no address from router advertisements; without an IPv6
// address of its own it has no link-local one either.
func (s *Socket) CreateVeth(ctx context.Context, inside *Socket, netnsFD int, v model.Veth) error {
	mac, err := parseMAC(v.Name, v.MAC)
	if err := errors.Join(err, checkName(v.Host, v.Name), checkMTU(v.Host, v.MTU)); err != nil {
		return err
	}
	r := request{op: "create", object: fmt.Sprintf("veth %s with peer %s in %s", v.Host, v.Name, v.Netns)}
	r.m = newMsg(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ifInfo(unix.AF_UNSPEC, 0, unix.IFF_UP, unix.IFF_UP)...)
	r.m.str(unix.IFLA_IFNAME, v.Host)
	r.m.u32(unix.IFLA_GROUP, v.Group)
	if v.Bridge != "" {
		master, err := s.Index(v.Bridge)
		if err != nil {
			return classify(err)
		}
		r.m.u32(unix.IFLA_MASTER, uint32(master))
	}
	if v.MTU != 0 {
		r.m.u32(unix.IFLA_MTU, uint32(v.MTU))
	}
	r.m.nest(unix.IFLA_LINKINFO, func() {
		r.m.str(unix.IFLA_INFO_KIND, "veth")
		r.m.nest(unix.IFLA_INFO_DATA, func() {
			r.m.peer(func() {
				r.m.str(unix.IFLA_IFNAME, v.Name)
				r.m.u32(unix.IFLA_NET_NS_FD, uint32(netnsFD))
				if mac != nil {
					r.m.bytes(unix.IFLA_ADDRESS, mac...)
				}
				if v.MTU != 0 {
					r.m.u32(unix.IFLA_MTU, uint32(v.MTU))
				}
			})
		})
	})
	if err := s.change(ctx, "link: create veth "+v.Host, r); err != nil {
		return classify(err)
	}
	err = s.setPort(ctx, v)
	if err == nil {
		err = inside.furnishVeth(ctx, v)
	}
	if err != nil {
		return classify(s.undo(ctx, v.Host, err))
	}
	return nil
}

// noLinkLocal keeps the kernel from making a link-local address.
func noLinkLocal(link string) request {
	r := setLink("set up", link, 0, 0)
	r.m.nest(unix.IFLA_AF_SPEC, func() {
		r.m.nest(unix.AF_INET6, func() { r.m.u8(unix.IFLA_INET6_ADDR_GEN_MODE, addrGenModeNone) })
	})
	// A kernel without IPv6 does not know the family.
	r.fine = []unix.Errno{unix.EAFNOSUPPORT, unix.EOPNOTSUPP}
	return r
}

// furnishVeth sets up the end inside.
func (s *Socket) furnishVeth(ctx context.Context, v model.Veth) error {
	index, err := s.Index(v.Name)
	if err != nil {
		return err
	}
	ipv6 := slices.ContainsFunc(v.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
	if !s.cfg.NoAdvertisements {
		if err := s.setIPv6Conf(v.Name, "accept_ra", "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	var reqs []request
	if !ipv6 {
		reqs = append(reqs, noLinkLocal(v.Name))
	}
	if len(v.Sysctls) > 0 {
		// The user's settings come after ours, and before the link is up, since some are
		// about what happens then.
		if err := s.change(ctx, "link: set up "+v.Name, reqs...); err != nil {
			return err
		}
		if err := s.setSysctls(v); err != nil {
			return err
		}
		reqs = nil
	}
	if err := s.raiseVeth(ctx, v, index, ipv6, reqs); err != nil {
		return err
	}
	// As a link goes up it sets its IPv6 MTU to that of all packets (seen on Linux 6.18).
	return s.setSysctls(v)
}

// raiseVeth gives the end inside its addresses and routes, and has it go up, after
// other requests.
func (s *Socket) raiseVeth(ctx context.Context, v model.Veth, index int32, ipv6 bool, reqs []request) error {
	for _, a := range v.Addrs {
		reqs = append(reqs, address(index, v.Name, a))
	}
	reqs = append(reqs, setLink("raise", v.Name, unix.IFF_UP, unix.IFF_UP))
	for _, rt := range v.Routes {
		reqs = append(reqs, route(unix.RTM_NEWROUTE, index, v.Name, rt.Dst, rt.Via))
	}
	step := "link: furnish veth " + v.Name
	err := s.change(ctx, step, reqs...)
	if !ipv6 || !errors.Is(err, unix.EACCES) {
		return err
	}
	// Addresses of a family that is off are refused. The requests after them
	// were carried out, so what is there already is as wanted.
	if err := s.setIPv6Conf(v.Name, "disable_ipv6", "0"); err != nil {
		return err
	}
	for i := range reqs {
		reqs[i].fine = append(reqs[i].fine, unix.EEXIST)
	}
	return s.change(ctx, step, reqs...)
}

// setSysctls sets what a user wants of the end inside, where it is not so already.
func (s *Socket) setSysctls(v model.Veth) error {
	for _, x := range v.Sysctls {
		if err := s.setSysctl(v.Name, x); err != nil {
			return err
		}
	}
	return nil
}

// setSysctl sets what a user wants of the link named.
func (s *Socket) setSysctl(link string, x model.Sysctl) error {
	path := slices.Clone(x.Path)
	for i := range path {
		if path[i] == model.InterfaceName {
			path[i] = link
		}
	}
	err := s.cfg.Enter(func() error { return sysctl.Write(s.cfg.Steps, x.Value, path...) })
	name := strings.Join(x.Path, ".")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return types.BadRequestErrorf("sysctl %s of interface %s: there is none of that name: %w", name, link, err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		return types.BadRequestErrorf("sysctl %s of interface %s: the kernel does not take the value %q: %w", name, link, x.Value, err)
	}
	return err
}

func (s *Socket) setIPv6Conf(link, name, value string) error {
	return s.cfg.Enter(func() error {
		return sysctl.Write(s.cfg.Steps, value, "net", "ipv6", "conf", link, name)
	})
}
