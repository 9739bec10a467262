package nft_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

func TestUntrack(t *testing.T) {
	p := newTopology(t)
	f := p.firewall(nft.Config{})
	ports := slices.Concat(fwtest.Both("0.0.0.0", 8080, 8080, "172.20.1.2", 80), fwtest.Both("::", 8080, 8080, "fd00:1::2", 80))
	p.apply(f, nft.Change{Networks: twoNetworks(), Ports: ports}, nft.Change{})
	for _, proto := range []string{"tcp", "udp"} {
		for _, ns := range []*nstest.NS{p.c1a, p.c2, p.lan} {
			p.serve(ns, proto, ":80")
		}
	}
	all := []string{"172.20.1.2", "172.20.1.3", "172.20.2.2", "fd00:1::2", "fd00:1::3", "fd00:2::2"}
	restart := func() {
		p.t = t
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f = p.firewall(nft.Config{})
	}
	tests := []struct {
		name string
		do   func()
		used []string
	}{
		{"nothing", func() {}, nil},
		{"what passes by", func() { p.open(p.host, "tcp", "192.0.2.9:80", "") }, nil},
		{"a published port, tcp", func() { p.open(p.lan, "tcp", "192.0.2.1:8080", "") }, []string{"172.20.1.2"}},
		{"a published port, udp", func() { p.open(p.lan, "udp", "192.0.2.1:8080", "") }, []string{"172.20.1.2"}},
		{"a published port, ipv6", func() { p.open(p.lan, "udp", "[2001:db8:2::1]:8080", "") }, []string{"fd00:1::2"}},
		{"a published port, by 127.0.0.1", func() { p.open(p.host, "tcp", "127.0.0.1:8080", "") }, []string{"172.20.1.2"}},
		{"a connection that is refused", func() { p.closed(p.host, "tcp", "172.20.1.3:9") }, []string{"172.20.1.3"}},
		{"nobody answers", func() {
			p.run(p.c1b, "ip", "link", "set", "eth0", "down")
			p.closed(p.host, "udp", "172.20.1.3:80")
			p.run(p.c1b, "ip", "link", "set", "eth0", "up")
			p.run(p.c1b, "ip", "route", "add", "default", "via", "172.20.1.1")
		}, []string{"172.20.1.3"}},
		{"without a port, from the host", func() {
			p.open(p.host, "udp", "172.20.1.2:80", "")
			p.open(p.host, "tcp", "[fd00:2::2]:80", "")
		}, []string{"172.20.1.2", "fd00:2::2"}},
		{"to the outside", func() {
			p.open(p.c2, "tcp", "192.0.2.9:80", "")
			p.open(p.c2, "udp", "[2001:db8:2::9]:80", "")
		}, []string{"172.20.2.2", "fd00:2::2"}},
		{"by the port of another network", func() { p.open(p.c2, "tcp", "192.0.2.1:8080", "") }, []string{"172.20.1.2", "172.20.2.2"}},
		{"somebody else translates the source", func() {
			p.run(p.host, "iptables-nft", "-t", "nat", "-I", "POSTROUTING", "-j", "MASQUERADE")
			p.open(p.c2, "udp", "192.0.2.9:80", "")
			p.run(p.host, "iptables-nft", "-t", "nat", "-D", "POSTROUTING", "-j", "MASQUERADE")
		}, []string{"172.20.2.2"}},
		{"the process ends and another one comes", func() {
			p.open(p.lan, "tcp", "192.0.2.1:8080", "")
			restart()
		}, []string{"172.20.1.2"}},
		{"equal state is reconciled", func() {
			p.open(p.lan, "tcp", "192.0.2.1:8080", "")
			if found, err := f.Reconcile(t.Context(), nft.Change{Networks: twoNetworks(), Ports: ports, Tracked: fwtest.Tracked(all...)}, nft.Guard{}); err != nil || found != model.FoundRight {
				t.Fatalf("Reconcile = %v, %v", found, err)
			}
		}, []string{"172.20.1.2"}},
		{"the table is replaced", func() {
			if found, err := f.Reconcile(t.Context(), nft.Change{Networks: twoNetworks(), Ports: ports[1:], Tracked: fwtest.Tracked(all...)}, nft.Guard{}); err != nil || found == model.FoundRight {
				t.Fatalf("Reconcile = %v, %v", found, err)
			}
			p.apply(f, nft.Change{Ports: ports[:1]}, nft.Change{})
		}, []string{"172.20.1.2", "172.20.1.3", "172.20.2.2"}},
	}
	for _, tt := range tests {
		t.Run("counts the connections of an address: "+tt.name, func(t *testing.T) {
			p.t = t
			p.apply(f, nft.Change{Tracked: fwtest.Tracked(all...)}, nft.Change{})
			tt.do()
			used, err := f.Untrack(t.Context(), fwtest.Tracked(all...))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range used {
				got = append(got, a.String())
			}
			slices.Sort(got)
			if !slices.Equal(got, tt.used) {
				t.Errorf("used are %v, want %v", got, tt.used)
			}
		})
	}
}

func TestUntrackUnknown(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		one := fwtest.Tracked("172.20.1.2")
		used, err := f.Untrack(t.Context(), one)
		if err != nil || len(used) != 1 {
			t.Errorf("without a table: %v, %v; want that nobody can tell", used, err)
		}
		if err := f.Apply(t.Context(), nft.Change{Networks: []model.FirewallNetwork{fwtest.Network(1)}}, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		used, err = f.Untrack(t.Context(), one)
		if !errors.Is(err, nft.ErrTampered) || len(used) != 1 {
			t.Errorf("an address that is not tracked: %v, %v; want that nobody can tell, and ErrTampered", used, err)
		}
	})
}
