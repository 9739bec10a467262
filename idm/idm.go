// Package idm hands out numbers from a contiguous range and takes them back.
//
// An Idm is safe for concurrent use; several of them on one record of a store
// never hand out the same number. Limits are those of package bitseq.
package idm

import (
	"errors"

	"github.com/libnetwork/libnetwork/bitseq"
	"github.com/libnetwork/libnetwork/types"
)

// Idm is a set of numbers. The zero value has none.
type Idm struct {
	start, end uint64
	bits       *bitseq.Handle
}

var errUninitialized = types.BadRequestErrorf("set of ids is not initialized")

// New returns the numbers start to end, both included, kept in the record
// idm/id of ds, or in memory if ds is nil. It fails with BadRequest if id is
// empty or end is not above start.
func New(ds bitseq.Store, id string, start, end uint64) (*Idm, error) {
	if id == "" {
		return nil, types.BadRequestErrorf("set of ids has no id")
	}
	if end <= start {
		return nil, types.BadRequestErrorf("set of ids %s: invalid range %d to %d", id, start, end)
	}
	if end-start == ^uint64(0) {
		return nil, types.BadRequestErrorf("set of ids %s: range %d to %d is too large", id, start, end)
	}
	h, err := bitseq.NewHandle("idm", ds, id, end-start+1)
	if err != nil {
		return nil, err
	}
	return &Idm{start: start, end: end, bits: h}, nil
}

// GetID takes the lowest free number. It fails with bitseq.ErrNoBitAvailable,
// class NoService, if there is none.
func (i *Idm) GetID() (uint64, error) {
	if i == nil || i.bits == nil {
		return 0, errUninitialized
	}
	o, err := i.bits.SetAny()
	if err != nil {
		if errors.Is(err, bitseq.ErrNoBitAvailable) {
			return 0, types.NoServiceErrorf("no id left from %d to %d: %w", i.start, i.end, err)
		}
		return 0, err
	}
	return i.start + o, nil
}

// GetSpecificID takes this number. It fails with BadRequest if it is outside the
// range, and with bitseq.ErrBitAllocated, class Forbidden, if it is taken.
func (i *Idm) GetSpecificID(id uint64) error {
	if i == nil || i.bits == nil {
		return errUninitialized
	}
	if id < i.start || id > i.end {
		return types.BadRequestErrorf("id %d is not in the range %d to %d", id, i.start, i.end)
	}
	err := i.bits.Set(id - i.start)
	if errors.Is(err, bitseq.ErrBitAllocated) {
		return types.ForbiddenErrorf("id %d: %w", id, err)
	}
	return err
}

// Release gives a number back. One that is free or outside the range changes
// nothing. A failure of the store leaves it taken.
func (i *Idm) Release(id uint64) {
	if i == nil || i.bits == nil || id < i.start || id > i.end {
		return
	}
	_ = i.bits.Unset(id - i.start) // the published signature has no result
}
