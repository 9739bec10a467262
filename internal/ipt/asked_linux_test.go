package ipt_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
)

// All data directories are asked before one accepts, in whatever order they come.
func TestAllAreAsked(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		prog := "iptables-" + string(v)
		run := func(line string) {
			t.Helper()
			nstest.Command(t, append([]string{prog, "-w"}, strings.Fields(line)...)...)
		}
		order := func() (targets []string) {
			for line := range strings.Lines(nstest.Command(t, prog, "-w", "-S", "FORWARD")) {
				if words := strings.Fields(line); words[0] == "-A" {
					targets = append(targets, strings.TrimPrefix(words[len(words)-1], "LIBNETWORK-"))
				}
			}
			return targets
		}
		is := func(when string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, order()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		guard := model.FirewallGuard{}
		a, b := open(t, ipt.Config{Variant: v}), open(t, ipt.Config{Variant: v, Name: "libnetwork-2"})
		reconcile(t, a, fwtest.Some(), guard, true)
		is("one", "FORWARD", "ACCEPT", "GUARD")
		reconcile(t, b, fwtest.Some(), guard, true)
		is("two", "2-FORWARD", "2-ACCEPT", "FORWARD", "ACCEPT", "GUARD", "2-GUARD")
		reconcile(t, a, fwtest.Some(), guard, false)
		run("-D FORWARD 3")
		reconcile(t, a, fwtest.Some(), guard, true)
		is("one comes back", "FORWARD", "ACCEPT", "2-FORWARD", "2-ACCEPT", "GUARD", "2-GUARD")
		reconcile(t, b, fwtest.Some(), guard, false)
		run("-D FORWARD 2")
		run("-D FORWARD 3") // what accepts of both
		reconcile(t, a, fwtest.Some(), guard, true)
		reconcile(t, b, fwtest.Some(), guard, true)
		is("put right", "FORWARD", "ACCEPT", "2-FORWARD", "2-ACCEPT", "GUARD", "2-GUARD")
		run("-N DOCKER-USER")
		run("-I FORWARD -j DOCKER-USER")
		run("-I FORWARD 3 -i eth9 -j ACCEPT")
		reconcile(t, a, fwtest.Some(), guard, true) // the chain has our rule
		reconcile(t, b, fwtest.Some(), guard, true)
		reconcile(t, b, model.FirewallChange{}, guard, true)
		reconcile(t, b, fwtest.Some(), guard, true)
		// Docker starts again, and one of them does not run.
		for _, running := range []*ipt.Firewall{a, b} {
			run("-N DOCKER-FORWARD")
			run("-I FORWARD -j DOCKER-FORWARD")
			run("-D FORWARD -j DOCKER-USER")
			run("-I FORWARD -j DOCKER-USER")
			if found, err := running.Reconcile(t.Context(), fwtest.Some(), guard); err != nil || found != model.FoundMoved {
				t.Errorf("Docker starts again: found %v, %v", found, err)
			}
			targets := strings.Join(order(), " ")
			for _, first := range []string{"FORWARD", "2-FORWARD"} {
				if slices.Index(order(), first) > slices.Index(order(), "DOCKER-FORWARD") {
					t.Errorf("%s is asked behind Docker's: %s", first, targets)
				}
			}
			reconcile(t, running, fwtest.Some(), guard, false)
			run("-D FORWARD -j DOCKER-FORWARD")
			run("-X DOCKER-FORWARD")
			reconcile(t, b, model.FirewallChange{}, guard, true)
			reconcile(t, b, fwtest.Some(), guard, true)
			if _, err := a.Reconcile(t.Context(), fwtest.Some(), guard); err != nil {
				t.Fatal(err)
			}
		}
		// Not behind what accepts.
		is("an ACCEPT between", "DOCKER-USER", "2-FORWARD", "2-ACCEPT", "FORWARD", "ACCEPT", "ACCEPT", "GUARD", "2-GUARD")
		reconcile(t, a, fwtest.Some(), guard, false)
	})
}

