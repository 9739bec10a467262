package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
	"github.com/libnetwork/libnetwork/types"
)

// serve answers every request with h and returns a client of it.
func serve(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := client.New("tcp://" + srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
		code string
		text string
	}{
		{
			"class and message", func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, `{"message":"network web is in use","code":"conflict"}`)
			}, api.CodeConflict, "network web is in use",
		},
		{
			"a code that is not known", func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusTeapot)
				_, _ = io.WriteString(w, `{"message":"no coffee","code":"teapot"}`)
			}, api.CodeInternal, "no coffee",
		},
		{
			"somebody else's error", func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
			api.CodeInternal, "404 Not Found: is it dnet?",
		},
		{
			"an answer that is no JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") },
			api.CodeInternal, "answer of the daemon",
		},
		{
			"an answer that is cut", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(w, `{"id":`)
			}, api.CodeInternal, "unexpected EOF",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, tt.h)
			_, err := c.Network(t.Context(), "web")
			if err == nil || api.Code(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v (%s)", err, api.Code(err))
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "nothing")
	for host, text := range map[string]string{
		"unix://" + closed:   "sudo dnet daemon",
		"tcp://127.0.0.1:1":  "dnet daemon -H tcp://127.0.0.1:1",
		"unix://" + dir:      "does not answer",
		"unix:///dev/null/x": "does not answer",
	} {
		c, err := client.New(host)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Networks(t.Context())
		var u *client.UnreachableError
		if !errors.As(err, &u) || u.Host != host || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), host) {
			t.Errorf("%s: %v", host, err)
		}
		if !errors.As(err, new(types.NoServiceError)) {
			t.Errorf("%s: %v is not of class NoService", host, err)
		}
	}
	denied := &client.UnreachableError{Host: "unix:///s", Err: os.ErrPermission}
	if !strings.Contains(denied.Error(), "group dnet") {
		t.Errorf("without permission: %v", denied)
	}
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	c := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done() // the daemon sees that nobody waits any more
		close(ended)
	})
	_, err := c.Networks(ctx)
	if !errors.Is(err, context.Canceled) || api.Code(err) != api.CodeTimeout {
		t.Errorf("got %v", err)
	}
	<-ended
}

// Names may hold anything; they never leave their place in the path.
func TestPaths(t *testing.T) {
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.EscapedPath()
		_, _ = io.WriteString(w, "{}")
	})
	for ref, want := range map[string]string{
		"web": "/v2/networks/web", "a/b": "/v2/networks/a%2Fb", "a?b#c": "/v2/networks/a%3Fb%23c", "ä ": "/v2/networks/%C3%A4%20",
	} {
		if _, err := c.Network(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%q asks for %s, want %s", ref, got, want)
		}
	}
	got = ""
	for name, err := range map[string]error{
		"network":    c.DeleteNetwork(t.Context(), ""),
		"container":  c.DeleteContainer(t.Context(), ""),
		"inspection": func() error { _, err := c.Container(t.Context(), ""); return err }(),
	} {
		if api.Code(err) != api.CodeBadRequest || got != "" {
			t.Errorf("%s without a name: %v, asked %q", name, err, got)
		}
	}
}

func TestEvents(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"version":1,"Type":"network","Action":"create","Actor":{"ID":"1","Attributes":{"name":"a"}},"unknown":1}`+"\n"+
			`{"message":"events were lost","code":"unavailable"}`+"\n")
	})
	events, err := c.Events(t.Context(), api.EventQuery{})
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for ev, err := range events {
		if err != nil {
			seen = append(seen, api.Code(err)+" "+err.Error())
			continue
		}
		seen = append(seen, ev.Type+" "+ev.Action+" "+ev.Actor.Attributes["name"])
	}
	if got := strings.Join(seen, "; "); got != "network create a; unavailable events were lost" {
		t.Errorf("got %s", got)
	}
}
