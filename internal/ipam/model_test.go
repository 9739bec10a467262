package ipam

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/runset"
	"github.com/libnetwork/libnetwork/ipamapi"
)

// naive is a second, slow implementation of one master pool with sub pools: it
// looks at every address each time.
type naive struct {
	prefix netip.Prefix
	last   map[string]netip.Addr // by pool ID
	live   map[netip.Addr]bool
	delay  time.Duration
	freed  map[netip.Addr]time.Time
	turn   map[netip.Addr]int // order of release
	turns  int
}

func newNaive(p netip.Prefix, delay time.Duration) *naive {
	return &naive{p, map[string]netip.Addr{}, map[netip.Addr]bool{}, delay, map[netip.Addr]time.Time{}, map[netip.Addr]int{}, 0}
}

func (n *naive) reserved(a netip.Addr) bool {
	host := a.BitLen() - n.prefix.Bits()
	first := a == n.prefix.Addr()
	last := !n.prefix.Contains(a.Next())
	if a.Is6() {
		return host > 0 && first
	}
	return host > 1 && (first || last)
}

func (n *naive) held(a netip.Addr, now time.Time) bool {
	t, ok := n.freed[a]
	return ok && now.Sub(t) < n.delay
}

// request takes an address of a pool with that range; the zero Addr is none.
func (n *naive) request(id string, r netip.Prefix, serial bool, now time.Time) netip.Addr {
	var free, held []netip.Addr
	for a := r.Addr(); r.Contains(a); a = a.Next() {
		switch {
		case n.reserved(a) || n.live[a]:
		case n.held(a, now):
			held = append(held, a)
		default:
			free = append(free, a)
		}
	}
	var got netip.Addr
	switch {
	case len(free) > 0:
		got = free[0]
		if last := n.last[id]; serial && last.IsValid() {
			if i := slices.IndexFunc(free, last.Less); i >= 0 {
				got = free[i]
			}
		}
	case len(held) > 0:
		got = slices.MinFunc(held, func(a, b netip.Addr) int { return n.turn[a] - n.turn[b] })
	default:
		return got
	}
	n.live[got], n.last[id] = true, got
	delete(n.freed, got)
	return got
}

func (n *naive) take(a netip.Addr) bool {
	if n.reserved(a) || n.live[a] {
		return false
	}
	n.live[a] = true
	delete(n.freed, a)
	return true
}

func (n *naive) release(a netip.Addr, now time.Time) {
	if n.live[a] {
		delete(n.live, a)
		n.turns++
		n.freed[a], n.turn[a] = now, n.turns
	}
}

// duel runs the same operations, four bytes each, on both and compares all that
// can be seen.
func duel(t *testing.T, pool netip.Prefix, subs []netip.Prefix, delay time.Duration, ops []byte) {
	t.Helper()
	now := time.Unix(1_000_000, 0)
	m := newManager(t, Config{Now: func() time.Time { return now }})
	n := newNaive(pool, delay)
	ranges, ids := []netip.Prefix{pool}, []string{}
	for i, r := range append([]netip.Prefix{{}}, subs...) {
		p, err := m.RequestPool(LocalSpace, pool, r, map[string]string{OptReuseDelay: delay.String()}, false)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, p.ID)
		if i > 0 {
			ranges = append(ranges, p.Sub)
		}
	}
	size := spanOf(pool).hi.Sub(spanOf(pool).lo).Lo + 1
	for ; len(ops) >= 4; ops = ops[4:] {
		which := int(ops[1]) % len(ids)
		id, r := ids[which], ranges[which]
		a := addrOf(spanOf(pool).lo.Add(runset.U64((uint64(ops[2])<<8|uint64(ops[3]))%size)), pool.Addr().Is4())
		now = now.Add(time.Duration(ops[0]>>3) * 10 * time.Millisecond)
		switch ops[0] % 5 {
		case 0, 1:
			serial := ops[0]%5 == 1
			var opts map[string]string
			if serial {
				opts = map[string]string{OptSerial: "true"}
			}
			want := n.request(id, r, serial, now)
			got, err := m.RequestAddress(id, netip.Addr{}, opts)
			if got.Addr() != want || want.IsValid() == errors.Is(err, ipamapi.ErrNoAvailableIPs) {
				t.Fatalf("request in %s, serial %v: got %v, %v, want %v", r, serial, got, err, want)
			}
		case 2:
			want := n.take(a)
			if _, err := m.RequestAddress(id, a, nil); want == errors.Is(err, ipamapi.ErrIPAlreadyAllocated) || want != (err == nil) {
				t.Fatalf("request of %s: got %v, want %v", a, err, want)
			}
		default:
			n.release(a, now)
			if err := m.ReleaseAddress(id, a); err != nil {
				t.Fatalf("release of %s: %v", a, err)
			}
		}
	}
	for i, id := range ids {
		var want []netip.Addr
		var u Usage
		for a := ranges[i].Addr(); ranges[i].Contains(a); a = a.Next() {
			u.Size++
			switch {
			case n.reserved(a):
				u.Reserved++
			case n.live[a]:
				u.Allocated++
				want = append(want, a)
			default:
				u.Free++
				if n.held(a, now) {
					u.Held++
				}
			}
		}
		if diff := cmp.Diff(u, usage(t, m, id)); diff != "" {
			t.Fatalf("usage of %s (-want +got):\n%s", id, diff)
		}
		seq, err := m.Addresses(id)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Collect(seq); !slices.Equal(want, got) {
			t.Fatalf("addresses of %s: got %v, want %v", id, got, want)
		}
	}
}

