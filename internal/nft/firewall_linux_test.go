package nft_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

func TestMain(m *testing.M) { nstest.Main(m) }

var update = flag.Bool("update", false, "rewrite the golden files")

func open(t testing.TB, cfg nft.Config) *nft.Firewall {
	t.Helper()
	nstest.Require(t, nstest.NFTables)
	f, err := nft.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func network(i int, change ...func(*model.FirewallFamily)) model.FirewallNetwork {
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

func command(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// some is a bit of everything.
func some() nft.Change {
	return nft.Change{Networks: []model.FirewallNetwork{network(1), network(2, internal)}, Tracked: tracked("172.20.1.2", "fd00:1::2"), Ports: join(
		both("0.0.0.0", 8080, 8080, "172.20.1.2", 80),
		both("127.0.0.1", 8080, 8080, "172.20.1.3", 80),
		both("0.0.0.0", 9000, 9009, "172.20.1.2", 9000),
		both("0.0.0.0", 9010, 9019, "172.20.1.3", 9010),
		both("0.0.0.0", 60000, 65535, "172.20.1.3", 60000),
		both("::", 9000, 9003, "fd00:1::2", 80),
		both("2001:db8::1", 9000, 9001, "fd00:1::2", 9000),
		[]model.Port{{
			Proto: 132, Host: netip.IPv4Unspecified(), First: 7, Last: 8,
			Addr: netip.MustParseAddr("172.20.1.2"), Port: 7, Owner: "e1",
		}},
	)}
}

// golden compares a text with the file that it is written down in.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".nft")
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

func TestRenderGolden(t *testing.T) {
	v4only := network(1)
	v4only.V6 = nil
	routed := func(f *model.FirewallFamily) { f.Masquerade = false }
	tests := map[string]struct {
		want  nft.Change
		guard nft.Guard
	}{
		"plain":       {want: nft.Change{Networks: []model.FirewallNetwork{network(1)}}},
		"everything":  {want: some()},
		"ipv4":        {want: nft.Change{Networks: []model.FirewallNetwork{v4only}}},
		"internal":    {want: nft.Change{Networks: []model.FirewallNetwork{network(1, internal, noICC)}}},
		"no_icc":      {want: nft.Change{Networks: []model.FirewallNetwork{network(1, noICC)}}},
		"routed":      {want: nft.Change{Networks: []model.FirewallNetwork{network(1, routed)}}},
		"guard_alone": {guard: nft.Guard{V4: true}},
		"nothing":     {},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := nft.Render("libnetwork", tt.want, tt.guard)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, got)
		})
	}
	t.Run("redirect", func(t *testing.T) { golden(t, "redirect", nft.RenderRedirect(10053)) })
}

func reconcile(t *testing.T, f *nft.Firewall, want nft.Change, g nft.Guard, changed bool) {
	t.Helper()
	got, err := f.Reconcile(t.Context(), want, g)
	if err != nil {
		t.Fatal(err)
	}
	if got != changed {
		t.Fatalf("Reconcile changed %v, want %v", got, changed)
	}
}

func generation(t *testing.T, f *nft.Firewall) uint32 {
	t.Helper()
	gen, err := f.Generation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return gen
}

func TestApplyIsReconciled(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		want, none := some(), nft.Change{}
		for _, n := range want.Networks { // one by one
			if err := f.Apply(t.Context(), nft.Change{Networks: []model.FirewallNetwork{n}}, none); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range want.Ports {
			if err := f.Apply(t.Context(), nft.Change{Ports: []model.Port{p}}, none); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Apply(t.Context(), nft.Change{Tracked: want.Tracked}, none); err != nil {
			t.Fatal(err)
		}
		before := generation(t, f)
		reconcile(t, f, want, nft.Guard{}, false)
		if after := generation(t, f); after != before {
			t.Errorf("equal state was written: generation %d, then %d", before, after)
		}
		if err := f.Apply(t.Context(), want, none); err != nil {
			t.Fatalf("the same again: %v", err)
		}
		reconcile(t, f, want, nft.Guard{}, false)
		reconcile(t, f, want, nft.Guard{V6: true}, true)
		reconcile(t, f, want, nft.Guard{V6: true}, false)
		want.Ports = want.Ports[:4]
		reconcile(t, f, want, nft.Guard{}, true)
		if err := f.Apply(t.Context(), none, want); err != nil {
			t.Fatal(err)
		}
		if left := command(t, "nft", "list", "ruleset"); left != "" {
			t.Errorf("10 left behind:\n%s", left)
		}
		reconcile(t, f, none, nft.Guard{}, false)
	})
}

