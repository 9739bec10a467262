package engine_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/ipam"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/ipamapi"
)

// After a reboot networks are back and containers are gone, whether the run
// directory was on tmpfs or not; their names, addresses and ports are free.
func TestReboot(t *testing.T) {
	for _, tt := range []struct {
		name  string
		tmpfs bool
	}{{"run directory on tmpfs", true}, {"run directory on disk", false}} {
		t.Run(tt.name, func(t *testing.T) {
			data, run := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run")
			e := boot(t, data, run, "the first boot")
			n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "web"})
			if err != nil {
				t.Fatal(err)
			}
			want := n.Record()
			pool := want.IPAM.Pools4[0].Prefix
			addr := pool.Addr().Next().Next().Next()
			container(t, e, n, addr)
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if tt.tmpfs {
				if err := os.RemoveAll(run); err != nil {
					t.Fatal(err)
				}
			}

			e = boot(t, data, run, "the second boot")
			if n, err = e.NetworkByName("web"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(model.Encode(want)), string(model.Encode(n.Record()))); diff != "" {
				t.Errorf("the network (-want +got):\n%s", diff)
			}
			if s, eps := e.Sandboxes(), n.Endpoints(); len(s)+len(eps) > 0 {
				t.Errorf("sandboxes %v and endpoints %v are still there", s, eps)
			}
			if left, _ := filepath.Glob(filepath.Join(data, "network", "files", "*")); left != nil {
				t.Errorf("files left: %v", left)
			}
			container(t, e, n, addr)
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is not there after a boot was not taken away by anybody. In the same boot it was, and
// that is told.
func TestRepairsOfStart(t *testing.T) {
	for _, id := range []string{"boot", "another boot"} {
		t.Run(id, func(t *testing.T) {
			data, run := t.TempDir(), t.TempDir()
			e := boot(t, data, run, "boot")
			n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: "bridge", Name: "n", IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.9.0.0/24"}}}})
			if err != nil {
				t.Fatal(err)
			}
			container(t, e, n, netip.MustParseAddr("10.9.0.7"))
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			e = boot(t, data, run, id)
			defer e.Close()
			told, _, cancel := engine.Subscribe(e, begun, func(ev engine.Event) string { return ev.Action + " " + ev.Type + " " + ev.Name })
			cancel()
			var want []string
			if id == "boot" { // the container has gone with its namespace
				want = []string{"repair network n"}
			}
			if got := e.Repairs()["link"]; !slices.Equal(told, want) || got != uint64(len(want)) {
				t.Errorf("%d repairs, events %q, want %q", got, told, want)
			}
		})
	}
}

// container makes one with a fixed name, address and port.
func container(t *testing.T, e *engine.Engine, n *engine.Network, addr netip.Addr) {
	t.Helper()
	const web, http = 8080, 80
	_, err := e.CreateContainer(t.Context(), engine.SandboxRequest{
		ContainerID: "c1", Publish: []model.Publish{{Proto: 6, First: web, Last: web, Port: http, PortLast: http}},
	}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: "c1", V4: addr}}})
	if err != nil {
		t.Fatal(err)
	}
}

// boot opens an engine on a kernel that has nothing yet.
func boot(t *testing.T, data, run, id string) *engine.Engine {
	t.Helper()
	e, err := engine.Open(context.Background(), engine.Config{
		DataDir: data, RunDir: run, BootID: id, Kernel: &enginetest.Kernel{}, KeepAlive: true,
		Drivers:    []model.Driver{bridge.Driver{Group: enginetest.Group}},
		IPAM:       managers(t),
		ResolvConf: filepath.Join(data, "none"), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// managers are the address managers of a machine.
func managers(t *testing.T) map[string]ipamapi.Ipam {
	t.Helper()
	local, global := ipam.DaemonBases()
	m, err := ipam.New(ipam.Config{Local: local, Global: global})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]ipamapi.Ipam{ipamapi.DefaultIPAM: ipam.Default{Manager: m}}
}
