package engine_test

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// plain is a driver whose networks have addresses and nothing in the kernel.
type plain struct{ name, scope string }

func (d plain) Type() string { return d.name }

func (d plain) Traits() model.Traits { return model.Traits{Scope: d.scope, Addresses: true} }

func (plain) Prepare(*model.Network, model.Env) error { return nil }

func (plain) Plan(*model.Network, model.Env) error { return nil }

func (plain) Network(*model.Network) []model.Object { return nil }

func (plain) Attach(*model.Network, *model.Endpoint, *model.Sandbox) []model.Object { return nil }

func (plain) Gateway(*model.Network, *model.Endpoint, bool) netip.Addr { return netip.Addr{} }

// manager is an address manager with one subnet, 192.0.2.0/24, that says what it
// is told to.
type manager struct {
	ipamapi.Ipam // of the calls that no test makes
	meta         map[string]string
	poolErr      error
	addrErr      func(ip net.IP, opts map[string]string) error
	// call is called within each request for an address.
	call     func()
	released []string
}

func (*manager) GetDefaultAddressSpaces() (local, global string, err error) {
	return "near", "far", nil
}

func (m *manager) RequestPool(space, _, _ string, _ map[string]string, _ bool) (string, *net.IPNet, map[string]string, error) {
	if m.poolErr != nil {
		return "", nil, nil, m.poolErr
	}
	return space + "/pool", ipNet("192.0.2.0/24"), m.meta, nil
}

func (m *manager) ReleasePool(id string) error {
	m.released = append(m.released, "pool "+id)
	return nil
}

func (m *manager) RequestAddress(_ string, ip net.IP, opts map[string]string) (*net.IPNet, map[string]string, error) {
	if m.call != nil {
		m.call()
	}
	if m.addrErr != nil {
		if err := m.addrErr(ip, opts); err != nil {
			return nil, nil, err
		}
	}
	if ip == nil {
		return ipNet("192.0.2.77/24"), nil, nil
	}
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(24, 32)}, nil, nil
}

func (m *manager) ReleaseAddress(_ string, ip net.IP) error {
	m.released = append(m.released, ip.String())
	return nil
}

func ipNet(cidr string) *net.IPNet {
	ip, n, err := net.ParseCIDR(cidr)
	if err != nil {
		panic(err)
	}
	n.IP = ip
	return n
}

