package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// network returns the chains of a network. Their order of rules is that of
// [model.FirewallFamily].
func (f *family) network(n *model.FirewallNetwork) []chainDef {
	c := part(n, f.v6())
	chains := []chainDef{
		{name: chainIn(n.ID), rules: f.inRules(n, c)},
		{name: chainOut(n.ID), rules: f.outRules(n, c)},
		{name: chainPost(n.ID), rules: f.postRules(n, c)},
		{name: chainHairpin(n.ID), rules: f.hairpinRules(n, c)},
	}
	if c.Internal {
		chains = append(chains, chainDef{name: chainSource(n.ID), rules: f.sourceRules(n, c)})
	}
	return chains
}

// sourceRules are for what comes from an internal network: the sources that its
// members may have are its own, and those that are never routed.
func (f *family) sourceRules(n *model.FirewallNetwork, c *model.FirewallFamily) []rule {
	var rules []rule
	for _, s := range append(slices.Clone(c.Subnets), f.unrouted...) {
		rules = append(rules, newRule(n.ID, f.addr("saddr", true, s), ret()))
	}
	return append(rules, newRule(n.ID, drop()))
}

// inRules are for packets that come from a network.
func (f *family) inRules(n *model.FirewallNetwork, c *model.FirewallFamily) []rule {
	var rules []rule
	// What stays on the bridge comes here with br_netfilter alone, or when it goes
	// by way of the bridge's own address.
	within := iface("oifname", n.Bridge)
	if c.ICC {
		rules = append(rules, newRule(n.ID, within, goTo("pass")))
	} else {
		if f.v6() {
			rules = append(rules, newRule(n.ID, within, neighbourDiscovery(), goTo("pass")))
		}
		rules = append(rules,
			newRule(n.ID, within, f.linked(setLinks, true), goTo("pass")),
			newRule(n.ID, within, f.linked(setLinks, false), goTo("pass")),
			newRule(n.ID, within, drop()))
	}
	if c.Internal {
		rules = append(rules, newRule(n.ID, drop()))
	}
	return rules
}

// outRules are for packets that come to a network from outside.
func (f *family) outRules(n *model.FirewallNetwork, c *model.FirewallFamily) []rule {
	if c.Internal {
		return []rule{newRule(n.ID, drop())}
	}
	var rules []rule
	if m := c.TrustedMark; m.Mask != 0 {
		rules = append(rules, newRule(n.ID, mark(m), goTo("pass")))
	}
	for _, link := range c.Trusted {
		rules = append(rules, newRule(n.ID, iface("iifname", link), goTo("pass")))
	}
	routed := c.Mode == model.ModeRouted
	if routed {
		rules = append(rules, newRule(n.ID, f.icmp(), goTo("pass")))
	}
	rules = append(rules, newRule(n.ID, ctDNAT(), goTo("pass")))
	if routed {
		rules = append(rules, newRule(n.ID, f.opened(), goTo("pass")))
	}
	last := drop()
	if c.Mode == model.ModeNATUnprotected {
		last = goTo("pass")
	}
	return append(rules, newRule(n.ID, last))
}

// postRules translate the source of what leaves a network.
func (f *family) postRules(n *model.FirewallNetwork, c *model.FirewallFamily) []rule {
	rules := []rule{newRule(n.ID, iface("oifname", n.Bridge), ret())}
	if !c.Masquerade || c.Mode == model.ModeRouted {
		return rules
	}
	to := masquerade()
	if c.MasqueradeTo.IsValid() {
		to = f.snat(c.MasqueradeTo)
	}
	for _, s := range c.Subnets {
		rules = append(rules, newRule(n.ID, f.addr("saddr", true, s), to))
	}
	return rules
}

// hairpinRules are for a member that reaches another one, or itself, through a
// published port: the answer must come back here to be translated, not straight by
// the bridge. It is told by its address, since frames that stay on the bridge
// (br_netfilter) come to this hook without the link that they came in by.
func (f *family) hairpinRules(n *model.FirewallNetwork, c *model.FirewallFamily) []rule {
	if c.Mode == model.ModeRouted {
		return nil
	}
	var rules []rule
	for _, s := range c.Subnets {
		rules = append(rules, newRule(n.ID, f.addr("saddr", true, s), ctDNAT(), masquerade()))
	}
	return rules
}

// memberSets are the sets that a network's bridge is in because of its settings.
func memberSets(c *model.FirewallFamily) []string {
	var sets []string
	if c.Mode == model.ModeIsolated {
		sets = append(sets, setIsolated)
	}
	if c.Internal {
		sets = append(sets, setSource)
	}
	if c.ClampMSS {
		sets = append(sets, setClamp)
	}
	return sets
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

// opened asks whether the packet is for an open port of a member.
func (f *family) opened() stmt {
	return stmt{f.keyword + " daddr . meta l4proto . th dport @" + setOpen, []expr.Any{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: f.dst, Len: f.addrLen},
		meta(expr.MetaKeyL4PROTO, reg0+f.addrLen/4),
		dport(reg0 + f.addrLen/4 + 1),
		&expr.Lookup{SourceRegister: reg0, SetName: setOpen},
	}}
}

func (f *family) snat(to netip.Addr) stmt {
	return stmt{"snat to " + to.String(), []expr.Any{
		&expr.Immediate{Register: reg0, Data: to.AsSlice()},
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
