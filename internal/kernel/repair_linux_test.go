package kernel_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
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

// oneNetwork is a network that has rules, and no link.
func oneNetwork() []model.Object {
	return []model.Object{model.FirewallNetwork{ID: "n1", Bridge: "br9", V4: &model.FirewallFamily{
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.99.1.0/24")}, Masquerade: true, ICC: true,
	}}}
}

func repairBesideChanges(t *testing.T, backend kernel.Backend) {
	t.Helper()
	k, err := kernel.New(t.Context(), kernel.Config{DataDir: t.TempDir(), RunDir: "/run/beside", Firewall: backend})
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
		if repaired, err := k.RepairRules(t.Context()); err != nil || repaired != model.FoundRight {
			t.Errorf("repaired: %v, %v", repaired, err)
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

// An address of a bridge that the kernel does not take for the host's own any more, since
// somebody has deleted the route that says so, is given to it anew, also at a start.
func TestAddressNotLocal(t *testing.T) {
	nstest.Require(t, nstest.IPv6)
	s := newSite(t, "/run/local")
	s.bridge.IPv6, s.bridge.Addrs = true, prefixes("10.99.1.1/24", "fd99:0:0:1::1/64")
	s.want[0] = s.bridge
	k := s.start(t)
	state := func() string {
		out := nstest.Command(t, "sh", "-c", "ip route show table all dev brx; ip -6 route show table all dev brx | sort")
		return strings.ReplaceAll(out, " linkdown", "") // a carrier takes its time
	}
	before := state()
	for _, repair := range []func() ([]string, error){
		func() ([]string, error) { return k.RepairLinks(t.Context(), s.want) },
		func() ([]string, error) { r, err := k.Recover(t.Context(), s.want, false); return r.Links, err },
	} {
		sh(t, "ip route del local 10.99.1.1 dev brx table local; ip route del 10.99.1.0/24 dev brx; ip -6 route del local fd99:0:0:1::1 dev brx table local")
		for _, want := range [][]string{{"bridge/brx"}, nil} {
			if got, err := repair(); err != nil || !slices.Equal(got, want) {
				t.Errorf("repaired %q, %v, want %q", got, err, want)
			}
		}
		if diff := cmp.Diff(before, state()); diff != "" {
			t.Errorf("after a repair (-want +got):\n%s", diff)
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
			"cat ipv4/conf/brx/route_localnet ipv4/conf/brx/forwarding ipv6/conf/brx/forwarding ipv6/conf/brx/accept_ra "+
			"ipv4/conf/vethx/rp_filter ipv6/conf/vethx/disable_ipv6").CombinedOutput()
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
		"echo 2 > /proc/sys/net/ipv6/conf/brx/accept_ra",
		"ip route del 10.99.1.0/24 dev brx",
		"ip -6 route flush dev brx",
		"echo 0 > /proc/sys/net/ipv4/conf/vethx/rp_filter",
		"echo 0 > /proc/sys/net/ipv6/conf/vethx/disable_ipv6",
	} {
		link, key := "brx", "bridge/brx"
		if strings.Contains(command, "vethx") {
			link, key = "vethx", "veth/vethx"
		}
		sh(t, command)
		survey(command, link)
		if repaired, err := k.RepairLinks(t.Context(), s.want); err != nil || !slices.Equal(repaired, []string{key}) {
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
	if got := strings.Count(log.String(), told); got != 2 || !strings.Contains(log.String(), "bridge=brx subnet=10.99.1.0/24 route=10.99.1.0/24 link=tunx") {
		t.Errorf("log:\n%s", &log)
	}
	if repaired, err := k.RepairLinks(t.Context(), s.want); err != nil || len(repaired) > 0 {
		t.Errorf("beside routes of others: repaired %q, %v", repaired, err)
	}
	sh(t, "ip link del tunx")
	survey("when those have gone", "brx")
	repair := func(when string, want ...string) {
		t.Helper()
		if repaired, err := k.RepairLinks(t.Context(), s.want); err != nil || !slices.Equal(repaired, want) {
			t.Errorf("%s: repaired %q, %v, want %q", when, repaired, err, want)
		}
	}
	repair("when those have gone", "bridge/brx")
	// What nobody can tell from a lack of ours is looked at, and nothing is repaired.
	for _, way := range []struct{ command, back, log, found string }{
		{"ip route add blackhole 10.99.1.0/25", "ip route del blackhole 10.99.1.0/25", "refuses or drops", "brx"},
		{"ip rule add to 10.99.1.0/24 prohibit pref 77", "ip rule del pref 77", "refuses or drops", "brx"},
		{
			"ip rule add to 10.99.1.0/24 lookup 77 pref 77; ip route add default dev lo table 77",
			"ip rule del pref 77; ip route flush table 77", "table=77 link=lo", "",
		},
	} {
		log.Reset()
		sh(t, way.command)
		for range 2 {
			survey(way.command, strings.Fields(way.found)...)
			repair(way.command)
		}
		sh(t, way.back)
		if strings.Count(log.String(), way.log) != 1 || strings.Count(log.String(), "level=WARN") != 1 {
			t.Errorf("%s: log:\n%s", way.command, &log)
		}
		survey("without what refused")
	}
	// Behind a wider route that refuses, ours comes back.
	sh(t, "ip route add unreachable 10.0.0.0/8; ip link add tunx type bridge; ip link set tunx up; ip route replace 10.99.1.0/24 dev tunx; ip link del tunx")
	survey("where a wider route refuses", "brx")
	repair("where a wider route refuses", "bridge/brx")
	survey("where a wider route refuses, when repaired")
	sh(t, "ip route del unreachable 10.0.0.0/8")
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Errorf("in the end (-want +got):\n%s", diff)
	}

	// So is told of a way out that forwards nothing.
	log.Reset()
	sh(t, "ip link add out0 type bridge; ip link set out0 up; ip addr add 192.0.2.9/24 dev out0; ip route add default via 192.0.2.1")
	survey("with a way out")
	if log.Len() > 0 {
		t.Errorf("log:\n%s", &log)
	}
	sh(t, "echo 0 > /proc/sys/net/ipv4/conf/out0/forwarding")
	for range 2 {
		survey("with a way out that forwards nothing")
	}
	if strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "setting=net.ipv4.conf.out0.forwarding") {
		t.Errorf("log:\n%s", &log)
	}
	if stops, err := k.StopsAt(t.Context()); err != nil || !slices.Equal(stops, []string{"out0"}) {
		t.Errorf("links that forward nothing: %q, %v", stops, err)
	}
	sh(t, "ip link del out0")

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

// A new bridge forwards if the host does, whatever the host says of new links: nobody has
// changed anything.
func TestBridgeForwards(t *testing.T) {
	nstest.Require(t, nstest.IPv6)
	for _, inhibited := range []bool{false, true} {
		s := newSite(t, "/run/forwards")
		s.bridge.IPv6, s.bridge.StrictSource, s.bridge.Addrs = true, false, prefixes("10.99.1.1/24", "fd99:0:0:1::1/64")
		if inhibited { // its addresses are somebody else's to give
			s.bridge.Addrs = nil
		}
		s.want = []model.Object{s.bridge}
		settings := []string{"ipv4/conf/%s/forwarding", "ipv6/conf/%s/forwarding"}
		set(t, "ipv4/ip_forward", "1")
		for _, f := range settings {
			set(t, fmt.Sprintf(f, "all"), "1")
			set(t, fmt.Sprintf(f, "default"), "0")
		}
		k := s.open(t, nil)
		if err := k.Create(t.Context(), s.want); err != nil {
			t.Fatal(err)
		}
		for _, f := range settings {
			if value, err := os.ReadFile("/proc/sys/net/" + fmt.Sprintf(f, "brx")); err != nil || string(value) != "1\n" {
				t.Errorf("inhibited %t: %s is %q, %v", inhibited, f, value, err)
			}
			set(t, fmt.Sprintf(f, "brx"), "0")
			if lost, err := k.Survey(t.Context(), s.want); err != nil || !slices.Equal(lost, []string{"brx"}) {
				t.Errorf("inhibited %t: %s changed, found %q, %v", inhibited, f, lost, err)
			}
			if repaired, err := k.RepairLinks(t.Context(), s.want); err != nil || !slices.Equal(repaired, []string{"bridge/brx"}) {
				t.Errorf("inhibited %t: %s changed, repaired %q, %v", inhibited, f, repaired, err)
			}
		}
		if err := errors.Join(k.Delete(t.Context(), s.want), k.Close()); err != nil {
			t.Error(err)
		}
		set(t, "ipv4/ip_forward", "0")
		set(t, "ipv6/conf/all/forwarding", "0")
	}
}

// A link of somebody else that has the name of a container's is left as it is, and the
// container gets its own back when that has gone, moved aside or not.
func TestForeignVeth(t *testing.T) {
	for _, tt := range []struct{ name, command string }{
		{"ours has another name", "ip link set vethx name vethy; ip link add vethx type veth peer name zz; ip link set vethx up"},
		{"ours has gone", "ip link del vethx; ip link add vethx type veth peer name zz; ip link set vethx up"},
		{"ours is in another namespace", "ip link set vethx netns %d; ip link add vethx type veth peer name zz; ip link set vethx up"},
	} {
		for _, dead := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, dead %t", tt.name, dead), func(t *testing.T) {
				s := newSite(t, "/run/foreign")
				s.veth.MAC = "02:42:0a:63:01:02"
				s.want[2] = s.veth
				k := s.start(t)
				before := s.state(t)
				other := exec.Command("unshare", "-n", "sleep", "60")
				if err := other.Start(); err != nil {
					t.Fatal(err)
				}
				defer func() { _, _ = other.Process.Kill(), other.Wait() }()
				eventually(t, func() bool {
					ours, _ := os.Readlink("/proc/self/ns/net")
					theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", other.Process.Pid))
					return err == nil && theirs != ours
				})
				command := tt.command
				if strings.Contains(command, "%d") {
					command = fmt.Sprintf(command, other.Process.Pid)
				}
				look := func() string {
					out, err := exec.CommandContext(t.Context(), "ip", "-o", "link", "show", "vethx").CombinedOutput()
					if err != nil {
						t.Fatalf("the link of somebody else: %v: %s", err, out)
					}
					return string(out)
				}
				if dead {
					if err := k.Close(); err != nil {
						t.Fatal(err)
					}
				}
				sh(t, command)
				theirs := look()
				var told []string
				var err error
				if dead {
					k = s.open(t, nil)
					var found model.Recovery
					found, err = k.Recover(t.Context(), s.want, false)
					told = found.Links
				} else {
					told, err = k.RepairLinks(t.Context(), s.want)
				}
				if !errors.As(err, new(types.ForbiddenError)) || !strings.Contains(err.Error(), "link vethx is somebody else's") || len(told) > 0 {
					t.Errorf("repaired %q, %v", told, err)
				}
				if diff := cmp.Diff(theirs, look()); diff != "" {
					t.Errorf("the link of somebody else (-was +is):\n%s", diff)
				}
				sh(t, "ip link del zz")
				if told, err := k.RepairLinks(t.Context(), s.want); err != nil || !slices.Equal(told, []string{"veth/vethx"}) {
					t.Errorf("when that has gone: repaired %q, %v", told, err)
				}
				if diff := cmp.Diff(before, s.state(t)); diff != "" {
					t.Errorf("when that has gone (-want +got):\n%s", diff)
				}
				// It is not deleted with the container either.
				sh(t, "ip link set vethx name vethy; ip link add vethx type veth peer name zz")
				theirs = look()
				if err := k.Delete(t.Context(), []model.Object{s.veth}); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(theirs, look()); diff != "" {
					t.Errorf("after the end of the container (-was +is):\n%s", diff)
				}
				if out, err := exec.CommandContext(t.Context(), "ip", "link", "show", "vethy").CombinedOutput(); err == nil {
					t.Errorf("ours is still there: %s", out)
				}
				sh(t, "ip link del zz")
				s.away(t, k)
			})
		}
	}
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for late := time.Now().Add(5 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("it never came")
		}
	}
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
