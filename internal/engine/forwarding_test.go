package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
)

// Where forwarding cannot be turned off when the last network goes, the host stays a
// router: the guard stays too, until a later network that goes, or a start, turns it off.
func TestForwardingThatStays(t *testing.T) {
	for name, later := range map[string]func(*testing.T, *world){
		"a start": func(t *testing.T, w *world) {
			t.Helper()
			if err := w.e.Close(); err != nil {
				t.Fatal(err)
			}
			w.open(t)
		},
		"a network that goes": func(t *testing.T, w *world) { comeAndGo(t, w) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var stuck atomic.Bool
			w.k.FailForward = func(v6, on bool) error {
				if stuck.Load() && !v6 && !on {
					return errors.New("read-only file system")
				}
				return nil
			}
			check := func(when string, want4 bool) {
				t.Helper()
				on4, _ := w.k.Forwarding(t.Context(), false)
				on6, _ := w.k.Forwarding(t.Context(), true)
				if want := (model.FirewallGuard{V4: want4}); w.k.Guards() != want || on4 != want4 || on6 {
					t.Errorf("%s: guarded %+v, forwarding %t and %t, want %+v", when, w.k.Guards(), on4, on6, want)
				}
			}
			stuck.Store(true)
			comeAndGo(t, w)
			check("when it fails", true)
			later(t, w)
			check("when it fails again", true)
			stuck.Store(false)
			later(t, w)
			check("when it does not", false)
		})
	}
}

// Two data directories of which one makes its first network while the last one of the other
// goes: one of them sees the other, whoever was later, and forwarding is on.
func TestForwardingMeets(t *testing.T) {
	forwarding := func(t *testing.T, w *world, want bool) {
		t.Helper()
		for _, v6 := range []bool{false, true} {
			if on, _ := w.k.Forwarding(t.Context(), v6); on != want {
				t.Errorf("IPv6 %t: forwarding is %t, want %t", v6, on, want)
			}
		}
	}
	guarded := model.FirewallGuard{V4: true, V6: true}
	t.Run("as ours goes", func(t *testing.T) {
		w := newWorld(t)
		var others atomic.Bool
		w.k.Others = others.Load
		n := dual(t, w, "n", 9, false)
		w.k.FailForward = func(_, on bool) error {
			others.Store(others.Load() || !on) // its bridge comes as we turn forwarding off
			return nil
		}
		if err := n.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		forwarding(t, w, true)
		if got := w.k.Guards(); got != guarded {
			t.Errorf("guarded %+v", got)
		}
		others.Store(false)
		w.k.FailForward = nil
		comeAndGo(t, w)
		forwarding(t, w, false)
		if got := w.k.Guards(); got != (model.FirewallGuard{}) {
			t.Errorf("guarded %+v at the end", got)
		}
	})
	t.Run("when theirs goes", func(t *testing.T) {
		w := newWorld(t)
		var others atomic.Bool
		others.Store(true)
		w.k.Others = others.Load
		comeAndGo(t, w)
		forwarding(t, w, true)
		others.Store(false)
		w.k.Theirs("theirs")
		for end := time.Now().Add(10 * time.Second); w.k.Guards() != (model.FirewallGuard{}) && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		forwarding(t, w, false)
		if got := w.k.Guards(); got != (model.FirewallGuard{}) {
			t.Errorf("guarded %+v", got)
		}
	})
	t.Run("as ours comes", func(t *testing.T) {
		w := newWorld(t)
		for _, v6 := range []bool{false, true} {
			if err := w.k.Forward(t.Context(), v6, true, model.BeforeForwarding{}); err != nil {
				t.Fatal(err)
			}
		}
		w.k.Fail = func(_ string, o model.Object) error {
			if _, ok := o.(model.Bridge); ok {
				w.k.StopForwarding(false)
				w.k.StopForwarding(true)
			}
			return nil
		}
		dual(t, w, "n", 9, false)
		forwarding(t, w, true)
		if got := w.k.Guards(); got != guarded {
			t.Errorf("guarded %+v", got)
		}
	})
}

// dual makes a network of both families.
func dual(t *testing.T, w *world, name string, i int, internal bool) *engine.Network {
	t.Helper()
	return need(w.e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: "bridge", Name: name, IPv6: true, Internal: internal,
		IPAM: model.IPAM{
			Conf4: []model.IPAMConf{{Pool: fmt.Sprintf("10.%d.0.0/24", i)}},
			Conf6: []model.IPAMConf{{Pool: fmt.Sprintf("fd00:%d::/64", i)}},
		},
	}))(t)
}

