package scenario_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/netlabel"
)

// A host is the machine of a test, with one other machine beside it:
//
//	containers --- bridges --- host 192.0.2.1, 2001:db8:2::1 --- lan 192.0.2.9, 2001:db8:2::9
//
// Network number N has 10.99.N.0/24 and fd99:0:0:N::/64. The other machine has
// routes to everything by the host, as an attacker would; it is the same for all
// tests.
type host struct {
	t        *testing.T
	data     string
	run      string
	opts     []config.Option
	ctl      libnetwork.NetworkController
	own, lan *netns.Namespace
	running  []*container
}

const (
	hostV4, hostV6 = "192.0.2.1", "2001:db8:2::1"
	lanV4, lanV6   = "192.0.2.9", "2001:db8:2::9"
)

// newHost makes a host that forwards, and its controller.
func newHost(t *testing.T, opts ...config.Option) *host {
	t.Helper()
	h := bareHost(t, opts...)
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	h.start()
	return h
}

// bareHost makes a host without controller, and checks at the end of the test
// that nothing of it is left.
func bareHost(t *testing.T, opts ...config.Option) *host {
	t.Helper()
	nstest.Require(t, nstest.Bridge, nstest.Veth, nstest.NFTables, nstest.IPv6, nstest.Conntrack)
	lan, err := otherMachine()
	if err != nil {
		t.Fatal(err)
	}
	if err := standardTables(); err != nil {
		t.Fatal(err)
	}
	nstest.Leaks(t)
	before := machine(t)
	t.Cleanup(func() { same(t, "the machine after the test", before, func() string { return machine(t) }) })
	dir := t.TempDir()
	h := &host{t: t, data: filepath.Join(dir, "data"), run: filepath.Join(dir, "run"), opts: opts}
	t.Cleanup(h.clear)
	if h.own, err = netns.Host(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.own.Close() })
	docker := slices.Contains(config.ParseConfigOptions(opts...).Daemon.Labels, besideDocker)
	h.frames(docker)
	h.sh("conntrack", "-F") // what another test's rules have decided for the same addresses
	if docker {
		kind := "nft"
		if h.backend() == iptablesLegacy {
			kind = "legacy"
		}
		h.docker(t, kind)
	}
	if h.lan, err = netns.Open(nil, lan); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.lan.Close() })
	return h
}

// within makes a subtest the one that the host reports to, until what is returned is
// called.
func (h *host) within(t *testing.T) (back func()) {
	outer := h.t
	h.t = t
	return func() { h.t = outer }
}

// frames says whether frames that a bridge forwards pass the rules of IP, for the
// time of the test. In a new namespace they do, on a host without Docker they do not.
func (h *host) frames(pass bool) {
	h.t.Helper()
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		if pass {
			nstest.Require(h.t, nstest.BrNetfilter)
		}
		return
	}
	value := map[bool]string{true: "1", false: "0"}[pass]
	h.sysctl("bridge/bridge-nf-call-iptables", value)
	h.sysctl("bridge/bridge-nf-call-ip6tables", value)
}

// otherMachine makes the machine lan, once for all tests: the kernel takes up to
// a second until a new link carries packets. It is the path of its namespace.
var otherMachine = sync.OnceValues(func() (string, error) {
	ns, err := connect("lan", "eth0", 2)
	if err != nil {
		return "", err
	}
	for _, addr := range []string{hostV4, hostV6} {
		if _, err := ask(ns, "tcp", at(addr, 9), patience); !errors.Is(err, unix.ECONNREFUSED) {
			return "", fmt.Errorf("lan cannot reach the host: %w", err)
		}
	}
	return ns.Path(), nil
})

// anotherMachine makes a machine like lan that is the test's own. num is a part
// of its addresses, in place of the 2.
func (h *host) anotherMachine(name string, num int) *netns.Namespace {
	h.t.Helper()
	link := "eth" + fmt.Sprint(num)
	ns, err := connect(name, link, num)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		h.sh("ip", "link", "del", link)
		_ = ns.Close()
		if err := netns.Remove(nil, ns.Path()); err != nil {
			h.t.Error(err)
		}
	})
	return ns
}

// connect makes a machine and connects it to the host by a link.
func connect(name, link string, num int) (*netns.Namespace, error) {
	ns, err := netns.Create(context.Background(), nil, "/run/"+name)
	if err != nil {
		return nil, err
	}
	gw4, gw6 := fmt.Sprintf("192.0.%d.1", num), fmt.Sprintf("2001:db8:%d::1", num)
	inside := "nsenter --net=" + ns.Path() + " "
	lines := []string{
		"ip link add " + link + " type veth peer name eth0 netns " + ns.Path(),
		inside + "ip addr add " + fmt.Sprintf("192.0.%d.9/24", num) + " dev eth0",
		inside + "ip addr add " + fmt.Sprintf("2001:db8:%d::9/64", num) + " dev eth0 nodad",
		"ip addr add " + gw4 + "/24 dev " + link,
		"ip addr add " + gw6 + "/64 dev " + link + " nodad",
		// A made-up link-local address would come later, after a search for
		// duplicates; without any, nobody could solicit on behalf of others.
		inside + "ip link set eth0 addrgenmode none",
		"ip link set " + link + " addrgenmode none",
		inside + "ip addr add fe80::9/64 dev eth0 nodad",
		"ip addr add fe80::1/64 dev " + link + " nodad",
		inside + "ip link set eth0 up",
		"ip link set " + link + " up",
		inside + "ip route add default via " + gw4,
		inside + "ip route add default via " + gw6,
	}
	for _, l := range lines {
		if _, err := run(strings.Fields(l)...); err != nil {
			return nil, err
		}
	}
	return ns, errors.Join(carries("", link), carries(inside, "eth0"))
}

