package kernel_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// What the kernel tells nobody of is found by a look: settings, and routes that have gone
// after somebody had put others in their place. As long as these stand they are told of,
// once, and left alone. On a host that does not forward no bridge has to.
func TestSurvey(t *testing.T) {
	nstest.Require(t, nstest.IPv6)
	s := newSite(t, "/run/survey")
	s.bridge.IPv6, s.bridge.StrictSource, s.bridge.Addrs = true, false, prefixes("10.99.1.1/24", "fd99:0:0:1::1/64")
	s.want[0] = s.bridge
	hostForwards := func(value string) {
		t.Helper()
		set(t, "ipv4/ip_forward", value)
		set(t, "ipv6/conf/all/forwarding", value)
	}
	defer hostForwards("0")
	hostForwards("1")
	var log bytes.Buffer
	s.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	k := s.start(t)
	state := func() string {
		t.Helper()
		out, err := exec.Command("sh", "-c", "ip route show dev brx; ip -6 route show dev brx; cd /proc/sys/net; "+
			"cat ipv4/conf/brx/route_localnet ipv4/conf/brx/forwarding ipv6/conf/brx/forwarding").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	survey := func(when string, want ...string) {
		t.Helper()
		if lost, err := k.Survey(t.Context(), s.want); err != nil || !slices.Equal(lost, want) {
			t.Errorf("%s: found %q, %v, want %q", when, lost, err, want)
		}
	}
	before := state()
	survey("at first")
	for _, command := range []string{
		"echo 0 > /proc/sys/net/ipv4/conf/brx/route_localnet",
		"echo 0 > /proc/sys/net/ipv4/conf/brx/forwarding",
		"echo 0 > /proc/sys/net/ipv6/conf/brx/forwarding",
		"ip route del 10.99.1.0/24 dev brx",
		"ip -6 route flush dev brx",
	} {
		sh(t, command)
		survey(command, "brx")
		if repaired, err := k.RepairLinks(t.Context(), s.want); err != nil || !slices.Equal(repaired, []string{"bridge/brx"}) {
			t.Errorf("%s: repaired %q, %v", command, repaired, err)
		}
		if diff := cmp.Diff(before, state()); diff != "" {
			t.Errorf("%s: repaired (-want +got):\n%s", command, diff)
		}
		survey(command + ", when repaired")
	}

	sh(t, "ip link add tunx type bridge; ip link set tunx up")
	sh(t, "ip route replace 10.99.1.0/24 dev tunx; ip -6 route del fd99:0:0:1::/64 dev brx; ip -6 route add fd99:0:0:1::/64 dev tunx metric 256")
	const told = `msg="a route of somebody else leads what is for a network elsewhere`
	for range 2 {
		survey("as long as there are routes of others")
	}
	if got := strings.Count(log.String(), told); got != 2 || !strings.Contains(log.String(), "bridge=brx subnet=10.99.1.0/24 route=10.99.1.0/24 table=254 link=tunx") {
		t.Errorf("log:\n%s", &log)
	}
	if repaired, err := k.RepairLinks(t.Context(), s.want); err != nil || len(repaired) > 0 {
		t.Errorf("beside routes of others: repaired %q, %v", repaired, err)
	}
	sh(t, "ip link del tunx")
	survey("when those have gone", "brx")
	for _, way := range []struct{ command, back, log string }{
		{"ip route add blackhole 10.99.1.0/25", "ip route del blackhole 10.99.1.0/25", "route=10.99.1.0/24 table=254 link=none"},
		{
			"ip rule add to 10.99.1.0/24 lookup 77 pref 77; ip route add default dev lo table 77",
			"ip rule del pref 77; ip route flush table 77", `table=77 link=lo`,
		},
	} {
		sh(t, "ip route replace 10.99.1.0/24 dev brx; ip -6 route replace fd99:0:0:1::/64 dev brx metric 256 proto kernel; "+way.command)
		survey(way.command)
		sh(t, way.back)
		if !strings.Contains(log.String(), way.log) {
			t.Errorf("%s: log:\n%s", way.command, &log)
		}
	}
	sh(t, "ip route del 10.99.1.0/24 dev brx")
	if repaired, err := k.RepairLinks(t.Context(), s.want); err != nil || !slices.Equal(repaired, []string{"bridge/brx"}) {
		t.Errorf("repaired %q, %v", repaired, err)
	}
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Errorf("in the end (-want +got):\n%s", diff)
	}

	// A bridge of somebody else is his; he is told, once.
	sh(t, "ip link add theirs type bridge; ip link set theirs up; echo 0 > /proc/sys/net/ipv4/conf/theirs/forwarding")
	adopted := []model.Object{model.Bridge{Name: "theirs", Adopted: true, Addrs: s.bridge.Addrs}}
	for range 2 {
		if lost, err := k.Survey(t.Context(), adopted); err != nil || len(lost) > 0 {
			t.Errorf("a bridge of somebody else: found %q, %v", lost, err)
		}
	}
	if got := strings.Count(log.String(), `forwards nothing: containers reach nobody outside by it" bridge=theirs ipv6=false`); got != 1 || strings.Contains(log.String(), "bridge=theirs ipv6=true") {
		t.Errorf("log:\n%s", &log)
	}
	sh(t, "ip link del theirs")

	hostForwards("0")
	survey("on a host that does not forward")
	if repaired, err := k.RepairLinks(t.Context(), s.want); err != nil || len(repaired) > 0 {
		t.Errorf("on a host that does not forward: repaired %q, %v", repaired, err)
	}
	s.away(t, k)
}

func set(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

func sh(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
}
