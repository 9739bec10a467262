//go:build linux

package libnetwork_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/libnetwork/libnetwork"
)

func subscribe(t testing.TB, c libnetwork.NetworkController) (<-chan libnetwork.Event, func()) {
	t.Helper()
	s, ok := c.(libnetwork.EventSource)
	if !ok {
		t.Fatalf("a %T is no EventSource", c)
	}
	return s.Subscribe()
}

func TestEvents(t *testing.T) {
	c := newController(t)
	events, cancel := subscribe(t, c)
	other, cancelOther := subscribe(t, c)
	defer cancelOther()
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	sb := newSandbox(t, c, "c1")
	ep := newEndpoint(t, n, "e")
	ok(t, ep.Join(sb))
	ok(t, sb.Rename("new"))
	ok(t, sb.Refresh())
	ok(t, ep.Leave(sb))
	ok(t, ep.Delete(false))
	ok(t, sb.Delete())
	ok(t, n.Delete())
	cancel()
	cancel() // a second time is no harm
	newNetwork(t, c, "late")
	t.Run("each change is told, in order, with its object and who else takes part", func(t *testing.T) {
		var got []string
		for ev := range events {
			got = append(got, fmt.Sprint(ev.Type, " ", ev.Action, " ", ev.Name, " ", ev.Attributes["type"], ev.Attributes["network"],
				" ", ev.Attributes["container"], ev.Attributes["old"], ev.Attributes["new"]))
			if ev.ID == "" || ev.Scope != "local" || ev.Time.IsZero() {
				t.Errorf("event %+v", ev)
			}
			ev.Attributes["type"] = "changed" // the other subscriber has its own
		}
		diff(t, "events", []string{
			"network create web bridge ", "sandbox create c1  ", "endpoint create e web ", "network connect web bridge c1",
			"endpoint rename new web e", "sandbox rename c1  new", "sandbox refresh c1  ", "network disconnect web bridge c1",
			"endpoint destroy new web ", "sandbox destroy c1  ", "network destroy web bridge ",
		}, got)
	})
	t.Run("what a subscriber does to an event is not seen by others", func(t *testing.T) {
		diff(t, "type", "bridge", (<-other).Attributes["type"])
	})
}

func TestSlowSubscriber(t *testing.T) {
	c := newController(t)
	slow, cancel := subscribe(t, c)
	defer cancel()
	quick, cancelQuick := subscribe(t, c)
	n := newNetwork(t, c, "web")
	var wg sync.WaitGroup
	read := 0
	wg.Go(func() {
		for ev := range quick {
			if ev.Lost() {
				t.Error("a subscriber who reads was cut off")
			}
			read++
		}
	})
	const workers, rounds = 4, 40
	var load sync.WaitGroup
	for w := range workers {
		load.Go(func() {
			for range rounds {
				ep, err := n.CreateEndpoint(fmt.Sprint("e", w))
				if err == nil {
					err = ep.Delete(false)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	load.Wait()
	t.Run("operations do not wait for a subscriber, who is cut off and sees it", func(t *testing.T) {
		count := 0
		var last libnetwork.Event
		for ev := range slow {
			count++
			last = ev
		}
		if count != 257 || !last.Lost() {
			t.Errorf("%d events, the last of which is %+v, want 256 and one that is lost", count, last)
		}
	})
	cancelQuick()
	wg.Wait()
	if want := 1 + 2*workers*rounds; read != want {
		t.Errorf("the quick subscriber got %d events, want %d", read, want)
	}
}

func TestSubscriptionsEnd(t *testing.T) {
	d := newDirs(t)
	a, b := d.open(t), d.open(t)
	ofA, _ := subscribe(t, a)
	ofB, _ := subscribe(t, b)
	t.Run("a controller tells of what others on its directory do, until it stops", func(t *testing.T) {
		newNetwork(t, b, "web")
		diff(t, "event", "network create web", fmt.Sprint((<-ofA).Type, " create ", (<-ofB).Name))
		a.Stop()
		if ev, open := <-ofA; open {
			t.Errorf("after Stop there came %+v", ev)
		}
		newNetwork(t, b, "db")
		diff(t, "event", "db", (<-ofB).Name)
		late, cancel := subscribe(t, a)
		if ev, open := <-late; open {
			t.Errorf("of a controller that has stopped there came %+v", ev)
		}
		cancel()
	})
}
