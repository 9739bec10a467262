package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// networkSets are the sets that have elements of networks.
var networkSets = []string{
	setBridges, setWithin, setSubnets, setICC, setInternal, setIsolated, setRouted, setUnprotected,
	setTrusted, setMarked, setSources, setMasquerade, setSNAT, setHairpin,
}

// networkElems returns what a network is in the table of one family: elements of the
// sets that the rules for all networks ask. Their order of rules is that of
// [model.FirewallFamily].
func networkElems(n *model.FirewallNetwork, c *model.FirewallFamily) []elem {
	bridge := string(ifname(n.Bridge))
	list := []elem{
		{set: setBridges, key: bridge, comment: n.ID},
		{set: setWithin, key: bridge + bridge, comment: n.ID},
	}
	add := func(yes bool, set string) {
		if yes {
			list = append(list, elem{set: set, key: bridge, comment: n.ID})
		}
	}
	for _, s := range c.Subnets {
		list = append(list, subnetElems(s, n.ID)...)
		list = append(list, elem{
			set: setSources, comment: n.ID,
			key: bridge + string(s.Masked().Addr().AsSlice()), end: bridge + string(lastOf(s).AsSlice()),
		})
	}
	add(c.ICC, setICC)
	add(c.Internal, setInternal)
	add(c.Mode == model.ModeIsolated, setIsolated)
	if !c.Internal {
		add(c.Mode == model.ModeRouted, setRouted)
		add(c.Mode == model.ModeNATUnprotected, setUnprotected)
		for _, link := range c.Trusted {
			list = append(list, elem{set: setTrusted, key: string(ifname(link)) + bridge, comment: n.ID})
		}
		if c.TrustedMark.Mask != 0 {
			list = append(list, elem{set: setMarked, key: bridge, chain: chainMarked(n.ID), comment: n.ID})
		}
	}
	if c.Mode != model.ModeRouted {
		add(true, setHairpin)
		add(c.Masquerade, setMasquerade)
		if c.Masquerade && c.MasqueradeTo.IsValid() {
			list = append(list, elem{set: setSNAT, key: bridge, data: string(c.MasqueradeTo.AsSlice()), comment: n.ID})
		}
	}
	return list
}

