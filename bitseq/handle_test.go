package bitseq

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/types"
)

// memStore is a Store in memory.
type memStore struct {
	mu      sync.Mutex
	records map[string]memRecord
	last    uint64
	fail    error  // of every call
	before  func() // runs once, before the next write, without the lock
}

type memRecord struct {
	value []byte
	index uint64
}

func newStore() *memStore { return &memStore{records: map[string]memRecord{}} }

func (*memStore) Scope() string { return "global" }

func (s *memStore) Load(key string) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[key]
	return r.value, r.index, s.fail
}

func (s *memStore) CompareAndSwap(key string, index uint64, value []byte) (uint64, error) {
	s.mu.Lock()
	before := s.before
	s.before = nil
	s.mu.Unlock()
	if before != nil {
		before()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	if s.records[key].index != index {
		return 0, ErrConflict
	}
	s.last++
	s.records[key] = memRecord{value, s.last}
	return s.last, nil
}

func (s *memStore) Delete(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, key)
	return s.fail
}

func mustHandle(tb testing.TB, s Store, n uint64) *Handle {
	tb.Helper()
	h, err := NewHandle("app", s, "id", n)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// stores runs a test in memory and with a store.
func stores(t *testing.T, f func(t *testing.T, s Store)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { f(t, nil) })
	t.Run("store", func(t *testing.T) { f(t, newStore()) })
}

func isBadRequest(err error) bool {
	_, ok := err.(types.BadRequestError)
	return ok
}

func TestOrdinals(t *testing.T) {
	stores(t, func(t *testing.T, s Store) {
		h := mustHandle(t, s, 70)
		t.Run("BS-1 bits past the last one do not exist", func(t *testing.T) {
			if err := h.Set(70); !isBadRequest(err) {
				t.Errorf("set: got %v, want a bad request", err)
			}
			if err := h.Unset(70); !isBadRequest(err) {
				t.Errorf("unset: got %v, want a bad request", err)
			}
			if h.IsSet(70) {
				t.Error("bit 70 of 70 is set")
			}
			for want := range uint64(70) {
				if got, err := h.SetAny(); got != want || err != nil {
					t.Fatalf("got %d, %v, want %d", got, err, want)
				}
			}
			if _, err := h.SetAny(); !errors.Is(err, ErrNoBitAvailable) {
				t.Errorf("full: got %v, want ErrNoBitAvailable", err)
			}
		})
		t.Run("a set bit", func(t *testing.T) {
			if err := h.Set(69); !errors.Is(err, ErrBitAllocated) {
				t.Errorf("got %v, want ErrBitAllocated", err)
			}
		})
		t.Run("BS-4 freeing a bit again does not change the number of free ones", func(t *testing.T) {
			for range 3 {
				if err := h.Unset(33); err != nil {
					t.Fatal(err)
				}
			}
			if got := h.Unselected(); got != 1 {
				t.Errorf("got %d free bits, want 1", got)
			}
			if got, err := h.SetAny(); got != 33 || err != nil {
				t.Errorf("got %d, %v, want 33", got, err)
			}
		})
	})
}

func TestSetAnyInRange(t *testing.T) {
	stores(t, func(t *testing.T, s Store) {
		h := mustHandle(t, s, 256)
		for i := uint64(10); i < 40; i++ {
			if err := h.Set(i); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			name       string
			start, end uint64
			want       uint64
			class      func(error) bool // nil for success
		}{
			{name: "BS-5 a search in a range leaps over bits that are set", start: 10, end: 63, want: 40},
			{name: "BS-5 a second search in a range goes on behind the first", start: 10, end: 63, want: 41},
			{name: "BS-5 a search in a full range never goes past its end", start: 10, end: 39, class: isFull},
			{name: "BS-5 a range may be one bit", start: 255, end: 255, want: 255},
			{name: "BS-5 a range of one bit that is set is full", start: 255, end: 255, class: isFull},
			{name: "BS-6 a reversed range is refused", start: 63, end: 10, class: isBadRequest},
			{name: "BS-6 a range that ends behind the last bit is refused", start: 10, end: 256, class: isBadRequest},
		} {
			t.Run(c.name, func(t *testing.T) {
				got, err := h.SetAnyInRange(c.start, c.end)
				if c.class != nil {
					if !c.class(err) {
						t.Errorf("got %d, %v, want another error", got, err)
					}
				} else if err != nil || got != c.want {
					t.Errorf("got %d, %v, want %d", got, err, c.want)
				}
			})
		}
	})
}

func isFull(err error) bool { return errors.Is(err, ErrNoBitAvailable) }

