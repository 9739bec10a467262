package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/model"
)

// linkKeys are the objects of links.
func linkKeys(k *enginetest.Kernel) []string {
	return slices.DeleteFunc(k.Keys(), func(key string) bool { return !strings.HasPrefix(key, "link") })
}

func closedNetwork(t *testing.T, e *engine.Engine) *engine.Network {
	t.Helper()
	n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: bridge.Type, Name: "web", Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func linkedContainer(ctx context.Context, e *engine.Engine, n *engine.Network, name string, links *model.Links) (*engine.Sandbox, error) {
	return e.CreateContainer(ctx, engine.SandboxRequest{
		ContainerID: name, Links: links, Exposed: []model.Expose{{Proto: 6, Port: 80}},
	}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: name}}})
}

func mustLink(t *testing.T, e *engine.Engine, n *engine.Network, name string, links *model.Links) *engine.Sandbox {
	t.Helper()
	s, err := linkedContainer(t.Context(), e, n, name, links)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func endpointIDs(sandboxes ...*engine.Sandbox) []string {
	var ids []string
	for _, s := range sandboxes {
		ids = append(ids, s.Endpoints()[0].ID())
	}
	return ids
}

func TestLinksOutliveTheProcess(t *testing.T) {
	k, data, run := &enginetest.Kernel{}, t.TempDir(), t.TempDir()
	reopen := func(e *engine.Engine) *engine.Engine {
		t.Helper()
		if e != nil {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
		e, err := enginetest.Open(t.Context(), k, data, run, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := reopen(nil)
	n := closedNetwork(t, e)
	server := mustLink(t, e, n, "server", nil)
	client := mustLink(t, e, n, "client", &model.Links{Children: endpointIDs(server)})
	mustLink(t, e, n, "parent", &model.Links{Parents: endpointIDs(client)})
	before := linkKeys(k)
	if len(before) != 4 { // two links, two ports of those who asked for them
		t.Fatalf("objects %v", before)
	}
	e = reopen(e)
	if diff := cmp.Diff(before, linkKeys(k)); diff != "" {
		t.Errorf("6 after a restart (-want +got)\n%s", diff)
	}
	// The end that has not asked for it knows of the link too.
	server, err := e.SandboxByContainer("server")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := linkKeys(k); len(left) != 3 {
		t.Errorf("6 without the server there are %v", left)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestLinksAtOnce joins and leaves both ends of links at the same time: whoever
// is last sees the other one.
func TestLinksAtOnce(t *testing.T) {
	k := &enginetest.Kernel{}
	e, err := enginetest.Open(t.Context(), k, t.TempDir(), t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	n := closedNetwork(t, e)
	for round := range 20 {
		server := mustLink(t, e, n, "server", nil)
		ep := server.Endpoints()[0]
		if err := ep.Leave(t.Context(), server); err != nil {
			t.Fatal(err)
		}
		ids := []string{ep.ID()}
		var wg sync.WaitGroup
		const clients = 3
		made, errs := make([]*engine.Sandbox, clients), make([]error, clients+1)
		wg.Go(func() { errs[clients] = ep.Join(t.Context(), server, engine.JoinRequest{}) })
		for i := range clients {
			wg.Go(func() {
				made[i], errs[i] = linkedContainer(t.Context(), e, n, fmt.Sprint("client", i), &model.Links{Children: ids})
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		if got := linkKeys(k); len(got) != 2*clients {
			t.Fatalf("round %d: %v", round, got)
		}
		for _, s := range append(made, server) {
			wg.Go(func() {
				if err := s.Delete(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := linkKeys(k); len(got) != 0 {
			t.Fatalf("round %d, left: %v", round, got)
		}
	}
}

// TestLinksFail takes back what a join made of links, and of ports, when a later step
// fails.
func TestLinksFail(t *testing.T) {
	fail := ""
	k := &enginetest.Kernel{Fail: func(op string, o model.Object) error {
		if fail != "" && op == "create" && strings.HasPrefix(o.Key(), fail) {
			return errors.New("injected")
		}
		return nil
	}}
	e, err := enginetest.Open(t.Context(), k, t.TempDir(), t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	n := closedNetwork(t, e)
	server := mustLink(t, e, n, "server", nil)
	before := k.Keys()
	client := func(name string, links *model.Links) (*engine.Sandbox, error) {
		return e.CreateContainer(t.Context(), engine.SandboxRequest{
			ContainerID: name, Links: links, Publish: []model.Publish{
				{Proto: 6, First: 8080, Last: 8080, Port: 80, PortLast: 80}, {Proto: 17, First: 9000, Last: 9010, Port: 9000, PortLast: 9010},
			},
		}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: name}}})
	}
	for _, fail = range []string{"link/", "linkedport/", "veth/"} {
		if _, err := client("client", &model.Links{Children: endpointIDs(server)}); err == nil {
			t.Errorf("%s: no error", fail)
		}
		if diff := cmp.Diff(before, k.Keys()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", fail, diff)
		}
		fail = ""
		other, err := client("other", nil)
		if err != nil {
			t.Fatalf("the ports are not free: %v", err)
		}
		if err := other.Delete(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
