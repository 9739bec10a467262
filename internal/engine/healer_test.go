package engine

import (
	"slices"
	"testing"
	"time"
)

// What has failed rests, until a bridge of others of that name has come or gone; what
// another program keeps undoing rests in any case.
func TestHealerRests(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name            string
		rest            func(h *healer)
		others, awakens bool
	}{
		{"failed, one of ours has lost something", func(h *healer) { h.again("brx", now) }, false, false},
		{"failed, one of others has gone", func(h *healer) { h.again("brx", now) }, true, true},
		{"undone, one of others has gone", func(h *healer) {
			for range patience + 1 {
				h.repaired("brx", "link", now)
			}
		}, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHealer()
			h.tell("brx", false)
			if links, _, _, _ := h.take(now); len(links) != 1 {
				t.Errorf("what has been told is not taken: %v", links)
			}
			tt.rest(h)
			h.tell("brx", tt.others)
			h.tell("brx", false) // does not undo it
			if links, _, _, _ := h.take(now); (len(links) > 0) != tt.awakens {
				t.Errorf("taken: %v", links)
			}
			if links, _, _, _ := h.take(now.Add(longest)); (len(links) > 0) == tt.awakens {
				t.Errorf("taken after the rest: %v", links)
			}
		})
	}
}

// That others put rules beside ours does not have the firewall rest, but for a moment when it
// does not end; repairs have.
func TestHealerMoves(t *testing.T) {
	h, now := newHealer(), time.Now()
	takes := func() bool {
		h.tellRules()
		_, rules, _, _ := h.take(now)
		return rules
	}
	for i := range tolerance {
		if pause := h.moved(now); pause != 0 || !takes() {
			t.Fatalf("after %d moves: a pause of %v", i+1, pause)
		}
	}
	if pause := h.moved(now); pause != breath || takes() {
		t.Errorf("after %d moves: a pause of %v", tolerance+1, pause)
	}
	if due := h.due(); !due.Equal(now.Add(breath)) {
		t.Errorf("they are looked at in %v", due.Sub(now))
	}
	now = now.Add(breath)
	if !takes() || len(h.repairs) > 0 {
		t.Errorf("at rest after the pause, or counted: %v", h.repairs)
	}
	now = now.Add(2 * forget)
	if pause := h.moved(now); pause != 0 {
		t.Errorf("when it has been calm: a pause of %v", pause)
	}
	h.moved(now)
	for range patience + 1 {
		h.repaired(rulesLost, "firewall", now)
	}
	if takes() {
		t.Error("what is undone again and again is not left alone")
	}
}

// Many repairs in a row go without a pause, and any number of those that are found by looking.
// One who undoes them at once gets pauses that grow, to about the time in which one is forgotten.
func TestHealerPauses(t *testing.T) {
	h, now := newHealer(), time.Now()
	repaired := func() time.Duration { return h.repaired("brx", "link", now) }
	for i := range patience {
		if rest := repaired(); rest != 0 {
			t.Fatalf("after %d repairs: a pause of %v", i+1, rest)
		}
	}
	var rests []time.Duration
	for range 20 {
		rests = append(rests, repaired())
		now = now.Add(rests[len(rests)-1])
	}
	if !slices.Equal(rests[:5], []time.Duration{time.Second, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}) || slices.Max(rests) > 2*forget {
		t.Errorf("pauses of %v", rests)
	}
	now = now.Add((patience + 10) * forget)
	for i := range 10 * patience {
		if rest := repaired(); rest != 0 {
			t.Fatalf("one in %v: after %d repairs a pause of %v", forget, i+1, rest)
		}
		now = now.Add(forget)
	}
	now = now.Add(longest + 2*forget)
	if h.feud("bry", now); len(h.feuds) != 1 {
		t.Errorf("what is forgotten has not gone: %v", h.feuds)
	}
}

// What fails rests ever longer, and begins anew when it has gone well.
func TestHealerFails(t *testing.T) {
	h, now := newHealer(), time.Now()
	rest := func() time.Duration {
		h.again("brx", now)
		return h.due().Sub(now)
	}
	for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		if got := rest(); got != want {
			t.Errorf("a pause of %v, want %v", got, want)
		}
	}
	for range 10 {
		rest()
	}
	if got := rest(); got != longest {
		t.Errorf("at last a pause of %v", got)
	}
	h.repaired("brx", "link", now)
	if got := rest(); got != time.Second {
		t.Errorf("after it has gone well: a pause of %v", got)
	}
}