func comeAndGo(t *testing.T, w *world) {
	t.Helper()
	n := dual(t, w, "n", 9, false)
	if g := w.k.Guards(); !g.V4 || !g.V6 {
		t.Errorf("with a network: guarded %+v", g)
	}
	if err := n.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What we have turned on and networks need is turned on again when somebody else turns it
// off, and told, with the guard as it was. What was on before us is his.
func TestForwardingTurnedOff(t *testing.T) {
	for _, test := range []struct {
		name          string
		before        bool // it was on before us
		internal, off bool // no network needs it; we are not to turn it on any more
		repairs       uint64
		warns         bool
	}{
		{name: "turned on by us", repairs: 2},
		{name: "on before us", before: true, warns: true},
		{name: "needed no more", internal: true},
		{name: "not to be turned on", off: true, warns: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			for _, v6 := range []bool{false, true} {
				if err := w.k.Forward(t.Context(), v6, test.before, model.BeforeForwarding{}); err != nil {
					t.Fatal(err)
				}
			}
			n := dual(t, w, "n", 9, false)
			if test.internal {
				dual(t, w, "in", 8, true) // keeps it on
				if err := n.Delete(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if test.off {
				if err := w.e.Close(); err != nil {
					t.Fatal(err)
				}
				w.off = true
				w.open(t)
			}
			guard := w.k.Guards()
			if guard != (model.FirewallGuard{V4: !test.before, V6: !test.before}) {
				t.Errorf("guarded %+v", guard)
			}
			_, events, cancel := engine.Subscribe(w.e, time.Time{}, asIs)
			defer cancel()
			for _, v6 := range []bool{false, true} {
				w.k.StopForwarding(v6)
				if test.repairs > 0 {
					object := model.Forwarding{IPv6: v6}.Key()
					if ev := <-events; ev.Type != "host" || ev.Action != "repair" || ev.Attributes["object"] != object {
						t.Errorf("event %v", ev)
					}
				}
			}
			w.k.Lose(model.Bridge{Name: w.e.Networks()[0].Record().Bridge.Link}) // looked at after forwarding
			if ev := <-events; ev.Type != "network" {
				t.Errorf("event %v", ev)
			}
			for _, family := range []string{"ipv6=false", "ipv6=true"} {
				if log := w.log.String(); strings.Contains(log, "not ours to turn on\" "+family) != test.warns {
					t.Errorf("%s, warned of otherwise than %t:\n%s", family, test.warns, log)
				}
			}
			for _, v6 := range []bool{false, true} {
				if on, _ := w.k.Forwarding(t.Context(), v6); on != (test.repairs > 0) {
					t.Errorf("IPv6 %t: forwarding %t", v6, on)
				}
			}
			if got := w.e.Repairs()["forwarding"]; got != test.repairs {
				t.Errorf("%d repairs are counted, want %d", got, test.repairs)
			}
			if w.k.Guards() != guard {
				t.Errorf("guarded %+v, was %+v", w.k.Guards(), guard)
			}
		})
	}
}

// Where the kernel has not told of it, the next network finds that it is off; nothing is
// written in a family that is on.
func TestForwardingFoundOff(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 %t", lost), func(t *testing.T) {
			w := newWorld(t)
			dual(t, w, "n", 9, false)
			if err := w.k.Forward(t.Context(), lost, false, model.BeforeForwarding{}); err != nil {
				t.Fatal(err)
			}
			var wrote []bool
			w.k.FailForward = func(v6, on bool) error {
				wrote = append(wrote, v6)
				if !on {
					t.Errorf("IPv6 %t: turned off", v6)
				}
				return nil
			}
			_, events, cancel := engine.Subscribe(w.e, time.Time{}, asIs)
			defer cancel()
			dual(t, w, "m", 8, false)
			if ev, object := <-events, (model.Forwarding{IPv6: lost}).Key(); ev.Action != "repair" || ev.Attributes["object"] != object {
				t.Errorf("event %v", ev)
			}
			if len(wrote) != 1 || wrote[0] != lost {
				t.Errorf("turned on, by IPv6: %v", wrote)
			}
			if on, _ := w.k.Forwarding(t.Context(), lost); !on || w.e.Repairs()["forwarding"] != 1 {
				t.Errorf("forwarding %t, repairs %v", on, w.e.Repairs())
			}
			if log := w.log.String(); !strings.Contains(log, "turned off packet forwarding: it is on again\" kind=forwarding name="+(model.Forwarding{IPv6: lost}).Key()) {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

// A host may have had forwarding turned on by somebody else, who has not done so since it
// booted.
func TestForwardingOffAfterBoot(t *testing.T) {
	for _, off := range []bool{false, true} {
		t.Run(fmt.Sprintf("not ours to turn on %t", off), func(t *testing.T) {
			w := newWorld(t)
			for _, v6 := range []bool{false, true} {
				if err := w.k.Forward(t.Context(), v6, true, model.BeforeForwarding{}); err != nil {
					t.Fatal(err)
				}
			}
			dual(t, w, "n", 9, false)
			if err := w.e.Close(); err != nil {
				t.Fatal(err)
			}
			for _, v6 := range []bool{false, true} {
				if err := w.k.Forward(t.Context(), v6, false, model.BeforeForwarding{}); err != nil {
					t.Fatal(err)
				}
			}
			w.off = off
			w.open(t)
			for _, v6 := range []bool{false, true} {
				if on, _ := w.k.Forwarding(t.Context(), v6); on == off {
					t.Errorf("IPv6 %t: forwarding is on: %t", v6, on)
				}
			}
			if got := w.k.Guards(); got != (model.FirewallGuard{V4: !off, V6: !off}) {
				t.Errorf("guarded %+v", got)
			}
			if log := w.log.String(); strings.Contains(log, "not ours to turn on") != off {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

// What we had turned on, and somebody else has turned off while nobody was there, is on again
// after a start, and told of.
func TestForwardingOffWhileDead(t *testing.T) {
	w := newWorld(t)
	dual(t, w, "n", 9, false)
	for _, off := range []bool{true, false} {
		if err := w.e.Close(); err != nil {
			t.Fatal(err)
		}
		want := uint64(0)
		if off {
			want = 2
			for _, v6 := range []bool{false, true} {
				if err := w.k.Forward(t.Context(), v6, false, model.BeforeForwarding{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		begun := time.Now()
		w.open(t)
		told, _, cancel := engine.Subscribe(w.e, begun, func(ev engine.Event) string { return ev.Action + " " + ev.Type })
		cancel()
		if got := w.e.Repairs()["forwarding"]; got != want || uint64(len(told)) != want {
			t.Errorf("turned off %t: %d repairs, events %q", off, got, told)
		}
		for _, v6 := range []bool{false, true} {
			if on, _ := w.k.Forwarding(t.Context(), v6); !on {
				t.Errorf("turned off %t: forwarding of IPv6 %t is off", off, v6)
			}
		}
	}
}

// What we turned on in an earlier boot of the machine, and somebody else in this one, is his. So
// it is where the host is a container that was started again, in the same boot.
func TestForwardingOnAfterBoot(t *testing.T) {
	for _, tt := range []struct {
		name, boot  string // the second one
		was, cookie string // of the namespace
		ours        bool
	}{
		{"the same", "one", "a", "a", true},
		{"another boot", "another", "a", "a", false},
		{"another namespace", "one", "a", "b", false},
		{"the namespace was not recorded", "one", "", "a", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.boot, w.k.Cookie = "one", tt.was
			if err := w.e.Close(); err != nil {
				t.Fatal(err)
			}
			w.open(t)
			n := dual(t, w, "n", 9, false)
			if err := w.e.Close(); err != nil {
				t.Fatal(err)
			}
			w.boot, w.k.Cookie = tt.boot, tt.cookie
			if !tt.ours {
				if err := w.k.Guard(t.Context(), model.FirewallGuard{}); err != nil { // the kernel is another one
					t.Fatal(err)
				}
			}
			w.open(t)
			if got := w.k.Guards(); got != (model.FirewallGuard{V4: tt.ours, V6: tt.ours}) {
				t.Errorf("guarded %+v", got)
			}
			n, err := w.e.NetworkByName(n.Name())
			if err == nil {
				err = n.Delete(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, v6 := range []bool{false, true} {
				if on, _ := w.k.Forwarding(t.Context(), v6); on == tt.ours {
					t.Errorf("IPv6 %t: forwarding is on: %t", v6, on)
				}
			}
		})
	}
}
