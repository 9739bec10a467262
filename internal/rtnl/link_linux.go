package rtnl

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/types"
)

// Attributes of the kernel that the unix package does not have.
const (
	vethInfoPeer     = 1      // VETH_INFO_PEER
	inetConf         = 1      // IFLA_INET_CONF
	inet6Conf        = 2      // IFLA_INET6_CONF
	conf6Forwarding  = 0      // DEVCONF_FORWARDING
	conf6AcceptRA    = 3      // DEVCONF_ACCEPT_RA
	conf6Disable     = 26     // DEVCONF_DISABLE_IPV6
	confForwarding   = 1      // IPV4_DEVCONF_FORWARDING
	confRPFilter     = 8      // IPV4_DEVCONF_RP_FILTER
	confRouteLocal   = 26     // IPV4_DEVCONF_ROUTE_LOCALNET
	groupMask        = 0xfffd // of IFLA_BRPORT_GROUP_FWD_MASK
	portForwarding   = 3      // BR_STATE_FORWARDING
	addrGenModeNone  = 1      // IN6_ADDR_GEN_MODE_NONE
	mtuDefault       = 1500   // ETH_DATA_LEN
	extMaskSkipStats = 8      // RTEXT_FILTER_SKIP_STATS
)

// setLink is a request that changes the link of that name.
func setLink(op, name string, flags, change uint32) request {
	r := request{op: op, object: "link " + name, m: newMsg(unix.RTM_NEWLINK, 0, ifInfo(unix.AF_UNSPEC, 0, flags, change)...)}
	r.m.str(unix.IFLA_IFNAME, name)
	return r
}

// ChangeLink changes a link in one request. A link that is renamed must be down
// on kernels before 6.2.
func (s *Socket) ChangeLink(ctx context.Context, name string, c LinkChange) error {
	index, err := s.Index(name)
	if err != nil {
		return classify(err)
	}
	if err := errors.Join(checkName(c.Rename), checkMTU(name, c.MTU)); err != nil {
		return err
	}
	var flags, change uint32
	if c.Up || c.Down {
		change = unix.IFF_UP
	}
	if c.Up {
		flags = unix.IFF_UP
	}
	r := request{op: "change", object: "link " + name}
	r.m = newMsg(unix.RTM_NEWLINK, 0, ifInfo(unix.AF_UNSPEC, index, flags, change)...)
	if c.NetnsFD != 0 {
		r.m.u32(unix.IFLA_NET_NS_FD, uint32(c.NetnsFD))
	}
	if c.Rename != "" {
		r.m.str(unix.IFLA_IFNAME, c.Rename)
	}
	if c.MAC != nil {
		r.m.bytes(unix.IFLA_ADDRESS, c.MAC...)
	}
	if c.MTU != 0 {
		r.m.u32(unix.IFLA_MTU, uint32(c.MTU))
	}
	if c.Alias != "" {
		r.m.bytes(unix.IFLA_IFALIAS, clip(c.Alias)...)
	}
	if c.Group != 0 {
		r.m.u32(unix.IFLA_GROUP, c.Group)
	}
	switch {
	case c.Master != "":
		master, err := s.Index(c.Master)
		if err != nil {
			return classify(err)
		}
		r.m.u32(unix.IFLA_MASTER, uint32(master))
	case c.NoMaster:
		r.m.u32(unix.IFLA_MASTER, 0)
	}
	return classify(s.change(ctx, "link: change "+name, r))
}

// MTU is what a link has of which mtu is wanted: 0 stands for the kernel's default.
func MTU(mtu int) int { return cmp.Or(mtu, mtuDefault) }

// NoLinkLocal keeps the kernel from giving a link of its own accord a link-local IPv6 address,
// and takes away the one that it has made from the MAC address (RFC 4291, appendix A).
func (s *Socket) NoLinkLocal(ctx context.Context, l Link) error {
	if err := s.change(ctx, "link: set up "+l.Name, noLinkLocal(l.Name)); err != nil || len(l.MAC) != 6 {
		return classify(err)
	}
	m := l.MAC
	made := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
	return s.DeleteAddresses(ctx, l.Name, netip.PrefixFrom(made, 64))
}

// SetLinkDown takes a link down.
func (s *Socket) SetLinkDown(ctx context.Context, name string) error {
	return classify(s.change(ctx, "link: down "+name, setLink("take down", name, 0, unix.IFF_UP)))
}

// SetLinkUp raises a link, by which neighbours are looked for then.
func (s *Socket) SetLinkUp(ctx context.Context, name string) error {
	return classify(s.change(ctx, "link: up "+name, setLink("raise", name, unix.IFF_UP, unix.IFF_UP|unix.IFF_NOARP)))
}

// RaiseLoopback raises lo.
func (s *Socket) RaiseLoopback() error {
	if err := s.cfg.Steps.Next("link: up lo"); err != nil {
		return err
	}
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s.fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return classify(&Error{Op: "raise", Object: "link lo", Err: err})
	}
	return nil
}

// DetachVeth takes links off their bridge and down: from then on nobody reaches
// what is behind them. Links that are not there are none to detach.
func (s *Socket) DetachVeth(ctx context.Context, names ...string) error {
	reqs := make([]request, 0, len(names))
	for _, name := range names {
		r := setLink("detach", name, 0, unix.IFF_UP)
		r.m.u32(unix.IFLA_MASTER, 0)
		r.fine = []unix.Errno{unix.ENODEV}
		reqs = append(reqs, r)
	}
	return classify(s.change(ctx, "link: detach "+list(names), reqs...))
}

