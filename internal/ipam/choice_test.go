package ipam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/runset"
	"github.com/libnetwork/libnetwork/ipamapi"
)

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
	t.Run("IP-22 the library has 31 local pools, in order, and no IPv6 one", func(t *testing.T) {
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
	t.Run("IP-22 the library has global pools of /24 in order", func(t *testing.T) {
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
		{name: "IP-22 on a clean host the first pool is 172.17.0.0/16", want: "172.17.0.0/16"},
		{name: "IP-23 a block with a smaller pool in it is passed over", have: []string{"172.17.200.0/24"}, want: "172.18.0.0/16"},
		{name: "IP-23 blocks inside a wider pool are passed over", have: []string{"172.16.0.0/12"}, want: "192.168.0.0/20"},
		{name: "IP-24 blocks with a network of the host in them are passed over", excluded: []string{"172.17.0.0/24", "172.18.255.0/24"}, want: "172.19.0.0/16"},
		{name: "IP-24 the block of a name server is passed over", excluded: []string{"172.17.0.53/32"}, want: "172.18.0.0/16"},
		{name: "IP-24 the networks of the host may nest and come in any order", excluded: []string{"172.18.0.0/16", "172.17.3.0/24", "172.16.0.0/15"}, want: "172.19.0.0/16"},
		{name: "IP-24 a default route blocks nothing", excluded: []string{"0.0.0.0/0", "::/0"}, want: "172.17.0.0/16"},
		{name: "IP-24 networks of the other family block nothing", excluded: []string{"fd00::/8"}, want: "172.17.0.0/16"},
		{name: "IP-24 IPv6 blocks of the host are passed over", excluded: []string{"fd00:1::53/128"}, v6: true, want: "fd00:1:0:1::/64"},
		{name: "IP-24 a pool named by the caller is not tested against the host", excluded: []string{"172.17.0.0/16"}, ask: "172.17.0.0/16", want: "172.17.0.0/16"},
		{name: "IP-18 a length alone is the first free block of it", ask: "0.0.0.0/24", want: "172.17.0.0/24"},
		{name: "IP-18 a block of a length is found behind smaller and larger pools", have: []string{"172.17.0.0/24", "172.17.1.128/25"}, ask: "0.0.0.0/24", want: "172.17.2.0/24"},
		{name: "IP-18 a block wider than the first bases is found in a later one", ask: "0.0.0.0/14", want: "172.20.0.0/14"},
		{name: "IP-18 the family of a length is that of the unspecified address", ask: "::/80", want: "fd00:1::/80"},
		{name: "IP-18 a length wider than all bases is refused", ask: "0.0.0.0/9"},
		{name: "IP-17 when all bases are taken the request is refused", have: []string{"172.16.0.0/12"}, excluded: []string{"192.0.0.0/8"}},
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
	t.Run("IP-26 each choice asks anew what the host uses", func(t *testing.T) {
		if diff := cmp.Diff([]string{"172.18.0.0/16", "172.17.0.0/16"}, chosen(t, m, LocalSpace, 2, false)); diff != "" {
			t.Errorf("pools (-want +got):\n%s", diff)
		}
	})
	t.Run("IP-23 the host is asked for chosen local pools alone", func(t *testing.T) {
		before := calls
		mustPool(t, m, "172.19.0.0/16")
		chosen(t, m, GlobalSpace, 1, false)
		if calls != before {
			t.Errorf("asked %d times more", calls-before)
		}
	})
}

func TestBases(t *testing.T) {
	for _, c := range []struct {
		name  string
		bases []Base
		want  []string // the first pools; nil if the bases are refused
	}{
		{"IP-25 bases are searched in the order of their addresses", []Base{{prefix("192.168.0.0/24"), 24}, {prefix("10.0.0.0/24"), 24}}, []string{"10.0.0.0/24", "192.168.0.0/24"}},
		{"IP-25 of overlapping bases the wider one counts", []Base{{prefix("10.0.1.0/24"), 26}, {prefix("10.0.0.0/23"), 24}, {prefix("10.0.0.0/24"), 25}}, []string{"10.0.0.0/24", "10.0.1.0/24"}},
		{"IP-25 a base may be one pool", []Base{{prefix("10.0.0.7/24"), 24}}, []string{"10.0.0.0/24"}},
		{"the last addresses", []Base{{prefix("255.255.255.254/31"), 32}}, []string{"255.255.255.254/32", "255.255.255.255/32"}},
		{"IP-25 pools wider than their base are refused", []Base{{prefix("10.0.0.0/24"), 23}}, nil},
		{"IP-25 length 0 is refused", []Base{{prefix("0.0.0.0/0"), 0}}, nil},
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
	t.Run("IP-19 callers at the same moment get different pools", func(t *testing.T) { chooseAtOnce(t, m) })
}

func chooseAtOnce(t *testing.T, m *Manager) {
	t.Helper()
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
					t.Errorf("%s was given twice", p.Prefix)
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
	}{{"IPv4", "10.0.0.0/22", false}, {"IPv6", "fd00::/118", true}} {
		t.Run("IP-25 the choice is the one that trying every block gives, "+fam.name, func(t *testing.T) {
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
						t.Fatalf("%s beside %v: %v", p, taken, err)
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

// TestChoiceOverTime compares each choice with trying every block, while pools
// come and go and the host changes.
func TestChoiceOverTime(t *testing.T) {
	for _, fam := range []struct {
		name  string
		bases []Base
		v6    bool
	}{
		{"IPv4", []Base{{prefix("10.0.0.0/26"), 29}, {prefix("10.0.1.0/27"), 30}, {prefix("255.255.255.240/28"), 30}}, false},
		{"IPv6", []Base{{prefix("fd00::/122"), 125}, {prefix("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0/124"), 126}}, true},
	} {
		t.Run("IP-22 of bases in use the first usable block is chosen, whatever came and went before, "+fam.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(71, 72))
			var excluded []netip.Prefix
			m := newManager(t, Config{Local: fam.bases, Exclude: func() []netip.Prefix { return excluded }})
			anyPrefix := func() netip.Prefix {
				b := fam.bases[rnd.IntN(len(fam.bases))].Prefix
				x := spanOf(b).lo.Add(runset.U64(rnd.Uint64N(64)))
				return netip.PrefixFrom(addrOf(x, !fam.v6), b.Addr().BitLen()-rnd.IntN(5)).Masked()
			}
			var taken []Pool
			for step := range 20_000 {
				switch op := rnd.IntN(10); {
				case op == 0:
					if excluded = nil; rnd.IntN(2) == 0 {
						excluded = []netip.Prefix{anyPrefix(), anyPrefix()}
					}
				case op < 3:
					if p, err := m.RequestPool(LocalSpace, anyPrefix(), netip.Prefix{}, nil, fam.v6); err == nil {
						taken = append(taken, p)
					}
				case op < 6 && len(taken) > 0:
					i := rnd.IntN(len(taken))
					if err := m.ReleasePool(taken[i].ID); err != nil {
						t.Fatal(err)
					}
					taken = slices.Delete(taken, i, i+1)
				default:
					want := naiveChoice(fam.bases, excluded, taken)
					p, err := m.RequestPool(LocalSpace, netip.Prefix{}, netip.Prefix{}, nil, fam.v6)
					if p.Prefix != want || (err == nil) != want.IsValid() {
						t.Fatalf("step %d, taken %v, excluded %v: got %v, %v, want %v", step, taken, excluded, p.Prefix, err, want)
					}
					if err == nil {
						taken = append(taken, p)
					}
				}
			}
		})
	}
}

// naiveChoice tries every block of the bases.
func naiveChoice(bases []Base, excluded []netip.Prefix, taken []Pool) netip.Prefix {
	for _, b := range bases {
		for a := b.Prefix.Addr(); b.Prefix.Contains(a); a = finalAddr(netip.PrefixFrom(a, b.Length)).Next() {
			p := netip.PrefixFrom(a, b.Length)
			if !slices.ContainsFunc(excluded, p.Overlaps) && !slices.ContainsFunc(taken, func(t Pool) bool { return t.Prefix.Overlaps(p) }) {
				return p
			}
		}
	}
	return netip.Prefix{}
}
