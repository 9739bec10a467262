package server

import (
	"encoding/json"
	"maps"
	"net/http"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/types"
)

// streamEvents sends every event from now on as one line of JSON. The stream
// ends with the connection, with the daemon, and, after a line that is an error,
// when the client does not keep up.
func (s *server) streamEvents(w http.ResponseWriter, r *http.Request) {
	events, cancel := s.e.Subscribe()
	defer cancel()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	// The header tells the client that it will see all that happens from now on.
	if out.Flush() != nil {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.done:
			_ = enc.Encode(api.Encode(errStopping))
			return
		case ev, ok := <-events:
			if !ok {
				s.endEvents(enc)
				return
			}
			if enc.Encode(viewEvent(ev)) != nil || out.Flush() != nil {
				return
			}
		}
	}
}

func (s *server) endEvents(enc *json.Encoder) {
	err := errStopping
	if s.e.Context().Err() == nil {
		err = types.NoServiceErrorf("events were lost: they were not read fast enough")
	}
	_ = enc.Encode(api.Encode(err))
}

var errStopping = types.NoServiceErrorf("the daemon is stopping")

func viewEvent(ev engine.Event) api.Event {
	attrs := maps.Clone(ev.Attributes)
	if attrs == nil {
		attrs = make(map[string]string)
	}
	attrs["name"] = ev.Name
	v := api.Event{
		Version: 1, Type: ev.Type, Action: ev.Action, Actor: api.Actor{ID: ev.ID, Attributes: attrs},
		Scope: "local", Time: ev.Time.Unix(), TimeNano: ev.Time.UnixNano(),
	}
	if v.Type == "sandbox" {
		v.Type = "container"
	}
	return v
}
