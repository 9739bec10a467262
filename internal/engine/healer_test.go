package engine

import (
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
			if links, _, _ := h.take(now); len(links) != 1 {
				t.Errorf("what has been told is not taken: %v", links)
			}
			tt.rest(h)
			h.tell("brx", tt.others)
			h.tell("brx", false) // does not undo it
			if links, _, _ := h.take(now); (len(links) > 0) != tt.awakens {
				t.Errorf("taken: %v", links)
			}
			if links, _, _ := h.take(now.Add(longest)); (len(links) > 0) == tt.awakens {
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
		_, rules, _ := h.take(now)
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
	now = now.Add(calm + 1)
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
