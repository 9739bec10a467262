package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/drivers/outside"
	"github.com/libnetwork/libnetwork/internal/drivers/outside/outsidetest"
	"github.com/libnetwork/libnetwork/internal/drivers/single"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/ipam"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// fakeDriver is a driver of somebody else: a bridge and a veth are all it wants.
// It refuses networks named "refused".
type fakeDriver struct{}

func (fakeDriver) Type() string { return "fake" }

func (fakeDriver) Traits() model.Traits { return model.Traits{Scope: "local", Addresses: true} }

func (fakeDriver) Prepare(*model.Network, model.Env) error { return nil }

func (fakeDriver) Plan(n *model.Network, _ model.Env) error {
	if n.Name == "refused" {
		return types.BadRequestErrorf("network %s: this driver will not have it", n.Name)
	}
	return nil
}

func (fakeDriver) Network(n *model.Network) []model.Object {
	return []model.Object{model.Bridge{Name: "fake-" + n.Name, Group: enginetest.Group}}
}

func (fakeDriver) Attach(n *model.Network, ep *model.Endpoint, sb *model.Sandbox) []model.Object {
	return []model.Object{model.Veth{
		Host: ep.Attached.Host, Name: ep.Attached.Name, Netns: sb.Key, Bridge: "fake-" + n.Name,
		Group: enginetest.Group, MAC: ep.MAC, Addrs: []netip.Prefix{ep.V4},
	}}
}

func (fakeDriver) Gateway(n *model.Network, _ *model.Endpoint, v6 bool) netip.Addr {
	if v6 {
		return netip.Addr{}
	}
	return n.IPAM.Pools4[0].Gateway.Addr()
}

// TestScenario23Contract holds every built-in driver and one of somebody else to
// the same contract.
func TestScenario23Contract(t *testing.T) {
	theirs := &outsidetest.Driver{Name: "theirs"}
	theirs.OnJoin = func(eid, _ string, j driverapi.JoinInfo, _ map[string]interface{}) error {
		return errors.Join(j.SetGateway(net.IPv4(10, 0, 0, 1)), j.InterfaceName().SetNames("t"+eid[:8], "eth"))
	}
	defer func() {
		if err := theirs.Violations(); err != nil {
			t.Errorf("a driver of the published interface was told: %v", err)
		}
	}()
	for _, drv := range []model.Driver{
		bridge.Driver{Group: enginetest.Group}, single.Host(), single.Null(), fakeDriver{}, outside.New("theirs", "local", theirs),
	} {
		t.Run(drv.Type(), func(t *testing.T) {
			k := &enginetest.Kernel{}
			e := openWith(t, k, drv)
			empty := k.Keys()

			if _, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: "nobody", Name: "n"}); !errors.As(err, new(types.NotFoundError)) {
				t.Errorf("unknown driver: %v, want NotFound", err)
			}
			n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: drv.Type(), Name: "n"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: drv.Type(), Name: "n"}); !errors.As(err, new(engine.NetworkNameError)) {
				t.Errorf("the same name again: %v, want NetworkNameError", err)
			}
			if drv == model.Driver(fakeDriver{}) {
				_, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: drv.Type(), Name: "refused"})
				if _, ok := err.(types.BadRequestError); !ok {
					t.Errorf("the driver's own refusal: %v, want its class", err)
				}
			}
			if drv.Traits().Single {
				contractSingle(t, e, n, drv)
				return
			}
			contractEndpoints(t, e, n)
			if err := n.Delete(t.Context()); err != nil {
				t.Error(err)
			}
			if err := n.Delete(t.Context()); !errors.As(err, new(*engine.UnknownNetworkError)) {
				t.Errorf("deleted again: %v, want UnknownNetworkError", err)
			}
			contractRollback(t, e, k, drv)
			if diff := cmp.Diff(empty, k.Keys()); diff != "" {
				t.Errorf("left in the kernel (-want +got):\n%s", diff)
			}
		})
	}
}

// contractSingle is for drivers of one network that stays.
func contractSingle(t *testing.T, e *engine.Engine, n *engine.Network, drv model.Driver) {
	t.Helper()
	_, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: drv.Type(), Name: "second"})
	if !errors.As(err, new(types.ForbiddenError)) {
		t.Errorf("NET-4 a second network: %v, want Forbidden", err)
	}
	if err := n.Delete(t.Context()); !errors.As(err, new(types.ForbiddenError)) {
		t.Errorf("NET-4 its deletion: %v, want Forbidden", err)
	}
}

// contractEndpoints has many callers use one network at once: each name is given
// once, and everything can be taken back.
func contractEndpoints(t *testing.T, e *engine.Engine, n *engine.Network) {
	t.Helper()
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			ep, err := n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: fmt.Sprint("e", i%4)})
			if err != nil {
				if !errors.As(err, new(types.ForbiddenError)) {
					t.Errorf("EP-5: %v, want Forbidden", err)
				}
				return
			}
			made.Add(1)
			s, err := e.CreateSandbox(t.Context(), engine.SandboxRequest{ContainerID: fmt.Sprint("c", i)})
			if err != nil {
				t.Error(err)
				return
			}
			if err := ep.Join(t.Context(), s, engine.JoinRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 4 {
		t.Errorf("EP-5 %d endpoints of 4 names", made.Load())
	}
	if err := n.Delete(t.Context()); !errors.As(err, new(*engine.ActiveEndpointsError)) {
		t.Errorf("a network with endpoints: %v, want ActiveEndpointsError", err)
	}
	for _, s := range e.Sandboxes() {
		wg.Go(func() {
			if err := s.Delete(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if eps := n.Endpoints(); len(eps) > 0 {
		t.Errorf("SB-6 endpoints left: %v", eps)
	}
}

// contractRollback fails each kernel call of a network's creation once.
func contractRollback(t *testing.T, e *engine.Engine, k *enginetest.Kernel, drv model.Driver) {
	t.Helper()
	before := k.Keys()
	for at := 1; ; at++ {
		calls := 0
		k.Fail = func(string, model.Object) error {
			if calls++; calls == at {
				return errors.New("the kernel will not")
			}
			return nil
		}
		n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: drv.Type(), Name: "rollback"})
		k.Fail = nil
		if err == nil {
			if err := n.Delete(t.Context()); err != nil {
				t.Error(err)
			}
			return
		}
		if diff := cmp.Diff(before, k.Keys()); diff != "" {
			t.Errorf("NET-2 after call %d failed (-want +got):\n%s", at, diff)
		}
		if len(e.Networks()) > 0 {
			t.Errorf("NET-2 after call %d failed there are networks", at)
		}
	}
}

func openWith(t *testing.T, k *enginetest.Kernel, drv model.Driver) *engine.Engine {
	t.Helper()
	local, global := ipam.DaemonBases()
	m, err := ipam.New(ipam.Config{Local: local, Global: global})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	e, err := engine.Open(context.Background(), engine.Config{
		DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), Kernel: k, Drivers: []model.Driver{drv},
		IPAM:       map[string]ipamapi.Ipam{ipamapi.DefaultIPAM: ipam.Default{Manager: m}},
		ResolvConf: filepath.Join(dir, "none"), Logger: slog.New(slog.DiscardHandler),
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
