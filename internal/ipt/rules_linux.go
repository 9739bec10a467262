package ipt

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
)

// Tables, in the order in which a batch goes through them: what drops comes first.
const (
	tableFilter = "filter"
	tableNAT    = "nat"
	tableRaw    = "raw"
	tableMangle = "mangle"
)

func tableNames() []string { return []string{tableFilter, tableNAT, tableRaw, tableMangle} }

// Chains, without the part that all names begin with. A packet that is forwarded
// goes through those of the table filter in this order.
const (
	chainForward = "FORWARD"
	chainClosed  = "CLOSED" // between an internal network and all else; what is forged as from a member
	chainMSS     = "MSS"    // lowers the size of segments
	chainCT      = "CT"     // established connections of our networks
	chainLink    = "LINK"   // between members that are linked
	chainMember  = "MEMBER" // between members
	chainEnter   = "ENTER"  // from outside into a network
	chainOpen    = "OPEN"   // ports of members at their own addresses
	chainLeave   = "LEAVE"  // from a network to the outside
	chainPass    = "PASS"   // marks and accepts, when all data directories have been asked what is closed
	chainTake    = "TAKE"   // marks what is accepted when all data directories have been asked
	chainAccept  = "ACCEPT" // accepts that
	chainInput   = "INPUT"  // from a network to the host
	chainKept    = "KEPT"   // from an internal network to ports that the process serves
	chainOutput  = "OUTPUT" // from the host to a network that it has no address of
	chainGuard   = "GUARD"  // what is for no network at all, where we made the host a router

	chainPublish = "PUBLISH" // connections to addresses of the host
	chainScoped  = "SCOPED"  // connections to link-local ones
	chainAddress = "ADDRESS" // ports of one address
	chainAny     = "ANY"     // ports of all addresses
	chainPost    = "POST"    // translation of sources

	chainRaw    = "RAW"    // loopback addresses from and to containers
	chainToAll  = "TOALL"  // frames to everybody with a packet for one
	chainSource = "SOURCE" // what members of internal networks send

	chainInside = "INSIDE" // marks what comes from an internal network to the host
	chainUnmark = "UNMARK" // takes the mark away when all who ask for it have been asked
	chainAstray = "ASTRAY" // what a published port leads to a network and leaves elsewhere
)

// maxName bounds the names of chains (XT_EXTENSION_MAXNAMELEN with its final zero).
const maxName = 28

// An entry is one rule.
type entry struct {
	chain string
	// group is what an entry is changed together with: the entries of one network in
	// one chain, whose order counts, or a port. It is empty for those that are there
	// for all.
	group   string
	comment string
	text    string // what follows the chain in a command
}

// A hook is the rule of a chain of the kernel's that leads to a chain of ours.
type hook struct {
	entry
	// first says that it comes before the rules that are there, accepts that it is the one behind
	// that.
	first, accepts bool
	// misplaced says that it stands where it does not belong any more.
	misplaced bool
}

// rules are what the tables hold of ours.
type rules map[string]*table

// A table is our chains with their entries by group, and what leads there.
type table struct {
	chains map[string]map[string][]entry
	hooks  []hook
}

func newTable() *table { return &table{chains: map[string]map[string][]entry{}} }

func (t *table) add(list ...entry) {
	for _, e := range list {
		t.chains[e.chain][e.group] = append(t.chains[e.chain][e.group], e)
	}
}

// mark is the bit of ours, as iptables writes it.
var mark = fmt.Sprintf("%#x/%#x", model.FirewallMark, model.FirewallMark)

// A family builds the rules of one address family under one name.
type family struct {
	name                string // LIBNETWORK
	v6                  bool
	loopback, multicast netip.Prefix
	icmp                string
	chains              map[string][]string // by table
	inside              bool                // of a sandbox
}

