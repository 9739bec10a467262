package ipt_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// Foreign rules and policies stay, in their order, and the one chain of Docker that
// is for others comes first.
func TestForeignRules(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		for _, prog := range []string{"iptables-" + string(v), "ip6tables-" + string(v)} {
			for _, l := range []string{
				"-P FORWARD DROP", "-N DOCKER-USER", "-N MINE", "-A MINE -j RETURN", "-A DOCKER-USER -j RETURN",
				"-A FORWARD -m comment --comment before -j MINE", "-A FORWARD -j DOCKER-USER", "-A FORWARD -j MINE",
				"-A INPUT -j MINE", "-t nat -A PREROUTING -p tcp -j RETURN", "-t nat -A POSTROUTING -o eth9 -j ACCEPT",
				"-t raw -A PREROUTING -i eth9 -j ACCEPT", "-t mangle -A FORWARD -j ACCEPT", "-t nat -A OUTPUT -o eth9 -j ACCEPT",
			} {
				nstest.Command(t, append([]string{prog, "-w"}, strings.Fields(l)...)...)
			}
		}
		before := withoutOurs(saved(t, v))
		f := open(t, ipt.Config{Variant: v})
		apply(t, f, fwtest.Some(), model.FirewallChange{})
		now := saved(t, v)
		if diff := cmp.Diff(before, withoutOurs(now)); diff != "" {
			t.Errorf("foreign rules (-before +with networks):\n%s", diff)
		}
		forward := strings.Index(now, "-A FORWARD -j DOCKER-USER\n-A FORWARD -m comment --comment")
		mine := strings.Index(now, "-A FORWARD -j MINE\n")
		if forward < 0 || mine < forward {
			t.Errorf("our chain does not follow DOCKER-USER:\n%s", now)
		}
		// An administrator moves our rule.
		rule := ""
		for line := range strings.Lines(now) {
			if text, ok := strings.CutPrefix(line, "-A FORWARD "); ok && strings.Contains(text, "LIBNETWORK") {
				rule = strings.ReplaceAll(text, `"`, "")
				break
			}
		}
		nstest.Command(t, append([]string{"iptables-" + string(v), "-w", "-D", "FORWARD"}, strings.Fields(rule)...)...)
		nstest.Command(t, append([]string{"iptables-" + string(v), "-w", "-A", "FORWARD"}, strings.Fields(rule)...)...)
		reconcile(t, f, fwtest.Some(), model.FirewallGuard{}, true) // what accepts comes behind it
		reconcile(t, f, fwtest.Some(), model.FirewallGuard{}, false)
		if now := saved(t, v); strings.Index(now, "-A FORWARD -j MINE\n") > strings.Index(now, "-j LIBNETWORK-FORWARD\n") {
			t.Errorf("our rule was moved back:\n%s", now)
		}
		apply(t, f, model.FirewallChange{}, fwtest.Some())
		if diff := cmp.Diff(before, withoutOurs(saved(t, v))); diff != "" || ours(t, v) != "" {
			t.Errorf("10 foreign rules (-before +after):\n%s\nours:\n%s", diff, ours(t, v))
		}
	})
}

func withoutOurs(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, ":") {
			line, _, _ = strings.Cut(line, "[") // counters
			line += "\n"
		}
		if !strings.Contains(line, "LIBNETWORK") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Docker starts after us and puts its rules to the top, from where they accept what
// its containers send anywhere.
func TestDockerStartsLater(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		prog := "iptables-" + string(v)
		f := open(t, ipt.Config{Variant: v})
		reconcile(t, f, fwtest.Some(), model.FirewallGuard{}, true)
		for _, l := range []string{
			"-N DOCKER-USER", "-N DOCKER-FORWARD", "-A DOCKER-FORWARD -i docker0 -j ACCEPT",
			"-I FORWARD -j DOCKER-FORWARD", "-I FORWARD -j DOCKER-USER",
		} {
			nstest.Command(t, append([]string{prog, "-w"}, strings.Fields(l)...)...)
		}
		reconcile(t, f, fwtest.Some(), model.FirewallGuard{}, true)
		reconcile(t, f, fwtest.Some(), model.FirewallGuard{}, false)
		var order []string
		for line := range strings.Lines(nstest.Command(t, prog, "-w", "-S", "FORWARD")) {
			words := strings.Fields(line)
			order = append(order, words[len(words)-1])
		}
		if diff := cmp.Diff([]string{"ACCEPT", "DOCKER-USER", "LIBNETWORK-FORWARD", "LIBNETWORK-ACCEPT", "DOCKER-FORWARD", "LIBNETWORK-GUARD"}, order); diff != "" {
			t.Errorf("rules of FORWARD (-want +got):\n%s", diff)
		}
	})
}

