package ipt_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

func TestMain(m *testing.M) { nstest.Main(m) }

var update = flag.Bool("update", false, "rewrite the golden files")

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

func internal(f *model.FirewallFamily) { f.Internal = true }
func noICC(f *model.FirewallFamily)    { f.ICC = false }

// both is a publication for TCP and UDP.
func both(host string, first, last uint16, addr string, to uint16) []model.Port {
	var list []model.Port
	for _, proto := range []uint8{6, 17} {
		list = append(list, model.Port{
			Proto: proto, Host: netip.MustParseAddr(host), First: first, Last: last,
			Addr: netip.MustParseAddr(addr), Port: to, Owner: "e1",
		})
	}
	return list
}

// some is a bit of everything.
func some() model.FirewallChange {
	routed := network(3, func(f *model.FirewallFamily) { f.Mode = model.ModeRouted })
	client, target := netip.MustParseAddr("172.20.4.2"), netip.MustParseAddr("172.20.4.3")
	return model.FirewallChange{
		Networks: []model.FirewallNetwork{network(1), network(2, internal), routed, network(4, noICC)},
		Ports: slices.Concat(
			both("0.0.0.0", 8080, 8080, "172.20.1.2", 80),
			both("127.0.0.1", 8080, 8080, "172.20.1.3", 80),
			both("0.0.0.0", 9000, 9009, "172.20.1.2", 9000),
			both("::", 9000, 9003, "fd00:1::2", 80),
			both("2001:db8::1", 9000, 9001, "fd00:1::2", 9000),
			[]model.Port{{
				Proto: 132, Host: netip.IPv4Unspecified(), First: 7, Last: 8,
				Addr: netip.MustParseAddr("172.20.1.2"), Port: 7, Owner: "e1",
			}},
		),
		OpenPorts: []model.OpenPort{
			{Proto: 6, Addr: netip.MustParseAddr("172.20.3.2"), First: 80, Last: 80, Owner: "e3"},
			{Proto: 17, Addr: netip.MustParseAddr("fd00:3::2"), First: 80, Last: 89, Owner: "e3"},
		},
		Links: []model.Link{{Bridge: "br4", Proto: 6, Client: client, Target: target, Port: 5432, Owner: "e4"}},
	}
}

func command(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// saved is what the programs of a variant list, without what changes by itself.
func saved(t testing.TB, v ipt.Variant) string {
	t.Helper()
	var b strings.Builder
	for _, prog := range []string{"iptables-", "ip6tables-"} {
		for line := range strings.Lines(command(t, prog+string(v)+"-save")) {
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
	if got != changed {
		t.Fatalf("Reconcile changed %v, want %v:\n%s", got, changed, lists(t, f))
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

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".rules")
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
	one := func(change ...func(*model.FirewallFamily)) model.FirewallChange {
		return model.FirewallChange{Networks: []model.FirewallNetwork{network(1, change...)}}
	}
	mode := func(m model.GatewayMode) func(*model.FirewallFamily) {
		return func(f *model.FirewallFamily) { f.Mode, f.Internal = m, m == model.ModeIsolated }
	}
	for name, tt := range map[string]struct {
		want  model.FirewallChange
		guard model.FirewallGuard
	}{
		"plain":           {want: one()},
		"everything":      {want: some()},
		"ipv4":            {want: model.FirewallChange{Networks: []model.FirewallNetwork{v4only}}},
		"internal":        {want: one(internal, noICC)},
		"no_icc":          {want: one(noICC)},
		"no_masquerade":   {want: one(func(f *model.FirewallFamily) { f.Masquerade = false })},
		"nat_unprotected": {want: one(mode(model.ModeNATUnprotected))},
		"routed":          {want: one(mode(model.ModeRouted))},
		"isolated":        {want: one(mode(model.ModeIsolated))},
		"trusted": {want: one(func(f *model.FirewallFamily) {
			f.Trusted, f.TrustedMark = []string{"eth1", "eth2"}, model.Mark{Value: 0x10, Mask: 0xf0}
		})},
		"clamp":       {want: one(func(f *model.FirewallFamily) { f.ClampMSS = true })},
		"guarded":     {want: one(), guard: model.FirewallGuard{V4: true, V6: true}},
		"guard_alone": {guard: model.FirewallGuard{V4: true}},
		"nothing":     {},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ipt.Render("libnetwork", tt.want, tt.guard)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, got)
		})
	}
	t.Run("redirect", func(t *testing.T) { golden(t, "redirect", ipt.RenderRedirect(10053)) })
}

