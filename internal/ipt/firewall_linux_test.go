package ipt_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// variants are both, each with what it needs.
func variants() map[ipt.Variant]nstest.Feature {
	return map[ipt.Variant]nstest.Feature{ipt.NFT: nstest.IPTablesNFT, ipt.Legacy: nstest.IPTablesLegacy}
}

// onEach runs a test with each variant in a namespace of its own.
func onEach(t *testing.T, test func(t *testing.T, v ipt.Variant)) {
	t.Helper()
	for v, feature := range variants() {
		t.Run(string(v), func(t *testing.T) {
			nstest.Require(t, feature)
			nstest.Run(t, func() { test(t, v) })
		})
	}
}

func open(t testing.TB, cfg ipt.Config) *ipt.Firewall {
	t.Helper()
	f, err := ipt.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// saved is what the programs of a variant list, without what changes by itself.
func saved(t testing.TB, v ipt.Variant) string {
	t.Helper()
	var b strings.Builder
	for _, prog := range []string{"iptables-", "ip6tables-"} {
		for line := range strings.Lines(nstest.Command(t, prog+string(v)+"-save")) {
			if !strings.HasPrefix(line, "#") {
				b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
			}
		}
	}
	return b.String()
}

// ours are the lines that name chains of ours.
func ours(t testing.TB, v ipt.Variant) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(saved(t, v)) {
		if strings.Contains(line, "LIBNETWORK") {
			b.WriteString(line)
		}
	}
	if text := nstest.Command(t, "nft", "list", "tables", "bridge"); text != "" {
		b.WriteString(nstest.Command(t, "nft", "-s", "list", "ruleset", "bridge"))
	}
	return b.String()
}

func apply(t testing.TB, f *ipt.Firewall, add, del model.FirewallChange) {
	t.Helper()
	if err := f.Apply(t.Context(), add, del); err != nil {
		t.Fatal(err)
	}
}

func reconcile(t testing.TB, f *ipt.Firewall, want model.FirewallChange, g model.FirewallGuard, changed bool) {
	t.Helper()
	got, err := f.Reconcile(t.Context(), want, g)
	if err != nil {
		t.Fatal(err)
	}
	if (got != model.FoundRight) != changed {
		t.Fatalf("Reconcile found %v, want a change: %v:\n%s", got, changed, lists(t, f))
	}
}

func lists(t testing.TB, f *ipt.Firewall) string {
	t.Helper()
	text, err := f.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestApplyIsReconciled(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		f := open(t, ipt.Config{Variant: v})
		want, none, g := fwtest.Some(), model.FirewallChange{}, model.FirewallGuard{}
		for _, p := range fwtest.Pieces(want) {
			apply(t, f, p, none)
		}
		reconcile(t, f, want, g, false)
		before := saved(t, v)
		apply(t, f, want, none)
		if diff := cmp.Diff(before, saved(t, v)); diff != "" {
			t.Errorf("adding the same again has changed it (-before +after):\n%s", diff)
		}
		other := open(t, ipt.Config{Variant: v})
		reconcile(t, other, want, g, false)
		reconcile(t, f, want, model.FirewallGuard{V6: true}, true)
		reconcile(t, f, want, model.FirewallGuard{V6: true}, false)
		if err := f.SetGuard(t.Context(), model.FirewallGuard{V4: true}); err != nil {
			t.Fatal(err)
		}
		reconcile(t, f, want, model.FirewallGuard{V4: true}, false)
		want.Ports = want.Ports[:4]
		reconcile(t, f, want, g, true)
		changed := fwtest.Network(1, fwtest.NoICC)
		apply(t, f, model.FirewallChange{Networks: []model.FirewallNetwork{changed}}, none)
		want.Networks[0] = changed
		reconcile(t, f, want, g, false)
		apply(t, f, none, want)
		if left := ours(t, v); left != "" {
			t.Errorf("10 left behind:\n%s", left)
		}
		reconcile(t, f, none, g, false)
	})
}

