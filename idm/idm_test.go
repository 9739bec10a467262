package idm

import (
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/bitseq"
	"github.com/libnetwork/libnetwork/types"
)

func TestNew(t *testing.T) {
	for _, c := range []struct {
		name, id   string
		start, end uint64
		ok         bool
	}{
		{"BS-8 a range needs two ids", "x", 0, 1, true},
		{"BS-11 the range of VXLAN network identifiers is one", "vxlan-id", 256, 1000, true},
		{"the largest", "x", 1, ^uint64(0), true},
		{"BS-8 a set without a name is refused", "", 50, 52, false},
		{"BS-8 a range of one id is refused", "x", 50, 50, false},
		{"BS-8 a reversed range is refused", "x", 51, 50, false},
		{"BS-8 a range of 2^64 ids is refused", "x", 0, ^uint64(0), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, err := New(nil, c.id, c.start, c.end)
			if _, bad := err.(types.BadRequestError); (err == nil) != c.ok || bad == c.ok || (i != nil) != c.ok {
				t.Errorf("got %v, %v", i, err)
			}
		})
	}
}

func TestRange(t *testing.T) {
	i, err := New(nil, "x", 50, 52)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("BS-10 ids come in order", func(t *testing.T) {
		for _, want := range []uint64{50, 51, 52} {
			if got, err := i.GetID(); got != want || err != nil {
				t.Errorf("got %d, %v, want %d", got, err, want)
			}
		}
	})
	t.Run("BS-9 a full range has no id left", func(t *testing.T) {
		_, err := i.GetID()
		if _, ok := err.(types.NoServiceError); !ok || !errors.Is(err, bitseq.ErrNoBitAvailable) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("BS-10 an id outside the range is refused, and its release changes nothing", func(t *testing.T) {
		for _, id := range []uint64{0, 49, 53} {
			if _, ok := i.GetSpecificID(id).(types.BadRequestError); !ok {
				t.Errorf("id %d was not refused", id)
			}
			i.Release(id)
		}
	})
	t.Run("BS-9 an id that is taken is refused", func(t *testing.T) {
		if err := i.GetSpecificID(51); !errors.Is(err, bitseq.ErrBitAllocated) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("BS-10 an id that was released comes back once", func(t *testing.T) {
		i.Release(50)
		i.Release(50)
		if got, err := i.GetID(); got != 50 || err != nil {
			t.Errorf("got %d, %v, want 50", got, err)
		}
		if got, err := i.GetID(); err == nil {
			t.Errorf("got %d of a full range", got)
		}
	})
}

func TestZero(t *testing.T) {
	for name, i := range map[string]*Idm{"nil": nil, "zero": {}} {
		t.Run("BS-9 a "+name+" set has no ids and takes none back", func(t *testing.T) {
			if _, err := i.GetID(); err == nil {
				t.Error("an id from nowhere")
			}
			if err := i.GetSpecificID(0); err == nil {
				t.Error("id 0 from nowhere")
			}
			i.Release(0)
		})
	}
}

// store keeps records in memory.
type store struct {
	mu     sync.Mutex
	values map[string][]byte
	index  map[string]uint64
}

func (s *store) Load(key string) ([]byte, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key], s.index[key], nil
}

func (s *store) CompareAndSwap(key string, index uint64, value []byte) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index[key] != index {
		return 0, bitseq.ErrConflict
	}
	s.index[key]++
	s.values[key] = value
	return s.index[key], nil
}

func (s *store) Delete(string) error { return errors.New("not used here") }

func TestShared(t *testing.T) {
	s := &store{values: map[string][]byte{}, index: map[string]uint64{}}
	var got []uint64
	for range 3 {
		i, err := New(s, "vxlan-id", 256, 1000)
		if err != nil {
			t.Fatal(err)
		}
		id, err := i.GetID()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, id)
	}
	t.Run("BS-11 nodes that share a store get different ids", func(t *testing.T) {
		if diff := cmp.Diff([]uint64{256, 257, 258}, got); diff != "" {
			t.Errorf("ids of three nodes (-want +got):\n%s", diff)
		}
	})
	t.Run("BS-8 the record is idm and the name", func(t *testing.T) {
		if s.index["idm/vxlan-id"] == 0 {
			t.Errorf("records %v", s.index)
		}
	})
}
