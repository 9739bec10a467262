package server_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/api/server"
	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/ipam"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/ipamapi"
)

// newPoolDaemon is a daemon whose address manager is at hand.
func newPoolDaemon(t *testing.T) (*daemon, *ipam.Manager) {
	t.Helper()
	m, err := ipam.New(ipam.Config{})
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, k: new(enginetest.Kernel)}
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	d.e, err = engine.Open(context.WithoutCancel(t.Context()), engine.Config{
		DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), Kernel: d.k,
		Drivers:    []model.Driver{bridge.Driver{Group: enginetest.Group}},
		IPAM:       map[string]ipamapi.Ipam{ipamapi.DefaultIPAM: ipam.Default{Manager: m}},
		ResolvConf: filepath.Join(dir, "none"), Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.e.Close(); err != nil {
			t.Error(err)
		}
	})
	srv := httptest.NewServer(server.New(server.Config{Engine: d.e, Logger: log}))
	t.Cleanup(srv.Close)
	d.url = srv.URL
	return d, m
}

func TestPools(t *testing.T) {
	d, m := newPoolDaemon(t)
	for path, want := range map[string]string{
		"/v2/ipam/pools": "[]\n",
		"/v2/ipam/audit": `{"pools":0,"addresses":0,"findings":[]}` + "\n",
	} {
		if _, text := d.do("GET", path, nil); text != want {
			t.Errorf("%s of an empty daemon is %q, want %q", path, text, want)
		}
	}
	ok[api.Network](d, "POST", "/v2/networks", api.NetworkCreate{
		Name: "web", Subnets: []api.Subnet{{Subnet: "10.8.0.0/24", IPRange: "10.8.0.128/25"}, {Subnet: "8000::/1"}},
	})
	_, text := d.do("GET", "/v2/ipam/pools", nil)
	want := `[` +
		`{"id":"LocalDefault/10.8.0.0/24","manager":"default","space":"LocalDefault","subnet":"10.8.0.0/24","networks":["web"],` +
		`"size":"256","allocated":"1","free":"253","reserved":"2","held":"0"},` +
		`{"id":"LocalDefault/10.8.0.0/24/10.8.0.128/25","manager":"default","space":"LocalDefault","subnet":"10.8.0.0/24","ip_range":"10.8.0.128/25","networks":["web"],` +
		`"size":"128","allocated":"1","free":"126","reserved":"1","held":"0"},` +
		`{"id":"LocalDefault/8000::/1","manager":"default","space":"LocalDefault","subnet":"8000::/1","networks":["web"],` +
		`"size":"170141183460469231731687303715884105728","allocated":"1","free":"170141183460469231731687303715884105726","reserved":"1","held":"0"}` +
		"]\n"
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("pools (-want +got):\n%s", diff)
	}
	if got := ok[api.Audit](d, "GET", "/v2/ipam/audit", nil); len(got.Findings) != 0 || got.Pools != 3 || got.Addresses != 2 {
		t.Errorf("audit: %+v", got)
	}

	const pool = "LocalDefault/10.8.0.0/24"
	if _, err := m.RequestAddress(pool, netip.MustParseAddr("10.8.0.9"), nil); err != nil {
		t.Fatal(err)
	}
	if err := m.ReleaseAddress(pool, netip.MustParseAddr("10.8.0.128")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.RequestPool(ipam.GlobalSpace, netip.MustParsePrefix("0.0.0.0/0"), netip.Prefix{}, nil, false); err != nil {
		t.Fatal(err)
	}
	_, text = d.do("GET", "/v2/ipam/audit", nil)
	want = `{"pools":4,"addresses":2,"findings":[` +
		`{"problem":"unowned","manager":"default","pool":"GlobalDefault/0.0.0.0/0","owners":[]},` +
		`{"problem":"unowned","manager":"default","pool":"LocalDefault/10.8.0.0/24","address":"10.8.0.9","owners":[]},` +
		`{"problem":"unallocated","manager":"default","pool":"LocalDefault/10.8.0.0/24","address":"10.8.0.128","owners":["gateway of network web"]}` +
		"]}\n"
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}
