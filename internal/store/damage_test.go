package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/libnetwork/libnetwork/types"
)

// filled makes a store with one network and one endpoint and closes it.
func filled(t testing.TB) Config {
	t.Helper()
	cfg := config(t)
	l := open(t, cfg)
	commit(t, l, network("n1", "one"), endpoint("e1", "uno"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func edit(t testing.TB, path string, fn func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, options(false, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(fn), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLostFile(t *testing.T) {
	foreign := func(t *testing.T) []byte {
		path := filepath.Join(t.TempDir(), "foreign")
		edit(t, path, func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucket([]byte("someone"))
			return err
		})
		edit(t, path, func(*bbolt.Tx) error { return nil })
		return read(t, path)
	}
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, path string)
		aside int
	}{
		{"missing", func(_ *testing.T, p string) { _ = os.Remove(p) }, 0},
		{"empty", func(t *testing.T, p string) { write(t, p, nil) }, 1},
		{"zeroed", func(t *testing.T, p string) { write(t, p, make([]byte, 32<<10)) }, 1},
		{"cut", func(t *testing.T, p string) { write(t, p, read(t, p)[:9000]) }, 1},
		{"a text", func(t *testing.T, p string) { write(t, p, bytes.Repeat([]byte("hello\n"), 9000)) }, 1},
		{"a foreign bbolt file", func(t *testing.T, p string) { write(t, p, foreign(t)) }, 1},
		{"a directory", func(t *testing.T, p string) {
			if err := errors.Join(os.Remove(p), os.Mkdir(p, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, 1},
	} {
		t.Run("a data file that is "+tc.name+" is made anew from its copy", func(t *testing.T) {
			cfg := filled(t)
			tc.spoil(t, dataPath(cfg))
			got, problems := reread(t, cfg)
			wantRecords(t, []Record{ep1, net1}, got) // from the copy
			if want := tc.aside + 1; len(problems) != want {
				t.Errorf("problems %v, want %d", problems, want)
			}
			wantAside(t, dataPath(cfg), tc.aside)
			got, problems = reread(t, cfg) // written back
			wantRecords(t, []Record{ep1, net1}, got)
			if len(problems) != 0 {
				t.Errorf("second start: problems %v", problems)
			}
		})
		t.Run("when both files are "+tc.name+" the store begins anew", func(t *testing.T) {
			cfg := filled(t)
			tc.spoil(t, dataPath(cfg))
			tc.spoil(t, runPath(cfg))
			l := open(t, cfg)
			got, problems := l.Records()
			wantRecords(t, nil, got)
			if !l.Lost() || len(problems) != 2*tc.aside {
				t.Errorf("lost %v, problems %v, want %d", l.Lost(), problems, 2*tc.aside)
			}
			commit(t, l, network("n1", "one"))
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			got, _ = reread(t, cfg)
			wantRecords(t, []Record{net1}, got)
			wantAside(t, dataPath(cfg), tc.aside)
			wantAside(t, runPath(cfg), tc.aside)
		})
		t.Run("a run file that is "+tc.name+" is made anew from the data file", func(t *testing.T) {
			cfg := filled(t)
			tc.spoil(t, runPath(cfg))
			got, problems := reread(t, cfg)
			wantRecords(t, []Record{net1}, got)
			if len(problems) != tc.aside {
				t.Errorf("problems %v, want %d", problems, tc.aside)
			}
			wantAside(t, runPath(cfg), tc.aside)
			_ = os.Remove(dataPath(cfg)) // the copy was made again
			got, _ = reread(t, cfg)
			wantRecords(t, []Record{net1}, got)
		})
	}
}

func wantAside(t *testing.T, path string, want int) {
	t.Helper()
	m, err := filepath.Glob(path + ".damaged-*")
	if err != nil || len(m) != want {
		t.Errorf("set aside: %v, %v, want %d files", m, err, want)
	}
}

func TestOtherBoot(t *testing.T) {
	stale := ep1
	stale.Stale = true
	t.Run("run records are stale until they are written again", func(t *testing.T) {
		cfg := filled(t)
		cfg.BootID = "boot-2"
		for range 2 { // also at the second start of that boot
			got, problems := reread(t, cfg)
			wantRecords(t, []Record{stale, net1}, got)
			if len(problems) != 0 {
				t.Errorf("problems: %v", problems)
			}
		}
		l := open(t, cfg)
		commit(t, l, endpoint("e1", "uno"))
		_ = l.Close()
		got, _ := reread(t, cfg)
		wantRecords(t, []Record{ep1, net1}, got)
	})
	t.Run("a copy of an earlier boot is not taken for the lost file", func(t *testing.T) {
		cfg := filled(t)
		cfg.BootID = "boot-2"
		for range 2 {
			_ = os.Remove(dataPath(cfg))
			got, _ := reread(t, cfg)
			wantRecords(t, []Record{stale, {Kind: "network", ID: "n1", Value: []byte("one"), Stale: true}}, got)
		}
	})
}

func TestOlderFile(t *testing.T) {
	cfg := filled(t)
	old := read(t, dataPath(cfg))
	l := open(t, cfg)
	commit(t, l, network("n1", "new"), network("n2", "two"))
	_ = l.Close()
	write(t, dataPath(cfg), old)
	got, problems := reread(t, cfg)
	wantRecords(t, []Record{
		ep1,
		{Kind: "network", ID: "n1", Value: []byte("new"), Durable: true},
		{Kind: "network", ID: "n2", Value: []byte("two"), Durable: true},
	}, got)
	if len(problems) != 1 {
		t.Errorf("problems %v, want one", problems)
	}
}

func TestForeignRunDirectory(t *testing.T) {
	a, b := filled(t), config(t)
	l := open(t, b)
	commit(t, l, network("n9", "nine"))
	_ = l.Close()
	b.RunDir = a.RunDir
	got, _ := reread(t, b)
	wantRecords(t, []Record{ep1, {Kind: "network", ID: "n9", Value: []byte("nine"), Durable: true}}, got)
}

// TestHalfCommit writes what a kill between the two transactions of one call
// leaves.
func TestHalfCommit(t *testing.T) {
	t.Run("DS-14 a call that reached the data file alone is completed by the next start", testHalfCommit)
}

func testHalfCommit(t *testing.T) {
	cfg := filled(t)
	run := read(t, runPath(cfg))
	l := open(t, cfg)
	commit(t, l, network("n2", "two"), endpoint("e1", "changed"), Op{Kind: "network", ID: "n1", Durable: true})
	_ = l.Close()
	write(t, runPath(cfg), run)
	for range 2 {
		got, problems := reread(t, cfg)
		wantRecords(t, []Record{
			{Kind: "endpoint", ID: "e1", Value: []byte("changed")},
			{Kind: "network", ID: "n2", Value: []byte("two"), Durable: true},
		}, got)
		if len(problems) != 0 {
			t.Errorf("problems: %v", problems)
		}
	}
}

func TestDamagedRecord(t *testing.T) {
	spoil := func(key string) func(tx *bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucketRecords)
			raw := append([]byte{}, b.Get([]byte(key))...)
			raw[len(raw)-1] ^= 1
			return b.Put([]byte(key), raw)
		}
	}
	t.Run("a damaged record of the run file is set aside by its key and hides no other", func(t *testing.T) {
		cfg := filled(t)
		edit(t, runPath(cfg), spoil("endpoint/e1"))
		got, problems := reread(t, cfg)
		wantRecords(t, []Record{net1}, got)
		if len(problems) != 1 || problems[0].Kind != "endpoint" || problems[0].ID != "e1" {
			t.Errorf("problems %v, want endpoint e1", problems)
		}
		edit(t, runPath(cfg), func(tx *bbolt.Tx) error {
			if n := tx.Bucket(bucketDamaged).Inspect().KeyN; n != 1 {
				t.Errorf("%d records set aside, want 1", n)
			}
			return nil
		})
		if _, problems = reread(t, cfg); len(problems) != 0 {
			t.Errorf("second start: problems %v", problems)
		}
	})
	t.Run("a damaged record of the data file is healed from its copy", func(t *testing.T) {
		cfg := filled(t)
		edit(t, dataPath(cfg), spoil("network/n1"))
		got, problems := reread(t, cfg)
		wantRecords(t, []Record{ep1, net1}, got)
		if len(problems) != 2 {
			t.Errorf("problems %v, want the record and where it came from", problems)
		}
	})
	t.Run("a record that vanished from the data file is healed from its copy", func(t *testing.T) {
		cfg := filled(t)
		edit(t, dataPath(cfg), func(tx *bbolt.Tx) error { return tx.Bucket(bucketRecords).Delete([]byte("network/n1")) })
		got, problems := reread(t, cfg)
		wantRecords(t, []Record{ep1, net1}, got)
		if len(problems) != 2 {
			t.Errorf("problems %v, want two", problems)
		}
	})
}

// TestSetAside is about records that are whole, and that their user cannot read.
func TestSetAside(t *testing.T) {
	for _, tc := range []struct {
		name string
		path func(Config) string
		op   Op
		left Record
	}{
		{"a durable record is set aside in the data file", dataPath, Op{Kind: "network", ID: "n1", SetAside: true}, ep1},
		{"a run record is set aside in the run file", runPath, Op{Kind: "endpoint", ID: "e1", SetAside: true}, net1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := filled(t)
			l := open(t, cfg)
			commit(t, l, tc.op)
			commit(t, l, Op{Kind: "network", ID: "none", SetAside: true}) // nothing to keep
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			got, problems := reread(t, cfg)
			wantRecords(t, []Record{tc.left}, got)
			if len(problems) != 0 {
				t.Errorf("problems: %v", problems)
			}
			key, err := tc.op.key()
			if err != nil {
				t.Fatal(err)
			}
			kept := map[string]int{}
			for _, path := range []string{dataPath(cfg), runPath(cfg)} {
				edit(t, path, func(tx *bbolt.Tx) error {
					b := tx.Bucket(bucketDamaged)
					if b == nil {
						return nil
					}
					return b.ForEach(func(k, raw []byte) error {
						if e, err := decode(key, raw); err != nil || !strings.HasPrefix(string(k), key+"@") {
							t.Errorf("%s holds %s = %q, %v", path, k, e.value, err)
						}
						kept[path]++
						return nil
					})
				})
			}
			if diff := cmp.Diff(map[string]int{tc.path(cfg): 1}, kept); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a record that is set aside has no new value", func(t *testing.T) {
		l := open(t, config(t))
		err := l.Commit(t.Context(), Op{Kind: "a", ID: "b", Value: []byte("c"), SetAside: true})
		if _, ok := err.(types.BadRequestError); !ok {
			t.Errorf("got %v, want a bad request", err)
		}
	})
	t.Run("a kill before the run file is written leaves the record for the next start", func(t *testing.T) {
		cfg := filled(t)
		run := read(t, runPath(cfg))
		l := open(t, cfg)
		commit(t, l, network("n2", "two"), Op{Kind: "endpoint", ID: "e1", SetAside: true})
		_ = l.Close()
		write(t, runPath(cfg), run)
		got, _ := reread(t, cfg)
		wantRecords(t, []Record{ep1, net1, {Kind: "network", ID: "n2", Value: []byte("two"), Durable: true}}, got)
	})
}

func TestNewerLayout(t *testing.T) {
	cfg := filled(t)
	edit(t, dataPath(cfg), func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("v3"))
		return err
	})
	_, err := Open(t.Context(), cfg)
	if _, ok := err.(types.ForbiddenError); !ok {
		t.Errorf("Open of a newer file: %v, want Forbidden", err)
	}
	wantAside(t, dataPath(cfg), 0)
}

// TestRandomDamage spoils a file of many pages in many places. Whatever was
// hit, opening it neither crashes nor answers a wrong record, and what is
// missing is reported.
func TestRandomDamage(t *testing.T) {
	cfg := config(t)
	l := open(t, cfg)
	want := map[string]string{}
	for i := range 20 { // several transactions, so that old pages lie about
		var ops []Op
		for j := range 20 {
			id, v := fmt.Sprint(i*20+j), fmt.Sprintf("%d %0200d", i, j)
			ops = append(ops, endpoint(id, v))
			want[id] = v
		}
		commit(t, l, ops...)
	}
	_ = l.Close()
	good := read(t, runPath(cfg))
	rounds := 400
	if testing.Short() {
		rounds = 50
	}
	aside := 0
	for round := range rounds {
		r := rand.New(rand.NewPCG(7, uint64(round)))
		b := append([]byte{}, good...)
		switch round % 4 {
		case 0: // one bit
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		case 1: // page headers and element tables, where it hurts most
			b[r.IntN(len(b)/4096)*4096+r.IntN(200)] = byte(r.Uint32())
		case 2: // a zeroed stretch
			at := r.IntN(len(b))
			clear(b[at:min(len(b), at+r.IntN(9000))])
		case 3:
			b = b[:r.IntN(len(b))]
		}
		write(t, runPath(cfg), b)
		got, problems := reread(t, cfg)
		for _, rec := range got {
			if want[rec.ID] != string(rec.Value) {
				t.Fatalf("round %d: record %s = %q", round, rec.ID, rec.Value)
			}
		}
		if len(got) != len(want) && len(problems) == 0 {
			t.Fatalf("round %d: %d of %d records and no problem reported", round, len(got), len(want))
		}
		files, _ := filepath.Glob(runPath(cfg) + ".damaged-*")
		aside += len(files)
		for _, f := range files {
			_ = os.Remove(f)
		}
	}
	t.Logf("%d of %d damaged files were set aside whole", aside, rounds)
}

func FuzzDecode(f *testing.F) {
	f.Add("network/n1", encode("network/n1", entry{[]byte("one"), 7, true}))
	f.Add("a/b", []byte{})
	f.Fuzz(func(t *testing.T, key string, raw []byte) {
		e, err := decode(key, raw)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Errorf("error %v does not say damaged", err)
			}
			// Whatever the bytes, as a value they survive.
			if e, err = decode(key, encode(key, entry{value: raw})); err != nil || !bytes.Equal(e.value, raw) {
				t.Errorf("round trip: %v", err)
			}
			return
		}
		if again := encode(key, e); !bytes.Equal(again, raw) {
			t.Errorf("encode(decode(%x)) = %x", raw, again)
		}
		if _, err := decode(key+"x", raw); err == nil {
			t.Error("accepted under another key")
		}
	})
}

func FuzzVerify(f *testing.F) {
	good := read(f, runPath(filled(f)))
	f.Add(uint32(0), []byte{})
	f.Add(uint32(4096*3+8), []byte{1})
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		b := append([]byte{}, good...)
		copy(b[int(at)%len(b):], patch)
		if _, err := verifyBolt(b); err != nil && !errors.Is(err, errDamaged) {
			t.Errorf("error %v does not say damaged", err)
		}
		if _, err := verifyBolt(patch); err == nil && len(patch) < 8192 {
			t.Error("accepted a file without pages")
		}
	})
}

func FuzzDecodeRedo(f *testing.F) {
	raw, err := encodeRedo(1, 2, []change{{key: "a/b", raw: []byte("x")}, {key: "a/c"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(_ *testing.T, raw []byte) {
		if r, _, err := decodeRedo(raw); err == nil {
			redoInto(map[string]entry{}, r)
		}
	})
}
