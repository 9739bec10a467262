package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"strings"

	"github.com/libnetwork/libnetwork/types"
)

// A Record is one object as the store found it at Open.
type Record struct {
	Kind  string // such as "network", "endpoint", "sandbox"
	ID    string
	Value []byte // never nil

	// Durable says that the record is kept in the data file.
	Durable bool
	// Stale says that the record was written in an earlier boot and is not
	// kept in the data file: what it names in the kernel is gone.
	Stale bool
}

// An Op is one change.
type Op struct {
	Kind  string // without "/"
	ID    string
	Value []byte // nil deletes; deleting what is not there is no error

	// Durable sends the change to the data file, and a copy to the run file;
	// otherwise it goes to the run file alone. A record that is in the data
	// file stays durable whatever later changes say.
	Durable bool

	// SetAside deletes too, but keeps the bytes of the record where damaged ones
	// are kept: in the bucket "damaged" of the file, as "kind/id@unix time". It is
	// for a record that the store can read and its user cannot.
	SetAside bool
}

// A Problem is a record or file that could not be used and was set aside.
type Problem struct {
	Kind string // of the record, empty for a file
	ID   string
	Path string // where the file, or the record's file, now is
	Err  error
}

// String returns one line for a log.
func (p Problem) String() string {
	if p.Kind == "" && p.ID == "" {
		return fmt.Sprintf("store file %s: %v", p.Path, p.Err)
	}
	return fmt.Sprintf("store file %s: %s %q: %v", p.Path, p.Kind, p.ID, p.Err)
}

// errDamaged is wrapped by every error about content that cannot be trusted.
var errDamaged = errors.New("damaged")

const (
	recordVersion = 1
	recordHeader  = 1 + 1 + 8 + 4 // version, flags, boot, checksum
	flagDurable   = 1

	maxKey   = 1 << 10 // bbolt allows 32 KiB; a branch page holds at least two
	maxValue = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entry is a decoded record value.
type entry struct {
	value   []byte
	boot    uint64
	durable bool
}

// bootHash shortens a boot id to what a record carries.
func bootHash(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return h.Sum64()
}

// checksum covers the key too, so a record that damage has moved under another
// name is found out.
func checksum(key string, raw []byte) uint32 {
	sum := crc32.Update(0, castagnoli, []byte(key))
	sum = crc32.Update(sum, castagnoli, raw[:10])
	return crc32.Update(sum, castagnoli, raw[recordHeader:])
}

// encode wraps e for the record that key names.
func encode(key string, e entry) []byte {
	raw := make([]byte, recordHeader+len(e.value))
	raw[0] = recordVersion
	if e.durable {
		raw[1] = flagDurable
	}
	binary.BigEndian.PutUint64(raw[2:], e.boot)
	copy(raw[recordHeader:], e.value)
	binary.BigEndian.PutUint32(raw[10:], checksum(key, raw))
	return raw
}

// decode is the inverse of encode; the value is a copy.
func decode(key string, raw []byte) (entry, error) {
	if len(raw) < recordHeader {
		return entry{}, fmt.Errorf("%w: %d bytes are too short for a record", errDamaged, len(raw))
	}
	if got, want := checksum(key, raw), binary.BigEndian.Uint32(raw[10:]); got != want {
		return entry{}, fmt.Errorf("%w: checksum %08x, want %08x", errDamaged, got, want)
	}
	if raw[0] != recordVersion || raw[1]&^flagDurable != 0 {
		return entry{}, fmt.Errorf("%w: unknown record version %d, flags %#x", errDamaged, raw[0], raw[1])
	}
	return entry{
		value:   append([]byte{}, raw[recordHeader:]...),
		boot:    binary.BigEndian.Uint64(raw[2:]),
		durable: raw[1]&flagDurable != 0,
	}, nil
}

func splitKey(key string) (kind, id string) {
	kind, id, _ = strings.Cut(key, "/")
	return kind, id
}

// key returns the name of the record that op changes, or why op is refused.
func (op Op) key() (string, error) {
	switch {
	case op.Kind == "" || strings.Contains(op.Kind, "/"):
		return "", types.BadRequestErrorf("store: bad kind %q of record %q", op.Kind, op.ID)
	case op.ID == "":
		return "", types.BadRequestErrorf("store: %s record without an id", op.Kind)
	case len(op.Kind)+1+len(op.ID) > maxKey:
		return "", types.BadRequestErrorf("store: %s record id is longer than %d bytes", op.Kind, maxKey)
	case op.SetAside && op.Value != nil:
		return "", types.BadRequestErrorf("store: %s %q cannot be set aside and have a new value", op.Kind, op.ID)
	case len(op.Value) > maxValue:
		return "", types.BadRequestErrorf("store: %s %q: value of %d bytes is larger than %d", op.Kind, op.ID, len(op.Value), maxValue)
	}
	return op.Kind + "/" + op.ID, nil
}

// manifest describes the content of a whole file, so that records which
// damage has hidden are missed. It is rewritten by every transaction.
type manifest struct {
	uid   uint64 // of the data file; the run file names the one it belongs to
	seq   uint64 // data transactions so far; in the run file, those it has seen
	boot  uint64 // of the last transaction
	count uint64 // of records
	sum   uint64 // of their checksums
}

func (m *manifest) add(raw []byte) { m.count++; m.sum += uint64(crc32.Checksum(raw, castagnoli)) }

func (m *manifest) remove(raw []byte) { m.count--; m.sum -= uint64(crc32.Checksum(raw, castagnoli)) }

const manifestSize = 5*8 + 4

func (m manifest) encode() []byte {
	b := make([]byte, 0, manifestSize)
	for _, v := range []uint64{m.uid, m.seq, m.boot, m.count, m.sum} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeManifest(b []byte) (manifest, error) {
	if len(b) != manifestSize || crc32.Checksum(b[:40], castagnoli) != binary.BigEndian.Uint32(b[40:]) {
		return manifest{}, fmt.Errorf("%w manifest", errDamaged)
	}
	u := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	return manifest{uid: u(0), seq: u(1), boot: u(2), count: u(3), sum: u(4)}, nil
}
