package nft

import (
	"context"
	"maps"
	"net"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// Names in the table of family bridge, which exists as long as there are links.
const (
	setLinked   = "linked"
	setLinksIP  = "links_ip"
	setLinksIP6 = "links_ip6"

	// Sources that linked endpoints alone may have, by the link group of all members,
	// and by the link of their owner.
	setOwnedMAC = "owned_mac"
	setOwnedIP  = "owned_ip"
	setOwnedIP6 = "owned_ip6"
	setOwnerMAC = "owner_mac"
	setOwnerIP  = "owner_ip"
	setOwnerIP6 = "owner_ip6"
)

// Of the hooks of family bridge (linux/netfilter_bridge.h).
const (
	hookBridgePrerouting = 0    // NF_BR_PRE_ROUTING
	hookBridgeForward    = 2    // NF_BR_FORWARD
	bridgePriority       = -200 // NF_BR_PRI_FILTER_BRIDGED
)

func families() [3]*family {
	return [3]*family{familyOf(false), familyOf(true), {num: unix.NFPROTO_BRIDGE, keyword: "bridge"}}
}

func (f *family) bridge() bool { return f.num == unix.NFPROTO_BRIDGE }

// linkSet is a set of links of one family.
func linkSet(name, addr string, f *family) setDef {
	return setDef{
		name: name, text: addr + " . " + addr + " . inet_proto . inet_service",
		keyType: concat(f.addrType, f.addrType, typeInetProto, typeInetService), keyLen: 2*f.addrLen + 8,
	}
}

// linked asks whether the packet goes from client to target, or back.
func (f *family) linked(set string, forth bool) stmt {
	first, second, port, word := f.src, f.dst, uint32(2), "dport"
	text := f.keyword + " saddr . " + f.keyword + " daddr"
	if !forth {
		first, second, port, word = f.dst, f.src, 0, "sport"
		text = f.keyword + " daddr . " + f.keyword + " saddr"
	}
	n := f.addrLen / 4
	return stmt{text + " . meta l4proto . th " + word + " @" + set, []expr.Any{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: first, Len: f.addrLen},
		&expr.Payload{DestRegister: reg0 + n, Base: expr.PayloadBaseNetworkHeader, Offset: second, Len: f.addrLen},
		meta(expr.MetaKeyL4PROTO, reg0+2*n),
		&expr.Payload{DestRegister: reg0 + 2*n + 1, Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2},
		&expr.Lookup{SourceRegister: reg0, SetName: set},
	}}
}

func linkElem(set string, l *model.Link) elem {
	key := slices.Concat(l.Client.AsSlice(), l.Target.AsSlice(), protoPortKey(l.Proto, l.Port))
	return elem{set: set, key: string(key), comment: l.Owner}
}

// bridgeElems returns the elements of the table of family bridge.
func bridgeElems(c Change) []elem {
	var list []elem
	for i := range c.LinkedPorts {
		p := &c.LinkedPorts[i]
		list = append(list, elem{set: setLinked, key: string(ifname(p.Host)), comment: p.Owner})
		mac, _ := net.ParseMAC(p.MAC) // checked
		for _, s := range []struct {
			owned, owner string
			source       []byte
		}{
			{setOwnedMAC, setOwnerMAC, mac},
			{setOwnedIP, setOwnerIP, p.V4.AsSlice()},
			{setOwnedIP6, setOwnerIP6, p.V6.AsSlice()},
		} {
			if len(s.source) == 0 {
				continue
			}
			source := append(slices.Clone(s.source), make([]byte, -len(s.source)&3)...)
			list = append(list,
				elem{set: s.owned, key: string(append(native32(p.Group), source...)), comment: p.Owner},
				elem{set: s.owner, key: string(append(ifname(p.Host), source...)), comment: p.Owner})
		}
	}
	for i := range c.Links {
		l, set := &c.Links[i], setLinksIP
		if l.Target.Is6() {
			set = setLinksIP6
		}
		list = append(list, linkElem(set, l))
	}
	return list
}

