package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
)

// bbolt trusts the pages of its file: a bad one makes it panic on goroutines
// of its own, recurse without end or read outside its mapping, none of which a
// caller can recover from. So the file is checked with plain reads before
// bbolt sees it. Layout: bbolt 1.3 to 1.5, file version 2.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	pageHeader     = 16
	metaSize       = 64
	elemSize       = 16
	bucketHeader   = 16
	branchPage     = 0x01
	leafPage       = 0x02
	bucketElem     = 0x01
	noFreelist     = ^uint64(0)
	maxBucketDepth = 8
	maxTreeDepth   = 64
	inSmallBucket  = -1 // nesting level of a bucket that holds none
)

var ne = binary.NativeEndian

// boltMeta is one of the two headers of a bbolt file.
type boltMeta struct {
	pageSize                 uint64
	root, freelist, hwm, txn uint64
}

func parseMeta(b []byte) (boltMeta, bool) {
	if len(b) < pageHeader+metaSize {
		return boltMeta{}, false
	}
	b = b[pageHeader:]
	h := fnv.New64a()
	_, _ = h.Write(b[:56])
	if ne.Uint32(b) != boltMagic || ne.Uint32(b[4:]) != boltVersion || ne.Uint64(b[56:]) != h.Sum64() {
		return boltMeta{}, false
	}
	m := boltMeta{uint64(ne.Uint32(b[8:])), ne.Uint64(b[16:]), ne.Uint64(b[32:]), ne.Uint64(b[40:]), ne.Uint64(b[48:])}
	return m, m.pageSize >= 1024 && m.pageSize <= 1<<16 && m.pageSize&(m.pageSize-1) == 0
}