// subnetElems returns the interval of a subnet.
func subnetElems(s netip.Prefix, id string) []elem {
	list := []elem{{set: setSubnets, key: string(s.Masked().Addr().AsSlice()), comment: id}}
	if behind := lastOf(s).Next(); behind.IsValid() {
		list = append(list, elem{set: setSubnets, key: string(behind.AsSlice()), last: true})
	}
	return list
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// network returns the chains of a network, which only one with a trusted mark has: a
// set can hold no masks.
func network(n *model.FirewallNetwork, c *model.FirewallFamily) []chainDef {
	if m := c.TrustedMark; m.Mask != 0 && !c.Internal {
		return []chainDef{{name: chainMarked(n.ID), rules: []rule{newRule(n.ID, mark(m), goTo("pass"))}}}
	}
	return nil
}

func chainMarked(id string) string { return "marked_" + short(id) }

// memberRules are for packets that stay in a network. They come here with
// br_netfilter alone, or when they go by way of the bridge's own address.
func (f *family) memberRules() []rule {
	rules := []rule{newRule("", inSet("iifname", setICC), goTo("pass"))}
	if f.v6() {
		rules = append(rules, newRule("", neighbourDiscovery(), goTo("pass")))
	}
	return append(rules,
		// What the bridge has passed (br_netfilter), since it alone knows who sends, and
		// what goes to a published port by the host's address.
		newRule("", marked(), f.linked("", setLinks, true), goTo("pass")),
		newRule("", marked(), f.linked("", setLinks, false), goTo("pass")),
		newRule("", ctDNAT(), f.linked("", setLinks, true), goTo("pass")),
		newRule("", ctDNAT(), f.linked("", setLinks, false), goTo("pass")),
		newRule("", drop()))
}

// enterRules are for packets that come to a network from outside.
func (f *family) enterRules() []rule {
	return []rule{
		newRule("", ifaceVmap("oifname", setMarked)),
		newRule("", ifaces("iifname . oifname", setTrusted), goTo("pass")),
		newRule("", inSet("oifname", setRouted), f.icmp(), goTo("pass")),
		newRule("", ctDNAT(), goTo("pass")),
		newRule("", f.to(setOpen), goTo("pass")),
		newRule("", inSet("oifname", setUnprotected), goTo("pass")),
		newRule("", drop()),
	}
}

// sourceRules are for what comes from an internal network: the sources that its
// members may have are its own, and those that are never routed.
func (f *family) sourceRules() []rule {
	var rules []rule
	if f.v6() {
		// A member that has no address yet sends from :: what ICMPv6 needs to get one. The
		// host would send its answer to all else by the default route.
		none := f.addr("saddr", true, netip.PrefixFrom(netip.IPv6Unspecified(), 128))
		rules = append(rules,
			newRule("", none, echoRequest(), drop()),
			newRule("", none, f.icmp(), ret()),
			newRule("", f.addr("saddr", true, linkLocal()), ret()))
	} else {
		rules = append(rules, newRule("", f.addr("saddr", true, netip.PrefixFrom(netip.IPv4Unspecified(), 32)), ret()))
	}
	return append(rules, newRule("", f.source("iifname", false), drop()))
}

// inputRules are for what comes to the host. A member of an isolated network does not
// reach it at any address, one of an internal network not where the process would carry
// it on to other networks, nor where that of another data directory would.
func (f *family) inputRules() []rule {
	rules := []rule{newRule("", inSet("iifname", setIsolated), drop())}
	if f.v6() {
		for _, internal := range []stmt{inSet("iifname", setInternal), marked()} {
			rules = append(rules,
				newRule("", internal, f.to(setKept), drop()),
				newRule("", internal, toAny(setKeptAny), drop()))
		}
	}
	return rules
}

// outputRules drop errors of ICMP for members that do not go to our bridges.
func (f *family) outputRules() []rule {
	list := [][2]byte{{3, 5}, {11, 12}} // RFC 792
	if f.v6() {
		list = [][2]byte{{1, 4}} // RFC 4443, 2.1
	}
	var rules []rule
	for _, types := range list {
		rules = append(rules, newRule("", f.icmpType(types[0], types[1]), f.inSet("daddr", setSubnets), ours("oifname", false), drop()))
	}
	return rules
}

// icmpType asks for a range of types.
func (f *family) icmpType(first, last byte) stmt {
	icmp, word := f.icmp(), "icmp"
	if f.v6() {
		word = "icmpv6"
	}
	return stmt{fmt.Sprintf("%s %s type %d-%d", icmp.text, word, first, last), append(icmp.exprs,
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		compare(expr.CmpOpGte, []byte{first}), compare(expr.CmpOpLte, []byte{last}))}
}

// hairpinRules are for what a published port has led to a network and comes from one
// of its addresses: from a member, which reaches another one, or itself. The answer
// must come back here to be translated, not straight by the bridge. Frames that stay on
// the bridge (br_netfilter) come to this hook without the link that they came in by. So
// does what the host itself sends, from the address of a bridge: the container may be at
// that bridge too, and would answer there.
func hairpinRules() []rule {
	return []rule{
		newRule("", ifaces("iifname . oifname", setWithin), masquerade()),
		newRule("", ours("iifname", false), masquerade()),
	}
}

func echoRequest() stmt {
	icmp := l4proto("ipv6-icmp", unix.IPPROTO_ICMPV6)
	return stmt{icmp.text + " icmpv6 type echo-request", append(icmp.exprs,
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		compare(expr.CmpOpEq, []byte{128}))}
}

// openElems returns the elements of an opening.
func openElems(p *model.OpenPort) []elem {
	list := make([]elem, 0, int(p.Last-p.First)+1)
	for i := range int(p.Last-p.First) + 1 {
		key := append(p.Addr.AsSlice(), protoPortKey(p.Proto, p.First+uint16(i))...)
		list = append(list, elem{set: setOpen, key: string(key), comment: p.Owner})
	}
	return list
}

// keptElem is the element of a port that is not translated.
func keptElem(p *model.KeptPort) elem {
	if p.Host.Addr().IsUnspecified() {
		return elem{set: setKeptAny, key: string(protoPortKey(p.Proto, p.Host.Port())), comment: p.Owner}
	}
	key := append(p.Host.Addr().AsSlice(), protoPortKey(p.Proto, p.Host.Port())...)
	return elem{set: setKept, key: string(key), comment: p.Owner}
}

// protoPortKey is the part of a concatenation that holds protocol and port, each
// padded to four bytes.
func protoPortKey(proto uint8, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{proto, 0, 0, 0}, port), 0, 0)
}