func familyOf(name string, v6 bool) *family {
	f := &family{
		name: strings.ToUpper(name), v6: v6, icmp: "icmp", chains: chains(),
		loopback: netip.MustParsePrefix("127.0.0.0/8"), multicast: netip.MustParsePrefix("224.0.0.0/4"),
	}
	if v6 {
		f.chains[tableNAT] = append(f.chains[tableNAT], chainScoped)
		f.chains[tableMangle] = append(f.chains[tableMangle], chainInside)
		f.loopback, f.multicast, f.icmp = netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("ff00::/8"), "ipv6-icmp"
	}
	return f
}

func (f *family) String() string {
	if f.v6 {
		return "IPv6"
	}
	return "IPv4"
}

// chain is the whole name of a chain of ours.
func (f *family) chain(c string) string { return f.name + "-" + c }

// chains are those of the host, by table.
func chains() map[string][]string {
	return map[string][]string{
		tableFilter: {
			chainForward, chainClosed, chainMSS, chainCT, chainLink, chainMember, chainEnter, chainOpen, chainLeave, chainPass, chainTake, chainAccept, chainInput, chainKept, chainOutput, chainGuard,
		},
		tableNAT:    {chainPublish, chainAddress, chainAny, chainPost},
		tableRaw:    {chainRaw, chainToAll, chainSource},
		tableMangle: {chainUnmark, chainAstray},
	}
}

// rule makes an entry of a chain of ours. owner is whose it is; it is changed with
// all others of the same owner in the chain.
func (f *family) rule(chain, owner string, words ...string) entry {
	e := f.entry(f.chain(chain), owner, words)
	e.group = owner
	return e
}

// alone makes an entry that is changed on its own.
func (f *family) alone(chain, owner string, words ...string) entry {
	e := f.entry(f.chain(chain), owner, words)
	e.group = e.comment
	return e
}

// entry makes an entry of any chain; its comment says whose it is and what it says.
func (f *family) entry(chain, owner string, words []string) entry {
	if owner == "" {
		owner = strings.ToLower(f.name)
	}
	comment := nft.RuleComment(owner, chain, strings.Join(words, " "))
	last := len(words) - 1 // the target
	text := append(words[:last:last], "-m comment --comment "+comment, words[last])
	return entry{chain: chain, comment: comment, text: strings.Join(text, " ")}
}

// to is the target that goes on in a chain of ours and comes back.
func (f *family) to(chain string) string { return "-j " + f.chain(chain) }

// pass is the target that accepts what is established, and between members, unless it is closed
// for another data directory.
func (f *family) pass() string { return "-g " + f.chain(chainPass) }

// take is the target that accepts if no other data directory drops: it may have the network at
// the other end.
func (f *family) take() string { return "-g " + f.chain(chainTake) }

const (
	drop = "-j DROP"
	// syn matches the packets that carry an MSS. The target TCPMSS insists on it in
	// its own rule.
	syn   = "-p tcp -m tcp --tcp-flags SYN,RST SYN"
	clamp = "-j TCPMSS --clamp-mss-to-pmtu"
)