// carries waits until a new link takes packets, which it does some time after it is
// up: on a busy machine neighbours may be given up meanwhile. inside is the command
// that enters the link's namespace.
func carries(inside, link string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); ; <-tick.C {
		out, err := run(strings.Fields(inside + "ip -br link show dev " + link)...)
		if err != nil || slices.Contains(strings.Fields(out), "UP") {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("link %s does not come up: %s", link, out)
		}
	}
}

// start makes the controller.
func (h *host) start() {
	h.t.Helper()
	ctl, err := libnetwork.New(append([]config.Option{
		config.OptionDataDir(h.data), config.OptionRunDir(h.run),
	}, h.opts...)...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.ctl = ctl
}

// restart stops the controller and makes a new one. Containers end with the old
// one.
func (h *host) restart() {
	h.t.Helper()
	h.ctl.Stop()
	for _, c := range h.running {
		c.close()
	}
	h.running = nil
	h.start()
}

// clear removes everything that can be removed.
func (h *host) clear() {
	if h.ctl == nil {
		return
	}
	for _, c := range slices.Clone(h.running) {
		h.remove(c)
	}
	for _, sb := range h.ctl.Sandboxes() {
		if err := sb.Delete(); err != nil {
			h.t.Error(err)
		}
	}
	for _, n := range h.ctl.Networks() {
		for _, ep := range n.Endpoints() {
			if err := ep.Delete(true); err != nil {
				h.t.Error(err)
			}
		}
		if err := n.Delete(); err != nil && n.Type() == "bridge" {
			h.t.Error(err)
		}
	}
	h.ctl.Stop()
	h.ctl = nil
	// What mounts it has is of no use to anybody.
	dir := filepath.Join(h.run, "netns")
	if err := netns.RemoveDir(nil, dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Error(err)
	}
}

// A netOption changes what network N is made with.
type netOption func(*netConfig)

type netConfig struct {
	driver   string
	labels   map[string]string
	v4, v6   *libnetwork.IpamConf
	internal bool
	only4    bool
	more     []libnetwork.NetworkOption
}

func label(key, value string) netOption {
	return func(c *netConfig) { c.labels[key] = value }
}

func inside(c *netConfig) { c.internal = true }

// only4 makes a network of IPv4 alone.
func only4(c *netConfig) { c.only4, c.v6 = true, nil }

const (
	labelName       = "com.docker.network.bridge.name"
	labelICC        = "com.docker.network.bridge.enable_icc"
	labelMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
	labelHostIP     = "com.docker.network.bridge.host_binding_ipv4"
	labelDefault    = "com.docker.network.bridge.default_bridge"
)

// network makes network number num, called netN on bridge brN.
func (h *host) network(num int, opts ...netOption) libnetwork.Network {
	h.t.Helper()
	n, err := h.tryNetwork(num, opts...)
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

func (h *host) tryNetwork(num int, opts ...netOption) (libnetwork.Network, error) {
	c := netConfig{
		driver: "bridge",
		labels: map[string]string{labelName: fmt.Sprintf("br%d", num)},
		v4:     &libnetwork.IpamConf{PreferredPool: fmt.Sprintf("10.99.%d.0/24", num)},
		v6:     &libnetwork.IpamConf{PreferredPool: fmt.Sprintf("fd99:0:0:%d::/64", num)},
	}
	for _, o := range opts {
		o(&c)
	}
	generic := map[string]any{netlabel.GenericData: c.labels, netlabel.EnableIPv6: !c.only4}
	if c.internal {
		generic[netlabel.Internal] = true
	}
	var v4, v6 []*libnetwork.IpamConf
	if c.v4 != nil {
		v4 = append(v4, c.v4)
	}
	if c.v6 != nil {
		v6 = append(v6, c.v6)
	}
	return h.ctl.NewNetwork(c.driver, fmt.Sprintf("net%d", num), append([]libnetwork.NetworkOption{
		libnetwork.NetworkOptionGeneric(generic), libnetwork.NetworkOptionIpam("", "", v4, v6, nil),
	}, c.more...)...)
}

// netByName finds a network again, after a restart.
func (h *host) netByName(name string) libnetwork.Network {
	h.t.Helper()
	n, err := h.ctl.NetworkByName(name)
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

func (h *host) drop(nets ...libnetwork.Network) {
	h.t.Helper()
	for _, n := range nets {
		if err := n.Delete(); err != nil {
			h.t.Fatal(err)
		}
	}
}

// sysctl sets a value of the host's for the time of the test.
func (h *host) sysctl(name, value string) {
	h.t.Helper()
	path := filepath.Join("/proc/sys/net", name)
	had, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	write := func(v string) {
		if err := os.WriteFile(path, []byte(v), 0o644); err != nil {
			h.t.Error(err)
		}
	}
	write(value)
	h.t.Cleanup(func() { write(strings.TrimSpace(string(had))) })
}

func (h *host) readSysctl(name string) string {
	h.t.Helper()
	v, err := os.ReadFile(filepath.Join("/proc/sys/net", name))
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(v))
}

// sh runs a program on the host.
func (h *host) sh(args ...string) string {
	h.t.Helper()
	out, err := run(args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// in runs a program inside a namespace.
func (h *host) in(path string, args ...string) string {
	h.t.Helper()
	return h.sh(append([]string{"nsenter", "--net=" + path}, args...)...)
}

func run(args ...string) (string, error) {
	// Not the test's context: clean-ups run programs too.
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
