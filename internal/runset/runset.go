// Package runset keeps a set of 128-bit integers as sorted maximal runs.
//
// It is the one free-space structure under addresses and bit sets. Because
// runs are maximal, "the first number from x on that is not in the set" is one
// search: the run holding x ends just before it. Look-up, insertion, deletion
// and that search cost O(log n) in the number of runs, memory is proportional
// to the number of runs, and a set that shrinks and grows around one size
// allocates nothing.
//
// A Set is not safe for concurrent use. It counts its members modulo 2^128.
package runset

import (
	"iter"
	"slices"
)

// chunkMax is the number of runs in one chunk: a memmove of at most 2 KiB.
const chunkMax = 64

// A Run is the members Lo to Hi, both included.
type Run struct{ Lo, Hi Uint128 }

// chunk is a directory entry: first repeats runs[0].Lo so that a search of
// the directory stays in one piece of memory.
type chunk struct {
	first Uint128
	runs  []Run
}

// Set is a set of 128-bit integers. The zero value is empty and ready to use.
type Set struct {
	dir   []chunk // never holds an empty chunk
	spare []Run   // room of a chunk that was dropped, for the next split
	n     Uint128
	runs  int
}

// Len returns the number of members.
func (s *Set) Len() Uint128 { return s.n }

// Runs returns the number of maximal runs.
func (s *Set) Runs() int { return s.runs }

// find returns the place of the last run that begins at or before x;
// ok is false if every run begins after x.
func (s *Set) find(x Uint128) (c, i int, ok bool) {
	lo, hi := 0, len(s.dir)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if x.Less(s.dir[m].first) {
			hi = m
		} else {
			lo = m + 1
		}
	}
	if lo == 0 {
		return 0, -1, false
	}
	c = lo - 1
	runs := s.dir[c].runs
	lo, hi = 1, len(runs)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if x.Less(runs[m].Lo) {
			hi = m
		} else {
			lo = m + 1
		}
	}
	return c, lo - 1, true
}

// after returns the place that follows (c, i); ok is false at the end.
func (s *Set) after(c, i int) (int, int, bool) {
	if c >= len(s.dir) {
		return 0, 0, false
	}
	if i+1 < len(s.dir[c].runs) {
		return c, i + 1, true
	}
	if c+1 < len(s.dir) {
		return c + 1, 0, true
	}
	return 0, 0, false
}

// Contains reports whether x is a member.
func (s *Set) Contains(x Uint128) bool {
	c, i, ok := s.find(x)
	return ok && !s.dir[c].runs[i].Hi.Less(x)
}

// NextAbsent returns the lowest number >= x that is not a member; ok is false
// if x to 2^128-1 are all members.
func (s *Set) NextAbsent(x Uint128) (next Uint128, ok bool) {
	c, i, found := s.find(x)
	if !found {
		return x, true
	}
	hi := s.dir[c].runs[i].Hi
	if hi.Less(x) {
		return x, true
	}
	if hi == maxUint128 {
		return Uint128{}, false
	}
	return hi.Next(), true
}

// Insert adds x and reports whether it was absent.
func (s *Set) Insert(x Uint128) bool {
	c, i, ok := s.find(x)
	joinLeft := false
	if ok {
		hi := s.dir[c].runs[i].Hi
		if !hi.Less(x) {
			return false
		}
		joinLeft = hi.Next() == x
	}
	nc, ni, more := s.after(c, i)
	joinRight := more && s.dir[nc].runs[ni].Lo == x.Next() && x != maxUint128
	switch {
	case joinLeft && joinRight:
		s.dir[c].runs[i].Hi = s.dir[nc].runs[ni].Hi
		s.removeRun(nc, ni)
	case joinLeft:
		s.dir[c].runs[i].Hi = x
	case joinRight:
		s.dir[nc].runs[ni].Lo = x
		if ni == 0 {
			s.dir[nc].first = x
		}
	default:
		s.insertRun(c, i+1, Run{x, x})
	}
	s.n = s.n.Next()
	return true
}

// Delete removes x and reports whether it was a member.
func (s *Set) Delete(x Uint128) bool {
	c, i, ok := s.find(x)
	if !ok {
		return false
	}
	r := s.dir[c].runs[i]
	if r.Hi.Less(x) {
		return false
	}
	switch {
	case r.Lo == r.Hi:
		s.removeRun(c, i)
	case x == r.Lo:
		s.dir[c].runs[i].Lo = x.Next()
		if i == 0 {
			s.dir[c].first = x.Next()
		}
	case x == r.Hi:
		s.dir[c].runs[i].Hi = x.Prev()
	default:
		s.dir[c].runs[i].Hi = x.Prev()
		s.insertRun(c, i+1, Run{x.Next(), r.Hi})
	}
	s.n = s.n.Prev()
	return true
}