func TestApplyIsReconciled(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		f := open(t, ipt.Config{Variant: v})
		want, none, g := some(), model.FirewallChange{}, model.FirewallGuard{}
		for _, n := range want.Networks { // one by one
			apply(t, f, model.FirewallChange{Networks: []model.FirewallNetwork{n}}, none)
		}
		for _, p := range want.Ports {
			apply(t, f, model.FirewallChange{Ports: []model.Port{p}}, none)
		}
		apply(t, f, model.FirewallChange{OpenPorts: want.OpenPorts}, none)
		apply(t, f, model.FirewallChange{Links: want.Links}, none)
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
		changed := network(1, noICC)
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

func TestIsolationOfMany(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		f := open(t, ipt.Config{Variant: v})
		counts := map[int]int{}
		for n := 2; n <= 4; n++ {
			var nets []model.FirewallNetwork
			for i := range n {
				nets = append(nets, network(i+1))
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
		want := some()
		apply(t, f, want, model.FirewallChange{})
		unknown := both("::", 1, 1, "fd00:1::2", 1)
		more := both("0.0.0.0", 1, 1, "172.20.1.2", 1)
		err := f.Apply(t.Context(), model.FirewallChange{Networks: []model.FirewallNetwork{network(9)}, Ports: more}, model.FirewallChange{Ports: unknown})
		if !errors.Is(err, model.ErrFirewallTampered) {
			t.Errorf("deleting an unknown port: %v", err)
		}
		link := func(name string) model.FirewallChange {
			n := network(9)
			n.Bridge = name
			return model.FirewallChange{Networks: []model.FirewallNetwork{n}}
		}
		for name, bad := range map[string]model.FirewallChange{
			"reversed ports":     {Ports: both("0.0.0.0", 5, 4, "172.20.1.9", 80)},
			"port 0":             {Ports: both("0.0.0.0", 0, 4, "172.20.1.9", 80)},
			"ports beyond":       {Ports: both("0.0.0.0", 1, 4, "172.20.1.9", 65533)},
			"two families":       {Ports: both("::", 5, 5, "172.20.1.9", 80)},
			"an owner of words":  {Ports: []model.Port{{Proto: 6, Host: netip.IPv4Unspecified(), First: 1, Last: 1, Addr: netip.MustParseAddr("10.0.0.1"), Port: 1, Owner: "x -j ACCEPT"}}},
			"a protocol":         {Ports: []model.Port{{Proto: 47, Host: netip.IPv4Unspecified(), First: 1, Last: 1, Addr: netip.MustParseAddr("10.0.0.1"), Port: 1, Owner: "x"}}},
			"a link of two":      link("br9 br8"),
			"a line end":         link("br9\nCOMMIT"),
			"a wildcard":         link("br+"),
			"an option":          link("-j"),
			"a negation":         link("!"),
			"too long":           link("abcdefghijklmnop"),
			"a quote":            link(`br"`),
			"a trusted wildcard": {Networks: []model.FirewallNetwork{network(9, func(f *model.FirewallFamily) { f.Trusted = []string{"eth+"} })}},
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
		first := some()
		more := model.FirewallChange{
			Networks: []model.FirewallNetwork{network(5), network(1, noICC)},
			Ports:    slices.Concat(both("0.0.0.0", 1, 1, "172.20.5.2", 1), both("::", 1, 1, "fd00:5::2", 1)),
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
			for n := 1; n <= 2; n++ {
				what := fmt.Sprintf("%s, batch %d", name, n)
				f := open(t, ipt.Config{Variant: v, Steps: steps})
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
				f = open(t, ipt.Config{Variant: v, Steps: step.New(func(i int, _ string) error {
					if i >= n {
						return step.ErrInjected // nothing is done any more
					}
					return nil
				})})
				if err := f.Apply(t.Context(), tt.add, tt.del); !errors.Is(err, step.ErrInjected) {
					t.Errorf("%s: got %v, want the injected error", what, err)
				}
				next := open(t, ipt.Config{Variant: v})
				if _, err := next.Reconcile(t.Context(), tt.have, g); err != nil {
					t.Fatal(err)
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
		want, g := some(), model.FirewallGuard{V4: true}
		f := open(t, ipt.Config{Variant: v})
		reconcile(t, f, want, g, true)
		before := sorted(ours(t, v))
		for _, tamper := range []string{
			"-F", "-F LIBNETWORK-FORWARD", "-t nat -F", "-t raw -F", "-F FORWARD", "-t nat -F OUTPUT",
			"-I LIBNETWORK-FORWARD -j ACCEPT", "-t nat -A LIBNETWORK-ANY -j RETURN",
			"-D LIBNETWORK-PASS 1", "-t nat -D LIBNETWORK-ANY 1", "-t nat -I LIBNETWORK-POST -s 172.20.1.0/24 -j ACCEPT",
		} {
			command(t, append([]string{prog, "-w"}, strings.Fields(tamper)...)...)
			reconcile(t, f, want, g, true)
			if diff := cmp.Diff(before, sorted(ours(t, v))); diff != "" {
				t.Errorf("%s is not repaired (-want +got):\n%s", tamper, diff)
			}
			reconcile(t, f, want, g, false)
		}
		// A chain that is not led to is found by the next change of its table.
		command(t, prog, "-w", "-F", "FORWARD")
		err := f.Apply(t.Context(), model.FirewallChange{Networks: []model.FirewallNetwork{network(7)}}, model.FirewallChange{})
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
		one := model.FirewallChange{Networks: []model.FirewallNetwork{network(1)}}
		two := model.FirewallChange{Networks: []model.FirewallNetwork{network(2)}}
		apply(t, a, one, model.FirewallChange{})
		apply(t, b, two, model.FirewallChange{})
		reconcile(t, a, one, model.FirewallGuard{}, false)
		reconcile(t, b, two, model.FirewallGuard{}, false)
		reconcile(t, a, model.FirewallChange{}, model.FirewallGuard{}, true)
		reconcile(t, b, two, model.FirewallGuard{}, false)
		for f, want := range map[*ipt.Firewall]bool{a: false, b: true} {
			if got, err := f.Present(t.Context()); err != nil || got != want {
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
	for _, mode := range []model.GatewayMode{model.ModeNAT, model.ModeNATUnprotected, model.ModeRouted, model.ModeIsolated} {
		for bits := range 1 << 6 {
			on := func(i int) bool { return bits>>i&1 == 1 }
			all.Networks = append(all.Networks, network(len(all.Networks)+1, func(f *model.FirewallFamily) {
				f.Mode, f.Internal, f.ICC, f.Masquerade, f.ClampMSS = mode, on(0) || mode == model.ModeIsolated, on(1), on(2), on(3)
				if on(4) {
					f.Trusted = []string{"eth1"}
				}
				if on(5) {
					f.TrustedMark = model.Mark{Value: 0x10, Mask: 0xf0}
					f.MasqueradeTo = netip.MustParseAddr("192.0.2.7")
					if f.Subnets[0].Addr().Is6() {
						f.MasqueradeTo = netip.MustParseAddr("2001:db8:2::7")
					}
				}
			}))
		}
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
