package bitseq

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/libnetwork/libnetwork/internal/runset"
	"github.com/libnetwork/libnetwork/types"
)

const (
	headerLen = 16
	runLen    = 12
	blockLen  = 32 // bits of a block
	full      = ^uint32(0)

	// maxMixed bounds the blocks that are neither empty nor full, since each of
	// them costs memory however short its record is. It allows for 16 million
	// ordinals of which every second one is set.
	maxMixed = 1 << 19
)

// bitmap is the set of ordinals that are set, out of n.
type bitmap struct {
	n   uint64
	set *runset.Set
}

func newBitmap(n uint64) bitmap { return bitmap{n, &runset.Set{}} }

func (b bitmap) clone() bitmap { return bitmap{b.n, b.set.Clone()} }

func (b bitmap) free() uint64 { return b.n - b.set.Len().Lo }

func (b bitmap) isSet(ordinal uint64) bool {
	return ordinal < b.n && b.set.Contains(runset.U64(ordinal))
}

func (b bitmap) check(ordinal uint64) error {
	if ordinal >= b.n {
		return types.BadRequestErrorf("ordinal %d is not below %d", ordinal, b.n)
	}
	return nil
}

// setAny sets the lowest ordinal that is free from start to end.
func (b bitmap) setAny(start, end uint64) (uint64, error) {
	o, ok := b.set.NextAbsent(runset.U64(start))
	if !ok || runset.U64(end).Less(o) {
		return 0, ErrNoBitAvailable
	}
	b.set.Insert(o)
	return o.Lo, nil
}

func (b bitmap) insert(ordinal uint64) bool { return b.set.Insert(runset.U64(ordinal)) }

func (b bitmap) remove(ordinal uint64) bool { return b.set.Delete(runset.U64(ordinal)) }

// encode writes the form described in the package documentation.
func (b bitmap) encode() []byte {
	out := make([]byte, headerLen, headerLen+4*runLen)
	binary.BigEndian.PutUint64(out, b.n)
	binary.BigEndian.PutUint64(out[8:], b.free())

	var run struct {
		block uint32
		count uint64
	}
	flush := func() {
		if run.count > 0 {
			out = binary.BigEndian.AppendUint32(out, run.block)
			out = binary.BigEndian.AppendUint64(out, run.count)
		}
	}
	emit := func(block uint32, count uint64) {
		switch {
		case count == 0:
		case block == run.block:
			run.count += count
		default:
			flush()
			run.block, run.count = block, count
		}
	}

	// at is the block being filled, cur its bits so far.
	var at uint64
	var cur uint32
	for r := range b.set.All() {
		lo, hi := r.Lo.Lo, r.Hi.Lo
		if first := lo / blockLen; first > at {
			emit(cur, 1)
			emit(0, first-at-1)
			at, cur = first, 0
		}
		if last := hi / blockLen; last > at {
			emit(cur|mask(lo%blockLen, blockLen-1), 1)
			emit(full, last-at-1)
			at, cur, lo = last, 0, last*blockLen
		}
		cur |= mask(lo%blockLen, hi%blockLen)
	}
	if blocks := blocksOf(b.n); blocks > 0 {
		emit(cur, 1)
		emit(0, blocks-at-1)
	}
	flush()
	return out
}

// blocksOf is the number of blocks that hold n bits.
func blocksOf(n uint64) uint64 {
	blocks := n / blockLen
	if n%blockLen != 0 {
		blocks++
	}
	return blocks
}

// mask has the bits lo to hi of a block, of which bit 31 is the lowest ordinal.
func mask(lo, hi uint64) uint32 {
	return full >> lo & (full << (blockLen - 1 - hi))
}

// decode reads what encode writes. It accepts the damage that old releases left
// behind: runs of length 0, equal neighbours, a wrong count of free bits, bits
// behind the last ordinal. It then says so, and the bitmap is a sound one.
func decode(data []byte) (b bitmap, damaged bool, err error) {
	if len(data) < headerLen || (len(data)-headerLen)%runLen != 0 {
		return b, false, types.BadRequestErrorf("bit sequence of %d bytes: want 16 and a multiple of 12", len(data))
	}
	b = newBitmap(binary.BigEndian.Uint64(data))
	free := binary.BigEndian.Uint64(data[8:])
	blocks := blocksOf(b.n)
	var at, mixed uint64
	last, any := uint32(0), false
	for rest := data[headerLen:]; len(rest) > 0; rest = rest[runLen:] {
		block, count := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint64(rest[4:])
		if count == 0 || any && block == last {
			damaged = true
		}
		if count == 0 {
			continue
		}
		last, any = block, true
		if count > blocks-at {
			damaged = true
			count = blocks - at
		}
		if block != 0 && block != full {
			if mixed += count; mixed > maxMixed {
				return b, false, types.BadRequestErrorf("bit sequence has more than %d blocks that are partly set", maxMixed)
			}
		}
		damaged = b.add(at, block, count) || damaged
		at += count
	}
	if at != blocks || free != b.free() {
		damaged = true
	}
	return b, damaged, nil
}

// add appends count blocks from block number at on, and reports whether they
// had bits behind the last ordinal, which it leaves out.
func (b bitmap) add(at uint64, block uint32, count uint64) (clipped bool) {
	if block == 0 || count == 0 {
		return false
	}
	put := func(lo, hi uint64) {
		if hi >= b.n {
			clipped = true
			if lo >= b.n {
				return
			}
			hi = b.n - 1
		}
		b.set.Append(runset.U64(lo), runset.U64(hi))
	}
	if block == full {
		// The last bit is counted from 0, so this holds for 2^64-1 bits as well.
		put(at*blockLen, at*blockLen+(count-1)*blockLen+blockLen-1)
		return clipped
	}
	for i := range count {
		base := (at + i) * blockLen
		for rest, o := block, 0; rest != 0; {
			zeros := bits.LeadingZeros32(rest)
			o, rest = o+zeros, rest<<zeros
			ones := bits.LeadingZeros32(^rest)
			put(base+uint64(o), base+uint64(o+ones-1))
			o, rest = o+ones, rest<<ones
		}
	}
	return clipped
}

func (b bitmap) String() string {
	return fmt.Sprintf("Bits: %d, Unselected: %d, Runs: %d", b.n, b.free(), b.set.Runs())
}
