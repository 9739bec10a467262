package hostport_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/types"
)

func addrs(s ...string) []netip.Addr {
	var list []netip.Addr
	for _, a := range s {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

func TestSpaceTake(t *testing.T) {
	type take struct {
		proto       uint8
		host        string
		first, last uint16
		want        string // error text, empty for success
	}
	tests := []struct {
		name  string
		takes []take
	}{
		{"twice", []take{
			{6, "0.0.0.0", 80, 80, ""},
			{6, "0.0.0.0", 80, 80, "Bind for 0.0.0.0:80 failed: port is already allocated to web"},
		}},
		{"ipv6", []take{
			{6, "::", 80, 80, ""},
			{6, "::", 80, 80, "Bind for [::]:80 failed: port is already allocated to web"},
		}},
		{"38 wildcard plus specific", []take{
			{6, "0.0.0.0", 80, 80, ""}, {6, "127.0.0.1", 80, 80, ""}, {6, "127.0.0.2", 80, 80, ""}, {6, "::", 80, 80, ""},
		}},
		{"protocols", []take{{6, "0.0.0.0", 80, 80, ""}, {17, "0.0.0.0", 80, 80, ""}, {132, "0.0.0.0", 80, 80, ""}}},
		{"range over a port", []take{
			{17, "0.0.0.0", 105, 105, ""},
			{17, "0.0.0.0", 100, 110, "Bind for 0.0.0.0:105 failed: port is already allocated to web"},
			{17, "0.0.0.0", 100, 104, ""},
			{17, "0.0.0.0", 106, 65535, ""},
		}},
		{"mapped address", []take{
			{6, "::ffff:10.0.0.1", 80, 80, ""},
			{6, "10.0.0.1", 80, 80, "Bind for 10.0.0.1:80 failed: port is already allocated to web"},
		}},
		{"invalid", []take{
			{6, "0.0.0.0", 0, 80, "invalid port range: 0-80"},
			{6, "0.0.0.0", 80, 79, "invalid port range: 80-79"},
			{1, "0.0.0.0", 80, 80, "unknown protocol 1"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := hostport.NewSpace(0, 0)
			for _, k := range tt.takes {
				err := s.Take(k.proto, addrs(k.host), k.first, k.last, "web")
				got := ""
				if err != nil {
					got = err.Error()
				}
				if got != k.want {
					t.Errorf("Take(%d, %s, %d-%d) = %q, want %q", k.proto, k.host, k.first, k.last, got, k.want)
				}
			}
		})
	}
}

func TestSpaceErrors(t *testing.T) {
	s := hostport.NewSpace(10, 11)
	host := addrs("0.0.0.0")
	if err := s.Take(6, host, 10, 11, "a"); err != nil {
		t.Fatal(err)
	}
	err := s.Take(6, host, 11, 11, "b")
	if _, ok := err.(types.ForbiddenError); !ok {
		t.Errorf("%T is not Forbidden", err)
	}
	var taken hostport.ErrPortAlreadyAllocated
	if !errors.As(err, &taken) || taken.Port != 11 || taken.Owner != "a" || taken.IP != host[0] {
		t.Errorf("%#v", err)
	}
	_, err = s.Next(6, host, 0, 0, 1, nil, "b")
	if _, ok := err.(types.NoServiceError); !ok {
		t.Errorf("%T is not NoService", err)
	}
	var all hostport.ErrAllPortsAllocated
	if !errors.As(err, &all) || all.First != 10 || all.Last != 11 {
		t.Errorf("%#v", err)
	}
	for _, bad := range []struct {
		first, last uint16
		n           int
	}{{0, 5, 1}, {5, 0, 1}, {5, 4, 1}, {5, 6, 3}, {5, 6, 0}} {
		_, err := s.Next(6, host, bad.first, bad.last, bad.n, nil, "b")
		if _, ok := err.(types.BadRequestError); !ok {
			t.Errorf("Next %+v: %v is not BadRequest", bad, err)
		}
	}
}

func TestSpaceNext(t *testing.T) {
	host := addrs("0.0.0.0")
	next := func(t *testing.T, s *hostport.Space, first, last uint16, n int) uint16 {
		t.Helper()
		p, err := s.Next(6, host, first, last, n, nil, "x")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Run("12 starts at the start, advances, wraps, reports exhaustion", func(t *testing.T) {
		s := hostport.NewSpace(100, 103)
		for _, want := range []uint16{100, 101, 102} {
			if got := next(t, s, 0, 0, 1); got != want {
				t.Fatalf("got %d, want %d", got, want)
			}
		}
		s.Release(6, host, 100, 100)
		for _, want := range []uint16{103, 100} { // the released one only after the wrap
			if got := next(t, s, 0, 0, 1); got != want {
				t.Fatalf("got %d, want %d", got, want)
			}
		}
		if p, err := s.Next(6, host, 0, 0, 1, nil, "x"); err == nil {
			t.Fatalf("got %d out of a full range", p)
		}
	})
	t.Run("ranges have sequences of their own", func(t *testing.T) {
		s := hostport.NewSpace(100, 103)
		for _, step := range []struct{ first, last, want uint16 }{{0, 0, 100}, {200, 210, 200}, {0, 0, 101}, {200, 210, 201}} {
			if got := next(t, s, step.first, step.last, 1); got != step.want {
				t.Fatalf("got %d, want %d", got, step.want)
			}
		}
	})
	t.Run("several in a row", func(t *testing.T) {
		s := hostport.NewSpace(100, 109)
		if err := s.Take(6, host, 102, 102, "x"); err != nil {
			t.Fatal(err)
		}
		if got := next(t, s, 0, 0, 3); got != 103 {
			t.Fatalf("got %d, want 103", got)
		}
		if got := next(t, s, 0, 0, 4); got != 106 {
			t.Fatalf("got %d, want 106", got)
		}
		if got := next(t, s, 0, 0, 2); got != 100 {
			t.Fatalf("got %d, want 100", got)
		}
	})
	t.Run("the same number on all hosts", func(t *testing.T) {
		s := hostport.NewSpace(100, 103)
		if err := s.Take(6, addrs("::"), 100, 100, "x"); err != nil {
			t.Fatal(err)
		}
		if p, err := s.Next(6, addrs("0.0.0.0", "::"), 0, 0, 1, nil, "x"); err != nil || p != 101 {
			t.Fatalf("got %d, %v, want 101", p, err)
		}
	})
	t.Run("none that others have", func(t *testing.T) {
		s := hostport.NewSpace(100, 109)
		others := map[uint16]bool{101: true, 105: true}
		for _, want := range []uint16{102, 106} {
			if p, err := s.Next(6, host, 0, 0, 3, others, "x"); err != nil || p != want {
				t.Fatalf("got %d, %v, want %d", p, err, want)
			}
		}
		if p, err := s.Next(6, host, 0, 0, 2, others, "x"); err == nil {
			t.Fatalf("got %d, and no two are free in a row", p)
		}
	})
	t.Run("end of the numbers", func(t *testing.T) {
		s := hostport.NewSpace(65534, 65535)
		for _, want := range []uint16{65534, 65535} {
			if got := next(t, s, 0, 0, 1); got != want {
				t.Fatalf("got %d, want %d", got, want)
			}
		}
		if p, err := s.Next(6, host, 0, 0, 1, nil, "x"); err == nil {
			t.Fatalf("got %d out of a full range", p)
		}
		s.ReleaseAll()
		if got := next(t, s, 0, 0, 1); got != 65534 {
			t.Fatalf("got %d, want 65534", got)
		}
	})
}

func TestSpaceWaive(t *testing.T) {
	host := netip.MustParseAddr("0.0.0.0")
	hosts := []netip.Addr{host}
	s := hostport.NewSpace(100, 103)
	take := func(first, last uint16, owner string) bool { return s.Take(6, hosts, first, last, owner) == nil }
	owned := func(want string) {
		t.Helper()
		got := ""
		for p := uint16(99); p <= 104; p++ {
			if who, ok := s.Owner(6, host, p); ok {
				got += who
			} else {
				got += "-"
			}
		}
		if got != want {
			t.Errorf("ports 99 to 104 belong to %s, want %s", got, want)
		}
	}
	if !take(100, 103, "a") {
		t.Fatal("the first has nothing")
	}
	s.Waive(6, host, 100, 103)
	if take(101, 101, "b") {
		t.Error("somebody else got a port that its owner has not given back")
	}
	if !take(99, 101, "a") || take(101, 101, "a") {
		t.Error("the owner got ports of his not at all, or twice")
	}
	if p, err := s.Next(6, hosts, 0, 0, 1, nil, "a"); err != nil || p != 102 {
		t.Errorf("chosen is %d, %v, want 102", p, err)
	}
	s.Release(6, hosts, 102, 102)
	s.Release(6, hosts, 99, 101)
	s.Keep(6, host, 100, 103)
	owned("-aaaa-")
	if take(103, 103, "a") {
		t.Error("the owner got a port that he keeps")
	}
	s.Waive(6, host, 100, 103)
	if !take(99, 101, "a") {
		t.Error("the owner did not get ports of his")
	}
	s.Release(6, hosts, 100, 103)
	owned("aaa---")
	s.Release(6, hosts, 99, 101)
	owned("------")
	if !take(99, 104, "b") {
		t.Error("not all are free")
	}
	owned("bbbbbb")
}

func BenchmarkSpaceNext(b *testing.B) {
	s := hostport.NewSpace(0, 0)
	host := addrs("0.0.0.0")
	for b.Loop() {
		p, err := s.Next(6, host, 0, 0, 1, nil, "x")
		if err != nil {
			b.Fatal(err)
		}
		s.Release(6, host, p, p)
	}
}

func BenchmarkSpaceTakeRange5000(b *testing.B) {
	s := hostport.NewSpace(0, 0)
	host := addrs("0.0.0.0")
	for b.Loop() {
		if err := s.Take(6, host, 10000, 14999, "x"); err != nil {
			b.Fatal(err)
		}
		s.Release(6, host, 10000, 14999)
	}
}
