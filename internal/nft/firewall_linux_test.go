package nft_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

func TestMain(m *testing.M) { nstest.Main(m) }

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

func reconcile(t *testing.T, f *nft.Firewall, want nft.Change, g nft.Guard, changed bool) {
	t.Helper()
	got, err := f.Reconcile(t.Context(), want, g)
	if err != nil {
		t.Fatal(err)
	}
	if (got != model.FoundRight) != changed {
		t.Fatalf("Reconcile found %v, want a change: %v", got, changed)
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

// once checks that what is done is one transaction of the kernel: nobody ever sees a part
// of it.
func once(t *testing.T, f *nft.Firewall, what string, do func()) {
	t.Helper()
	before := generation(t, f)
	do()
	if n := generation(t, f) - before; n != 1 {
		t.Errorf("%s is %d transactions, want 1", what, n)
	}
}

// elements are those of a set in a listing.
var elements = regexp.MustCompile(`(?s)elements = \{(.*?)\}`)

// listing is the ruleset in an order of its own, that of the kernel depends on who came
// first: elements, chains, sets and tables are sorted. Rules are as they stand.
func listing(t *testing.T) string {
	t.Helper()
	var tables []string
	for text := range strings.SplitSeq(nstest.Command(t, "nft", "-s", "list", "ruleset"), "\n}\n") {
		text = elements.ReplaceAllStringFunc(text, func(set string) string {
			list := strings.Split(elements.FindStringSubmatch(set)[1], ",")
			for i := range list {
				list[i] = strings.TrimSpace(list[i])
			}
			slices.Sort(list)
			return strings.Join(list, "\n")
		})
		name, inside, _ := strings.Cut(text, "\n")
		parts := strings.Split(inside, "\n\n")
		slices.Sort(parts)
		tables = append(tables, name+"\n"+strings.Join(parts, "\n\n"))
	}
	slices.Sort(tables)
	return strings.Join(tables, "\n")
}

func TestOneTransaction(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{NoOwner: true})
		want, none := fwtest.Some(), nft.Change{}
		ports := want
		ports.Networks = nil
		apply := func(what string, add, del nft.Change) {
			t.Helper()
			once(t, f, what, func() {
				if err := f.Apply(t.Context(), add, del); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			})
		}
		first, others := nft.Change{Networks: want.Networks[:1]}, nft.Change{Networks: want.Networks[1:]}
		apply("the first network", first, none)
		apply("more networks", others, none)
		apply("the ports of a container", ports, none)
		apply("their deletion", none, ports)
		apply("all ports again", ports, none)
		moved := nft.Change{Ports: slices.Clone(ports.Ports)}
		for i := range moved.Ports {
			moved.Ports[i].Owner = "another"
		}
		apply("ports that move", moved, nft.Change{Ports: ports.Ports})
		apply("and back", nft.Change{Ports: ports.Ports}, moved)
		nstest.Command(t, "nft", "flush", "ruleset")
		once(t, f, "the repair after a flush", func() { reconcile(t, f, want, nft.Guard{}, true) })
		apply("the deletion of ports after it", none, ports)
		apply("the deletion of networks", none, others)
		apply("that of the last one", none, first)
		if left := nstest.Command(t, "nft", "list", "ruleset"); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

func TestApplyIsReconciled(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		want, none := fwtest.Some(), nft.Change{}
		for _, p := range fwtest.Pieces(want) {
			once(t, f, fmt.Sprintf("%+v", p), func() {
				if err := f.Apply(t.Context(), p, none); err != nil {
					t.Fatal(err)
				}
			})
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
		if left := nstest.Command(t, "nft", "list", "ruleset"); left != "" {
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
				nets = append(nets, fwtest.Network(i+1))
			}
			if err := f.Apply(t.Context(), nft.Change{Networks: nets}, nft.Change{}); err != nil {
				t.Fatal(err)
			}
			reconcile(t, f, nft.Change{Networks: nets}, nft.Guard{}, false)
			if err := f.Apply(t.Context(), nft.Change{}, nft.Change{Networks: nets[1:]}); err != nil {
				t.Fatal(err)
			}
			text := nstest.Command(t, "nft", "list", "ruleset")
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
		want := fwtest.Some()
		if err := f.Apply(t.Context(), want, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		unknown := fwtest.Both("::", 1, 1, "fd00:1::2", 1)
		more := fwtest.Both("0.0.0.0", 1, 1, "172.20.1.2", 1)
		err := f.Apply(t.Context(), nft.Change{Networks: []model.FirewallNetwork{fwtest.Network(3)}, Ports: more}, nft.Change{Ports: unknown})
		if !errors.Is(err, nft.ErrTampered) {
			t.Fatalf("deleting an unknown port: %v", err)
		}
		taken := fwtest.Both("0.0.0.0", 8080, 8080, "172.20.1.9", 80)
		if err := f.Apply(t.Context(), nft.Change{Ports: slices.Concat(more, taken)}, nft.Change{}); !errors.Is(err, nft.ErrTampered) {
			t.Fatalf("adding a taken port: %v", err)
		}
		bad := fwtest.Both("0.0.0.0", 5, 4, "172.20.1.9", 80)
		err = f.Apply(t.Context(), nft.Change{Ports: slices.Concat(more, bad)}, nft.Change{})
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
		if err := f.Apply(t.Context(), fwtest.Some(), nft.Change{}); !errors.Is(err, step.ErrInjected) {
			t.Fatal(err)
		}
		if left := nstest.Command(t, "nft", "list", "ruleset"); left != "" {
			t.Errorf("written in spite of the failure:\n%s", left)
		}
	})
}

func TestReconcileRepairs(t *testing.T) {
	for _, tamper := range []string{
		"flush ruleset",
		"delete table ip libnetwork",
		"flush chain ip libnetwork forward",
		"flush chain ip6 libnetwork member",
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
				want := fwtest.Some()
				if err := f.Apply(t.Context(), want, nft.Change{}); err != nil {
					t.Fatal(err)
				}
				before := listing(t)
				nstest.Command(t, "nft", tamper)
				once(t, f, "the repair", func() { reconcile(t, f, want, nft.Guard{}, true) })
				if diff := cmp.Diff(before, listing(t)); diff != "" {
					t.Errorf("after the repair (-want +got):\n%s", diff)
				}
				reconcile(t, f, want, nft.Guard{}, false)
			})
		})
	}
}