// verifyBolt reports whether bbolt can open and use the file whose content is
// b. oneHeader says that only one of the two headers is good: what the last
// transaction wrote may be lost.
func verifyBolt(b []byte) (oneHeader bool, err error) {
	m0, ok0 := parseMeta(b)
	var m1 boltMeta
	ok1 := false
	// Where the first header is bad, the second one says where it is itself.
	for size := uint64(1024); size <= 1<<16 && !ok1; size *= 2 {
		if ok0 && size != m0.pageSize || size >= uint64(len(b)) {
			continue
		}
		m1, ok1 = parseMeta(b[size:])
		ok1 = ok1 && m1.pageSize == size
	}
	m := m0
	switch {
	case !ok0 && !ok1:
		return false, fmt.Errorf("%w: no valid header", errDamaged)
	case !ok0 || ok1 && m1.txn > m0.txn:
		m = m1
	}
	if m.freelist != noFreelist {
		return false, fmt.Errorf("%w: not a file of this store", errDamaged)
	}
	v := &verifier{b: b, pageSize: m.pageSize, hwm: m.hwm, seen: map[uint64]bool{0: true, 1: true}}
	if uint64(len(b)) < 2*m.pageSize {
		return false, fmt.Errorf("%w: file is cut", errDamaged)
	}
	if m.hwm > uint64(len(b))/m.pageSize {
		return false, fmt.Errorf("%w: file is cut: %d bytes, want %d pages of %d", errDamaged, len(b), m.hwm, m.pageSize)
	}
	if err := v.tree(m.root, nil, nil, 0, 0); err != nil {
		return false, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return !ok0 || !ok1, nil
}

// verifier walks the trees of one file; every page may be reached once.
type verifier struct {
	b             []byte
	pageSize, hwm uint64
	seen          map[uint64]bool
}

// tree checks the page id and all below it; its keys lie in [low, high).
func (v *verifier) tree(id uint64, low, high []byte, depth, nested int) error {
	if depth > maxTreeDepth || nested > maxBucketDepth {
		return fmt.Errorf("page %d: tree too deep", id)
	}
	if id < 2 || id >= v.hwm {
		return fmt.Errorf("page %d is outside the file", id)
	}
	p := v.b[id*v.pageSize:]
	over := uint64(ne.Uint32(p[12:]))
	if ne.Uint64(p) != id || over >= v.hwm-id {
		return fmt.Errorf("page %d: bad header", id)
	}
	for i := id; i <= id+over; i++ {
		if v.seen[i] {
			return fmt.Errorf("page %d is used twice", i)
		}
		v.seen[i] = true
	}
	p = p[:(over+1)*v.pageSize]
	switch flags, count := ne.Uint16(p[8:]), int(ne.Uint16(p[10:])); flags {
	case leafPage:
		return v.leaf(p, count, low, high, nested)
	case branchPage:
		return v.branch(id, p, count, low, high, depth, nested)
	default:
		return fmt.Errorf("page %d: unknown flags %#x", id, flags)
	}
}

// span returns the n bytes at pos after the start of element i of a page, and
// where they end. They must not start before low: bbolt writes them in order,
// and without overlap a walk takes no longer than the file is.
func span(p []byte, i int, pos, n, low uint64) (b []byte, end uint64, ok bool) {
	from := uint64(pageHeader+i*elemSize) + pos
	if from < low || from > uint64(len(p)) || n > uint64(len(p))-from {
		return nil, 0, false
	}
	return p[from : from+n], from + n, true
}

// inOrder reports whether key may follow prev (first: may be low) before high.
func inOrder(i int, prev, key, high []byte) bool {
	c := bytes.Compare(prev, key)
	return (c < 0 || i == 0 && c == 0) && (high == nil || bytes.Compare(key, high) < 0)
}

func (v *verifier) branch(id uint64, p []byte, count int, low, high []byte, depth, nested int) error {
	if count == 0 || pageHeader+count*elemSize > len(p) {
		return fmt.Errorf("page %d: branch with %d children", id, count)
	}
	keys := make([][]byte, count)
	prev, end := low, uint64(pageHeader+count*elemSize)
	for i := range count {
		e := p[pageHeader+i*elemSize:]
		key, next, ok := span(p, i, uint64(ne.Uint32(e)), uint64(ne.Uint32(e[4:])), end)
		end = next
		if !ok || !inOrder(i, prev, key, high) {
			return fmt.Errorf("page %d: bad key %d", id, i)
		}
		keys[i], prev = key, key
	}
	for i := range count {
		next := high
		if i+1 < count {
			next = keys[i+1]
		}
		child := ne.Uint64(p[pageHeader+i*elemSize+8:])
		if err := v.tree(child, keys[i], next, depth+1, nested); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) leaf(p []byte, count int, low, high []byte, nested int) error {
	if pageHeader+count*elemSize > len(p) {
		return fmt.Errorf("leaf with %d elements", count)
	}
	prev, end := low, uint64(pageHeader+count*elemSize)
	for i := range count {
		e := p[pageHeader+i*elemSize:]
		flags, pos := ne.Uint32(e), uint64(ne.Uint32(e[4:]))
		ksize, vsize := uint64(ne.Uint32(e[8:])), uint64(ne.Uint32(e[12:]))
		kv, next, ok := span(p, i, pos, ksize+vsize, end)
		end = next
		if !ok || ksize == 0 || flags&^bucketElem != 0 || !inOrder(i, prev, kv[:ksize], high) {
			return fmt.Errorf("leaf: bad element %d", i)
		}
		prev = kv[:ksize]
		if flags&bucketElem == 0 {
			continue
		}
		if nested == inSmallBucket {
			return fmt.Errorf("leaf: bucket in a small bucket")
		}
		if err := v.bucket(kv[ksize:], nested+1); err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the value that stands for a bucket: a root page or, where it
// is 0, a small leaf right here.
func (v *verifier) bucket(value []byte, nested int) error {
	if len(value) < bucketHeader || nested > maxBucketDepth {
		return fmt.Errorf("bad bucket")
	}
	if root := ne.Uint64(value); root != 0 {
		return v.tree(root, nil, nil, 0, nested)
	}
	p := value[bucketHeader:]
	if len(p) < pageHeader || ne.Uint16(p[8:]) != leafPage {
		return fmt.Errorf("bad small bucket")
	}
	return v.leaf(p, int(ne.Uint16(p[10:])), nil, nil, inSmallBucket)
}
