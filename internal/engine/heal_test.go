package engine_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
)

// TestHeal takes objects away behind the engine's back.
func TestHeal(t *testing.T) {
	w := newWorld(t)
	w.populate(t)
	before := w.k.Keys()
	n, s := w.network(t, "a"), w.sandbox(t)
	_, events, cancel := engine.Subscribe(w.e, time.Time{}, asIs)
	defer cancel()
	veth := s.View().Objects()[slices.IndexFunc(s.View().Objects(), func(o model.Object) bool { _, ok := o.(model.Veth); return ok })]
	bridge := model.Bridge{Name: n.Record().Bridge.Link}
	// next waits for the repair that an event tells of.
	next := func() engine.Event { return <-events }
	for _, tt := range []struct {
		name   string
		lost   model.Object
		events []string
	}{
		{"a bridge", bridge, []string{"network repair bridge/" + bridge.Name}},
		{"the link of a container", veth, []string{"sandbox repair " + veth.Key()}},
		{"rules", model.FirewallNetwork{ID: n.ID(), Bridge: bridge.Name}, []string{"firewall repair "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.k.Lose(tt.lost)
			var got []string
			for range tt.events {
				ev := next()
				got = append(got, ev.Type+" "+ev.Action+" "+ev.Attributes["object"])
			}
			if diff := cmp.Diff(tt.events, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, w.k.Keys()); diff != "" {
				t.Errorf("the kernel (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("what firewalld has forgotten", func(t *testing.T) {
		w.k.Foreign("configure", "zone z added")
		w.k.Foreign("repair", "zone z interface br1")
		var got []string
		for range 2 {
			ev := next()
			got = append(got, ev.Type+" "+ev.Action+" "+ev.Attributes["object"])
		}
		if diff := cmp.Diff([]string{"firewall configure zone z added", "firewall repair zone z interface br1"}, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
	if diff := cmp.Diff(map[string]uint64{"firewall": 2, "link": 2, "forwarding": 0}, w.e.Repairs()); diff != "" {
		t.Errorf("repairs (-want +got):\n%s", diff)
	}
	t.Run("what is deleted meanwhile is not made again", func(t *testing.T) {
		if err := s.Delete(t.Context()); err != nil {
			t.Fatal(err)
		}
		left := w.k.Keys()
		w.k.Lose(veth)
		w.k.Lose(bridge) // its repair comes after that of the link
		for ev := next(); ev.Action != "repair"; ev = next() {
		}
		if diff := cmp.Diff(left, w.k.Keys()); diff != "" {
			t.Errorf("the kernel (-want +got):\n%s", diff)
		}
	})
	t.Run("one who keeps undoing is given a pause", func(t *testing.T) {
		for range 20 {
			w.k.Lose(bridge)
			for ev := next(); ev.Action != "repair"; ev = next() {
			}
		}
		w.k.Lose(bridge)
		if slices.Contains(w.k.Keys(), bridge.Key()) {
			t.Error("it was repaired at once")
		}
		if ev := next(); ev.Action != "repair" {
			t.Errorf("event %v", ev)
		}
	})
}

// TestHealAgain has a repair fail: it is not told of as one, and tried again.
func TestHealAgain(t *testing.T) {
	w := newWorld(t)
	w.populate(t)
	before := w.k.Keys()
	n, s := w.network(t, "a"), w.sandbox(t)
	_, events, cancel := engine.Subscribe(w.e, time.Time{}, asIs)
	defer cancel()
	for _, lost := range []model.Object{
		model.Bridge{Name: n.Record().Bridge.Link}, model.Veth{Host: s.View().Attached[0].Endpoint.Attached.Host},
	} {
		t.Run(lost.Key(), func(t *testing.T) {
			w.arm(1)
			w.k.Lose(lost)
			if ev := <-events; ev.Action != "repair" || ev.Attributes["object"] != lost.Key() {
				t.Errorf("event %v", ev)
			}
			if want := "kernel: create " + lost.Key(); w.failure() != want {
				t.Errorf("%q has failed, want %q", w.failure(), want)
			}
			if diff := cmp.Diff(before, w.k.Keys()); diff != "" {
				t.Errorf("the kernel at the event (-want +got):\n%s", diff)
			}
		})
	}
	if got := w.e.Repairs()["link"]; got != 2 {
		t.Errorf("%d repairs are counted", got)
	}
}