func TestModesAreReconciled(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		f := open(t, ipt.Config{Variant: v})
		want, none := fwtest.Modes(), model.FirewallChange{}
		for _, p := range fwtest.Pieces(want) {
			apply(t, f, p, none)
		}
		apply(t, f, want, want)
		reconcile(t, f, want, model.FirewallGuard{}, false)
		// A new process knows what there is.
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f = open(t, ipt.Config{Variant: v})
		gone := model.FirewallChange{Links: want.Links[:1], LinkedPorts: want.LinkedPorts[:1]}
		apply(t, f, none, gone)
		apply(t, f, none, gone) // the other end of the link takes it away as well
		left := fwtest.Modes()
		left.Links, left.LinkedPorts = left.Links[1:], left.LinkedPorts[1:]
		reconcile(t, f, left, model.FirewallGuard{}, false)
		for _, p := range fwtest.Pieces(left) {
			if len(p.Networks) == 0 {
				apply(t, f, none, p)
			}
		}
		if text := ours(t, v); strings.Contains(text, "table bridge") || strings.Contains(text, "172.20.3.2") {
			t.Errorf("rules of links without links:\n%s", text)
		}
		apply(t, f, none, fwtest.Networks(left.Networks...))
		if text := ours(t, v); text != "" {
			t.Errorf("left behind:\n%s", text)
		}
	})
}

func TestIsolationOfMany(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		f := open(t, ipt.Config{Variant: v})
		counts := map[int]int{}
		for n := 2; n <= 4; n++ {
			var nets []model.FirewallNetwork
			for i := range n {
				nets = append(nets, fwtest.Network(i+1))
			}
			apply(t, f, model.FirewallChange{Networks: nets}, model.FirewallChange{})
			counts[n] = strings.Count(ours(t, v), "\n")
			apply(t, f, model.FirewallChange{}, model.FirewallChange{Networks: nets[1:]})
			text := saved(t, v)
			for _, gone := range nets[1:] {
				if strings.Contains(text, gone.Bridge+" ") || strings.Contains(text, gone.ID) {
					t.Errorf("7 rules name the deleted %s:\n%s", gone.Bridge, text)
				}
			}
			reconcile(t, f, model.FirewallChange{Networks: nets[:1]}, model.FirewallGuard{}, false)
		}
		if counts[4]-counts[3] != counts[3]-counts[2] {
			t.Errorf("7 rules by the number of networks: %v, want as many more for each", counts)
		}
	})
}

func TestApplyRefuses(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		f := open(t, ipt.Config{Variant: v})
		want := fwtest.Some()
		apply(t, f, want, model.FirewallChange{})
		unknown := fwtest.Both("::", 1, 1, "fd00:1::2", 1)
		more := fwtest.Both("0.0.0.0", 1, 1, "172.20.1.2", 1)
		err := f.Apply(t.Context(), model.FirewallChange{Networks: []model.FirewallNetwork{fwtest.Network(9)}, Ports: more}, model.FirewallChange{Ports: unknown})
		if !errors.Is(err, model.ErrFirewallTampered) {
			t.Errorf("deleting an unknown port: %v", err)
		}
		link := func(name string) model.FirewallChange {
			n := fwtest.Network(9)
			n.Bridge = name
			return model.FirewallChange{Networks: []model.FirewallNetwork{n}}
		}
		for name, bad := range map[string]model.FirewallChange{
			"reversed ports":     {Ports: fwtest.Both("0.0.0.0", 5, 4, "172.20.1.9", 80)},
			"port 0":             {Ports: fwtest.Both("0.0.0.0", 0, 4, "172.20.1.9", 80)},
			"ports beyond":       {Ports: fwtest.Both("0.0.0.0", 1, 4, "172.20.1.9", 65533)},
			"two families":       {Ports: fwtest.Both("::", 5, 5, "172.20.1.9", 80)},
			"an owner of words":  {Ports: []model.Port{{Proto: 6, Host: netip.IPv4Unspecified(), First: 1, Last: 1, Addr: netip.MustParseAddr("10.0.0.1"), Port: 1, Owner: "x -j ACCEPT"}}},
			"a protocol":         {Ports: []model.Port{{Proto: 47, Host: netip.IPv4Unspecified(), First: 1, Last: 1, Addr: netip.MustParseAddr("10.0.0.1"), Port: 1, Owner: "x"}}},
			"a link of two":      link("br9 br8"),
			"a line end":         link("br9\nCOMMIT"),
			"a wildcard":         link("br+"),
			"an option":          link("-j"),
			"a negation":         link("!"),
			"too long":           link("abcdefghijklmnop"),
			"a quote":            link(`br"`),
			"a trusted wildcard": {Networks: []model.FirewallNetwork{fwtest.Network(9, func(f *model.FirewallFamily) { f.Trusted = []string{"eth+"} })}},
			"a linked wildcard":  {LinkedPorts: []model.LinkedPort{{Host: "veth+", Owner: "e1"}}},
			"a linked owner":     {LinkedPorts: []model.LinkedPort{{Host: "veth1", Owner: "a b"}}},
			"a network's id":     {Networks: []model.FirewallNetwork{{ID: "a b", Bridge: "br9"}}},
		} {
			err := f.Apply(t.Context(), bad, model.FirewallChange{})
			if _, ok := err.(types.BadRequestError); !ok {
				t.Errorf("%s: %v, want an error of class BadRequest", name, err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.Apply(ctx, model.FirewallChange{Ports: more}, model.FirewallChange{}); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled context: %v", err)
		}
		reconcile(t, f, want, model.FirewallGuard{}, false)
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err := f.Apply(t.Context(), model.FirewallChange{Ports: more}, model.FirewallChange{}); err == nil {
			t.Error("a closed firewall has been changed")
		}
	})
}

