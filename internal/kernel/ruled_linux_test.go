package kernel_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// Where the firewall does not take the rules, no link is made, which would be open to
// everybody; as soon as it does, all is.
func TestNoLinksWithoutRules(t *testing.T) {
	onBackends(t, noLinksWithoutRules, nstest.Bridge, nstest.Veth)
}

func noLinksWithoutRules(t *testing.T, backend kernel.Backend) {
	t.Helper()
	var refuses atomic.Bool
	refuses.Store(true)
	cfg := kernel.Config{DataDir: t.TempDir(), RunDir: "/run/unruled", Firewall: backend}
	cfg.Steps = step.New(func(_ int, name string) error {
		if refuses.Load() && (strings.HasPrefix(name, "nft: ") || strings.HasPrefix(name, "ipt: ")) {
			return step.ErrInjected
		}
		return nil
	})
	ctx := context.WithoutCancel(t.Context()) // it removes all at the end
	k, err := kernel.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	group, path := kernel.Group(cfg.DataDir), cfg.RunDir+"/netns/c1"
	subnet := netip.MustParsePrefix("10.99.1.0/24")
	rules := model.FirewallNetwork{ID: "n1", Bridge: "br9", V4: &model.FirewallFamily{Subnets: []netip.Prefix{subnet}}}
	bridge := model.Bridge{Name: "br9", Group: group, Addrs: []netip.Prefix{netip.MustParsePrefix("10.99.1.1/24")}}
	veth := model.Veth{Host: "veth9", Netns: path, Name: "eth0", Bridge: "br9", Group: group, Addrs: []netip.Prefix{netip.MustParsePrefix("10.99.1.2/24")}}
	want := []model.Object{rules, bridge, model.Namespace{Path: path}}
	there := func(link string) bool {
		_, ok, err := k.Link(ctx, link)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if _, err := k.Recover(ctx, want, false); !errors.Is(err, step.ErrInjected) {
		t.Errorf("the start: %v", err)
	}
	if there("br9") {
		t.Error("a bridge without rules was made")
	}
	if !netns.IsNamespace(path) {
		t.Error("the namespace is missing")
	}
	for name, err := range map[string]error{
		"network":  k.Create(ctx, []model.Object{model.FirewallNetwork{ID: "n2", Bridge: "br8", V4: rules.V4}}),
		"endpoint": k.Create(ctx, []model.Object{veth}),
	} {
		if !errors.Is(err, step.ErrInjected) {
			t.Errorf("%s without rules: %v", name, err)
		}
	}
	if err := k.Create(ctx, []model.Object{veth}); !errors.As(err, new(types.InternalError)) {
		t.Errorf("endpoint without rules: %v is no InternalError", err)
	}
	if _, err := k.RepairLinks(ctx, want); !errors.Is(err, step.ErrInjected) || there("br9") {
		t.Errorf("repairing links without rules: %v", err)
	}
	refuses.Store(false)
	if keys, err := k.RepairLinks(ctx, want); err != nil || len(keys) != 1 || !there("br9") {
		t.Errorf("repairing links: %v, %v", keys, err)
	}
	if repaired, err := k.RepairRules(ctx); err != nil || repaired != model.FoundRight {
		t.Errorf("the rules were not complete: %v, %v", repaired, err)
	}
	if err := k.Create(ctx, []model.Object{veth}); err != nil {
		t.Error(err)
	}
	for _, o := range []model.Object{veth, want[2], bridge, rules} {
		if err := k.Delete(ctx, []model.Object{o}); err != nil {
			t.Error(err)
		}
	}
	if err := k.Close(); err != nil { // links that go in the background have gone
		t.Error(err)
	}
	for _, link := range []string{"br9", "veth9"} {
		if _, err := net.InterfaceByName(link); err == nil {
			t.Errorf("link %s is left", link)
		}
	}
}

// Where the firewall is to hold nothing, no link waits for it, though it cannot be rid of
// what an earlier process has left.
func TestLinksWithoutFirewall(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.Bridge)
	var refuses atomic.Bool
	cfg := kernel.Config{DataDir: t.TempDir(), RunDir: "/run/ruleless", Firewall: kernel.NFTables}
	cfg.Steps = step.New(func(_ int, name string) error {
		if refuses.Load() && strings.HasPrefix(name, "nft: ") {
			return step.ErrInjected
		}
		return nil
	})
	ctx := context.WithoutCancel(t.Context()) // it removes all at the end
	rules := model.FirewallNetwork{ID: "n1", Bridge: "br9", V4: &model.FirewallFamily{Subnets: []netip.Prefix{netip.MustParsePrefix("10.99.1.0/24")}}}
	bridge := model.Bridge{Name: "br9", Group: kernel.Group(cfg.DataDir)}
	for i, want := range [][]model.Object{{rules}, {bridge}, nil} {
		refuses.Store(i == 1)
		k, err := kernel.New(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Recover(ctx, want, false); refuses.Load() != (err != nil) {
			t.Errorf("the start: %v", err)
		}
		if _, ok, err := k.Link(ctx, "br9"); err != nil || ok != refuses.Load() {
			t.Errorf("the bridge is there: %t, %v", ok, err)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}
