package ipam

import (
	"encoding/binary"
	"errors"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/ipamapi"
)

// naive is a second, slow implementation of one master pool with sub pools: it
// tries one address after the other and knows no runs, no numbers and no order
// but that of netip.
type naive struct {
	prefix netip.Prefix
	final  netip.Addr            // the last address of prefix
	last   map[string]netip.Addr // by pool ID
	live   map[netip.Addr]bool
	delay  time.Duration
	freed  map[netip.Addr]time.Time
	turn   map[netip.Addr]int // order of release
	turns  int
}

func newNaive(p netip.Prefix, delay time.Duration) *naive {
	return &naive{p, finalAddr(p), map[string]netip.Addr{}, map[netip.Addr]bool{}, delay, map[netip.Addr]time.Time{}, map[netip.Addr]int{}, 0}
}

// finalAddr is the last address of a prefix.
func finalAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (n *naive) reserved(a netip.Addr) bool {
	host := a.BitLen() - n.prefix.Bits()
	if a.Is6() {
		return host > 0 && a == n.prefix.Addr()
	}
	return host > 1 && (a == n.prefix.Addr() || a == n.final)
}

func (n *naive) held(a netip.Addr, now time.Time) bool {
	t, ok := n.freed[a]
	return ok && now.Sub(t) < n.delay
}

// request takes an address of a pool with that range; the zero Addr is none.
func (n *naive) request(id string, r netip.Prefix, serial bool, now time.Time) netip.Addr {
	got := n.free(r, r.Addr(), now)
	if last := n.last[id]; serial && last.IsValid() {
		if next := n.free(r, last.Next(), now); next.IsValid() {
			got = next
		}
	}
	if !got.IsValid() {
		for a := range n.freed {
			if r.Contains(a) && n.held(a, now) && (!got.IsValid() || n.turn[a] < n.turn[got]) {
				got = a
			}
		}
	}
	if got.IsValid() {
		n.live[got], n.last[id] = true, got
		delete(n.freed, got)
	}
	return got
}

