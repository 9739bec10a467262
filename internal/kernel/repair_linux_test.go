package kernel_test

import (
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// Where nobody else changes the rules, there is nothing to repair, whatever we change
// at the same time.
func TestRepairBesideChanges(t *testing.T) {
	onBackends(t, repairBesideChanges)
}

// onBackends runs a test on each backend, with whatever else it needs.
func onBackends(t *testing.T, test func(*testing.T, kernel.Backend), features ...nstest.Feature) {
	t.Helper()
	for backend, feature := range map[kernel.Backend]nstest.Feature{
		kernel.NFTables: nstest.NFTables, kernel.IPTablesNFT: nstest.IPTablesNFT, kernel.IPTablesLegacy: nstest.IPTablesLegacy,
	} {
		t.Run(string(backend), func(t *testing.T) {
			nstest.Require(t, append(features, feature)...)
			test(t, backend)
		})
	}
}

func repairBesideChanges(t *testing.T, backend kernel.Backend) {
	t.Helper()
	k, err := kernel.New(t.Context(), kernel.Config{DataDir: t.TempDir(), RunDir: "/run/beside", Firewall: backend})
	if err != nil {
		t.Fatal(err)
	}
	network := []model.Object{model.FirewallNetwork{ID: "n1", Bridge: "br9", V4: &model.FirewallFamily{
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.99.1.0/24")}, Masquerade: true, ICC: true,
	}}}
	if _, err := k.Recover(t.Context(), network, false); err != nil {
		t.Fatal(err)
	}
	port := []model.Object{model.Port{
		Proto: 6, Host: netip.IPv4Unspecified(), First: 7001, Last: 7001, Addr: netip.MustParseAddr("10.99.1.2"), Port: 80, Owner: "e1",
	}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 20 {
			if err := k.Create(t.Context(), port); err != nil {
				t.Error(err)
			}
			if err := k.Delete(t.Context(), port); err != nil {
				t.Error(err)
			}
		}
	})
	for range 30 {
		if repaired, err := k.RepairRules(t.Context()); err != nil || repaired {
			t.Errorf("repaired: %t, %v", repaired, err)
		}
	}
	wg.Wait()
	if err := k.Delete(t.Context(), network); err != nil {
		t.Error(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

// A bridge that is put right gets its settings as well, of which the kernel may tell nobody.
func TestRepairSettings(t *testing.T) {
	s := newSite(t, "/run/settings")
	k := s.start(t)
	settings := []string{"/proc/sys/net/ipv4/conf/brx/rp_filter", "/proc/sys/net/ipv4/conf/brx/route_localnet"}
	for _, path := range settings {
		if err := os.WriteFile(path, []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ip(t, "link", "set", "brx", "down")
	repaired, err := k.RepairLinks(t.Context(), s.want)
	if err != nil || !slices.Equal(repaired, []string{"bridge/brx"}) {
		t.Errorf("repaired %v, %v", repaired, err)
	}
	for _, path := range settings {
		if value, err := os.ReadFile(path); err != nil || string(value) != "1\n" {
			t.Errorf("%s is %q, %v", path, value, err)
		}
	}
	s.away(t, k)
}
