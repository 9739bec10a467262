package ipam

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/libnetwork/libnetwork/internal/runset"
	"github.com/libnetwork/libnetwork/types"
)

// Base is a range that is cut into pools of one length as they are asked for.
type Base struct {
	Prefix netip.Prefix
	// Length is that of the pools in bits, at least that of Prefix.
	Length int
}

// LibraryBases returns the bases of the library for the two address spaces:
// 31 pools in 172.16.0.0/12 and 192.168.0.0/16, and 65 536 in 10.0.0.0/8.
func LibraryBases() (local, global []Base) { return bases(16, 20) }

// DaemonBases returns the bases of dnet: the same ranges, all cut to /24, which
// makes 4 096 local pools.
func DaemonBases() (local, global []Base) { return bases(24, 24) }

// bases leaves 172.16.0.0/16 alone: cloud providers use it.
func bases(len172, len192 int) (local, global []Base) {
	return []Base{
			{netip.MustParsePrefix("172.17.0.0/16"), len172},
			{netip.MustParsePrefix("172.18.0.0/15"), len172},
			{netip.MustParsePrefix("172.20.0.0/14"), len172},
			{netip.MustParsePrefix("172.24.0.0/13"), len172},
			{netip.MustParsePrefix("192.168.0.0/16"), len192},
		},
		[]Base{{netip.MustParsePrefix("10.0.0.0/8"), 24}}
}

// ULABase returns the /48 of unique local IPv6 addresses (RFC 4193) that belongs
// to a machine: the same one every time, and most probably nobody else's. The
// global ID is the low 40 bits of the first 64 of the SHA-256 sum of machineID.
func ULABase(machineID []byte) netip.Prefix {
	sum := sha256.Sum256(machineID)
	a := [16]byte{0: 0xfd}
	copy(a[1:6], sum[3:8])
	return netip.PrefixFrom(netip.AddrFrom16(a), 48)
}

// normalize checks bases and returns them by family, sorted, the widest of
// overlapping ones alone.
func normalize(bases []Base) (out [2][]Base, err error) {
	for _, b := range bases {
		if !b.Prefix.IsValid() || b.Prefix.Addr().Is4In6() || b.Length < 1 || b.Length < b.Prefix.Bits() || b.Length > b.Prefix.Addr().BitLen() {
			return out, types.BadRequestErrorf("base %s cannot be cut into pools of /%d", b.Prefix, b.Length)
		}
		b.Prefix = b.Prefix.Masked()
		f := family(b.Prefix.Addr())
		out[f] = append(out[f], b)
	}
	for f, list := range out {
		slices.SortStableFunc(list, func(a, b Base) int {
			if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
				return c
			}
			return a.Prefix.Bits() - b.Prefix.Bits()
		})
		kept := list[:0]
		for _, b := range list {
			if n := len(kept); n == 0 || !kept[n-1].Prefix.Overlaps(b.Prefix) {
				kept = append(kept, b)
			}
		}
		out[f] = kept
	}
	return out, nil
}

// span is the addresses lo to hi, both included, of one family.
type span struct{ lo, hi runset.Uint128 }

func spanOf(p netip.Prefix) span {
	host := runset.LowMask(p.Addr().BitLen() - p.Bits())
	lo := runset.FromAddr(p.Addr()).AndNot(host)
	return span{lo, lo.Or(host)}
}

func (s span) contains(x runset.Uint128) bool { return !x.Less(s.lo) && !s.hi.Less(x) }

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func addrOf(x runset.Uint128, v4 bool) netip.Addr {
	if v4 {
		return x.Addr4()
	}
	return x.Addr16()
}

// merge returns the prefixes of one family as sorted, disjoint spans, without
// those of length 0.
func merge(prefixes []netip.Prefix, v6 bool) []span {
	var list []span
	for _, p := range prefixes {
		if usable(p) && p.Bits() > 0 && p.Addr().Is6() == v6 {
			list = append(list, spanOf(p))
		}
	}
	slices.SortFunc(list, func(a, b span) int { return a.lo.Cmp(b.lo) })
	kept := list[:0]
	for _, s := range list {
		if n := len(kept); n > 0 && !kept[n-1].hi.Less(s.lo) {
			if kept[n-1].hi.Less(s.hi) {
				kept[n-1].hi = s.hi
			}
			continue
		}
		kept = append(kept, s)
	}
	return kept
}

// firstFrom returns the number of the first master that ends at or after x.
func firstFrom(masters []master, x runset.Uint128) int {
	return sort.Search(len(masters), func(i int) bool { return !masters[i].hi.Less(x) })
}