func TestApplyIsolationOfMany(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		for n := 2; n <= 4; n++ {
			var nets []model.FirewallNetwork
			for i := range n {
				nets = append(nets, network(i+1))
			}
			if err := f.Apply(t.Context(), nft.Change{Networks: nets}, nft.Change{}); err != nil {
				t.Fatal(err)
			}
			reconcile(t, f, nft.Change{Networks: nets}, nft.Guard{}, false)
			if err := f.Apply(t.Context(), nft.Change{}, nft.Change{Networks: nets[1:]}); err != nil {
				t.Fatal(err)
			}
			text := command(t, "nft", "list", "ruleset")
			for _, gone := range nets[1:] {
				if strings.Contains(text, gone.Bridge) || strings.Contains(text, gone.ID[:12]) {
					t.Errorf("7 rules name the deleted %s:\n%s", gone.Bridge, text)
				}
			}
			reconcile(t, f, nft.Change{Networks: nets[:1]}, nft.Guard{}, false)
		}
	})
}

func TestApplyIsAllOrNothing(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		want := some()
		if err := f.Apply(t.Context(), want, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		unknown := both("::", 1, 1, "fd00:1::2", 1)
		more := both("0.0.0.0", 1, 1, "172.20.1.2", 1)
		err := f.Apply(t.Context(), nft.Change{Networks: []model.FirewallNetwork{network(3)}, Ports: more}, nft.Change{Ports: unknown})
		if !errors.Is(err, nft.ErrTampered) {
			t.Fatalf("deleting an unknown port: %v", err)
		}
		taken := both("0.0.0.0", 8080, 8080, "172.20.1.9", 80)
		if err := f.Apply(t.Context(), nft.Change{Ports: join(more, taken)}, nft.Change{}); !errors.Is(err, nft.ErrTampered) {
			t.Fatalf("adding a taken port: %v", err)
		}
		bad := both("0.0.0.0", 5, 4, "172.20.1.9", 80)
		err = f.Apply(t.Context(), nft.Change{Ports: join(more, bad)}, nft.Change{})
		if _, ok := err.(types.BadRequestError); !ok {
			t.Fatalf("a bad port: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.Apply(ctx, nft.Change{Ports: more}, nft.Change{}); !errors.Is(err, context.Canceled) {
			t.Fatalf("a cancelled context: %v", err)
		}
		reconcile(t, f, want, nft.Guard{}, false)
	})
}

func TestStep(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{Steps: step.New(func(int, string) error { return step.ErrInjected })})
		if err := f.Apply(t.Context(), some(), nft.Change{}); !errors.Is(err, step.ErrInjected) {
			t.Fatal(err)
		}
		if left := command(t, "nft", "list", "ruleset"); left != "" {
			t.Errorf("written in spite of the failure:\n%s", left)
		}
	})
}

func TestReconcileRepairs(t *testing.T) {
	for _, tamper := range []string{
		"flush ruleset",
		"delete table ip libnetwork",
		"flush chain ip libnetwork forward",
		"flush chain ip6 libnetwork in_000000000001",
		"insert rule ip libnetwork forward accept",
		"add rule ip libnetwork publish return",
		"insert rule ip6 libnetwork pass drop comment \"1abf29ab0b307d24\"",
		"add chain ip libnetwork mine",
		"add set ip libnetwork mine { type ipv4_addr; }",
		"delete element ip libnetwork bridges { \"br1\" }",
		"add element ip libnetwork bridges { \"br9\" }",
		"delete element ip libnetwork port_any { tcp . 8080 }",
		"add element ip libnetwork range_tcp { 20000-20010 : 10.0.0.1 }",
		"delete element ip libnetwork range_udp { 9010-9019 }",
		"flush map ip6 libnetwork port_addr",
		"delete element ip6 libnetwork tracked { fd00:1::2 }",
		"add element ip libnetwork tracked { 172.20.1.9 }",
		"add chain ip libnetwork forward { policy drop; }",
	} {
		t.Run(tamper, func(t *testing.T) {
			nstest.Run(t, func() {
				f := open(t, nft.Config{NoOwner: true})
				want := some()
				if err := f.Apply(t.Context(), want, nft.Change{}); err != nil {
					t.Fatal(err)
				}
				before := command(t, "nft", "-s", "list", "ruleset")
				command(t, "nft", tamper)
				reconcile(t, f, want, nft.Guard{}, true)
				// The order of elements is the kernel's.
				if after := command(t, "nft", "-s", "list", "ruleset"); len(after) != len(before) {
					t.Errorf("got\n%s\nwant\n%s", after, before)
				}
				reconcile(t, f, want, nft.Guard{}, false)
			})
		})
	}
}

