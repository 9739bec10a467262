package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// busyKernel says of every port that somebody else has it, once told.
type busyKernel struct {
	*enginetest.Kernel
	busy bool
}

func (k *busyKernel) Hold(ctx context.Context, p model.Port) (hostport.Kept, error) {
	if k.busy {
		return nil, types.ForbiddenErrorf("%s is in use: held by nginx (pid 7)", p.Key())
	}
	return k.Kernel.Hold(ctx, p)
}

func (k *busyKernel) Resume(ctx context.Context, p model.Port) (hostport.Kept, error) {
	return k.Hold(ctx, p)
}

func TestPortTakenWhileDown(t *testing.T) {
	data, run := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run")
	k := &busyKernel{Kernel: &enginetest.Kernel{}}
	start := func(log io.Writer) *engine.Engine {
		t.Helper()
		e, err := engine.Open(t.Context(), engine.Config{
			DataDir: data, RunDir: run, BootID: "boot", Kernel: k, KeepAlive: true,
			Drivers:    []model.Driver{bridge.Driver{Group: enginetest.Group}},
			IPAM:       managers(t),
			ResolvConf: filepath.Join(data, "none"), Logger: slog.New(slog.NewTextHandler(log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := start(io.Discard)
	n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	container(t, e, n, n.Record().IPAM.Pools4[0].Prefix.Addr().Next().Next().Next())
	if got := e.Sandboxes()[0].Published(); len(got) != 2 || got[0].How != hostport.Held || got[1].How != hostport.Forwarded {
		t.Fatalf("published are %+v, want one that is held, and one that is forwarded", got)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	k.busy = true
	var log bytes.Buffer
	e = start(&log)
	defer e.Close()
	t.Run("a port that was taken while the daemon was down is reported at start, and its rule stays", func(t *testing.T) {
		if !strings.Contains(log.String(), "held by nginx (pid 7)") {
			t.Errorf("the log does not say who has the port:\n%s", &log)
		}
		got := e.Sandboxes()[0].Published()
		if len(got) != 2 || got[0].How != hostport.Taken || got[1].How != hostport.Taken {
			t.Errorf("published are %+v, want both families taken", got)
		}
		rule := false
		for _, o := range e.Sandboxes()[0].View().Objects() {
			if p, ok := o.(model.Port); ok && p.First == 8080 {
				rule = true
			}
		}
		if !rule {
			t.Error("the rule is wanted no more")
		}
	})
	t.Run("a port that was taken is told among what is exposed, and is not forwarded", func(t *testing.T) {
		rows, err := e.Exposed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		taken := 0
		for _, r := range rows {
			if r.Forwarded {
				t.Errorf("forwarded: %+v", r)
			}
			if r.Addr.IsUnspecified() {
				taken++
				if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.HasPrefix(w, "taken: ") }) {
					t.Errorf("no warning: %+v", r)
				}
			}
		}
		if taken != 4 {
			t.Errorf("%d ways by an address of the host, want one of each class but lan:\n%+v", taken, rows)
		}
	})
}

// A rule of somebody else has the port: one that was asked for is refused, one that
// is ours to choose is another one, and what is published already stays.
func TestPortOfForeignRule(t *testing.T) {
	k := &enginetest.Kernel{}
	e, err := enginetest.Open(t.Context(), k, t.TempDir(), t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	rule := func(port uint16, exact bool) {
		k.AddForeignDNAT(model.ForeignDNAT{
			Port: model.Port{Proto: 6, First: port, Last: port}, Rule: "table ip nat, chain DOCKER", Exact: exact,
		})
	}
	run := func(name string, first, last uint16) (*engine.Sandbox, error) {
		return e.CreateContainer(t.Context(), engine.SandboxRequest{
			ContainerID: name, Publish: []model.Publish{{Proto: 6, Host: netip.MustParseAddr("127.0.0.1"), First: first, Last: last, Port: 80, PortLast: 80}},
		}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: name}}})
	}
	rule(8080, true)
	rule(8081, false)
	rule(9105, true)
	for _, tt := range []struct {
		first, last uint16
		want        string
	}{
		{8080, 8080, "container c1: tcp port 127.0.0.1:8080 is in use: translated by a rule of table ip nat, chain DOCKER"},
		{9100, 9110, "container c1: tcp port 127.0.0.1:9105 is in use: translated by a rule of table ip nat, chain DOCKER"},
	} {
		_, err := e.CreateContainer(t.Context(), engine.SandboxRequest{
			ContainerID: "c1", Publish: []model.Publish{{
				Proto: 6, Host: netip.MustParseAddr("127.0.0.1"), First: tt.first, Last: tt.last, Port: tt.first, PortLast: tt.last,
			}},
		}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: "c1"}}})
		if !errors.As(err, new(types.ForbiddenError)) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ports %d-%d, which a foreign rule has: %v", tt.first, tt.last, err)
		}
	}
	if len(e.Sandboxes()) != 0 || len(n.Endpoints()) != 0 {
		t.Errorf("left after the failure: %v, %v", e.Sandboxes(), n.Endpoints())
	}
	if _, err := run("c2", 8081, 8081); err != nil {
		t.Errorf("a port that a foreign rule has among many: %v", err)
	}
	s, err := run("c3", 8079, 8090)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		rule(s.Published()[0].Port.First, true)
		other, err := run("c4", 8079, 8090)
		if err != nil {
			t.Fatal(err)
		}
		if got := other.Published()[0].Port.First; got == 8080 || got == s.Published()[0].Port.First {
			t.Errorf("port %d was chosen, which a foreign rule has", got)
		}
		if err := other.Delete(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Of what is ours to choose, a free window is found behind more than are tried one by
// one; if there is none, the error says who is in the way.
func TestFreeWindow(t *testing.T) {
	const low = 40000
	for _, tt := range []struct {
		name        string
		first, last uint16 // to choose from; 0 for any
		span        uint16
		listens     func(port uint16) bool
		rules       func(port uint16) bool
		want        uint16
		err         string
	}{
		{name: "one port behind 50 listeners", listens: func(p uint16) bool { return p < low+50 }, want: low + 50},
		{name: "one port behind 50 foreign rules", rules: func(p uint16) bool { return p < low+50 }, want: low + 50},
		{name: "one port behind both in turns", listens: func(p uint16) bool { return p < low+50 && p%2 == 0 }, rules: func(p uint16) bool { return p < low+50 && p%2 == 1 }, want: low + 50},
		{name: "11 ports between listeners", span: 10, listens: func(p uint16) bool { return (p-low)%11 == 5 && p != low+203 || p == low+204 }, want: low + 193},
		{name: "11 ports between rules", span: 10, rules: func(p uint16) bool { return (p-low)%11 == 5 && p != low+203 || p == low+204 }, want: low + 193},
		{name: "the last one of a range", first: 8000, last: 8040, listens: func(p uint16) bool { return p >= 8000 && p < 8040 }, want: 8040},
		{name: "none", span: 10, listens: func(p uint16) bool { return p%11 == 5 }, err: "nginx"},
		{name: "none for rules", span: 10, rules: func(p uint16) bool { return p%11 == 5 }, err: "chain DOCKER"},
		{name: "none of a range", first: 8000, last: 8040, rules: func(p uint16) bool { return p >= 8000 && p <= 8040 }, err: "chain DOCKER"},
	} {
		t.Run("a free window is found: "+tt.name, func(t *testing.T) {
			k := &enginetest.Kernel{}
			dir := t.TempDir()
			e, err := engine.Open(t.Context(), engine.Config{
				DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), BootID: "boot", Kernel: k,
				Drivers: []model.Driver{bridge.Driver{Group: enginetest.Group}}, IPAM: managers(t), Ports: hostport.NewSpace(low, low+999),
				ResolvConf: filepath.Join(dir, "none"), Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			for p := 8000; p < low+1000; p++ {
				if p == 8041 {
					p = low
				}
				if tt.listens != nil && tt.listens(uint16(p)) {
					k.Listens(uint16(p))
				}
				if tt.rules != nil && tt.rules(uint16(p)) {
					k.AddForeignDNAT(model.ForeignDNAT{
						Port: model.Port{Proto: 6, First: uint16(p), Last: uint16(p)}, Rule: "table ip nat, chain DOCKER", Exact: true,
					})
				}
			}
			n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "web"})
			if err != nil {
				t.Fatal(err)
			}
			s, err := e.CreateContainer(t.Context(), engine.SandboxRequest{
				ContainerID: "c1", Publish: []model.Publish{{Proto: 6, First: tt.first, Last: tt.last, Port: 80, PortLast: 80 + tt.span}},
			}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: "c1"}}})
			if tt.err != "" {
				if !errors.As(err, new(types.ForbiddenError)) || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want one of class Forbidden that names %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p := s.Published()[0].Port; p.First != tt.want || p.Last != tt.want+tt.span {
				t.Errorf("got %s, want port %d and %d more", p, tt.want, tt.span)
			}
		})
	}
}
