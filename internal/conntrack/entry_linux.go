package conntrack

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// An entry is a tracked connection.
type entry struct {
	orig, reply tuple
	// key is the attributes that name it to the kernel.
	key []byte
}

// parseEntry reads the attributes of an entry; what is malformed stays zero.
func parseEntry(b []byte) entry {
	var e entry
	for typ, val := range attributes(b) {
		switch typ {
		case attrOrig:
			e.orig = parseTuple(val)
			e.key = appendAttr(e.key, attrOrig|unix.NLA_F_NESTED, val)
		case attrReply:
			e.reply = parseTuple(val)
		case attrID, attrZone:
			e.key = appendAttr(e.key, typ, val)
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
