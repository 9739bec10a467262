package nft

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// Names of sets and maps, which may be no words of the nft program: it could not read what
// it has listed.
const (
	setBridges     = "bridges"
	setWithin      = "within"
	setSubnets     = "subnets"
	setICC         = "icc"
	setInternal    = "internal"
	setIsolated    = "isolated"
	setRouted      = "routed"
	setUnprotected = "unprotected"
	setTrusted     = "trusted"
	setMarked      = "marked"
	setSources     = "sources"
	setMasquerade  = "masqueraded"
	setSNAT        = "source_addr"
	setHairpin     = "hairpin"
	setPortAny     = "port_any"
	setPortAddr    = "port_addr"
	setRangeTCP    = "range_tcp"
	setRangeUDP    = "range_udp"
	setKept        = "kept"
	setKeptAny     = "kept_any"
	setTracked     = "tracked"
	setOpen        = "open"
	setLinks       = "links"
)

// chainGuard is empty where we have not made the host a router.
const chainGuard = "guard"

// Data types as the nft program numbers them; a concatenation is the numbers of
// its parts in six bits each.
const (
	typeIPAddr      = 7
	typeIP6Addr     = 8
	typeInetProto   = 12
	typeInetService = 13
	typeIfname      = 41
	typeVerdict     = unix.NFT_DATA_VERDICT
)

func concat(types ...uint32) uint32 {
	var t uint32
	for _, x := range types {
		t = t<<6 | x
	}
	return t
}

// A setDef is a set, or a map where it has a data type.
type setDef struct {
	name              string
	text              string // types of key and data, for people
	flags             uint32
	keyType, keyLen   uint32
	dataType, dataLen uint32
	counter           bool // of each element
	// fields are the lengths of the parts of keys in a set of concatenated intervals,
	// where each part has an interval of its own.
	fields []uint32
}

// A chainDef is a chain; one with a hook is where packets come in.
type chainDef struct {
	name     string
	kind     string // filter or nat
	hook     string
	hooknum  uint32
	priority int32
	rules    []rule
}

// An elem is an element of a set. An interval is two of them: the first key, and
// the key behind the last one, with last set. A concatenated interval is one, with
// the last keys in end.
type elem struct {
	set     string
	key     string
	end     string
	data    string
	chain   string // that a verdict map jumps to
	last    bool
	counter bool // counts the packets that look it up
	comment string
}

// A ruleset is the content of one table.
type ruleset struct {
	fam    *family
	sets   []setDef
	chains []chainDef
	elems  []elem
}

func (f *family) sets() []setDef {
	addr := "ipv4_addr"
	if f.v6() {
		addr = "ipv6_addr"
	}
	const pp = "inet_proto . inet_service"
	ports := func(name string) setDef {
		return setDef{
			name: name, text: "inet_service : " + addr, flags: unix.NFT_SET_MAP | unix.NFT_SET_INTERVAL,
			keyType: typeInetService, keyLen: 2, dataType: f.addrType, dataLen: f.addrLen,
		}
	}
	names := func(name string) setDef {
		return setDef{name: name, text: "ifname", keyType: typeIfname, keyLen: unix.IFNAMSIZ}
	}
	pairs := func(name string) setDef {
		return setDef{
			name: name, text: "ifname . ifname",
			keyType: concat(typeIfname, typeIfname), keyLen: 2 * unix.IFNAMSIZ,
		}
	}
	list := []setDef{
		names(setBridges), pairs(setWithin),
		{name: setSubnets, text: addr, flags: unix.NFT_SET_INTERVAL, keyType: f.addrType, keyLen: f.addrLen},
		names(setICC), names(setInternal), names(setIsolated), names(setRouted), names(setUnprotected), pairs(setTrusted),
		{
			name: setMarked, text: "ifname : verdict", flags: unix.NFT_SET_MAP,
			keyType: typeIfname, keyLen: unix.IFNAMSIZ, dataType: typeVerdict,
		},
		{
			name: setSources, text: "ifname . " + addr, flags: unix.NFT_SET_INTERVAL | setConcat,
			keyType: concat(typeIfname, f.addrType), keyLen: unix.IFNAMSIZ + f.addrLen,
			fields: []uint32{unix.IFNAMSIZ, f.addrLen},
		},
		names(setMasquerade), names(setHairpin),
		{
			name: setSNAT, text: "ifname : " + addr, flags: unix.NFT_SET_MAP,
			keyType: typeIfname, keyLen: unix.IFNAMSIZ, dataType: f.addrType, dataLen: f.addrLen,
		},
		{
			name: setPortAddr, text: addr + " . " + pp + " : " + addr + " . inet_service", flags: unix.NFT_SET_MAP,
			keyType: concat(f.addrType, typeInetProto, typeInetService), keyLen: f.addrLen + 8,
			dataType: concat(f.addrType, typeInetService), dataLen: f.addrLen + 4,
		},
		{
			name: setPortAny, text: pp + " : " + addr + " . inet_service", flags: unix.NFT_SET_MAP,
			keyType: concat(typeInetProto, typeInetService), keyLen: 8,
			dataType: concat(f.addrType, typeInetService), dataLen: f.addrLen + 4,
		},
		ports(setRangeTCP), ports(setRangeUDP),
		{name: setTracked, text: addr, keyType: f.addrType, keyLen: f.addrLen, counter: true},
		{
			name: setOpen, text: addr + " . " + pp,
			keyType: concat(f.addrType, typeInetProto, typeInetService), keyLen: f.addrLen + 8,
		},
		linkSet(setLinks, addr, f),
	}
	if f.v6() {
		list = append(list, setDef{
			name: setKept, text: addr + " . " + pp,
			keyType: concat(f.addrType, typeInetProto, typeInetService), keyLen: f.addrLen + 8,
		}, setDef{name: setKeptAny, text: pp, keyType: concat(typeInetProto, typeInetService), keyLen: 8})
	}
	return list
}

