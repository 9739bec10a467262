package runset

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// invariants fails unless the runs are sorted, maximal, and counted.
func invariants(t *testing.T, s *Set) {
	t.Helper()
	var n Uint128
	runs := 0
	var last *Run
	for _, c := range s.dir {
		if len(c.runs) == 0 || len(c.runs) > chunkMax || c.first != c.runs[0].Lo {
			t.Fatalf("chunk of %d runs, first %v", len(c.runs), c.first)
		}
		for _, r := range c.runs {
			if r.Hi.Less(r.Lo) {
				t.Fatalf("reversed run %v", r)
			}
			if last != nil && (!last.Hi.Less(r.Lo) || last.Hi.Next() == r.Lo) {
				t.Fatalf("runs %v and %v: out of order or not joined", *last, r)
			}
			last = &r
			runs++
			n = n.Add(r.Hi.Sub(r.Lo).Next())
		}
	}
	if runs != s.Runs() || n != s.Len() {
		t.Fatalf("counted %d runs and %v members, the set says %d and %v", runs, n, s.Runs(), s.Len())
	}
}

// check compares s with the members base+i of the model.
func check(t *testing.T, s *Set, base Uint128, model []bool) {
	t.Helper()
	invariants(t, s)
	for i, want := range model {
		x := base.Add(U64(uint64(i)))
		if got := s.Contains(x); got != want {
			t.Fatalf("contains %v: got %v, want %v", x, got, want)
		}
		next, ok := s.NextAbsent(x)
		k := slices.Index(model[i:], false)
		top := base.Add(U64(uint64(len(model) - 1)))
		if wantOK := k >= 0 || top != maxUint128; ok != wantOK {
			t.Fatalf("next absent from %v: got %v, want %v", x, ok, wantOK)
		} else if want := x.Add(U64(uint64(k))); k >= 0 && next != want {
			t.Fatalf("next absent from %v: got %v, want %v", x, next, want)
		}
	}
}

// bases are places where 128-bit arithmetic carries or ends.
var bases = map[string]Uint128{
	"0":       {},
	"2^32":    {Lo: 1<<32 - 100},
	"2^64":    {Lo: ^uint64(0) - 99},
	"2^127":   {Hi: 1 << 63},
	"the end": maxUint128.Sub(U64(999)),
}

func TestAgainstModel(t *testing.T) {
	for name, base := range bases {
		t.Run(name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, 2))
			var s Set
			model := make([]bool, 1000)
			for step := range 20_000 {
				// Waves of filling and emptying, so chunks split and join.
				i := rnd.IntN(len(model))
				x := base.Add(U64(uint64(i)))
				if fill := step/2_000%2 == 0; (rnd.IntN(10) < 8) == fill {
					if got := s.Insert(x); got == model[i] {
						t.Fatalf("insert %v: got %v", x, got)
					}
					model[i] = true
				} else {
					if got := s.Delete(x); got != model[i] {
						t.Fatalf("delete %v: got %v", x, got)
					}
					model[i] = false
				}
				if step%97 == 0 {
					check(t, &s, base, model)
				}
			}
			lo, hi := base.Add(U64(250)), base.Add(U64(700))
			var want uint64
			for _, m := range model[250:701] {
				if m {
					want++
				}
			}
			if got := s.CountRange(lo, hi); got != U64(want) {
				t.Errorf("count: got %v, want %d", got, want)
			}
		})
	}
}

func TestSplitAndJoin(t *testing.T) {
	var s Set
	const n = 10 * chunkMax
	model := make([]bool, 2*n)
	order := rand.New(rand.NewPCG(3, 4)).Perm(n)
	for _, i := range order {
		s.Insert(U64(uint64(2 * i)))
		model[2*i] = true
	}
	check(t, &s, Uint128{}, model)
	c := s.Clone()
	for _, i := range order[:n-5] {
		s.Delete(U64(uint64(2 * i)))
	}
	invariants(t, &s)
	if s.Runs() != 5 || len(s.dir) > 5 {
		t.Errorf("%d runs in %d chunks, want 5 in a few", s.Runs(), len(s.dir))
	}
	check(t, c, Uint128{}, model) // the copy is not touched
}