// Where the chain for users is asked behind us, of some packets, behind rules that accept, or
// behind our guard, we are not moved there: we would not be asked of all, or too late.
func TestUserChainBehindOthers(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		prog := "iptables-" + string(v)
		run := func(lines ...string) {
			for _, l := range lines {
				nstest.Command(t, append([]string{prog, "-w"}, strings.Fields(l)...)...)
			}
		}
		first := func(when string) {
			t.Helper()
			list := nstest.Command(t, prog, "-w", "-S", "FORWARD")
			ours := strings.Index(list, "-j LIBNETWORK-FORWARD")
			for _, other := range []string{"-j LIBNETWORK-GUARD", "-i eth0 -j ACCEPT"} {
				if at := strings.Index(list, other); ours < 0 || at >= 0 && at < ours {
					t.Errorf("%s we are asked behind %q:\n%s", when, other, list)
				}
			}
		}
		guard := model.FirewallGuard{V4: true, V6: true}
		f := open(t, ipt.Config{Variant: v})
		reconcile(t, f, fwtest.Some(), guard, true)
		run("-N DOCKER-USER", "-A FORWARD -i eth0 -j ACCEPT", "-A FORWARD -j DOCKER-USER")
		reconcile(t, f, fwtest.Some(), guard, true) // the chain has our rule
		first("when it comes")
		run("-D FORWARD 1") // ours
		reconcile(t, f, fwtest.Some(), guard, true)
		first("made again")
		reconcile(t, f, model.FirewallChange{}, model.FirewallGuard{}, true)
		run("-F FORWARD", "-A FORWARD -i eth9 -j DOCKER-USER", "-A FORWARD -i eth0 -j ACCEPT", "-A FORWARD -j DOCKER-USER")
		reconcile(t, f, fwtest.Some(), guard, true)
		first("at a start")
		reconcile(t, f, fwtest.Some(), guard, false)
		reconcile(t, f, model.FirewallChange{}, model.FirewallGuard{}, true)
		run("-F FORWARD", "-A FORWARD -j REJECT", "-A FORWARD -j DOCKER-USER") // as a distribution leaves it
		reconcile(t, f, fwtest.Some(), guard, true)
		if list := nstest.Command(t, prog, "-w", "-S", "FORWARD"); strings.Index(list, "LIBNETWORK-FORWARD") > strings.Index(list, "-j REJECT") {
			t.Errorf("we are asked behind a rule that no packet gets by:\n%s", list)
		}
	})
}