// publishRules translate what is for a published port: first for those of one
// address. What a process serves there is left to it (IPv4 has no such ports).
func (f *family) publishRules() []rule {
	rules := []rule{newRule("", f.dnatAddr())}
	if f.v6() {
		rules = append(rules, newRule("", f.to(setKept), ret()))
	}
	return append(rules,
		newRule("", f.dnatAny()),
		newRule("", l4proto("tcp", unix.IPPROTO_TCP), f.dnatRange("tcp", setRangeTCP)),
		newRule("", l4proto("udp", unix.IPPROTO_UDP), f.dnatRange("udp", setRangeUDP)))
}

// localRules have ports of the host looked up: for packets of others, and for its own.
func (f *family) localRules() (prerouting, output []rule) {
	remote := f.addr("daddr", false, f.loopback)
	prerouting = []rule{newRule("", remote, fibLocal(), jump("publish"))}
	if !f.v6() {
		return prerouting, []rule{newRule("", fibLocal(), jump("publish"))}
	}
	// There is no route_localnet for IPv6: ::1 never leaves the loopback link. Who dials a
	// link-local address has one for a source, and with that nothing leaves its link: the
	// process serves it. What containers may reach is for the forward chain to say.
	prerouting = append([]rule{newRule("", f.addr("daddr", true, linkLocal()), ours("iifname", false), ret())}, prerouting...)
	return prerouting, []rule{newRule("", remote, f.addr("daddr", false, linkLocal()), fibLocal(), jump("publish"))}
}