// hint spares a search what earlier ones have seen.
type hint struct {
	excluded []span // what it holds for
	bases    []seen // by base
}

// seen says that no block of the base's length is free below from, or at all.
type seen struct {
	from runset.Uint128
	full bool
}

// hint returns the hint for what is excluded now.
func (s *space) hint(f int, excluded []span) *hint {
	h := &s.hints[f]
	if h.bases == nil || !slices.Equal(h.excluded, excluded) {
		h.excluded, h.bases = excluded, make([]seen, len(s.bases[f]))
		for i, b := range s.bases[f] {
			h.bases[i].from = spanOf(b.Prefix).lo
		}
	}
	return h
}

// unsee has the hints know that a master has gone.
func (s *space) unsee(f int, gone span) {
	for i, b := range s.bases[f] {
		base, h := spanOf(b.Prefix), &s.hints[f]
		if h.bases == nil || gone.hi.Less(base.lo) || base.hi.Less(gone.lo) {
			continue
		}
		block := later(base.lo, gone.lo.AndNot(runset.LowMask(b.Prefix.Addr().BitLen()-b.Length)))
		if h.bases[i].full || block.Less(h.bases[i].from) {
			h.bases[i] = seen{from: block}
		}
	}
}

// free returns the lowest block of the bases that overlaps with no master and
// nothing excluded. bits is as for Manager.requestAny.
func (s *space) free(excluded []span, bits int, v6 bool) (netip.Prefix, bool) {
	f, width := 0, 32
	if v6 {
		f, width = 1, 128
	}
	if bits < 0 {
		h := s.hint(f, excluded)
		for i, b := range s.bases[f] {
			at := &h.bases[i]
			if at.full {
				continue
			}
			rest := span{at.from, spanOf(b.Prefix).hi}
			lo, ok := lowest(rest, runset.LowMask(width-b.Length), s.masters[f], excluded)
			if ok {
				at.from = lo
				return netip.PrefixFrom(addrOf(lo, !v6), b.Length), true
			}
			at.full = true
		}
		return netip.Prefix{}, false
	}
	for _, b := range s.bases[f] {
		if bits < b.Prefix.Bits() {
			continue
		}
		if lo, ok := lowest(spanOf(b.Prefix), runset.LowMask(width-bits), s.masters[f], excluded); ok {
			return netip.PrefixFrom(addrOf(lo, !v6), bits), true
		}
	}
	return netip.Prefix{}, false
}

// lowest walks the blocks of a base, or of the rest of one, beside the masters
// and the excluded spans in their order, and leaps over what it meets.
func lowest(base span, host runset.Uint128, masters []master, excluded []span) (runset.Uint128, bool) {
	masters = masters[firstFrom(masters, base.lo):]
	for at := base.lo; ; {
		for len(masters) > 0 && !at.Or(host).Less(masters[0].lo) {
			if hi := masters[0].hi; !hi.Less(at) {
				last := hi.Or(host)
				if !last.Less(base.hi) {
					return runset.Uint128{}, false
				}
				at = last.Next()
			}
			masters = masters[1:]
		}
		for len(excluded) > 0 && excluded[0].hi.Less(at) {
			excluded = excluded[1:]
		}
		if len(excluded) == 0 || at.Or(host).Less(excluded[0].lo) {
			return at, true
		}
		last := excluded[0].hi.Or(host)
		if !last.Less(base.hi) {
			return runset.Uint128{}, false
		}
		at = last.Next()
	}
}

// blockers says for each base what stands in the way of a free block.
func (s *space) blockers(excluded []span, bits int, v6 bool) string {
	f := 0
	if v6 {
		f = 1
	}
	if len(s.bases[f]) == 0 {
		return fmt.Sprintf("no base for IPv%d pools is configured", 4+2*f)
	}
	var text []string
	for _, b := range s.bases[f] {
		if bits >= 0 && bits < b.Prefix.Bits() {
			text = append(text, fmt.Sprintf("%s has no room for a /%d", b.Prefix, bits))
			continue
		}
		sp, pools, host := spanOf(b.Prefix), 0, 0
		for i := firstFrom(s.masters[f], sp.lo); i < len(s.masters[f]) && !sp.hi.Less(s.masters[f][i].lo); i++ {
			pools++
		}
		for _, e := range excluded {
			if !e.hi.Less(sp.lo) && !sp.hi.Less(e.lo) {
				host++
			}
		}
		text = append(text, fmt.Sprintf("%s is blocked by %d pools and %d networks of the host", b.Prefix, pools, host))
	}
	return strings.Join(text, ", ")
}
