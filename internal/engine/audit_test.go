package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/ipam"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/runset"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// openLedger opens an engine with an address manager of its own, which it
// returns.
func openLedger(t *testing.T, data, run string, log slog.Handler) (*engine.Engine, *ipam.Manager) {
	t.Helper()
	local, global := ipam.DaemonBases()
	m, err := ipam.New(ipam.Config{Local: append(local, ipam.Base{Prefix: netip.MustParsePrefix("fd00::/48"), Length: 64}), Global: global})
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open(context.WithoutCancel(t.Context()), engine.Config{
		DataDir: data, RunDir: run, BootID: "boot", Kernel: &enginetest.Kernel{}, KeepAlive: true,
		Drivers:    []model.Driver{bridge.Driver{Group: enginetest.Group}, fakeDriver{}},
		IPAM:       map[string]ipamapi.Ipam{ipamapi.DefaultIPAM: ipam.Default{Manager: m}},
		ResolvConf: filepath.Join(data, "none"), Logger: slog.New(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e, m
}

func newLedger(t *testing.T) (*engine.Engine, *ipam.Manager) {
	t.Helper()
	return openLedger(t, filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run"), slog.DiscardHandler)
}

// webNetwork has both families, an address range, an auxiliary address and two
// endpoints.
func webNetwork(t *testing.T, e *engine.Engine) *engine.Network {
	t.Helper()
	n := need(e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: bridge.Type, Name: "web", IPv6: true,
		IPAM: model.IPAM{
			Conf4: []model.IPAMConf{{Pool: "10.1.0.0/24", Sub: "10.1.0.128/25", Gateway: "10.1.0.1", Aux: map[string]string{"dns": "10.1.0.2"}}},
			Conf6: []model.IPAMConf{{Pool: "fd00:1::/64"}},
		},
	}))(t)
	for _, name := range []string{"a", "b"} {
		need(n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: name}))(t)
	}
	return n
}

func audit(t *testing.T, e *engine.Engine) engine.Audit {
	t.Helper()
	return need(e.Audit(t.Context()))(t)
}

// looseAddr lets cmp look at addresses and prefixes.
func looseAddr() cmp.Option {
	return cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}
}

func TestAudit(t *testing.T) {
	const pool4, sub4, pool6 = "LocalDefault/10.1.0.0/24", "LocalDefault/10.1.0.0/24/10.1.0.128/25", "LocalDefault/fd00:1::/64"
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		name string
		harm func(*ipam.Manager) error
		want []engine.Finding
	}{
		{"an audit finds nothing where manager and records agree", func(*ipam.Manager) error { return nil }, nil},
		{
			"an audit finds an address that no record owns",
			func(m *ipam.Manager) error { _, err := m.RequestAddress(pool4, addr("10.1.0.77"), nil); return err },
			[]engine.Finding{{Problem: engine.Unowned, Pool: pool4, Addr: addr("10.1.0.77")}},
		},
		{
			"an audit finds an address of an endpoint that is not allocated",
			func(m *ipam.Manager) error { return m.ReleaseAddress(sub4, addr("10.1.0.128")) },
			[]engine.Finding{{Problem: engine.Unallocated, Pool: pool4, Addr: addr("10.1.0.128"), Owners: []string{"endpoint a of network web"}}},
		},
		{
			"an audit finds an IPv6 address of an endpoint that is not allocated",
			func(m *ipam.Manager) error { return m.ReleaseAddress(pool6, addr("fd00:1::3")) },
			[]engine.Finding{{Problem: engine.Unallocated, Pool: pool6, Addr: addr("fd00:1::3"), Owners: []string{"endpoint b of network web"}}},
		},
		{
			"an audit finds a gateway and an auxiliary address that are not allocated",
			func(m *ipam.Manager) error {
				return errors.Join(m.ReleaseAddress(pool4, addr("10.1.0.1")), m.ReleaseAddress(pool4, addr("10.1.0.2")))
			},
			[]engine.Finding{
				{Problem: engine.Unallocated, Pool: pool4, Addr: addr("10.1.0.1"), Owners: []string{"gateway of network web"}},
				{Problem: engine.Unallocated, Pool: pool4, Addr: addr("10.1.0.2"), Owners: []string{"auxiliary address dns of network web"}},
			},
		},
		{
			"an audit finds a pool that no network has",
			func(m *ipam.Manager) error {
				_, err := m.RequestPool(ipam.LocalSpace, netip.MustParsePrefix("10.9.0.0/16"), netip.Prefix{}, nil, false)
				return err
			},
			[]engine.Finding{{Problem: engine.Unowned, Pool: "LocalDefault/10.9.0.0/16"}},
		},
		{
			"an audit finds one request too many for a pool",
			func(m *ipam.Manager) error {
				_, err := m.RequestPool(ipam.LocalSpace, netip.MustParsePrefix("fd00:1::/64"), netip.Prefix{}, nil, false)
				return err
			},
			[]engine.Finding{{Problem: engine.Unowned, Pool: pool6, Owners: []string{"network web"}}},
		},
		{
			"an audit finds a pool of a network that is not held, with its addresses",
			func(m *ipam.Manager) error { return m.ReleasePool(pool6) },
			[]engine.Finding{
				{Problem: engine.Unallocated, Pool: pool6, Owners: []string{"network web"}},
				{Problem: engine.Unallocated, Pool: pool6, Addr: addr("fd00:1::1"), Owners: []string{"gateway of network web"}},
				{Problem: engine.Unallocated, Pool: pool6, Addr: addr("fd00:1::2"), Owners: []string{"endpoint a of network web"}},
				{Problem: engine.Unallocated, Pool: pool6, Addr: addr("fd00:1::3"), Owners: []string{"endpoint b of network web"}},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, m := newLedger(t)
			n := webNetwork(t, e)
			if err := tt.harm(m); err != nil {
				t.Fatal(err)
			}
			for i := range tt.want {
				tt.want[i].Manager = "default"
			}
			if diff := cmp.Diff(tt.want, audit(t, e).Findings, looseAddr()); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			// An audit keeps nobody waiting behind it.
			if err := n.Delete(t.Context()); !errors.As(err, new(*engine.ActiveEndpointsError)) {
				t.Errorf("deletion afterwards: %v, want ActiveEndpointsError", err)
			}
		})
	}
	t.Run("an audit counts what it has compared", func(t *testing.T) {
		e, _ := newLedger(t)
		webNetwork(t, e)
		if diff := cmp.Diff(engine.Audit{Pools: 3, Addresses: 7}, audit(t, e), looseAddr()); diff != "" {
			t.Errorf("audit (-want +got):\n%s", diff)
		}
	})
	t.Run("an audit finds an address that was given to two endpoints", func(t *testing.T) {
		e, m := newLedger(t)
		n := webNetwork(t, e)
		if err := m.ReleaseAddress(sub4, addr("10.1.0.128")); err != nil {
			t.Fatal(err)
		}
		need(n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "c"}))(t)
		found := audit(t, e).Findings
		if len(found) != 1 || found[0].Problem != engine.Duplicate || len(found[0].Owners) != 2 || found[0].Addr != addr("10.1.0.128") {
			t.Errorf("found %+v, want the address of a and c", found)
		}
	})
	t.Run("an audit that waits ends with its context", func(t *testing.T) {
		e, m := newLedger(t)
		webNetwork(t, e)
		if _, err := m.RequestAddress(pool4, netip.Addr{}, nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := e.Audit(ctx)
		if _, ok := err.(types.TimeoutError); !ok || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want a timeout", err)
		}
	})
}