func inSet(word, set string) stmt {
	return stmt{word + " @" + set, []expr.Any{
		meta(ifaceKey(word), reg0), &expr.Lookup{SourceRegister: reg0, SetName: set},
	}}
}

// source looks for a link and the source: whether the network there has it.
func (f *family) source(word string, yes bool) stmt {
	op := ""
	if !yes {
		op = "!= "
	}
	return stmt{word + " . " + f.keyword + " saddr " + op + "@" + setSources, []expr.Any{
		meta(ifaceKey(word), reg0),
		&expr.Payload{DestRegister: reg0 + unix.IFNAMSIZ/4, Base: expr.PayloadBaseNetworkHeader, Offset: f.src, Len: f.addrLen},
		&expr.Lookup{SourceRegister: reg0, SetName: setSources, Invert: !yes},
	}}
}

// ifaces looks for both links, the one that the packet came in by first.
func ifaces(words, set string) stmt {
	return stmt{words + " @" + set, []expr.Any{
		meta(expr.MetaKeyIIFNAME, reg0), meta(expr.MetaKeyOIFNAME, reg0+unix.IFNAMSIZ/4),
		&expr.Lookup{SourceRegister: reg0, SetName: set},
	}}
}

// notWithin asks whether the packet goes from one link to another one.
func notWithin() stmt {
	s := ifaces("iifname . oifname", setWithin)
	return stmt{"iifname . oifname != @" + setWithin, append(s.exprs[:2:2],
		&expr.Lookup{SourceRegister: reg0, SetName: setWithin, Invert: true})}
}

func mark(m model.Mark) stmt {
	return stmt{fmt.Sprintf("meta mark & %#08x == %#08x", m.Mask, m.Value), []expr.Any{
		meta(expr.MetaKeyMARK, reg0),
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: native32(m.Mask), Xor: native32(0)},
		compare(expr.CmpOpEq, native32(m.Value)),
	}}
}

func (f *family) icmp() stmt {
	if f.v6() {
		return l4proto("ipv6-icmp", unix.IPPROTO_ICMPV6)
	}
	return l4proto("icmp", unix.IPPROTO_ICMP)
}

// toAny looks the packet's destination port up in a set.
func toAny(set string) stmt {
	return stmt{"meta l4proto . th dport @" + set, []expr.Any{
		meta(expr.MetaKeyL4PROTO, reg0), dport(reg0 + 1), &expr.Lookup{SourceRegister: reg0, SetName: set},
	}}
}

// to looks the packet's destination and port up in a set.
func (f *family) to(set string) stmt {
	return stmt{f.keyword + " daddr . meta l4proto . th dport @" + set, []expr.Any{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: f.dst, Len: f.addrLen},
		meta(expr.MetaKeyL4PROTO, reg0+f.addrLen/4),
		dport(reg0 + f.addrLen/4 + 1),
		&expr.Lookup{SourceRegister: reg0, SetName: set},
	}}
}

// snat takes the source address from the map of those that networks have for it.
func (f *family) snat() stmt {
	return stmt{"snat to iifname map @" + setSNAT, []expr.Any{
		meta(expr.MetaKeyIIFNAME, reg0),
		&expr.Lookup{SourceRegister: reg0, DestRegister: reg0, IsDestRegSet: true, SetName: setSNAT},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: uint32(f.num), RegAddrMin: reg0},
	}}
}

// synAlone asks for the packets of TCP that carry an MSS (RFC 9293, 3.7.1): those
// with SYN and without RST.
func synAlone() stmt {
	const syn, rst = 2, 4
	tcp := l4proto("tcp", unix.IPPROTO_TCP)
	return stmt{tcp.text + " tcp flags & (syn | rst) == syn", append(tcp.exprs,
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 1, Mask: []byte{syn | rst}, Xor: []byte{0}},
		compare(expr.CmpOpEq, []byte{syn}))}
}

// clampMSS lowers the MSS to what the routes in both directions carry. The kernel
// does not raise it.
func clampMSS() stmt {
	const tcpOptMSS = 2
	return stmt{"tcp option maxseg size set rt mtu", []expr.Any{
		&expr.Rt{Register: reg0, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: reg0, DestRegister: reg0, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{SourceRegister: reg0, Type: tcpOptMSS, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
	}}
}
