package ipam

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork/internal/runset"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// prefix reads a prefix; "" is the zero one.
func prefix(s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(s)
}

// request is RequestPool with text.
func request(m *Manager, pool, sub string) (Pool, error) {
	return m.RequestPool(LocalSpace, prefix(pool), prefix(sub), nil, false)
}

// Classes of errors, as a type assertion finds them.
var (
	badRequest = func(err error) bool { _, ok := err.(types.BadRequestError); return ok }
	notFound   = func(err error) bool { _, ok := err.(types.NotFoundError); return ok }
	forbidden  = func(err error) bool { _, ok := err.(types.ForbiddenError); return ok }
	noService  = func(err error) bool { _, ok := err.(types.NoServiceError); return ok }
)

// wantErr checks the cause and the class of an error.
func wantErr(t *testing.T, err, is error, class func(error) bool) {
	t.Helper()
	if !errors.Is(err, is) || !class(err) {
		t.Errorf("got %v (%T), want %v and its class", err, err, is)
	}
}

func TestRequestPoolRules(t *testing.T) {
	type req struct{ pool, sub string }
	for _, c := range []struct {
		name  string
		have  []req
		pool  string
		sub   string
		id    string
		is    error
		class func(error) bool
	}{
		{name: "IP-6 id of a pool", pool: "172.28.0.0/16", id: "LocalDefault/172.28.0.0/16"},
		{name: "IP-6 id of a sub pool", pool: "172.28.0.0/16", sub: "172.28.30.0/24", id: "LocalDefault/172.28.0.0/16/172.28.30.0/24"},
		{name: "IP-7 host bits are masked", pool: "172.28.5.5/16", sub: "172.28.30.7/24", id: "LocalDefault/172.28.0.0/16/172.28.30.0/24"},
		{name: "IP-9 sub pool without a pool", sub: "10.0.0.0/24", is: ipamapi.ErrInvalidSubPool, class: badRequest},
		{name: "IP-10 the same again", have: []req{{"10.0.0.0/8", ""}}, pool: "10.0.0.0/8", id: "LocalDefault/10.0.0.0/8"},
		{name: "IP-11 inside another", have: []req{{"10.0.0.0/8", ""}}, pool: "10.1.0.0/16", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 around another", have: []req{{"10.1.0.0/16", ""}}, pool: "10.0.0.0/8", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 same start, shorter", have: []req{{"10.0.0.0/16", ""}}, pool: "10.0.0.0/8", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 same end, longer", have: []req{{"10.0.0.0/8", ""}}, pool: "10.255.0.0/16", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 below, adjacent", have: []req{{"10.1.0.0/16", ""}}, pool: "10.0.0.0/16", id: "LocalDefault/10.0.0.0/16"},
		{name: "IP-11 above, adjacent", have: []req{{"10.1.0.0/16", ""}}, pool: "10.2.0.0/16", id: "LocalDefault/10.2.0.0/16"},
		{name: "IP-11 v6 inside", have: []req{{"fd00::/48", ""}}, pool: "fd00:0:0:5::/64", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 v6 around", have: []req{{"fd00:0:0:5::/64", ""}}, pool: "fd00::/48", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 v6 adjacent", have: []req{{"fd00::/64", ""}}, pool: "fd00:0:0:1::/64", id: "LocalDefault/fd00:0:0:1::/64"},
		{name: "IP-11 families do not meet", have: []req{{"10.0.0.0/8", ""}}, pool: "::a00:0/104", id: "LocalDefault/::a00:0/104"},
		{name: "IP-12 sibling sub pools overlap", have: []req{{"10.0.0.0/8", "10.0.0.0/16"}}, pool: "10.0.0.0/8", sub: "10.0.0.0/24", id: "LocalDefault/10.0.0.0/8/10.0.0.0/24"},
		{name: "IP-13 implicit master overlaps", have: []req{{"10.0.0.0/8", "10.0.1.0/24"}}, pool: "10.0.0.0/16", sub: "10.0.2.0/24", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-14 sub pool outside", pool: "10.0.0.0/16", sub: "10.1.0.0/24", is: ipamapi.ErrInvalidSubPool, class: badRequest},
		{name: "IP-14 sub pool larger", pool: "10.0.0.0/16", sub: "10.0.0.0/8", is: ipamapi.ErrInvalidSubPool, class: badRequest},
		{name: "IP-15 sub pool equal to pool", pool: "10.0.0.0/16", sub: "10.0.0.0/16", id: "LocalDefault/10.0.0.0/16/10.0.0.0/16"},
		{name: "IP-16 families differ", pool: "10.0.0.0/16", sub: "fd00::/64", is: ipamapi.ErrInvalidSubPool, class: badRequest},
		{name: "the whole family", pool: "0.0.0.0/0", is: ipamapi.ErrInvalidPool, class: badRequest},
		{name: "IPv4-mapped", pool: "::ffff:10.0.0.0/104", is: ipamapi.ErrInvalidPool, class: badRequest},
		{name: "IP-18 sub pool of a pool to be chosen", pool: "0.0.0.0/24", sub: "10.0.0.0/28", is: ipamapi.ErrInvalidSubPool, class: badRequest},
		{name: "IP-17 without bases", is: ipamapi.ErrNoAvailablePool, class: notFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newManager(t, Config{})
			for _, h := range c.have {
				if _, err := request(m, h.pool, h.sub); err != nil {
					t.Fatal(err)
				}
			}
			before := m.Pools()
			p, err := request(m, c.pool, c.sub)
			if c.is != nil {
				wantErr(t, err, c.is, c.class)
				if diff := cmp.Diff(before, m.Pools(), prefixes); diff != "" {
					t.Errorf("a refused request left something (-before +after):\n%s", diff)
				}
				return
			}
			if err != nil || p.ID != c.id {
				t.Errorf("got %s, %v, want %s", p.ID, err, c.id)
			}
		})
	}
}