func TestAgainstNaive(t *testing.T) {
	for _, c := range []struct {
		name, pool string
		subs       []string
		delay      time.Duration
	}{
		{"1.13 /24", "10.0.0.0/24", nil, 0},
		{"1.13 sub pools", "10.0.0.0/23", []string{"10.0.0.0/25", "10.0.0.64/26", "10.0.1.254/31", "10.0.1.255/32"}, 0},
		{"1.13 IPv6", "fd00::fe00/119", []string{"fd00::ff00/120"}, 0},
		{"1.13 the last IPv6 addresses", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff80/121", nil, 0},
		{"IP-36 reuse delay", "10.0.0.0/26", []string{"10.0.0.32/28"}, time.Second},
		{"1.13 /31", "10.0.0.0/31", nil, 0},
		{"1.13 /32", "10.0.0.0/32", nil, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(21, 22))
			var subs []netip.Prefix
			for _, s := range c.subs {
				subs = append(subs, prefix(s))
			}
			for range 10 {
				ops := make([]byte, 4*600)
				for i := range ops {
					ops[i] = byte(rnd.Uint32())
				}
				duel(t, prefix(c.pool), subs, c.delay, ops)
			}
		})
	}
}

func FuzzAgainstNaive(f *testing.F) {
	f.Add(uint8(27), uint8(30), uint16(0), []byte{0, 0, 0, 0, 1, 1, 0, 0, 3, 0, 0, 1})
	f.Add(uint8(25), uint8(32), uint16(500), []byte{2, 1, 0, 9, 4, 0, 0, 9, 0xf8, 1, 0, 0})
	f.Fuzz(func(t *testing.T, length, sub uint8, delay uint16, ops []byte) {
		pool := netip.PrefixFrom(addr("10.0.0.0"), 25+int(length%8))
		s := netip.PrefixFrom(pool.Addr(), pool.Bits()+int(sub)%(33-pool.Bits()))
		duel(t, pool, []netip.Prefix{s}, time.Duration(delay)*time.Millisecond, ops)
	})
}

// TestAllocateFreeAllocate gives back some of what it took, and takes again.
func TestAllocateFreeAllocate(t *testing.T) {
	for _, sub := range []string{"", "172.25.252.0/22"} {
		t.Run("1.13 sub pool "+sub, func(t *testing.T) {
			m := newManager(t, Config{})
			id := poolWith(t, m, "172.25.0.0/16", sub, nil)
			const n = 384
			got := take(t, m, id, n, nil)
			rnd := rand.New(rand.NewPCG(31, 32))
			var freed []string
			for _, i := range rnd.Perm(n)[:n/2] {
				freed = append(freed, got[i])
			}
			release(t, m, id, freed...)
			again := take(t, m, id, len(freed), nil)
			byAddr := func(a, b string) int { return addr(a).Compare(addr(b)) }
			slices.SortFunc(freed, byAddr)
			if diff := cmp.Diff(freed, again); diff != "" {
				t.Errorf("taken again, lowest first (-want +got):\n%s", diff)
			}
			if runs := m.pools[id].addrs.busy.Runs(); runs != 1 {
				t.Errorf("%d runs, want one as before", runs)
			}
		})
	}
}

func FuzzPoolID(f *testing.F) {
	f.Add("LocalDefault/172.28.9.0/16/172.28.30.4/24")
	f.Add("LocalDefault/fd00::1/64")
	f.Add("a/b/c/d/e")
	f.Fuzz(func(t *testing.T, id string) {
		c := canonicalID(id)
		if c != "" && canonicalID(c) != c {
			t.Errorf("%q has the canonical form %q, and that one %q", id, c, canonicalID(c))
		}
	})
}