// base returns the chains that every table has.
func (f *family) base(g Guard) []chainDef {
	// What others' tables accept is known when this comes: also that of another data
	// directory.
	foreign := chainDef{name: chainGuard, kind: "filter", hook: "forward", hooknum: unix.NF_INET_FORWARD, priority: 5}
	if g.Of(f.v6()) {
		foreign.rules = f.guardRules(g)
	}
	post := []rule{newRule("", f.addr("daddr", true, f.multicast), ret())}
	if !f.v6() {
		// The host connects to a port by 127.0.0.1; the container could not
		// answer to that source.
		post = append(post, newRule("", ours("oifname", true), f.addr("saddr", true, f.loopback), masquerade()))
	}
	post = append(post,
		newRule("", inSet("oifname", setHairpin), f.inSet("saddr", setSubnets), ctDNAT(), jump("hairpin")),
		// So with a network of another data directory.
		newRule("", ours("oifname", false), f.inSet("saddr", setSubnets), ctDNAT(), fibOwn(), masquerade()),
		newRule("", ifaces("iifname . oifname", setWithin), ret()),
		newRule("", f.inSet("saddr", setSubnets), f.snat()),
		newRule("", inSet("iifname", setMasquerade), f.inSet("saddr", setSubnets), masquerade()))
	prerouting, output := f.localRules()
	chains := []chainDef{
		{name: "publish", rules: f.publishRules()},
		{name: "pass", rules: []rule{newRule("", setMark(), accept())}},
		{name: "member", rules: f.memberRules()},
		{name: "enter", rules: f.enterRules()},
		{name: "source", rules: f.sourceRules()},
		{name: "hairpin", rules: hairpinRules()},
		foreign,
		{
			name: "input", kind: "filter", hook: "input", hooknum: unix.NF_INET_LOCAL_IN, priority: -5,
			rules: f.inputRules(),
		},
		{
			// Of an isolated network the host has no address, and what it has to say
			// to a member of one, as that a packet is too old, would leave.
			name: "output", kind: "filter", hook: "output", hooknum: unix.NF_INET_LOCAL_OUT, priority: -5,
			rules: f.outputRules(),
		},
		{
			// Loopback addresses are routed on our bridges (route_localnet), for
			// ports published on 127.0.0.1; so they are stopped here. So is what a
			// member of an internal network sends in the name of somebody elsewhere: the
			// host's answer, if only that there is no way, would leave.
			name: "raw_prerouting", kind: "filter", hook: "prerouting", hooknum: unix.NF_INET_PRE_ROUTING, priority: -300,
			rules: []rule{
				newRule("", ours("iifname", true), f.addr("daddr", true, f.loopback), drop()),
				newRule("", ours("iifname", true), f.addr("saddr", true, f.loopback), drop()),
				// A frame to everybody with a packet for one (against RFC 1122, 3.3.6) is taken
				// for a connection by br_netfilter before any rule has been asked (Linux 6.8),
				// and what follows would be established.
				newRule("", toAll(), ours("iifname", true), fibType("unicast", unix.RTN_UNICAST), notrack()),
				newRule("", inSet("iifname", setInternal), jump("source")),
			},
		},
		{
			name: "nat_prerouting", kind: "nat", hook: "prerouting", hooknum: unix.NF_INET_PRE_ROUTING, priority: -100,
			rules: prerouting,
		},
		{
			name: "nat_output", kind: "nat", hook: "output", hooknum: unix.NF_INET_LOCAL_OUT, priority: -100,
			rules: output,
		},
		{
			// All that asks for the mark has been asked. Others may save marks to the
			// connection from -150 (mangle) on, and would not know this one again. What a
			// published port leads to a network that the host has no route to, since its
			// bridge has no address, would get to whoever has the container's elsewhere.
			name: "postrouting", kind: "filter", hook: "postrouting", hooknum: unix.NF_INET_POST_ROUTING, priority: -160,
			rules: []rule{
				newRule("", ctDNAT(), ours("oifname", false), f.inSet("daddr", setTracked), drop()),
				newRule("", clearMark()),
			},
		},
		{
			// Meets the first packet of each connection, and comes before the chains
			// of others, since the first chain that translates it is the last.
			name: "nat_tracked", kind: "nat", hook: "postrouting", hooknum: unix.NF_INET_POST_ROUTING, priority: 50,
			rules: []rule{newRule("", f.inSet("saddr", setTracked)), newRule("", f.inSet("daddr", setTracked))},
		},
		{
			name: "nat_postrouting", kind: "nat", hook: "postrouting", hooknum: unix.NF_INET_POST_ROUTING, priority: 100,
			rules: post,
		},
		{
			name: "forward", kind: "filter", hook: "forward", hooknum: unix.NF_INET_FORWARD, priority: -5,
			rules: f.forwardRules(),
		},
	}
	if f.v6() {
		// Other data directories know by the mark what comes from an internal network.
		chains = append(chains, chainDef{
			name: "mark_input", kind: "filter", hook: "input", hooknum: unix.NF_INET_LOCAL_IN, priority: -150,
			rules: []rule{newRule("", inSet("iifname", setInternal), setMark())},
		})
	}
	return chains
}

// forwardRules say who reaches whom.
func (f *family) forwardRules() []rule {
	return []rule{
		newRule("", ours("iifname", false), ours("oifname", false), accept()),
		// Before what is established: a connection with an address of the host is,
		// and goes on where a route leads when the host has that address no more.
		newRule("", inSet("iifname", setInternal), notWithin(), drop()),
		newRule("", inSet("oifname", setInternal), notWithin(), drop()),
		// What members say to each other is established where br_netfilter shows it; they
		// come by no other link.
		newRule("", ours("oifname", true), notWithin(), f.source("oifname", true), drop()),
		newRule("", synAlone(), clampMSS()),
		newRule("", ctState(), goTo("pass")),
		newRule("", ifaces("iifname . oifname", setWithin), goTo("member")),
		// What is of no connection is not translated, and would leave, or come to
		// another network, with the address of a member.
		newRule("", f.ctNone(), inSet("iifname", setMasquerade), f.inSet("saddr", setSubnets), drop()),
		newRule("", ours("oifname", true), goTo("enter")),
		newRule("", goTo("pass")),
	}
}

