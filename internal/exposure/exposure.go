// Package exposure says who can reach which ports of containers, and by which
// rule: a pure function from the objects that the kernel shall hold to a list of
// rows. The kernel is not asked, and rules of others, which can close more or lead
// elsewhere, and whether the host forwards, are not known but for what the caller tells.
//
// It says what is let in, not whether a program listens, and takes for granted that
// the host has an address on each bridge whose network is not
// isolated, be it one that somebody else gives. Networks without a bridge of ours
// are left out. All of it may be used from many goroutines.
package exposure

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/model"
)

// From is a class of those who may reach a port. The container itself, when it
// dials an address of the host, is a neighbour of its own.
type From string

// The classes, those from farthest away first.
const (
	// Internet is any other machine, near or far, that dials an address of the host.
	Internet From = "internet"
	// LAN is another machine with a route by the host to the container's own address.
	LAN From = "lan"
	// OtherNetwork is a container on another network of this host, at an address of
	// the host, its own gateway's included, or at the container's own address.
	OtherNetwork From = "network"
	// Neighbour is a container on the same network, at either kind of address.
	Neighbour From = "neighbour"
	// ThisHost is a process in the host's own namespace.
	ThisHost From = "host"
)

// Classes are all of them, in the order of rows.
func Classes() []From { return []From{Internet, LAN, OtherNetwork, Neighbour, ThisHost} }

// Host is what the answers are made from.
type Host struct {
	// Backend is how the firewall is kept, "nftables" or a name that begins with
	// "iptables", and Table what its tables or chains are called by.
	Backend, Table string
	Networks       []Network
	Containers     []Container
	// Drops are the chains of others that drop what nothing in them accepts.
	Drops []model.ForeignDrop
	// Frames are the families, by IPv6, whose packets pass the chains for IP also where a
	// bridge forwards them between its ports.
	Frames []bool
	// Stops are the families, by IPv6, whose packets the host does not forward.
	Stops []bool
	// StopsAt are links of the host that forward no IPv4 packets that come in by them.
	StopsAt []string
}

// Network is a network with the objects that are wanted for it.
type Network struct {
	ID, Name string
	Objects  []model.Object
}

// Container is a container with the objects that are wanted for it.
type Container struct {
	Name string
	// Host containers are in the host's own namespace, on the network of that name.
	Host        bool
	HostNetwork string
	Objects     []model.Object
	// Ports tell more of its published ports.
	Ports []PortState
}

// PortState is what is known of a published port beside its rule.
type PortState struct {
	Proto uint8
	Host  netip.Addr
	First uint16
	// Held says that a socket of ours has the port, Taken that another program's has.
	Held, Taken bool
	// Away says that the host has not that address now.
	Away bool
	// Foreign are rules of others that translate the port too, in words.
	Foreign []string
}

// Row is one way to ports of a container.
type Row struct {
	Container string
	// Network is the one by which packets come to the container.
	Network string
	From    From
	// Only names those of the class who have this way: links of the host or marks of
	// packets, networks, containers. Empty for all of the class.
	Only []string
	// Internal says of [OtherNetwork] that containers on internal networks have this
	// way too. Those on isolated ones have none.
	Internal bool
	// Proto is the IP protocol number, 0 for all that have ports.
	Proto uint8
	// Addr, and First to Last, are what is dialled. The unspecified address of a family
	// stands for all addresses of the host: 127.0.0.0/8 only for [ThisHost]; ::1 never,
	// it has a row of its own; link-local ones for single ports that are held alone,
	// which a process serves there.
	Addr        netip.Addr
	First, Last uint16
	// Except are addresses and ports that lead elsewhere.
	Except []netip.AddrPort
	// SourcePort is the port that the client must use, 0 for any.
	SourcePort uint16
	// Target, and Port on, are where that leads.
	Target netip.Addr
	Port   uint16
	// Forwarded ways go through a process, all others through the kernel alone.
	Forwarded bool
	// Why says in words what opens the way, Rules are the firewall's that a packet
	// needs for it, in their order. There are none where no rule closes it.
	Why      string
	Rules    []Rule
	Warnings []string
}

// Rule is a part of the firewall.
type Rule struct {
	// Show is the command that prints the chain, map or set. Text is what to look for
	// there.
	Show, Text string
}

const (
	firstPort = 1
	lastPort  = 65535
)

// warnDrops warns of chains that the packets of a way pass. What neighbours send each
// other the bridge forwards, by chains of its own, and what this host sends comes in by no
// link. Where frames are shown to the chains for IP they pass both, and with them what
// neighbours send to a published port: it is translated before the bridge forwards it.
func (r *Row) warnDrops(drops []model.ForeignDrop, frames []bool) {
	if r.From == ThisHost {
		return
	}
	shown := slices.Contains(frames, r.Addr.Is6())
	bridged := r.From == Neighbour && (r.Addr == r.Target || shown)
	routed := r.From != Neighbour || r.Addr != r.Target || shown
	for _, d := range drops {
		passes := d.Forward && (d.Bridged() && bridged || !d.Bridged() && routed)
		if r.Forwarded || r.Target.IsUnspecified() { // it ends in the host's own namespace
			passes = d.Input
		}
		if passes && d.Of(r.Addr.Is6()) {
			what := "drops what it does not accept"
			if d.Marked {
				what = "drops what our rules have not let pass before, and may be asked first"
			}
			r.Warnings = append(slices.Clip(r.Warnings), "may be dropped: "+d.String()+" of somebody else "+what)
		}
	}
}

// warnStops warns of packets that the host would have to forward, and does not.
func (r *Row) warnStops(families []bool, links []string) {
	if r.From == ThisHost || r.From == Neighbour && r.Addr == r.Target || r.Forwarded || r.Target.IsUnspecified() {
		return
	}
	for _, v6 := range families {
		if v6 == r.Addr.Is6() {
			family := "IPv4"
			if v6 {
				family = "IPv6"
			}
			r.Warnings = append(slices.Clip(r.Warnings), "no forwarding: the host forwards no packets of "+family+", so this leads nowhere until that is turned on")
		}
	}
	if len(links) > 0 && r.Addr.Is4() && (r.From == Internet || r.From == LAN) {
		r.Warnings = append(slices.Clip(r.Warnings), "no forwarding: this leads nowhere by links that forward no packets of IPv4: "+strings.Join(links, ", "))
	}
}

// Report returns the ways to all containers, sorted by container, class and what is
// dialled.
func Report(h Host) []Row {
	ev := evaluator{
		words: words{h.Backend, h.Table}, bridges: make(map[string]*network),
		special: make(map[socket][]netip.Addr), states: make(map[known]PortState),
	}
	ev.read(h)
	for i := range h.Containers {
		ev.container(&h.Containers[i])
	}
	for i := range ev.rows {
		ev.rows[i].warnDrops(h.Drops, h.Frames)
		ev.rows[i].warnStops(h.Stops, h.StopsAt)
	}
	place := make(map[From]int)
	for i, f := range Classes() {
		place[f] = i
	}
	slices.SortStableFunc(ev.rows, func(a, b Row) int {
		return cmp.Or(
			strings.Compare(a.Container, b.Container), cmp.Compare(place[a.From], place[b.From]),
			strings.Compare(a.Network, b.Network), cmp.Compare(a.Proto, b.Proto),
			a.Addr.Compare(b.Addr), cmp.Compare(a.First, b.First), cmp.Compare(a.SourcePort, b.SourcePort),
			slices.Compare(a.Only, b.Only),
		)
	})
	return ev.rows
}
