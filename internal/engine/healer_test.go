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
