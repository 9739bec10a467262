package ipam

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/runset"
	"github.com/libnetwork/libnetwork/ipamapi"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// poolWith requests a pool with options and returns its ID.
func poolWith(t *testing.T, m *Manager, pool, sub string, opts map[string]string) string {
	t.Helper()
	p, err := m.RequestPool(LocalSpace, prefix(pool), prefix(sub), opts, false)
	if err != nil {
		t.Fatal(err)
	}
	return p.ID
}

// take requests n addresses.
func take(t *testing.T, m *Manager, id string, n int, opts map[string]string) (list []string) {
	t.Helper()
	for range n {
		a, err := m.RequestAddress(id, netip.Addr{}, opts)
		if err != nil {
			t.Fatalf("after %d: %v", len(list), err)
		}
		list = append(list, a.Addr().String())
	}
	return list
}

func release(t *testing.T, m *Manager, id string, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		if err := m.ReleaseAddress(id, addr(a)); err != nil {
			t.Fatal(err)
		}
	}
}

func usage(t *testing.T, m *Manager, id string) Usage {
	t.Helper()
	u, err := m.Usage(id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestEdgeLengths(t *testing.T) {
	for _, c := range []struct {
		pool string
		p2p  bool
		want []string
	}{
		{"10.0.0.8/29", false, []string{"10.0.0.9", "10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14"}},
		{"10.0.0.8/30", false, []string{"10.0.0.9", "10.0.0.10"}},
		{"10.0.0.8/31", false, []string{"10.0.0.8", "10.0.0.9"}},
		{"10.0.0.8/32", false, []string{"10.0.0.8"}},
		{"255.255.255.254/31", false, []string{"255.255.255.254", "255.255.255.255"}},
		{"fd00::8/126", false, []string{"fd00::9", "fd00::a", "fd00::b"}},
		{"fd00::8/127", false, []string{"fd00::9"}},
		{"fd00::8/127", true, []string{"fd00::8", "fd00::9"}},
		{"fd00::8/126", true, []string{"fd00::9", "fd00::a", "fd00::b"}},
		{"fd00::8/128", false, []string{"fd00::8"}},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", false, []string{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}},
	} {
		t.Run(fmt.Sprintf("IP-31 a %s has %d usable addresses, with p2p %v", c.pool, len(c.want), c.p2p), func(t *testing.T) {
			m := newManager(t, Config{})
			id := poolWith(t, m, c.pool, "", map[string]string{OptPointToPoint: fmt.Sprint(c.p2p)})
			if got := usage(t, m, id).Free; got != runset.U64(uint64(len(c.want))) {
				t.Errorf("%v free, want %d", got, len(c.want))
			}
			got := take(t, m, id, len(c.want), nil)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			_, err := m.RequestAddress(id, netip.Addr{}, nil)
			wantErr(t, err, ipamapi.ErrNoAvailableIPs, noService)
			seq, err := m.Addresses(id)
			if err != nil {
				t.Fatal(err)
			}
			var listed []string
			for a := range seq {
				listed = append(listed, a.String())
			}
			if diff := cmp.Diff(c.want, listed); diff != "" {
				t.Errorf("listed (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("IP-31 addresses that differ in any of 128 bits are different ones", func(t *testing.T) {
		m := newManager(t, Config{})
		id := mustPool(t, m, "fd00::/16").ID
		for _, a := range []string{"fd00::1", "fd00:1::1", "fd00:8000::1", "fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
			if got := mustTake(t, m, id, addr(a)); got != addr(a) {
				t.Errorf("got %s, want %s", got, a)
			}
		}
	})
}

// TestEveryLength counts and takes the addresses at both ends of a pool of each
// length.
func TestEveryLength(t *testing.T) {
	for _, fam := range []struct {
		name, base string
	}{{"IPv4", "170.170.170.170"}, {"IPv6", "aaaa:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa:aaaa"}} {
		base := addr(fam.base)
		t.Run(fmt.Sprintf("IP-31 an %s pool of any length from 0 to %d has exactly its number of addresses", fam.name, base.BitLen()), func(t *testing.T) {
			for bits := range base.BitLen() + 1 {
				t.Run(fmt.Sprint("length ", bits), func(t *testing.T) { takeBothEnds(t, netip.PrefixFrom(base, bits).Masked()) })
			}
		})
	}
}

func takeBothEnds(t *testing.T, pool netip.Prefix) {
	t.Helper()
	m, n := newManager(t, Config{}), newNaive(pool, 0)
	id := mustPool(t, m, pool.String()).ID
	check := func() {
		t.Helper()
		if diff := cmp.Diff(n.figures(pool, time.Time{}), usage(t, m, id).figures()); diff != "" {
			t.Fatalf("usage (-want +got):\n%s", diff)
		}
	}
	check()
	for range 3 {
		want := n.request(id, pool, false, time.Time{})
		if got, _ := m.RequestAddress(id, netip.Addr{}, nil); got.Addr() != want {
			t.Fatalf("got %v, want %v", got, want)
		}
		check()
	}
	for _, a := range []netip.Addr{pool.Addr(), n.final, n.final.Prev()} {
		if !pool.Contains(a) {
			continue
		}
		if _, err := m.RequestAddress(id, a, nil); n.take(a) != (err == nil) {
			t.Fatalf("request of %s: %v", a, err)
		}
		check()
	}
}

func TestMemory(t *testing.T) {
	for _, pool := range []string{"0.0.0.0/0", "10.0.0.0/8", "fd00::/48", "::/0"} {
		t.Run("ten addresses of "+pool+" cost ten runs", func(t *testing.T) {
			m := newManager(t, Config{})
			n := newNaive(prefix(pool), 0)
			id := mustPool(t, m, pool).ID
			for a := range 10 {
				b := n.final.AsSlice()
				b[len(b)-2], b[len(b)-1] = byte(17*a+1), 9
				fixed, _ := netip.AddrFromSlice(b)
				mustTake(t, m, id, fixed)
			}
			if runs := m.pools[id].addrs.busy.Runs(); runs != 10 {
				t.Errorf("%d runs", runs)
			}
		})
	}
}

func TestFixedAddress(t *testing.T) {
	m := newManager(t, Config{})
	id := poolWith(t, m, "172.28.0.0/16", "172.28.30.0/24", nil)
	take(t, m, id, 1, nil) // 172.28.30.0
	id6 := mustPool(t, m, "fd00::/64").ID
	for _, c := range []struct {
		name, id, want string
		is             error
		class          func(error) bool
	}{
		{name: "IP-27 a wanted address may lie outside the sub pool, inside the pool", id: id, want: "172.28.1.1"},
		{name: "IP-27 a wanted address that is taken is refused", id: id, want: "172.28.30.0", is: ipamapi.ErrIPAlreadyAllocated, class: forbidden},
		{name: "IP-27 a wanted address outside the pool is out of range", id: id, want: "172.29.0.1", is: ipamapi.ErrIPOutOfRange, class: badRequest},
		{name: "IP-27 a wanted address of the other family is out of range", id: id, want: "fd00::1", is: ipamapi.ErrIPOutOfRange, class: badRequest},
		{name: "IP-27 a wanted address with a zone is out of range", id: id6, want: "fd00::1%eth0", is: ipamapi.ErrIPOutOfRange, class: badRequest},
		{name: "IP-30 the network address is reserved", id: id, want: "172.28.0.0", is: ipamapi.ErrIPAlreadyAllocated, class: forbidden},
		{name: "IP-30 the broadcast address is reserved", id: id, want: "172.28.255.255", is: ipamapi.ErrIPAlreadyAllocated, class: forbidden},
		{name: "IP-30 the subnet-router anycast address is reserved", id: id6, want: "fd00::", is: ipamapi.ErrIPAlreadyAllocated, class: forbidden},
		{name: "IP-30 the last address of an IPv6 pool is an ordinary one", id: id6, want: "fd00::ffff:ffff:ffff:ffff"},
		{name: "IPv4-mapped", id: id, want: "::ffff:172.28.1.2"},
		{name: "IP-5 a request in an unknown pool is not found", id: "LocalDefault/10.0.0.0/8", want: "10.0.0.1", is: ipamapi.ErrPoolNotFound, class: notFound},
		{name: "IP-6 an id of two parts is malformed", id: "LocalDefault/10.0.0.0", want: "10.0.0.1", is: ipamapi.ErrInvalidRequest, class: badRequest},
		{name: "IP-6 an id of four parts is malformed", id: "LocalDefault/10.0.0.0/8/10.1.0.0", want: "10.0.0.1", is: ipamapi.ErrInvalidRequest, class: badRequest},
		{name: "IP-7 an id with host bits means the pool without them", id: "LocalDefault/172.28.9.9/16/172.28.30.4/24", want: "172.28.1.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := m.RequestAddress(c.id, addr(c.want), nil)
			switch {
			case c.is != nil:
				wantErr(t, err, c.is, c.class)
			case err != nil || got.Addr() != addr(c.want).Unmap():
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			case got.Addr().Is4() && got.Bits() != 16:
				t.Errorf("got %s, want the length of the master pool", got)
			}
		})
	}
}

func TestSubPool(t *testing.T) {
	m := newManager(t, Config{})
	id := poolWith(t, m, "172.28.0.0/16", "172.28.30.0/24", nil)
	master := LocalSpace + "/172.28.0.0/16"
	t.Run("IP-30 the first and the last address of a sub pool are ordinary ones", func(t *testing.T) {
		got := take(t, m, id, 256, nil)
		if diff := cmp.Diff([]string{"172.28.30.0", "172.28.30.255"}, []string{got[0], got[255]}); diff != "" {
			t.Errorf("first and last (-want +got):\n%s", diff)
		}
		_, err := m.RequestAddress(id, netip.Addr{}, nil)
		wantErr(t, err, ipamapi.ErrNoAvailableIPs, noService)
	})
	t.Run("IP-28 the pool gives its lowest free address also when a sub pool is full", func(t *testing.T) {
		if a, err := m.RequestAddress(master, netip.Addr{}, nil); err != nil || a != netip.MustParsePrefix("172.28.0.1/16") {
			t.Errorf("got %s, %v, want 172.28.0.1/16", a, err)
		}
	})
	t.Run("IP-33 an address of a sub pool is released by the id of its pool", func(t *testing.T) {
		_, err := m.RequestAddress(master, addr("172.28.30.7"), nil)
		wantErr(t, err, ipamapi.ErrIPAlreadyAllocated, forbidden)
		release(t, m, master, "172.28.30.9")
	})
	t.Run("IP-28 a sub pool gives its lowest free address", func(t *testing.T) {
		if got := take(t, m, id, 1, nil)[0]; got != "172.28.30.9" {
			t.Errorf("got %s, want 172.28.30.9", got)
		}
	})
	t.Run("IP-29 an address of a sub pool has the length of the pool", func(t *testing.T) {
		release(t, m, id, "172.28.30.10")
		if a, err := m.RequestAddress(id, netip.Addr{}, nil); err != nil || a != netip.MustParsePrefix("172.28.30.10/16") {
			t.Errorf("got %s, %v, want 172.28.30.10/16", a, err)
		}
	})
	u64 := runset.U64
	if diff := cmp.Diff(Usage{Allocated: u64(256)}, usage(t, m, id)); diff != "" {
		t.Errorf("usage of the sub pool (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Usage{Reserved: 2, Allocated: u64(257), Free: u64(65277)}, usage(t, m, master)); diff != "" {
		t.Errorf("usage of the master (-want +got):\n%s", diff)
	}

	t.Run("IP-15 a sub pool equal to its pool gives what the pool gives", func(t *testing.T) {
		id := poolWith(t, m, "10.0.0.0/30", "10.0.0.0/30", nil)
		if diff := cmp.Diff([]string{"10.0.0.1", "10.0.0.2"}, take(t, m, id, 2, nil)); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
	})
	t.Run("IP-30 a sub pool of reserved addresses alone is always full", func(t *testing.T) {
		for _, sub := range []string{"10.9.0.0/32", "10.9.255.255/32"} {
			id := poolWith(t, m, "10.9.0.0/16", sub, nil)
			_, err := m.RequestAddress(id, netip.Addr{}, nil)
			wantErr(t, err, ipamapi.ErrNoAvailableIPs, noService)
		}
	})
}

func TestReleaseAddress(t *testing.T) {
	m := newManager(t, Config{})
	id := mustPool(t, m, "10.0.0.0/24").ID
	take(t, m, id, 3, nil)
	before := usage(t, m, id)
	for _, c := range []struct {
		name, id string
		addr     netip.Addr
		is       error
		class    func(error) bool
	}{
		{name: "IP-32 release of a free address changes nothing", id: id, addr: addr("10.0.0.99")},
		{name: "IP-32 release of the network address changes nothing", id: id, addr: addr("10.0.0.0")},
		{name: "IP-32 release of the broadcast address changes nothing", id: id, addr: addr("10.0.0.255")},
		{name: "IP-32 release of an address outside the pool is out of range", id: id, addr: addr("10.0.1.0"), is: ipamapi.ErrIPOutOfRange, class: badRequest},
		{name: "IP-32 release in an unknown pool is not found", id: LocalSpace + "/10.0.0.0/25", addr: addr("10.0.0.1"), is: ipamapi.ErrPoolNotFound, class: notFound},
		{name: "IP-5 release without an address is a bad request", id: id, is: ipamapi.ErrInvalidRequest, class: badRequest},
		{name: "IP-6 release by a malformed id is a bad request", id: "nonsense", addr: addr("10.0.0.1"), is: ipamapi.ErrInvalidRequest, class: badRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := m.ReleaseAddress(c.id, c.addr)
			if c.is != nil {
				wantErr(t, err, c.is, c.class)
			} else if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(before, usage(t, m, id)); diff != "" {
				t.Errorf("counters (-want +got):\n%s", diff)
			}
			if _, err := m.RequestAddress(id, addr("10.0.0.0"), nil); !errors.Is(err, ipamapi.ErrIPAlreadyAllocated) {
				t.Errorf("the network address can be had: %v", err)
			}
		})
	}
}

func TestClosedPool(t *testing.T) {
	m := newManager(t, Config{})
	id := mustPool(t, m, "10.0.0.0/24").ID
	p, err := m.pool(id) // as a caller who looked it up a moment before
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ReleasePool(id); err != nil {
		t.Fatal(err)
	}
	m.pools[id] = p
	_, err = m.RequestAddress(id, netip.Addr{}, nil)
	wantErr(t, err, ipamapi.ErrPoolNotFound, notFound)
	wantErr(t, m.ReleaseAddress(id, addr("10.0.0.1")), ipamapi.ErrPoolNotFound, notFound)
}

// TestParallel has callers who never own one address at the same time.
func TestParallel(t *testing.T) {
	m := newManager(t, Config{})
	id := mustPool(t, m, "172.25.0.0/16").ID
	sub := poolWith(t, m, "172.25.0.0/16", "172.25.0.0/24", nil)
	var owned sync.Map
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			var mine []netip.Addr
			for range 2_000 {
				if len(mine) > 20 || len(mine) > 0 && rnd.IntN(2) == 0 {
					i := rnd.IntN(len(mine))
					owned.Delete(mine[i])
					if err := m.ReleaseAddress(id, mine[i]); err != nil {
						t.Error(err)
					}
					mine = slices.Delete(mine, i, i+1)
					continue
				}
				a, err := m.RequestAddress([]string{id, sub}[rnd.IntN(2)], netip.Addr{}, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if other, taken := owned.LoadOrStore(a.Addr(), w); taken {
					t.Errorf("1.13 %s belongs to %v already", a, other)
				}
				mine = append(mine, a.Addr())
			}
			for _, a := range mine {
				owned.Delete(a)
				if err := m.ReleaseAddress(id, a); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(Usage{Reserved: 2, Free: runset.U64(65534)}, usage(t, m, id)); diff != "" {
		t.Errorf("1.13 free set after all was released (-want +got):\n%s", diff)
	}
}

// TestHotPathAllocatesNothing has pools in a steady state: as many addresses are
// released as are requested.
func TestHotPathAllocatesNothing(t *testing.T) {
	serial := map[string]string{OptSerial: "true"}
	for _, c := range []struct {
		name, pool, delay string
		take              int // addresses by first fit
		sparse            int // addresses far apart
		opts              map[string]string
	}{
		{"first fit of a dense pool", "10.0.0.0/16", "0s", 1_000, 0, nil},
		{"serial order of a dense pool", "10.0.0.0/16", "0s", 1_000, 0, serial},
		{"first fit of a sparse pool", "fd00::/64", "0s", 0, 10_000, nil},
		{"serial order of a sparse pool", "fd00::/64", "0s", 0, 10_000, serial},
		{"delayed reuse", "10.0.0.0/24", "1h", 200, 0, nil},
	} {
		t.Run(c.name+" allocates nothing", func(t *testing.T) {
			now := time.Unix(1_000_000, 0)
			m := newManager(t, Config{Now: func() time.Time { return now }})
			id := poolWith(t, m, c.pool, "", map[string]string{OptReuseDelay: c.delay})
			take(t, m, id, c.take, nil)
			scatter(t, m, id, c.sparse)
			live := make([]netip.Addr, 0, 64)
			for range cap(live) / 2 {
				live = append(live, mustTake(t, m, id, netip.Addr{}))
			}
			rnd := rand.New(rand.NewPCG(41, 42))
			round := func() {
				now = now.Add(time.Second)
				a, err := m.RequestAddress(id, netip.Addr{}, c.opts)
				if err != nil {
					t.Fatal(err)
				}
				// Another one than was just taken, so that runs come and go.
				i := rnd.IntN(len(live))
				if err := m.ReleaseAddress(id, live[i]); err != nil {
					t.Fatal(err)
				}
				live[i] = a.Addr()
			}
			for range 5_000 {
				round()
			}
			if n := testing.AllocsPerRun(5_000, round); n != 0 {
				t.Errorf("%v allocations a round, want none", n)
			}
		})
	}
}
