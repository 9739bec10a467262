package ipam

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/runset"
	"github.com/libnetwork/libnetwork/ipamapi"
)

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
		t.Run("IP-35 addresses of "+c.pool+" come in order", func(t *testing.T) {
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
	t.Run("IP-35 a sub pool goes on around a fixed address", func(t *testing.T) {
		m := newManager(t, Config{})
		id := poolWith(t, m, "10.2.0.0/16", "10.2.2.0/24", nil)
		mustTake(t, m, id, addr("10.2.2.1"))
		if diff := cmp.Diff([]string{"10.2.2.0", "10.2.2.2"}, take(t, m, id, 2, nil)); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
	})
	t.Run("IP-34 in a full pool the address that was released comes back", func(t *testing.T) {
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

func TestSerial(t *testing.T) {
	serial := map[string]string{OptSerial: "true"}
	m := newManager(t, Config{})

	t.Run("IP-36 serial order goes on after the last chosen address and wraps", func(t *testing.T) {
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
	t.Run("IP-36 serial order of a sub pool wraps within it", func(t *testing.T) {
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
	t.Run("IP-36 serial order wraps at the last IPv6 address", func(t *testing.T) {
		id := mustPool(t, m, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126").ID
		got := take(t, m, id, 3, serial)
		release(t, m, id, got[0])
		if again := take(t, m, id, 1, serial)[0]; again != got[0] {
			t.Errorf("got %s, want %s", again, got[0])
		}
	})
	t.Run("IP-36 options that are none are refused", func(t *testing.T) {
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
		t.Run("IP-36 "+what, func(t *testing.T) {
			if got := take(t, m, id, 1, nil)[0]; got != addr {
				t.Errorf("got %s, want %s", got, addr)
			}
		})
	}
	take(t, m, id, 3, nil)
	release(t, m, id, "10.0.0.2")
	now = now.Add(time.Second)
	release(t, m, id, "10.0.0.1", "10.0.0.1") // the second one frees nothing
	want("an address is not chosen again before its delay is over", "10.0.0.4")
	count := func(name string, allocated, free uint64) {
		t.Helper()
		t.Run("IP-36 "+name, func(t *testing.T) {
			want := Usage{Reserved: 2, Allocated: runset.U64(allocated), Free: runset.U64(free), Held: 2}
			if diff := cmp.Diff(want, usage(t, m, id)); diff != "" {
				t.Errorf("usage (-want +got):\n%s", diff)
			}
		})
	}
	count("addresses whose reuse is delayed count as free", 2, 4)
	want("every other address is chosen first", "10.0.0.5")
	want("the last other address is chosen before a delayed one", "10.0.0.6")
	want("an exhausted pool gives the address that was released first", "10.0.0.2")
	t.Run("IP-36 a request by address ignores the delay", func(t *testing.T) {
		if got := mustTake(t, m, id, addr("10.0.0.1")); got != addr("10.0.0.1") {
			t.Errorf("got %s", got)
		}
	})
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
	count("an address whose delay is over is not held any more", 3, 3)
	want("an address is chosen again when its delay is over", "10.0.0.5")
	sub := poolWith(t, m, "10.0.0.0/29", "10.0.0.0/31", nil)
	if got := take(t, m, sub, 1, nil)[0]; got != "10.0.0.1" {
		t.Errorf("the sub pool has no other: got %s, want 10.0.0.1", got)
	}
	seq, err := m.Addresses(id)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(slices.Collect(seq)); n != 5 {
		t.Errorf("%d addresses are listed, want 5 without the held one", n)
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
