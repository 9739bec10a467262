package engine

import (
	"maps"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/model"
)

// Event tells of a change that has happened.
type Event struct {
	// Type is "network", "endpoint" or "sandbox". Action is what happened to it:
	// networks "create", "connect", "disconnect", "destroy"; endpoints "create",
	// "rename", "destroy"; sandboxes "create", "refresh", "rename", "setkey",
	// "destroy". What somebody else had taken away and was put back is a "repair": of a
	// network's bridge, a sandbox's links or, with the type "firewall", of rules or of
	// what firewalld shall know; "object" says what it was. What was changed in
	// firewalld's permanent configuration is a "configure" of the type "firewall", and a
	// setting of it that is in the way a "warn".
	Type, Action string
	// ID and Name are those of the object; the name of a sandbox is its container's
	// id.
	ID, Name string
	// Scope is the scope of the object.
	Scope string
	// Attributes say more, not to be changed: "type" is the driver of a network,
	// "network" the one of an endpoint, "container" and "endpoint" who connects, "old"
	// and "new" are names.
	Attributes map[string]string
	// Time is that of the change, later than that of all events before.
	Time time.Time
}

// The last event that a subscriber gets who was too far behind.
const (
	typeSubscription = "subscription"
	actionLost       = "lost"
)

// Lost says whether the event is no change, but the last one before a channel is
// closed since its reader was too far behind: what happened after it was lost.
func (ev Event) Lost() bool { return ev.Type == typeSubscription && ev.Action == actionLost }

const (
	// eventBuffer is how many events a subscriber may be behind.
	eventBuffer = 256
	// eventHistory is how many events are remembered.
	eventHistory = 1024
)

// broadcaster hands events to subscribers and remembers the last ones. It never
// waits for anybody.
type broadcaster struct {
	mu     sync.Mutex // guards the following
	subs   map[subscriber]struct{}
	past   []Event // a ring, next is its oldest entry once it is full
	next   int
	closed bool
}

// subscriber is a channel of events in the form that its reader wants.
type subscriber interface {
	// offer passes an event on, without waiting; false: there was no room.
	offer(Event) bool
	// end closes the channel, after a last event if some were lost.
	end(lost bool)
}

type subscription[T any] struct {
	ch chan T
	as func(Event) T
}

// The channel has one place more than may be used, for the last event. Only the
// broadcaster sends, under its mutex, so that there is never less room than seen.
func (s *subscription[T]) offer(ev Event) bool {
	if len(s.ch) >= eventBuffer {
		return false
	}
	s.ch <- s.as(ev)
	return true
}

func (s *subscription[T]) end(lost bool) {
	if lost {
		s.ch <- s.as(Event{Type: typeSubscription, Action: actionLost, Time: time.Now()})
	}
	close(s.ch)
}

// Subscribe returns a channel of all events from now on, each as as makes it, and
// a function that ends the subscription. The past are those of the last 1024 events
// that are not older than since, none if that is zero; together with the channel
// they have no gap.
//
// Nobody waits for a subscriber. One that is more than 256 events behind is cut
// off: the last event that it gets is Lost. The channel is closed after that, when
// the subscription ends, and when the engine closes. as must be quick and call
// nothing of the engine.
func Subscribe[T any](e *Engine, since time.Time, as func(Event) T) (past []T, events <-chan T, cancel func()) {
	b := &e.events
	s := &subscription[T]{ch: make(chan T, eventBuffer+1), as: as}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !since.IsZero() {
		for i := range b.past {
			if ev := b.past[(b.next+i)%len(b.past)]; !ev.Time.Before(since) {
				past = append(past, as(ev))
			}
		}
	}
	if b.closed {
		s.end(false)
		return past, s.ch, func() {}
	}
	if b.subs == nil {
		b.subs = make(map[subscriber]struct{})
	}
	b.subs[s] = struct{}{}
	return past, s.ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.drop(s, false)
	}
}

func (b *broadcaster) drop(s subscriber, lost bool) {
	if _, ok := b.subs[s]; ok {
		delete(b.subs, s)
		s.end(lost)
	}
}

func (b *broadcaster) emit(ev Event) {
	if ev.Scope == "" {
		ev.Scope = "local"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	ev.Time = time.Now()
	if len(b.past) < eventHistory {
		b.past = append(b.past, ev)
	} else {
		b.past[b.next] = ev
		b.next = (b.next + 1) % eventHistory
	}
	for s := range b.subs {
		if !s.offer(ev) {
			b.drop(s, true)
		}
	}
}

func (b *broadcaster) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for s := range b.subs {
		b.drop(s, false)
	}
}

// emit tells of a change of a network.
func (n *Network) emit(action string, more map[string]string) {
	rec := n.Record()
	attrs := map[string]string{"type": rec.Driver}
	maps.Copy(attrs, more)
	n.e.events.emit(Event{Type: "network", Action: action, ID: rec.ID, Name: rec.Name, Scope: rec.Scope, Attributes: attrs})
}

// emit tells of a change of an endpoint.
func (ep *Endpoint) emit(action string, more map[string]string) {
	rec, network := ep.Record(), ep.net.Record()
	attrs := map[string]string{"network": network.Name}
	maps.Copy(attrs, more)
	ep.e.events.emit(Event{Type: "endpoint", Action: action, ID: rec.ID, Name: rec.Name, Scope: network.Scope, Attributes: attrs})
}

// emitAttach tells that an endpoint has joined a sandbox or left it.
func (e *Engine) emitAttach(action string, ep *Endpoint, sb *model.Sandbox) {
	ep.net.emit(action, map[string]string{"container": sb.ContainerID, "endpoint": ep.ID()})
}

// emit tells of a change of a sandbox.
func (s *Sandbox) emit(action string, attrs map[string]string) {
	s.e.events.emit(Event{Type: "sandbox", Action: action, ID: s.ID(), Name: s.ContainerID(), Attributes: attrs})
}
