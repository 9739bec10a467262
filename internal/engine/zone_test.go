package engine

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/libnetwork/libnetwork/internal/model"
)

func prefix(s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(s)
}

func TestZone(t *testing.T) {
	endpoint := func(id, v4, v6 string, aliases ...string) *model.Endpoint {
		return &model.Endpoint{ID: id, Name: id, V4: prefix(v4), V6: prefix(v6), Aliases: aliases}
	}
	var z zone
	check := func(t *testing.T, name string, v6, known bool, want ...string) {
		t.Helper()
		got, here := z.lookup(name, v6)
		var list []netip.Addr
		for _, w := range want {
			list = append(list, netip.MustParseAddr(w))
		}
		if !slices.Equal(got, list) || here != known {
			t.Errorf("%s: %v, known %t; want %v, %t", name, got, here, list, known)
		}
	}
	four, six := endpoint("four", "10.0.0.4/24", "", "both", "both"), endpoint("six", "", "fd00::6/64", "both", "four")
	z.add(four)
	z.add(six)
	t.Run("DNS-2 an endpoint with an IPv6 address alone has its names, too", func(t *testing.T) {
		check(t, "six", true, true, "fd00::6")
		if name, ok := z.name(netip.MustParseAddr("fd00::6")); !ok || name != "six" {
			t.Errorf("reverse: %q, %t", name, ok)
		}
	})
	t.Run("DNS-7b a name without an address of the family is known all the same, for either family", func(t *testing.T) {
		check(t, "six", false, true)
		z.add(endpoint("lone", "10.0.0.9/24", ""))
		check(t, "lone", true, true)
		check(t, "nobody", true, false)
	})
	t.Run("DNS-5 an address is not twice under one name", func(t *testing.T) {
		check(t, "both", false, true, "10.0.0.4")
	})
	t.Run("DNS-5 the first name given to an address stays its reverse name", func(t *testing.T) {
		late := endpoint("late", "10.0.0.4/24", "")
		z.add(late)
		if name, _ := z.name(netip.MustParseAddr("10.0.0.4")); name != "four" {
			t.Errorf("reverse is %q", name)
		}
		check(t, "late", false, true, "10.0.0.4")
		z.remove(late)
		if name, _ := z.name(netip.MustParseAddr("10.0.0.4")); name != "four" {
			t.Errorf("reverse is %q after the deletion of another", name)
		}
	})
	t.Run("DNS-5 the deletion of an endpoint never removes a record of another", func(t *testing.T) {
		z.remove(four)
		check(t, "four", false, true)
		check(t, "four", true, true, "fd00::6")
		check(t, "both", true, true, "fd00::6")
		z.remove(six)
		check(t, "both", true, false)
	})
}
