package conntrack

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// An entry is a tracked connection.
type entry struct {
	orig, reply tuple
	// What names it to the kernel, in the buffer that it was read into.
	rawOrig, rawID, rawZone []byte
}

// key is the attributes that name the entry to the kernel.
func (e entry) key() []byte {
	b := appendAttr(nil, attrOrig|unix.NLA_F_NESTED, e.rawOrig)
	if e.rawID != nil {
		b = appendAttr(b, attrID, e.rawID)
	}
	if e.rawZone != nil {
		b = appendAttr(b, attrZone, e.rawZone)
	}
	return b
}

// parseEntry reads the attributes of an entry; what is malformed stays zero.
func parseEntry(b []byte) entry {
	var e entry
	for typ, val := range attributes(b) {
		switch typ {
		case attrOrig:
			e.orig, e.rawOrig = parseTuple(val), val
		case attrReply:
			e.reply = parseTuple(val)
		case attrID:
			e.rawID = val
		case attrZone:
			e.rawZone = val
		}
	}
	return e
}

func parseTuple(b []byte) tuple {
	var t tuple
	for typ, val := range attributes(b) {
		switch typ {
		case tupleIP:
			for typ, val := range attributes(val) {
				switch typ {
				case v4Src, v6Src:
					t.src, _ = netip.AddrFromSlice(val)
				case v4Dst, v6Dst:
					t.dst, _ = netip.AddrFromSlice(val)
				}
			}
		case tupleProto:
			for typ, val := range attributes(val) {
				switch {
				case typ == protoNum && len(val) > 0:
					t.proto = val[0]
				case typ == protoDstPort && len(val) > 1:
					t.dport = binary.BigEndian.Uint16(val)
				}
			}
		}
	}
	return t
}

// attributes yields type and value of each netlink attribute; what is malformed
// ends it.
func attributes(b []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			n := int(binary.NativeEndian.Uint16(b))
			if n < 4 || n > len(b) {
				return
			}
			typ := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(typ, b[4:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}