// prefixes lets cmp look at them.
var prefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func TestSpaces(t *testing.T) {
	m := newManager(t, Config{})
	_, err := m.RequestPool("", prefix("10.0.0.0/8"), netip.Prefix{}, nil, false)
	t.Run("IP-8 no space", func(t *testing.T) { wantErr(t, err, ipamapi.ErrInvalidAddressSpace, badRequest) })
	_, err = m.RequestPool("mine", prefix("10.0.0.0/8"), netip.Prefix{}, nil, false)
	t.Run("IP-5 unknown space", func(t *testing.T) { wantErr(t, err, ipamapi.ErrInvalidAddressSpace, badRequest) })
	for _, s := range []string{LocalSpace, GlobalSpace} {
		if p, err := m.RequestPool(s, prefix("10.0.0.0/8"), netip.Prefix{}, nil, false); err != nil || p.Space != s {
			t.Errorf("the same pool in %s: %v, %v", s, p, err)
		}
	}
}

func TestReferences(t *testing.T) {
	m := newManager(t, Config{})
	refs := func() map[string]int {
		got := map[string]int{}
		for _, p := range m.Pools() {
			got[strings.TrimPrefix(p.ID, LocalSpace+"/")] = p.Refs
		}
		return got
	}
	const top, sub = "10.0.0.0/8", "10.0.0.0/8/10.1.0.0/16"
	for i, want := range []map[string]int{{top: 1}, {top: 2, sub: 1}, {top: 3, sub: 2}} {
		s := "10.1.0.0/16"
		if i == 0 {
			s = ""
		}
		if _, err := request(m, top, s); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, refs()); diff != "" {
			t.Errorf("IP-20 request %d (-want +got):\n%s", i, diff)
		}
	}
	mustTake(t, m, LocalSpace+"/"+sub, netip.Addr{})
	for i, c := range []struct {
		id   string
		want map[string]int // nil: refused
	}{
		{sub, map[string]int{top: 2, sub: 1}},
		{top, map[string]int{top: 1, sub: 1}},
		{top, nil}, // what is left belongs to the sub pool
		{sub, map[string]int{}},
		{sub, nil},
		{top, nil},
	} {
		err := m.ReleasePool(LocalSpace + "/" + c.id)
		if c.want == nil {
			wantErr(t, err, ipamapi.ErrBadPool, badRequest)
			continue
		}
		if diff := cmp.Diff(c.want, refs()); err != nil || diff != "" {
			t.Errorf("IP-20 release %d: %v (-want +got):\n%s", i, err, diff)
		}
	}
	if p, err := request(m, "10.1.0.0/16", ""); err != nil {
		t.Errorf("IP-20 a pool in the range of one that is gone: %v", err)
	} else if got := mustTake(t, m, p.ID, netip.Addr{}); got != netip.MustParseAddr("10.1.0.1") {
		t.Errorf("IP-20 requested afresh: got %s, want an empty pool", got)
	}
	for _, id := range []string{"", "x", LocalSpace + "/1.2.3.4", LocalSpace + "/11.0.0.0/8", "/10.0.0.0/8"} {
		t.Run("IP-21 "+id, func(t *testing.T) { wantErr(t, m.ReleasePool(id), ipamapi.ErrBadPool, badRequest) })
	}
}

