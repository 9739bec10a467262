package kernel_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// A chain of somebody else that drops what is forwarded is told of with the first network
// that it drops packets of, and not again with each one.
func TestForeignDropsAreTold(t *testing.T) {
	onBackends(t, foreignDropsAreTold, nstest.NFTables)
}

func foreignDropsAreTold(t *testing.T, backend kernel.Backend) {
	t.Helper()
	var log bytes.Buffer
	k, err := kernel.New(t.Context(), kernel.Config{
		DataDir: t.TempDir(), RunDir: "/run/drops", Firewall: backend, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Recover(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	nstest.Command(t, "nft", "add table ip strict; add chain ip strict passing { type filter hook forward priority 0; policy drop; }")
	told := func(want int) {
		t.Helper()
		if got := strings.Count(log.String(), "table ip strict, chain passing"); got != want {
			t.Errorf("told %d times, want %d:\n%s", got, want, log.String())
		}
	}
	told(0)
	var nets []model.Object
	for _, n := range []string{"1", "2"} {
		nets = append(nets, model.FirewallNetwork{ID: "n" + n, Bridge: "br" + n, V4: &model.FirewallFamily{Subnets: []netip.Prefix{netip.MustParsePrefix("10.99." + n + ".0/24")}}})
		if err := k.Create(t.Context(), nets[len(nets)-1:]); err != nil {
			t.Fatal(err)
		}
		told(1)
	}
	list, err := k.ForeignDrops(t.Context())
	if err != nil || len(list) != 1 || list[0] != (model.ForeignDrop{Family: "ip", Table: "strict", Chain: "passing"}) {
		t.Errorf("chains of others: %v, %v", list, err)
	}
	nstest.Command(t, "nft", "delete table ip strict")
	if list, err := k.ForeignDrops(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("chains of others when there are none: %v, %v", list, err)
	}
	if err := k.Delete(context.WithoutCancel(t.Context()), nets); err != nil {
		t.Error(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