func TestAppend(t *testing.T) {
	var s, want Set
	at := Uint128{Lo: ^uint64(0) - 50}
	for i := range 3 * chunkMax {
		hi := at.Add(U64(uint64(i % 3)))
		s.Append(at, hi)
		for x := at; !hi.Less(x); x = x.Next() {
			want.Insert(x)
		}
		at = hi.Add(U64(uint64(1 + i%2))) // every second one touches the next
	}
	invariants(t, &s)
	if diff := cmp.Diff(slices.Collect(want.All()), slices.Collect(s.All())); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	for name, f := range map[string]func(){
		"reversed":     func() { s.Append(at.Next(), at) },
		"out of order": func() { s.Append(Uint128{}, Uint128{}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func TestFrom(t *testing.T) {
	var s Set
	for _, r := range []Run{{U64(5), U64(9)}, {U64(20), U64(20)}, {U64(30), U64(40)}} {
		s.Append(r.Lo, r.Hi)
	}
	for _, c := range []struct {
		name  string
		from  uint64
		first []uint64
	}{
		{"before all", 0, []uint64{5, 20, 30}},
		{"inside a run", 7, []uint64{5, 20, 30}},
		{"end of a run", 9, []uint64{5, 20, 30}},
		{"between runs", 10, []uint64{20, 30}},
		{"behind all", 41, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []uint64
			for r := range s.From(U64(c.from)) {
				got = append(got, r.Lo.Lo)
			}
			if diff := cmp.Diff(c.first, got); diff != "" {
				t.Errorf("runs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUint128(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want Uint128
	}{
		{"carry", Uint128{0, ^uint64(0)}.Next(), Uint128{1, 0}},
		{"borrow", Uint128{1, 0}.Prev(), Uint128{0, ^uint64(0)}},
		{"wrap", maxUint128.Next(), Uint128{}},
		{"mask 0", LowMask(0), Uint128{}},
		{"mask 8", LowMask(8), U64(255)},
		{"mask 64", LowMask(64), Uint128{0, ^uint64(0)}},
		{"mask 65", LowMask(65), Uint128{1, ^uint64(0)}},
		{"mask 128", LowMask(128), maxUint128},
		{"and not", maxUint128.AndNot(LowMask(64)), Uint128{^uint64(0), 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.got != c.want {
				t.Errorf("got %x, want %x", c.got, c.want)
			}
		})
	}
	for want, x := range map[string]Uint128{
		"0":                    {},
		"18446744073709551615": {Lo: ^uint64(0)},
		"18446744073709551616": {Hi: 1},
		"340282366920938463463374607431768211455": maxUint128,
	} {
		if x.String() != want {
			t.Errorf("decimal: got %s, want %s", x, want)
		}
	}
	for _, s := range []string{"0.0.0.0", "10.1.2.3", "255.255.255.255"} {
		if got := FromAddr(netip.MustParseAddr(s)).Addr4().String(); got != s {
			t.Errorf("round trip: got %s, want %s", got, s)
		}
	}
	for _, s := range []string{"::", "2001:db8::1:0:0:1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
		if got := FromAddr(netip.MustParseAddr(s)).Addr16().String(); got != s {
			t.Errorf("round trip: got %s, want %s", got, s)
		}
	}
	if a, b := (Uint128{0, 9}), (Uint128{1, 0}); a.Cmp(b) != -1 || b.Cmp(a) != 1 || a.Cmp(a) != 0 {
		t.Errorf("order of %v and %v", a, b)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	var s Set
	for i := range uint64(5_000) {
		s.Insert(U64(i * 3))
	}
	x := uint64(0)
	if n := testing.AllocsPerRun(10_000, func() {
		x = (x + 7_919*3 + 1) % 15_000
		if s.Insert(U64(x)) {
			s.Delete(U64(x))
		}
	}); n != 0 {
		t.Errorf("%v allocations a round, want none", n)
	}
}

func FuzzSet(f *testing.F) {
	f.Add(uint64(0), uint64(0), []byte{1, 2, 3, 0x81})
	f.Add(^uint64(0), ^uint64(0)-127, []byte{127, 126, 125, 0xfe})
	f.Fuzz(func(t *testing.T, hi, lo uint64, ops []byte) {
		base := Uint128{hi, lo}
		if maxUint128.Sub(base).Less(U64(127)) {
			return
		}
		var s Set
		model := make([]bool, 128)
		for _, op := range ops {
			i := op & 127
			x := base.Add(U64(uint64(i)))
			if op < 128 {
				if s.Insert(x) == model[i] {
					t.Fatalf("insert %v", x)
				}
				model[i] = true
			} else {
				if s.Delete(x) != model[i] {
					t.Fatalf("delete %v", x)
				}
				model[i] = false
			}
		}
		check(t, &s, base, model)
	})
}
