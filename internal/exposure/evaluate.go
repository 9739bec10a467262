package exposure

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/libnetwork/libnetwork/internal/model"
)

type evaluator struct {
	words   words
	bridges map[string]*network
	owners  map[netip.Addr]string // containers by their addresses
	special map[socket][]netip.Addr
	states  map[known]PortState
	rows    []Row
}

// network is one with a bridge.
type network struct {
	Network
	bridge string
	// ipv6 says that the bridge has IPv6.
	ipv6   bool
	addrs  []netip.Prefix // of the bridge
	v4, v6 *model.FirewallFamily
	// filtered says that there are rules for it, adopted that the bridge is somebody else's.
	filtered, adopted bool
}

// dials says whether its containers reach the host's addresses of a family.
func (n *network) dials(v6 bool) bool {
	if !n.filtered {
		return !v6 || n.ipv6
	}
	f := n.family(v6)
	return f != nil && f.Mode != model.ModeIsolated
}

// unrouted warns where the host has no address on the bridge.
func (n *network) unrouted(v6 bool) []string {
	if n.hasAddress(v6) {
		return nil
	}
	return []string{"no route: the host has no address on " + n.bridge + ", so this leads nowhere unless somebody gives it one there"}
}

// unanswered warns where the host has no address on the bridge, of what a process sends by
// it all the same.
func (n *network) unanswered(v6 bool) []string {
	if n.hasAddress(v6) {
		return nil
	}
	return []string{"no address: the host has none on " + n.bridge + ", so the container needs a route of its own for answers"}
}

func (n *network) hasAddress(v6 bool) bool {
	return slices.ContainsFunc(n.addrs, func(p netip.Prefix) bool { return p.Addr().Is6() == v6 })
}

func (n *network) family(v6 bool) *model.FirewallFamily {
	if v6 {
		return n.v6
	}
	return n.v4
}

// closed says whether nothing from outside comes in, whatever is published.
func closed(f *model.FirewallFamily) bool { return f.Internal || f.Mode == model.ModeIsolated }

// A socket is a port of the host's.
type socket struct {
	proto uint8
	v6    bool
	port  uint16
}

// place is where a container is on a network in one family.
type place struct {
	net  *network
	addr netip.Addr
	icc  bool // its neighbours reach it, and it them
}

func (ev *evaluator) read(h Host) {
	for _, n := range h.Networks {
		net := &network{Network: n}
		for _, o := range n.Objects {
			switch o := o.(type) {
			case model.Bridge:
				net.bridge, net.ipv6, net.addrs, net.adopted = o.Name, o.IPv6, o.Addrs, o.Adopted
			case model.FirewallNetwork:
				net.v4, net.v6, net.filtered = o.V4, o.V6, true
			}
		}
		if net.bridge != "" {
			ev.bridges[net.bridge] = net
		}
	}
	ev.owners = make(map[netip.Addr]string)
	for _, c := range h.Containers {
		for _, s := range c.Ports {
			ev.states[known{s.Proto, s.Host, s.First}] = s
		}
		for _, o := range c.Objects {
			switch o := o.(type) {
			case model.Veth:
				for _, a := range o.Addrs {
					ev.owners[a.Addr()] = c.Name
				}
			case model.Port:
				ev.note(o.Proto, o.Host, o.First, o.Last)
			case model.Forward:
				ev.note(o.Proto, o.Host.Addr(), o.Host.Port(), o.Host.Port())
			}
		}
	}
}

// note remembers ports of one address, which go before those of all addresses.
func (ev *evaluator) note(proto uint8, host netip.Addr, first, last uint16) {
	if host.IsUnspecified() {
		return
	}
	for p := int(first); p <= int(last); p++ {
		at := socket{proto, host.Is6(), uint16(p)}
		ev.special[at] = append(ev.special[at], host)
	}
}

// except are the addresses that have ports of these numbers of their own.
func (ev *evaluator) except(r *Row) {
	if !r.Addr.IsUnspecified() {
		return
	}
	for p := int(r.First); p <= int(r.Last); p++ {
		for _, s := range ev.special[socket{r.Proto, r.Addr.Is6(), uint16(p)}] {
			if r.Forwarded || s != netip.IPv6Loopback() { // which no rule leads anywhere
				r.Except = append(r.Except, netip.AddrPortFrom(s, uint16(p)))
			}
		}
	}
	slices.SortFunc(r.Except, netip.AddrPort.Compare)
}