// buildLinks returns the table of family bridge, nil if there are no links. It
// needs no connection tracking: it knows both directions of a link.
func buildLinks(f *family, want Change) *ruleset {
	elems := bridgeElems(want)
	if len(elems) == 0 {
		return nil
	}
	ip, ip6 := familyOf(false), familyOf(true)
	links := func(set string, proto uint16, fam *family, forth bool) rule {
		return newRule("", etherType(proto), fam.linked(set, forth), accept())
	}
	return &ruleset{
		fam: f,
		sets: []setDef{
			{name: setLinked, text: "ifname", keyType: typeIfname, keyLen: unix.IFNAMSIZ},
			linkSet(setLinksIP, "ipv4_addr", ip), linkSet(setLinksIP6, "ipv6_addr", ip6),
			ownedSet(setOwnedMAC, "ether_addr", typeEtherAddr, 8), ownerSet(setOwnerMAC, "ether_addr", typeEtherAddr, 8),
			ownedSet(setOwnedIP, "ipv4_addr", typeIPAddr, 4), ownerSet(setOwnerIP, "ipv4_addr", typeIPAddr, 4),
			ownedSet(setOwnedIP6, "ipv6_addr", typeIP6Addr, 16), ownerSet(setOwnerIP6, "ipv6_addr", typeIP6Addr, 16),
		},
		chains: []chainDef{
			{
				// A link is told by addresses: nobody else may take them.
				name: "prerouting", kind: "filter", hook: "prerouting", hooknum: hookBridgePrerouting, priority: bridgePriority,
				rules: []rule{
					newRule("", stolen("ether saddr", setOwnedMAC, setOwnerMAC, expr.PayloadBaseLLHeader, 6, 6), drop()),
					newRule("", etherType(unix.ETH_P_ARP), stolen("arp saddr ip", setOwnedIP, setOwnerIP, expr.PayloadBaseNetworkHeader, 14, 4), drop()),
					newRule("", etherType(unix.ETH_P_IP), stolen("ip saddr", setOwnedIP, setOwnerIP, expr.PayloadBaseNetworkHeader, ip.src, 4), drop()),
					newRule("", etherType(unix.ETH_P_IPV6), stolen("ip6 saddr", setOwnedIP6, setOwnerIP6, expr.PayloadBaseNetworkHeader, ip6.src, 16), drop()),
				},
			},
			{name: "between", rules: []rule{
				newRule("", etherType(unix.ETH_P_ARP), inSet("iifname", setLinked), inSet("oifname", setLinked), accept()),
				newRule("", etherType(unix.ETH_P_IPV6), neighbourDiscovery(), inSet("iifname", setLinked), inSet("oifname", setLinked), accept()),
				// Who answers for another one's address (RFC 4861, 7.2.5) gets nothing by it.
				newRule("", etherType(unix.ETH_P_IP), ip.notOwner(setOwnerIP), drop()),
				newRule("", etherType(unix.ETH_P_IPV6), ip6.notOwner(setOwnerIP6), drop()),
				// Without the first fragment the others are nothing.
				newRule("", etherType(unix.ETH_P_IP), laterFragment4(), accept()),
				newRule("", etherType(unix.ETH_P_IPV6), laterFragment6(), accept()),
				links(setLinksIP, unix.ETH_P_IP, ip, true),
				links(setLinksIP, unix.ETH_P_IP, ip, false),
				links(setLinksIP6, unix.ETH_P_IPV6, ip6, true),
				links(setLinksIP6, unix.ETH_P_IPV6, ip6, false),
				newRule("", drop()),
			}},
			{
				name: "forward", kind: "filter", hook: "forward", hooknum: hookBridgeForward, priority: bridgePriority,
				rules: []rule{
					newRule("", inSet("iifname", setLinked), goTo("between")),
					newRule("", inSet("oifname", setLinked), goTo("between")),
				},
			},
		},
		elems: elems,
	}
}

func ownedSet(name, source string, kind, length uint32) setDef {
	return setDef{name: name, text: "devgroup . " + source, keyType: concat(typeDevGroup, kind), keyLen: 4 + length}
}

func ownerSet(name, source string, kind, length uint32) setDef {
	return setDef{name: name, text: "ifname . " + source, keyType: concat(typeIfname, kind), keyLen: unix.IFNAMSIZ + length}
}

// stolen asks whether a frame of one of our members has the source of a linked endpoint
// and does not come from it.
func stolen(word, owned, owner string, base expr.PayloadBase, offset, length uint32) stmt {
	load := func(reg uint32) expr.Any {
		return &expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: length}
	}
	return stmt{"meta iifgroup . " + word + " @" + owned + " iifname . " + word + " != @" + owner, []expr.Any{
		meta(expr.MetaKeyIIFGROUP, reg0), load(reg0 + 1), &expr.Lookup{SourceRegister: reg0, SetName: owned},
		meta(expr.MetaKeyIIFNAME, reg0), load(reg0 + unix.IFNAMSIZ/4), &expr.Lookup{SourceRegister: reg0, SetName: owner, Invert: true},
	}}
}