// DOCKER-USER asks us behind the rules of its users, and before it accepts what another data
// directory has let out, whenever that comes.
func TestUserChainAsks(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		prog, guard := "iptables-"+string(v), model.FirewallGuard{}
		run := func(line string) {
			t.Helper()
			nstest.Command(t, append([]string{prog, "-w"}, strings.Fields(line)...)...)
		}
		is := func(when string, want ...string) {
			t.Helper()
			var got []string
			for line := range strings.Lines(nstest.Command(t, prog, "-w", "-S", "DOCKER-USER")) {
				if words := strings.Fields(line); words[0] == "-A" {
					got = append(got, words[len(words)-1])
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		const other = "DOCKER-USER -m mark --mark 0x2000000/0x2000000 -m comment --comment libnetwork-2 -j ACCEPT"
		run("-N DOCKER-USER")
		run("-A DOCKER-USER -s 203.0.113.1 -j DROP")
		run("-A " + other)
		f := open(t, ipt.Config{Variant: v})
		apply(t, f, fwtest.Some(), model.FirewallChange{})
		is("at first", "DROP", "LIBNETWORK-FORWARD", "ACCEPT")
		for range 2 {
			reconcile(t, f, fwtest.Some(), guard, false)
			run("-D " + other)
			reconcile(t, f, fwtest.Some(), guard, false)
			is("without the other", "DROP", "LIBNETWORK-FORWARD")
			run("-A " + other)
		}
		run("-D " + other)
		run("-I " + other)
		reconcile(t, f, fwtest.Some(), guard, true)
		is("before ours", "LIBNETWORK-FORWARD", "ACCEPT", "DROP") // as it accepts by itself
		run("-D " + other)
		reconcile(t, f, fwtest.Some(), guard, true)
		is("behind the users", "DROP", "LIBNETWORK-FORWARD")
		run("-A DOCKER-USER -j RETURN")
		reconcile(t, f, fwtest.Some(), guard, false)
		run("-A DOCKER-USER -s 203.0.113.2 -j DROP") // never asked
		reconcile(t, f, fwtest.Some(), guard, false)
		run("-I DOCKER-USER -j RETURN")
		reconcile(t, f, fwtest.Some(), guard, true)
		is("before a RETURN", "LIBNETWORK-FORWARD", "RETURN", "DROP", "RETURN", "DROP")
		run("-D DOCKER-USER -j RETURN")
		run("-D DOCKER-USER -j RETURN")
		run("-D DOCKER-USER 3")
		reconcile(t, f, fwtest.Some(), guard, true)
		is("without a RETURN", "DROP", "LIBNETWORK-FORWARD")
		second := open(t, ipt.Config{Variant: v, Name: "libnetwork-3"})
		apply(t, second, fwtest.Some(), model.FirewallChange{})
		is("two", "DROP", "LIBNETWORK-FORWARD", "LIBNETWORK-3-FORWARD")
		// Its users fill the chain anew, and at that moment networks come and go.
		run("-F DOCKER-USER")
		apply(t, f, model.FirewallChange{Networks: []model.FirewallNetwork{fwtest.Network(7)}}, model.FirewallChange{})
		apply(t, f, model.FirewallChange{}, model.FirewallChange{Networks: []model.FirewallNetwork{fwtest.Network(7)}})
		apply(t, second, model.FirewallChange{}, fwtest.Some())
		is("emptied")
		run("-A DOCKER-USER -s 203.0.113.1 -j DROP")
		reconcile(t, f, fwtest.Some(), guard, true)
		apply(t, second, fwtest.Some(), model.FirewallChange{})
		is("two again", "DROP", "LIBNETWORK-FORWARD", "LIBNETWORK-3-FORWARD")
		run("-A " + other)
		reconcile(t, f, fwtest.Some(), guard, false)
		reconcile(t, second, fwtest.Some(), guard, false)
		apply(t, second, model.FirewallChange{}, fwtest.Some())
		apply(t, f, model.FirewallChange{Networks: []model.FirewallNetwork{fwtest.Network(7)}}, model.FirewallChange{})
		reconcile(t, f, model.FirewallChange{}, guard, true)
		is("without a network", "DROP", "ACCEPT")
		apply(t, f, fwtest.Some(), model.FirewallChange{})
		apply(t, f, model.FirewallChange{}, fwtest.Some())
		is("when the last one goes", "DROP", "ACCEPT")
	})
}

// Rules of others that lead to chains of ours, or chains of others with names of ours, do not
// keep us from putting right what is damaged, nor from changes.
func TestHeldChains(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		prog, guard := "iptables-"+string(v), model.FirewallGuard{}
		run := func(line string) {
			t.Helper()
			nstest.Command(t, append([]string{prog, "-w"}, strings.Fields(line)...)...)
		}
		f := open(t, ipt.Config{Variant: v})
		whole := func(when string) {
			t.Helper()
			found, err := f.Reconcile(t.Context(), fwtest.Some(), guard)
			if err != nil || found != model.FoundWrong {
				t.Errorf("%s: found %v, %v", when, found, err)
			}
			reconcile(t, f, fwtest.Some(), guard, false)
			for _, p := range []model.FirewallChange{{Networks: []model.FirewallNetwork{fwtest.Network(7)}}} {
				apply(t, f, p, model.FirewallChange{})
				apply(t, f, model.FirewallChange{}, p)
			}
		}
		apply(t, f, fwtest.Some(), model.FirewallChange{})
		before := lists(t, f)
		for _, tt := range []struct {
			name  string
			lines []string
		}{
			{"a chain of somebody else", []string{"-N LIBNETWORK-MINE", "-A INPUT -j LIBNETWORK-MINE", "-D FORWARD 1", "-t nat -F PREROUTING"}},
			{"with a rule", []string{"-A LIBNETWORK-MINE -s 203.0.113.1 -j DROP", "-D FORWARD 2"}},
			{"other names", []string{"-E LIBNETWORK-TAKE LIBNETWORK-YY", "-E LIBNETWORK-FORWARD LIBNETWORK-ZZ", "-t nat -E LIBNETWORK-ANY LIBNETWORK-YY"}},
			{"names of somebody else", []string{"-E LIBNETWORK-ENTER FOO", "-E LIBNETWORK-CLOSED BAR", "-t nat -E LIBNETWORK-ANY FOO", "-E LIBNETWORK-TAKE DOCKER-TAKE"}},
			{"a rule that leads to ours", []string{"-A INPUT -j LIBNETWORK-PASS", "-A OUTPUT -g LIBNETWORK-ENTER", "-D FORWARD 1"}},
		} {
			for _, l := range tt.lines {
				run(l)
			}
			whole(tt.name)
			if diff := cmp.Diff(before, lists(t, f)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
		}
		apply(t, f, model.FirewallChange{}, fwtest.Some())
		reconcile(t, f, model.FirewallChange{}, guard, false)
		apply(t, f, fwtest.Some(), model.FirewallChange{})
		reconcile(t, f, fwtest.Some(), guard, false)
		for _, l := range []string{"-D INPUT -j LIBNETWORK-MINE", "-D INPUT -j LIBNETWORK-PASS", "-D OUTPUT -g LIBNETWORK-ENTER", "-F FOO", "-X FOO"} {
			run(l)
		}
		reconcile(t, f, fwtest.Some(), guard, true) // the chain can go now
		apply(t, f, model.FirewallChange{}, fwtest.Some())
		if left := ours(t, v); left != "" {
			t.Errorf("left:\n%s", left)
		}
	})
}

