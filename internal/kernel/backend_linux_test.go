package kernel_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// echo sends back what connections say, until the listener is closed.
func echo(t *testing.T, ns *netns.Namespace, at string) {
	t.Helper()
	l, err := ns.ListenTCP(netip.MustParseAddrPort(at))
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
	t.Cleanup(func() {
		_ = l.Close()
		close(end)
		wg.Wait()
	})
}

// connect opens a connection, and returns a function that says something by it and
// waits for the echo.
func connect(t *testing.T, ns *netns.Namespace, to string) func(what string) error {
	t.Helper()
	c, err := ns.Dial(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return func(what string) error {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, what); err != nil {
			return err
		}
		buf := make([]byte, len(what))
		if _, err := io.ReadFull(c, buf); err != nil {
			return err
		}
		if string(buf) != what {
			return fmt.Errorf("%q came back, want %q", buf, what)
		}
		return nil
	}
}

// holds says which backends hold rules that name a bridge.
func holds(t *testing.T, table, bridge string) string {
	t.Helper()
	var list []string
	for _, tt := range []struct {
		backend, mark string
		command       []string
	}{
		{"nftables", "table ip " + table + "\n", []string{"nft", "list", "tables"}},
		{"iptables-nft", "-i " + bridge + " ", []string{"iptables-nft-save"}},
		{"iptables-legacy", "-i " + bridge + " ", []string{"iptables-legacy-save"}},
	} {
		out, err := exec.CommandContext(t.Context(), tt.command[0], tt.command[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", tt.command, err, out)
		}
		if strings.Contains(string(out), tt.mark) {
			list = append(list, tt.backend)
		}
	}
	return strings.Join(list, " ")
}

func TestSwitchOfBackend(t *testing.T) {
	t.Run("case 45 with another backend the rules of the former one go, and no connection breaks", testSwitch)
}

func testSwitch(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.IPTablesNFT, nstest.IPTablesLegacy, nstest.Bridge, nstest.Veth)
	for _, name := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if err := os.WriteFile(name, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg := kernel.Config{DataDir: t.TempDir(), RunDir: "/run/switch"}
	path := cfg.RunDir + "/netns/c1"
	prefix := netip.MustParsePrefix
	family := func(subnet string) *model.FirewallFamily {
		return &model.FirewallFamily{Subnets: []netip.Prefix{prefix(subnet)}, Masquerade: true, ICC: true}
	}
	want := []model.Object{
		model.FirewallNetwork{ID: "n1", Bridge: "br9", V4: family("10.99.1.0/24"), V6: family("fd99:1::/64")},
		model.Bridge{
			Name: "br9", Group: kernel.Group(cfg.DataDir), IPv6: true, RouteLocalnet: true,
			Addrs: []netip.Prefix{prefix("10.99.1.1/24"), prefix("fd99:1::1/64")},
		},
		model.Namespace{Path: path},
		model.Redirect{Netns: path, Port: 30053},
		model.Veth{
			Host: "veth9", Netns: path, Name: "eth0", Bridge: "br9", Group: kernel.Group(cfg.DataDir),
			Addrs: []netip.Prefix{prefix("10.99.1.2/24"), prefix("fd99:1::2/64")},
		},
		model.DefaultRoute{Netns: path, Via: netip.MustParseAddr("10.99.1.1"), Dev: "eth0"},
		model.DefaultRoute{Netns: path, Via: netip.MustParseAddr("fd99:1::1"), Dev: "eth0"},
	}
	for _, host := range []string{"0.0.0.0", "::"} {
		to := netip.MustParseAddr(map[string]string{"0.0.0.0": "10.99.1.2", "::": "fd99:1::2"}[host])
		want = append(want, model.Port{Proto: 6, Host: netip.MustParseAddr(host), First: 7001, Last: 7001, Addr: to, Port: 80, Owner: "e1"})
	}
	lan := lanMachine(t)
	echo(t, lan, "0.0.0.0:90")
	echo(t, lan, "[::]:91")
	type flow struct {
		name string
		say  func(string) error
	}
	var flows []flow
	var inside *netns.Namespace
	for i, b := range []kernel.Backend{
		kernel.NFTables, kernel.IPTablesNFT, kernel.IPTablesLegacy, kernel.NFTables, kernel.IPTablesLegacy, kernel.IPTablesNFT, kernel.NFTables,
	} {
		cfg.Firewall = b
		k, err := kernel.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Recover(t.Context(), want, false); err != nil {
			t.Fatalf("start with %s: %v", b, err)
		}
		if got := holds(t, kernel.Table(cfg.DataDir), "br9"); got != string(b) {
			t.Errorf("with %s there are rules of %s", b, got)
		}
		if inside == nil {
			if inside, err = netns.Open(nil, path); err != nil {
				t.Fatal(err)
			}
			defer inside.Close()
			echo(t, inside, "0.0.0.0:80")
			echo(t, inside, "[::]:80")
			echo(t, inside, "127.0.0.11:30053")
		}
		for _, f := range flows {
			if err := f.say(string(b)); err != nil {
				t.Errorf("%s, with %s: %v", f.name, b, err)
			}
		}
		for _, way := range []struct {
			name, to string
			from     *netns.Namespace
		}{
			{"into a port", "192.0.2.1:7001", lan},
			{"into a port, IPv6", "[2001:db8:2::1]:7001", lan},
			{"outwards", "192.0.2.9:90", inside},
			{"outwards, IPv6", "[2001:db8:2::9]:91", inside},
			{"to the name server", "127.0.0.11:53", inside},
		} {
			f := flow{fmt.Sprintf("a connection %s made with %s (%d)", way.name, b, i), connect(t, way.from, way.to)}
			if err := f.say("hello"); err != nil {
				t.Errorf("%s: %v", f.name, err)
			}
			if way.from == lan || !strings.Contains(way.to, "127") {
				flows = append(flows, f)
			}
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
	k, err := kernel.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Recover(t.Context(), nil, false); err != nil {
		t.Error(err)
	}
	if got := holds(t, kernel.Table(cfg.DataDir), "br9"); got != "" {
		t.Errorf("left in the end: rules of %s", got)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
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

func TestBackendNames(t *testing.T) {
	for _, name := range []string{"", "auto", "nftables", "iptables", "iptables-nft", "iptables-legacy"} {
		if _, err := kernel.ParseBackend(name); err != nil {
			t.Error(err)
		}
	}
	_, err := kernel.ParseBackend("ipfw")
	if !errors.As(err, new(types.BadRequestError)) || !strings.Contains(err.Error(), "ipfw") || !strings.Contains(err.Error(), "iptables-legacy") {
		t.Errorf("got %v", err)
	}
}

// The programs are found without PATH, as that of a daemon may lack their directory.
func TestProgramsBesidePath(t *testing.T) {
	nstest.Require(t, nstest.IPTablesNFT)
	if _, err := os.Stat("/usr/sbin/iptables-restore"); err != nil {
		t.Skip(err)
	}
	t.Setenv("PATH", t.TempDir())
	k, err := kernel.New(t.Context(), kernel.Config{DataDir: t.TempDir(), RunDir: "/run/programs", Firewall: kernel.IPTables})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
