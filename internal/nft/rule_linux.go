package nft

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers of four bytes. The ones of sixteen bytes are made of four of these.
const reg0 = unix.NFT_REG32_00

// A stmt is a part of a rule: its text, and what the kernel evaluates.
type stmt struct {
	text  string
	exprs []expr.Any
}

// A rule is a line of a chain.
type rule struct {
	text  string
	exprs []expr.Any
	// owner is the network that the rule belongs to, empty for common rules.
	owner string
}

func newRule(owner string, parts ...stmt) rule {
	r := rule{owner: owner}
	texts := make([]string, len(parts))
	for i, p := range parts {
		texts[i] = p.text
		r.exprs = append(r.exprs, p.exprs...)
	}
	r.text = strings.Join(texts, " ")
	return r
}

// comment marks the rule as ours: the owner, and a hash of the text by which a
// dumped rule is recognised, since the kernel does not return what it was given
// byte by byte.
func (r rule) comment() string {
	sum := sha256.Sum256([]byte(r.text))
	hash := hex.EncodeToString(sum[:8])
	if r.owner == "" {
		return hash
	}
	return short(r.owner) + " " + hash
}

// short is the part of an id that names chains.
func short(id string) string { return id[:min(len(id), 12)] }

// A family holds what differs between the two address families.
type family struct {
	num       byte
	keyword   string
	loopback  netip.Prefix
	multicast netip.Prefix
	addrLen   uint32
	src, dst  uint32 // offsets in the network header
	addrType  uint32
}

func familyOf(v6 bool) *family {
	if v6 {
		return &family{
			num: unix.NFPROTO_IPV6, keyword: "ip6",
			loopback:  netip.MustParsePrefix("::1/128"),
			multicast: netip.MustParsePrefix("ff00::/8"),
			addrLen:   16, src: 8, dst: 24, addrType: typeIP6Addr,
		}
	}
	return &family{
		num: unix.NFPROTO_IPV4, keyword: "ip",
		loopback:  netip.MustParsePrefix("127.0.0.0/8"),
		multicast: netip.MustParsePrefix("224.0.0.0/4"),
		addrLen:   4, src: 12, dst: 16, addrType: typeIPAddr,
	}
}

// linkLocal are the addresses that count on one link alone (RFC 4291).
func linkLocal() netip.Prefix { return netip.MustParsePrefix("fe80::/10") }

func (f *family) v6() bool { return f.num == unix.NFPROTO_IPV6 }

func meta(key expr.MetaKey, reg uint32) expr.Any { return &expr.Meta{Key: key, Register: reg} }

func compare(op expr.CmpOp, data []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: reg0, Data: data}
}

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func ifaceKey(word string) expr.MetaKey {
	if word == "iifname" {
		return expr.MetaKeyIIFNAME
	}
	return expr.MetaKeyOIFNAME
}

// ours asks whether the link is one of the bridges.
func ours(word string, yes bool) stmt {
	op := ""
	if !yes {
		op = "!= "
	}
	return stmt{word + " " + op + "@" + setBridges, []expr.Any{
		meta(ifaceKey(word), reg0),
		&expr.Lookup{SourceRegister: reg0, SetName: setBridges, Invert: !yes},
	}}
}

// link asks whether the link is that of a name.
func link(word, name string) stmt {
	return stmt{word + " " + strconv.Quote(name), []expr.Any{meta(ifaceKey(word), reg0), compare(expr.CmpOpEq, ifname(name))}}
}

func ifaceVmap(word, set string) stmt {
	return stmt{word + " vmap @" + set, []expr.Any{
		meta(ifaceKey(word), reg0),
		&expr.Lookup{SourceRegister: reg0, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: set},
	}}
}

// addr compares the source (saddr) or destination (daddr) with a prefix.
func (f *family) addr(word string, eq bool, p netip.Prefix) stmt {
	off := f.dst
	if word == "saddr" {
		off = f.src
	}
	op, sign := expr.CmpOpEq, ""
	if !eq {
		op, sign = expr.CmpOpNeq, "!= "
	}
	text := p.Masked().String()
	exprs := []expr.Any{&expr.Payload{
		DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: off, Len: f.addrLen,
	}}
	if p.IsSingleIP() {
		text = p.Addr().String()
	} else {
		mask := make([]byte, f.addrLen)
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		exprs = append(exprs, &expr.Bitwise{
			SourceRegister: reg0, DestRegister: reg0, Len: f.addrLen,
			Mask: mask, Xor: make([]byte, f.addrLen),
		})
	}
	exprs = append(exprs, compare(op, p.Masked().Addr().AsSlice()))
	return stmt{f.keyword + " " + word + " " + sign + text, exprs}
}

// inSet looks the source (saddr) or destination (daddr) up in a set.
func (f *family) inSet(word, set string) stmt {
	off := f.dst
	if word == "saddr" {
		off = f.src
	}
	return stmt{f.keyword + " " + word + " @" + set, []expr.Any{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: off, Len: f.addrLen},
		&expr.Lookup{SourceRegister: reg0, SetName: set},
	}}
}

func fibLocal() stmt { return fibType("local", unix.RTN_LOCAL) }

// fibType asks for the kind of the destination, RTN_UNICAST or RTN_LOCAL
// (linux/rtnetlink.h).
func fibType(word string, kind uint32) stmt {
	return stmt{"fib daddr type " + word, []expr.Any{
		&expr.Fib{Register: reg0, ResultADDRTYPE: true, FlagDADDR: true},
		compare(expr.CmpOpEq, native32(kind)),
	}}
}