// managed opens an engine in memory with a driver of no objects in each scope and
// with an address manager of the test's.
func managed(t *testing.T, m *manager) *engine.Engine {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Config{
		DataDir: t.TempDir(), RunDir: t.TempDir(), Kernel: &enginetest.Kernel{},
		Drivers:    []model.Driver{plain{"plain", "local"}, plain{"wide", "global"}},
		IPAM:       map[string]ipamapi.Ipam{"own": m},
		ResolvConf: "/none", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func request(conf ...model.IPAMConf) engine.NetworkRequest {
	return engine.NetworkRequest{Driver: "plain", Name: "n", IPAM: model.IPAM{Driver: "own", Conf4: conf}}
}

func TestManagedAddresses(t *testing.T) {
	ctx := t.Context()
	var m *manager
	create := func(t *testing.T, conf ...model.IPAMConf) (*engine.Network, error) {
		t.Helper()
		n, err := managed(t, m).CreateNetwork(ctx, request(conf...))
		if err != nil && n != nil {
			t.Errorf("network is %v, want nil", n)
		}
		return n, err
	}
	t.Run("NET-5 the address space is the default one of the address manager for the network's scope", func(t *testing.T) {
		m = &manager{}
		if got := need(create(t))(t).Record().IPAM.Space; got != "near" {
			t.Errorf("address space is %s, want near", got)
		}
	})
	t.Run("NET-7 an error of the address manager keeps its class and can be found", func(t *testing.T) {
		m = &manager{poolErr: types.RetryErrorf("later")}
		_, err := create(t)
		if _, ok := err.(types.RetryError); !ok || !errors.Is(err, m.poolErr) {
			t.Errorf("error is %v (%T), want class Retry around the cause", err, err)
		}
	})
	t.Run("NET-8 a gateway that the address manager gives with the subnet is taken", func(t *testing.T) {
		m = &manager{meta: map[string]string{netlabel.Gateway: "192.0.2.9/24"}, addrErr: func(net.IP, map[string]string) error { return errors.New("asked") }}
		if got := need(create(t))(t).Record().IPAM.Pools4[0].Gateway.String(); got != "192.0.2.9/24" {
			t.Errorf("gateway is %s", got)
		}
	})
	t.Run("NET-8 the user's gateway wins over the address manager's", func(t *testing.T) {
		var asked map[string]string
		m = &manager{
			meta:    map[string]string{netlabel.Gateway: "192.0.2.9/24"},
			addrErr: func(_ net.IP, opts map[string]string) error { asked = opts; return nil },
		}
		if got := need(create(t, model.IPAMConf{Gateway: "192.0.2.5"}))(t).Record().IPAM.Pools4[0].Gateway.String(); got != "192.0.2.5/24" {
			t.Errorf("gateway is %s", got)
		}
		if diff := cmp.Diff(map[string]string{ipamapi.RequestAddressType: netlabel.Gateway}, asked); diff != "" {
			t.Errorf("options of the request (-want +got):\n%s", diff)
		}
	})
	t.Run("NET-8 a gateway of the address manager that is none is a BadRequest", func(t *testing.T) {
		m = &manager{meta: map[string]string{netlabel.Gateway: "192.0.2.9"}}
		if _, err := create(t); !is[types.BadRequestError](err) {
			t.Errorf("error is %v (%T)", err, err)
		}
	})
	t.Run("NET-8 a gateway that the address manager refuses is an Internal error, and the subnet is given back", func(t *testing.T) {
		m = &manager{addrErr: func(net.IP, map[string]string) error { return types.ForbiddenErrorf("no") }}
		if _, err := create(t); !is[types.InternalError](err) {
			t.Errorf("error is %v (%T)", err, err)
		}
		if !slices.Equal(m.released, []string{"pool near/pool"}) {
			t.Errorf("given back: %v", m.released)
		}
	})
	t.Run("NET-9 an auxiliary address that the address manager calls out of range is no error", func(t *testing.T) {
		m = &manager{addrErr: func(ip net.IP, _ map[string]string) error {
			if ip != nil {
				return ipamapi.ErrIPOutOfRange
			}
			return nil
		}}
		n := need(create(t, model.IPAMConf{Aux: map[string]string{"a": "192.0.2.200"}}))(t)
		if got := n.Record().IPAM.Pools4[0].Aux["a"].String(); got != "192.0.2.200/24" {
			t.Errorf("auxiliary address is %s", got)
		}
	})
	t.Run("NET-10 a network that fails gives its gateway and auxiliary addresses back before the subnet", func(t *testing.T) {
		m = &manager{addrErr: func(ip net.IP, _ map[string]string) error {
			if ip.Equal(net.IPv4(192, 0, 2, 4)) {
				return errors.New("no")
			}
			return nil
		}}
		if _, err := create(t, model.IPAMConf{Gateway: "192.0.2.1"}, model.IPAMConf{Gateway: "192.0.2.3", Aux: map[string]string{"a": "192.0.2.4"}}); err == nil {
			t.Error("no error")
		}
		want := []string{"192.0.2.3", "pool near/pool", "192.0.2.1", "pool near/pool"}
		if diff := cmp.Diff(want, m.released); diff != "" {
			t.Errorf("given back (-want +got):\n%s", diff)
		}
	})
	t.Run("CON-4 an address manager may call back while it is asked", func(t *testing.T) {
		m = &manager{}
		e := managed(t, m)
		n := need(e.CreateNetwork(ctx, request()))(t)
		s := need(e.CreateSandbox(ctx, engine.SandboxRequest{ContainerID: "c1"}))(t)
		called := false
		m.call = func() {
			m.call = nil
			called = true
			_ = e.Networks()
			_ = n.Endpoints()
			need(e.CreateSandbox(ctx, engine.SandboxRequest{ContainerID: "c2"}))(t)
			need(n.CreateEndpoint(ctx, engine.EndpointRequest{Name: "within"}))(t)
			if err := s.Delete(ctx); err != nil {
				t.Error(err)
			}
		}
		need(n.CreateEndpoint(ctx, engine.EndpointRequest{Name: "outer"}))(t)
		if !called || len(n.Endpoints()) != 2 {
			t.Errorf("called: %t, endpoints are %v", called, n.Endpoints())
		}
	})
}

func TestScopeWithoutStore(t *testing.T) {
	m := &manager{}
	e := managed(t, m)
	req := request()
	req.Driver = "wide"
	_, err := e.CreateNetwork(t.Context(), req)
	t.Run("PER-6 a network of a scope without a store is Forbidden before anything is taken for it", func(t *testing.T) {
		if !is[types.ForbiddenError](err) || len(m.released) != 0 || len(e.Networks()) != 0 {
			t.Errorf("error is %v (%T), given back: %v", err, err, m.released)
		}
	})
	t.Run("MOD-4 the scope of a network is the one that its driver works in", func(t *testing.T) {
		if err == nil || !strings.Contains(err.Error(), "scope global") {
			t.Errorf("error %v does not name the scope", err)
		}
		if got := need(e.CreateNetwork(t.Context(), request()))(t).Record().Scope; got != "local" {
			t.Errorf("scope is %s", got)
		}
	})
}

func TestSubnetsInOrder(t *testing.T) {
	w := newWorld(t)
	if err := w.e.Close(); err != nil {
		t.Fatal(err)
	}
	w.open(t, plain{"plain", "local"})
	ctx := t.Context()
	n := need(w.e.CreateNetwork(ctx, engine.NetworkRequest{Driver: "plain", Name: "n", IPAM: model.IPAM{
		Conf4: []model.IPAMConf{{Pool: "10.5.0.0/30"}, {Pool: "10.6.0.0/29"}},
	}}))(t)
	endpoint := func(t *testing.T, name, want string) string {
		t.Helper()
		var v4 netip.Addr
		if want != "" {
			v4 = netip.MustParseAddr(want)
		}
		return need(n.CreateEndpoint(ctx, engine.EndpointRequest{Name: name, V4: v4}))(t).Record().V4.String()
	}
	t.Run("EP-3 a wanted address comes from the subnet that holds it", func(t *testing.T) {
		if got := endpoint(t, "wanted", "10.6.0.5"); got != "10.6.0.5/29" {
			t.Errorf("address is %s", got)
		}
	})
	t.Run("EP-3 subnets are tried in their order, the next one when one is full", func(t *testing.T) {
		if got := []string{endpoint(t, "a", ""), endpoint(t, "b", "")}; !slices.Equal(got, []string{"10.5.0.2/30", "10.6.0.2/29"}) {
			t.Errorf("addresses are %v", got)
		}
	})
	t.Run("EP-3 when all subnets are full the answer is NoService", func(t *testing.T) {
		for i := range 3 {
			endpoint(t, string(rune('c'+i)), "")
		}
		if _, err := n.CreateEndpoint(ctx, engine.EndpointRequest{Name: "late"}); !is[types.NoServiceError](err) {
			t.Errorf("error is %v (%T)", err, err)
		}
	})
}

func TestLeaveOfRefusingKernel(t *testing.T) {
	w := newWorld(t)
	w.populate(t)
	a1, s := w.endpoint(t, "a", "a1"), w.sandbox(t)
	w.k.Fail = func(op string, _ model.Object) error {
		if op == "delete" {
			return errors.New("the kernel refuses")
		}
		return nil
	}
	t.Run("EP-16 what the kernel refuses to give up does not keep an endpoint from leaving", func(t *testing.T) {
		if err := a1.Leave(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if a1.Sandbox() != nil || len(s.Endpoints()) != 0 {
			t.Errorf("joined to %v, which has %v", a1.Sandbox(), s.Endpoints())
		}
	})
}

// TestBeingDeleted holds the kernel in the middle of the deletion of a network.
func TestBeingDeleted(t *testing.T) {
	w := newWorld(t)
	w.populate(t)
	ctx := t.Context()
	n := w.network(t, "free")
	inside, release := make(chan struct{}), make(chan struct{})
	w.k.Fail = func(op string, o model.Object) error {
		if b, ok := o.(model.Bridge); ok && op == "delete" && b.Name == "br-"+n.ID()[:12] {
			close(inside)
			<-release
		}
		return nil
	}
	deleted := make(chan error, 1)
	go func() { deleted <- n.Delete(ctx) }()
	<-inside
	t.Run("NET-12 a network that is being deleted is found by no look-up", func(t *testing.T) {
		if _, err := w.e.NetworkByName("free"); !is[engine.ErrNoSuchNetwork](err) {
			t.Errorf("by name: %v", err)
		}
		if _, err := w.e.NetworkByID(n.ID()); !is[engine.ErrNoSuchNetwork](err) {
			t.Errorf("by id: %v", err)
		}
		if slices.Contains(w.e.Networks(), n) {
			t.Error("it is listed")
		}
	})
	late := make(chan error, 1)
	go func() { late <- last(n.CreateEndpoint(ctx, engine.EndpointRequest{Name: "late"})) }()
	close(release)
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	t.Run("NET-12 an endpoint on a network that is being deleted waits for the end of that, and is NotFound", func(t *testing.T) {
		if err := <-late; !is[types.NotFoundError](err) {
			t.Errorf("error is %v (%T)", err, err)
		}
	})
}

// TestReadBack starts anew on the records of a world with everything in it.
func TestReadBack(t *testing.T) {
	w := newWorld(t)
	w.populate(t)
	ctx := t.Context()
	given := need(w.e.CreateSandbox(ctx, engine.SandboxRequest{ContainerID: "external", External: true}))(t)
	for _, ep := range []struct{ network, name string }{{"a", "x"}, {"b", "y"}} {
		joined := need(w.network(t, ep.network).CreateEndpoint(ctx, engine.EndpointRequest{Name: ep.name}))(t)
		if err := joined.Join(ctx, given, engine.JoinRequest{Priority: len(ep.network + ep.name), Aliases: map[string]string{"store": "b1"}}); err != nil {
			t.Fatal(err)
		}
	}
	transient := need(w.e.CreateNetwork(ctx, engine.NetworkRequest{Driver: "bridge", Name: "transient", Transient: true}))(t)
	need(transient.CreateEndpoint(ctx, engine.EndpointRequest{Name: "e"}))(t)
	state := func() map[string]any {
		out := w.state(t)
		for key := range out {
			if strings.Contains(key, "transient") || key == "kernel" || key == "addresses" {
				delete(out, key)
			}
		}
		return out
	}
	before := state()
	if err := w.e.Close(); err != nil {
		t.Fatal(err)
	}
	w.open(t)
	t.Run("PER-1 networks, endpoints and sandboxes are read back as they were written", func(t *testing.T) {
		if diff := cmp.Diff(before, state()); diff != "" {
			t.Errorf("(-before +after)\n%s", diff)
		}
	})
	again, err := w.e.SandboxByContainer("external")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("PER-4a joins made before the namespace is known are recorded", func(t *testing.T) {
		if eps := again.Endpoints(); len(eps) != 2 {
			t.Errorf("endpoints are %v", eps)
		}
	})
	t.Run("PER-4 priorities and aliases of joins are recorded, so that sandboxes can outlive the process", func(t *testing.T) {
		for _, ep := range again.Endpoints() {
			if a := ep.Record().Attached; a.Priority == 0 || a.Aliases["store"] != "b1" {
				t.Errorf("endpoint %s is attached with %+v", ep.Name(), a)
			}
		}
	})
	t.Run("CLN-7 an engine that is told so keeps live sandboxes over a restart", func(t *testing.T) {
		if s := w.sandbox(t); len(s.Endpoints()) != 1 || s.Record().Published.IsZero() {
			t.Errorf("sandbox is %+v", s.Record())
		}
	})
	t.Run("PER-3 a network that is not to persist is in no record, nor are its endpoints", func(t *testing.T) {
		if _, err := w.e.NetworkByName("transient"); !is[engine.ErrNoSuchNetwork](err) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestUnreadableRecords(t *testing.T) {
	w := newWorld(t)
	w.populate(t)
	id := w.network(t, "b").ID()
	if err := w.e.Close(); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(t.Context(), store.Config{DataDir: w.data, RunDir: w.run, BootID: bootOf(t), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	err = st.Commit(t.Context(), store.Op{Kind: "network", ID: id, Value: []byte(`{"version":`), Durable: true},
		store.Op{Kind: "sandbox", ID: "x", Value: []byte("[]")}, store.Op{Kind: "endpoint", ID: "y", Value: []byte("7")})
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	w.open(t)
	t.Run("CLN-5 a record that cannot be read is left out and hides no other", func(t *testing.T) {
		if _, err := w.e.NetworkByID(id); !is[engine.ErrNoSuchNetwork](err) {
			t.Errorf("network b: %v", err)
		}
		if len(w.e.Networks()) != 2 || len(w.sandbox(t).Endpoints()) != 1 {
			t.Errorf("networks are %v, endpoints %v", w.e.Networks(), w.sandbox(t).Endpoints())
		}
		need(w.e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: "bridge", Name: "b", IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.2.0.0/24"}}}}))(t)
	})
}

// bootOf identifies this run of the machine as the engine does.
func bootOf(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		return ""
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestOneCommit(t *testing.T) {
	t.Run("PER-8 an operation writes each file of the store once", func(t *testing.T) {
		for _, op := range operations {
			w := newWorld(t)
			w.populate(t)
			// The first IPv6 network turns forwarding on, which is a record of its own.
			need(w.e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: "bridge", Name: "v6", IPv6: true, IPAM: model.IPAM{
				Conf4: []model.IPAMConf{{Pool: "10.7.0.0/24"}}, Conf6: []model.IPAMConf{{Pool: "fd00:7::/64"}},
			}}))(t)
			before := w.writes.Load()
			if err := op.run(t.Context(), t, w); err != nil {
				t.Fatalf("%s: %v", op.name, err)
			}
			// What is to outlive the boot is written to the data file and copied to the
			// run file.
			most := 1
			if strings.HasPrefix(op.name, "NET-") {
				most = 2
			}
			if n := int(w.writes.Load() - before); n < 1 || n > most {
				t.Errorf("%s: %d writes", op.name, n)
			}
		}
	})
}

func TestCutShort(t *testing.T) {
	w := newWorld(t)
	w.populate(t)
	n := w.network(t, "free")
	key := model.Bridge{Name: "br-" + n.ID()[:12]}.Key()
	w.k.Fail = func(op string, o model.Object) error {
		if op == "delete" && o.Key() == key {
			return errors.New("the kernel refuses")
		}
		return nil
	}
	if err := n.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(w.k.Keys(), key) {
		t.Fatal("the bridge is not left: the test proves nothing")
	}
	if err := w.e.Close(); err != nil {
		t.Fatal(err)
	}
	w.open(t)
	t.Run("CLN-3 a deletion of a network that was cut short is finished by the next start", func(t *testing.T) {
		if slices.Contains(w.k.Keys(), key) || len(w.e.Networks()) != 2 {
			t.Errorf("kernel has %v, networks are %v", w.k.Keys(), w.e.Networks())
		}
	})
}

func TestPortsOfDeleted(t *testing.T) {
	w := newWorld(t)
	w.populate(t)
	if err := w.sandbox(t).Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("SB-6 the ports of a deleted sandbox are free at once", func(t *testing.T) {
		s := need(w.e.CreateContainer(t.Context(), engine.SandboxRequest{
			ContainerID: "c2", Publish: []model.Publish{{Proto: uint8(types.TCP), First: 8080, Last: 8080, Port: 80, PortLast: 80}},
		}, []engine.AttachRequest{{Network: w.network(t, "a"), Endpoint: engine.EndpointRequest{Name: "c2"}}}))(t)
		if p := s.Record().Published; p.IsZero() || p.At(0).First != 8080 {
			t.Errorf("published are %+v", p)
		}
	})
}