// notOwner asks whether a frame goes to a link that does not have its destination.
func (f *family) notOwner(owner string) stmt {
	return stmt{"oifname . " + f.keyword + " daddr != @" + owner, []expr.Any{
		meta(expr.MetaKeyOIFNAME, reg0),
		&expr.Payload{DestRegister: reg0 + unix.IFNAMSIZ/4, Base: expr.PayloadBaseNetworkHeader, Offset: f.dst, Len: f.addrLen},
		&expr.Lookup{SourceRegister: reg0, SetName: owner, Invert: true},
	}}
}

func etherType(proto uint16) stmt {
	names := map[uint16]string{unix.ETH_P_ARP: "arp", unix.ETH_P_IP: "ip", unix.ETH_P_IPV6: "ip6"}
	return stmt{"meta protocol " + names[proto], []expr.Any{
		meta(expr.MetaKeyPROTOCOL, reg0), compare(expr.CmpOpEq, []byte{byte(proto >> 8), byte(proto)}),
	}}
}

// neighbourDiscovery is solicitation and advertisement (RFC 4861, 4.3 and 4.4).
// Members have no business with each other's router messages and redirects.
func neighbourDiscovery() stmt {
	icmp := l4proto("ipv6-icmp", unix.IPPROTO_ICMPV6)
	return stmt{icmp.text + " icmpv6 type 135-136", append(icmp.exprs,
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		compare(expr.CmpOpGte, []byte{135}), compare(expr.CmpOpLte, []byte{136}))}
}

// laterFragment4 asks for a fragment offset (RFC 791, 3.1).
func laterFragment4() stmt {
	return stmt{"ip frag-off & 0x1fff != 0", []expr.Any{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 2},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 2, Mask: []byte{0x1f, 0xff}, Xor: []byte{0, 0}},
		compare(expr.CmpOpNeq, []byte{0, 0}),
	}}
}

// laterFragment6 asks for one in the fragment header (RFC 8200, 4.5).
func laterFragment6() stmt {
	return stmt{"frag frag-off != 0", []expr.Any{
		&expr.Exthdr{DestRegister: reg0, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 2, Mask: []byte{0xff, 0xf8}, Xor: []byte{0, 0}},
		compare(expr.CmpOpNeq, []byte{0, 0}),
	}}
}

// linkState is which elements of linkSets the table of family bridge holds, by set and
// key.
type linkState map[[2]string]struct{}

// settle takes out of a change what makes no difference, since a link is wanted by
// both of its ends, and returns the state after it.
func (s linkState) settle(add, del *Change) linkState {
	if len(add.Links)+len(del.Links)+len(add.LinkedPorts)+len(del.LinkedPorts) == 0 {
		return s
	}
	after := maps.Clone(s)
	gone := func(c Change) bool {
		e := bridgeElems(c)[0]
		key := [2]string{e.set, e.key}
		_, ok := after[key]
		delete(after, key)
		return !ok
	}
	there := func(c Change) bool {
		e := bridgeElems(c)[0]
		key := [2]string{e.set, e.key}
		_, ok := after[key]
		after[key] = struct{}{}
		return ok
	}
	link := func(skip func(Change) bool) func(model.Link) bool {
		return func(l model.Link) bool { return skip(Change{Links: []model.Link{l}}) }
	}
	port := func(skip func(Change) bool) func(model.LinkedPort) bool {
		return func(p model.LinkedPort) bool { return skip(Change{LinkedPorts: []model.LinkedPort{p}}) }
	}
	del.Links = slices.DeleteFunc(slices.Clone(del.Links), link(gone))
	del.LinkedPorts = slices.DeleteFunc(slices.Clone(del.LinkedPorts), port(gone))
	add.Links = slices.DeleteFunc(slices.Clone(add.Links), link(there))
	add.LinkedPorts = slices.DeleteFunc(slices.Clone(add.LinkedPorts), port(there))
	return after
}

// linkStateOf is the state when there is nothing but want.
func linkStateOf(want Change) linkState {
	s := make(linkState)
	for _, e := range bridgeElems(want) {
		if slices.Contains(linkSets, e.set) {
			s[[2]string{e.set, e.key}] = struct{}{}
		}
	}
	return s
}

// linkSets are those that have one element for each link or linked port.
var linkSets = []string{setLinked, setLinksIP, setLinksIP6}

func (f *Firewall) loadLinks(ctx context.Context, fam *family) (linkState, error) {
	s := make(linkState)
	for _, set := range linkSets {
		elems, err := f.c.elems(ctx, fam.num, f.table, set)
		if err != nil {
			return nil, err
		}
		for _, e := range elems {
			s[[2]string{e.set, e.key}] = struct{}{}
		}
	}
	return s, nil
}
