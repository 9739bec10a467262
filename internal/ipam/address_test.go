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

func TestFirstFit(t *testing.T) {
	for _, c := range []struct {
		pool string
		want map[int]string // by number of the request
	}{
		{"192.168.59.0/24", map[int]string{1: "192.168.59.1", 254: "192.168.59.254"}},
		{"192.168.0.0/16", map[int]string{255: "192.168.0.255", 256: "192.168.1.0"}},
		{"192.168.128.0/18", map[int]string{1023: "192.168.131.255"}},
		{"10.0.0.0/8", map[int]string{256: "10.0.1.0"}},
		{"fd00::/64", map[int]string{1: "fd00::1", 65536: "fd00::1:0"}},
		{"fd00::/24", map[int]string{1: "fd00::1", 256: "fd00::100"}},
	} {
		t.Run("IP-35 "+c.pool, func(t *testing.T) {
			m := newManager(t, Config{})
			id := mustPool(t, m, c.pool).ID
			n := 0
			for i := range c.want {
				n = max(n, i)
			}
			got := take(t, m, id, n, nil)
			for i, want := range c.want {
				if got[i-1] != want {
					t.Errorf("request %d: got %s, want %s", i, got[i-1], want)
				}
			}
		})
	}
	t.Run("IP-35 sub pool with a fixed address", func(t *testing.T) {
		m := newManager(t, Config{})
		id := poolWith(t, m, "10.2.0.0/16", "10.2.2.0/24", nil)
		mustTake(t, m, id, addr("10.2.2.1"))
		if diff := cmp.Diff([]string{"10.2.2.0", "10.2.2.2"}, take(t, m, id, 2, nil)); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
	})
	t.Run("IP-34 what was released comes back", func(t *testing.T) {
		m := newManager(t, Config{})
		id := mustPool(t, m, "192.168.0.0/23").ID
		take(t, m, id, 510, nil)
		for _, a := range []string{"192.168.0.1", "192.168.0.255", "192.168.1.0", "192.168.1.254"} {
			release(t, m, id, a)
			if got := take(t, m, id, 1, nil)[0]; got != a {
				t.Errorf("got %s, want %s", got, a)
			}
		}
	})
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
		t.Run(fmt.Sprintf("IP-31 %s p2p %v", c.pool, c.p2p), func(t *testing.T) {
			m := newManager(t, Config{})
			id := poolWith(t, m, c.pool, "", map[string]string{OptPointToPoint: fmt.Sprint(c.p2p)})
			if got := usage(t, m, id).Free; got != uint64(len(c.want)) {
				t.Errorf("%d free, want %d", got, len(c.want))
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
	t.Run("IP-31 all 128 bits count", func(t *testing.T) {
		m := newManager(t, Config{})
		id := mustPool(t, m, "fd00::/16").ID
		for _, a := range []string{"fd00::1", "fd00:1::1", "fd00:8000::1", "fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
			if got := mustTake(t, m, id, addr(a)); got != addr(a) {
				t.Errorf("got %s, want %s", got, a)
			}
		}
	})
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
		{name: "IP-27 outside the sub pool, inside the master", id: id, want: "172.28.1.1"},
		{name: "IP-27 taken", id: id, want: "172.28.30.0", is: ipamapi.ErrIPAlreadyAllocated, class: forbidden},
		{name: "IP-27 outside the master", id: id, want: "172.29.0.1", is: ipamapi.ErrIPOutOfRange, class: badRequest},
		{name: "IP-27 other family", id: id, want: "fd00::1", is: ipamapi.ErrIPOutOfRange, class: badRequest},
		{name: "IP-27 with a zone", id: id6, want: "fd00::1%eth0", is: ipamapi.ErrIPOutOfRange, class: badRequest},
		{name: "IP-30 network address", id: id, want: "172.28.0.0", is: ipamapi.ErrIPAlreadyAllocated, class: forbidden},
		{name: "IP-30 broadcast address", id: id, want: "172.28.255.255", is: ipamapi.ErrIPAlreadyAllocated, class: forbidden},
		{name: "IP-30 subnet-router anycast", id: id6, want: "fd00::", is: ipamapi.ErrIPAlreadyAllocated, class: forbidden},
		{name: "IP-30 all ones of IPv6", id: id6, want: "fd00::ffff:ffff:ffff:ffff"},
		{name: "IPv4-mapped", id: id, want: "::ffff:172.28.1.2"},
		{name: "IP-5 unknown pool", id: "LocalDefault/10.0.0.0/8", want: "10.0.0.1", is: ipamapi.ErrPoolNotFound, class: notFound},
		{name: "IP-6 malformed pool id", id: "LocalDefault/10.0.0.0", want: "10.0.0.1", is: ipamapi.ErrInvalidRequest, class: badRequest},
		{name: "IP-6 four parts", id: "LocalDefault/10.0.0.0/8/10.1.0.0", want: "10.0.0.1", is: ipamapi.ErrInvalidRequest, class: badRequest},
		{name: "IP-7 id as the user spelled it", id: "LocalDefault/172.28.9.9/16/172.28.30.4/24", want: "172.28.1.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := m.RequestAddress(c.id, addr(c.want), nil)
			switch {
			case c.is != nil:
				wantErr(t, err, c.is, c.class)
			case err != nil || got.Addr() != addr(c.want).Unmap():
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			case got.Addr().Is4() && got.Bits() != 16:
				t.Errorf("IP-29 got %s, want the length of the master pool", got)
			}
		})
	}
}

func TestSubPool(t *testing.T) {
	m := newManager(t, Config{})
	id := poolWith(t, m, "172.28.0.0/16", "172.28.30.0/24", nil)
	got := take(t, m, id, 256, nil)
	if diff := cmp.Diff([]string{"172.28.30.0", "172.28.30.255"}, []string{got[0], got[255]}); diff != "" {
		t.Errorf("IP-30 first and last (-want +got):\n%s", diff)
	}
	_, err := m.RequestAddress(id, netip.Addr{}, nil)
	wantErr(t, err, ipamapi.ErrNoAvailableIPs, noService)

	master := LocalSpace + "/172.28.0.0/16"
	if a, err := m.RequestAddress(master, netip.Addr{}, nil); err != nil || a != netip.MustParsePrefix("172.28.0.1/16") {
		t.Errorf("IP-28 the master goes on elsewhere: %s, %v", a, err)
	}
	_, err = m.RequestAddress(master, addr("172.28.30.7"), nil)
	wantErr(t, err, ipamapi.ErrIPAlreadyAllocated, forbidden)

	release(t, m, master, "172.28.30.9")
	if got := take(t, m, id, 1, nil)[0]; got != "172.28.30.9" {
		t.Errorf("IP-33 released through the master: got %s, want 172.28.30.9", got)
	}
	if diff := cmp.Diff(Usage{Size: 256, Allocated: 256}, usage(t, m, id)); diff != "" {
		t.Errorf("usage of the sub pool (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Usage{Size: 65536, Reserved: 2, Allocated: 257, Free: 65277}, usage(t, m, master)); diff != "" {
		t.Errorf("usage of the master (-want +got):\n%s", diff)
	}

	t.Run("IP-15 sub pool equal to pool", func(t *testing.T) {
		id := poolWith(t, m, "10.0.0.0/30", "10.0.0.0/30", nil)
		if diff := cmp.Diff([]string{"10.0.0.1", "10.0.0.2"}, take(t, m, id, 2, nil)); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
	})
	t.Run("IP-30 sub pool of reserved addresses alone", func(t *testing.T) {
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
		{name: "IP-32 free", id: id, addr: addr("10.0.0.99")},
		{name: "IP-32 network address", id: id, addr: addr("10.0.0.0")},
		{name: "IP-32 broadcast address", id: id, addr: addr("10.0.0.255")},
		{name: "IP-32 outside", id: id, addr: addr("10.0.1.0"), is: ipamapi.ErrIPOutOfRange, class: badRequest},
		{name: "IP-32 unknown pool", id: LocalSpace + "/10.0.0.0/25", addr: addr("10.0.0.1"), is: ipamapi.ErrPoolNotFound, class: notFound},
		{name: "IP-5 no address", id: id, is: ipamapi.ErrInvalidRequest, class: badRequest},
		{name: "IP-6 malformed id", id: "nonsense", addr: addr("10.0.0.1"), is: ipamapi.ErrInvalidRequest, class: badRequest},
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

func TestSerial(t *testing.T) {
	serial := map[string]string{OptSerial: "true"}
	m := newManager(t, Config{})

	t.Run("IP-36 order and wrap", func(t *testing.T) {
		id := mustPool(t, m, "10.0.0.0/29").ID // .1 to .6
		take(t, m, id, 2, nil)                 // by first fit: .1 .2
		release(t, m, id, "10.0.0.1", "10.0.0.2")
		got := take(t, m, id, 2, serial)
		mustTake(t, m, id, addr("10.0.0.6")) // moves no cursor
		got = append(got, take(t, m, id, 3, serial)...)
		if diff := cmp.Diff([]string{"10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.1", "10.0.0.2"}, got); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
		_, err := m.RequestAddress(id, netip.Addr{}, serial)
		wantErr(t, err, ipamapi.ErrNoAvailableIPs, noService)
		release(t, m, id, "10.0.0.2") // the last one itself
		if got := take(t, m, id, 1, serial)[0]; got != "10.0.0.2" {
			t.Errorf("the only free one: got %s, want 10.0.0.2", got)
		}
	})
	t.Run("IP-36 wrap in a sub pool", func(t *testing.T) {
		id := poolWith(t, m, "10.1.0.0/16", "10.1.7.0/30", serial)
		got := take(t, m, id, 4, nil)
		release(t, m, id, got...)
		if diff := cmp.Diff([]string{"10.1.7.0", "10.1.7.1", "10.1.7.2", "10.1.7.3", "10.1.7.0"}, append(got, take(t, m, id, 1, nil)...)); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
		release(t, m, id, "10.1.7.0")
		if got := take(t, m, id, 1, map[string]string{OptSerial: "false"})[0]; got != "10.1.7.0" {
			t.Errorf("the request's own option: got %s, want 10.1.7.0", got)
		}
	})
	t.Run("wrap at the last IPv6 address", func(t *testing.T) {
		id := mustPool(t, m, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126").ID
		got := take(t, m, id, 3, serial)
		release(t, m, id, got[0])
		if again := take(t, m, id, 1, serial)[0]; again != got[0] {
			t.Errorf("got %s, want %s", again, got[0])
		}
	})
	t.Run("bad options", func(t *testing.T) {
		id := mustPool(t, m, "10.2.0.0/24").ID
		_, err := m.RequestAddress(id, netip.Addr{}, map[string]string{OptSerial: "often"})
		wantErr(t, err, ipamapi.ErrInvalidRequest, badRequest)
		for _, opts := range []map[string]string{{OptSerial: "often"}, {OptPointToPoint: ""}, {OptReuseDelay: "10"}, {OptReuseDelay: "-1s"}} {
			_, err := m.RequestPool(LocalSpace, prefix("10.3.0.0/24"), netip.Prefix{}, opts, false)
			wantErr(t, err, ipamapi.ErrInvalidRequest, badRequest)
		}
	})
}

func TestReuseDelay(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	m := newManager(t, Config{Now: func() time.Time { return now }})
	id := poolWith(t, m, "10.0.0.0/29", "", map[string]string{OptReuseDelay: "10s"}) // .1 to .6
	want := func(what, addr string) {
		t.Helper()
		if got := take(t, m, id, 1, nil)[0]; got != addr {
			t.Errorf("IP-36 %s: got %s, want %s", what, got, addr)
		}
	}
	take(t, m, id, 3, nil)
	release(t, m, id, "10.0.0.2")
	now = now.Add(time.Second)
	release(t, m, id, "10.0.0.1", "10.0.0.1") // the second one frees nothing
	want("not one of the released", "10.0.0.4")
	if diff := cmp.Diff(Usage{Size: 8, Reserved: 2, Allocated: 2, Free: 4, Held: 2}, usage(t, m, id)); diff != "" {
		t.Errorf("IP-36 usage (-want +got):\n%s", diff)
	}
	want("still another", "10.0.0.5")
	want("the last other", "10.0.0.6")
	want("exhausted: the one released first", "10.0.0.2")
	if got := mustTake(t, m, id, addr("10.0.0.1")); got != addr("10.0.0.1") {
		t.Errorf("IP-36 by name: got %s", got)
	}
	_, err := m.RequestAddress(id, netip.Addr{}, nil)
	wantErr(t, err, ipamapi.ErrNoAvailableIPs, noService)
	_, err = m.RequestAddress(id, addr("10.0.0.1"), nil)
	wantErr(t, err, ipamapi.ErrIPAlreadyAllocated, forbidden)

	release(t, m, id, "10.0.0.5")
	now = now.Add(5 * time.Second)
	release(t, m, id, "10.0.0.3", "10.0.0.1")
	mustTake(t, m, id, addr("10.0.0.1"))
	release(t, m, id, "10.0.0.1") // anew, behind .3
	now = now.Add(5 * time.Second)
	if diff := cmp.Diff(Usage{Size: 8, Reserved: 2, Allocated: 3, Free: 3, Held: 2}, usage(t, m, id)); diff != "" {
		t.Errorf("IP-36 usage (-want +got):\n%s", diff)
	}
	want("the delay is over", "10.0.0.5")
	sub := poolWith(t, m, "10.0.0.0/29", "10.0.0.0/31", nil)
	if got := take(t, m, sub, 1, nil)[0]; got != "10.0.0.1" {
		t.Errorf("IP-36 the sub pool has no other: got %s, want 10.0.0.1", got)
	}
	seq, err := m.Addresses(id)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(slices.Collect(seq)); n != 5 {
		t.Errorf("IP-36 %d addresses are listed, want 5 without the held one", n)
	}
}

func TestReuseDelayKeepsNoGarbage(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	m := newManager(t, Config{Now: func() time.Time { return now }})
	id := poolWith(t, m, "10.0.0.0/24", "", map[string]string{OptReuseDelay: "1h"})
	for range 10_000 {
		now = now.Add(time.Millisecond)
		mustTake(t, m, id, addr("10.0.0.9"))
		release(t, m, id, "10.0.0.9")
	}
	if n := cap(m.pools[id].addrs.held.queue); n > 100 {
		t.Errorf("room for %d entries for one held address", n)
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
	if diff := cmp.Diff(Usage{Size: 65536, Reserved: 2, Free: 65534}, usage(t, m, id)); diff != "" {
		t.Errorf("1.13 free set after all was released (-want +got):\n%s", diff)
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	m := newManager(t, Config{})
	id := mustPool(t, m, "10.0.0.0/16").ID
	take(t, m, id, 1_000, nil)
	if n := testing.AllocsPerRun(1_000, func() {
		a, err := m.RequestAddress(id, netip.Addr{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.ReleaseAddress(id, a.Addr()); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("design 6: %v allocations a round, want none", n)
	}
}
