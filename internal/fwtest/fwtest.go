// Package fwtest is what the tests of both firewalls have in common: one list of
// what is asked of them, and the files in which the answers are written down.
//
// It is for tests only.
package fwtest

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/model"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Golden compares a text with the file in testdata that it is written down in.
func Golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// Network is a network with default settings, but for what is changed: brI,
// 172.20.I.0/24, fd00:I::/64.
func Network(i int, change ...func(*model.FirewallFamily)) model.FirewallNetwork {
	n := model.FirewallNetwork{
		ID:     fmt.Sprintf("%012x%052x", i, i),
		Bridge: fmt.Sprintf("br%d", i),
		V4: &model.FirewallFamily{
			Subnets:    []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("172.%d.%d.0/24", 20+i/256, i%256))},
			Masquerade: true, ICC: true,
		},
		V6: &model.FirewallFamily{
			Subnets:    []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("fd00:%x::/64", i))},
			Masquerade: true, ICC: true,
		},
	}
	for _, c := range change {
		c(n.V4)
		c(n.V6)
	}
	return n
}

// Networks is a change of networks alone.
func Networks(list ...model.FirewallNetwork) model.FirewallChange {
	return model.FirewallChange{Networks: list}
}

// Internal makes a network internal.
func Internal(f *model.FirewallFamily) { f.Internal = true }

// NoICC keeps members of a network apart.
func NoICC(f *model.FirewallFamily) { f.ICC = false }

// Both is a publication for TCP and UDP.
func Both(host string, first, last uint16, addr string, to uint16) []model.Port {
	var list []model.Port
	for _, proto := range []uint8{6, 17} {
		list = append(list, model.Port{
			Proto: proto, Host: netip.MustParseAddr(host), First: first, Last: last,
			Addr: netip.MustParseAddr(addr), Port: to, Owner: "e1",
		})
	}
	return list
}

// Tracked are addresses whose connections are counted.
func Tracked(addrs ...string) []model.Tracked {
	var list []model.Tracked
	for _, a := range addrs {
		list = append(list, model.Tracked{Addr: netip.MustParseAddr(a), Owner: "e1"})
	}
	return list
}

// Link lets the second address reach TCP port 80 of the first.
func Link(bridge, target, client string) model.Link {
	return model.Link{
		Bridge: bridge, Proto: 6, Client: netip.MustParseAddr(client), Target: netip.MustParseAddr(target), Port: 80,
		ClientHost: "v" + bridge[2:] + "a", TargetHost: "v" + bridge[2:] + "b", Owner: "e2",
	}
}

// Ports are publications of every kind, for members of the network 1.
func Ports() []model.Port {
	return slices.Concat(
		Both("0.0.0.0", 8080, 8080, "172.20.1.2", 80),
		Both("127.0.0.1", 8080, 8080, "172.20.1.3", 80),
		Both("192.0.2.1", 8443, 8443, "172.20.1.2", 443),
		Both("0.0.0.0", 9000, 9009, "172.20.1.2", 9000),
		Both("0.0.0.0", 9010, 9019, "172.20.1.3", 9010),
		Both("0.0.0.0", 60000, 65535, "172.20.1.3", 60000),
		Both("0.0.0.0", 9100, 9102, "172.20.1.2", 80),
		Both("::", 8080, 8080, "fd00:1::2", 80),
		Both("::", 9000, 9003, "fd00:1::2", 80),
		Both("::", 9010, 9019, "fd00:1::2", 9010),
		Both("2001:db8::1", 9000, 9001, "fd00:1::2", 9000),
		[]model.Port{{
			Proto: 132, Host: netip.IPv4Unspecified(), First: 7, Last: 8,
			Addr: netip.MustParseAddr("172.20.1.2"), Port: 7, Owner: "e1",
		}},
	)
}

// Some is a bit of everything.
func Some() model.FirewallChange {
	return model.FirewallChange{
		Networks: []model.FirewallNetwork{
			Network(1), Network(2, Internal), Network(3, func(f *model.FirewallFamily) { f.Mode = model.ModeRouted }), Network(4, NoICC),
		},
		Tracked: Tracked("172.20.1.2", "fd00:1::2"),
		Ports:   Ports(),
		Kept: []model.KeptPort{
			{Proto: 6, Host: netip.MustParseAddrPort("[2001:db8::1]:8080"), Owner: "e1"},
			{Proto: 17, Host: netip.MustParseAddrPort("[::]:8081"), Owner: "e1"},
		},
		OpenPorts: []model.OpenPort{
			{Proto: 6, Addr: netip.MustParseAddr("172.20.3.2"), First: 80, Last: 80, Owner: "e3"},
			{Proto: 17, Addr: netip.MustParseAddr("fd00:3::2"), First: 80, Last: 89, Owner: "e3"},
		},
		Links:       []model.Link{Link("br4", "172.20.4.2", "172.20.4.3"), Link("br4", "fd00:4::2", "fd00:4::3")},
		LinkedPorts: []model.LinkedPort{{Host: "v4a", Owner: "e2"}, {Host: "v4b", Owner: "e4"}},
	}
}