// TestAuditBeside has operations on their way while audits run.
func TestAuditBeside(t *testing.T) {
	t.Run("an audit takes no operation on its way for a fault", func(t *testing.T) {
		e, _ := newLedger(t)
		web := webNetwork(t, e)
		var wg sync.WaitGroup
		stop := make(chan struct{})
		work := func(f func(i int) error) {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					if err := f(i); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for w := range 4 {
			work(func(i int) error {
				ep, err := web.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: fmt.Sprint(w, "-", i)})
				if err != nil {
					return err
				}
				return ep.Delete(t.Context(), false)
			})
		}
		work(func(i int) error {
			n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: fmt.Sprint("n", i)})
			if err != nil {
				return err
			}
			return n.Delete(t.Context())
		})
		work(func(i int) error {
			s, err := e.CreateContainer(t.Context(), engine.SandboxRequest{ContainerID: fmt.Sprint("c", i)},
				[]engine.AttachRequest{{Network: web, Endpoint: engine.EndpointRequest{Name: fmt.Sprint("c", i)}}})
			if err != nil {
				return err
			}
			return s.Delete(t.Context())
		})
		for range 200 {
			if found := audit(t, e).Findings; len(found) > 0 {
				t.Errorf("found %+v", found)
				break
			}
		}
		close(stop)
		wg.Wait()
	})
}

func TestPools(t *testing.T) {
	t.Run("the usage of each pool is exact and names its networks", func(t *testing.T) {
		e, _ := newLedger(t)
		if got := e.Pools(); len(got) != 0 {
			t.Errorf("an engine without networks has the pools %v", got)
		}
		webNetwork(t, e)
		type row struct {
			ID, Size string
			Usage    ipam.Usage
			Networks []string
		}
		var got []row
		for _, p := range e.Pools() {
			got = append(got, row{p.Pool.ID, p.Usage.Size().String(), p.Usage, p.Networks})
		}
		u64, web := runset.U64, []string{"web"}
		if diff := cmp.Diff([]row{
			{"LocalDefault/10.1.0.0/24", "256", ipam.Usage{Reserved: 2, Allocated: u64(4), Free: u64(250)}, web},
			{"LocalDefault/10.1.0.0/24/10.1.0.128/25", "128", ipam.Usage{Reserved: 1, Allocated: u64(2), Free: u64(125)}, web},
			{"LocalDefault/fd00:1::/64", "18446744073709551616", ipam.Usage{Reserved: 1, Allocated: u64(3), Free: u64(1<<64 - 4)}, web},
		}, got); diff != "" {
			t.Errorf("pools (-want +got):\n%s", diff)
		}
	})
}