func TestEmptyHandles(t *testing.T) {
	for name, h := range map[string]*Handle{"no bits": mustHandle(t, nil, 0), "zero value": {}} {
		t.Run(name, func(t *testing.T) {
			if _, err := h.SetAny(); !errors.Is(err, ErrNoBitAvailable) {
				t.Errorf("set any: %v", err)
			}
			if _, err := h.SetAnyInRange(0, 0); !isBadRequest(err) {
				t.Errorf("set any in range: %v", err)
			}
			if h.IsSet(0) || h.Bits() != 0 || h.Unselected() != 0 {
				t.Errorf("it has bits: %s", h)
			}
		})
	}
}

// TestAgainstModel compares with a []bool under random changes, and the record
// after each of them with a fresh handle.
func TestAgainstModel(t *testing.T) {
	stores(t, func(t *testing.T, s Store) {
		for _, n := range []int{1, 31, 32, 33, 512, 1000} {
			t.Run(fmt.Sprintf("BS-4 of %d bits the free ones are exactly those that a naive set has", n), func(t *testing.T) {
				againstModel(t, s, n)
			})
		}
	})
}

func againstModel(t *testing.T, s Store, n int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(7, uint64(n)))
	h, err := NewHandle("app", s, fmt.Sprint("model", n), uint64(n))
	if err != nil {
		t.Fatal(err)
	}
	steps := 5_000
	if s != nil {
		steps = 500 // each of them writes a record
	}
	model := make([]bool, n)
	for i := range steps {
		step(t, h, model, rnd.IntN(4), uint64(rnd.IntN(n)), uint64(rnd.IntN(n)))
		if i%250 == 0 {
			compare(t, h, model)
		}
	}
	compare(t, h, model)
	raw, _ := h.ToByteArray()
	again := mustHandle(t, nil, 0)
	if err := again.FromByteArray(raw); err != nil {
		t.Fatal(err)
	}
	compare(t, again, model)
	if s != nil {
		if again, err = NewHandle("app", s, h.Key()[1], 1); err != nil {
			t.Fatal(err)
		}
		compare(t, again, model) // the record wins over the size of 1
	}
}

// step does one change on both and compares the answers.
func step(t *testing.T, h *Handle, model []bool, op int, a, b uint64) {
	t.Helper()
	first := func(lo, hi uint64) (uint64, bool) {
		for i := lo; i <= hi; i++ {
			if !model[i] {
				model[i] = true
				return i, true
			}
		}
		return 0, false
	}
	switch op {
	case 0:
		if err := h.Set(a); (err == nil) == model[a] {
			t.Fatalf("set %d: %v", a, err)
		}
		model[a] = true
	case 1:
		if err := h.Unset(a); err != nil {
			t.Fatalf("unset %d: %v", a, err)
		}
		model[a] = false
	case 2:
		want, ok := first(0, uint64(len(model)-1))
		if got, err := h.SetAny(); (err == nil) != ok || ok && got != want {
			t.Fatalf("any: got %d, %v, want %d, %v", got, err, want, ok)
		}
	case 3:
		lo, hi := min(a, b), max(a, b)
		want, ok := first(lo, hi)
		if got, err := h.SetAnyInRange(lo, hi); (err == nil) != ok || ok && got != want {
			t.Fatalf("any from %d to %d: got %d, %v, want %d, %v", lo, hi, got, err, want, ok)
		}
	}
}

func compare(t *testing.T, h *Handle, model []bool) {
	t.Helper()
	var free uint64
	for i, want := range model {
		if !want {
			free++
		}
		if got := h.IsSet(uint64(i)); got != want {
			t.Fatalf("bit %d: got %v, want %v", i, got, want)
		}
	}
	if diff := cmp.Diff([]uint64{uint64(len(model)), free}, []uint64{h.Bits(), h.Unselected()}); diff != "" {
		t.Fatalf("bits and free bits (-want +got):\n%s", diff)
	}
}

func FuzzAgainstModel(f *testing.F) {
	f.Add(uint16(100), []byte{0, 1, 2, 3, 200, 5})
	f.Fuzz(func(t *testing.T, n uint16, ops []byte) {
		size := int(n%300) + 1
		h := mustHandle(t, nil, uint64(size))
		model := make([]bool, size)
		for ; len(ops) >= 3; ops = ops[3:] {
			step(t, h, model, int(ops[0]%4), uint64(int(ops[1])%size), uint64(int(ops[2])%size))
		}
		compare(t, h, model)
		raw, _ := h.ToByteArray()
		b, damaged, err := decode(raw)
		if err != nil || damaged {
			t.Fatalf("decode of our own bytes: damaged %v, %v", damaged, err)
		}
		compare(t, &Handle{bits: b}, model)
	})
}

func TestPermutation(t *testing.T) {
	h := mustHandle(t, nil, 512)
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct {
		name   string
		change func(uint64) error
	}{
		{"BS-7 bits that were set in any order are one run", h.Set},
		{"BS-7 bits that were freed in any order are one run", h.Unset},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, i := range rnd.Perm(512) {
				if err := c.change(uint64(i)); err != nil {
					t.Fatal(err)
				}
			}
			raw, _ := h.ToByteArray()
			if len(raw) != headerLen+runLen {
				t.Errorf("a record of %d bytes, want one run", len(raw))
			}
		})
	}
}

