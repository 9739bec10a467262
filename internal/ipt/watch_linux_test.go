package ipt_test

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// watched is an event, and what it is taken for.
type watched struct {
	nft.TableEvent
	foreign bool
}

// watchEvents hands on what a firewall hears, until the test ends.
func watchEvents(t *testing.T, f *ipt.Firewall) <-chan watched {
	t.Helper()
	events := make(chan watched, 1<<16)
	w, err := f.WatchEvents(func(ev nft.TableEvent, foreign bool) { events <- watched{ev, foreign} })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return events
}

// stranger runs a command, and returns the number that its changes carry.
func stranger(t *testing.T, args ...string) uint32 {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return uint32(cmd.Process.Pid)
}

// What we change ourselves is not looked at again; what others change is, also in
// between.
func TestWatchKnowsOwnChanges(t *testing.T) {
	nstest.Require(t, nstest.IPTablesNFT)
	nstest.Run(t, func() {
		f := open(t, ipt.Config{Variant: ipt.NFT})
		apply(t, f, fwtest.Some(), model.FirewallChange{})
		events := watchEvents(t, f)

		// until reads events up to the first one that carries a number.
		until := func(strangers []uint32) (own int) {
			t.Helper()
			left := slices.Clone(strangers)
			for len(left) > 0 {
				ev := <-events
				by := slices.Contains(strangers, ev.Port)
				if ev.foreign != by {
					t.Fatalf("a change of table %s by %d is taken for somebody else's: %t, want %t", ev.Table, ev.Port, ev.foreign, by)
				}
				if !by {
					own++
				}
				left = slices.DeleteFunc(left, func(p uint32) bool { return p == ev.Port })
			}
			return own
		}
		apply(t, f, model.FirewallChange{}, fwtest.Some())
		reconcile(t, f, fwtest.Some(), model.FirewallGuard{V4: true}, true)
		if err := f.SetGuard(t.Context(), model.FirewallGuard{}); err != nil {
			t.Fatal(err)
		}
		if own := until([]uint32{stranger(t, "iptables-nft", "-A", "INPUT", "-j", "RETURN")}); own == 0 {
			t.Error("there are no events of our own changes")
		}

		ports := model.FirewallChange{Ports: fwtest.Both("0.0.0.0", 7000, 7000, "172.20.1.2", 80)}
		var strangers []uint32
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 10 {
				if err := f.Apply(t.Context(), ports, model.FirewallChange{}); err != nil {
					t.Error(err)
				}
				if err := f.Apply(t.Context(), model.FirewallChange{}, ports); err != nil {
					t.Error(err)
				}
			}
		})
		for range 20 {
			strangers = append(strangers, stranger(t, "ip6tables-nft", "-w", "-t", "nat", "-A", "OUTPUT", "-j", "RETURN"))
		}
		wg.Wait()
		if own := until(append(strangers, stranger(t, "nft", "add chain ip filter x"))); own == 0 {
			t.Error("there are no events of our own changes")
		}
	})
}

// Where nothing tells of changes the rules are looked at again and again.
func TestWatchPollsLegacy(t *testing.T) {
	nstest.Require(t, nstest.IPTablesLegacy)
	nstest.Run(t, func() {
		f := open(t, ipt.Config{Variant: ipt.Legacy})
		ctx, cancel := context.WithCancel(t.Context())
		w, err := f.Watch(cancel)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Run(ctx); err != nil { // ends when it has looked
			t.Error(err)
		}
	})
}
