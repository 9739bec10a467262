package kernel_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// A chain of somebody else that drops what is forwarded is told of with the first network
// that it drops packets of, and not again with each one.
func TestForeignDropsAreTold(t *testing.T) {
	onBackends(t, foreignDropsAreTold, nstest.NFTables)
}

func foreignDropsAreTold(t *testing.T, backend kernel.Backend) {
	t.Helper()
	var log bytes.Buffer
	k, err := kernel.New(t.Context(), kernel.Config{
		DataDir: t.TempDir(), RunDir: "/run/drops", Firewall: backend, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Recover(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	nstest.Command(t, "nft", "add table ip strict; add chain ip strict passing { type filter hook forward priority 0; policy drop; }")
	told := func(want int) {
		t.Helper()
		if got := strings.Count(log.String(), "table ip strict, chain passing"); got != want {
			t.Errorf("told %d times, want %d:\n%s", got, want, log.String())
		}
	}
	told(0)
	var nets []model.Object
	for _, n := range []string{"1", "2"} {
		nets = append(nets, model.FirewallNetwork{ID: "n" + n, Bridge: "br" + n, V4: &model.FirewallFamily{Subnets: []netip.Prefix{netip.MustParsePrefix("10.99." + n + ".0/24")}}})
		if err := k.Create(t.Context(), nets[len(nets)-1:]); err != nil {
			t.Fatal(err)
		}
		told(1)
	}
	list, err := k.ForeignDrops(t.Context())
	if err != nil || len(list) != 1 || list[0] != (model.ForeignDrop{Family: "ip", Table: "strict", Chain: "passing", Forward: true}) {
		t.Errorf("chains of others: %v, %v", list, err)
	}
	nstest.Command(t, "nft", "delete table ip strict")
	if list, err := k.ForeignDrops(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("chains of others when there are none: %v, %v", list, err)
	}
	if err := k.Delete(context.WithoutCancel(t.Context()), nets); err != nil {
		t.Error(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

// Of Docker's FORWARD, in which our rule accepts what our rules have let pass, nothing is to be
// told but where it may be asked before those: at each start then, and with the first network.
func TestMarkedDropsAreTold(t *testing.T) {
	for _, variant := range []kernel.Backend{kernel.IPTablesNFT, kernel.IPTablesLegacy} {
		t.Run("beside "+string(variant), func(t *testing.T) {
			onBackends(t, func(t *testing.T, backend kernel.Backend) { markedDropsAreTold(t, backend, variant) },
				nstest.NFTables, nstest.IPTablesNFT, nstest.IPTablesLegacy)
		})
	}
}

func markedDropsAreTold(t *testing.T, backend, variant kernel.Backend) {
	t.Helper()
	var log bytes.Buffer
	cfg := kernel.Config{
		DataDir: t.TempDir(), RunDir: "/run/drops", Firewall: backend, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	iptables := func(lines ...string) {
		for _, l := range lines {
			sh(t, string(variant)+" -w "+l)
		}
	}
	iptables("-N DOCKER-USER", "-A FORWARD -j DOCKER-USER", "-P FORWARD DROP")
	network := []model.Object{model.FirewallNetwork{ID: "n1", Bridge: "br1", V4: &model.FirewallFamily{
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.99.1.0/24")},
	}}}
	var k *kernel.Kernel
	told := func(when string) {
		t.Helper()
		want := 0
		if backend != kernel.NFTables && backend != variant {
			want = 1
		}
		if got := strings.Count(log.String(), "level=WARN"); got != want || got != strings.Count(log.String(), "chain FORWARD") {
			t.Errorf("%s: told %d times, want %d:\n%s", when, got, want, &log)
		}
		log.Reset()
		list, err := k.ForeignDrops(t.Context())
		if err != nil || len(list) != want || want > 0 && !list[0].Marked {
			t.Errorf("%s: chains of others: %v, %v, want %d", when, list, err, want)
		}
	}
	for i, had := range [][]model.Object{nil, network} {
		var err error
		if k, err = kernel.New(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Recover(t.Context(), had, false); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if err := k.Create(t.Context(), network); err != nil {
				t.Fatal(err)
			}
			told("the first network")
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	told("a start")
	if err := k.Delete(context.WithoutCancel(t.Context()), network); err != nil {
		t.Error(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	iptables("-P FORWARD ACCEPT", "-F FORWARD", "-X DOCKER-USER")
}

// Which chains of others drop is seen by where they hang, their policy, and the first of
// their rules that ends every packet, also where that stands in another chain.
func TestForeignDropsAreFound(t *testing.T) {
	nstest.Require(t, nstest.NFTables)
	var log bytes.Buffer
	dir := t.TempDir()
	k, err := kernel.New(t.Context(), kernel.Config{
		DataDir: dir, RunDir: "/run/drops", Firewall: kernel.NFTables, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Recover(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	const (
		base   = "add table ip strict; add chain ip strict here "
		bridge = "add table bridge strict; add chain bridge strict here "
	)
	forward := model.ForeignDrop{Family: "ip", Table: "strict", Chain: "here", Forward: true}
	found := func(family, table, chain string, forward, input bool) *model.ForeignDrop {
		return &model.ForeignDrop{Family: family, Table: table, Chain: chain, Forward: forward, Input: input}
	}
	legacy := found("ip", "filter (legacy)", "FORWARD", true, false)
	nft := func(s string) [][]string { return [][]string{{"nft", s}} }
	ipt := func(rules ...string) (list [][]string) {
		for _, r := range rules {
			list = append(list, append([]string{"iptables-legacy", "-w"}, strings.Fields(r)...))
		}
		return list
	}
	end := map[string][][]string{
		"nft":             nft("add table ip strict; delete table ip strict; add table bridge strict; delete table bridge strict"),
		"iptables-legacy": ipt("-P FORWARD ACCEPT", "-F", "-X"),
	}
	hooked := func(s string) [][]string { return nft(base + "{ " + s + " }") }
	rules := func(s string) [][]string {
		return nft(base + "{ type filter hook forward priority 0; }; add chain ip strict a; add chain ip strict b; " + s)
	}
	ours := "-A DOCKER-USER -m mark --mark 0x2000000/0x2000000 -m comment --comment " + kernel.Table(dir) + " -j ACCEPT"
	for _, tt := range []struct {
		name string
		set  [][]string
		want *model.ForeignDrop
	}{
		{"legacy iptables, where our rule accepts", ipt("-P FORWARD DROP", "-N DOCKER-USER", ours, "-A FORWARD -j DOCKER-USER"), nil},
		{"legacy iptables, where nothing leads to our rule", ipt("-P FORWARD DROP", "-N DOCKER-USER", ours), legacy},
		{"a policy", hooked("type filter hook forward priority 0; policy drop;"), &forward},
		{"a dormant table", nft("add table ip strict { flags dormant; }; add chain ip strict here { type filter hook forward priority 0; policy drop; }"), nil},
		{"prerouting", hooked("type filter hook prerouting priority 0; policy drop;"), found("ip", "strict", "here", true, true)},
		{"postrouting", hooked("type filter hook postrouting priority 0; policy drop;"), &forward},
		{"input", hooked("type filter hook input priority 0; policy drop;"), found("ip", "strict", "here", false, true)},
		{"output", hooked("type route hook output priority 0; policy drop;"), nil},
		{"a chain for translation", hooked("type nat hook prerouting priority 0; policy drop;"), nil},
		{"bridges", nft(bridge + "{ type filter hook forward priority 0; policy drop; }"), found("bridge", "strict", "here", true, false)},
		{"the last rule of bridges", nft(bridge + "{ type filter hook forward priority 0; }; add rule bridge strict here drop"), found("bridge", "strict", "here", true, false)},
		{"what comes in by bridges", nft(bridge + "{ type filter hook prerouting priority 0; policy drop; }"), nil},
		{"a jump", rules("add rule ip strict here counter jump a; add rule ip strict a ip protocol 1 accept; add rule ip strict a drop"), &forward},
		{"two jumps", rules("add rule ip strict here jump a; add rule ip strict a goto b; add rule ip strict b reject"), &forward},
		{"a jump on a condition", rules("add rule ip strict here ip protocol 1 jump a; add rule ip strict a drop"), nil},
		{"a jump and back", rules("add rule ip strict here jump a; add rule ip strict a return; add rule ip strict a drop"), nil},
		{"a jump and back to a drop", rules("add rule ip strict here jump a; add rule ip strict a return; add rule ip strict here drop"), &forward},
		{"a drop behind a chain that does not come back", rules("add rule ip strict here goto a; add rule ip strict here drop"), nil},
		{"a drop behind one that accepts", rules("add rule ip strict here jump a; add rule ip strict a accept; add rule ip strict here drop"), nil},
		{"legacy, a policy", ipt("-P FORWARD DROP"), legacy},
		{"legacy, a drop behind what accepts", ipt("-A FORWARD -j ACCEPT", "-A FORWARD -j DROP"), nil},
		{"legacy, a policy behind what accepts", ipt("-P FORWARD DROP", "-A FORWARD -j ACCEPT"), nil},
		{"legacy, a comment", ipt("-A FORWARD -m comment --comment x -j DROP"), legacy},
		{"legacy, a comment in quotes", [][]string{{"iptables-legacy", "-w", "-A", "FORWARD", "-m", "comment", "--comment", `not "-j ACCEPT"`, "-j", "REJECT"}}, legacy},
		{"legacy, a condition", ipt("-A FORWARD -m comment --comment x -p tcp -j DROP", "-A FORWARD -m comment --comment x -m mark --mark 1 -j DROP"), nil},
		{"legacy, a jump", ipt("-N A", "-N B", "-A FORWARD -j A", "-A A -g B", "-A B -p tcp -j ACCEPT", "-A B -j DROP"), legacy},
		{"legacy, a jump and back", ipt("-N A", "-A FORWARD -j A", "-A A -j RETURN", "-A A -j DROP"), nil},
		{"legacy, a drop behind a chain that does not come back", ipt("-N A", "-A FORWARD -g A", "-A FORWARD -j DROP"), nil},
		{"legacy, a jump on a condition", ipt("-N A", "-A FORWARD -p tcp -j A", "-A A -j DROP"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.set[0][0] == "iptables-legacy" {
				nstest.Require(t, nstest.IPTablesLegacy)
			}
			for _, args := range tt.set {
				nstest.Command(t, args...)
			}
			var want []model.ForeignDrop
			if tt.want != nil {
				want = append(want, *tt.want)
			}
			list, err := k.ForeignDrops(t.Context())
			if err != nil || !slices.Equal(list, want) {
				t.Errorf("chains of others: %+v, %v, want %+v", list, err, want)
			}
			log.Reset()
			network := []model.Object{model.FirewallNetwork{ID: "n1", Bridge: "br1", V4: &model.FirewallFamily{Subnets: []netip.Prefix{netip.MustParsePrefix("10.99.1.0/24")}}}}
			if err := k.Create(t.Context(), network); err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Contains(log.String(), "level=WARN"), tt.want != nil && tt.want.Forward; got != want {
				t.Errorf("told: %v, want %v:\n%s", got, want, log.String())
			}
			if err := k.Delete(context.WithoutCancel(t.Context()), network); err != nil {
				t.Error(err)
			}
			for _, args := range end[tt.set[0][0]] {
				nstest.Command(t, args...)
			}
			// What is gone is forgotten, and told of when it comes back.
			if err := k.Create(t.Context(), network); err != nil {
				t.Fatal(err)
			}
			if err := k.Delete(context.WithoutCancel(t.Context()), network); err != nil {
				t.Error(err)
			}
		})
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
