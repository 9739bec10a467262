package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/api"
)

func TestEvents(t *testing.T) {
	d := newDaemon(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+"/v2/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	lines := bufio.NewScanner(resp.Body)
	next := func() string {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("the stream has ended: ", lines.Err())
		}
		var ev api.Event
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
			t.Fatal(err)
		}
		if ev.Version != 1 || ev.Time == 0 || ev.TimeNano/1e9 != ev.Time || ev.Actor.ID == "" {
			t.Errorf("event %s", lines.Bytes())
		}
		return ev.Type + " " + ev.Action + " " + ev.Actor.Attributes["name"] + " " + ev.Actor.Attributes["container"]
	}
	ok[api.Network](d, "POST", "/v2/networks", api.NetworkCreate{Name: "web"})
	ok[api.Container](d, "POST", "/v2/containers", api.ContainerCreate{ID: "c1", Networks: []api.Attachment{{Network: "web"}}})
	ok[any](d, "DELETE", "/v2/containers/c1", nil)
	got := make(map[string]bool)
	for range 7 {
		got[next()] = true
	}
	for _, want := range []string{"network create web ", "container create c1 ", "network connect web c1", "container destroy c1 "} {
		if !got[want] {
			t.Errorf("no event %q in %v", want, got)
		}
	}
	// The stream ends with the engine, and says so.
	if err := d.e.Close(); err != nil {
		t.Fatal(err)
	}
	var last string
	for lines.Scan() {
		last = lines.Text()
	}
	if !strings.Contains(last, `"unavailable"`) {
		t.Errorf("the last line is %q", last)
	}
	d.refused("GET", "/v2/healthz", nil, 503, "unavailable", "stopping")
}

func TestPastEvents(t *testing.T) {
	d := newDaemon(t)
	begin := api.FormatTime(time.Now())
	ok[api.Network](d, "POST", "/v2/networks", api.NetworkCreate{Name: "web"})
	ok[api.Container](d, "POST", "/v2/containers", api.ContainerCreate{ID: "c1", Networks: []api.Attachment{{Network: "web"}}})
	ok[any](d, "DELETE", "/v2/containers/c1", nil)
	end := api.FormatTime(time.Now())
	ok[any](d, "DELETE", "/v2/networks/web", nil)
	// A stream that has an end is over by itself.
	stream := func(t *testing.T, q url.Values) (out []string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+"/v2/events?"+q.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // read only
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			var ev api.Event
			if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
				t.Fatal(err)
			}
			out = append(out, ev.Type+" "+ev.Action)
		}
		return out
	}
	for _, tt := range []struct {
		name string
		q    url.Values
		want []string
	}{
		{"between two times", url.Values{"since": {begin}, "until": {end}}, []string{
			"network create", "endpoint create", "container create", "network connect", "network disconnect", "endpoint destroy", "container destroy",
		}},
		{"filtered", url.Values{"since": {begin}, "until": {"0s"}, "filters": {`{"type":["network"],"event":["create","destroy"]}`}}, []string{"network create", "network destroy"}},
		{"of a container", url.Values{"since": {begin}, "until": {end}, "filters": {`{"container":{"c1":true}}`}}, []string{
			"container create", "network connect", "network disconnect", "container destroy",
		}},
		{"until a time to come", url.Values{"since": {end}, "until": {"-50ms"}}, []string{"network destroy"}},
		{"none so far", url.Values{"until": {"0s"}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, stream(t, tt.q)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
	for _, bad := range []string{"since=x", "until=1e9", "filters=x", "filters=" + url.QueryEscape(`{"nope":["x"]}`), "filters=" + url.QueryEscape(`{"type":[""]}`)} {
		t.Run(bad, func(*testing.T) { d.refused("GET", "/v2/events?"+bad, nil, 400, "bad_request", bad[:5]) })
	}
}