// Append adds lo to hi, which must lie behind every member, and joins it with
// the last run where they touch. It panics if the order is wrong.
func (s *Set) Append(lo, hi Uint128) {
	if hi.Less(lo) {
		panic("runset: reversed run")
	}
	if n := len(s.dir); n > 0 {
		runs := s.dir[n-1].runs
		last := &runs[len(runs)-1]
		if !last.Hi.Less(lo) {
			panic("runset: run out of order")
		}
		if last.Hi.Next() == lo {
			last.Hi = hi
			s.n = s.n.Add(hi.Sub(lo).Next())
			return
		}
		s.insertRun(n-1, len(runs), Run{lo, hi})
	} else {
		s.insertRun(0, 0, Run{lo, hi})
	}
	s.n = s.n.Add(hi.Sub(lo).Next())
}

// insertRun puts r at place i of chunk c.
func (s *Set) insertRun(c, i int, r Run) {
	s.runs++
	if len(s.dir) == 0 {
		s.dir = append(s.dir, chunk{r.Lo, append(s.takeSpare(0), r)})
		return
	}
	if len(s.dir[c].runs) == chunkMax {
		if c == len(s.dir)-1 && i == chunkMax {
			// Growth at the end leaves full chunks behind, not half empty ones.
			s.dir = append(s.dir, chunk{r.Lo, append(s.takeSpare(chunkMax), r)})
			return
		}
		const half = chunkMax / 2
		runs := s.dir[c].runs
		upper := append(s.takeSpare(chunkMax), runs[half:]...)
		s.dir[c].runs = runs[:half]
		s.dir = slices.Insert(s.dir, c+1, chunk{upper[0].Lo, upper})
		if i > half {
			c, i = c+1, i-half
		}
	}
	k := &s.dir[c]
	k.runs = slices.Insert(k.runs, i, r)
	k.first = k.runs[0].Lo
}

// removeRun takes out run i of chunk c. Two chunks become one only when they
// fill less than half of it, so that a set changing by one never does it twice.
func (s *Set) removeRun(c, i int) {
	s.runs--
	k := &s.dir[c]
	k.runs = slices.Delete(k.runs, i, i+1)
	if len(k.runs) == 0 {
		s.dropChunk(c)
		return
	}
	k.first = k.runs[0].Lo
	if len(k.runs) > chunkMax/4 {
		return
	}
	switch {
	case c+1 < len(s.dir) && len(k.runs)+len(s.dir[c+1].runs) <= chunkMax/2:
		k.runs = append(k.runs, s.dir[c+1].runs...)
		s.dropChunk(c + 1)
	case c > 0 && len(k.runs)+len(s.dir[c-1].runs) <= chunkMax/2:
		p := &s.dir[c-1]
		p.runs = append(p.runs, k.runs...)
		s.dropChunk(c)
	}
}

func (s *Set) dropChunk(c int) {
	if room := s.dir[c].runs; cap(room) > cap(s.spare) {
		s.spare = room[:0]
	}
	s.dir = slices.Delete(s.dir, c, c+1)
}

// takeSpare returns an empty slice, with the spare room if there is any.
func (s *Set) takeSpare(want int) []Run {
	r := s.spare
	s.spare = nil
	if r == nil && want > 0 {
		r = make([]Run, 0, want)
	}
	return r
}

// All returns the runs in rising order. The set must not change meanwhile.
func (s *Set) All() iter.Seq[Run] { return s.From(Uint128{}) }

// From returns the runs that end at or after x, in rising order; the first one
// may begin before x. The set must not change meanwhile.
func (s *Set) From(x Uint128) iter.Seq[Run] {
	return func(yield func(Run) bool) {
		c, i, ok := s.find(x)
		if !ok {
			c, i = 0, 0
		} else if s.dir[c].runs[i].Hi.Less(x) {
			i++
		}
		for ; c < len(s.dir); c, i = c+1, 0 {
			for _, r := range s.dir[c].runs[min(i, len(s.dir[c].runs)):] {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// CountRange returns the number of members from lo to hi, both included. It
// walks the runs of the range.
func (s *Set) CountRange(lo, hi Uint128) Uint128 {
	var n Uint128
	for r := range s.From(lo) {
		if hi.Less(r.Lo) {
			break
		}
		if r.Lo.Less(lo) {
			r.Lo = lo
		}
		if hi.Less(r.Hi) {
			r.Hi = hi
		}
		n = n.Add(r.Hi.Sub(r.Lo).Next())
	}
	return n
}

// Clone returns an independent copy.
func (s *Set) Clone() *Set {
	c := &Set{n: s.n, runs: s.runs, dir: slices.Clone(s.dir)}
	for i := range c.dir {
		c.dir[i].runs = slices.Clone(c.dir[i].runs)
	}
	return c
}
