package kernel_test

import (
	"context"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// That Docker comes, or another data directory, or that an administrator uses the chain that
// is his, is no damage to our rules, whatever we have to do then.
func TestRulesOfOthersAreNoDamage(t *testing.T) {
	for _, variant := range []kernel.Backend{kernel.IPTablesNFT, kernel.IPTablesLegacy} {
		t.Run("beside "+string(variant), func(t *testing.T) {
			onBackends(t, func(t *testing.T, backend kernel.Backend) { rulesOfOthers(t, backend, variant) }, nstest.IPTablesNFT, nstest.IPTablesLegacy)
		})
	}
}

func rulesOfOthers(t *testing.T, backend, variant kernel.Backend) {
	t.Helper()
	k, err := kernel.New(t.Context(), kernel.Config{DataDir: t.TempDir(), RunDir: "/run/beside", Firewall: backend})
	if err != nil {
		t.Fatal(err)
	}
	network := oneNetwork()
	if _, err := k.Recover(t.Context(), nil, false); err != nil {
		t.Fatal(err)
	}
	if err := k.Create(t.Context(), network); err != nil {
		t.Fatal(err)
	}
	run := func(l string) { sh(t, string(variant)+" -w "+l) }
	const another = "DOCKER-USER -m mark --mark 0x2000000/0x2000000 -m comment --comment libnetwork-2 -j ACCEPT"
	same := model.FoundRight // where our own rules stand elsewhere
	if backend == variant {
		same = model.FoundMoved
	}
	for _, tt := range []struct {
		name  string
		lines []string
		want  model.Finding
	}{
		{"nothing", nil, model.FoundRight},
		{"the chain comes", []string{"-N DOCKER-USER"}, model.FoundMoved},
		{"Docker comes", []string{"-N DOCKER-FORWARD", "-I FORWARD -j DOCKER-FORWARD", "-I FORWARD -j DOCKER-USER"}, same},
		{"Docker comes again", []string{
			"-D FORWARD -j DOCKER-FORWARD", "-D FORWARD -j DOCKER-USER", "-I FORWARD -j DOCKER-FORWARD", "-I FORWARD -j DOCKER-USER",
		}, same},
		{"another data directory has networks", []string{"-A " + another}, model.FoundRight},
		{"it has none", []string{"-D " + another}, model.FoundRight},
		{"it has networks again", []string{"-A " + another}, model.FoundRight},
		{"it has none again", []string{"-D " + another}, model.FoundRight},
		{"its rule comes before ours", []string{"-I " + another}, same},
		{"a rule of a user", []string{"-D " + another, "-A DOCKER-USER -s 203.0.113.1 -j DROP"}, model.FoundMoved},
		{"a user fills his chain anew", []string{"-F DOCKER-USER", "-A DOCKER-USER -s 203.0.113.1 -j DROP"}, model.FoundMoved},
		{"the chain goes", []string{"-D FORWARD -j DOCKER-USER", "-F DOCKER-USER", "-X DOCKER-USER"}, model.FoundRight},
		{"the chain comes back", []string{"-N DOCKER-USER", "-I FORWARD -j DOCKER-USER"}, model.FoundMoved},
	} {
		for _, l := range tt.lines {
			run(l)
		}
		if found, err := k.RepairRules(t.Context()); err != nil || found != tt.want {
			t.Errorf("%s: found %v, %v, want %v", tt.name, found, err, tt.want)
		}
		if found, err := k.RepairRules(t.Context()); err != nil || found != model.FoundRight {
			t.Errorf("%s, then: found %v, %v", tt.name, found, err)
		}
	}
	if err := k.Delete(context.WithoutCancel(t.Context()), network); err != nil {
		t.Error(err)
	}
	if list := nstest.Command(t, string(variant), "-w", "-S", "DOCKER-USER"); strings.Contains(list, "-A ") {
		t.Errorf("left in the chain:\n%s", list)
	}
	for _, l := range []string{"-F FORWARD", "-X DOCKER-USER", "-X DOCKER-FORWARD"} {
		run(l)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
