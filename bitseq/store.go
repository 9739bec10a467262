package bitseq

import "errors"

// ErrConflict is what Store.CompareAndSwap returns, wrapped or not, when the
// record is not at the given index.
var ErrConflict = errors.New("record changed meanwhile")

// Store keeps the records of handles, so that several processes share them.
// Its methods are called from any goroutine, with no lock of the handle held.
//
// A Store that has a method Scope() string gives handles their DataScope.
type Store interface {
	// Load returns the record under key and its index, which changes with
	// every write. No record is index 0, no value, and no error.
	Load(key string) (value []byte, index uint64, err error)

	// CompareAndSwap writes the record if it is at index, where 0 stands for no
	// record, and returns its new index. Otherwise it fails with ErrConflict.
	CompareAndSwap(key string, index uint64, value []byte) (uint64, error)

	// Delete removes the record; one that is not there is no error.
	Delete(key string) error
}
