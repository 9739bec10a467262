package kernel_test

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// What an operation comes upon and puts right is told of like what a look finds.
func TestRepairByOperation(t *testing.T) {
	onBackends(t, func(t *testing.T, backend kernel.Backend) {
		cfg := kernel.Config{DataDir: t.TempDir(), RunDir: "/run/operation", Firewall: backend, NoTableOwner: true}
		var refuses atomic.Bool
		cfg.Steps = step.New(func(_ int, name string) error {
			if refuses.Load() && (strings.HasPrefix(name, "nft: ") || strings.HasPrefix(name, "ipt: ")) {
				return step.ErrInjected
			}
			return nil
		})
		k, err := kernel.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		network := oneNetwork()
		if _, err := k.Recover(t.Context(), network, false); err != nil {
			t.Fatal(err)
		}
		port := []model.Object{model.Port{
			Proto: 6, Host: netip.IPv4Unspecified(), First: 7001, Last: 7001, Addr: netip.MustParseAddr("10.99.1.2"), Port: 80, Owner: "e1",
		}}
		var asked atomic.Int32
		run, err := k.Watch(func(string, bool) {}, func() { asked.Add(1) }, func() {}, func(string, string) {})
		if err != nil {
			t.Fatal(err)
		}
		flush := "nft flush ruleset"
		if backend == kernel.IPTablesLegacy {
			flush = "iptables-legacy -w -t nat -F; iptables-legacy -w -F"
		}
		look := func(when string, want bool) {
			t.Helper()
			if found, err := k.RepairRules(t.Context()); err != nil || found == model.FoundWrong != want {
				t.Errorf("%s: found %v, %v, want a repair: %t", when, found, err, want)
			}
		}
		look("at first", false)
		for _, change := range []func(context.Context, []model.Object) error{k.Create, k.Delete} {
			if err := change(t.Context(), port); err != nil { // so that the rules are known
				t.Fatal(err)
			}
		}
		look("after changes", false)
		sh(t, flush)
		before := asked.Load()
		if err := k.Create(t.Context(), port); err != nil {
			t.Fatal(err)
		}
		if asked.Load() == before {
			t.Error("nobody is told that rules were put right")
		}
		look("after a change that has met a flush", true)
		look("then", false)
		// What fails is no repair, until it has succeeded.
		sh(t, flush)
		refuses.Store(true)
		for range 2 {
			if found, err := k.RepairRules(t.Context()); !errors.Is(err, step.ErrInjected) || found != model.FoundRight {
				t.Errorf("a repair that fails: found %v, %v", found, err)
			}
		}
		refuses.Store(false)
		look("after one that failed", true)
		if err := k.Delete(t.Context(), append(port, network...)); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := run(ctx); err != nil {
			t.Error(err)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A bridge of ours that somebody has given another name, and something else its own, goes
// with its network.
func TestDeleteRenamed(t *testing.T) {
	s := newSite(t, "/run/renamed")
	s.bridge.Alias = "network n " + strings.Repeat("a1", 32)
	s.want[0] = s.bridge
	k := s.start(t)
	sh(t, "ip link set brx down; ip link set brx name bry; ip link add brx type bridge")
	if err := k.Delete(t.Context(), s.want); err != nil {
		t.Error(err)
	}
	sh(t, "ip link show brx && ! ip link show bry")
	sh(t, "ip link del brx")
	s.away(t, k)
}

// The bridge of another network that has got the name of one is not deleted with it, nor is
// one that has the group of another data directory taken for ours.
func TestNameOfAnother(t *testing.T) {
	s := newSite(t, "/run/another")
	s.bridge.Alias = "network n " + strings.Repeat("a1", 32)
	s.want[0] = s.bridge
	k := s.start(t)
	other := s.bridge
	other.Name, other.Alias, other.Addrs = "brz", "network m "+strings.Repeat("b2", 32), prefixes("10.99.2.1/24")
	if err := k.Create(t.Context(), []model.Object{other}); err != nil {
		t.Fatal(err)
	}
	theirs := strconv.FormatUint(uint64(kernel.Group("/var/lib/other")), 10)
	sh(t, "ip link set brx group "+theirs)
	if _, err := k.RepairLinks(t.Context(), []model.Object{s.bridge}); !errors.As(err, new(types.ForbiddenError)) {
		t.Errorf("a bridge with the group of another data directory: %v", err)
	}
	sh(t, "ip -o link show brx | grep 'group "+theirs+"'; ip link set brx group 0")
	if _, err := k.RepairLinks(t.Context(), []model.Object{s.bridge}); err != nil {
		t.Error(err)
	}
	sh(t, "ip link set brx down; ip link set brx name bry; ip link set brz down; ip link set brz name brx")
	if err := k.Delete(t.Context(), []model.Object{s.bridge}); err != nil {
		t.Error(err)
	}
	sh(t, "ip link show brx && ! ip link show bry")
	sh(t, "ip link set brx name brz")
	if err := k.Delete(t.Context(), []model.Object{other}); err != nil {
		t.Error(err)
	}
	s.away(t, k)
}

// What somebody else has put in the place of a container's link is not deleted with it.
func TestDeleteReplaced(t *testing.T) {
	s := newSite(t, "/run/replaced")
	k := s.start(t)
	sh(t, "ip link del vethx; ip link add vethx type bridge")
	const inside = "nsenter --net=/run/replaced/netns/c1 "
	sh(t, inside+"ip link add eth0 type bridge")
	if err := k.Delete(t.Context(), []model.Object{s.veth}); err != nil {
		t.Error(err)
	}
	sh(t, "ip link show vethx")
	sh(t, inside+"ip link show eth0")
	sh(t, "ip link del vethx")
	if err := k.Delete(t.Context(), append(s.want[:2:2], s.want[3])); err != nil {
		t.Error(err)
	}
	s.away(t, k)
}

// What a container has done to its own link a start leaves as it is: one that is down has no
// routes either.
func TestLinkChangedInside(t *testing.T) {
	nstest.Require(t, nstest.IPv6)
	const inside = "nsenter --net=/run/changed/netns/c1 "
	for _, command := range []string{
		"ip link set eth0 down", "ip addr flush dev eth0", "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1", "ip addr del 10.99.1.2/24 dev eth0",
	} {
		s := newSite(t, "/run/changed")
		s.bridge.IPv6, s.bridge.Addrs = true, prefixes("10.99.1.1/24", "fd99:0:0:1::1/64")
		s.veth.Addrs = prefixes("10.99.1.2/24", "fd99:0:0:1::2/64")
		s.want[0], s.want[2] = s.bridge, s.veth
		k := s.start(t)
		state := func() string {
			t.Helper()
			out, err := exec.Command("sh", "-c", inside+"ip addr show dev eth0").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return string(out)
		}
		sh(t, inside+command)
		before := state()
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		k = s.open(t, nil)
		if found, err := k.Recover(t.Context(), s.want, false); len(found.Links) > 0 || err != nil {
			t.Errorf("%s: a start found %v: %v", command, found, err)
		}
		if diff := cmp.Diff(before, state()); diff != "" {
			t.Errorf("%s: a start changes that (-before +after):\n%s", command, diff)
		}
		s.away(t, k)
	}
}

// Of several ports, be they others', the kernel gives a bridge the least MTU: that is right.
func TestMTUOfOthers(t *testing.T) {
	s := newSite(t, "/run/mtu")
	s.bridge.MTU, s.veth.MTU = 1400, 1400
	s.want[0], s.want[2] = s.bridge, s.veth
	k := s.start(t)
	for _, tt := range []struct {
		do, mtu string
		lost    []string
	}{
		{"ip link add ox mtu 1300 type veth peer name oy; ip link set oy up; ip link set ox up master brx", "1300", nil},
		{"ip link set brx mtu 1290", "1300", []string{"brx"}},
		{"ip link set brx mtu 9000", "1300", []string{"brx"}},
		{"ip link del ox", "1400", []string{"brx"}}, // which the kernel leaves to who has given it one
	} {
		sh(t, tt.do)
		if lost, err := k.Survey(t.Context(), s.want); err != nil || !slices.Equal(lost, tt.lost) {
			t.Errorf("%s: found %q, %v", tt.do, lost, err)
		}
		if _, err := k.RepairLinks(t.Context(), s.want); err != nil {
			t.Error(err)
		}
		sh(t, "ip -o link show brx; ip -o link show brx | grep ' mtu "+tt.mtu+" '")
	}
	s.away(t, k)

	s = newSite(t, "/run/mtu")
	s.want = s.want[:1]
	k = s.start(t)
	sh(t, "ip link add ox mtu 9500 type veth peer name oy; ip link set oy up; ip link set ox up master brx; ip -o link show brx | grep ' mtu 9500 '")
	if lost, err := k.Survey(t.Context(), s.want); err != nil || len(lost) > 0 {
		t.Errorf("a port of somebody else on a bridge without others: found %q, %v", lost, err)
	}
	sh(t, "ip link del ox")
	s.away(t, k)
}
