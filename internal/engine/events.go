package engine

import (
	"sync"
	"time"
)

// Event tells of a change that has happened.
type Event struct {
	// Type is "network", "endpoint" or "sandbox"; Action is what happened to it:
	// "create", "destroy", "connect", "disconnect", "rename".
	Type, Action string
	ID, Name     string
	Attributes   map[string]string
	Time         time.Time
}

// eventBuffer is how many events a subscriber may be behind.
const eventBuffer = 256

// broadcaster hands events to subscribers. It never waits for one: who is too
// far behind is cut off, and sees its channel closed.
type broadcaster struct {
	mu     sync.Mutex // guards the following
	subs   map[chan Event]struct{}
	closed bool
}

// Subscribe returns a channel of all events from now on, and a function that
// ends the subscription. The channel is closed when the subscription ends, when
// the engine closes, and when the subscriber is more than 256 events behind.
func (e *Engine) Subscribe() (events <-chan Event, cancel func()) {
	b := &e.events
	ch := make(chan Event, eventBuffer)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		close(ch)
		return ch, func() {}
	}
	if b.subs == nil {
		b.subs = make(map[chan Event]struct{})
	}
	b.subs[ch] = struct{}{}
	return ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.drop(ch)
	}
}

func (b *broadcaster) drop(ch chan Event) {
	if _, ok := b.subs[ch]; ok {
		delete(b.subs, ch)
		close(ch)
	}
}

func (b *broadcaster) emit(ev Event) {
	ev.Time = time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.subs {
		select {
		case ch <- ev:
		default:
			b.drop(ch)
		}
	}
}

func (b *broadcaster) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for ch := range b.subs {
		b.drop(ch)
	}
}