// Modes has a network of each mode, with settings that go together.
func Modes() model.FirewallChange {
	var nets []model.FirewallNetwork
	for i, s := range []Setting{
		{Mode: model.ModeRouted, ICC: true},
		{Mode: model.ModeIsolated, Internal: true},
		{Masquerade: true, Source: true, Trusted: true, Marked: true},
		{Mode: model.ModeNATUnprotected, Masquerade: true},
	} {
		nets = append(nets, Network(i+1, s.Apply))
	}
	return model.FirewallChange{
		Networks: nets,
		OpenPorts: []model.OpenPort{
			{Proto: 6, Addr: netip.MustParseAddr("172.20.1.2"), First: 80, Last: 82, Owner: "e1"},
			{Proto: 17, Addr: netip.MustParseAddr("fd00:1::2"), First: 53, Last: 53, Owner: "e1"},
		},
		Links:       []model.Link{Link("br3", "172.20.3.2", "172.20.3.3"), Link("br3", "fd00:3::2", "fd00:3::3")},
		LinkedPorts: []model.LinkedPort{{Host: "v3a", Owner: "e1"}, {Host: "v3b", Owner: "e2"}},
	}
}

// Pieces are the parts of a change, in an order in which they can be made.
func Pieces(c model.FirewallChange) []model.FirewallChange {
	var list []model.FirewallChange
	for i := range c.Networks {
		list = append(list, model.FirewallChange{Networks: c.Networks[i : i+1]})
	}
	for i := range c.Tracked {
		list = append(list, model.FirewallChange{Tracked: c.Tracked[i : i+1]})
	}
	for i := range c.Ports {
		list = append(list, model.FirewallChange{Ports: c.Ports[i : i+1]})
	}
	for i := range c.Kept {
		list = append(list, model.FirewallChange{Kept: c.Kept[i : i+1]})
	}
	for i := range c.OpenPorts {
		list = append(list, model.FirewallChange{OpenPorts: c.OpenPorts[i : i+1]})
	}
	for i := range c.LinkedPorts {
		list = append(list, model.FirewallChange{LinkedPorts: c.LinkedPorts[i : i+1]})
	}
	for i := range c.Links {
		list = append(list, model.FirewallChange{Links: c.Links[i : i+1]})
	}
	return list
}

// Findings reconciles a firewall with all but one thing, each in turn, and with all again:
// the one is left over, and then it is missing. Not every firewall counts connections.
func Findings(t *testing.T, counts bool, reconcile func(want model.FirewallChange) (model.Finding, error)) {
	t.Helper()
	is := func(what string, want model.FirewallChange, found model.Finding) {
		t.Helper()
		if got, err := reconcile(want); got != found || err != nil {
			t.Errorf("%s: found %v, %v, want %v", what, got, err, found)
		}
	}
	for _, all := range []model.FirewallChange{withIDs(Some()), withIDs(Modes())} {
		if _, err := reconcile(all); err != nil {
			t.Fatal(err)
		}
		if !counts {
			all.Tracked = nil
		}
		is("nothing has changed", all, model.FoundRight)
		pieces := Pieces(all)
		for i, p := range pieces {
			var rest model.FirewallChange
			for j, other := range pieces {
				if j != i {
					rest = join(rest, other)
				}
			}
			is(fmt.Sprintf("without %+v", p), rest, model.FoundLeftover)
			is(fmt.Sprintf("with %+v again", p), all, model.FoundWrong)
		}
		is("nothing is wanted", model.FirewallChange{}, model.FoundLeftover)
		is("all again", all, model.FoundWrong)
	}
}

// withIDs makes ids of the owners.
func withIDs(c model.FirewallChange) model.FirewallChange {
	id := func(owner *string) { *owner = fmt.Sprintf("%064x", *owner) }
	for i := range c.Tracked {
		id(&c.Tracked[i].Owner)
	}
	for i := range c.Ports {
		id(&c.Ports[i].Owner)
	}
	for i := range c.Kept {
		id(&c.Kept[i].Owner)
	}
	for i := range c.OpenPorts {
		id(&c.OpenPorts[i].Owner)
	}
	for i := range c.Links {
		id(&c.Links[i].Owner)
	}
	for i := range c.LinkedPorts {
		id(&c.LinkedPorts[i].Owner)
	}
	return c
}

func join(a, b model.FirewallChange) model.FirewallChange {
	return model.FirewallChange{
		Networks: slices.Concat(a.Networks, b.Networks), Tracked: slices.Concat(a.Tracked, b.Tracked),
		Ports: slices.Concat(a.Ports, b.Ports), Kept: slices.Concat(a.Kept, b.Kept),
		OpenPorts: slices.Concat(a.OpenPorts, b.OpenPorts),
		Links:     slices.Concat(a.Links, b.Links), LinkedPorts: slices.Concat(a.LinkedPorts, b.LinkedPorts),
	}
}
