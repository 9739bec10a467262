package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
		{name: "IP-6 the id of a pool is space/prefix", pool: "172.28.0.0/16", id: "LocalDefault/172.28.0.0/16"},
		{name: "IP-6 the id of a sub pool is space/prefix/sub", pool: "172.28.0.0/16", sub: "172.28.30.0/24", id: "LocalDefault/172.28.0.0/16/172.28.30.0/24"},
		{name: "IP-7 host bits of pool and sub pool make no other id", pool: "172.28.5.5/16", sub: "172.28.30.7/24", id: "LocalDefault/172.28.0.0/16/172.28.30.0/24"},
		{name: "IP-9 a sub pool without a pool is refused", sub: "10.0.0.0/24", is: ipamapi.ErrInvalidSubPool, class: badRequest},
		{name: "IP-10 the same pool again has the same id", have: []req{{"10.0.0.0/8", ""}}, pool: "10.0.0.0/8", id: "LocalDefault/10.0.0.0/8"},
		{name: "IP-10 the same sub pool again has the same id", have: []req{{"10.0.0.0/8", "10.1.0.0/16"}}, pool: "10.0.0.0/8", sub: "10.1.0.0/16", id: "LocalDefault/10.0.0.0/8/10.1.0.0/16"},
		{name: "IP-11 a pool inside another is refused", have: []req{{"10.0.0.0/8", ""}}, pool: "10.1.0.0/16", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 a pool around another is refused", have: []req{{"10.1.0.0/16", ""}}, pool: "10.0.0.0/8", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 a wider pool with the same first address is refused", have: []req{{"10.0.0.0/16", ""}}, pool: "10.0.0.0/8", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 a narrower pool with the same last address is refused", have: []req{{"10.0.0.0/8", ""}}, pool: "10.255.0.0/16", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 a pool may end where another begins", have: []req{{"10.1.0.0/16", ""}}, pool: "10.0.0.0/16", id: "LocalDefault/10.0.0.0/16"},
		{name: "IP-11 a pool may begin where another ends", have: []req{{"10.1.0.0/16", ""}}, pool: "10.2.0.0/16", id: "LocalDefault/10.2.0.0/16"},
		{name: "IP-11 an IPv6 pool inside another is refused", have: []req{{"fd00::/48", ""}}, pool: "fd00:0:0:5::/64", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 an IPv6 pool around another is refused", have: []req{{"fd00:0:0:5::/64", ""}}, pool: "fd00::/48", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 an IPv6 pool may begin where another ends", have: []req{{"fd00::/64", ""}}, pool: "fd00:0:0:1::/64", id: "LocalDefault/fd00:0:0:1::/64"},
		{name: "IP-11 pools of different families never overlap", have: []req{{"10.0.0.0/8", ""}}, pool: "::a00:0/104", id: "LocalDefault/::a00:0/104"},
		{name: "IP-11 a pool beside the pool of all addresses is refused", have: []req{{"0.0.0.0/0", ""}}, pool: "192.0.2.0/24", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-11 the pool of all IPv6 addresses overlaps with every other", have: []req{{"fd00::/64", ""}}, pool: "::/0", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-12 a sub pool may overlap with others of its pool", have: []req{{"10.0.0.0/8", "10.0.0.0/16"}}, pool: "10.0.0.0/8", sub: "10.0.0.0/24", id: "LocalDefault/10.0.0.0/8/10.0.0.0/24"},
		{name: "IP-13 the pool that a sub pool brings along is tested for overlap", have: []req{{"10.0.0.0/8", "10.0.1.0/24"}}, pool: "10.0.0.0/16", sub: "10.0.2.0/24", is: ipamapi.ErrPoolOverlap, class: forbidden},
		{name: "IP-14 a sub pool outside its pool is refused", pool: "10.0.0.0/16", sub: "10.1.0.0/24", is: ipamapi.ErrInvalidSubPool, class: badRequest},
		{name: "IP-14 a sub pool larger than its pool is refused", pool: "10.0.0.0/16", sub: "10.0.0.0/8", is: ipamapi.ErrInvalidSubPool, class: badRequest},
		{name: "IP-15 a sub pool may equal its pool", pool: "10.0.0.0/16", sub: "10.0.0.0/16", id: "LocalDefault/10.0.0.0/16/10.0.0.0/16"},
		{name: "IP-16 a pool and a sub pool of different families are refused", pool: "10.0.0.0/16", sub: "fd00::/64", is: ipamapi.ErrInvalidSubPool, class: badRequest},
		{name: "IP-18 the unspecified address with length 0 is all addresses", pool: "0.0.0.0/0", id: "LocalDefault/0.0.0.0/0"},
		{name: "IP-18 the unspecified IPv6 address with length 0 is all addresses", pool: "::/0", sub: "fd00::/8", id: "LocalDefault/::/0/fd00::/8"},
		{name: "IPv4-mapped", pool: "::ffff:10.0.0.0/104", is: ipamapi.ErrInvalidPool, class: badRequest},
		{name: "IP-18 a sub pool of a pool that is yet to be chosen is refused", pool: "0.0.0.0/24", sub: "10.0.0.0/28", is: ipamapi.ErrInvalidSubPool, class: badRequest},
		{name: "IP-17 without bases an unnamed pool is refused", is: ipamapi.ErrNoAvailablePool, class: notFound},
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
	t.Run("IP-8 a request without an address space is refused", func(t *testing.T) { wantErr(t, err, ipamapi.ErrInvalidAddressSpace, badRequest) })
	_, err = m.RequestPool("mine", prefix("10.0.0.0/8"), netip.Prefix{}, nil, false)
	t.Run("IP-5 an unknown address space is a bad request", func(t *testing.T) { wantErr(t, err, ipamapi.ErrInvalidAddressSpace, badRequest) })
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
	count := func(name string, want map[string]int) {
		t.Helper()
		t.Run("IP-20 "+name, func(t *testing.T) {
			if diff := cmp.Diff(want, refs()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
	for i, want := range []map[string]int{{top: 1}, {top: 2, sub: 1}, {top: 3, sub: 2}} {
		s := "10.1.0.0/16"
		if i == 0 {
			s = ""
		}
		if _, err := request(m, top, s); err != nil {
			t.Fatal(err)
		}
		count(fmt.Sprintf("request %d counts for the pool, and for the sub pool it names", i+1), want)
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
			t.Run(fmt.Sprintf("IP-21 release %d of a pool that nobody holds is refused", i+1), func(t *testing.T) {
				wantErr(t, err, ipamapi.ErrBadPool, badRequest)
			})
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		count(fmt.Sprintf("release %d counts for the pool, and for the sub pool it names", i+1), c.want)
	}
	t.Run("IP-20 a pool that is gone leaves its range free and its addresses forgotten", func(t *testing.T) {
		p, err := request(m, "10.1.0.0/16", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := mustTake(t, m, p.ID, netip.Addr{}); got != netip.MustParseAddr("10.1.0.1") {
			t.Errorf("got %s, want the first address", got)
		}
	})
	for _, id := range []string{"", "x", LocalSpace + "/1.2.3.4", LocalSpace + "/11.0.0.0/8", "/10.0.0.0/8"} {
		t.Run("IP-21 release of the unknown pool "+strconv.Quote(id)+" is refused", func(t *testing.T) {
			wantErr(t, m.ReleasePool(id), ipamapi.ErrBadPool, badRequest)
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
