package bitseq

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sequence is a record of n bits, of which free are said to be free, with runs
// of a block and its count each.
func sequence(n, free uint64, runs ...uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, n)
	b = binary.BigEndian.AppendUint64(b, free)
	for i := 0; i < len(runs); i += 2 {
		b = binary.BigEndian.AppendUint32(b, uint32(runs[i]))
		b = binary.BigEndian.AppendUint64(b, runs[i+1])
	}
	return b
}

func TestEncode(t *testing.T) {
	for _, c := range []struct {
		name string
		n    uint64
		set  [][2]uint64 // from, to
		want []byte
	}{
		{"no bits", 0, nil, sequence(0, 0)},
		{"free", 70, nil, sequence(70, 70, 0, 3)},
		{"bit 31 is the lowest ordinal", 32, [][2]uint64{{0, 0}}, sequence(32, 31, 0x80000000, 1)},
		{"last bit", 32, [][2]uint64{{31, 31}}, sequence(32, 31, 1, 1)},
		{"across blocks", 96, [][2]uint64{{30, 33}}, sequence(96, 92, 3, 1, 0xc0000000, 1, 0, 1)},
		{"whole blocks", 160, [][2]uint64{{32, 127}}, sequence(160, 64, 0, 1, 0xffffffff, 3, 0, 1)},
		{"all of a tail", 40, [][2]uint64{{0, 39}}, sequence(40, 0, 0xffffffff, 1, 0xff000000, 1)},
		{"equal blocks", 64, [][2]uint64{{0, 0}, {32, 32}}, sequence(64, 62, 0x80000000, 2)},
		{"several in one block", 32, [][2]uint64{{0, 1}, {4, 7}, {31, 31}}, sequence(32, 25, 0xcf000001, 1)},
		{"a hole of blocks", 1 << 16, [][2]uint64{{0, 0}, {1<<16 - 1, 1<<16 - 1}}, sequence(1<<16, 1<<16-2, 0x80000000, 1, 0, 2046, 1, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := mustHandle(t, nil, c.n)
			for _, r := range c.set {
				for i := r[0]; i <= r[1]; i++ {
					if err := h.Set(i); err != nil {
						t.Fatal(err)
					}
				}
			}
			got, err := h.ToByteArray()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("bytes (-want +got):\n%s", diff)
			}
			b, damaged, err := decode(got)
			if err != nil || damaged {
				t.Fatalf("decode: damaged %v, %v", damaged, err)
			}
			if diff := cmp.Diff(got, b.encode()); diff != "" {
				t.Errorf("round trip (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeDamaged(t *testing.T) {
	for _, c := range []struct {
		name      string
		raw, want []byte
	}{
		{"BS-12 runs of length 0 are dropped", sequence(1<<16, 5, 0x80000001, 1, 0xffffffff, 0, 0, 2046, 0x80000000, 0, 1, 1), sequence(1<<16, 1<<16-3, 0x80000001, 1, 0, 2046, 1, 1)},
		{"BS-12 equal neighbours are merged", sequence(96, 95, 0x80000000, 1, 0, 1, 0, 1), sequence(96, 95, 0x80000000, 1, 0, 2)},
		{"BS-12 neighbours are merged that only a run of length 0 kept apart", sequence(96, 95, 0x80000000, 1, 0, 1, 7, 0, 0, 1), sequence(96, 95, 0x80000000, 1, 0, 2)},
		{"BS-12 the number of free bits is counted anew", sequence(64, 1, 0xffffffff, 1, 0, 1), sequence(64, 32, 0xffffffff, 1, 0, 1)},
		{"BS-1 bits of a record behind the last one are dropped", sequence(40, 0, 0xffffffff, 2), sequence(40, 0, 0xffffffff, 1, 0xff000000, 1)},
		{"BS-1 lone bits of a record behind the last one are dropped", sequence(40, 0, 0, 1, 0x8000000f, 1), sequence(40, 39, 0, 1, 0x80000000, 1)},
		{"BS-12 blocks behind the last bit are dropped", sequence(32, 31, 0x80000000, 1, 1, 1<<60), sequence(32, 31, 0x80000000, 1)},
		{"BS-12 blocks that are missing are free", sequence(64, 31, 0x80000000, 1), sequence(64, 63, 0x80000000, 1, 0, 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, damaged, err := decode(c.raw)
			if err != nil {
				t.Fatal(err)
			}
			if !damaged {
				t.Error("the damage was not seen")
			}
			got := b.encode()
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("repaired (-want +got):\n%s", diff)
			}
			if _, damaged, err := decode(got); damaged || err != nil {
				t.Errorf("second check: damaged %v, %v", damaged, err)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, raw := range map[string][]byte{
		"nothing":             nil,
		"short header":        sequence(8, 8)[:15],
		"half a run":          sequence(32, 32, 0, 1)[:27],
		"more than memory":    sequence(^uint64(0), 0, 0x55555555, 1<<58),
		"many runs of blocks": sequence(1<<40, 0, 0x55555555, maxMixed, 0x55555554, 1),
	} {
		t.Run(name, func(t *testing.T) {
			h := mustHandle(t, nil, 8)
			if err := h.FromByteArray(raw); !isBadRequest(err) {
				t.Errorf("got %v, want a bad request", err)
			}
			if h.Bits() != 8 {
				t.Errorf("the handle changed: %s", h)
			}
		})
	}
}

func TestLargest(t *testing.T) {
	t.Run("BS-7 a few bits of 2^64 cost bytes", testLargest)
}

func testLargest(t *testing.T) {
	h := mustHandle(t, nil, ^uint64(0))
	for _, o := range []uint64{0, 1 << 63, ^uint64(0) - 1} {
		if err := h.Set(o); err != nil {
			t.Fatal(err)
		}
	}
	if runs := h.bits.set.Runs(); runs != 3 {
		t.Errorf("three bits take %d runs", runs)
	}
	raw, _ := h.ToByteArray()
	if len(raw) > 100 {
		t.Errorf("three bits of 2^64 take %d bytes", len(raw))
	}
	full := sequence(^uint64(0), 0, 0xffffffff, 1<<59-1, 0xfffffffe, 1)
	for _, want := range [][]byte{raw, full} {
		b, damaged, err := decode(want)
		if err != nil || damaged {
			t.Fatalf("damaged %v, %v", damaged, err)
		}
		if diff := cmp.Diff(want, b.encode()); diff != "" {
			t.Errorf("round trip (-want +got):\n%s", diff)
		}
	}
}

func TestObject(t *testing.T) {
	s := newStore()
	h := mustHandle(t, s, 100)
	if err := h.Set(42); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"app", "id"}, {"app"}}, [][]string{h.Key(), h.KeyPrefix()}); diff != "" {
		t.Errorf("key and prefix (-want +got):\n%s", diff)
	}
	if h.Skip() || h.DataScope() != "global" || mustHandle(t, nil, 1).DataScope() != "" {
		t.Errorf("skip %v, scope %q", h.Skip(), h.DataScope())
	}
	if !bytes.Equal(h.Value(), s.records["app/id"].value) {
		t.Errorf("the value is %s, the record %s", h.Value(), s.records["app/id"].value)
	}

	c := h.New()
	if err := h.CopyTo(c); err != nil {
		t.Fatal(err)
	}
	if err := h.Unset(42); err != nil {
		t.Fatal(err)
	}
	if !c.IsSet(42) || c.Bits() != 100 {
		t.Errorf("the copy is no deep one: %s", c)
	}
	if err := c.SetValue(h.Value()); err != nil || c.IsSet(42) {
		t.Errorf("set value: %v, %s", err, c)
	}
	c.SetIndex(7)
	if c.Index() != 7 || !c.Exists() {
		t.Errorf("index %d, exists %v", c.Index(), c.Exists())
	}
	for name, to := range map[string]*Handle{"nil": nil, "another application": {app: "b"}} {
		if err := h.CopyTo(to); !isBadRequest(err) {
			t.Errorf("copy to %s: got %v, want a bad request", name, err)
		}
	}
}

func TestJSON(t *testing.T) {
	h := mustHandle(t, nil, 32)
	if err := h.Set(0); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"id","sequence":"AAAAAAAAACAAAAAAAAAAH4AAAAAAAAAAAAAAAQ=="}`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	var again Handle
	if err := json.Unmarshal(raw, &again); err != nil {
		t.Fatal(err)
	}
	if again.Key()[1] != "id" || !again.IsSet(0) || again.Bits() != 32 {
		t.Errorf("got %s", &again)
	}
	for _, bad := range []string{`{}`, `[]`, `{"id":"x","sequence":"AAAA"}`} {
		if err := again.UnmarshalJSON([]byte(bad)); !isBadRequest(err) {
			t.Errorf("%s: got %v, want a bad request", bad, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sequence(70, 70, 0, 3))
	f.Add(sequence(64, 1, 0xffffffff, 0, 0x80000000, 1, 0, 1))
	f.Add(sequence(^uint64(0), 0, 0xffffffff, 1<<59))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, _, err := decode(raw)
		if err != nil {
			return
		}
		if b.set.Runs() > 1<<16 {
			t.Skip("sound, but slow to check")
		}
		again := b.encode()
		c, damaged, err := decode(again)
		if err != nil || damaged {
			t.Fatalf("what was repaired is damaged: %v, %v", damaged, err)
		}
		if diff := cmp.Diff(again, c.encode()); diff != "" {
			t.Fatalf("round trip (-want +got):\n%s", diff)
		}
	})
}
