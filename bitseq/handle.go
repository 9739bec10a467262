// Package bitseq keeps a set of numbered bits of which any may be taken and
// given back, in memory or in a record that several processes share.
//
// A Handle is safe for concurrent use. With a Store every change reads the
// record, changes a private copy and writes it back if nobody else did so
// meanwhile, otherwise it begins anew; two handles on one record never obtain
// the same bit, and a change that fails leaves the handle as it was. What is
// only read (IsSet, Unselected) is the state that the handle saw last. Without
// a Store a change costs O(log n) in the number of runs of set bits, and memory
// is proportional to that number. Ordinals are 0 to 2^64-2.
//
// A record is a header of two big-endian 64-bit numbers, the number of bits and
// that of free ones, and then runs of 12 bytes: a block of 32 bits, of which the
// most significant one has the lowest ordinal, and how often it repeats.
package bitseq

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/libnetwork/libnetwork/types"
)

var (
	// ErrNoBitAvailable is for when all bits of the range are set. Class
	// NoService.
	ErrNoBitAvailable = types.NoServiceErrorf("no bit available")

	// ErrBitAllocated is for a bit that is set already. Class Forbidden.
	ErrBitAllocated = types.ForbiddenErrorf("requested bit is already allocated")
)

// Handle is a set of bits.
type Handle struct {
	app   string
	store Store

	mu     sync.Mutex // guards all below; never held across a call of the store
	id     string
	bits   bitmap
	index  uint64 // of the record that bits came from
	exists bool
}

// NewHandle returns the bits of the record app/id in ds, and makes the record
// if there is none. A record's own size wins over numElements. Without ds the
// bits are in memory only, and all free.
func NewHandle(app string, ds Store, id string, numElements uint64) (*Handle, error) {
	h := &Handle{app: app, store: ds, id: id, bits: newBitmap(numElements)}
	if ds == nil {
		return h, nil
	}
	for {
		raw, index, err := ds.Load(h.key())
		if err != nil {
			return nil, fmt.Errorf("read bit sequence %s: %w", h.key(), err)
		}
		if index != 0 {
			if err := h.SetValue(raw); err != nil {
				return nil, fmt.Errorf("read bit sequence %s: %w", h.key(), err)
			}
			h.SetIndex(index)
			return h, nil
		}
		index, err = ds.CompareAndSwap(h.key(), 0, h.Value())
		if err == nil {
			h.SetIndex(index)
			return h, nil
		}
		if !errors.Is(err, ErrConflict) {
			return nil, fmt.Errorf("write bit sequence %s: %w", h.key(), err)
		}
	}
}

// SetAny sets the lowest free bit and returns its ordinal, or fails with
// ErrNoBitAvailable.
func (h *Handle) SetAny() (ordinal uint64, err error) {
	err = h.change(func(b bitmap) (bool, error) {
		if b.n == 0 {
			return false, ErrNoBitAvailable
		}
		ordinal, err = b.setAny(0, b.n-1)
		return true, err
	})
	return ordinal, err
}

// SetAnyInRange sets the lowest free bit from start to end, both included, and
// returns its ordinal, or fails with ErrNoBitAvailable. A range that is reversed
// or ends behind the last bit is refused with BadRequest.
func (h *Handle) SetAnyInRange(start, end uint64) (ordinal uint64, err error) {
	err = h.change(func(b bitmap) (bool, error) {
		if start > end || end >= b.n {
			return false, types.BadRequestErrorf("invalid range of bits %d to %d of %d", start, end, b.n)
		}
		ordinal, err = b.setAny(start, end)
		return true, err
	})
	return ordinal, err
}

// Set sets one bit. It fails with ErrBitAllocated if it is set, and with
// BadRequest if there is no such bit.
func (h *Handle) Set(ordinal uint64) error {
	return h.change(func(b bitmap) (bool, error) {
		if err := b.check(ordinal); err != nil {
			return false, err
		}
		if !b.insert(ordinal) {
			return false, ErrBitAllocated
		}
		return true, nil
	})
}