// free is the first free address of r from a on.
func (n *naive) free(r netip.Prefix, a netip.Addr, now time.Time) netip.Addr {
	for ; r.Contains(a); a = a.Next() {
		if !n.reserved(a) && !n.live[a] && !n.held(a, now) {
			return a
		}
	}
	return netip.Addr{}
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

// figures are those of a pool, as text.
type figures struct {
	Size, Reserved, Allocated, Free string
	Held                            uint64
}

func (n *naive) figures(r netip.Prefix, now time.Time) figures {
	var reserved, live int64
	for _, a := range slices.Compact([]netip.Addr{n.prefix.Addr(), n.final}) {
		if n.reserved(a) && r.Contains(a) {
			reserved++
		}
	}
	for a := range n.live {
		if r.Contains(a) {
			live++
		}
	}
	var f figures
	for a := range n.freed {
		if r.Contains(a) && n.held(a, now) {
			f.Held++
		}
	}
	size := new(big.Int).Lsh(big.NewInt(1), uint(r.Addr().BitLen()-r.Bits()))
	free := new(big.Int).Sub(size, big.NewInt(reserved+live))
	f.Size, f.Reserved, f.Allocated, f.Free = size.String(), big.NewInt(reserved).String(), big.NewInt(live).String(), free.String()
	return f
}

func (u Usage) figures() figures {
	reserved := new(big.Int).SetUint64(u.Reserved).String()
	return figures{u.Size().String(), reserved, u.Allocated.String(), u.Free.String(), u.Held}
}

// world is a Manager with one pool and sub pools of it, and the naive one.
type world struct {
	t      *testing.T
	m      *Manager
	n      *naive
	now    time.Time
	ids    []string
	ranges []netip.Prefix
}

func newWorld(t *testing.T, pool netip.Prefix, subs []netip.Prefix, delay time.Duration) *world {
	t.Helper()
	w := &world{t: t, n: newNaive(pool, delay), now: time.Unix(1_000_000, 0)}
	w.m = newManager(t, Config{Now: func() time.Time { return w.now }})
	for _, r := range append([]netip.Prefix{{}}, subs...) {
		p, err := w.m.RequestPool(LocalSpace, pool, r, map[string]string{OptReuseDelay: delay.String()}, false)
		if err != nil {
			t.Fatal(err)
		}
		if w.ids = append(w.ids, p.ID); !p.Sub.IsValid() {
			p.Sub = p.Prefix
		}
		w.ranges = append(w.ranges, p.Sub)
	}
	return w
}

// addr is one of the 2^15 addresses at one of the ends of the pool.
func (w *world) addr(where uint16) netip.Addr {
	b := w.n.prefix.Addr().AsSlice()
	if where&1 != 0 {
		b = w.n.final.AsSlice()
	}
	tail := b[len(b)-2:]
	binary.BigEndian.PutUint16(tail, binary.BigEndian.Uint16(tail)^where>>1)
	if a, _ := netip.AddrFromSlice(b); w.n.prefix.Contains(a) {
		return a
	}
	return w.n.prefix.Addr()
}

// opLen is how many bytes tell of an operation.
const opLen = 4

// do runs an operation on both and compares what they answer.
func (w *world) do(op []byte) {
	w.t.Helper()
	which := int(op[1]) % len(w.ids)
	id, r := w.ids[which], w.ranges[which]
	a := w.addr(binary.BigEndian.Uint16(op[2:]))
	w.now = w.now.Add(time.Duration(op[0]>>3) * 10 * time.Millisecond)
	switch kind := op[0] % 8; kind {
	case 0, 1, 2:
		var opts map[string]string
		if kind == 2 {
			opts = map[string]string{OptSerial: "true"}
		}
		want := w.n.request(id, r, kind == 2, w.now)
		got, err := w.m.RequestAddress(id, netip.Addr{}, opts)
		if got.Addr() != want || want.IsValid() == errors.Is(err, ipamapi.ErrNoAvailableIPs) {
			w.t.Fatalf("request in %s, options %v: got %v, %v, want %v", r, opts, got, err, want)
		}
	case 3:
		want := w.n.take(a)
		if _, err := w.m.RequestAddress(id, a, nil); want == errors.Is(err, ipamapi.ErrIPAlreadyAllocated) || want != (err == nil) {
			w.t.Fatalf("request of %s: got %v, want %v", a, err, want)
		}
	default:
		if last := w.n.last[id]; kind > 4 && last.IsValid() {
			// One of those that were chosen last, so that pools do not only fill.
			a = last
			for back := op[3] % 16; back > 0 && w.n.prefix.Contains(a.Prev()); back-- {
				a = a.Prev()
			}
		}
		w.n.release(a, w.now)
		if err := w.m.ReleaseAddress(id, a); err != nil {
			w.t.Fatalf("release of %s: %v", a, err)
		}
	}
}

// random runs n operations, most of them near the ends of the pool.
func (w *world) random(n int, rnd *rand.Rand) {
	w.t.Helper()
	var op [opLen]byte
	for range n {
		binary.BigEndian.PutUint32(op[:], rnd.Uint32())
		if rnd.IntN(4) > 0 {
			op[2] = 0
		}
		w.do(op[:])
	}
}

// compare compares all that can be seen.
func (w *world) compare() {
	w.t.Helper()
	for i, id := range w.ids {
		if diff := cmp.Diff(w.n.figures(w.ranges[i], w.now), usage(w.t, w.m, id).figures()); diff != "" {
			w.t.Fatalf("usage of %s (-want +got):\n%s", id, diff)
		}
		var want []netip.Addr
		for a := range w.n.live {
			if w.ranges[i].Contains(a) {
				want = append(want, a)
			}
		}
		slices.SortFunc(want, netip.Addr.Compare)
		seq, err := w.m.Addresses(id)
		if err != nil {
			w.t.Fatal(err)
		}
		if got := slices.Collect(seq); !slices.Equal(want, got) {
			w.t.Fatalf("addresses of %s: got %v, want %v", id, got, want)
		}
	}
}

// TestAgainstNaive makes 220 000 operations.
func TestAgainstNaive(t *testing.T) {
	for _, c := range []struct {
		name, pool string
		subs       []string
		delay      time.Duration
	}{
		{"IP-28 a /24 answers as trying every address would", "10.0.0.0/24", nil, 0},
		{"IP-33 sub pools answer as trying every address would", "10.0.0.0/23", []string{"10.0.0.0/25", "10.0.0.64/26", "10.0.1.254/31", "10.0.1.255/32"}, 0},
		{"IP-31 IPv6 answers as trying every address would", "fd00::fe00/119", []string{"fd00::ff00/120"}, 0},
		{"IP-31 the last IPv6 addresses answer as trying every address would", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff80/121", nil, 0},
		{"IP-31 a /8 answers as trying every address would", "10.0.0.0/8", []string{"10.255.255.0/24"}, 0},
		{"IP-31 a /48 answers as trying every address would", "fd00::/48", []string{"fd00::/112", "fd00:0:0:ffff::/64"}, time.Second},
		{"IP-31 all IPv4 addresses answer as trying every address would", "0.0.0.0/0", []string{"255.255.255.128/25"}, 0},
		{"IP-31 all IPv6 addresses answer as trying every address would", "::/0", []string{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff80/121"}, 0},
		{"IP-36 delayed reuse answers as trying every address would", "10.0.0.0/26", []string{"10.0.0.32/28"}, time.Second},
		{"IP-31 a /31 answers as trying every address would", "10.0.0.0/31", nil, 0},
		{"IP-31 a /32 answers as trying every address would", "10.0.0.0/32", nil, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(21, 22))
			var subs []netip.Prefix
			for _, s := range c.subs {
				subs = append(subs, prefix(s))
			}
			w := newWorld(t, prefix(c.pool), subs, c.delay)
			for range 10 {
				w.random(2_000, rnd)
				w.compare()
			}
		})
	}
}

// FuzzAgainstNaive compares pools of every length of both families, with a sub
// pool at their start and one at their end. Behind the operations of an input come
// some hundreds that its seed tells.
func FuzzAgainstNaive(f *testing.F) {
	f.Add(false, uint8(27), uint8(30), uint16(0), uint64(1), []byte{0, 0, 0, 0, 1, 1, 0, 0, 5, 0, 0, 1})
	f.Add(false, uint8(25), uint8(32), uint16(500), uint64(2), []byte{3, 1, 0, 9, 4, 0, 0, 9, 0xf8, 1, 0, 0})
	f.Add(true, uint8(0), uint8(64), uint16(0), uint64(1), []byte{0, 1, 0, 0, 3, 2, 0, 9, 2, 2, 0, 0, 6, 0, 0, 9})
	f.Fuzz(func(t *testing.T, v6 bool, length, sub uint8, delay uint16, seed uint64, ops []byte) {
		base := addr("170.170.170.170")
		if v6 {
			base = addr("aaaa:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa")
		}
		pool := netip.PrefixFrom(base, int(length)%(base.BitLen()+1)).Masked()
		subLength := pool.Bits() + int(sub)%(base.BitLen()+1-pool.Bits())
		w := newWorld(t, pool, []netip.Prefix{
			netip.PrefixFrom(finalAddr(pool), subLength),
			netip.PrefixFrom(pool.Addr(), subLength),
		}, time.Duration(delay)*time.Millisecond)
		for ; len(ops) >= opLen; ops = ops[opLen:] {
			w.do(ops)
		}
		w.random(300, rand.New(rand.NewPCG(seed, 1)))
		w.compare()
	})
}

// TestAllocateFreeAllocate gives back some of what it took, and takes again.
func TestAllocateFreeAllocate(t *testing.T) {
	for _, sub := range []string{"", "172.25.252.0/22"} {
		t.Run("IP-34 "+map[bool]string{true: "a pool", false: "a sub pool"}[sub == ""]+" gives again what was released, the lowest first", func(t *testing.T) {
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
