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
	_, err = run("c1", 8080, 8080)
	if !errors.As(err, new(types.ForbiddenError)) || !strings.Contains(err.Error(), "127.0.0.1") || !strings.Contains(err.Error(), "chain DOCKER") {
		t.Errorf("a port that a foreign rule has: %v", err)
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