// chosen requests n pools of the Manager's choice.
func chosen(t *testing.T, m *Manager, space string, n int, v6 bool) (list []string) {
	t.Helper()
	for range n {
		p, err := m.RequestPool(space, netip.Prefix{}, netip.Prefix{}, nil, v6)
		if err != nil {
			t.Fatalf("after %d: %v", len(list), err)
		}
		list = append(list, p.Prefix.String())
	}
	return list
}

func TestPredefinedLists(t *testing.T) {
	var library []string
	for i := 17; i < 32; i++ {
		library = append(library, fmt.Sprintf("172.%d.0.0/16", i))
	}
	for i := 0; i < 256; i += 16 {
		library = append(library, fmt.Sprintf("192.168.%d.0/20", i))
	}
	t.Run("IP-22 library, local", func(t *testing.T) {
		local, global := LibraryBases()
		m := newManager(t, Config{Local: local, Global: global})
		if diff := cmp.Diff(library, chosen(t, m, LocalSpace, len(library), false)); diff != "" {
			t.Errorf("pools (-want +got):\n%s", diff)
		}
		_, err := request(m, "", "")
		wantErr(t, err, ipamapi.ErrNoAvailablePool, notFound)
		if want := "172.17.0.0/16 is blocked by 1 pools"; !strings.Contains(err.Error(), want) {
			t.Errorf("W1 the error does not say what blocks each base: %v", err)
		}
		_, err = m.RequestPool(LocalSpace, netip.Prefix{}, netip.Prefix{}, nil, true)
		wantErr(t, err, ipamapi.ErrNoAvailablePool, notFound) // no IPv6 base
	})
	t.Run("IP-22 library, global", func(t *testing.T) {
		local, global := LibraryBases()
		m := newManager(t, Config{Local: local, Global: global})
		got := chosen(t, m, GlobalSpace, 257, false)
		if diff := cmp.Diff([]string{"10.0.0.0/24", "10.0.1.0/24", "10.1.0.0/24"}, []string{got[0], got[1], got[256]}); diff != "" {
			t.Errorf("pools (-want +got):\n%s", diff)
		}
	})
	t.Run("D17 daemon, 4096 pools", func(t *testing.T) {
		local, global := DaemonBases()
		m := newManager(t, Config{Local: local, Global: global})
		got := chosen(t, m, LocalSpace, 4096, false)
		if diff := cmp.Diff([]string{"172.17.0.0/24", "172.17.1.0/24", "192.168.255.0/24"}, []string{got[0], got[1], got[4095]}); diff != "" {
			t.Errorf("pools (-want +got):\n%s", diff)
		}
		if _, err := request(m, "", ""); err == nil {
			t.Error("a pool more")
		}
	})
	t.Run("W1 IPv6 of the machine", func(t *testing.T) {
		m := newManager(t, Config{Local: []Base{{ULABase([]byte("abc")), 64}}})
		want := []string{"fdbf:8f01:cfea::/64", "fdbf:8f01:cfea:1::/64"}
		if diff := cmp.Diff(want, chosen(t, m, LocalSpace, 2, true)); diff != "" {
			t.Errorf("pools (-want +got):\n%s", diff)
		}
	})
}