// A jump to the chain for users that comes directly behind our rules is asked before them.
func TestUserChainComesLater(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		prog := "iptables-" + string(v)
		run := func(line string) {
			nstest.Command(t, append([]string{prog, "-w"}, strings.Fields(line)...)...)
		}
		forward := func() (targets []string) {
			for line := range strings.Lines(nstest.Command(t, prog, "-w", "-S", "FORWARD")) {
				if rule, ok := strings.CutPrefix(line, "-A FORWARD "); ok {
					target := strings.Fields(rule[strings.LastIndex(rule, "-j ")+len("-j "):])[0]
					targets = append(targets, target)
				}
			}
			return targets
		}
		for _, guard := range []bool{false, true} {
			f := open(t, ipt.Config{Variant: v})
			g := model.FirewallGuard{V4: guard, V6: guard}
			reconcile(t, f, fwtest.Some(), g, true)
			order := forward()
			run("-N DOCKER-USER")
			run("-A FORWARD -j DOCKER-USER")
			reconcile(t, f, fwtest.Some(), g, true)
			if diff := cmp.Diff(append([]string{"DOCKER-USER"}, order...), forward()); diff != "" {
				t.Errorf("with a guard: %t (-want +got):\n%s", guard, diff)
			}
			reconcile(t, f, fwtest.Some(), g, false)
			run("-A FORWARD -j DOCKER-USER")
			reconcile(t, f, fwtest.Some(), g, false) // once is enough
			reconcile(t, f, model.FirewallChange{}, model.FirewallGuard{}, true)
			run("-F FORWARD")
			run("-X DOCKER-USER")
		}
	})
}

