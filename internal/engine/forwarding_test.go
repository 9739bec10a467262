package engine_test

import (
	"errors"
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
				on4, _, _ := w.k.Forwarding(t.Context(), false)
				on6, _, _ := w.k.Forwarding(t.Context(), true)
				if want := (model.FirewallGuard{V4: want4}); w.k.Guarded() != want || on4 != want4 || on6 {
					t.Errorf("%s: guarded %+v, forwarding %t and %t, want %+v", when, w.k.Guarded(), on4, on6, want)
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

func comeAndGo(t *testing.T, w *world) {
	t.Helper()
	n := need(w.e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: "bridge", Name: "n", IPv6: true,
		IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.9.0.0/24"}}, Conf6: []model.IPAMConf{{Pool: "fd00:9::/64"}}},
	}))(t)
	if g := w.k.Guarded(); !g.V4 || !g.V6 {
		t.Errorf("with a network: guarded %+v", g)
	}
	if err := n.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What we have turned on is turned on again when somebody else turns it off, and told; what
// was on before us is not ours.
func TestForwardingTurnedOff(t *testing.T) {
	for name, before := range map[string]bool{"by us": false, "before us": true} {
		t.Run("turned on "+name, func(t *testing.T) {
			w := newWorld(t)
			for _, v6 := range []bool{false, true} {
				if err := w.k.Forward(t.Context(), v6, before, nil); err != nil {
					t.Fatal(err)
				}
			}
			n := need(w.e.CreateNetwork(t.Context(), engine.NetworkRequest{
				Driver: "bridge", Name: "n", IPv6: true,
				IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.9.0.0/24"}}, Conf6: []model.IPAMConf{{Pool: "fd00:9::/64"}}},
			}))(t)
			_, events, cancel := engine.Subscribe(w.e, time.Time{}, asIs)
			defer cancel()
			for v6, object := range map[bool]string{false: "forwarding/ipv4", true: "forwarding/ipv6"} {
				w.k.StopForwarding(v6)
				if !before {
					if ev := <-events; ev.Type != "host" || ev.Action != "repair" || ev.Attributes["object"] != object {
						t.Errorf("event %v", ev)
					}
				}
			}
			if err := n.Delete(t.Context()); err != nil { // an event at last
				t.Fatal(err)
			}
			if ev := <-events; ev.Type != "network" {
				t.Errorf("event %v", ev)
			}
			want := uint64(2)
			if before {
				want = 0
			}
			if got := w.e.Repairs()["forwarding"]; got != want {
				t.Errorf("%d repairs are counted, want %d", got, want)
			}
		})
	}
}
