package bitseq

import (
	"encoding/json"

	"github.com/libnetwork/libnetwork/types"
)

// record is the JSON form of a handle.
type record struct {
	ID       string `json:"id"`
	Sequence []byte `json:"sequence"`
}

// ToByteArray returns the bits in the form of the package documentation.
func (h *Handle) ToByteArray() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.viewLocked().encode(), nil
}

// FromByteArray replaces the bits in memory, not those in the store, with what
// ToByteArray returned; damage by old releases is repaired. It fails with
// BadRequest if data is nil or of a wrong length.
func (h *Handle) FromByteArray(data []byte) error {
	if data == nil {
		return types.BadRequestErrorf("bit sequence is missing")
	}
	b, _, err := decode(data)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bits = b
	return nil
}

// MarshalJSON returns {"id": ..., "sequence": ...}, the sequence in base64.
func (h *Handle) MarshalJSON() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return json.Marshal(record{h.id, h.viewLocked().encode()})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Handle) UnmarshalJSON(data []byte) error {
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil {
		return types.BadRequestErrorf("bit sequence: %w", err)
	}
	if err := h.FromByteArray(rec.Sequence); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.id = rec.ID
	return nil
}

// Key returns the parts of the record's key.
func (h *Handle) Key() []string { return []string{h.app, h.idOf()} }

// KeyPrefix returns the parts of the key that all records of the application
// share.
func (h *Handle) KeyPrefix() []string { return []string{h.app} }

// Value returns the record, nil if it cannot be made.
func (h *Handle) Value() []byte {
	b, err := h.MarshalJSON()
	if err != nil {
		return nil
	}
	return b
}

// SetValue replaces the bits in memory with those of a record.
func (h *Handle) SetValue(value []byte) error { return h.UnmarshalJSON(value) }

// Index returns the index of the record that the bits came from.
func (h *Handle) Index() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.index
}

// SetIndex says that the bits are those of a record at this index.
func (h *Handle) SetIndex(index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.index, h.exists = index, true
}

// Exists reports whether the record was ever read or written.
func (h *Handle) Exists() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.exists
}

// Skip reports whether the record must not be stored, which is never so.
func (h *Handle) Skip() bool { return false }

// New returns an empty handle of the same application and store.
func (h *Handle) New() *Handle {
	return &Handle{app: h.app, store: h.store, bits: newBitmap(0)}
}

// CopyTo makes to a deep copy of h, on the same store. to must be of the same
// application, as New returns it.
func (h *Handle) CopyTo(to *Handle) error {
	if to == h {
		return nil
	}
	if to == nil || to.app != h.app {
		return types.BadRequestErrorf("copy of a bit sequence to another application's")
	}
	h.mu.Lock()
	id, b, index, exists := h.id, h.viewLocked().clone(), h.index, h.exists
	h.mu.Unlock()

	to.mu.Lock()
	defer to.mu.Unlock()
	to.store = h.store
	to.id, to.bits, to.index, to.exists = id, b, index, exists
	return nil
}

// DataScope returns the scope of the store, "" if it has none.
func (h *Handle) DataScope() string {
	if s, ok := h.store.(interface{ Scope() string }); ok {
		return s.Scope()
	}
	return ""
}
