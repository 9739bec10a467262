package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/types"
)

// Render returns the tables that want and guard ask for as text in the style of
// the nft program.
func Render(table string, want Change, g Guard) (string, error) {
	if err := check(want); err != nil {
		return "", types.BadRequestErrorf("firewall %s: %w", table, err)
	}
	var text strings.Builder
	for _, fam := range families() {
		if rs := fam.build(want, g); rs != nil {
			text.WriteString(rs.text(table))
		}
	}
	return text.String(), nil
}

func (rs *ruleset) text(table string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n", rs.fam.keyword, table)
	for _, s := range rs.sets {
		kind := "set"
		if strings.Contains(s.text, " : ") {
			kind = "map"
		}
		fmt.Fprintf(&b, "\t%s %s {\n\t\ttype %s\n", kind, s.name, s.text)
		if s.counter {
			b.WriteString("\t\tcounter\n")
		}
		elems := slices.SortedFunc(func(yield func(elem) bool) {
			for _, e := range rs.elems {
				if e.set == s.name && !yield(e) {
					return
				}
			}
		}, compareElems)
		for i, e := range elems {
			if e.last {
				continue
			}
			behind := ""
			if i+1 < len(elems) && elems[i+1].last {
				behind = elems[i+1].key
			}
			b.WriteString("\t\t" + rs.fam.elemText(e, behind) + "\n")
		}
		b.WriteString("\t}\n")
	}
	for _, c := range rs.chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.hook != "" {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %d; policy accept;\n", c.kind, c.hook, c.priority)
		}
		for _, r := range c.rules {
			b.WriteString("\t\t" + r.text + "\n")
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// elemText is the text of one element; behind is the key behind an interval, empty
// where nothing is.
func (f *family) elemText(e elem, behind string) string {
	key, data := e.key, ""
	switch e.set {
	case setBridges, setICC, setInternal, setIsolated, setRouted, setUnprotected, setMasquerade, setHairpin, setLinked:
		key = linkText(key)
	case setWithin, setTrusted:
		key = linkText(key[:len(key)/2]) + " . " + linkText(key[len(key)/2:])
	case setMarked:
		key, data = linkText(key), "jump "+e.chain
	case setSNAT:
		key, data = linkText(key), addrText(e.data)
	case setSubnets:
		key = intervalText(addrOf(key), addrOf(behind))
	case setSources:
		if len(key) < unix.IFNAMSIZ || len(e.end) < unix.IFNAMSIZ {
			return fmt.Sprintf("%x", key)
		}
		key = linkText(key[:unix.IFNAMSIZ]) + " . " + intervalText(addrOf(key[unix.IFNAMSIZ:]), addrOf(e.end[unix.IFNAMSIZ:]).Next())
	case setPortAddr:
		if len(key) < int(f.addrLen) {
			return fmt.Sprintf("%x", key)
		}
		key = addrText(key[:f.addrLen]) + " . " + protoPort(key[f.addrLen:])
		data = f.addrPort(e.data)
	case setTracked:
		key = addrText(key) + " counter"
	case setKeptAny:
		key = protoPort(key)
	case setPortAny:
		key, data = protoPort(key), f.addrPort(e.data)
	case setOpen, setKept:
		if len(key) < int(f.addrLen) {
			return fmt.Sprintf("%x", key)
		}
		key = addrText(key[:f.addrLen]) + " . " + protoPort(key[f.addrLen:])
	case setClientIP, setClientIP6, setTargetIP, setTargetIP6:
		n := (len(key)-unix.IFNAMSIZ)/2 - 4
		if n < 4 {
			return fmt.Sprintf("%x", key)
		}
		at := key[unix.IFNAMSIZ:]
		key = linkText(key[:unix.IFNAMSIZ]) + " . " + addrText(at[:n]) + " . " + addrText(at[n:2*n]) + " . " + protoPort(at[2*n:])
	case setLinks:
		n := len(key)/2 - 4 // two addresses, then eight bytes
		if n < 4 {
			return fmt.Sprintf("%x", key)
		}
		key = addrText(key[:n]) + " . " + addrText(key[n:2*n]) + " . " + protoPort(key[2*n:])
	case setRangeTCP, setRangeUDP:
		end := uint16(65535)
		if behind != "" {
			end = portNumber(behind) - 1
		}
		key, data = fmt.Sprintf("%d-%d", portNumber(key), end), addrText(e.data)
	default:
		return fmt.Sprintf("%x", key)
	}
	if data != "" {
		key += " : " + data
	}
	return key + " comment " + strconv.Quote(e.comment)
}

func linkText(s string) string { return strconv.Quote(strings.TrimRight(s, "\x00")) }

// intervalText is the prefix that goes from one address to just before another one,
// the zero Addr for the end.
func intervalText(first, behind netip.Addr) string {
	for bits := range first.BitLen() + 1 {
		p := netip.PrefixFrom(first, bits)
		if p.Masked().Addr() == first && lastOf(p).Next() == behind {
			return p.String()
		}
	}
	return fmt.Sprintf("%s up to %s", first, behind)
}

func addrOf(s string) netip.Addr {
	a, _ := netip.AddrFromSlice([]byte(s))
	return a
}

func addrText(s string) string { return addrOf(s).String() }

func (f *family) addrPort(s string) string {
	if len(s) < int(f.addrLen)+2 {
		return fmt.Sprintf("%x", s)
	}
	return addrText(s[:f.addrLen]) + " . " + strconv.Itoa(int(portNumber(s[f.addrLen:])))
}

func protoPort(s string) string {
	if len(s) < 6 {
		return fmt.Sprintf("%x", s)
	}
	name, ok := map[byte]string{6: "tcp", 17: "udp", 132: "sctp"}[s[0]]
	if !ok {
		name = strconv.Itoa(int(s[0]))
	}
	return name + " . " + strconv.Itoa(int(portNumber(s[4:])))
}