// Two data directories are closed to each other at every moment, though Docker and others put
// their rules elsewhere between the listing of FORWARD and what it was made for.
func TestAskedWhateverComesBetween(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		nstest.Require(t, nstest.Veth)
		run := func(lines ...string) {
			t.Helper()
			for _, l := range lines {
				nstest.Command(t, append([]string{"iptables-" + string(v), "-w"}, strings.Fields(l)...)...)
			}
		}
		members := router(t) // of networks 1 and 2, and an outsider
		reaches := func(from, to int) bool { return reaches(t, members[from-1], members[to-1], to) }

		var between func()
		want := func(i int) model.FirewallChange { return fwtest.Networks(fwtest.Network(i)) }
		run("-P FORWARD DROP", "-N DOCKER-USER", "-N DOCKER-FORWARD", "-A FORWARD -j DOCKER-USER", "-A FORWARD -j DOCKER-FORWARD")
		fws := []*ipt.Firewall{
			open(t, ipt.Config{Variant: v, Steps: once(&between)}), open(t, ipt.Config{Variant: v, Name: "libnetwork-2", Steps: once(&between)}),
		}
		for i, f := range fws {
			reconcile(t, f, want(i+1), model.FirewallGuard{}, true)
		}
		start := []string{"-D FORWARD -j DOCKER-FORWARD", "-I FORWARD -j DOCKER-FORWARD", "-D FORWARD -j DOCKER-USER", "-I FORWARD -j DOCKER-USER"}
		for first := range fws { // to look, when Docker has started for the first time
			for seen := range start { // of its second start, by the other one
				run(start...)
				look := func(i int) (found model.Finding, right bool) {
					found, err := fws[i].Reconcile(t.Context(), want(i+1), model.FirewallGuard{})
					if err != nil && !errors.Is(err, model.ErrFirewallTampered) {
						t.Fatal(err)
					}
					if reaches(1, 2) || reaches(2, 1) {
						t.Errorf("%d looks first, the other one sees %d: open to each other:\n%s", first+1, seen+1, nstest.Command(t, "iptables-"+string(v), "-w", "-S", "FORWARD"))
					}
					return found, err == nil
				}
				look(first)
				run(start[:seen+1]...)
				between = func() { run(start[seen+1:]...) }
				look(1 - first)
				if between != nil { // there was nothing to change
					between()
					between = nil
				}
				for i := range fws {
					for found, right := look(i); !right || found != model.FoundRight; found, right = look(i) {
					}
				}
				if !reaches(1, 3) || !reaches(2, 3) {
					t.Error("nothing gets out")
				}
			}
		}
	})
}

// A rule that accepts, put before those of one data directory, does not keep it from being asked
// by the next one, and goes on to come first.
func TestAskedBehindAccept(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		nstest.Require(t, nstest.Veth)
		members := router(t)
		run := func(line string) {
			t.Helper()
			nstest.Command(t, append([]string{"iptables-" + string(v), "-w"}, strings.Fields(line)...)...)
		}
		run("-P FORWARD DROP")
		a, b := open(t, ipt.Config{Variant: v}), open(t, ipt.Config{Variant: v, Name: "libnetwork-2"})
		reconcile(t, a, fwtest.Networks(fwtest.Network(1)), model.FirewallGuard{}, true)
		run("-I FORWARD -i br3 -o br1 -j ACCEPT")
		run("-I FORWARD -i br1 -o br3 -j ACCEPT")
		reconcile(t, b, fwtest.Networks(fwtest.Network(2)), model.FirewallGuard{}, true)
		for _, c := range []struct {
			from, to int
			want     bool
		}{{1, 2, false}, {2, 1, false}, {1, 3, true}, {2, 3, true}, {3, 1, true}, {3, 2, false}} {
			if got := reaches(t, members[c.from-1], members[c.to-1], c.to); got != c.want {
				t.Errorf("from %d to %d: %t, want %t", c.from, c.to, got, c.want)
			}
		}
	})
}

