package rtnl

import (
	"encoding/binary"
	"iter"
	"math"
	"net/netip"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

const (
	hdrLen  = unix.SizeofNlMsghdr
	attrLen = unix.SizeofRtAttr
	// nested marks an attribute that consists of attributes.
	nested = unix.NLA_F_NESTED
	// typeMask takes the flags off the type of an attribute.
	typeMask = 0x3fff
)

// msg is a request: the header, filled in when it is sent, and what follows.
type msg []byte

func newMsg(kind uint16, flags uint16, body ...byte) msg {
	m := make(msg, hdrLen, 256)
	native.PutUint16(m[4:], kind)
	native.PutUint16(m[6:], flags|unix.NLM_F_REQUEST)
	return append(m, body...)
}

func (m *msg) bytes(kind uint16, data ...byte) {
	m.head(kind, len(data))
	*m = append(*m, data...)
	m.align()
}

func (m *msg) str(kind uint16, s string) {
	m.head(kind, len(s)+1)
	*m = append(append(*m, s...), 0)
	m.align()
}

func (m *msg) u8(kind uint16, v uint8) { m.bytes(kind, v) }

func (m *msg) u32(kind uint16, v uint32) {
	m.head(kind, 4)
	*m = native.AppendUint32(*m, v)
}

// nest adds an attribute with the attributes that fill adds to m.
func (m *msg) nest(kind uint16, fill func()) {
	start := len(*m)
	m.head(kind|nested, 0)
	fill()
	native.PutUint16((*m)[start:], uint16(min(len(*m)-start, math.MaxUint16)))
}

// peer adds the attribute that describes the other end of a veth pair: a link
// header and its attributes.
func (m *msg) peer(fill func()) {
	m.nest(vethInfoPeer, func() {
		*m = append(*m, ifInfo(unix.AF_UNSPEC, 0, 0, 0)...)
		fill()
	})
}

// port adds the attributes that describe a port of a bridge.
func (m *msg) port(fill func()) {
	m.nest(unix.IFLA_LINKINFO, func() {
		m.str(unix.IFLA_INFO_SLAVE_KIND, "bridge")
		m.nest(unix.IFLA_INFO_SLAVE_DATA, fill)
	})
}

func (m *msg) head(kind uint16, n int) {
	*m = native.AppendUint16(*m, uint16(min(attrLen+n, math.MaxUint16)))
	*m = native.AppendUint16(*m, kind)
}

func (m *msg) align() {
	for len(*m)%4 != 0 {
		*m = append(*m, 0)
	}
}

// ifInfo is struct ifinfomsg.
func ifInfo(family uint8, index int32, flags, change uint32) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	b[0] = family
	native.PutUint32(b[4:], uint32(index))
	native.PutUint32(b[8:], flags)
	native.PutUint32(b[12:], change)
	return b
}

// rtMsg is struct rtmsg.
func rtMsg(r unix.RtMsg) []byte {
	return native.AppendUint32([]byte{
		r.Family, r.Dst_len, r.Src_len, r.Tos, r.Table, r.Protocol, r.Scope, r.Type,
	}, r.Flags)
}

// attrs goes through the attributes of b up to the first malformed one.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attrLen {
			n := int(native.Uint16(b))
			if n < attrLen || n > len(b) {
				return
			}
			if !yield(native.Uint16(b[2:])&typeMask, b[attrLen:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}

func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return native.Uint32(b)
}

func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func addr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
