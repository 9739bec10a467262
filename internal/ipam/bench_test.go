package ipam

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
)

func newManager(tb testing.TB, cfg Config) *Manager {
	tb.Helper()
	m, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func mustPool(tb testing.TB, m *Manager, prefix string) Pool {
	tb.Helper()
	p, err := m.RequestPool(LocalSpace, netip.MustParsePrefix(prefix), netip.Prefix{}, nil, false)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// mustTake requests addr, any one if it is zero.
func mustTake(tb testing.TB, m *Manager, id string, addr netip.Addr) netip.Addr {
	tb.Helper()
	got, err := m.RequestAddress(id, addr, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return got.Addr()
}

// scatter takes n addresses of a /64 or wider IPv6 pool, far apart.
func scatter(tb testing.TB, m *Manager, id string, n int) {
	tb.Helper()
	p, err := m.pool(id)
	if err != nil {
		tb.Fatal(err)
	}
	a := p.prefix.Addr().As16()
	for i := range n {
		binary.BigEndian.PutUint64(a[8:], uint64(i+1)*0x9e3779b97f4a7c15)
		mustTake(tb, m, id, netip.AddrFrom16(a))
	}
}

// random takes n addresses of 10.0.0.0/16 in random order.
func random(tb testing.TB, m *Manager, id string, n int) {
	tb.Helper()
	for _, i := range rand.New(rand.NewPCG(51, 52)).Perm(1<<16 - 2)[:n] {
		mustTake(tb, m, id, netip.AddrFrom4([4]byte{10, 0, byte((i + 1) >> 8), byte(i + 1)}))
	}
}

// BenchmarkRandom is one request and one release of another address, chosen at
// random: runs split and join, as in a pool that is in use.
func BenchmarkRandom(b *testing.B) {
	for _, c := range []struct {
		name, pool string
		fill       func(b *testing.B, m *Manager, id string)
	}{
		{"v4 16 half", "10.0.0.0/16", func(b *testing.B, m *Manager, id string) { random(b, m, id, 1<<15) }},
		{"v4 16 nine tenths", "10.0.0.0/16", func(b *testing.B, m *Manager, id string) { random(b, m, id, 59_000) }},
		{"v6 64 sparse 10000", "fd00::/64", func(b *testing.B, m *Manager, id string) { scatter(b, m, id, 10_000) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := newManager(b, Config{})
			p := mustPool(b, m, c.pool)
			c.fill(b, m, p.ID)
			seq, err := m.Addresses(p.ID)
			if err != nil {
				b.Fatal(err)
			}
			live := slices.Collect(seq)
			rnd := rand.New(rand.NewPCG(61, 62))
			b.ReportAllocs()
			for b.Loop() {
				i := rnd.IntN(len(live))
				if err := m.ReleaseAddress(p.ID, live[i]); err != nil {
					b.Fatal(err)
				}
				a, err := m.RequestAddress(p.ID, netip.Addr{}, nil)
				if err != nil {
					b.Fatal(err)
				}
				live[i] = a.Addr()
			}
		})
	}
}

// BenchmarkAddress is one request and one release at different fills of a pool.
func BenchmarkAddress(b *testing.B) {
	const size = 1<<16 - 2
	for _, c := range []struct {
		name, pool string
		fill       func(b *testing.B, m *Manager, id string)
	}{
		{"v4 16 empty", "10.0.0.0/16", func(*testing.B, *Manager, string) {}},
		{"v4 16 half", "10.0.0.0/16", func(b *testing.B, m *Manager, id string) {
			for range size / 2 {
				mustTake(b, m, id, netip.Addr{})
			}
		}},
		{"v4 16 every second", "10.0.0.0/16", func(b *testing.B, m *Manager, id string) {
			for i := 1; i < size; i += 2 {
				mustTake(b, m, id, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
			}
		}},
		{"v4 16 one left", "10.0.0.0/16", func(b *testing.B, m *Manager, id string) {
			for range size - 1 {
				mustTake(b, m, id, netip.Addr{})
			}
		}},
		{"v4 16 random half", "10.0.0.0/16", func(b *testing.B, m *Manager, id string) { random(b, m, id, size/2) }},
		{"v4 16 random nine tenths", "10.0.0.0/16", func(b *testing.B, m *Manager, id string) { random(b, m, id, size*9/10) }},
		{"v6 64 sparse 10000", "fd00::/64", func(b *testing.B, m *Manager, id string) { scatter(b, m, id, 10_000) }},
	} {
		for _, order := range []string{"first", "serial"} {
			b.Run(c.name+" "+order, func(b *testing.B) {
				m := newManager(b, Config{})
				p := mustPool(b, m, c.pool)
				c.fill(b, m, p.ID)
				var opts map[string]string
				if order == "serial" {
					opts = map[string]string{OptSerial: "true"}
				}
				b.ReportAllocs()
				for b.Loop() {
					a, err := m.RequestAddress(p.ID, netip.Addr{}, opts)
					if err != nil {
						b.Fatal(err)
					}
					if err := m.ReleaseAddress(p.ID, a.Addr()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkChosenPool is the search for a free pool behind 10 000 others, and its
// release.
func BenchmarkChosenPool(b *testing.B) {
	base := []Base{{netip.MustParsePrefix("10.0.0.0/8"), 24}}
	host := []netip.Prefix{netip.MustParsePrefix("10.0.7.0/24"), netip.MustParsePrefix("192.0.2.0/24")}
	for _, c := range []struct {
		name, pools, ask string
		change           bool // the host's networks, from each request to the next
	}{
		{name: "dense", pools: "10.%d.%d.0/24"},
		{name: "part of every block", pools: "10.%d.%d.128/25"},
		{name: "dense, the host changes", pools: "10.%d.%d.0/24", change: true},
		{name: "dense, a length", pools: "10.%d.%d.0/24", ask: "0.0.0.0/25"},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := 0
			m := newManager(b, Config{Local: base, Exclude: func() []netip.Prefix {
				if n++; c.change {
					return host[:n%2]
				}
				return host
			}})
			for i := range 10_000 {
				mustPool(b, m, fmt.Sprintf(c.pools, i>>8, i&255))
			}
			var ask netip.Prefix
			if c.ask != "" {
				ask = netip.MustParsePrefix(c.ask)
			}
			b.ReportAllocs()
			for b.Loop() {
				p, err := m.RequestPool(LocalSpace, ask, netip.Prefix{}, nil, false)
				if err != nil {
					b.Fatal(err)
				}
				if err := m.ReleasePool(p.ID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMemory reports the bytes of a pool with ten addresses far apart.
func BenchmarkMemory(b *testing.B) {
	for _, pool := range []string{"10.0.0.0/8", "fd00::/48"} {
		b.Run(pool, func(b *testing.B) {
			var before, after runtime.MemStats
			var keep []*Manager
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				m := newManager(b, Config{})
				p := mustPool(b, m, pool)
				a := p.Prefix.Addr().AsSlice()
				for i := range 10 {
					a[len(a)-2], a[len(a)-1] = byte(17*i+1), 9
					addr, _ := netip.AddrFromSlice(a)
					mustTake(b, m, p.ID, addr)
				}
				keep = append(keep, m)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(keep)), "B/pool")
			runtime.KeepAlive(keep)
		})
	}
}