// guardRules drop what neither comes from a network nor goes to one, be it of another
// data directory, or of others.
func (f *family) guardRules(g Guard) (list []rule) {
	p := g.Passes(f.v6())
	if p != (model.GuardPasses{}) {
		list = append(list, newRule("", ours("iifname", true), accept()), newRule("", ours("oifname", true), accept()))
	}
	for name := range strings.FieldsSeq(p.Bridges) {
		list = append(list, newRule("", link("iifname", name), accept()), newRule("", link("oifname", name), accept()))
	}
	for name := range strings.FieldsSeq(p.Switches) {
		list = append(list, newRule("", link("iifname", name), link("oifname", name), accept()))
	}
	for name := range strings.FieldsSeq(p.Routers) {
		list = append(list, newRule("", link("iifname", name), accept()))
	}
	return append(list, newRule("", ours("iifname", false), ours("oifname", false), unmarked(), drop()))
}

// part is the network's configuration for one family, nil without it.
func part(n *model.FirewallNetwork, v6 bool) *model.FirewallFamily {
	if v6 {
		return n.V6
	}
	return n.V4
}

// portElems returns the elements of a publication.
func portElems(p *model.Port) []elem {
	addr := p.Addr.AsSlice()
	wildcard := p.Host.IsUnspecified()
	if wildcard && p.Last > p.First && p.Port == p.First {
		set := map[uint8]string{unix.IPPROTO_TCP: setRangeTCP, unix.IPPROTO_UDP: setRangeUDP}[p.Proto]
		if set != "" {
			list := []elem{{set: set, key: port(p.First), data: string(addr), comment: p.Owner}}
			if p.Last < 65535 {
				list = append(list, elem{set: set, key: port(p.Last + 1), last: true})
			}
			return list
		}
	}
	list := make([]elem, 0, int(p.Last-p.First)+1)
	for i := range int(p.Last-p.First) + 1 {
		key := []byte{p.Proto, 0, 0, 0}
		key = append(binary.BigEndian.AppendUint16(key, p.First+uint16(i)), 0, 0)
		set := setPortAny
		if !wildcard {
			set, key = setPortAddr, append(p.Host.AsSlice(), key...)
		}
		data := binary.BigEndian.AppendUint16(slices.Clone(addr), p.Port+uint16(i))
		list = append(list, elem{set: set, key: string(key), data: string(append(data, 0, 0)), comment: p.Owner})
	}
	return list
}

// trackedElem counts the connections of an address.
func trackedElem(t *model.Tracked) elem {
	return elem{set: setTracked, key: string(t.Addr.AsSlice()), counter: true, comment: t.Owner}
}

func port(n uint16) string { return string(binary.BigEndian.AppendUint16(nil, n)) }

// build returns the wanted content of a family's table, nil for no table.
func (f *family) build(want Change, g Guard) *ruleset {
	if f.bridge() {
		return buildLinks(f, want)
	}
	rs := &ruleset{fam: f, sets: f.sets(), chains: f.base(g)}
	needed := g.Of(f.v6())
	for i := range want.Networks {
		n := &want.Networks[i]
		c := part(n, f.v6())
		if c == nil {
			continue
		}
		needed = true
		rs.chains = append(rs.chains, network(n, c)...)
		rs.elems = append(rs.elems, networkElems(n, c)...)
	}
	if !needed {
		return nil
	}
	rs.elems = append(rs.elems, f.elems(want)...)
	return rs
}

// elems returns the elements of what belongs to endpoints.
func (f *family) elems(c Change) []elem {
	if f.bridge() {
		return bridgeElems(c)
	}
	var list []elem
	for i := range c.Ports {
		if c.Ports[i].Addr.Is6() == f.v6() {
			list = append(list, portElems(&c.Ports[i])...)
		}
	}
	for i := range c.Tracked {
		if c.Tracked[i].Addr.Is6() == f.v6() {
			list = append(list, trackedElem(&c.Tracked[i]))
		}
	}
	for i := range c.OpenPorts {
		if c.OpenPorts[i].Addr.Is6() == f.v6() {
			list = append(list, openElems(&c.OpenPorts[i])...)
		}
	}
	for i := range c.Kept {
		if f.v6() {
			list = append(list, keptElem(&c.Kept[i]))
		}
	}
	for i := range c.Links {
		if c.Links[i].Target.Is6() == f.v6() {
			list = append(list, linkElem(setLinks, &c.Links[i]))
		}
	}
	return list
}

// compareElems orders elements by set and key. The end of an interval comes
// before the start of the next one at the same key.
func compareElems(a, b elem) int {
	last := func(e elem) int {
		if e.last {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.set, b.set), cmp.Compare(a.key, b.key), cmp.Compare(last(a), last(b)))
}