func (ev *evaluator) container(c *Container) {
	if c.Host {
		ev.hostContainer(c)
		return
	}
	var places []place
	isolated := make(map[string]bool) // links of the host
	for _, o := range c.Objects {
		if l, ok := o.(model.LinkedPort); ok {
			isolated[l.Host] = true
		}
	}
	for _, o := range c.Objects {
		v, ok := o.(model.Veth)
		if !ok || ev.bridges[v.Bridge] == nil {
			continue
		}
		for _, a := range v.Addrs {
			places = append(places, place{ev.bridges[v.Bridge], a.Addr(), !v.Isolated && !isolated[v.Host]})
		}
	}
	for _, p := range places {
		ev.direct(c, p)
	}
	find := func(a netip.Addr) (place, bool) {
		i := slices.IndexFunc(places, func(p place) bool { return p.addr == a })
		if i < 0 {
			return place{}, false
		}
		return places[i], true
	}
	for _, o := range c.Objects {
		switch o := o.(type) {
		case model.Port:
			if p, ok := find(o.Addr); ok {
				ev.published(c, p, o)
			}
		case model.Forward:
			if p, ok := find(o.Target.Addr()); ok {
				ev.forwarded(c, p, o)
			}
		case model.OpenPort:
			if p, ok := find(o.Addr); ok {
				ev.open(c, p, o)
			}
		case model.Link:
			ev.linked(c, find, o)
		}
	}
}

// add completes a row.
func (ev *evaluator) add(c *Container, p place, r Row) {
	r.Container, r.Network = c.Name, p.net.Name
	if !r.Target.IsValid() {
		r.Target = p.addr
	}
	ev.rows = append(ev.rows, r)
}

// whole is a row of all ports of a container at its own address.
func whole(p place, from From, why string, rules ...Rule) Row {
	r := Row{From: from, Addr: p.addr, First: firstPort, Last: lastPort, Port: firstPort, Why: why, Rules: rules}
	if from != Neighbour {
		r.Warnings = p.net.unrouted(p.addr.Is6())
	}
	return r
}

// direct adds the ways to all ports at the container's own address.
func (ev *evaluator) direct(c *Container, p place) {
	v6 := p.addr.Is6()
	f, w := p.net.family(v6), ev.words
	if p.icc {
		var rules []Rule
		if p.net.filtered {
			rules = append(rules, w.members(v6, p.net))
		}
		ev.add(c, p, whole(p, Neighbour, "containers of "+p.net.Name+" reach each other", rules...))
	}
	if p.net.adopted {
		r := whole(p, Neighbour, "what is at ports of "+p.net.bridge+" that are not ours is a neighbour")
		r.Warnings = []string{"a bridge of somebody else: which machines are behind its other ports is not known, and what the bridge forwards from there no rule of ours is asked about, unless br_netfilter shows it"}
		ev.add(c, p, r)
	}
	if f == nil {
		ev.add(c, p, whole(p, ThisHost, whyHost))
		for _, from := range []From{LAN, OtherNetwork} {
			r := whole(p, from, "the firewall is turned off")
			r.Internal = from == OtherNetwork
			r.warn(public(p.addr), "no firewall: every port is open to whoever has a route to the container")
			ev.add(c, p, r)
		}
		return
	}
	if f.Mode != model.ModeIsolated {
		ev.add(c, p, whole(p, ThisHost, whyHost))
	}
	if closed(f) {
		return
	}
	if f.Mode == model.ModeNATUnprotected {
		for _, from := range []From{LAN, OtherNetwork} {
			r := whole(p, from, "gateway mode nat-unprotected", w.last(v6, p.net))
			if from == LAN {
				r.warn(public(p.addr), "nat-unprotected: every port is open to whoever has a route to the container")
			}
			ev.add(c, p, r)
		}
		return
	}
	ev.trusted(c, p, f)
}

const whyHost = "the host reaches its containers"

// warn adds warnings.
func (r *Row) warn(list []string, more ...string) {
	r.Warnings = append(append(r.Warnings, list...), more...)
}

// public warns of addresses that the internet has a route to.
func public(a netip.Addr) []string {
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return nil
	}
	return []string{"public address: not only the LAN may have a route to it"}
}