// DeleteLinks deletes links, both ends of a pair. It takes about as long for
// many of them as for one. Links that are not there count as deleted.
func (s *Socket) DeleteLinks(ctx context.Context, names ...string) error {
	step := "link: delete " + list(names)
	if len(names) == 1 {
		r := request{op: "delete", object: "link " + names[0], m: newMsg(unix.RTM_DELLINK, 0, ifInfo(unix.AF_UNSPEC, 0, 0, 0)...)}
		r.m.str(unix.IFLA_IFNAME, names[0])
		r.fine = []unix.Errno{unix.ENODEV}
		return classify(s.change(ctx, step, r))
	}
	reqs := make([]request, 0, len(names)+1)
	for _, name := range names {
		r := setLink("mark for deletion", name, 0, 0)
		r.m.u32(unix.IFLA_GROUP, DyingGroup)
		r.fine = []unix.Errno{unix.ENODEV}
		reqs = append(reqs, r)
	}
	if len(reqs) == 0 {
		return nil
	}
	return classify(s.change(ctx, step, append(reqs, deleteGroup(DyingGroup))...))
}

// DeleteGroup deletes all links of a group in one go. A group without links is
// no error; group 0, the one that every link is born into, is refused.
func (s *Socket) DeleteGroup(ctx context.Context, group uint32) error {
	if group == 0 {
		return types.BadRequestErrorf("delete link group 0: links of everybody are in it")
	}
	return classify(s.change(ctx, "link: delete group "+groupName(group), deleteGroup(group)))
}

func deleteGroup(group uint32) request {
	r := request{op: "delete", object: "links of group " + groupName(group), m: newMsg(unix.RTM_DELLINK, 0, ifInfo(unix.AF_UNSPEC, 0, 0, 0)...)}
	r.m.u32(unix.IFLA_GROUP, group)
	r.fine = []unix.Errno{unix.ENODEV}
	return r
}

func groupName(group uint32) string { return strconv.FormatUint(uint64(group), 10) }

// AddAddresses gives a link addresses, IPv6 ones without duplicate address
// detection and after IPv6 was turned on for it. An address that the link has
// already is no error.
func (s *Socket) AddAddresses(ctx context.Context, name string, addrs ...netip.Prefix) error {
	index, err := s.Index(name)
	if err != nil {
		return classify(err)
	}
	var reqs []request
	for _, a := range addrs {
		r := address(index, name, a)
		r.fine = []unix.Errno{unix.EEXIST}
		reqs = append(reqs, r)
	}
	step := "address: add to " + name
	err = s.change(ctx, step, reqs...)
	if errors.Is(err, unix.EACCES) {
		if err = s.setIPv6Conf(name, "disable_ipv6", "0"); err == nil {
			err = s.change(ctx, step, reqs...)
		}
	}
	return classify(err)
}

// DeleteAddresses takes addresses from a link; one that is not there is no
// error.
func (s *Socket) DeleteAddresses(ctx context.Context, name string, addrs ...netip.Prefix) error {
	index, err := s.Index(name)
	if err != nil {
		return classify(err)
	}
	var reqs []request
	for _, a := range addrs {
		r := address(index, name, a)
		native.PutUint16(r.m[4:], unix.RTM_DELADDR)
		native.PutUint16(r.m[6:], unix.NLM_F_REQUEST)
		r.op, r.fine = "delete", []unix.Errno{unix.EADDRNOTAVAIL}
		reqs = append(reqs, r)
	}
	return classify(s.change(ctx, "address: delete from "+name, reqs...))
}

// address is a request that adds an address to a link.
func address(index int32, name string, p netip.Prefix) request {
	a := p.Addr().Unmap()
	ifa := make([]byte, unix.SizeofIfAddrmsg)
	ifa[0], ifa[1] = familyOf(a), uint8(p.Bits())
	if a.Is6() {
		ifa[2] = unix.IFA_F_NODAD
	}
	native.PutUint32(ifa[4:], uint32(index))
	r := request{op: "add", object: "address " + p.String() + " to link " + name}
	r.m = newMsg(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ifa...)
	r.m.bytes(unix.IFA_LOCAL, a.AsSlice()...)
	r.m.bytes(unix.IFA_ADDRESS, a.AsSlice()...)
	if a.Is4() && p.Bits() < 31 {
		r.m.bytes(unix.IFA_BROADCAST, broadcast(p)...)
	}
	return r
}

func broadcast(p netip.Prefix) []byte {
	b := p.Addr().Unmap().As4()
	host := uint32(math.MaxUint32) >> p.Bits()
	for i := range b {
		b[i] |= byte(host >> (24 - 8*i))
	}
	return b[:]
}

func checkName(names ...string) error {
	for _, n := range names {
		if len(n) >= unix.IFNAMSIZ || n == "." || n == ".." || slices.ContainsFunc([]byte(n), func(c byte) bool {
			return c <= ' ' || c == '/' || c == ':'
		}) {
			return types.BadRequestErrorf("link name %q: want at most %d bytes without space, slash and colon", n, unix.IFNAMSIZ-1)
		}
	}
	return nil
}

func checkMTU(name string, mtu int) error {
	if mtu < 0 || mtu > math.MaxInt32 {
		return types.BadRequestErrorf("link %s: MTU %d is out of range", name, mtu)
	}
	return nil
}

func parseMAC(name, mac string) (net.HardwareAddr, error) {
	if mac == "" {
		return nil, nil
	}
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return nil, types.BadRequestErrorf("link %s: %q is no Ethernet address", name, mac)
	}
	return hw, nil
}

// clip shortens an alias to what the kernel takes.
func clip(alias string) []byte { return []byte(alias[:min(len(alias), 255)]) }

// list is the first names of a list.
func list(names []string) string {
	switch len(names) {
	case 0:
		return "nothing"
	case 1:
		return names[0]
	default:
		return names[0] + " and " + strconv.Itoa(len(names)-1) + " more"
	}
}