func TestTwoHandles(t *testing.T) {
	t.Run("BS-3 two handles on one record never get the same bit", testTwoHandles)
}

func testTwoHandles(t *testing.T) {
	s := newStore()
	const each, workers, n = 25, 4, 128
	handles := []*Handle{mustHandle(t, s, n), mustHandle(t, s, n)}
	var mu sync.Mutex
	seen := map[uint64]int{}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range each {
				o, err := handles[w%2].SetAny()
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				seen[o]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != each*workers {
		t.Errorf("%d different bits for %d requests", len(seen), each*workers)
	}
	if got := mustHandle(t, s, n).Unselected(); got != n-each*workers {
		t.Errorf("the record has %d free bits, want %d", got, n-each*workers)
	}
}

func TestStore(t *testing.T) {
	down := errors.New("store is down")

	t.Run("BS-2 a change that meets another one starts over", func(t *testing.T) {
		s := newStore()
		h, other := mustHandle(t, s, 8), mustHandle(t, s, 8)
		s.before = func() {
			if err := other.Set(0); err != nil {
				t.Error(err)
			}
		}
		if got, err := h.SetAny(); got != 1 || err != nil {
			t.Errorf("got %d, %v, want 1, since 0 was taken meanwhile", got, err)
		}
	})
	t.Run("BS-2 a change that fails leaves the handle as it was", func(t *testing.T) {
		s := newStore()
		h := mustHandle(t, s, 8)
		s.fail = down
		if err := h.Set(3); !errors.Is(err, down) {
			t.Errorf("got %v, want that of the store", err)
		}
		if h.IsSet(3) || h.Unselected() != 8 {
			t.Errorf("the bit is set: %s", h)
		}
		for what, err := range map[string]error{"check": h.CheckConsistency(), "destroy": h.Destroy()} {
			if !errors.Is(err, down) {
				t.Errorf("%s: got %v, want the error of the store", what, err)
			}
		}
		if _, err := NewHandle("app", s, "id", 8); !errors.Is(err, down) {
			t.Errorf("new: got %v, want the error of the store", err)
		}
	})
	t.Run("BS-2 of two that make the record at once the second takes that of the first", func(t *testing.T) {
		s := newStore()
		s.before = func() {
			if err := mustHandle(t, s, 4).Set(2); err != nil {
				t.Error(err)
			}
		}
		h := mustHandle(t, s, 8)
		if h.Bits() != 4 || !h.IsSet(2) || !h.Exists() || h.Index() == 0 {
			t.Errorf("got %s, want the record of the other", h)
		}
	})
	t.Run("destroy", func(t *testing.T) {
		s := newStore()
		h := mustHandle(t, s, 8)
		if err := h.Set(1); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a record that is gone is no error
			if err := h.Destroy(); err != nil {
				t.Fatal(err)
			}
		}
		if len(s.records) != 0 || h.Exists() || h.IsSet(1) {
			t.Errorf("left: %v, %s", s.records, h)
		}
		if got, err := h.SetAny(); got != 0 || err != nil {
			t.Errorf("afresh: got %d, %v, want 0", got, err)
		}
	})
	t.Run("a record that is no JSON", func(t *testing.T) {
		s := newStore()
		h := mustHandle(t, s, 8)
		s.records["app/id"] = memRecord{[]byte("{"), 99}
		if _, ok := h.Set(1).(types.InternalError); !ok {
			t.Error("no internal error")
		}
		if _, err := NewHandle("app", s, "id", 8); err == nil {
			t.Error("no error")
		}
	})
	t.Run("BS-12 a damaged record is repaired and written back, once", func(t *testing.T) {
		s := newStore()
		h := mustHandle(t, s, 64)
		raw, _ := json.Marshal(record{"id", sequence(64, 1, 0xffffffff, 0, 0x80000000, 1, 0, 1)})
		s.records["app/id"] = memRecord{raw, 99}
		if err := h.CheckConsistency(); err != nil {
			t.Fatal(err)
		}
		if !h.IsSet(0) || h.Unselected() != 63 {
			t.Errorf("got %s, want bit 0 alone", h)
		}
		r := s.records["app/id"]
		if r.index == 99 {
			t.Error("the record was not written")
		}
		if err := h.CheckConsistency(); err != nil || s.records["app/id"].index != r.index {
			t.Errorf("a second check wrote again, or failed: %v", err)
		}
	})
}

func BenchmarkSetAnyUnset(b *testing.B) {
	h := mustHandle(b, nil, 1<<16)
	for i := uint64(0); i < 1<<16; i += 2 {
		if err := h.Set(i); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		o, err := h.SetAny()
		if err != nil {
			b.Fatal(err)
		}
		if err := h.Unset(o); err != nil {
			b.Fatal(err)
		}
	}
}