// trusted adds the ways of those who pass whatever the port is.
func (ev *evaluator) trusted(c *Container, p place, f *model.FirewallFamily) {
	v6 := p.addr.Is6()
	way := func(from From, who, why, open string, rule Rule) {
		r := whole(p, from, why, rule)
		r.Only = []string{who}
		if from == LAN {
			r.warn(public(p.addr), "trusted: every port is open to what comes "+open)
		}
		ev.add(c, p, r)
	}
	if m := f.TrustedMark; m.Mask != 0 {
		who := fmt.Sprintf("mark %#x/%#x", m.Value, m.Mask)
		for _, from := range []From{LAN, OtherNetwork} {
			way(from, who, "packets with that mark are trusted", "with "+who, ev.words.mark(v6, p.net, m))
		}
	}
	for _, link := range f.Trusted {
		rule := ev.words.trusted(v6, p.net, link)
		switch other := ev.bridges[link]; {
		case other == nil:
			way(LAN, link, link+" is trusted", "by "+link, rule)
		case other == p.net, other.family(v6) == nil, closed(other.family(v6)):
		default:
			way(OtherNetwork, other.Name, link+" is trusted", "", rule)
		}
	}
}

// published adds the ways by an address of the host that the kernel translates.
func (ev *evaluator) published(c *Container, p place, o model.Port) {
	v6 := o.Host.Is6()
	row := Row{
		Proto: o.Proto, Addr: o.Host, First: o.First, Last: o.Last, Port: o.Port, Target: o.Addr,
		Why: "published",
	}
	if s, ok := ev.states[known{o.Proto, o.Host, o.First}]; ok {
		row.Warnings = warnings(s)
	}
	row.Warnings = append(row.Warnings, p.net.unrouted(p.addr.Is6())...)
	ev.except(&row)
	way := func(from From, r Row, rules ...Rule) {
		r.From, r.Rules = from, append([]Rule{ev.words.port(o)}, rules...)
		ev.add(c, p, r)
	}
	way(ThisHost, row)
	f := p.net.family(v6)
	if f == nil || closed(f) || o.Host.IsLoopback() {
		return
	}
	enter := ev.words.translated(v6, p.net)
	outside := row
	if o.Host.IsUnspecified() {
		outside.Warnings = append([]string{wildcard}, row.Warnings...)
	}
	way(Internet, outside, enter)
	way(OtherNetwork, row, enter)
	if p.icc {
		way(Neighbour, row, ev.words.members(v6, p.net))
		return
	}
	for _, x := range c.Objects {
		l, ok := x.(model.Link)
		switch {
		case !ok || l.Proto != o.Proto:
		case l.Target == o.Addr && l.Port >= o.Port && l.Port-o.Port <= o.Last-o.First:
			one := row
			one.First = o.First + (l.Port - o.Port)
			one.Last, one.Port, one.Only = one.First, l.Port, []string{ev.owner(l.Client)}
			one.Except = slices.DeleteFunc(slices.Clone(row.Except), func(a netip.AddrPort) bool { return a.Port() != one.First })
			way(Neighbour, one, ev.words.link(l, true))
		case l.Client == o.Addr:
			back := row
			back.Only, back.SourcePort = []string{ev.owner(l.Target)}, l.Port
			way(Neighbour, back, ev.words.link(l, false))
		}
	}
}

const wildcard = "wildcard: open on every interface of the host"

// known is where a port is published.
type known struct {
	proto uint8
	host  netip.Addr
	first uint16
}

// warnings are about a port as such.
func warnings(s PortState) []string {
	var out []string
	switch {
	case s.Taken:
		out = append(out, "taken: another program has the host's port")
	case !s.Held:
		out = append(out, "not held: another program can have the host's port")
	}
	if s.Away {
		out = append(out, awayFrom(s.Host))
	}
	for _, f := range s.Foreign {
		out = append(out, "foreign rule: "+f)
	}
	return out
}

// awayFrom warns of an address that the host has not.
func awayFrom(host netip.Addr) string {
	return "no address: the host has not " + host.String() + " now, so this is reached only where packets for it are led here all the same"
}

