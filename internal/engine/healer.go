package engine

import (
	"slices"
	"sync"
	"time"
)

// When what is repaired again and again is given a pause. Many repairs in a row are nothing
// unusual, as when somebody looks for a fault by hand; they are cheap, and a pause leaves
// networks without what belongs to them.
const (
	// patience is how many repairs of the same thing go without a pause, and forget how long
	// it takes until one of them counts no more: as long as it takes for what a survey finds to be
	// found again.
	patience = 20
	forget   = surveyPeriod
	// longest is the longest pause between two repairs of the same thing.
	longest = time.Minute
	// tolerance is how often rules are moved without a pause of breath: nobody has changed
	// ours, and until they are moved they may be asked too late.
	tolerance = 50
	breath    = time.Second
)

// What stands for the firewall, and for the forwarding of packets, among the names of
// links.
const (
	rulesLost      = ""
	forwardingLost = "/forwarding"
)

// healer keeps what is to be looked at.
type healer struct {
	wake chan struct{}

	mu sync.Mutex // guards the following
	// lost is what may have been lost, and whether a bridge of others of that name has
	// come or gone: what has failed is tried at once then.
	lost map[string]bool
	// all says that anything may have been lost.
	all bool
	// repairs counts repairs by kind.
	repairs map[string]uint64

	// What follows belongs to the healer's goroutine: feuds is by what is repaired again
	// and again, moves that of rules that others put theirs before, behind says that the last
	// repair of the firewall has failed.
	feuds  map[string]*feud
	moves  feud
	behind bool
}

// feud is the account of something that another program keeps undoing.
type feud struct {
	last time.Time
	// count is how many repairs there were at last, less one for each time forget since.
	count float64
	// failed is how many repairs have failed in a row at last.
	failed int
	// until is when it is looked at again.
	until time.Time
}

// add enters one more.
func (f *feud) add(now time.Time) {
	f.count = max(0, f.count-float64(now.Sub(f.last))/float64(forget)) + 1
	f.last = now
}

// forgotten says that nothing of what was entered counts any more.
func (f *feud) forgotten(now time.Time) bool {
	return now.Sub(f.last) > time.Duration(f.count*float64(forget)) && now.Sub(f.until) > longest
}

// pause is how long something rests for the nth time in a row, from 0.
func pause(n int) time.Duration { return min(time.Second<<min(n, 10), longest) }

func newHealer() *healer {
	return &healer{
		wake: make(chan struct{}, 1), lost: make(map[string]bool),
		repairs: make(map[string]uint64), feuds: make(map[string]*feud),
	}
}

// tell takes down what may have been lost: a link by its name, or any.
func (h *healer) tell(link string, others bool) {
	h.mu.Lock()
	if link == "" {
		h.all = true
	} else {
		h.lost[link] = h.lost[link] || others
	}
	h.mu.Unlock()
	h.nudge()
}

// tellRules takes down that the firewall may have been changed.
func (h *healer) tellRules() {
	h.mu.Lock()
	h.lost[rulesLost] = false // no bridge of others has its name
	h.mu.Unlock()
	h.nudge()
}

// tellForwarding takes down that the host may forward no packets any more.
func (h *healer) tellForwarding() { h.tell(forwardingLost, false) }

func (h *healer) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be looked at and is not at rest, and whether bridges of others have
// come or gone.
func (h *healer) take(now time.Time) (links []string, rules, all, theirs bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all, h.all = h.all, false
	for name, others := range h.lost {
		if f := h.feuds[name]; f != nil && f.until.After(now) && (f.failed == 0 || !others) {
			continue
		}
		if name == rulesLost && h.moves.until.After(now) {
			continue
		}
		delete(h.lost, name)
		theirs = theirs || others
		if name == rulesLost {
			rules = true
		} else {
			links = append(links, name)
		}
	}
	slices.Sort(links)
	return links, rules || all, all, theirs
}

// due is when the first of what rests is to be looked at, zero if nothing does.
func (h *healer) due() (next time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.lost {
		var until time.Time
		if f := h.feuds[name]; f != nil {
			until = f.until
		}
		if name == rulesLost && h.moves.until.After(until) {
			until = h.moves.until
		}
		if !until.IsZero() && (next.IsZero() || until.Before(next)) {
			next = until
		}
	}
	return next
}

// moved enters that rules were put where they belong among those of others. When that has
// been too often, it says how long they are left where they are from now on.
func (h *healer) moved(now time.Time) (rest time.Duration) {
	if h.moves.add(now); h.moves.count > tolerance {
		rest = breath
	}
	h.moves.until = now.Add(rest)
	return rest
}

// again enters a repair that has failed: it is tried again after a pause, also if
// nothing more is heard of it.
func (h *healer) again(what string, now time.Time) {
	f := h.feud(what, now)
	f.last, f.until = now, now.Add(pause(f.failed))
	f.failed++
	h.mu.Lock()
	if _, told := h.lost[what]; !told { // meanwhile, with more to it
		h.lost[what] = false
	}
	h.mu.Unlock()
}

// repaired enters a repair. When there have been too many of them it says how long
// the thing is left alone.
func (h *healer) repaired(what, kind string, now time.Time) (rest time.Duration) {
	h.mu.Lock()
	h.repairs[kind]++
	h.mu.Unlock()
	f := h.feud(what, now)
	if f.failed > 0 {
		*f = feud{} // it was not undone
	}
	f.add(now)
	if over := int(f.count) - patience; over > 0 {
		rest = pause(over - 1)
	}
	f.until = now.Add(rest)
	return rest
}

// feud is the account of something. What is forgotten goes.
func (h *healer) feud(what string, now time.Time) *feud {
	for name, f := range h.feuds {
		if f.forgotten(now) {
			delete(h.feuds, name)
		}
	}
	f := h.feuds[what]
	if f == nil {
		f = &feud{}
		h.feuds[what] = f
	}
	return f
}