func TestApplyAfterAFlush(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{NoOwner: true})
		want := fwtest.Some()
		if err := f.Apply(t.Context(), want, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		nstest.Command(t, "nft", "flush", "ruleset")
		err := f.Apply(t.Context(), nft.Change{Ports: fwtest.Both("0.0.0.0", 1, 1, "172.20.1.2", 1)}, nft.Change{})
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
		want := fwtest.Some()
		if err := f.Apply(t.Context(), want, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		nstest.Command(t, "nft", "flush", "ruleset")
		if out, err := exec.Command("nft", "delete", "table", "ip", "libnetwork").CombinedOutput(); err == nil {
			t.Errorf("somebody else deleted the table: %s", out)
		}
		reconcile(t, f, want, nft.Guard{}, false)
		for _, first := range []string{"reconcile", "apply"} {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(nstest.Command(t, "nft", "list", "tables"), "libnetwork") {
				t.Fatal("the tables ended with the process")
			}
			f = open(t, nft.Config{})
			if first == "apply" {
				p := nft.Change{Ports: fwtest.Both("0.0.0.0", 1, 1, "172.20.1.2", 1)}
				if err := f.Apply(t.Context(), p, nft.Change{}); err != nil {
					t.Fatal(err)
				}
				if err := f.Apply(t.Context(), nft.Change{}, p); err != nil {
					t.Fatal(err)
				}
			}
			reconcile(t, f, want, nft.Guard{}, false)
			// Nor may others put them to sleep.
			if first == "reconcile" {
				if err := nft.Dormant(nft.DefaultTable); err != nil {
					t.Fatal(err)
				}
				if found, err := f.Reconcile(t.Context(), want, nft.Guard{}); found != model.FoundWrong || err != nil {
					t.Errorf("dormant tables: found %v, %v", found, err)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				f = open(t, nft.Config{})
				reconcile(t, f, want, nft.Guard{}, false)
				if err := nft.Dormant(nft.DefaultTable); err != nil {
					t.Fatal(err)
				}
				if err := f.Apply(t.Context(), want, nft.Change{}); !errors.Is(err, nft.ErrTampered) {
					t.Errorf("a change of dormant tables: %v, want ErrTampered", err)
				}
				reconcile(t, f, want, nft.Guard{}, true)
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				f = open(t, nft.Config{})
				reconcile(t, f, want, nft.Guard{}, false)
			}
			// A start that finds everything right writes nothing, so that the tables are
			// anybody's until the first change.
			nstest.Command(t, "nft", "flush", "ruleset")
			reconcile(t, f, want, nft.Guard{}, first == "reconcile")
			nstest.Command(t, "nft", "flush", "ruleset")
			reconcile(t, f, want, nft.Guard{}, false)
		}
		if err := f.Apply(t.Context(), nft.Change{}, want); err != nil {
			t.Fatalf("a new process deletes: %v", err)
		}
		if left := nstest.Command(t, "nft", "list", "ruleset"); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

func TestTablesOfTwoDirectories(t *testing.T) {
	nstest.Run(t, func() {
		a, b := open(t, nft.Config{}), open(t, nft.Config{Table: "libnetwork-2"})
		for _, f := range []*nft.Firewall{a, b} {
			if err := f.Apply(t.Context(), fwtest.Some(), nft.Change{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Apply(t.Context(), nft.Change{}, fwtest.Some()); err != nil {
			t.Fatal(err)
		}
		reconcile(t, b, fwtest.Some(), nft.Guard{}, false)
	})
}

func TestList(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		if err := f.Apply(t.Context(), fwtest.Some(), nft.Change{}); err != nil {
			t.Fatal(err)
		}
		got, err := f.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want, err := nft.Render("libnetwork", fwtest.Some(), nft.Guard{})
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

// TestListingLoads has the nft program read what it prints: people keep rules so, and
// read single sets by their names, of which its own words are none.
func TestListingLoads(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{NoOwner: true}) // old programs do not know the flags
		for _, want := range []nft.Change{fwtest.Some(), fwtest.Modes()} {
			reconcile(t, f, want, nft.Guard{V4: true}, true)
			listing := nstest.Command(t, "nft", "list", "ruleset")
			file := filepath.Join(t.TempDir(), "listing.nft")
			if err := os.WriteFile(file, []byte("flush ruleset\n"+listing), 0o600); err != nil {
				t.Fatal(err)
			}
			nstest.Command(t, "nft", "-f", file)
			if diff := cmp.Diff(listing, nstest.Command(t, "nft", "list", "ruleset")); diff != "" {
				t.Errorf("the listing of the listing (-want +got):\n%s", diff)
			}
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
	sctp, six := nft.Change{Ports: numbered(1, 1)}, nft.Change{Ports: numbered(1, 1)}
	sctp.Ports[0].Proto = 132
	six.Ports[0].Proto, six.Ports[0].Host, six.Ports[0].Addr = 17, netip.IPv6Unspecified(), netip.MustParseAddr("fd00:1::2")
	tests := []struct {
		name          string
		add, del      nft.Change
		messages, els int
	}{
		{"one port is added", single, nft.Change{}, 1, 1},
		{"one port is deleted", nft.Change{}, single, 1, 1},
		{"one port of SCTP is added", sctp, nft.Change{}, 1, 1},
		{"one port of SCTP is deleted", nft.Change{}, sctp, 1, 1},
		{"one port of UDP and IPv6 is added", six, nft.Change{}, 1, 1},
		{"one port of UDP and IPv6 is deleted", nft.Change{}, six, 1, 1},
		{"a range of 5000 is one interval", same, nft.Change{}, 1, 2},
		{"a range of 5000 is deleted", nft.Change{}, same, 1, 2},
		{"a shifted range is one element a port", shifted, nft.Change{}, 1, 10},
		{"ten ports are one message", nft.Change{Ports: numbered(1, 10)}, nft.Change{}, 1, 10},
		// No chain and no rule, which would have the kernel check all of the table.
		{"a network is nothing but elements of seven sets for each family", fwtest.Networks(fwtest.Network(9000)), nft.Change{}, 14, 16},
		{"a network is deleted", nft.Change{}, fwtest.Networks(fwtest.Network(1)), 14, 16},
	}
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		if err := f.Apply(t.Context(), nft.Change{Networks: []model.FirewallNetwork{fwtest.Network(1)}}, nft.Change{}); err != nil {
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
		for _, p := range many.Ports[:50_000:50_000] {
			p.Proto, p.Host, p.Addr = six.Ports[0].Proto, six.Ports[0].Host, six.Ports[0].Addr
			many.Ports = append(many.Ports, p)
		}
		for i := range 500 {
			many.Networks = append(many.Networks, fwtest.Network(i+2))
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
				exist := nft.Change{Networks: []model.FirewallNetwork{fwtest.Network(1)}, Ports: numbered(1000, bench.exist)}
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
		if err := f.Apply(b.Context(), nft.Change{Networks: []model.FirewallNetwork{fwtest.Network(1)}}, nft.Change{}); err != nil {
			b.Fatal(err)
		}
		c := nft.Change{Networks: []model.FirewallNetwork{fwtest.Network(2)}}
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
			want.Networks = append(want.Networks, fwtest.Network(i+1))
		}
		want.Ports = numbered(1000, 1000)
		for b.Loop() {
			if _, err := f.Reconcile(b.Context(), want, nft.Guard{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
