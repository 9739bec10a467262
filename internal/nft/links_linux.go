package nft

import (
	"context"
	"maps"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// Names in the table of family bridge, which exists as long as there are links.
const (
	setLinked    = "linked"
	setClientIP  = "client_ip"
	setClientIP6 = "client_ip6"
	setTargetIP  = "target_ip"
	setTargetIP6 = "target_ip6"
)

// Of the hooks of family bridge (linux/netfilter_bridge.h).
const (
	hookBridgeForward = 2    // NF_BR_FORWARD
	bridgePriority    = -200 // NF_BR_PRI_FILTER_BRIDGED
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

// endSet is a set of links of one family, each by the host's link of one of its ends.
func endSet(name, addr string, f *family) setDef {
	s := linkSet(name, addr, f)
	s.text, s.keyLen = "ifname . "+s.text, unix.IFNAMSIZ+s.keyLen
	s.keyType = concat(typeIfname, f.addrType, f.addrType, typeInetProto, typeInetService)
	return s
}

// linked asks whether the packet goes from client to target, or back; with the word for
// one of its links, whether that is the one that the set has.
func (f *family) linked(link, set string, forth bool) stmt {
	first, second, port, word := f.src, f.dst, uint32(2), "dport"
	text := f.keyword + " saddr . " + f.keyword + " daddr"
	if !forth {
		first, second, port, word = f.dst, f.src, 0, "sport"
		text = f.keyword + " daddr . " + f.keyword + " saddr"
	}
	reg, n := uint32(reg0), f.addrLen/4
	var exprs []expr.Any
	if link != "" {
		text = link + " . " + text
		exprs = append(exprs, meta(ifaceKey(link), reg))
		reg += unix.IFNAMSIZ / 4
	}
	return stmt{text + " . meta l4proto . th " + word + " @" + set, append(exprs,
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: first, Len: f.addrLen},
		&expr.Payload{DestRegister: reg + n, Base: expr.PayloadBaseNetworkHeader, Offset: second, Len: f.addrLen},
		meta(expr.MetaKeyL4PROTO, reg+2*n),
		&expr.Payload{DestRegister: reg + 2*n + 1, Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2},
		&expr.Lookup{SourceRegister: reg0, SetName: set},
	)}
}

func linkElem(set string, l *model.Link) elem {
	key := slices.Concat(l.Client.AsSlice(), l.Target.AsSlice(), protoPortKey(l.Proto, l.Port))
	return elem{set: set, key: string(key), comment: l.Owner}
}

// endElem is the element of a link at one of its ends.
func endElem(set, host string, l *model.Link) elem {
	e := linkElem(set, l)
	e.key = string(ifname(host)) + e.key
	return e
}

// bridgeElems returns the elements of the table of family bridge.
func bridgeElems(c Change) []elem {
	var list []elem
	for i := range c.LinkedPorts {
		p := &c.LinkedPorts[i]
		list = append(list, elem{set: setLinked, key: string(ifname(p.Host)), comment: p.Owner})
	}
	for i := range c.Links {
		l, client, target := &c.Links[i], setClientIP, setTargetIP
		if l.Target.Is6() {
			client, target = setClientIP6, setTargetIP6
		}
		list = append(list, endElem(client, l.ClientHost, l), endElem(target, l.TargetHost, l))
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
	links := func(proto uint16, fam *family, client, target string, forth bool) rule {
		from, to := "iifname", "oifname"
		if !forth {
			from, to = to, from
		}
		return newRule("", etherType(proto), fam.linked(from, client, forth), fam.linked(to, target, forth), setMark(), accept())
	}
	return &ruleset{
		fam: f,
		sets: []setDef{
			{name: setLinked, text: "ifname", keyType: typeIfname, keyLen: unix.IFNAMSIZ},
			endSet(setClientIP, "ipv4_addr", ip), endSet(setTargetIP, "ipv4_addr", ip),
			endSet(setClientIP6, "ipv6_addr", ip6), endSet(setTargetIP6, "ipv6_addr", ip6),
		},
		chains: []chainDef{
			{name: "between", rules: []rule{
				newRule("", etherType(unix.ETH_P_ARP), accept()),
				newRule("", etherType(unix.ETH_P_IPV6), neighbourDiscovery(), accept()),
				// Without the first fragment the others are nothing.
				newRule("", etherType(unix.ETH_P_IP), laterFragment4(), accept()),
				newRule("", etherType(unix.ETH_P_IPV6), laterFragment6(), accept()),
				links(unix.ETH_P_IP, ip, setClientIP, setTargetIP, true),
				links(unix.ETH_P_IP, ip, setClientIP, setTargetIP, false),
				links(unix.ETH_P_IPV6, ip6, setClientIP6, setTargetIP6, true),
				links(unix.ETH_P_IPV6, ip6, setClientIP6, setTargetIP6, false),
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
var linkSets = []string{setLinked, setClientIP, setClientIP6}

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
