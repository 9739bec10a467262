package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
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

// site is a data directory with a network, and a container on it.
type site struct {
	cfg    kernel.Config
	bridge model.Bridge
	veth   model.Veth
	want   []model.Object
}

func newSite(t *testing.T, run string) *site {
	t.Helper()
	nstest.Require(t, nstest.NFTables, nstest.Bridge, nstest.Veth)
	s := &site{cfg: kernel.Config{DataDir: t.TempDir(), RunDir: run, Firewall: kernel.NFTables}}
	group, path := kernel.Group(s.cfg.DataDir), run+"/netns/c1"
	s.bridge = model.Bridge{
		Name: "brx", Group: group, Alias: "network n", Addrs: prefixes("10.99.1.1/24"), RouteLocalnet: true, StrictSource: true,
	}
	s.veth = model.Veth{
		Host: "vethx", Netns: path, Name: "eth0", Bridge: "brx", Group: group, Alias: "endpoint e", Addrs: prefixes("10.99.1.2/24"),
	}
	s.want = []model.Object{
		s.bridge,
		model.Namespace{Path: path},
		s.veth,
		model.DefaultRoute{Netns: path, Via: netip.MustParseAddr("10.99.1.1"), Dev: "eth0"},
	}
	return s
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// open is a start, of which steps may make something fail.
func (s *site) open(t *testing.T, steps *step.Counter) *kernel.Kernel {
	t.Helper()
	cfg := s.cfg
	cfg.Steps = steps
	k, err := kernel.New(context.WithoutCancel(t.Context()), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// start makes all that is wanted.
func (s *site) start(t *testing.T) *kernel.Kernel {
	t.Helper()
	k := s.open(t, nil)
	if _, err := k.Recover(t.Context(), s.want, false); err != nil {
		t.Fatal(err)
	}
	return k
}

// away deletes all, and closes.
func (s *site) away(t *testing.T, k *kernel.Kernel) {
	t.Helper()
	for _, o := range slices.Backward(s.want) {
		if err := k.Delete(t.Context(), []model.Object{o}); err != nil {
			t.Error(err)
		}
	}
	closeKernel(t, k)
}

func closeKernel(t *testing.T, k *kernel.Kernel) {
	t.Helper()
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
	return string(out)
}

// settings are what a bridge has been given.
func settings(t *testing.T, bridge string) string {
	t.Helper()
	out := ""
	for _, f := range []string{"ipv4/conf/%s/rp_filter", "ipv4/conf/%s/route_localnet", "ipv6/conf/%s/accept_ra", "ipv6/conf/%s/disable_ipv6"} {
		value, err := os.ReadFile("/proc/sys/net/" + fmt.Sprintf(f, bridge))
		if err != nil {
			t.Fatal(err)
		}
		out += f + " " + string(value)
	}
	for line := range strings.Lines(ip(t, "-d", "addr", "show", "dev", bridge)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "inet") || strings.HasPrefix(line, "alias") {
			out += line + "\n"
		}
	}
	return out
}

// ports are the ports of a bridge.
func ports(t *testing.T, bridge string) string {
	t.Helper()
	return ip(t, "-br", "link", "show", "master", bridge)
}

// What has the name of our bridge and is somebody else's is neither changed nor
// deleted, at a start and while we run.
func TestForeignBridgeOfOurName(t *testing.T) {
	for _, live := range []bool{false, true} {
		t.Run(fmt.Sprintf("live %t", live), func(t *testing.T) {
			s := newSite(t, "/run/foreign")
			k := s.start(t)
			ip(t, "link", "set", "brx", "name", "brz") // where no rule is for it
			ip(t, "link", "add", "brx", "type", "bridge")
			before := settings(t, "brx")
			repair := func() error {
				_, err := k.RepairLinks(t.Context(), s.want)
				return err
			}
			if !live {
				closeKernel(t, k)
				k = s.open(t, nil)
				repair = func() error {
					_, err := k.Recover(t.Context(), s.want, false)
					return err
				}
			}
			if err := repair(); !errors.As(err, new(types.ForbiddenError)) || !strings.Contains(err.Error(), "brx") {
				t.Errorf("the error is %v", err)
			}
			other := s.veth
			other.Host, other.Name = "vethy", "eth1"
			if err := k.Create(t.Context(), []model.Object{other}); !errors.As(err, new(types.ForbiddenError)) {
				t.Errorf("another container: %v", err)
			}
			if diff := cmp.Diff(before, settings(t, "brx")); diff != "" {
				t.Errorf("the foreign bridge (-want +got):\n%s", diff)
			}
			if got := ports(t, "brx"); got != "" {
				t.Errorf("its ports: %s", got)
			}
			if live { // a start removes it, or what was made in its place
				if got := ports(t, "brz"); got != "" {
					t.Errorf("ports of ours under another name: %s", got)
				}
			}
			if out := ip(t, "-br", "link", "show", "dev", "brx"); strings.Contains(out, ",UP") {
				t.Errorf("it was raised: %s", out)
			}
			ip(t, "link", "set", "brx", "name", "bry")
			if err := repair(); err != nil || !strings.Contains(ports(t, "brx"), "vethx") {
				t.Errorf("after it had been renamed: %v, ports %q", err, ports(t, "brx"))
			}
			ip(t, "link", "del", "brx")
			ip(t, "link", "set", "bry", "name", "brx")
			s.away(t, k)
			ip(t, "link", "del", "brx") // it is still there
		})
	}
}

// A bridge or a veth of ours that gets another name gets its own back, by a repair or a
// start, and is not made again: the container goes on.
func TestRenamed(t *testing.T) {
	s := newSite(t, "/run/renamed")
	s.bridge.Alias, s.veth.Alias = "network x", "endpoint x"
	for i, o := range s.want {
		switch o.(type) {
		case model.Bridge:
			s.want[i] = s.bridge
		case model.Veth:
			s.want[i] = s.veth
		}
	}
	k := s.start(t)
	list := func() string { return ip(t, "-o", "addr", "show") + ports(t, "brx") + ip(t, "route") }
	before := list()
	for name, keys := range map[string][]string{"brx": {s.bridge.Key()}, "vethx": {s.veth.Key()}} {
		for _, down := range []bool{false, true} {
			ip(t, "link", "set", name, "name", "other")
			if down {
				ip(t, "link", "set", "other", "down")
			}
			repaired, err := k.RepairLinks(t.Context(), s.want)
			if diff := cmp.Diff(keys, repaired); err != nil || diff != "" {
				t.Errorf("%s, down %t: %v, repaired (-want +got):\n%s", name, down, err, diff)
			}
			if diff := cmp.Diff(before, list()); diff != "" {
				t.Errorf("%s after the repair, down %t (-want +got):\n%s", name, down, diff)
			}
		}
		closeKernel(t, k)
		ip(t, "link", "set", name, "name", "other")
		k = s.start(t)
		if diff := cmp.Diff(before, list()); diff != "" {
			t.Errorf("%s after a start (-want +got):\n%s", name, diff)
		}
	}
	s.away(t, k)
}

// What an administrator writes into the alias of our bridge does not make it another one.
func TestAliasOfAdministrator(t *testing.T) {
	s := newSite(t, "/run/alias")
	s.bridge.Alias = "network x"
	s.want[0] = s.bridge
	closeKernel(t, s.start(t))
	ip(t, "link", "set", "brx", "alias", "of the web team")
	before := ip(t, "-o", "link", "show", "dev", "brx")
	k := s.start(t)
	if keys, err := k.RepairLinks(t.Context(), s.want); err != nil || len(keys) > 0 {
		t.Errorf("repaired %v, %v", keys, err)
	}
	if diff := cmp.Diff(before, ip(t, "-o", "link", "show", "dev", "brx")); diff != "" {
		t.Errorf("the bridge (-want +got):\n%s", diff)
	}
	s.away(t, k)
}

// Two bridges of ours that have got each other's name are made again, at once or by a start.
func TestSwapped(t *testing.T) {
	for _, live := range []bool{false, true} {
		t.Run(fmt.Sprintf("live %t", live), func(t *testing.T) {
			s := newSite(t, "/run/swapped")
			s.bridge.Alias = "network x"
			other := s.bridge
			other.Name, other.Alias, other.MAC, other.Addrs = "bry", "network y", "", []netip.Prefix{netip.MustParsePrefix("10.98.7.1/24")}
			s.want[0] = s.bridge
			s.want = append(s.want, other)
			k := s.start(t)
			before := settings(t, "brx") + settings(t, "bry")
			for _, c := range []string{"brx name brt", "bry name brx", "brt name bry"} {
				ip(t, append([]string{"link", "set"}, strings.Fields(c)...)...)
			}
			if live {
				if _, err := k.RepairLinks(t.Context(), s.want); err != nil {
					t.Error(err)
				}
			} else {
				closeKernel(t, k)
				k = s.start(t)
			}
			if diff := cmp.Diff(before, settings(t, "brx")+settings(t, "bry")); diff != "" {
				t.Errorf("the bridges (-want +got):\n%s", diff)
			}
			if !strings.Contains(ports(t, "brx"), "vethx") {
				t.Errorf("the container is not attached: %q", ports(t, "brx"))
			}
			s.away(t, k)
		})
	}
}

// A bridge whose making was cut short at any step is made again by the next start,
// with all of its settings, and containers are its ports.
func TestHalfMadeBridge(t *testing.T) {
	s := newSite(t, "/run/half")
	closeKernel(t, s.start(t))
	want := settings(t, "brx")
	for n, done := 1, false; !done; n++ {
		ip(t, "link", "del", "brx")
		var steps, end atomic.Int32
		k := s.open(t, step.New(func(int, string) error {
			if end.Load() > 0 && steps.Add(1) >= end.Load() {
				return step.ErrInjected
			}
			return nil
		}))
		end.Store(int32(n))
		_, err := k.Recover(t.Context(), s.want, false)
		done = err == nil
		closeKernel(t, k)
		closeKernel(t, s.start(t))
		if diff := cmp.Diff(want, settings(t, "brx")); diff != "" {
			t.Errorf("cut short at %d (-want +got):\n%s", n, diff)
		}
		if !strings.Contains(ports(t, "brx"), "vethx") {
			t.Errorf("cut short at %d: the container is not attached", n)
		}
	}
	s.away(t, s.open(t, nil))
}

// A start gives the bridge of an internal network, and the host's ends of veths, what an
// earlier version did not, and changes nothing where nothing is missing.
func TestBridgeOfEarlierVersion(t *testing.T) {
	s := newSite(t, "/run/earlier")
	s.veth.Isolated, s.veth.Hairpin, s.bridge.RouteLocalnet = true, true, true
	s.want[0], s.want[2] = s.bridge, s.veth
	closeKernel(t, s.start(t))
	all := func() string {
		out := settings(t, "brx") + settings(t, "vethx")
		for _, name := range []string{"group_fwd_mask", "hairpin_mode", "isolated"} {
			value, err := os.ReadFile("/sys/class/net/vethx/brport/" + name)
			if err != nil {
				t.Fatal(err)
			}
			out += name + " " + string(value)
		}
		return out
	}
	want := all()
	for file, value := range map[string]string{
		"/proc/sys/net/ipv4/conf/brx/rp_filter": "0", "/proc/sys/net/ipv4/conf/vethx/rp_filter": "0",
		"/proc/sys/net/ipv6/conf/vethx/disable_ipv6": "0", "/sys/class/net/vethx/brport/group_fwd_mask": "0",
		"/proc/sys/net/ipv4/conf/brx/route_localnet": "0", "/sys/class/net/vethx/brport/hairpin_mode": "0",
		"/sys/class/net/vethx/brport/isolated": "0",
	} {
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	closeKernel(t, s.start(t))
	if diff := cmp.Diff(want, all()); diff != "" {
		t.Errorf("the settings (-want +got):\n%s", diff)
	}
	var changes atomic.Int32
	k := s.open(t, step.New(func(_ int, name string) error {
		if strings.Contains(name, "rp_filter") || strings.HasPrefix(name, "link:") {
			changes.Add(1)
		}
		return nil
	}))
	if _, err := k.Recover(t.Context(), s.want, false); err != nil || changes.Load() > 0 {
		t.Errorf("%v, %d changes of what is right", err, changes.Load())
	}
	s.away(t, k)
}

// A network of which the host has the subnet already is made, and that is told.
func TestSubnetOfTheHost(t *testing.T) {
	s := newSite(t, "/run/subnet")
	var log bytes.Buffer
	s.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	sh(t, "ip link add uplink type bridge; ip addr add 192.0.2.1/24 dev uplink; ip link set uplink up; ip route add 10.0.0.0/8 via 192.0.2.9")
	k := s.start(t)
	const told = "the host has a route to the subnet of a network already"
	if strings.Contains(log.String(), told) {
		t.Errorf("told without cause:\n%s", &log)
	}
	s.away(t, k)
	sh(t, "ip addr add 10.99.0.1/16 dev uplink")
	k = s.start(t)
	if !strings.Contains(log.String(), told) || !strings.Contains(log.String(), "subnet=10.99.1.0/24 route=10.99.0.0/16 link=uplink") {
		t.Errorf("not told:\n%s", &log)
	}
	s.away(t, k)
	sh(t, "ip link del uplink")
}
