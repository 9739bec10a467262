package libnetwork

import (
	"maps"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/engine"
)

// Event tells of a change that has happened: what can be asked of the API when it
// comes is as it says, or newer.
type Event struct {
	// Type is "network", "endpoint" or "sandbox". Action is what happened to it:
	// networks "create", "connect", "disconnect", "destroy"; endpoints "create",
	// "rename", "destroy"; sandboxes "create", "refresh", "rename", "setkey",
	// "destroy". When what somebody else had taken away was put back, that is a "repair"
	// of a network, a sandbox or, for rules and for what firewalld shall know, of the
	// Type "firewall", or for the host's forwarding of packets of the Type "host"; of
	// "firewall" is also a "configure", a change of firewalld's permanent
	// configuration, and a "warn", a setting of firewalld that is in our way.
	Type, Action string

	// ID and Name are those of the object; the name of a sandbox is the id of its
	// container.
	ID, Name string

	// Scope is "local" or "global".
	Scope string

	// Attributes say more: "type" is the driver of a network, "network" the name of an
	// endpoint's network, "container" and "endpoint" are the ids of who connects and
	// by what, "old" is the former name of an endpoint, "new" the one that the
	// endpoints of a sandbox have got.
	Attributes map[string]string

	// Time is when it happened.
	Time time.Time
}

// Lost says whether the event is not a change, but the last event of a subscriber
// who was too far behind.
func (ev Event) Lost() bool { return ev.Type == "subscription" && ev.Action == "lost" }

// EventSource tells of changes. The controller that New returns is one:
//
//	events, cancel := controller.(libnetwork.EventSource).Subscribe()
type EventSource interface {
	// Subscribe returns a channel of all events from now on, in their order, those of
	// other controllers on the same directory too, and a function that ends the
	// subscription.
	//
	// No operation ever waits for a subscriber. One that is more than 256 events behind
	// is cut off: the last event that it gets is Lost. It subscribes again and looks
	// at what there is. The channel is closed after that, by cancel, and by Stop.
	Subscribe() (events <-chan Event, cancel func())
}

var _ EventSource = (*controller)(nil)

func (c *controller) Subscribe() (<-chan Event, func()) {
	_, events, end := engine.Subscribe(c.e, time.Time{}, func(ev engine.Event) Event {
		attrs := make(map[string]string, len(ev.Attributes))
		maps.Copy(attrs, ev.Attributes)
		return Event{
			Type: ev.Type, Action: ev.Action, ID: ev.ID, Name: ev.Name, Scope: ev.Scope,
			Attributes: attrs, Time: ev.Time,
		}
	})
	return events, c.subs.add(end)
}

// subscriptions are those of one controller: they end with it, while the engine
// may go on for others.
type subscriptions struct {
	mu     sync.Mutex // guards the following
	ends   map[int]func()
	next   int
	closed bool
}

// add returns the function that ends a subscription before the controller does.
func (s *subscriptions) add(end func()) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		end()
		return end
	}
	if s.ends == nil {
		s.ends = make(map[int]func())
	}
	id := s.next
	s.next++
	s.ends[id] = end
	return func() {
		s.mu.Lock()
		delete(s.ends, id)
		s.mu.Unlock()
		end()
	}
}

func (s *subscriptions) close() {
	s.mu.Lock()
	ends := s.ends
	s.closed, s.ends = true, nil
	s.mu.Unlock()
	for _, end := range ends {
		end()
	}
}