func TestChoice(t *testing.T) {
	local, _ := LibraryBases()
	local = append(local, Base{prefix("fd00:1::/48"), 64})
	for _, c := range []struct {
		name           string
		have, excluded []string
		ask, want      string
		v6             bool
	}{
		{name: "IP-22 clean host", want: "172.17.0.0/16"},
		{name: "IP-23 a smaller pool is in the way", have: []string{"172.17.200.0/24"}, want: "172.18.0.0/16"},
		{name: "IP-23 a wider pool is in the way", have: []string{"172.16.0.0/12"}, want: "192.168.0.0/20"},
		{name: "IP-24 network of the host", excluded: []string{"172.17.0.0/24", "172.18.255.0/24"}, want: "172.19.0.0/16"},
		{name: "IP-24 name server", excluded: []string{"172.17.0.53/32"}, want: "172.18.0.0/16"},
		{name: "IP-24 nested and unsorted", excluded: []string{"172.18.0.0/16", "172.17.3.0/24", "172.16.0.0/15"}, want: "172.19.0.0/16"},
		{name: "IP-24 default route", excluded: []string{"0.0.0.0/0", "::/0"}, want: "172.17.0.0/16"},
		{name: "IP-24 other family", excluded: []string{"fd00::/8"}, want: "172.17.0.0/16"},
		{name: "IP-24 v6", excluded: []string{"fd00:1::53/128"}, v6: true, want: "fd00:1:0:1::/64"},
		{name: "IP-24 named pools are not tested", excluded: []string{"172.17.0.0/16"}, ask: "172.17.0.0/16", want: "172.17.0.0/16"},
		{name: "IP-18 length", ask: "0.0.0.0/24", want: "172.17.0.0/24"},
		{name: "IP-18 length, behind others", have: []string{"172.17.0.0/24", "172.17.1.128/25"}, ask: "0.0.0.0/24", want: "172.17.2.0/24"},
		{name: "IP-18 wider than the first bases", ask: "0.0.0.0/14", want: "172.20.0.0/14"},
		{name: "IP-18 the family is in the address", ask: "::/80", want: "fd00:1::/80"},
		{name: "IP-18 wider than all", ask: "0.0.0.0/9"},
		{name: "IP-17 all is taken", have: []string{"172.16.0.0/12"}, excluded: []string{"192.0.0.0/8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newManager(t, Config{Local: local, Exclude: func() (list []netip.Prefix) {
				for _, s := range c.excluded {
					list = append(list, prefix(s))
				}
				return list
			}})
			for _, h := range c.have {
				mustPool(t, m, h)
			}
			p, err := m.RequestPool(LocalSpace, prefix(c.ask), netip.Prefix{}, nil, c.v6)
			if c.want == "" {
				wantErr(t, err, ipamapi.ErrNoAvailablePool, notFound)
			} else if err != nil || p.Prefix.String() != c.want {
				t.Errorf("got %v, %v, want %s", p.Prefix, err, c.want)
			}
		})
	}
}

func TestExcludeIsAskedEachTime(t *testing.T) {
	local, global := LibraryBases()
	var m *Manager
	calls := 0
	m = newManager(t, Config{Local: local, Global: global, Exclude: func() []netip.Prefix {
		calls++
		m.Pools() // no lock is held, or this would never return
		return []netip.Prefix{prefix(fmt.Sprintf("172.%d.0.0/16", 16+calls))}
	}})
	if diff := cmp.Diff([]string{"172.18.0.0/16", "172.17.0.0/16"}, chosen(t, m, LocalSpace, 2, false)); diff != "" {
		t.Errorf("IP-26 pools (-want +got):\n%s", diff)
	}
	mustPool(t, m, "172.19.0.0/16")
	chosen(t, m, GlobalSpace, 1, false)
	if calls != 2 {
		t.Errorf("IP-23 asked %d times, want only for the chosen local pools", calls)
	}
}

