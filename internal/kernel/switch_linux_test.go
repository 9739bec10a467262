package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// echo sends back what comes by TCP and UDP, until the test ends.
func echo(t *testing.T, ns *netns.Namespace, at string) {
	t.Helper()
	l, err := ns.ListenTCP(netip.MustParseAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	u, err := ns.ListenUDP(netip.MustParseAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	end := make(chan struct{})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _, _ = io.Copy(c, c) })
			wg.Go(func() {
				<-end
				_ = c.Close()
			})
		}
	})
	wg.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(buf[:n], from)
		}
	})
	t.Cleanup(func() {
		_, _ = l.Close(), u.Close()
		close(end)
		wg.Wait()
	})
}

// A stream says something every few milliseconds and waits for the echo.
type stream struct {
	name  string
	count atomic.Int64 // of echoes
	err   atomic.Pointer[error]
}

// pace is the pause between an echo and what is said next.
const pace = 2 * time.Millisecond

// flow begins a stream that goes on until the test ends.
func flow(t *testing.T, name string, ns *netns.Namespace, network, to string) *stream {
	t.Helper()
	c, err := ns.Dial(t.Context(), network, to)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	s := &stream{name: name}
	if err := s.say(c, 0); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var wg sync.WaitGroup
	end := make(chan struct{})
	wg.Go(func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for i := 1; ; i++ {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			if err := s.say(c, i); err != nil {
				s.err.Store(&err)
				return
			}
		}
	})
	t.Cleanup(func() {
		close(end)
		wg.Wait()
		_ = c.Close()
	})
	return s
}

func (s *stream) say(c net.Conn, i int) error {
	what := fmt.Sprintf("%8d", i)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, what); err != nil {
		return err
	}
	buf := make([]byte, len(what))
	if _, err := io.ReadFull(c, buf); err != nil {
		return fmt.Errorf("no echo of number %d: %w", i, err)
	}
	if string(buf) != what {
		return fmt.Errorf("%q came back, want %q", buf, what)
	}
	s.count.Add(1)
	return nil
}

// goesOn waits for the echo of what is said from now on. One that is lost, of TCP or
// UDP, ends the stream.
func (s *stream) goesOn(t *testing.T, when string) {
	t.Helper()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for begun := s.count.Load(); s.count.Load() < begun+2; <-tick.C {
		if err := s.err.Load(); err != nil {
			t.Fatalf("%s breaks %s: %v", s.name, when, *err)
		}
	}
}

