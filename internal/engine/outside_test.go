package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/internal/drivers/outside/outsidetest"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// outsideType is the network type of the driver of somebody else.
const outsideType = "out"

// newOutside returns a driver that names a link when an endpoint joins, and offers
// no gateway unless the endpoint's options ask for it.
func newOutside() *outsidetest.Driver {
	d := &outsidetest.Driver{Name: outsideType}
	d.OnJoin = func(eid, _ string, j driverapi.JoinInfo, _ map[string]interface{}) error {
		if gw, ok := d.Options(eid)["gateway"].(string); ok {
			if err := j.SetGateway(net.ParseIP(gw)); err != nil {
				return err
			}
		}
		return j.InterfaceName().SetNames("out"+eid[:8], "eth")
	}
	return d
}

// populateOutside adds networks of the driver of somebody else: o with the
// endpoint o1, and ofree; and a container c3 that is joined to o by o3 alone, and so
// to the default-gateway network.
func (w *world) populateOutside(t testing.TB) {
	t.Helper()
	ctx := t.Context()
	for i, name := range []string{"o", "ofree"} {
		need(w.e.CreateNetwork(ctx, engine.NetworkRequest{
			Driver: outsideType, Name: name, Options: map[string]string{"k": "v"},
			IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: fmt.Sprintf("10.%d.0.0/24", 30+i)}}},
		}))(t)
	}
	n := w.network(t, "o")
	need(n.CreateEndpoint(ctx, engine.EndpointRequest{Name: "o1"}))(t)
	need(n.CreateEndpoint(ctx, engine.EndpointRequest{Name: "og", Generic: map[string]any{"gateway": "10.30.0.1"}}))(t)
	o3 := need(n.CreateEndpoint(ctx, engine.EndpointRequest{Name: "o3"}))(t)
	s := need(w.e.CreateSandbox(ctx, engine.SandboxRequest{ContainerID: "c3"}))(t)
	if err := o3.Join(ctx, s, engine.JoinRequest{}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) container(t testing.TB, id string) *engine.Sandbox {
	t.Helper()
	return need(w.e.SandboxByContainer(id))(t)
}

// outsideOperations are those that a driver of somebody else has a part in.
var outsideOperations = []operation{
	{"NET-2 create a network of an outside driver", func(ctx context.Context, _ testing.TB, w *world) error {
		return last(w.e.CreateNetwork(ctx, engine.NetworkRequest{Driver: outsideType, Name: "n"}))
	}},
	{"NET-13 delete a network of an outside driver", func(ctx context.Context, t testing.TB, w *world) error {
		return w.network(t, "ofree").Delete(ctx)
	}},
	{"EP-4 create an endpoint of an outside driver", func(ctx context.Context, t testing.TB, w *world) error {
		return last(w.network(t, "o").CreateEndpoint(ctx, engine.EndpointRequest{Name: "new"}))
	}},
	{"EP-20 delete an endpoint of an outside driver", func(ctx context.Context, t testing.TB, w *world) error {
		return w.endpoint(t, "o", "o1").Delete(ctx, false)
	}},
	{"EP-8 join an endpoint of an outside driver", func(ctx context.Context, t testing.TB, w *world) error {
		return w.endpoint(t, "o", "o1").Join(ctx, w.sandbox(t), engine.JoinRequest{})
	}},
	{"EP-8 join an endpoint of an outside driver that takes over the way out", func(ctx context.Context, t testing.TB, w *world) error {
		return w.endpoint(t, "o", "og").Join(ctx, w.sandbox(t), engine.JoinRequest{Priority: 1})
	}},
	{"EP-8 join that makes the default-gateway network unnecessary is whole", func(ctx context.Context, t testing.TB, w *world) error {
		return w.endpoint(t, "o", "og").Join(ctx, w.container(t, "c3"), engine.JoinRequest{})
	}},
	{"GW-3 join that makes the default-gateway network is whole", func(ctx context.Context, t testing.TB, w *world) error {
		return last(w.e.CreateContainer(ctx, engine.SandboxRequest{ContainerID: "c4"},
			[]engine.AttachRequest{{Network: w.network(t, "o"), Endpoint: engine.EndpointRequest{Name: "new"}}}))
	}},
	{"GW-4 leave that ends the need of a default gateway", func(ctx context.Context, t testing.TB, w *world) error {
		return w.endpoint(t, "o", "o3").Leave(ctx, w.container(t, "c3"))
	}},
	{"SB-6 delete a sandbox with a default gateway", func(ctx context.Context, t testing.TB, w *world) error {
		return w.container(t, "c3").Delete(ctx)
	}},
}

func newOutsideWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.d = newOutside()
	w.register(t)
	w.populate(t)
	w.populateOutside(t)
	return w
}

// TestFaultsOutside fails each step of each operation once, those of the driver
// among them.
func TestFaultsOutside(t *testing.T) {
	for _, op := range outsideOperations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			failEachStep(t, op, func(t testing.TB) *world {
				w := newOutsideWorld(t)
				if strings.HasPrefix(op.name, "GW-3") {
					// Nobody else has the default-gateway network.
					if err := w.container(t, "c3").Delete(t.Context()); err != nil {
						t.Fatal(err)
					}
					if err := w.network(t, engine.GatewayNetwork).Delete(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				return w
			})
		})
	}
}

// TestKillOutside ends the process before each step of each operation. The driver,
// which lives on, is brought to what the records say.
func TestKillOutside(t *testing.T) {
	for _, op := range outsideOperations {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			for at := 1; ; at++ {
				w := newOutsideWorld(t)
				w.kill(at)
				_ = op.run(t.Context(), t, w)
				killed := w.failed
				if err := w.e.Close(); err != nil {
					t.Error(err)
				}
				w.arm(0)
				w.open(t)
				w.register(t)
				if diff := cmp.Diff(w.expected(t), w.d.Known()); diff != "" {
					t.Errorf("killed before step %d, %s: what the driver knows (-want +got):\n%s", at, killed, diff)
				}
				for _, s := range w.e.Sandboxes() {
					v := s.View()
					if has := slices.ContainsFunc(v.Attached, func(a model.Attachment) bool { return a.Endpoint.Gateway }); has != v.NeedsGateway() {
						t.Errorf("killed before step %d, %s: container %s has a default gateway %t, needs one %t", at, killed, s.ContainerID(), has, !has)
					}
				}
				if err := w.e.Close(); err != nil {
					t.Error(err)
				}
				if killed == "" {
					return
				}
			}
		})
	}
}