// What somebody puts into the chain that accepts, and is no question, goes.
func TestNoQuestions(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		f := open(t, ipt.Config{Variant: v})
		one := fwtest.Networks(fwtest.Network(1))
		apply(t, f, one, model.FirewallChange{})
		for _, rule := range []string{"-j ACCEPT", "-m comment --comment libnetwork-2.0123abcd -j ACCEPT", "-m comment --comment libnetwork -j ACCEPT"} {
			nstest.Command(t, append([]string{"iptables-" + string(v), "-w", "-I", "LIBNETWORK-ACCEPT"}, strings.Fields(rule)...)...)
			if found, err := f.Reconcile(t.Context(), one, model.FirewallGuard{}); err != nil || found != model.FoundWrong {
				t.Errorf("%s: found %v, %v", rule, found, err)
			}
			reconcile(t, f, one, model.FirewallGuard{}, false)
			if list := nstest.Command(t, "iptables-"+string(v), "-w", "-S", "LIBNETWORK-ACCEPT"); strings.Count(list, "-j ") != 2 {
				t.Errorf("%s is left:\n%s", rule, list)
			}
		}
	})
}

// Who goes while another data directory begins to ask him, or goes too, tries again: nothing of
// his was touched.
func TestGoesWhileAsked(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		var between func()
		a, b := open(t, ipt.Config{Variant: v}), open(t, ipt.Config{Variant: v, Name: "libnetwork-2", Steps: once(&between)})
		one, two, none := fwtest.Networks(fwtest.Network(1)), fwtest.Networks(fwtest.Network(2)), model.FirewallChange{}
		apply(t, b, two, none)
		between = func() { apply(t, a, one, none) }
		apply(t, b, none, two)
		reconcile(t, a, one, model.FirewallGuard{}, false)
		apply(t, b, two, none)
		between = func() { apply(t, a, none, one) }
		apply(t, b, none, two)
		if left := ours(t, v); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
		// But what was touched is for a repair to see.
		apply(t, b, two, none)
		between = func() {
			nstest.Command(t, "iptables-"+string(v), "-w", "-F", "LIBNETWORK-2-CT")
			apply(t, a, one, none)
		}
		if err := b.Apply(t.Context(), none, two); !errors.Is(err, model.ErrFirewallTampered) {
			t.Errorf("somebody flushes a chain meanwhile: %v", err)
		}
		reconcile(t, b, none, model.FirewallGuard{}, true)
		apply(t, a, none, one)
		if left := ours(t, v); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// Two data directories that begin at the same time know of each other when both have begun.
func TestBeginTogether(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		var between func()
		a, b := open(t, ipt.Config{Variant: v}), open(t, ipt.Config{Variant: v, Name: "libnetwork-2", Steps: once(&between)})
		one, two, none := fwtest.Networks(fwtest.Network(1)), fwtest.Networks(fwtest.Network(2)), model.FirewallChange{}
		for _, begins := range []func(){
			func() { apply(t, b, two, none) },
			func() { reconcile(t, b, two, model.FirewallGuard{}, true) },
		} {
			between = func() { apply(t, a, one, none) }
			begins()
			reconcile(t, a, one, model.FirewallGuard{}, false)
			reconcile(t, b, two, model.FirewallGuard{}, false)
			// Both may have put the same question.
			for _, change := range []string{"-I", "-D"} {
				nstest.Command(t, append([]string{"iptables-" + string(v), "-w", change, "LIBNETWORK-ACCEPT"}, question(t, v)...)...)
				if found, err := a.Reconcile(t.Context(), one, model.FirewallGuard{}); err != nil || found != model.FoundMoved {
					t.Errorf("%s a question: found %v, %v", change, found, err)
				}
				reconcile(t, a, one, model.FirewallGuard{}, false)
				reconcile(t, b, two, model.FirewallGuard{}, false)
			}
			apply(t, a, none, one)
			apply(t, b, none, two)
			if left := ours(t, v); left != "" {
				t.Errorf("left behind:\n%s", left)
			}
		}
	})
}

