package rtnl

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/nlevents"
)

// A Watch hears of what the links of a namespace lose.
type Watch struct {
	s       *nlevents.Socket
	rt      *Socket
	groups  []uint32
	links   map[int]Link // of the groups, by index
	foreign map[int]Link // all others
	changed func(name string, others bool)
	// stopped is told that the host forwards no packets of a family any more.
	stopped func()
}

// OpenWatch opens a watch in the namespace of the calling thread. It calls changed
// with the name of each link of the groups that has lost something: that is gone,
// has another name, group or MTU, has been taken down or off its bridge, forwards no packets
// any more, has got other settings of a port, or has lost an address or the route to the subnet of one.
// An empty name says that messages were missed. Births and gains are not told of, but
// for a link-local address that the kernel has made for a bridge, and for links of others: that a
// bridge has come or is gone, that a link has got another name, or that one of hardware has become
// a port, or is one no more. It calls stopped when the host forwards no packets of a family any more.
func OpenWatch(groups []uint32, changed func(name string, others bool), stopped func()) (*Watch, error) {
	w := &Watch{groups: groups, changed: changed, stopped: stopped}
	var err error
	w.s, err = nlevents.Open(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF)
	if err != nil {
		return nil, err
	}
	if w.rt, err = Open(Config{}); err != nil {
		return nil, errors.Join(err, w.s.Close())
	}
	if err := errors.Join(w.s.Filter(deletedConnected), w.list()); err != nil {
		return nil, errors.Join(err, w.rt.Close(), w.s.Close())
	}
	return w, nil
}

// list finds out what there is: without it the first loss would not be seen as one.
func (w *Watch) list() error {
	links, err := w.rt.Links(context.Background())
	if err != nil {
		return err
	}
	w.links, w.foreign = make(map[int]Link), make(map[int]Link)
	for _, l := range links {
		if slices.Contains(w.groups, l.Group) {
			w.links[l.Index] = l
		} else {
			w.foreign[l.Index] = l
		}
	}
	return nil
}

// deletedConnected lets of all changes of routes only those pass by which one that the
// kernel had made is gone: a router may have a million others, which come and go.
var deletedConnected = func() []unix.SockFilter {
	const (
		kindAt     = 4 // nlmsghdr.nlmsg_type
		protocolAt = hdrLen + rtmProtocol
		pass, drop = ^uint32(0), 0
	)
	kind := func(k uint16) uint32 { // loads are of network order, the header is not
		return uint32(binary.BigEndian.Uint16(native.AppendUint16(nil, k)))
	}
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: kindAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: kind(unix.RTM_NEWROUTE), Jt: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: kind(unix.RTM_DELROUTE), Jf: 2},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: protocolAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.RTPROT_KERNEL, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: pass},
		{Code: unix.BPF_RET | unix.BPF_K, K: drop},
	}
}()

// parseConnected reads from a message the link of a route to a subnet, or to an address of
// the host's own.
func parseConnected(body []byte) (index int, ok bool) {
	if len(body) < unix.SizeofRtMsg || body[7] != unix.RTN_UNICAST && body[7] != unix.RTN_LOCAL {
		return 0, false
	}
	for k, v := range attrs(body[unix.SizeofRtMsg:]) {
		if k == unix.RTA_OIF && len(v) >= 4 {
			return int(int32(u32(v))), true
		}
	}
	return 0, false
}

// Run calls the watch's function until ctx ends; then the watch is closed.
func (w *Watch) Run(ctx context.Context) error {
	each := func(m nlevents.Message) { w.message(m.Type, m.Body) }
	missed := func() {
		_ = w.list() // what was known stays known, and all is looked at
		w.changed("", false)
	}
	return errors.Join(w.s.Read(ctx, each, missed), w.s.Close(), w.rt.Close())
}