// holds says which backends hold rules that name a bridge, each by its name for IPv4 and
// once more for IPv6.
func holds(t *testing.T, table, bridge string) string {
	t.Helper()
	var list []string
	for _, tt := range []struct {
		backend, mark string
		command       []string
	}{
		{"nftables", "table ip " + table + "\n", []string{"nft", "list", "tables"}},
		{"nftables", "table ip6 " + table + "\n", []string{"nft", "list", "tables"}},
		{"iptables-nft", "-i " + bridge + " ", []string{"iptables-nft-save"}},
		{"iptables-nft", "-i " + bridge + " ", []string{"ip6tables-nft-save"}},
		{"iptables-legacy", "-i " + bridge + " ", []string{"iptables-legacy-save"}},
		{"iptables-legacy", "-i " + bridge + " ", []string{"ip6tables-legacy-save"}},
	} {
		out, err := exec.Command(tt.command[0], tt.command[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", tt.command, err, out)
		}
		if strings.Contains(string(out), tt.mark) {
			list = append(list, tt.backend)
		}
	}
	return strings.Join(list, " ")
}

var allBackends = []kernel.Backend{kernel.NFTables, kernel.IPTablesNFT, kernel.IPTablesLegacy}

// switching is a host with a network, a container with published ports, and another
// machine.
type switching struct {
	t           *testing.T
	cfg         kernel.Config
	want        []model.Object
	lan, inside *netns.Namespace
	streams     []*stream
}

func newSwitching(t *testing.T) *switching {
	t.Helper()
	nstest.Require(t, nstest.NFTables, nstest.IPTablesNFT, nstest.IPTablesLegacy, nstest.Bridge, nstest.Veth)
	for _, name := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if err := os.WriteFile(name, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := &switching{t: t, cfg: kernel.Config{DataDir: t.TempDir(), RunDir: "/run/switch"}}
	group, path := kernel.Group(h.cfg.DataDir), h.cfg.RunDir+"/netns/c1"
	prefix := netip.MustParsePrefix
	family := func(subnet string) *model.FirewallFamily {
		return &model.FirewallFamily{Subnets: []netip.Prefix{prefix(subnet)}, Masquerade: true}
	}
	h.want = []model.Object{
		model.FirewallNetwork{ID: "n1", Bridge: "br9", V4: family("10.99.1.0/24"), V6: family("fd99:1::/64")},
		model.Bridge{
			Name: "br9", Group: group, IPv6: true, RouteLocalnet: true,
			Addrs: []netip.Prefix{prefix("10.99.1.1/24"), prefix("fd99:1::1/64")},
		},
		model.Namespace{Path: path},
		model.Redirect{Netns: path, Port: 30053},
		model.LinkedPort{Host: "veth9", Owner: "e1"},
		model.Link{
			Bridge: "br9", Proto: 6, Client: netip.MustParseAddr("10.99.1.3"), Target: netip.MustParseAddr("10.99.1.2"), Port: 80,
			ClientHost: "veth8", TargetHost: "veth9", Owner: "e1",
		},
		model.Veth{
			Host: "veth9", Netns: path, Name: "eth0", Bridge: "br9", Group: group,
			Addrs: []netip.Prefix{prefix("10.99.1.2/24"), prefix("fd99:1::2/64")},
		},
		model.DefaultRoute{Netns: path, Via: netip.MustParseAddr("10.99.1.1"), Dev: "eth0"},
		model.DefaultRoute{Netns: path, Via: netip.MustParseAddr("fd99:1::1"), Dev: "eth0"},
	}
	for _, proto := range []uint8{6, 17} {
		for _, host := range []string{"0.0.0.0", "::"} {
			to := netip.MustParseAddr(map[string]string{"0.0.0.0": "10.99.1.2", "::": "fd99:1::2"}[host])
			h.want = append(h.want, model.Port{
				Proto: proto, Host: netip.MustParseAddr(host), First: 7001, Last: 7001, Addr: to, Port: 80, Owner: "e1",
			})
		}
	}
	h.lan = lanMachine(t)
	echo(t, h.lan, "0.0.0.0:90")
	echo(t, h.lan, "[::]:91")
	t.Cleanup(h.end)
	return h
}

// start starts with a backend, which does not go beyond a step if that is not 0, as
// if it were killed there. It says whether it came that far.
func (h *switching) start(b kernel.Backend, killed int) (cut bool) {
	h.t.Helper()
	cfg := h.cfg
	cfg.Firewall = b
	cfg.Steps = step.New(func(n int, name string) error {
		if killed == 0 || n < killed {
			return nil
		}
		cut = true
		return fmt.Errorf("%w before %s", step.ErrInjected, name)
	})
	ctx := context.WithoutCancel(h.t.Context()) // it removes all at the end
	k, err := kernel.New(ctx, cfg)
	if err == nil {
		_, err = k.Recover(ctx, h.want, false)
		err = errors.Join(err, k.Close())
	}
	if err != nil && !cut {
		h.t.Fatalf("start with %s: %v", b, err)
	}
	return cut
}

// open begins streams of all kinds.
func (h *switching) open(when string) {
	h.t.Helper()
	if h.inside == nil {
		var err error
		if h.inside, err = netns.Open(nil, h.cfg.RunDir+"/netns/c1"); err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { _ = h.inside.Close() })
		for _, at := range []string{"0.0.0.0:80", "[::]:80", "127.0.0.11:30053"} {
			echo(h.t, h.inside, at)
		}
	}
	for _, way := range []struct {
		name, to string
		from     *netns.Namespace
	}{
		{"into a port", "192.0.2.1:7001", h.lan},
		{"into a port, IPv6", "[2001:db8:2::1]:7001", h.lan},
		{"outwards", "192.0.2.9:90", h.inside},
		{"outwards, IPv6", "[2001:db8:2::9]:91", h.inside},
	} {
		for _, network := range []string{"tcp", "udp"} {
			h.streams = append(h.streams, flow(h.t, fmt.Sprintf("the %s stream %s of %s", network, way.name, when), way.from, network, way.to))
		}
	}
}

// check makes sure that streams go on, and that nothing else is open.
func (h *switching) check(when string) {
	h.t.Helper()
	for _, s := range h.streams {
		s.goesOn(h.t, when)
	}
	ctx, cancel := context.WithTimeout(h.t.Context(), 50*time.Millisecond)
	defer cancel()
	if c, err := h.lan.Dial(ctx, "tcp", "10.99.1.2:80"); err == nil {
		_ = c.Close()
		h.t.Errorf("%s the container's own address can be reached from another machine", when)
	}
}

// is makes sure that there are rules of one backend alone, for both families.
func (h *switching) is(b kernel.Backend, when string) {
	h.t.Helper()
	if got := holds(h.t, kernel.Table(h.cfg.DataDir), "br9"); got != string(b)+" "+string(b) {
		h.t.Errorf("%s, with %s, there are rules of %s, want those of both families", when, b, got)
	}
	if got := redirects(h.t, h.cfg.RunDir+"/netns/c1"); got != string(b) {
		h.t.Errorf("%s, with %s, the container has redirects of %q", when, b, got)
	}
	h.check(when + ", with " + string(b))
}

// redirects says which backends lead to the name server inside of a namespace.
func redirects(t *testing.T, path string) string {
	t.Helper()
	var found []string
	for _, way := range []struct {
		backend       kernel.Backend
		command, mark string
	}{
		{kernel.NFTables, "nft list tables ip", "libnetwork_dns"},
		{kernel.IPTablesNFT, "iptables-nft-save", "LIBNETWORK-DNS"},
		{kernel.IPTablesLegacy, "iptables-legacy-save", "LIBNETWORK-DNS"},
	} {
		out, err := exec.CommandContext(t.Context(), "nsenter", append([]string{"--net=" + path}, strings.Fields(way.command)...)...).Output()
		if err != nil {
			t.Fatalf("%s: %v", way.command, err)
		}
		if strings.Contains(string(out), way.mark) {
			found = append(found, string(way.backend))
		}
	}
	return strings.Join(found, " ")
}

// end removes all that there is.
func (h *switching) end() {
	h.want = nil
	h.start(kernel.NFTables, 0)
	if got := holds(h.t, kernel.Table(h.cfg.DataDir), "br9"); got != "" {
		h.t.Errorf("left in the end: rules of %s", got)
	}
	if out, err := exec.Command("nft", "list", "tables", "bridge").CombinedOutput(); err != nil || len(out) > 0 {
		h.t.Errorf("left in the end: %v %s", err, out)
	}
}

func TestSwitchOfBackend(t *testing.T) {
	t.Run("case 45 with another backend the rules of the former one go, and no connection breaks", testSwitch)
}

func testSwitch(t *testing.T) {
	h := newSwitching(t)
	for _, b := range []kernel.Backend{
		kernel.NFTables, kernel.IPTablesNFT, kernel.IPTablesLegacy, kernel.NFTables, kernel.IPTablesLegacy, kernel.IPTablesNFT, kernel.NFTables,
	} {
		h.start(b, 0)
		h.open(string(b))
		h.is(b, "after a switch")
		// New connections to the name server find it, whoever led them there before.
		flow(t, "the name server with "+string(b), h.inside, "udp", "127.0.0.11:53")
	}
}

// Where the programs of iptables are gone, the rules of its variant nft go all the same,
// and of those of legacy each start says that they cannot.
func TestSwitchWithoutPrograms(t *testing.T) {
	t.Run("case 45 from iptables-nft to nftables when the programs are gone", func(t *testing.T) {
		h := newSwitching(t)
		h.start(kernel.IPTablesNFT, 0)
		h.open("iptables-nft")
		withoutPrograms(t, func() { h.start(kernel.Auto, 0) })
		h.is(kernel.NFTables, "without programs")
		flow(t, "the name server", h.inside, "udp", "127.0.0.11:53")
	})
	t.Run("from iptables-legacy to nftables when the programs are gone", func(t *testing.T) {
		h := newSwitching(t)
		h.start(kernel.IPTablesLegacy, 0)
		h.open("iptables-legacy")
		cfg := h.cfg
		cfg.Firewall = kernel.NFTables
		for range 2 {
			withoutPrograms(t, func() {
				k, err := kernel.New(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer k.Close()
				found, err := k.Recover(t.Context(), h.want, false)
				if found.Rules {
					t.Error("a switch is told of as a repair of rules")
				}
				if !errors.As(err, new(types.NoServiceError)) || !strings.Contains(err.Error(), "firewall backend iptables-legacy: an earlier start has left them") {
					t.Errorf("a start with rules of iptables-legacy and without its programs: %v", err)
				}
			})
		}
		h.check("without programs")
		h.start(kernel.NFTables, 0)
		h.is(kernel.NFTables, "with programs again")
	})
}

// Rules of a former backend are found also where somebody has flushed the table filter.
func TestSwitchAfterFlush(t *testing.T) {
	h := newSwitching(t)
	for _, from := range []kernel.Backend{kernel.IPTablesLegacy, kernel.IPTablesNFT} {
		h.start(from, 0)
		h.open(string(from))
		for _, family := range []string{"iptables", "ip6tables"} {
			program := family + strings.TrimPrefix(string(from), "iptables")
			sh(t, program+" -F; "+program+" -X")
		}
		h.start(kernel.NFTables, 0)
		h.is(kernel.NFTables, "after "+string(from)+" and a flush")
		if out, err := exec.CommandContext(t.Context(), string(from)+"-save").CombinedOutput(); err != nil || strings.Contains(string(out), strings.ToUpper(kernel.Table(h.cfg.DataDir))) {
			t.Errorf("left of %s: %v\n%s", from, err, out)
		}
	}
}

// Rules of a former backend that could not be removed are removed as soon as they can be.
func TestSwitchHeld(t *testing.T) {
	h := newSwitching(t)
	h.start(kernel.IPTablesNFT, 0)
	var log bytes.Buffer
	cfg := h.cfg
	cfg.Firewall, cfg.Logger = kernel.NFTables, slog.New(slog.NewTextHandler(&log, nil))
	sh(t, "nft add map ip filter hold '{ type ipv4_addr : verdict; }'; nft add element ip filter hold '{ 192.0.2.77 : jump "+
		strings.ToUpper(kernel.Table(cfg.DataDir))+"-FORWARD }'")
	k, err := kernel.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Recover(t.Context(), h.want, false); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a start whose removal of rules is held up: %v", err)
	}
	again := func(when string, lost ...string) {
		t.Helper()
		if got, err := k.Survey(t.Context(), nil); err != nil || !slices.Equal(got, lost) {
			t.Errorf("%s: found %q, %v", when, got, err)
		}
		if found, err := k.RepairRules(t.Context()); err != nil || found != model.FoundRight {
			t.Errorf("%s: found %v, %v", when, found, err)
		}
	}
	again("held", "")
	again("held", "")
	if got := strings.Count(log.String(), "rules of another firewall backend are still there"); got != 1 {
		t.Errorf("told %d times:\n%s", got, &log)
	}
	sh(t, "nft delete map ip filter hold")
	again("not held any more", "")
	again("removed")
	h.is(kernel.NFTables, "when nothing holds them")
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

// withoutPrograms hides the programs of administrators.
func withoutPrograms(t *testing.T, f func()) {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
		}()
	}
	if path, err := exec.LookPath("/sbin/iptables-nft-save"); err == nil {
		t.Fatalf("%s is still there", path)
	}
	f()
}