func TestBases(t *testing.T) {
	for _, c := range []struct {
		name  string
		bases []Base
		want  []string // the first pools; nil if the bases are refused
	}{
		{"IP-25 sorted", []Base{{prefix("192.168.0.0/24"), 24}, {prefix("10.0.0.0/24"), 24}}, []string{"10.0.0.0/24", "192.168.0.0/24"}},
		{"IP-25 the wider of overlapping ones", []Base{{prefix("10.0.1.0/24"), 26}, {prefix("10.0.0.0/23"), 24}, {prefix("10.0.0.0/24"), 25}}, []string{"10.0.0.0/24", "10.0.1.0/24"}},
		{"IP-25 length of the base", []Base{{prefix("10.0.0.7/24"), 24}}, []string{"10.0.0.0/24"}},
		{"the last addresses", []Base{{prefix("255.255.255.254/31"), 32}}, []string{"255.255.255.254/32", "255.255.255.255/32"}},
		{"IP-25 shorter than the base", []Base{{prefix("10.0.0.0/24"), 23}}, nil},
		{"IP-25 length 0", []Base{{prefix("0.0.0.0/0"), 0}}, nil},
		{"longer than the address", []Base{{prefix("10.0.0.0/24"), 33}}, nil},
		{"no prefix", []Base{{netip.Prefix{}, 24}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, cfg := range []Config{{Local: c.bases}, {Global: c.bases}} {
				m, err := New(cfg)
				if c.want == nil {
					if m != nil || !badRequest(err) {
						t.Errorf("got %v, %v, want a bad request", m, err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				s := LocalSpace
				if cfg.Local == nil {
					s = GlobalSpace
				}
				if diff := cmp.Diff(c.want, chosen(t, m, s, len(c.want), false)); diff != "" {
					t.Errorf("pools (-want +got):\n%s", diff)
				}
				if p, err := m.RequestPool(s, netip.Prefix{}, netip.Prefix{}, nil, false); err == nil {
					t.Errorf("one more: %s", p.Prefix)
				}
			}
		})
	}
}

func TestULABase(t *testing.T) {
	// printf %s ID | sha256sum | cut -c 7-16 are the digits behind fd.
	for id, want := range map[string]string{
		"":    "fd42:98fc:1c14::/48",
		"abc": "fdbf:8f01:cfea::/48",
	} {
		if got := ULABase([]byte(id)).String(); got != want {
			t.Errorf("1.6 id %q: got %s, want %s", id, got, want)
		}
	}
}

func TestChosenAtOnce(t *testing.T) {
	local, _ := DaemonBases()
	m := newManager(t, Config{Local: local})
	const workers, each = 8, 50
	var mu sync.Mutex
	seen := map[netip.Prefix]bool{}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				p, err := request(m, "", "")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[p.Prefix] {
					t.Errorf("IP-19 %s was given twice", p.Prefix)
				}
				seen[p.Prefix] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// TestChoiceAgainstOracle compares the search with trying every block.
func TestChoiceAgainstOracle(t *testing.T) {
	for _, fam := range []struct {
		name, base string
		v6         bool
	}{{"v4", "10.0.0.0/22", false}, {"v6", "fd00::/118", true}} {
		t.Run("1.13 "+fam.name, func(t *testing.T) {
			base := prefix(fam.base)
			width := base.Addr().BitLen()
			rnd := rand.New(rand.NewPCG(11, 12))
			// any is a prefix in and around the base.
			anyPrefix := func() netip.Prefix {
				x := spanOf(base).lo.Add(runset.U64(rnd.Uint64N(1500)))
				return netip.PrefixFrom(addrOf(x, !fam.v6), width-rnd.IntN(9)).Masked()
			}
			for range 1_500 {
				length := base.Bits() + rnd.IntN(9)
				var excluded []netip.Prefix
				for range rnd.IntN(6) {
					excluded = append(excluded, anyPrefix())
				}
				m := newManager(t, Config{Local: []Base{{base, length}}, Exclude: func() []netip.Prefix { return excluded }})
				var taken []netip.Prefix
				for range rnd.IntN(20) {
					p := anyPrefix()
					overlaps := slices.ContainsFunc(taken, p.Overlaps)
					_, err := m.RequestPool(LocalSpace, p, netip.Prefix{}, nil, false)
					if again := slices.Contains(taken, p); (err == nil) != (!overlaps || again) {
						t.Fatalf("IP-11 %s beside %v: %v", p, taken, err)
					}
					if !overlaps {
						taken = append(taken, p)
					}
				}
				var want netip.Prefix
				for x, sp := spanOf(base).lo, spanOf(base); sp.contains(x); {
					p := netip.PrefixFrom(addrOf(x, !fam.v6), length)
					if !slices.ContainsFunc(taken, p.Overlaps) && !slices.ContainsFunc(excluded, p.Overlaps) {
						want = p
						break
					}
					x = spanOf(p).hi.Next()
				}
				p, err := m.RequestPool(LocalSpace, netip.Prefix{}, netip.Prefix{}, nil, fam.v6)
				if p.Prefix != want || (err == nil) != want.IsValid() {
					t.Fatalf("/%d of %s, taken %v, excluded %v: got %v, %v, want %v", length, base, taken, excluded, p.Prefix, err, want)
				}
			}
		})
	}
}

func TestReplay(t *testing.T) {
	local, _ := LibraryBases()
	m := newManager(t, Config{Local: local})
	var addrs []string
	record := map[string][]netip.Addr{}
	for _, sub := range []string{"", "10.0.5.0/24"} {
		pool := ""
		if sub != "" {
			pool = "10.0.0.0/16"
		}
		p, err := request(m, pool, sub)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			record[p.ID] = append(record[p.ID], mustTake(t, m, p.ID, netip.Addr{}))
		}
	}
	again := newManager(t, Config{Local: local, Exclude: func() []netip.Prefix { return []netip.Prefix{prefix("172.0.0.0/8")} }})
	for _, p := range m.Pools() {
		if len(record[p.ID]) == 0 {
			continue // the implicit master
		}
		q, err := again.RequestPool(p.Space, p.Prefix, p.Sub, nil, false)
		if err != nil || q.ID != p.ID {
			t.Fatalf("D4 got %s, %v, want %s", q.ID, err, p.ID)
		}
		for _, a := range record[p.ID] {
			addrs = append(addrs, mustTake(t, again, q.ID, a).String())
		}
	}
	if diff := cmp.Diff(m.Pools(), again.Pools(), prefixes, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("D4 pools after a restart (-before +after):\n%s", diff)
	}
	if len(addrs) != 6 {
		t.Errorf("D4 %d addresses after a restart, want 6", len(addrs))
	}
}