func (w *Watch) message(kind uint16, body []byte) {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// The bridge tells of its ports by the same messages, of its own family.
		switch {
		case len(body) == 0:
		case body[0] == unix.AF_UNSPEC:
			w.link(kind, body)
		case body[0] == unix.AF_BRIDGE && kind == unix.RTM_NEWLINK:
			w.port(body)
		}
	case unix.RTM_NEWNETCONF:
		if index, ok := stopsForwarding(body); ok && index == netconfAll {
			w.stopped()
		} else if l, ours := w.links[index]; ok && ours && l.Kind == "bridge" {
			w.changed(l.Name, false)
		}
	case unix.RTM_DELROUTE:
		if index, ok := parseConnected(body); ok {
			if l, ours := w.links[index]; ours {
				w.changed(l.Name, false)
			}
		}
	case unix.RTM_NEWADDR:
		// The kernel makes one for a bridge for which somebody has turned IPv6 on.
		if a, ok := parseAddress(body); ok && a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast() && a.Prefix != routerLinkLocal {
			if l, ours := w.links[a.Index]; ours && l.Kind == "bridge" {
				w.changed(l.Name, false)
			}
		}
	case unix.RTM_DELADDR:
		if a, ok := parseAddress(body); ok {
			if l, ours := w.links[a.Index]; ours {
				w.changed(l.Name, false)
			}
		}
	}
}

func (w *Watch) link(kind uint16, body []byte) {
	l, ok := parseLink(body)
	if !ok {
		return
	}
	w.others(kind, l)
	was, known := w.links[l.Index]
	switch {
	case kind == unix.RTM_DELLINK:
		delete(w.links, l.Index)
		if known {
			w.changed(was.Name, false)
		}
		return
	case !slices.Contains(w.groups, l.Group):
		delete(w.links, l.Index)
	default:
		w.links[l.Index] = l
	}
	if known && (was.Name != l.Name || was.Up && !l.Up || !was.NoARP && l.NoARP || was.Master != 0 && was.Master != l.Master || was.Group != l.Group || was.MTU != l.MTU || disturbed(was, l)) {
		w.changed(was.Name, false)
	}
}

// port hears of the settings of a port.
func (w *Watch) port(body []byte) {
	l, ok := parsePort(body)
	was, known := w.links[l.Index]
	if !ok || !known || was.Master != l.Master {
		return
	}
	now := was
	now.Isolated, now.Hairpin, now.Blocked, now.Narrowed = l.Isolated, l.Hairpin, l.Blocked, l.Narrowed
	w.links[l.Index] = now
	if disturbed(was, now) {
		w.changed(was.Name, false)
	}
}

// disturbed says whether a port has lost a setting, or has got one that it should not have. Ports
// get hairpin and isolation by one message when they are made: a port without the first is not
// ready yet.
func disturbed(was, now Link) bool {
	return was.Hairpin && (!now.Hairpin || was.Isolated != now.Isolated) || !was.Blocked && now.Blocked || !was.Narrowed && now.Narrowed
}

// others tells of links of others: links of the groups may miss their bridges.
func (w *Watch) others(kind uint16, l Link) {
	was, known := w.foreign[l.Index]
	if kind == unix.RTM_DELLINK || slices.Contains(w.groups, l.Group) {
		delete(w.foreign, l.Index)
		if known && was.Kind == "bridge" {
			w.changed(was.Name, true)
		}
		return
	}
	w.foreign[l.Index] = l
	bridge := l.Kind == "bridge"
	if known && was.Name != l.Name && bridge {
		w.changed(was.Name, true)
	}
	if !known && bridge || known && was.Name != l.Name || known && was.Master != l.Master && l.Hardware() {
		w.changed(l.Name, true)
	}
}

// Of linux/netconf.h.
const (
	netconfLen        = 4 // struct netconfmsg with its padding
	netconfIndex      = 1 // NETCONFA_IFINDEX
	netconfForwarding = 2 // NETCONFA_FORWARDING
	netconfAll        = -1
)

// stopsForwarding reads from a message that a link, or none, forwards packets any more.
func stopsForwarding(body []byte) (index int, off bool) {
	if len(body) < netconfLen {
		return 0, false
	}
	for k, v := range attrs(body[netconfLen:]) {
		switch {
		case len(v) < 4:
		case k == netconfIndex:
			index = int(int32(u32(v)))
		case k == netconfForwarding:
			off = u32(v) == 0
		}
	}
	return index, off
}