func TestApplyAfterAFlush(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{NoOwner: true})
		want := some()
		if err := f.Apply(t.Context(), want, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		command(t, "nft", "flush", "ruleset")
		err := f.Apply(t.Context(), nft.Change{Ports: both("0.0.0.0", 1, 1, "172.20.1.2", 1)}, nft.Change{})
		if !errors.Is(err, nft.ErrTampered) {
			t.Fatalf("got %v, want ErrTampered", err)
		}
		reconcile(t, f, want, nft.Guard{}, true)
	})
}

func TestOwner(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		if !f.HasOwner() {
			t.Skip("this kernel has no table flags owner and persist")
		}
		want := some()
		if err := f.Apply(t.Context(), want, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		command(t, "nft", "flush", "ruleset")
		if out, err := exec.Command("nft", "delete", "table", "ip", "libnetwork").CombinedOutput(); err == nil {
			t.Errorf("somebody else deleted the table: %s", out)
		}
		reconcile(t, f, want, nft.Guard{}, false)
		for _, first := range []string{"reconcile", "apply"} {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(command(t, "nft", "list", "tables"), "libnetwork") {
				t.Fatal("the tables ended with the process")
			}
			f = open(t, nft.Config{})
			if first == "apply" {
				p := nft.Change{Ports: both("0.0.0.0", 1, 1, "172.20.1.2", 1)}
				if err := f.Apply(t.Context(), p, nft.Change{}); err != nil {
					t.Fatal(err)
				}
				if err := f.Apply(t.Context(), nft.Change{}, p); err != nil {
					t.Fatal(err)
				}
			}
			reconcile(t, f, want, nft.Guard{}, false)
			// A start that finds everything right writes nothing, so that the tables are
			// anybody's until the first change.
			command(t, "nft", "flush", "ruleset")
			reconcile(t, f, want, nft.Guard{}, first == "reconcile")
			command(t, "nft", "flush", "ruleset")
			reconcile(t, f, want, nft.Guard{}, false)
		}
		if err := f.Apply(t.Context(), nft.Change{}, want); err != nil {
			t.Fatalf("a new process deletes: %v", err)
		}
		if left := command(t, "nft", "list", "ruleset"); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

func TestTablesOfTwoDirectories(t *testing.T) {
	nstest.Run(t, func() {
		a, b := open(t, nft.Config{}), open(t, nft.Config{Table: "libnetwork-2"})
		for _, f := range []*nft.Firewall{a, b} {
			if err := f.Apply(t.Context(), some(), nft.Change{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Apply(t.Context(), nft.Change{}, some()); err != nil {
			t.Fatal(err)
		}
		reconcile(t, b, some(), nft.Guard{}, false)
	})
}

func TestList(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		if err := f.Apply(t.Context(), some(), nft.Change{}); err != nil {
			t.Fatal(err)
		}
		got, err := f.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want, err := nft.Render("libnetwork", some(), nft.Guard{})
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(want, "\n") {
			if !strings.Contains(got, line+"\n") {
				t.Errorf("List lacks %q", line)
			}
		}
		if len(got) != len(want) { // chains come in another order
			t.Errorf("List:\n%s\nRender:\n%s", got, want)
		}
	})
}

// numbered returns n publications of single ports.
func numbered(from, n int) []model.Port {
	list := make([]model.Port, n)
	for i := range list {
		list[i] = model.Port{
			Proto: 6, Host: netip.IPv4Unspecified(), First: uint16(from + i), Last: uint16(from + i),
			Addr: netip.MustParseAddr("172.20.1.2"), Port: 80, Owner: "e1",
		}
	}
	return list
}

func TestCostIsFlat(t *testing.T) {
	single := nft.Change{Ports: numbered(1, 1)}
	same := nft.Change{Ports: numbered(1, 1)}
	same.Ports[0].Last, same.Ports[0].Port = 5000, 1
	shifted := nft.Change{Ports: numbered(1, 1)}
	shifted.Ports[0].Last, shifted.Ports[0].Port = 10, 81
	tests := []struct {
		name          string
		add, del      nft.Change
		messages, els int
	}{
		{"one port is added", single, nft.Change{}, 1, 1},
		{"one port is deleted", nft.Change{}, single, 1, 1},
		{"a range of 5000 is one interval", same, nft.Change{}, 1, 2},
		{"a range of 5000 is deleted", nft.Change{}, same, 1, 2},
		{"a shifted range is one element a port", shifted, nft.Change{}, 1, 10},
		{"ten ports are one message", nft.Change{Ports: numbered(1, 10)}, nft.Change{}, 1, 10},
		{"a network is added", nft.Change{Networks: []model.FirewallNetwork{network(9000)}}, nft.Change{}, 0, 0},
	}
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		if err := f.Apply(t.Context(), nft.Change{Networks: []model.FirewallNetwork{network(1)}}, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		type cost struct{ bytes, messages, elements int }
		costs := func() []cost {
			list := make([]cost, len(tests))
			for i, tt := range tests {
				c := &list[i]
				var err error
				if c.bytes, c.messages, c.elements, err = f.Cost(t.Context(), tt.add, tt.del); err != nil {
					t.Fatal(err)
				}
			}
			return list
		}
		empty := costs()
		many := nft.Change{Ports: numbered(6000, 50_000)}
		for i := range 500 {
			many.Networks = append(many.Networks, network(i+2))
		}
		if err := f.Apply(t.Context(), many, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		full := costs()
		for i, tt := range tests {
			t.Run("the transaction is as large beside 50000 ports and 500 networks as beside none: "+tt.name, func(t *testing.T) {
				if empty[i] != full[i] {
					t.Errorf("it is %+v beside none, %+v beside many", empty[i], full[i])
				}
				// The message that begins the transaction is one more.
				if tt.messages > 0 && (full[i].messages != tt.messages+1 || full[i].elements != tt.els) {
					t.Errorf("it is %+v, want %d messages with %d elements", full[i], tt.messages, tt.els)
				}
			})
		}
		if err := f.Apply(t.Context(), same, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []nft.Change{same, {Ports: many.Ports[:1]}} {
			if err := f.Apply(t.Context(), nft.Change{}, c); err != nil {
				t.Errorf("deleting beside many: %v", err)
			}
		}
	})
}

func BenchmarkApply(b *testing.B) {
	for _, bench := range []struct {
		name         string
		exist, ports int
	}{{"1", 0, 1}, {"1", 1000, 1}, {"1", 10_000, 1}, {"1", 50_000, 1}, {"10", 0, 10}, {"10", 10_000, 10}} {
		b.Run(fmt.Sprintf("ports=%s/existing=%d", bench.name, bench.exist), func(b *testing.B) {
			nstest.Run(b, func() {
				f := open(b, nft.Config{})
				exist := nft.Change{Networks: []model.FirewallNetwork{network(1)}, Ports: numbered(1000, bench.exist)}
				if err := f.Apply(b.Context(), exist, nft.Change{}); err != nil {
					b.Fatal(err)
				}
				c := nft.Change{Ports: numbered(1, bench.ports)}
				for b.Loop() { // adds and deletes: two transactions
					if err := f.Apply(b.Context(), c, nft.Change{}); err != nil {
						b.Fatal(err)
					}
					if err := f.Apply(b.Context(), nft.Change{}, c); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkApplyNetwork(b *testing.B) {
	nstest.Run(b, func() {
		f := open(b, nft.Config{})
		if err := f.Apply(b.Context(), nft.Change{Networks: []model.FirewallNetwork{network(1)}}, nft.Change{}); err != nil {
			b.Fatal(err)
		}
		c := nft.Change{Networks: []model.FirewallNetwork{network(2)}}
		for b.Loop() {
			if err := f.Apply(b.Context(), c, nft.Change{}); err != nil {
				b.Fatal(err)
			}
			if err := f.Apply(b.Context(), nft.Change{}, c); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReconcileEqual(b *testing.B) {
	nstest.Run(b, func() {
		f := open(b, nft.Config{})
		var want nft.Change
		for i := range 1000 {
			want.Networks = append(want.Networks, network(i+1))
		}
		want.Ports = numbered(1000, 1000)
		for b.Loop() {
			if _, err := f.Reconcile(b.Context(), want, nft.Guard{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