// Two data directories stay closed to each other when somebody gives a chain of one another name,
// though only the other one runs; and when it is made again, both are as before.
func TestAskedByAnotherName(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		nstest.Require(t, nstest.Veth)
		members := router(t)
		a, b := open(t, ipt.Config{Variant: v}), open(t, ipt.Config{Variant: v, Name: "libnetwork-2"})
		one, two, none := fwtest.Networks(fwtest.Network(1)), fwtest.Networks(fwtest.Network(2)), model.FirewallChange{}
		for _, chain := range []string{"FORWARD", "ACCEPT", "CLOSED", "PASS"} {
			apply(t, a, one, none)
			apply(t, b, two, none)
			closed := func(when string) {
				t.Helper()
				if reaches(t, members[0], members[1], 2) || reaches(t, members[1], members[0], 1) {
					t.Errorf("%s %s: open to each other:\n%s", chain, when, nstest.Command(t, "iptables-"+string(v), "-w", "-S"))
				}
			}
			look := func(f *ipt.Firewall, want model.FirewallChange) {
				t.Helper()
				if _, err := f.Reconcile(t.Context(), want, model.FirewallGuard{}); err != nil {
					t.Error(err)
				}
			}
			nstest.Command(t, "iptables-"+string(v), "-w", "-E", "LIBNETWORK-"+chain, "RENAMED")
			closed("renamed")
			look(b, two)
			closed("seen by the other one")
			look(b, two)
			closed("seen again by the other one")
			look(a, one)
			closed("made again")
			look(b, two)
			look(a, one)
			closed("at the end")
			reconcile(t, a, one, model.FirewallGuard{}, false)
			reconcile(t, b, two, model.FirewallGuard{}, false)
			nstest.Command(t, "iptables-"+string(v), "-w", "-F", "RENAMED")
			nstest.Command(t, "iptables-"+string(v), "-w", "-X", "RENAMED") // nothing leads there
			apply(t, a, none, one)
			apply(t, b, none, two)
			if left := ours(t, v); left != "" {
				t.Errorf("left behind:\n%s", left)
			}
		}
	})
}

// once counts steps, and before the next one does what is to be done between a listing and what
// it is made for.
func once(between *func()) *step.Counter {
	return step.New(func(int, string) error {
		if do := *between; do != nil {
			*between = nil
			do()
		}
		return nil
	})
}

// question is the rule by which LIBNETWORK-ACCEPT asks another data directory.
func question(t *testing.T, v ipt.Variant) []string {
	t.Helper()
	for line := range strings.Lines(nstest.Command(t, "iptables-"+string(v), "-w", "-S", "LIBNETWORK-ACCEPT")) {
		if strings.Contains(line, "-FORWARD") {
			return strings.Fields(strings.ReplaceAll(line, `"`, ""))[2:]
		}
	}
	t.Fatal("nobody is asked")
	return nil
}

// router makes the host a router, and three members.
func router(t *testing.T) (members [3]*nstest.NS) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range members {
		members[i] = nstest.New(t)
		member(t, members[i], i+1)
	}
	return members
}

// member makes the link brI of the host, with the first address of network I, and behind it ns
// with the second.
func member(t *testing.T, ns *nstest.NS, i int) {
	t.Helper()
	br := fmt.Sprintf("br%d", i)
	nstest.Command(t, "ip", "link", "add", br, "type", "veth", "peer", "name", "eth0", "netns", ns.Path())
	nstest.Command(t, "ip", "addr", "add", fmt.Sprintf("172.20.%d.1/24", i), "dev", br)
	nstest.Command(t, "ip", "link", "set", br, "up")
	err := ns.Do(func() error {
		nstest.Command(t, "ip", "addr", "add", fmt.Sprintf("172.20.%d.2/24", i), "dev", "eth0")
		nstest.Command(t, "ip", "link", "set", "eth0", "up")
		nstest.Command(t, "ip", "route", "add", "default", "via", fmt.Sprintf("172.20.%d.1", i))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// reaches says whether a packet gets from one namespace to that of network i.
func reaches(t *testing.T, from, to *nstest.NS, i int) bool {
	t.Helper()
	addr := fmt.Sprintf("172.20.%d.2:7", i)
	var c net.PacketConn
	err := to.Do(func() (err error) {
		c, err = net.ListenPacket("udp4", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = from.Do(func() error {
		out, err := net.Dial("udp4", addr)
		if err != nil {
			return err
		}
		defer out.Close()
		_, err = out.Write([]byte("x"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Between two ends of a link nothing waits, but for the first packet for its neighbour.
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, _, err = c.ReadFrom(make([]byte, 8))
	return err == nil
}