// expected is what the driver should know, by the records.
func (w *world) expected(t testing.TB) []string {
	t.Helper()
	out := []string{}
	for _, n := range w.e.Networks() {
		if n.Record().Driver != outsideType {
			continue
		}
		out = append(out, "network "+n.ID()[:8])
		for _, ep := range n.Endpoints() {
			out = append(out, "endpoint "+ep.ID()[:8])
			s := ep.Sandbox()
			if s == nil {
				continue
			}
			out = append(out, "joined "+ep.ID()[:8])
			if a := s.View().Provider(false); a != nil && a.Endpoint.ID == ep.ID() {
				out = append(out, "programmed "+ep.ID()[:8])
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestOutsideCalls checks what a driver is told, and in which order.
func TestOutsideCalls(t *testing.T) {
	w := newOutsideWorld(t)
	ctx := t.Context()
	id := func(ep *engine.Endpoint) string { return ep.ID()[:8] }
	n := w.network(t, "o")
	og, o1 := w.endpoint(t, "o", "og"), w.endpoint(t, "o", "o1")
	w.d.Calls()
	check := func(t *testing.T, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, w.d.Calls()); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	}
	s := w.sandbox(t)
	t.Run("EP-9 the way from outside is opened by the driver of the endpoint that has become the provider", func(t *testing.T) {
		if err := og.Join(ctx, s, engine.JoinRequest{Priority: 1}); err != nil {
			t.Fatal(err)
		}
		check(t, "Join "+id(og), "Program "+id(og))
	})
	t.Run("EP-9 the driver of another endpoint that joins is told nothing of it", func(t *testing.T) {
		if err := w.endpoint(t, "b", "b1").Join(ctx, s, engine.JoinRequest{Priority: 2}); err != nil {
			t.Fatal(err)
		}
		check(t, "Revoke "+id(og))
		if err := w.endpoint(t, "b", "b1").Leave(ctx, s); err != nil {
			t.Fatal(err)
		}
		check(t, "Program "+id(og))
	})
	t.Run("OSL-22 a join that does not change the provider leaves the way from outside alone", func(t *testing.T) {
		if err := o1.Join(ctx, s, engine.JoinRequest{}); err != nil {
			t.Fatal(err)
		}
		check(t, "Join "+id(o1))
		if err := o1.Leave(ctx, s); err != nil {
			t.Fatal(err)
		}
		check(t, "Leave "+id(o1))
	})
	t.Run("EP-15 the way from outside is closed, then the driver is told, then the interface goes", func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		w.d.Fail = func(method, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, method)
			return nil
		}
		w.k.Fail = func(op string, o model.Object) error {
			mu.Lock()
			defer mu.Unlock()
			if _, ok := o.(model.MovedLink); ok {
				order = append(order, op+" link")
			}
			return nil
		}
		if err := og.Leave(ctx, s); err != nil {
			t.Fatal(err)
		}
		w.d.Fail = nil
		if diff := cmp.Diff([]string{"Revoke", "Leave", "delete link"}, order); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		w.d.Calls()
	})
	t.Run("EP-20 a deletion that the driver forbids leaves the endpoint as it was", func(t *testing.T) {
		refused := types.ForbiddenErrorf("not now")
		w.d.Fail = func(method, _ string) error {
			if method == "DeleteEndpoint" {
				return refused
			}
			return nil
		}
		if err := o1.Delete(ctx, false); err != refused { //nolint:errorlint // returned as it is
			t.Errorf("got %v, want the driver's own error", err)
		}
		if got, err := n.EndpointByName("o1"); err != nil || got != o1 || !o1.Alive() {
			t.Errorf("the endpoint is %v, %v", got, err)
		}
		if err := o1.Delete(ctx, true); err != nil {
			t.Errorf("by force: %v", err)
		}
		w.d.Fail = nil
	})
	t.Run("NET-13 a network whose deletion the driver forbids is fully usable again", func(t *testing.T) {
		free := w.network(t, "ofree")
		refused := types.ForbiddenErrorf("not now")
		w.d.Fail = func(method, _ string) error {
			if method == "DeleteNetwork" {
				return refused
			}
			return nil
		}
		if err := free.Delete(ctx); err != refused { //nolint:errorlint // returned as it is
			t.Errorf("got %v, want the driver's own error", err)
		}
		w.d.Fail = nil
		if free.Record().Deleting {
			t.Error("it is still marked")
		}
		ep := need(free.CreateEndpoint(ctx, engine.EndpointRequest{Name: "e"}))(t)
		if err := ep.Delete(ctx, false); err != nil {
			t.Error(err)
		}
		if err := free.Delete(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Run("EP-2 a driver fills what is empty and nothing else", func(t *testing.T) { fillsWhatIsEmpty(t, w, n) })
	if err := w.d.Violations(); err != nil {
		for v := range strings.SplitSeq(err.Error(), "\n") {
			if !strings.HasPrefix(v, "DeleteEndpoint "+id(o1)) {
				t.Errorf("against the contract: %s", v)
			}
		}
	}
}

func fillsWhatIsEmpty(t *testing.T, w *world, n *engine.Network) {
	t.Helper()
	var errs []error
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	w.d.OnCreate = func(_ string, i driverapi.InterfaceInfo, _ map[string]interface{}) error {
		errs = append(errs, i.SetMacAddress(nil), i.SetMacAddress(mac), i.SetMacAddress(mac),
			i.SetIPAddress(nil), i.SetIPAddress(i.Address()))
		i.Address().IP[3]++ // a copy
		return nil
	}
	ep := need(n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "filled", V4: netip.MustParseAddr("10.30.0.77")}))(t)
	w.d.OnCreate = nil
	if got := ep.Record().MAC; got != mac.String() {
		t.Errorf("MAC %s, want the driver's %s", got, mac)
	}
	if got := ep.Record().V4; got != netip.MustParsePrefix("10.30.0.77/24") {
		t.Errorf("address %s", got)
	}
	for i, want := range []any{new(types.BadRequestError), nil, new(types.ForbiddenError), new(types.BadRequestError), new(types.ForbiddenError)} {
		if want == nil && errs[i] != nil || want != nil && !errors.As(errs[i], want) {
			t.Errorf("setter %d: %v, want class %T", i, errs[i], want)
		}
	}
}

// TestOutsideLate has networks of a driver that is registered after the start, and
// of one that never comes.
func TestOutsideLate(t *testing.T) {
	w := newOutsideWorld(t)
	ctx := t.Context()
	if err := w.e.Close(); err != nil {
		t.Fatal(err)
	}
	w.open(t)
	n := w.network(t, "o")
	if err := last(n.CreateEndpoint(ctx, engine.EndpointRequest{Name: "x"})); !errors.As(err, new(types.NotFoundError)) && !errors.As(err, new(types.InternalError)) {
		t.Errorf("without its driver: %v", err)
	}
	if err := n.Delete(ctx); err == nil {
		t.Error("a network with endpoints was deleted")
	}
	free := w.network(t, "ofree")
	if err := free.Delete(ctx); !errors.As(err, new(types.NotFoundError)) || !strings.Contains(fmt.Sprint(err), "is not there") {
		t.Errorf("deletion without its driver: %v", err)
	}
	w.register(t)
	if err := w.e.RegisterDriver(ctx, outsideType, "local", w.d); !errors.As(err, new(driverapi.ErrActiveRegistration)) {
		t.Errorf("CTL-13 registered twice: %v", err)
	}
	need(n.CreateEndpoint(ctx, engine.EndpointRequest{Name: "x"}))(t)
	if err := free.Delete(ctx); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(w.expected(t), w.d.Known()); diff != "" {
		t.Errorf("what the driver knows (-want +got):\n%s", diff)
	}
}

// TestCutShortDeletion ends the process while the driver is being told of the
// deletion of a network.
func TestCutShortDeletion(t *testing.T) {
	w := newOutsideWorld(t)
	free := w.network(t, "ofree")
	w.d.Fail = func(method, _ string) error {
		if method == "DeleteNetwork" {
			w.kill(1)
			return errors.New("the process is gone")
		}
		return nil
	}
	if err := free.Delete(t.Context()); err == nil {
		t.Fatal("the deletion was recorded: the test proves nothing")
	}
	if err := w.e.Close(); err != nil {
		t.Fatal(err)
	}
	w.arm(0)
	w.d.Fail = nil
	w.open(t)
	t.Run("CLN-3 a network whose deletion was cut short is gone after the next start", func(t *testing.T) {
		if n, err := w.e.NetworkByName("ofree"); err == nil {
			t.Errorf("it is there: %v", n.Record())
		}
		need(w.e.CreateNetwork(t.Context(), engine.NetworkRequest{
			Driver: "bridge", Name: "ofree", IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.31.0.0/24"}}},
		}))(t)
	})
	w.register(t)
	t.Run("CLN-3 its driver is told when it is there, and what that says is ignored", func(t *testing.T) {
		if diff := cmp.Diff(w.expected(t), w.d.Known()); diff != "" {
			t.Errorf("what the driver knows (-want +got):\n%s", diff)
		}
	})
}

// TestGateway is about the default-gateway network, as far as no kernel is needed.
func TestGateway(t *testing.T) {
	w := newOutsideWorld(t)
	ctx := t.Context()
	s := w.container(t, "c3")
	gatewayOf := func(s *engine.Sandbox) []string {
		var out []string
		for _, ep := range s.Endpoints() {
			if ep.Record().Gateway {
				out = append(out, ep.Name())
			}
		}
		return out
	}
	t.Run("GW-1 the network is made on first need, a bridge of its name without traffic between members", func(t *testing.T) {
		rec := w.network(t, engine.GatewayNetwork).Record()
		if rec.Driver != "bridge" || rec.IPv6 || rec.Bridge.Link != engine.GatewayNetwork || rec.Bridge.ICC || !rec.Bridge.Masquerade {
			t.Errorf("it is %+v with %+v", rec, rec.Bridge)
		}
	})
	t.Run("GW-2 a sandbox whose endpoints offer no way out is joined to it", func(t *testing.T) {
		if diff := cmp.Diff([]string{"gateway_c3"}, gatewayOf(s)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := gatewayOf(w.sandbox(t)); got != nil {
			t.Errorf("one on a bridge has %v", got)
		}
	})
	t.Run("GW-5 it sorts last and provides the way out when nobody else does", func(t *testing.T) {
		v := s.View()
		if a := v.Attached[len(v.Attached)-1]; !a.Endpoint.Gateway {
			t.Errorf("the last is %s", a.Endpoint.Name)
		}
		if p := v.Provider(false); p == nil || !p.Endpoint.Gateway {
			t.Errorf("the provider is %v", p)
		}
	})
	t.Run("GW-4 it goes when another endpoint offers a way out, and comes again when that leaves", func(t *testing.T) {
		og := w.endpoint(t, "o", "og")
		if err := og.Join(ctx, s, engine.JoinRequest{}); err != nil {
			t.Fatal(err)
		}
		if got := gatewayOf(s); got != nil {
			t.Errorf("it is still there: %v", got)
		}
		if eps := w.network(t, engine.GatewayNetwork).Endpoints(); len(eps) > 0 {
			t.Errorf("its network has %v", eps)
		}
		if err := og.Leave(ctx, s); err != nil {
			t.Fatal(err)
		}
		if got := gatewayOf(s); len(got) != 1 {
			t.Errorf("it is not there again: %v", got)
		}
	})
	t.Run("GW-4 it is not renamed with its sandbox", func(t *testing.T) {
		if err := s.Rename(ctx, "other"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"gateway_c3"}, gatewayOf(s)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("GW-3 containers whose ids begin alike both have one", func(t *testing.T) {
		var names []string
		for _, id := range []string{"0123456789abcdef", "0123456789abxxxx", "0123456789ab"} {
			sb := need(w.e.CreateContainer(ctx, engine.SandboxRequest{ContainerID: id},
				[]engine.AttachRequest{{Network: w.network(t, "o"), Endpoint: engine.EndpointRequest{Name: id}}}))(t)
			names = append(names, gatewayOf(sb)...)
		}
		slices.Sort(names)
		if names[0] != "gateway_0123456789ab" || len(slices.Compact(names)) != 3 {
			t.Errorf("names %v", names)
		}
	})
	t.Run("GW-4 it goes with the last endpoint that counts", func(t *testing.T) {
		if err := w.endpoint(t, "o", "other").Leave(ctx, s); err != nil {
			t.Fatal(err)
		}
		if eps := s.Endpoints(); len(eps) > 0 {
			t.Errorf("left: %v", eps)
		}
	})
	t.Run("GW-1 many at once make one network", func(t *testing.T) { gatewayAtOnce(t) })
	t.Run("GW-1 a network of that name is used as it is", func(t *testing.T) {
		w := newWorld(t)
		w.d = newOutside()
		w.register(t)
		own := need(w.e.CreateNetwork(ctx, engine.NetworkRequest{
			Driver: "bridge", Name: engine.GatewayNetwork, IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.77.0.0/24"}}},
		}))(t)
		n := need(w.e.CreateNetwork(ctx, engine.NetworkRequest{Driver: outsideType, Name: "o"}))(t)
		s := need(w.e.CreateContainer(ctx, engine.SandboxRequest{ContainerID: "c"},
			[]engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: "e"}}}))(t)
		if eps := own.Endpoints(); len(eps) != 1 || eps[0].Sandbox() != s {
			t.Errorf("its endpoints are %v", eps)
		}
	})
}

func gatewayAtOnce(t *testing.T) {
	t.Helper()
	w := newWorld(t)
	w.d = newOutside()
	w.register(t)
	ctx := t.Context()
	n := need(w.e.CreateNetwork(ctx, engine.NetworkRequest{Driver: outsideType, Name: "o"}))(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			s, err := w.e.CreateContainer(ctx, engine.SandboxRequest{ContainerID: fmt.Sprint("c", i)},
				[]engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: fmt.Sprint("e", i)}}})
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 0 {
				if err := s.Delete(ctx); err != nil {
					t.Error(err)
				}
			}
			if gw, err := w.e.NetworkByName(engine.GatewayNetwork); err == nil {
				_ = gw.Delete(ctx) // refused, or it is made again
			}
		})
	}
	wg.Wait()
	gw := w.network(t, engine.GatewayNetwork)
	if got := len(gw.Endpoints()); got != 8 {
		t.Errorf("%d endpoints on it, want 8", got)
	}
}