// fibOwn asks for a source that is an address of the host.
func fibOwn() stmt {
	return stmt{"fib saddr type local", []expr.Any{
		&expr.Fib{Register: reg0, ResultADDRTYPE: true, FlagSADDR: true},
		compare(expr.CmpOpEq, native32(unix.RTN_LOCAL)),
	}}
}

// toAll asks for frames to everybody: broadcast, 1, and multicast, 2 (linux/if_packet.h).
func toAll() stmt {
	return stmt{"meta pkttype broadcast-multicast", []expr.Any{
		meta(expr.MetaKeyPKTTYPE, reg0),
		compare(expr.CmpOpGte, []byte{1}), compare(expr.CmpOpLte, []byte{2}),
	}}
}

func ctState() stmt {
	return ctIs("established,related", expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}

// ctNone asks for what is of no connection, which neighbour discovery never is.
func (f *family) ctNone() stmt {
	if f.v6() {
		return ctIs("invalid,untracked", expr.CtStateBitINVALID|expr.CtStateBitUNTRACKED)
	}
	return ctIs("invalid", expr.CtStateBitINVALID)
}

func ctIs(text string, states uint32) stmt {
	return stmt{"ct state " + text, []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: reg0},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: native32(states), Xor: native32(0)},
		compare(expr.CmpOpNeq, native32(0)),
	}}
}

func ctDNAT() stmt {
	const ipsDstNAT = 1 << 5 // IPS_DST_NAT
	return stmt{"ct status dnat", []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg0},
		&expr.Bitwise{
			SourceRegister: reg0, DestRegister: reg0, Len: 4,
			Mask: native32(ipsDstNAT), Xor: native32(0),
		},
		compare(expr.CmpOpNeq, native32(0)),
	}}
}

// setMark adds MarkBit and keeps the other bits.
func setMark() stmt {
	return stmt{"meta mark set meta mark | 0x02000000", []expr.Any{
		meta(expr.MetaKeyMARK, reg0),
		&expr.Bitwise{
			SourceRegister: reg0, DestRegister: reg0, Len: 4,
			Mask: native32(^uint32(MarkBit)), Xor: native32(MarkBit),
		},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg0},
	}}
}

// clearMark takes MarkBit away and keeps the other bits.
func clearMark() stmt {
	return stmt{fmt.Sprintf("meta mark & %#08x != 0 meta mark set meta mark & %#08x", MarkBit, ^uint32(MarkBit)), []expr.Any{
		meta(expr.MetaKeyMARK, reg0),
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: native32(MarkBit), Xor: native32(0)},
		compare(expr.CmpOpNeq, native32(0)),
		meta(expr.MetaKeyMARK, reg0),
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: native32(^uint32(MarkBit)), Xor: native32(0)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg0},
	}}
}

// unmarked asks whether no forward chain of ours has accepted the packet.
func unmarked() stmt { return markIs("0", 0) }

// marked asks for what a chain of ours has accepted.
func marked() stmt { return markIs(fmt.Sprintf("%#08x", MarkBit), MarkBit) }

func markIs(text string, bit uint32) stmt {
	return stmt{fmt.Sprintf("meta mark & %#08x == %s", MarkBit, text), []expr.Any{
		meta(expr.MetaKeyMARK, reg0),
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: native32(MarkBit), Xor: native32(0)},
		compare(expr.CmpOpEq, native32(bit)),
	}}
}

func verdict(text string, kind expr.VerdictKind, chain string) stmt {
	if chain != "" {
		text += " " + chain
	}
	return stmt{text, []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}}
}

func jump(chain string) stmt { return verdict("jump", expr.VerdictJump, chain) }
func goTo(chain string) stmt { return verdict("goto", expr.VerdictGoto, chain) }
func drop() stmt             { return verdict("drop", expr.VerdictDrop, "") }
func accept() stmt           { return verdict("accept", expr.VerdictAccept, "") }
func ret() stmt              { return verdict("return", expr.VerdictReturn, "") }
func masquerade() stmt       { return stmt{"masquerade", []expr.Any{&expr.Masq{}}} }

func l4proto(name string, num byte) stmt {
	return stmt{"meta l4proto " + name, []expr.Any{
		meta(expr.MetaKeyL4PROTO, reg0), compare(expr.CmpOpEq, []byte{num}),
	}}
}

func dport(reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

// dnat takes address, and port if the map has one, from a map.
func (f *family) dnat(key string, load []expr.Any, set string, port bool) stmt {
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.num), RegAddrMin: reg0}
	if port {
		nat.RegProtoMin = reg0 + f.addrLen/4
	}
	return stmt{"dnat to " + key + " map @" + set, append(load,
		&expr.Lookup{SourceRegister: reg0, DestRegister: reg0, IsDestRegSet: true, SetName: set}, nat)}
}

func (f *family) dnatAddr() stmt {
	load := []expr.Any{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseNetworkHeader, Offset: f.dst, Len: f.addrLen},
		meta(expr.MetaKeyL4PROTO, reg0+f.addrLen/4),
		dport(reg0 + f.addrLen/4 + 1),
	}
	return f.dnat(f.keyword+" daddr . meta l4proto . th dport", load, setPortAddr, true)
}

func (f *family) dnatAny() stmt {
	load := []expr.Any{meta(expr.MetaKeyL4PROTO, reg0), dport(reg0 + 1)}
	return f.dnat("meta l4proto . th dport", load, setPortAny, true)
}

func (f *family) dnatRange(proto, set string) stmt {
	return f.dnat(proto+" dport", []expr.Any{dport(reg0)}, set, false)
}