// forwarded adds the ways through a process: what no rule leads elsewhere before.
func (ev *evaluator) forwarded(c *Container, p place, o model.Forward) {
	host := o.Host.Addr()
	if s, ok := ev.states[known{o.Proto, host, o.Host.Port()}]; ok && !s.Held {
		return // there is no socket to serve
	}
	if o.Beside && host != netip.IPv6Unspecified() {
		return
	}
	row := Row{
		Proto: o.Proto, Addr: host, First: o.Host.Port(), Last: o.Host.Port(), Port: o.Target.Port(), Target: o.Target.Addr(),
		Forwarded: true, Why: "published, forwarded by the daemon", Warnings: p.net.unanswered(p.addr.Is6()),
	}
	if s, ok := ev.states[known{o.Proto, host, o.Host.Port()}]; ok && s.Away {
		row.Warnings = append(row.Warnings, awayFrom(host))
	}
	ev.except(&row)
	way := func(from From, r Row) {
		r.From = from
		ev.add(c, p, r)
	}
	if host == netip.IPv6Unspecified() && !slices.ContainsFunc(row.Except, func(a netip.AddrPort) bool { return a.Addr().IsLoopback() }) {
		r := row
		r.Addr, r.Except = netip.IPv6Loopback(), nil
		way(ThisHost, r)
	}
	if o.Beside {
		return
	}
	way(ThisHost, row)
	if host.IsLoopback() {
		return
	}
	outside := row
	if host.IsUnspecified() {
		outside.Warnings = append([]string{wildcard}, row.Warnings...)
	}
	way(Internet, outside)
	row.Internal = !p.net.filtered // see model.KeptPort
	way(OtherNetwork, row)
	if p.net.dials(host.Is6()) {
		way(Neighbour, row)
	}
}

// open adds the ways to ports of a container at its own address.
func (ev *evaluator) open(c *Container, p place, o model.OpenPort) {
	f := p.net.family(o.Addr.Is6())
	if f == nil || closed(f) {
		return
	}
	why, what := "published, and direct routing is allowed", "direct routing"
	if f.Mode == model.ModeRouted {
		why, what = "published on a routed network", "routed"
	}
	for _, from := range []From{LAN, OtherNetwork} {
		r := Row{
			From: from, Proto: o.Proto, Addr: o.Addr, First: o.First, Last: o.Last, Port: o.First,
			Why: why, Rules: []Rule{ev.words.open(o)},
		}
		if from == LAN {
			r.Warnings = append(public(o.Addr), what+": open at the container's own address to whoever has a route to it")
		}
		r.warn(p.net.unrouted(o.Addr.Is6()))
		ev.add(c, p, r)
	}
}

func (ev *evaluator) owner(a netip.Addr) string {
	if name := ev.owners[a]; name != "" {
		return name
	}
	return a.String()
}

// linked adds the ways between two containers that are linked.
func (ev *evaluator) linked(c *Container, find func(netip.Addr) (place, bool), l model.Link) {
	if p, ok := find(l.Target); ok {
		client := ev.owner(l.Client)
		ev.add(c, p, Row{
			From: Neighbour, Only: []string{client}, Proto: l.Proto, Addr: l.Target, First: l.Port, Last: l.Port, Port: l.Port,
			Why: client + " is linked with it", Rules: []Rule{ev.words.linkFrames(l, true)},
		})
	}
	if p, ok := find(l.Client); ok {
		target := ev.owner(l.Target)
		r := whole(p, Neighbour, "it is linked with "+target, ev.words.linkFrames(l, false))
		r.Only, r.Proto, r.SourcePort = []string{target}, l.Proto, l.Port
		r.Warnings = []string{fmt.Sprintf("link: answers are told by their source port, so from port %d every port is open to %s", l.Port, target)}
		ev.add(c, p, r)
	}
}

// hostContainer adds the ways to a container that has no namespace of its own. They
// are those to the host, but for published ports.
func (ev *evaluator) hostContainer(c *Container) {
	for _, from := range []From{Internet, OtherNetwork, ThisHost} {
		for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			r := Row{
				Container: c.Name, Network: c.HostNetwork, From: from, Internal: from == OtherNetwork,
				Addr: a, First: firstPort, Last: lastPort, Target: a, Port: firstPort, Why: "it is in the host's own namespace",
			}
			if from == Internet {
				r.Warnings = []string{"host network: whatever the container listens at is open, as far as the host's own rules let it"}
			}
			ev.rows = append(ev.rows, r)
			if from == ThisHost && a.Is6() {
				r.Addr, r.Target = netip.IPv6Loopback(), netip.IPv6Loopback()
				ev.rows = append(ev.rows, r)
			}
		}
	}
}
