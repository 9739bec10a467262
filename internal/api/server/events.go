package server

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/types"
)

// eventStream is what a request asks to be told.
type eventStream struct {
	since, until time.Time // zero: from now on, without an end
	filter       api.EventFilter
}

func parseStream(q url.Values, now time.Time) (st eventStream, err error) {
	for name, t := range map[string]*time.Time{"since": &st.since, "until": &st.until} {
		if text := q.Get(name); text != "" {
			if *t, err = api.ParseTime(text, now); err != nil {
				return st, types.BadRequestErrorf("%s: %w", name, err)
			}
		}
	}
	if text := q.Get("filters"); text != "" {
		if err := json.Unmarshal([]byte(text), &st.filter); err != nil {
			return st, types.BadRequestErrorf("filters: %w", err)
		}
	}
	return st, st.filter.Check()
}

// streamEvents sends events as lines of JSON: those since a time that are still
// remembered, and every one from now on until another time. The stream ends with
// that, the connection, the daemon, and, after a line that is an error, when the
// client does not keep up.
func (s *server) streamEvents(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	st, err := parseStream(r.URL.Query(), now)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	past, events, cancel := engine.Subscribe(s.e, st.since, viewEvent)
	defer cancel()
	var end <-chan time.Time
	if !st.until.IsZero() {
		timer := time.NewTimer(st.until.Sub(now))
		defer timer.Stop()
		end = timer.C
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	send := func(ev event) bool {
		wanted := (st.until.IsZero() || !ev.at.After(st.until)) && st.filter.Fits(ev.Event)
		return !wanted || enc.Encode(ev.Event) == nil && out.Flush() == nil
	}
	for _, ev := range past {
		if !send(ev) {
			return
		}
	}
	// The header tells the client that it will see all that happens from now on.
	if out.Flush() != nil || !st.until.IsZero() && !st.until.After(now) {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case <-end:
			return
		case <-s.done:
			_ = enc.Encode(api.Encode(errStopping))
			return
		case ev, ok := <-events:
			switch {
			case !ok:
				_ = enc.Encode(api.Encode(errStopping))
				return
			case ev.lost:
				_ = enc.Encode(api.Encode(errLost))
				return
			case !send(ev):
				return
			}
		}
	}
}

var (
	errStopping = types.NoServiceErrorf("the daemon is stopping")
	errLost     = types.NoServiceErrorf("events were lost: they were not read fast enough")
)

// event is an event as it is shown.
type event struct {
	api.Event
	at   time.Time
	lost bool
}

func viewEvent(ev engine.Event) event {
	attrs := maps.Clone(ev.Attributes)
	if attrs == nil {
		attrs = make(map[string]string)
	}
	attrs["name"] = ev.Name
	v := event{
		Event: api.Event{
			Version: 1, Type: ev.Type, Action: ev.Action, Actor: api.Actor{ID: ev.ID, Attributes: attrs},
			Scope: ev.Scope, Time: ev.Time.Unix(), TimeNano: ev.Time.UnixNano(),
		},
		at: ev.Time, lost: ev.Lost(),
	}
	if v.Type == "sandbox" {
		v.Type = "container"
	}
	return v
}