// Each batch of each change fails, or is the last before the process ends.
func TestFailures(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		first := fwtest.Some()
		more := model.FirewallChange{
			Networks: []model.FirewallNetwork{fwtest.Network(5), fwtest.Network(1, fwtest.NoICC)},
			Ports:    slices.Concat(fwtest.Both("0.0.0.0", 1, 1, "172.20.5.2", 1), fwtest.Both("::", 1, 1, "fd00:5::2", 1)),
			Links:    []model.Link{fwtest.Link("br4", "172.20.4.2", "172.20.4.9")},
		}
		for name, tt := range map[string]struct{ have, add, del model.FirewallChange }{
			"the first network": {add: first},
			"a change":          {have: first, add: more, del: model.FirewallChange{Ports: first.Ports}},
			"the last network":  {have: first, del: first},
		} {
			at := 0
			steps := step.New(func(_ int, name string) error {
				if strings.Contains(name, "undo") {
					return nil
				}
				if at--; at == 0 {
					return step.ErrInjected
				}
				return nil
			})
			g := model.FirewallGuard{}
			for n := 1; n <= 3; n++ { // IPv4, IPv6, links
				what := fmt.Sprintf("%s, batch %d", name, n)
				f := open(t, ipt.Config{Variant: v, NoOwner: true, Steps: steps})
				if _, err := f.Reconcile(t.Context(), tt.have, g); err != nil {
					t.Fatal(err)
				}
				before := ours(t, v)
				at = n
				if err := f.Apply(t.Context(), tt.add, tt.del); !errors.Is(err, step.ErrInjected) {
					t.Errorf("%s: got %v, want the injected error", what, err)
				}
				at = 0
				if diff := cmp.Diff(sorted(before), sorted(ours(t, v))); diff != "" {
					t.Errorf("%s is not undone (-before +after):\n%s", what, diff)
				}
				apply(t, f, tt.add, tt.del) // it works when it is repeated
				if _, err := f.Reconcile(t.Context(), tt.have, g); err != nil {
					t.Fatal(err)
				}
				// The process dies instead: the next one repairs.
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				f = open(t, ipt.Config{Variant: v, NoOwner: true, Steps: step.New(func(i int, _ string) error {
					if i >= n {
						return step.ErrInjected // nothing is done any more
					}
					return nil
				})})
				if err := f.Apply(t.Context(), tt.add, tt.del); !errors.Is(err, step.ErrInjected) {
					t.Errorf("%s: got %v, want the injected error", what, err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				next := open(t, ipt.Config{Variant: v, NoOwner: true})
				if _, err := next.Reconcile(t.Context(), tt.have, g); err != nil {
					t.Fatal(err)
				}
				if err := next.Close(); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(sorted(before), sorted(ours(t, v))); diff != "" {
					t.Errorf("after %s and a kill, a start does not repair (-want +got):\n%s", what, diff)
				}
			}
		}
	})
}

func sorted(text string) []string {
	return slices.Sorted(strings.Lines(text))
}