func TestKillDuringSwitch(t *testing.T) {
	for _, from := range allBackends {
		for _, to := range allBackends {
			if from != to {
				t.Run(fmt.Sprintf("case 45 a start with %s that is killed while it takes over from %s breaks no connection", to, from), func(t *testing.T) {
					testKillDuringSwitch(t, from, to)
				})
			}
		}
	}
}

func testKillDuringSwitch(t *testing.T, from, to kernel.Backend) {
	t.Helper()
	h := newSwitching(t)
	h.start(from, 0)
	h.open(string(from))
	kill := 1
	for ; h.start(to, kill); kill++ {
		when := fmt.Sprintf("after a kill before step %d", kill)
		h.check(when)
		if kill%2 == 0 { // it goes on, or back
			h.start(to, 0)
			h.is(to, when)
		}
		h.start(from, 0)
		h.is(from, when)
	}
	if kill < 4 {
		t.Errorf("the switch has %d steps: nothing lies between", kill-1)
	}
	h.is(to, "when the switch is done")
}

// lanMachine is another machine that the host can be reached from.
func lanMachine(t *testing.T) *netns.Namespace {
	t.Helper()
	lan, err := netns.Create(t.Context(), nil, "/run/switch-lan")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("ip", "link", "del", "eth9").Run()
		_ = lan.Close()
		if err := netns.Remove(nil, lan.Path()); err != nil {
			t.Error(err)
		}
	})
	inside := "nsenter --net=" + lan.Path() + " "
	for _, l := range []string{
		"ip link add eth9 type veth peer name eth0 netns " + lan.Path(),
		"ip addr add 192.0.2.1/24 dev eth9", "ip addr add 2001:db8:2::1/64 dev eth9 nodad", "ip link set eth9 up",
		inside + "ip addr add 192.0.2.9/24 dev eth0", inside + "ip addr add 2001:db8:2::9/64 dev eth0 nodad",
		inside + "ip link set eth0 up",
	} {
		args := strings.Fields(l)
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", l, err, out)
		}
	}
	return lan
}