// Unset frees one bit; that it is free already is no error. It fails with
// BadRequest if there is no such bit.
func (h *Handle) Unset(ordinal uint64) error {
	return h.change(func(b bitmap) (bool, error) {
		if err := b.check(ordinal); err != nil {
			return false, err
		}
		return b.remove(ordinal), nil
	})
}

// IsSet reports whether the bit is set, false for one that does not exist.
func (h *Handle) IsSet(ordinal uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.viewLocked().isSet(ordinal)
}

// Bits returns the number of bits.
func (h *Handle) Bits() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bits.n
}

// Unselected returns the number of free bits.
func (h *Handle) Unselected() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.viewLocked().free()
}

// CheckConsistency repairs the record if an old release damaged it, and takes
// over what it holds. It fails if the store does.
func (h *Handle) CheckConsistency() error {
	if h.store == nil {
		return nil // nothing in memory can be damaged
	}
	for {
		b, index, damaged, err := h.load()
		if err != nil {
			return err
		}
		if damaged {
			if index, err = h.write(b, index); errors.Is(err, ErrConflict) {
				continue
			} else if err != nil {
				return err
			}
		}
		h.publish(b, index)
		return nil
	}
}

// Destroy removes the record and frees all bits. A record that is gone already
// is no error.
func (h *Handle) Destroy() error {
	if h.store != nil {
		if err := h.store.Delete(h.key()); err != nil {
			return fmt.Errorf("delete bit sequence %s: %w", h.key(), err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bits, h.index, h.exists = newBitmap(h.bits.n), 0, false
	return nil
}

// change applies f to the bits. f reports whether it changed them; if it fails
// it must not have.
func (h *Handle) change(f func(bitmap) (bool, error)) error {
	if h.store == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		_, err := f(h.viewLocked())
		return err
	}
	for {
		b, index, damaged, err := h.load()
		if err != nil {
			return err
		}
		changed, err := f(b)
		if err != nil {
			return err
		}
		if changed || damaged {
			if index, err = h.write(b, index); errors.Is(err, ErrConflict) {
				continue
			} else if err != nil {
				return err
			}
		}
		h.publish(b, index)
		return nil
	}
}

// load reads the record; without one all bits are free.
func (h *Handle) load() (b bitmap, index uint64, damaged bool, err error) {
	raw, index, err := h.store.Load(h.key())
	if err != nil {
		return b, 0, false, fmt.Errorf("read bit sequence %s: %w", h.key(), err)
	}
	if index == 0 {
		return newBitmap(h.Bits()), 0, false, nil
	}
	var rec record
	if err := json.Unmarshal(raw, &rec); err != nil {
		return b, 0, false, types.InternalErrorf("bit sequence %s: %w", h.key(), err)
	}
	b, damaged, err = decode(rec.Sequence)
	if err != nil {
		return b, 0, false, types.InternalErrorf("bit sequence %s: %w", h.key(), err)
	}
	return b, index, damaged, nil
}

func (h *Handle) write(b bitmap, index uint64) (uint64, error) {
	raw, err := json.Marshal(record{ID: h.idOf(), Sequence: b.encode()})
	if err != nil {
		return 0, types.InternalErrorf("bit sequence %s: %w", h.key(), err)
	}
	index, err = h.store.CompareAndSwap(h.key(), index, raw)
	if err != nil {
		return 0, fmt.Errorf("write bit sequence %s: %w", h.key(), err)
	}
	return index, nil
}

// publish makes b what the handle knows, unless another call of it has
// published a later state in between.
func (h *Handle) publish(b bitmap, index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if index != 0 && index < h.index {
		return
	}
	h.bits, h.index, h.exists = b, index, index != 0
}

// viewLocked returns the bits; the zero Handle has none.
func (h *Handle) viewLocked() bitmap {
	if h.bits.set == nil {
		h.bits = newBitmap(0)
	}
	return h.bits
}

func (h *Handle) key() string { return strings.Join(h.Key(), "/") }

func (h *Handle) idOf() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.id
}

// String describes the bits for people.
func (h *Handle) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Sprintf("App: %s, ID: %s, DBIndex: %d, %s", h.app, h.id, h.index, h.viewLocked())
}