func TestReconcileRepairs(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		prog := "iptables-" + string(v)
		want, g := fwtest.Some(), model.FirewallGuard{V4: true}
		f := open(t, ipt.Config{Variant: v, NoOwner: true})
		reconcile(t, f, want, g, true)
		before := sorted(ours(t, v))
		tampered := func(tamper string) {
			t.Helper()
			reconcile(t, f, want, g, true)
			if diff := cmp.Diff(before, sorted(ours(t, v))); diff != "" {
				t.Errorf("%s is not repaired (-want +got):\n%s", tamper, diff)
			}
			reconcile(t, f, want, g, false)
		}
		nstest.Command(t, "nft", "delete", "table", "bridge", "libnetwork-iptables-"+string(v))
		tampered("the deletion of the table of links")
		for _, tamper := range []string{
			"-F", "-F LIBNETWORK-FORWARD", "-t nat -F", "-t raw -F", "-F FORWARD", "-t nat -F OUTPUT",
			"-I LIBNETWORK-FORWARD -j ACCEPT", "-t nat -A LIBNETWORK-ANY -j RETURN",
			"-D LIBNETWORK-PASS 1", "-t nat -D LIBNETWORK-ANY 1", "-t nat -I LIBNETWORK-POST -s 172.20.1.0/24 -j ACCEPT",
		} {
			nstest.Command(t, append([]string{prog, "-w"}, strings.Fields(tamper)...)...)
			tampered(tamper)
		}
		// A chain that is not led to is found by the next change of its table.
		nstest.Command(t, prog, "-w", "-F", "FORWARD")
		err := f.Apply(t.Context(), model.FirewallChange{Networks: []model.FirewallNetwork{fwtest.Network(7)}}, model.FirewallChange{})
		if !errors.Is(err, model.ErrFirewallTampered) {
			t.Errorf("a change after the flush of FORWARD: %v", err)
		}
		reconcile(t, f, want, g, true)
		if diff := cmp.Diff(before, sorted(ours(t, v))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestTwoDirectories(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		a, b := open(t, ipt.Config{Variant: v}), open(t, ipt.Config{Variant: v, Name: "libnetwork-deadbeef"})
		one := model.FirewallChange{Networks: []model.FirewallNetwork{fwtest.Network(1)}}
		two := model.FirewallChange{Networks: []model.FirewallNetwork{fwtest.Network(2)}}
		apply(t, a, one, model.FirewallChange{})
		apply(t, b, two, model.FirewallChange{})
		reconcile(t, a, one, model.FirewallGuard{}, false)
		reconcile(t, b, two, model.FirewallGuard{}, false)
		reconcile(t, a, model.FirewallChange{}, model.FirewallGuard{}, true)
		reconcile(t, b, two, model.FirewallGuard{}, false)
		others := "X" + strings.ToUpper(ipt.DefaultName) + "-FORWARD" // ends like one of ours
		if out, err := exec.CommandContext(t.Context(), "iptables-"+string(v), "-N", others).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for name, want := range map[string]bool{ipt.DefaultName: false, "libnetwork-deadbeef": true} {
			if got, err := ipt.Present(t.Context(), name, v); err != nil || got != want {
				t.Errorf("present: %t, %v, want %t", got, err, want)
			}
		}
	})
	_, err := ipt.Open(t.Context(), ipt.Config{Name: "libnetwork-deadbeef-and-more"})
	if _, ok := err.(types.BadRequestError); !ok {
		t.Errorf("a name that is too long: %v", err)
	}
}

func TestMissingPrograms(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, v := range []ipt.Variant{ipt.Any, ipt.NFT, ipt.Legacy} {
		_, err := ipt.Open(t.Context(), ipt.Config{Variant: v, Dirs: []string{t.TempDir()}})
		if !errors.As(err, new(types.NoServiceError)) {
			t.Errorf("got %v, want an error of class NoService", err)
			continue
		}
		for _, text := range []string{"iptables", "install", "nftables"} {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%q does not say %q", err, text)
			}
		}
	}
}

// Every setting is taken by the programs, and is found again as it was written.
func TestEverySetting(t *testing.T) {
	var all model.FirewallChange
	for i, set := range fwtest.Settings() {
		all.Networks = append(all.Networks, fwtest.Network(i+1, set.Apply))
	}
	onEach(t, func(t *testing.T, v ipt.Variant) {
		f := open(t, ipt.Config{Variant: v})
		reconcile(t, f, all, model.FirewallGuard{}, true)
		reconcile(t, f, all, model.FirewallGuard{}, false)
		apply(t, f, model.FirewallChange{}, all)
		if left := ours(t, v); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}