// Our rule in the chain for users of the other variant comes behind what the administrator
// drops, whenever he says so, and before a RETURN.
func TestRuleBesideIsLast(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		nstest.Require(t, nstest.IPTablesNFT, nstest.IPTablesLegacy)
		other := ipt.Legacy
		if v == ipt.Legacy {
			other = ipt.NFT
		}
		run := func(line string) {
			t.Helper()
			nstest.Command(t, append([]string{"iptables-" + string(other), "-w"}, strings.Fields(line)...)...)
		}
		run("-N DOCKER-USER")
		f := open(t, ipt.Config{Variant: v})
		const drop1, drop2 = "DOCKER-USER -s 203.0.113.1/32 -j DROP", "DOCKER-USER -s 203.0.113.2/32 -j DROP"
		const another = "DOCKER-USER -m mark --mark 0x2000000/0x2000000 -m comment --comment libnetwork-2 -j ACCEPT"
		const marked, ends = "-m mark --mark 0x2000000/0x2000000", "DOCKER-USER -m comment --comment end -j RETURN"
		asks := "DOCKER-USER " + marked + " -m comment --comment " + nft.RuleComment("libnetwork-3", "DOCKER-USER", marked+" -j LIBNETWORK-3-FORWARD") + " -j LIBNETWORK-3-FORWARD"
		const ours, returns = "DOCKER-USER -m mark --mark 0x2000000/0x2000000 -m comment --comment libnetwork -j ACCEPT", "DOCKER-USER -j RETURN"
		right := func(after string, want ...string) {
			t.Helper()
			if _, err := f.EnsureForeignAccept(t.Context()); err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(nstest.Command(t, "iptables-"+string(other), "-w", "-S", "DOCKER-USER")) {
				if text, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "); ok {
					got = append(got, strings.ReplaceAll(text, `"`, ""))
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("after %q (-want +got):\n%s", after, diff)
			}
		}
		for _, tt := range []struct {
			do   string
			want []string
		}{
			{"", []string{ours}},
			{"-A " + returns, []string{ours, returns}},
			{"-A " + drop1, []string{ours, returns, drop1}}, // never asked
			{"-D " + returns, []string{drop1, ours}},
			{"-A " + another, []string{drop1, ours, another}},
			{"-A " + drop2, []string{drop1, another, drop2, ours}},
			{"-I " + returns, []string{ours, returns, drop1, another, drop2}},
			{"-A " + ours, []string{ours, returns, drop1, another, drop2}}, // twice
			{"-I " + ours, []string{ours, returns, drop1, another, drop2}},
			{"-D " + returns, []string{drop1, another, drop2, ours}},
			{"-A " + ends, []string{drop1, another, drop2, ours, ends}},
			{"-D " + ours, []string{drop1, another, drop2, ours, ends}},
			// Chains of other data directories are asked first.
			{"-N LIBNETWORK-3-FORWARD", []string{drop1, another, drop2, asks, ours, ends}},
			{"-D " + asks, []string{drop1, another, drop2, asks, ours, ends}},
			{"-A " + asks, []string{drop1, another, drop2, asks, ours, ends, asks}}, // its owner takes it away
			{"-F DOCKER-USER", []string{asks, ours}},
			{"-D " + ours, []string{asks, ours}},
			{"-I DOCKER-USER " + ours[len("DOCKER-USER "):], []string{asks, ours}},
		} {
			if tt.do != "" {
				run(tt.do)
			}
			for range 2 {
				right(tt.do, tt.want...)
			}
		}
		// The owner knows the question for his own.
		run("-F DOCKER-USER")
		run("-X LIBNETWORK-3-FORWARD")
		owner := open(t, ipt.Config{Variant: other, Name: "libnetwork-3"})
		apply(t, owner, fwtest.Some(), model.FirewallChange{})
		run("-F DOCKER-USER")
		right("another data directory", asks, ours)
		reconcile(t, owner, fwtest.Some(), model.FirewallGuard{}, false)
		apply(t, owner, model.FirewallChange{}, fwtest.Some())
		right("without it", ours)
		if _, err := f.RemoveForeignAccept(t.Context()); err != nil {
			t.Fatal(err)
		}
		if list := nstest.Command(t, "iptables-"+string(other), "-w", "-S", "DOCKER-USER"); strings.Contains(list, "libnetwork ") {
			t.Errorf("left:\n%s", list)
		}
	})
}

// A rule of somebody else that leads to a chain of ours goes with the chain, and that is told.
func TestRetiredRules(t *testing.T) {
	nstest.Require(t, nstest.IPTablesNFT)
	nstest.Run(t, func() {
		f := open(t, ipt.Config{Variant: ipt.NFT})
		apply(t, f, fwtest.Some(), model.FirewallChange{})
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		nstest.Command(t, strings.Fields("iptables-nft -w -A INPUT -i lan0 -m comment --comment mine -j LIBNETWORK-INPUT")...)
		var log bytes.Buffer
		removed, err := ipt.RetireNFT(t.Context(), ipt.Config{Name: ipt.DefaultName, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil || !removed {
			t.Fatalf("removed: %t, %v", removed, err)
		}
		if strings.Count(log.String(), "led to a chain of ours") != 1 || !strings.Contains(log.String(), `table="ip filter" chain=INPUT to=LIBNETWORK-INPUT comment=mine`) {
			t.Errorf("told:\n%s", &log)
		}
		if left := ours(t, ipt.NFT); left != "" {
			t.Errorf("left:\n%s", left)
		}
	})
}
