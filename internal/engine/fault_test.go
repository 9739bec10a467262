package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/drivers/outside/outsidetest"
	"github.com/libnetwork/libnetwork/internal/drivers/single"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/ipam"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// meter is an address manager that says what is taken of it, and fails when a
// counter says so.
type meter struct {
	ipamapi.Ipam
	steps *step.Counter

	mu    sync.Mutex // guards taken
	taken map[string]bool
}

func (m *meter) set(key string, taken bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if taken {
		m.taken[key] = true
	} else {
		delete(m.taken, key)
	}
}

func (m *meter) RequestPool(space, pool, sub string, opts map[string]string, v6 bool) (string, *net.IPNet, map[string]string, error) {
	if err := m.steps.Next("ipam: request pool " + pool); err != nil {
		return "", nil, nil, err
	}
	id, nw, meta, err := m.Ipam.RequestPool(space, pool, sub, opts, v6)
	if err == nil {
		m.set(id, true)
	}
	return id, nw, meta, err
}

func (m *meter) ReleasePool(id string) error {
	m.set(id, false)
	return m.Ipam.ReleasePool(id)
}

func (m *meter) RequestAddress(id string, ip net.IP, opts map[string]string) (*net.IPNet, map[string]string, error) {
	if err := m.steps.Next(fmt.Sprint("ipam: request address ", ip)); err != nil {
		return nil, nil, err
	}
	nw, meta, err := m.Ipam.RequestAddress(id, ip, opts)
	if err == nil {
		m.set(id+" "+nw.IP.String(), true)
	}
	return nw, meta, err
}

func (m *meter) ReleaseAddress(id string, ip net.IP) error {
	m.set(id+" "+ip.String(), false)
	return m.Ipam.ReleaseAddress(id, ip)
}

// world is an engine in memory of which one step can be made to fail.
type world struct {
	writes atomic.Int32 // of the store

	e         *engine.Engine
	k         *enginetest.Kernel
	m         *meter
	d         *outsidetest.Driver // nil: there is none
	data, run string
	log       logged // warnings
	boot      string // the real one if empty
	off       bool   // nothing turns forwarding on

	mu     sync.Mutex // guards the following
	at, n  int        // step at fails, n have been taken; 0: none does
	dead   bool       // all steps from at on fail
	failed string     // the name of the step that failed
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{k: &enginetest.Kernel{}, data: filepath.Join(t.TempDir(), "data"), run: filepath.Join(t.TempDir(), "run")}
	w.open(t)
	return w
}