// base returns the tables with what is there for all networks.
func (f *family) base(g model.FirewallGuard) rules {
	rs := rules{}
	for name, list := range f.chains {
		rs[name] = newTable()
		for _, c := range list {
			rs[name].chains[f.chain(c)] = map[string][]entry{}
		}
	}
	filter, nat, raw, mangle := rs[tableFilter], rs[tableNAT], rs[tableRaw], rs[tableMangle]
	filter.add(
		// Before what is established: a connection with an address of the host is, and goes
		// on where a route leads when the host has that address no more.
		f.rule(chainForward, "", f.to(chainClosed)),
		f.rule(chainForward, "", syn, f.to(chainMSS)),
		f.rule(chainForward, "", "-m conntrack --ctstate RELATED,ESTABLISHED", f.to(chainCT)),
		f.rule(chainForward, "", f.to(chainLink)),
		f.rule(chainForward, "", f.to(chainMember)),
		f.rule(chainForward, "", f.to(chainEnter)),
		f.rule(chainForward, "", f.to(chainLeave)),
		f.rule(chainPass, "", "-j MARK --set-xmark "+mark),
		f.rule(chainPass, "", "-j ACCEPT"),
		f.rule(chainTake, "", "-j MARK --set-xmark "+mark),
	)
	filter.add(f.guardRules(g)...)
	filter.hook(f, true, chainForward, f.to(chainForward))
	filter.hook(f, true, chainForward, "-m mark --mark "+mark, f.to(chainAccept))
	filter.hooks[len(filter.hooks)-1].accepts = true
	filter.hook(f, true, chainInput, f.to(chainInput))
	filter.hook(f, true, chainOutput, "-p "+f.icmp, f.to(chainOutput))
	// After all that accepts, also in the name of another data directory.
	filter.hook(f, false, chainForward, f.to(chainGuard))
	if f.v6 {
		// Who dials a link-local address has one for a source, and with that nothing
		// leaves its link: the process serves it. What containers may reach is for the
		// forward chain to say.
		nat.add(f.rule(chainPublish, "", "-d fe80::/10", "-g "+f.chain(chainScoped)))
		// Other data directories know by the mark what comes from an internal network.
		mangle.hook(f, true, chainInput, f.to(chainInside))
		filter.add(f.rule(chainInput, "", "-m mark --mark "+mark, f.to(chainKept)))
	}
	nat.add(
		f.rule(chainPublish, "", f.to(chainAddress)),
		f.rule(chainPublish, "", f.to(chainAny)),
		f.rule(chainPost, "", "-d "+f.multicast.String(), "-j RETURN"),
	)
	const local = "-m addrtype --dst-type LOCAL"
	remote := "! -d " + f.loopback.String()
	nat.hook(f, false, "PREROUTING", remote, local, f.to(chainPublish))
	if f.v6 {
		// There is no route_localnet for IPv6: ::1 never leaves the loopback link.
		nat.hook(f, false, "OUTPUT", remote, local, f.to(chainPublish))
	} else {
		nat.hook(f, false, "OUTPUT", local, f.to(chainPublish))
	}
	nat.hook(f, false, "POSTROUTING", f.to(chainPost))
	// Loopback addresses are routed on our bridges (route_localnet), for ports
	// published on 127.0.0.1; so they are stopped here.
	raw.hook(f, true, "PREROUTING", "-d "+f.loopback.String(), f.to(chainRaw))
	raw.hook(f, true, "PREROUTING", "-s "+f.loopback.String(), f.to(chainRaw))
	// A frame to everybody with a packet for one (against RFC 1122, 3.3.6) is taken for a
	// connection by br_netfilter before any rule has been asked (Linux 6.8), and what
	// follows would be established.
	for _, frame := range []string{"broadcast", "multicast"} {
		raw.hook(f, true, "PREROUTING", "-m pkttype --pkt-type "+frame, "-m addrtype --dst-type UNICAST", f.to(chainToAll))
	}
	// What a member of an internal network sends in the name of somebody elsewhere is
	// stopped too: the host's answer, if only that there is no way, would leave.
	raw.hook(f, true, "PREROUTING", f.to(chainSource))
	// Others may save marks to the connection, and would not know this one again.
	mangle.add(f.rule(chainUnmark, "", fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", model.FirewallMark)))
	mangle.hook(f, true, "POSTROUTING", "-m mark --mark "+mark, f.to(chainUnmark))
	// Where the host has no route to a network, since its bridge has no address, this would
	// get to whoever has the container's elsewhere.
	mangle.hook(f, true, "POSTROUTING", "-m conntrack --ctstate DNAT", f.to(chainAstray))
	return rs
}

func (t *table) hook(f *family, first bool, chain string, words ...string) {
	t.hooks = append(t.hooks, hook{entry: f.entry(chain, "", words), first: first})
}

// part is the network's configuration for one family, nil without it.
func part(n *model.FirewallNetwork, v6 bool) *model.FirewallFamily {
	if v6 {
		return n.V6
	}
	return n.V4
}

// network returns the entries of a network, by table.
func (f *family) network(n *model.FirewallNetwork) map[string][]entry {
	c := part(n, f.v6)
	if c == nil {
		return nil
	}
	var filter []entry
	add := func(chain string, words ...string) { filter = append(filter, f.rule(chain, n.ID, words...)) }
	in, out := "-i "+n.Bridge, "-o "+n.Bridge
	add(chainCT, in, f.pass())
	add(chainCT, out, f.pass())
	if c.ICC {
		add(chainMember, in, out, f.pass())
	} else {
		if f.v6 {
			// Neighbour discovery, where br_netfilter shows it to us.
			add(chainMember, in, out, "-p ipv6-icmp -m icmp6 --icmpv6-type 135", f.pass())
			add(chainMember, in, out, "-p ipv6-icmp -m icmp6 --icmpv6-type 136", f.pass())
		}
		add(chainMember, in, out, drop)
	}
	if c.Internal {
		add(chainClosed, in, "! "+out, drop)
		add(chainClosed, "! "+in, out, drop)
	} else {
		// What members say to each other is established where br_netfilter shows it; they come
		// by no other link.
		for _, s := range c.Subnets {
			add(chainClosed, "! "+in, out, "-s "+s.Masked().String(), drop)
		}
		add(chainMSS, in, syn, clamp)
		add(chainMSS, out, syn, clamp)
		filter = append(filter, f.enter(n.ID, out, c)...)
		if c.Masquerade && c.Mode != model.ModeRouted {
			// What is of no connection is not translated, and would leave, or come to another
			// network, with the address of a member. Neighbour discovery never is of one.
			none := "INVALID"
			if f.v6 {
				none = "INVALID,UNTRACKED"
			}
			for _, s := range c.Subnets {
				add(chainLeave, in, "-s "+s.Masked().String(), "-m conntrack --ctstate "+none, drop)
			}
		}
		add(chainLeave, in, f.take())
		// Others may use the bit of the mark for something else.
		add(chainAccept, in, "-j ACCEPT")
		add(chainAccept, out, "-j ACCEPT")
	}
	if c.Internal && f.v6 {
		add(chainInput, in, f.to(chainKept))
	}
	if c.Mode == model.ModeIsolated {
		add(chainInput, in, drop)
		// What the host has to say to a member, as that a packet is too old, would leave.
		for _, p := range c.Subnets {
			for _, e := range f.icmpErrors() {
				add(chainOutput, "-d "+p.Masked().String(), "! "+out, e, drop)
			}
		}
	}
	nat := f.post(n.ID, out, c)
	if f.v6 {
		nat = append(nat, f.rule(chainScoped, n.ID, in, f.to(chainAddress)), f.rule(chainScoped, n.ID, in, f.to(chainAny)))
	}
	var mangle []entry
	if c.Internal && f.v6 {
		mangle = append(mangle, f.rule(chainInside, n.ID, in, "-j MARK --set-xmark "+mark))
	}
	if !c.Internal { // those publish nothing
		for _, s := range c.Subnets {
			mangle = append(mangle, f.rule(chainAstray, n.ID, "-d "+s.Masked().String(), "! "+out, drop))
		}
	}
	return map[string][]entry{
		tableMangle: mangle,
		tableFilter: filter,
		tableNAT:    nat,
		tableRaw:    f.raw(n.ID, in, c),
	}
}

// icmpErrors match the errors of ICMP (RFC 792; RFC 4443, 2.1).
func (f *family) icmpErrors() []string {
	types, format := []int{3, 4, 5, 11, 12}, "-p icmp -m icmp --icmp-type %d"
	if f.v6 {
		types, format = []int{1, 2, 3, 4}, "-p ipv6-icmp -m icmp6 --icmpv6-type %d"
	}
	var list []string
	for _, n := range types {
		list = append(list, fmt.Sprintf(format, n))
	}
	return list
}

// unrouted match what a member may send from other sources than its subnets: from none
// yet, in IPv6 what it takes to get one, and from those of the link.
func (f *family) unrouted() []string {
	if f.v6 {
		return []string{"-s ::/128 -p ipv6-icmp", "-s fe80::/10"}
	}
	return []string{"-s 0.0.0.0/32"}
}

// enter returns what decides on packets from outside.
func (f *family) enter(id, out string, c *model.FirewallFamily) []entry {
	var list []entry
	add := func(words ...string) { list = append(list, f.rule(chainEnter, id, words...)) }
	if m := c.TrustedMark; m.Mask != 0 {
		add(out, fmt.Sprintf("-m mark --mark %#x/%#x", m.Value, m.Mask), f.take())
	}
	for _, link := range c.Trusted {
		add("-i "+link, out, f.take())
	}
	if c.Mode == model.ModeRouted {
		add(out, "-p "+f.icmp, f.take())
	}
	add(out, "-m conntrack --ctstate DNAT", f.take())
	if c.Mode == model.ModeNATUnprotected {
		add(out, f.take())
		return list
	}
	// Another data directory may have marked what leaves its own networks.
	add(out, fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", model.FirewallMark))
	add(out, f.to(chainOpen))
	add(out, fmt.Sprintf("-m mark ! --mark %#x/%#x", model.FirewallMark, model.FirewallMark), drop)
	return list
}

// post returns what translates sources.
func (f *family) post(id, out string, c *model.FirewallFamily) []entry {
	var list []entry
	add := func(words ...string) { list = append(list, f.rule(chainPost, id, words...)) }
	const masquerade = "-j MASQUERADE"
	for _, s := range c.Subnets {
		// The host connects to a port by its address here: the container may be at this
		// bridge too, and would answer here.
		add("-s "+s.Masked().String(), "! "+out, "-m addrtype --src-type LOCAL", "-m conntrack --ctstate DNAT", masquerade)
	}
	if c.Mode == model.ModeRouted {
		return list
	}
	if !f.v6 {
		// The host connects to a port by 127.0.0.1; the container could not answer to
		// that source.
		add("-s "+f.loopback.String(), out, masquerade)
	}
	for _, s := range c.Subnets {
		// A member reaches another one, or itself, through a published port: the
		// answer must come back here to be translated, not straight by the bridge.
		add("-s "+s.Masked().String(), out, "-m conntrack --ctstate DNAT", masquerade)
	}
	if !c.Masquerade {
		return list
	}
	target := masquerade
	if c.MasqueradeTo.IsValid() {
		target = "-j SNAT --to-source " + c.MasqueradeTo.String()
	}
	for _, s := range c.Subnets {
		// Not what the host sends from its own address on the bridge.
		add("-s "+s.Masked().String(), "! "+out, "-m addrtype ! --src-type LOCAL", target)
	}
	return list
}

// proto matches a protocol and its destination or source ports.
func proto(p uint8, option string, first, last uint16) string {
	name := protocolName(p)
	ports := strconv.Itoa(int(first))
	if last > first {
		ports += ":" + strconv.Itoa(int(last))
	}
	return "-p " + name + " -m " + name + " --" + option + " " + ports
}

// protocolName is empty for protocols that cannot be published.
func protocolName(p uint8) string {
	switch p {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return ""
}

// port returns the entries of a publication.
func (f *family) port(p *model.Port) []entry {
	chain, to := chainAny, "-j DNAT --to-destination "
	if !p.Host.IsUnspecified() {
		chain = chainAddress
	}
	add := func(first, last uint16, target string) entry {
		words := []string{proto(p.Proto, "dport", first, last), to + target}
		if chain == chainAddress {
			words = append([]string{"-d " + p.Host.String()}, words...)
		}
		return f.alone(chain, p.Owner, words...)
	}
	if p.Last > p.First && p.Port == p.First {
		return []entry{add(p.First, p.Last, p.Addr.String())}
	}
	list := make([]entry, 0, int(p.Last-p.First)+1)
	for i := range int(p.Last-p.First) + 1 {
		host := p.First + uint16(i)
		list = append(list, add(host, host, netip.AddrPortFrom(p.Addr, p.Port+uint16(i)).String()))
	}
	return list
}

// keptPort returns the entry that leaves a port of one address to the process that
// serves it, none for a port of all addresses.
func (f *family) keptPort(p *model.KeptPort) []entry {
	if p.Host.Addr().IsUnspecified() {
		return nil
	}
	return []entry{f.alone(chainAddress, p.Owner, "-d "+p.Host.Addr().String(), proto(p.Proto, "dport", p.Host.Port(), p.Host.Port()), "-j ACCEPT")}
}

// keptFrom returns the entry that keeps members of internal networks from such a port.
func (f *family) keptFrom(p *model.KeptPort) entry {
	words := []string{proto(p.Proto, "dport", p.Host.Port(), p.Host.Port()), drop}
	if !p.Host.Addr().IsUnspecified() {
		words = append([]string{"-d " + p.Host.Addr().String()}, words...)
	}
	return f.alone(chainKept, p.Owner, words...)
}

// openPort returns the entries of a port that is open at a member's own address.
func (f *family) openPort(p *model.OpenPort) []entry {
	return []entry{f.alone(chainOpen, p.Owner, "-d "+p.Addr.String(), proto(p.Proto, "dport", p.First, p.Last), f.take())}
}

// link returns the entries of a link, for both directions.
func (f *family) link(l *model.Link) []entry {
	between, client, target := "-i "+l.Bridge+" -o "+l.Bridge, l.Client.String(), l.Target.String()
	var list []entry
	for _, m := range []string{
		// What the bridge has passed and marked (br_netfilter), since it alone knows who
		// sends, and what goes to a published port by the host's address.
		"-m mark --mark " + mark, "-m conntrack --ctstate DNAT",
	} {
		list = append(list,
			f.alone(chainLink, l.Owner, between, "-s "+client, "-d "+target, m, proto(l.Proto, "dport", l.Port, l.Port), f.pass()),
			f.alone(chainLink, l.Owner, between, "-s "+target, "-d "+client, m, proto(l.Proto, "sport", l.Port, l.Port), f.pass()))
	}
	return list
}

// build returns the wanted content of the tables of a family, without chains if
// there is nothing to hold.
func (f *family) build(want model.FirewallChange, g model.FirewallGuard) rules {
	rs := f.base(g)
	needed := g.Of(f.v6)
	for i := range want.Networks {
		for name, list := range f.network(&want.Networks[i]) {
			needed = true
			rs[name].add(list...)
		}
	}
	if !needed {
		return nothing()
	}
	for name, list := range f.single(want) {
		rs[name].add(list...)
	}
	return rs
}

// single returns the entries of all that is changed on its own.
func (f *family) single(c model.FirewallChange) map[string][]entry {
	list := map[string][]entry{}
	for i := range c.Ports {
		if p := &c.Ports[i]; p.Addr.Is6() == f.v6 {
			list[tableNAT] = append(list[tableNAT], f.port(p)...)
		}
	}
	for i := range c.Kept {
		if f.v6 {
			list[tableNAT] = append(list[tableNAT], f.keptPort(&c.Kept[i])...)
			list[tableFilter] = append(list[tableFilter], f.keptFrom(&c.Kept[i]))
		}
	}
	for i := range c.OpenPorts {
		if p := &c.OpenPorts[i]; p.Addr.Is6() == f.v6 {
			list[tableFilter] = append(list[tableFilter], f.openPort(p)...)
		}
	}
	for i := range c.Links {
		if l := &c.Links[i]; l.Target.Is6() == f.v6 {
			list[tableFilter] = append(list[tableFilter], f.link(l)...)
		}
	}
	return list
}

func nothing() rules {
	return rules{tableFilter: newTable(), tableNAT: newTable(), tableRaw: newTable(), tableMangle: newTable()}
}