func (w *world) next(_ int, name string) error {
	if name == "store: commit" {
		w.writes.Add(1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	if w.at == 0 || w.n < w.at || w.n > w.at && !w.dead {
		return nil
	}
	if w.n == w.at {
		w.failed = name
	}
	return fmt.Errorf("%s: %w", name, step.ErrInjected)
}

func (w *world) arm(at int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at, w.n, w.failed, w.dead = at, 0, "", false
}

// failure is the name of the step that failed.
func (w *world) failure() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// kill makes step at and all after it fail, as if the process had been killed.
func (w *world) kill(at int) {
	w.arm(at)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
}

// register makes the driver of somebody else known.
func (w *world) register(t testing.TB) {
	t.Helper()
	if err := w.e.RegisterDriver(t.Context(), w.d.Name, "local", w.d); err != nil {
		t.Fatal(err)
	}
}

// open starts an engine with the built-in drivers and those given.
func (w *world) open(t testing.TB, drivers ...model.Driver) {
	t.Helper()
	steps := step.New(w.next)
	w.k.Fail = func(op string, o model.Object) error { return steps.Next("kernel: " + op + " " + o.Key()) }
	local, global := ipam.DaemonBases()
	manager, err := ipam.New(ipam.Config{Local: local, Global: global})
	if err != nil {
		t.Fatal(err)
	}
	w.m = &meter{Ipam: ipam.Default{Manager: manager}, steps: steps, taken: make(map[string]bool)}
	w.e, err = engine.Open(t.Context(), engine.Config{
		DataDir: w.data, RunDir: w.run, BootID: w.boot, Kernel: w.k, Steps: steps,
		Drivers: append(drivers, bridge.Driver{Group: enginetest.Group}, single.Host(), single.Null()),
		IPAM:    map[string]ipamapi.Ipam{ipamapi.DefaultIPAM: w.m}, KeepAlive: true, Forwarding: !w.off,
		ResolvConf: filepath.Join(w.data, "none"), Logger: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.e.Close() })
}

// state is all that can be seen of the engine and below it.
func (w *world) state(t testing.TB) map[string]any {
	t.Helper()
	text := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	out := map[string]any{"kernel": w.k.Keys()}
	w.m.mu.Lock()
	out["addresses"] = slices.Sorted(maps.Keys(w.m.taken))
	w.m.mu.Unlock()
	if w.d != nil {
		out["driver"] = w.d.Known()
	}
	for _, n := range w.e.Networks() {
		out["network "+n.Name()] = text(n.Record())
		for _, ep := range n.Endpoints() {
			out["endpoint "+n.Name()+"/"+ep.Name()] = text(ep.Record())
		}
	}
	for _, s := range w.e.Sandboxes() {
		out["sandbox "+s.ContainerID()] = text(s.Record())
		for _, name := range []string{"a1", "b1", "new"} {
			addrs, _ := s.Resolve(name, false)
			out["name "+s.ContainerID()+" "+name] = fmt.Sprint(addrs)
		}
	}
	err := filepath.WalkDir(filepath.Join(w.data, "network"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // there may be no such directory
		}
		data, err := os.ReadFile(path)
		out["file "+path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// populate makes networks a and b, endpoints a1 and b1, and a container c1 that
// has joined a1.
func (w *world) populate(t testing.TB) {
	t.Helper()
	ctx := t.Context()
	a := need(w.e.CreateNetwork(ctx, engine.NetworkRequest{Driver: "bridge", Name: "a", IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.1.0.0/24"}}}}))(t)
	b := need(w.e.CreateNetwork(ctx, engine.NetworkRequest{Driver: "bridge", Name: "b", IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.2.0.0/24"}}}}))(t)
	need(w.e.CreateNetwork(ctx, engine.NetworkRequest{Driver: "bridge", Name: "free", IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.3.0.0/24"}}}}))(t)
	a1 := need(a.CreateEndpoint(ctx, engine.EndpointRequest{Name: "a1"}))(t)
	need(b.CreateEndpoint(ctx, engine.EndpointRequest{Name: "b1"}))(t)
	s := need(w.e.CreateSandbox(ctx, engine.SandboxRequest{
		ContainerID: "c1", Files: model.Files{Hostname: "h"},
		Publish: []model.Publish{{Proto: uint8(types.TCP), First: 8080, Last: 8080, Port: 80, PortLast: 80}},
	}))(t)
	if err := a1.Join(ctx, s, engine.JoinRequest{}); err != nil {
		t.Fatal(err)
	}
}

func need[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) network(t testing.TB, name string) *engine.Network {
	t.Helper()
	return need(w.e.NetworkByName(name))(t)
}

func (w *world) endpoint(t testing.TB, network, name string) *engine.Endpoint {
	t.Helper()
	return need(w.network(t, network).EndpointByName(name))(t)
}

func (w *world) sandbox(t testing.TB) *engine.Sandbox {
	t.Helper()
	return need(w.e.SandboxByContainer("c1"))(t)
}

func last[T any](_ T, err error) error { return err }

// operation is one that changes something.
type operation struct {
	name string
	run  func(ctx context.Context, t testing.TB, w *world) error
}

// operations are those that change anything, each on a populated world.
var operations = []operation{
	{"NET-2 the creation of a network that fails at any step leaves everything as it was", func(ctx context.Context, _ testing.TB, w *world) error {
		return last(w.e.CreateNetwork(ctx, engine.NetworkRequest{Driver: "bridge", Name: "n", IPv6: true, IPAM: model.IPAM{
			Conf4: []model.IPAMConf{{Pool: "10.9.0.0/24", Aux: map[string]string{"x": "10.9.0.9"}}},
			Conf6: []model.IPAMConf{{Pool: "fd00:9::/64"}},
		}}))
	}},
	{"NET-14 the deletion of a network that fails at any step leaves all of it or nothing", func(ctx context.Context, t testing.TB, w *world) error { return w.network(t, "free").Delete(ctx) }},
	{"EP-4 the creation of an endpoint that fails at any step leaves everything as it was", func(ctx context.Context, t testing.TB, w *world) error {
		return last(w.network(t, "a").CreateEndpoint(ctx, engine.EndpointRequest{Name: "new", V4: netip.MustParseAddr("10.1.0.50")}))
	}},
	{"EP-20 the deletion of an endpoint that fails at any step leaves all of it or nothing", func(ctx context.Context, t testing.TB, w *world) error {
		return w.endpoint(t, "b", "b1").Delete(ctx, false)
	}},
	{"EP-19 a deletion by force that fails at any step leaves all of the endpoint or nothing", func(ctx context.Context, t testing.TB, w *world) error {
		return w.endpoint(t, "a", "a1").Delete(ctx, true)
	}},
	{"SB-3 a sandbox whose creation fails at any step leaves nothing", func(ctx context.Context, _ testing.TB, w *world) error {
		return last(w.e.CreateSandbox(ctx, engine.SandboxRequest{ContainerID: "c2", Files: model.Files{Hostname: "h2"}}))
	}},
	{"OSL-6 a sandbox of the host's namespace whose creation fails at any step can be made again", func(ctx context.Context, _ testing.TB, w *world) error {
		return last(w.e.CreateSandbox(ctx, engine.SandboxRequest{ContainerID: "c2", Host: true}))
	}},
	{"SB-3 a sandbox with endpoints whose creation fails at any step leaves nothing", func(ctx context.Context, t testing.TB, w *world) error {
		return last(w.e.CreateContainer(ctx, engine.SandboxRequest{
			ContainerID: "c2", Files: model.Files{Hostname: "h2"},
			Publish: []model.Publish{{Proto: uint8(types.TCP), First: 8081, Last: 8081, Port: 80, PortLast: 80}},
		}, []engine.AttachRequest{
			{Network: w.network(t, "a"), Endpoint: engine.EndpointRequest{Name: "new"}},
			{Network: w.network(t, "b"), Endpoint: engine.EndpointRequest{Name: "new"}},
		}))
	}},
	{"EP-8 a join that fails at any step leaves everything as it was", func(ctx context.Context, t testing.TB, w *world) error {
		return w.endpoint(t, "b", "b1").Join(ctx, w.sandbox(t), engine.JoinRequest{Priority: 1})
	}},
	{"EP-16 a leave that fails has changed nothing, and what the kernel refuses does not make it fail", func(ctx context.Context, t testing.TB, w *world) error {
		return w.endpoint(t, "a", "a1").Leave(ctx, w.sandbox(t))
	}},
	{"SB-9 a Rename that fails at any step changes nothing", func(ctx context.Context, t testing.TB, w *world) error { return w.sandbox(t).Rename(ctx, "new") }},
	{"SB-8 a Refresh that fails at any step is reported and changes nothing", func(ctx context.Context, t testing.TB, w *world) error {
		return w.sandbox(t).Refresh(ctx, engine.SandboxRequest{
			ContainerID: "c1", Files: model.Files{Hostname: "other"},
			Publish: []model.Publish{{Proto: uint8(types.TCP), First: 8082, Last: 8082, Port: 80, PortLast: 80}},
		})
	}},
	{"SB-10 a SetKey that fails at any step changes nothing", func(ctx context.Context, t testing.TB, w *world) error {
		w.k.AddNamespace("/given")
		return w.sandbox(t).SetKey(ctx, "/given")
	}},
	{"SB-6 a Delete that fails before it is recorded changes nothing", func(ctx context.Context, t testing.TB, w *world) error { return w.sandbox(t).Delete(ctx) }},
}

func TestFaults(t *testing.T) {
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			failEachStep(t, op, func(t testing.TB) *world {
				w := newWorld(t)
				w.populate(t)
				return w
			})
		})
	}
}

// failEachStep fails each step of an operation once, each time in a world of its
// own.
func failEachStep(t *testing.T, op operation, world func(testing.TB) *world) {
	const most = 100
	for at := 1; ; at++ {
		w := world(t)
		before := w.state(t)
		w.arm(at)
		err := op.run(t.Context(), t, w)
		failed := w.failed
		w.arm(0)
		after := w.state(t)
		switch {
		case failed == "" && err != nil:
			t.Fatalf("without a fault: %v", err)
		case failed == "":
			t.Logf("%d steps", at-1)
			if cmp.Equal(before, after) {
				t.Error("the operation has changed nothing")
			}
			return
		case at == most:
			t.Fatalf("more than %d steps", most)
		case err == nil:
			// What a deletion could not remove is left to the next start.
			if cmp.Equal(before, after) {
				t.Errorf("step %d, %s, failed: no error, and nothing was changed", at, failed)
			}
			continue
		}
		if !errors.Is(err, step.ErrInjected) {
			t.Errorf("step %d, %s, failed: the cause is lost: %v", at, failed, err)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("step %d, %s, failed: the state is another one (-before +after):\n%s", at, failed, diff)
		}
		again(t, w, before, fmt.Sprintf("step %d, %s, failed", at, failed))
		if err := op.run(t.Context(), t, w); err != nil {
			t.Errorf("step %d, %s, failed: the next try fails: %v", at, failed, err)
		}
		if err := w.e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// again starts the engine anew, and compares the state.
func again(t *testing.T, w *world, before map[string]any, when string) {
	t.Helper()
	if err := w.e.Close(); err != nil {
		t.Error(err)
	}
	w.open(t)
	if w.d != nil {
		w.register(t)
	}
	if diff := cmp.Diff(before, w.state(t)); diff != "" {
		t.Errorf("%s: the state after a new start is another one (-before +after):\n%s", when, diff)
	}
}

func asIs(ev engine.Event) engine.Event { return ev }

func TestEvents(t *testing.T) {
	w := newWorld(t)
	before := time.Now()
	_, events, cancel := engine.Subscribe(w.e, time.Time{}, asIs)
	w.populate(t)
	ctx := t.Context()
	if err := w.sandbox(t).Rename(ctx, "new"); err != nil {
		t.Fatal(err)
	}
	s := w.sandbox(t)
	if err := s.Refresh(ctx, engine.SandboxRequest{ContainerID: "c1"}); err != nil {
		t.Fatal(err)
	}
	w.k.AddNamespace("/given")
	for range 2 {
		if err := s.SetKey(ctx, "/given"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.network(t, "free").Delete(ctx); err != nil {
		t.Fatal(err)
	}
	// Failures and refusals tell nothing.
	_ = s.Delete(ctx)
	w.arm(1)
	_, _ = w.e.CreateNetwork(ctx, engine.NetworkRequest{Driver: "bridge", Name: "x"})
	cancel()
	var got []string
	for ev := range events {
		if ev.Scope != "local" || ev.ID == "" || ev.Time.Before(before) {
			t.Errorf("event %+v", ev)
		}
		got = append(got, ev.Type+" "+ev.Action+" "+ev.Name)
	}
	want := []string{
		"network create a", "network create b", "network create free", "endpoint create a1", "endpoint create b1",
		"sandbox create c1", "network connect a", "endpoint rename new", "sandbox rename c1",
		"sandbox refresh c1", "sandbox setkey c1", "sandbox setkey c1", "network disconnect a", "endpoint destroy new", "sandbox destroy c1", "network destroy free",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	t.Run("what has been is remembered", func(t *testing.T) {
		past, _, cancel := engine.Subscribe(w.e, before, asIs)
		cancel()
		got = nil
		for _, ev := range past {
			got = append(got, ev.Type+" "+ev.Action+" "+ev.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		again, _, cancel := engine.Subscribe(w.e, past[3].Time, asIs)
		cancel()
		if len(again) != len(past)-3 || again[0].ID != past[3].ID {
			t.Errorf("since the fourth event there are %d, want %d", len(again), len(past)-3)
		}
	})
}

func TestEventsCutOff(t *testing.T) {
	w := newWorld(t)
	_, slow, cancel := engine.Subscribe(w.e, time.Time{}, asIs)
	defer cancel()
	w.populate(t)
	n := w.network(t, "free")
	for range 600 {
		if err := need(n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "e"}))(t).Delete(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	count, lost := 0, false
	for ev := range slow {
		count++
		lost = ev.Lost()
	}
	if count != 257 || !lost {
		t.Errorf("a slow subscriber got %d events before it was cut off, want 256 and one that says so", count)
	}
	past, late, _ := engine.Subscribe(w.e, time.Unix(0, 0), asIs)
	if len(past) != 1024 || past[0].Time.After(past[1].Time) || past[1023].Action != "destroy" {
		t.Errorf("%d events are remembered, want the last 1024 in their order", len(past))
	}
	if err := w.e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, open := <-late; open {
		t.Error("an event came when the engine was closed")
	}
}

// TestSlowSandbox holds the kernel in the middle of a join: other sandboxes go on.
func TestSlowSandbox(t *testing.T) {
	w := newWorld(t)
	w.populate(t)
	ctx := t.Context()
	a1 := w.endpoint(t, "a", "a1")
	s := w.sandbox(t)
	inside, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	key := model.Veth{Host: "veth" + w.endpoint(t, "b", "b1").ID()[:11]}.Key()
	w.k.Fail = func(op string, o model.Object) error {
		if op == "create" && o.Key() == key {
			once.Do(func() { close(inside) })
			<-release
		}
		return nil
	}
	b1 := w.endpoint(t, "b", "b1")
	joined, left := make(chan error, 1), make(chan error, 1)
	go func() { joined <- b1.Join(ctx, s, engine.JoinRequest{}) }()
	<-inside
	t.Run("CON-1 while one sandbox waits for the kernel, others join and leave the same networks", func(t *testing.T) {
		other := need(w.e.CreateContainer(ctx, engine.SandboxRequest{ContainerID: "c2"}, []engine.AttachRequest{
			{Network: w.network(t, "a"), Endpoint: engine.EndpointRequest{Name: "new"}},
			{Network: w.network(t, "b"), Endpoint: engine.EndpointRequest{Name: "new"}},
		}))(t)
		if err := other.Delete(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Run("CON-1 while a sandbox waits for the kernel, it can be looked up and resolves names", func(t *testing.T) {
		if eps := s.Endpoints(); len(eps) != 1 || eps[0] != a1 {
			t.Errorf("endpoints are %v, want those before the join", eps)
		}
		if addrs, _ := s.Resolve("a1", false); len(addrs) != 1 {
			t.Errorf("a1 resolves to %v", addrs)
		}
	})
	t.Run("CON-1 a call that gives up waiting for its turn ends with Timeout", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		err := a1.Leave(ctx, s)
		if _, ok := err.(types.TimeoutError); !ok || !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v (%T), want class Timeout", err, err)
		}
	})
	go func() { left <- a1.Leave(ctx, s) }()
	close(release)
	for what, c := range map[string]chan error{"join": joined, "leave": left} {
		if err := <-c; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if eps := s.Endpoints(); len(eps) != 1 || eps[0] != b1 {
		t.Errorf("endpoints are %v", eps)
	}
}
