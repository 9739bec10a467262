//go:build linux

package libnetwork_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/netlabel"
)

func TestConstruct(t *testing.T) {
	d := newDirs(t)
	a := d.open(t)
	n := newNetwork(t, a, "web")

	t.Run("CTL-1 two controllers on one directory both start and see the same objects", func(t *testing.T) {
		b := d.open(t)
		if a.ID() == b.ID() {
			t.Errorf("both controllers are %s", a.ID())
		}
		if got := must(b.NetworkByName("web"))(t); got != n {
			t.Errorf("network is %v, want %v", got, n)
		}
		made := newNetwork(t, b, "db")
		if got := must(a.NetworkByID(made.ID()))(t); got != made {
			t.Errorf("network is %v, want %v", got, made)
		}
		ok(t, must(a.NetworkByName("db"))(t).Delete())
		b.Stop()
		if got := must(a.NetworkByName("web"))(t); got != n {
			t.Error("the first controller lost its network when the second stopped")
		}
		newEndpoint(t, n, "still")
	})
	t.Run("CTL-1 controllers on two directories see their own objects alone", func(t *testing.T) {
		other := newController(t)
		if nets := other.Networks(); len(nets) != 0 {
			t.Errorf("a new directory has networks %v", nets)
		}
		_, err := other.NetworkByName("web")
		wantErr[libnetwork.ErrNoSuchNetwork](t, err, "NotFound")
		theirs := newNetwork(t, other, "web")
		sb := attach(t, other, "c1", theirs)
		if got := a.Sandboxes(); len(got) != 0 {
			t.Errorf("a sandbox of another directory is seen: %v", got)
		}
		ep := newEndpoint(t, n, "e1")
		wantClass(t, ep.Join(sb), "BadRequest")
		wantClass(t, ep.Leave(sb), "BadRequest")
		ok(t, sb.Delete())
	})
	t.Run("CTL-3 the id of a controller stays the same, and its configuration says what it works with", func(t *testing.T) {
		checkID(t, a.ID())
		if again := a.ID(); again != a.ID() {
			t.Errorf("id changes: %s, %s", again, a.ID())
		}
		cfg := a.Config()
		if cfg.Daemon.DataDir != d.data || cfg.Daemon.RunDir != d.run {
			t.Errorf("directories are %q and %q, want %q and %q", cfg.Daemon.DataDir, cfg.Daemon.RunDir, d.data, d.run)
		}
	})
}

func checkID(t *testing.T, id string) {
	t.Helper()
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) {
		t.Errorf("id is %q, want 64 lower-case hex digits", id)
	} else if _, err := strconv.ParseInt(id[:12], 10, 64); err == nil {
		t.Errorf("the short form of id %s is a number", id)
	}
}

func TestConfigIsACopy(t *testing.T) {
	const label = "com.docker.network.driver.bridge.x=1"
	c := newController(t, config.OptionLabels([]string{label}),
		config.OptionDriverConfig("bridge", map[string]any{netlabel.GenericData: map[string]any{"EnableIPForwarding": false}}))
	cfg := c.Config()
	cfg.Daemon.Labels[0] = "changed"
	cfg.Daemon.DriverCfg["bridge"].(map[string]any)[netlabel.GenericData] = "changed"
	cfg.Daemon.DriverCfg["other"] = "changed"
	for _, s := range cfg.Scopes {
		s.Client.Provider = "changed"
		if s.Client.Config != nil {
			s.Client.Config.Bucket = "changed"
		}
	}
	cfg.Scopes["other"] = &config.ScopeCfg{}
	t.Run("CTL-3 what a caller does to the configuration it got changes nothing", func(t *testing.T) {
		now := c.Config()
		diff(t, "labels", []string{label}, now.Daemon.Labels)
		diff(t, "driver configuration",
			map[string]any{"bridge": map[string]any{netlabel.GenericData: map[string]any{"EnableIPForwarding": false}}}, now.Daemon.DriverCfg)
		if len(now.Scopes) != 1 || now.Scopes["local"].Client.Provider == "changed" || now.Scopes["local"].Client.Config.Bucket == "changed" {
			t.Errorf("scopes were changed from outside: %+v", now.Scopes["local"])
		}
	})
}

func TestConstructRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(file, nil, 0o600))
	rows := []struct {
		name, class string
		opts        []config.Option
	}{
		{"driver configuration of another type", "BadRequest", []config.Option{
			func(c *config.Config) { c.Daemon.DriverCfg = map[string]any{"bridge": 7} },
		}},
		{"driver option of another type", "BadRequest", []config.Option{
			config.OptionDriverConfig("bridge", map[string]any{netlabel.GenericData: map[string]any{"EnableIPTables": "yes"}}),
		}},
		{"direct routing of another type", "BadRequest", []config.Option{
			config.OptionDriverConfig("bridge", map[string]any{netlabel.GenericData: map[string]any{"AllowDirectRouting": 1}}),
		}},
		{"firewall backend of another type", "BadRequest", []config.Option{
			config.OptionDriverConfig("bridge", map[string]any{netlabel.GenericData: map[string]any{"FirewallBackend": 7}}),
		}},
		{"unknown firewall backend", "BadRequest", []config.Option{
			config.OptionDriverConfig("bridge", map[string]any{netlabel.GenericData: map[string]any{"FirewallBackend": "ipfw"}}),
		}},
		{"data directory is a file", "Internal", []config.Option{config.OptionDataDir(file)}},
		{"run directory is a file", "Internal", []config.Option{config.OptionRunDir(file)}},
		{"unknown provider of a store", "BadRequest", []config.Option{config.OptionLocalKVProvider("x"), config.OptionLocalKVProviderURL("y")}},
		{"provider that is not of this host", "NotImplemented", []config.Option{config.OptionLocalKVProvider("etcd"), config.OptionLocalKVProviderURL("y")}},
		{"TLS files that cannot be read", "BadRequest", []config.Option{
			config.OptionKVOpts(map[string]string{"kv.cacertfile": "/no/ca", "kv.certfile": "/no/cert", "kv.keyfile": "/no/key"}),
		}},
	}
	refuses := func(t *testing.T, class string, opts ...config.Option) {
		t.Helper()
		d := newDirs(t)
		c, err := libnetwork.New(d.options(opts...)...)
		if err == nil {
			c.Stop()
		}
		wantClass(t, err, class)
	}
	t.Run("CTL-2 a controller that cannot start leaves no file, socket or goroutine open", func(t *testing.T) {
		for _, tt := range rows {
			t.Run(tt.name, func(t *testing.T) { refuses(t, tt.class, tt.opts...) })
		}
	})
	t.Run("OPT-1 a store for several hosts without an address is a BadRequest", func(t *testing.T) {
		refuses(t, "BadRequest", config.OptionKVProvider("etcd"))
	})
	t.Run("OPT-1 a store for several hosts without a provider is a BadRequest", func(t *testing.T) {
		refuses(t, "BadRequest", config.OptionKVProviderURL("192.0.2.1:2379"))
	})
	t.Run("CFG-6 a driver's configuration that is no map of options is a BadRequest", func(t *testing.T) {
		for name, bad := range map[string]any{"number": 7, "text": "x", "generic part": map[string]any{netlabel.GenericData: 7}} {
			t.Run(name, func(t *testing.T) { refuses(t, "BadRequest", driverConfig(bad)) })
		}
	})
}

// driverConfig sets the configuration of the bridge driver to what the options
// would not let through.
func driverConfig(v any) config.Option {
	return func(c *config.Config) { c.Daemon.DriverCfg["bridge"] = v }
}

func TestSecondProcess(t *testing.T) {
	d := newDirs(t)
	start := func() (out string, end func()) {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), ownerEnv+"="+d.data, "LIBNETWORK_TEST_RUN="+d.run)
		cmd.Stderr = os.Stderr
		in := must(cmd.StdinPipe())(t)
		pipe := must(cmd.StdoutPipe())(t)
		ok(t, cmd.Start())
		line, err := bufio.NewReader(pipe).ReadString('\n')
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		return line, func() {
			_ = in.Close()
			_ = cmd.Wait()
		}
	}
	t.Run("CTL-1 the directory of another process is refused", func(t *testing.T) {
		line, end := start()
		defer end()
		if line != "ready\n" {
			t.Fatalf("the other process: %s", line)
		}
		c, err := libnetwork.New(d.options()...)
		if err == nil {
			c.Stop()
		}
		wantClass(t, err, "Forbidden")
	})
	t.Run("CTL-1 the refusal names the process that has the directory, which is free when that one stops", func(t *testing.T) {
		c := d.open(t)
		line, end := start()
		end()
		if line == "ready\n" || !strings.Contains(line, strconv.Itoa(os.Getpid())) {
			t.Errorf("the second process says %q, want an error that names process %d", line, os.Getpid())
		}
		c.Stop()
		line, end = start()
		end()
		if line != "ready\n" {
			t.Errorf("after Stop the directory is not free: %s", line)
		}
	})
}

func TestNetworkLookups(t *testing.T) {
	c := newController(t)
	a, b := newNetwork(t, c, "a"), newNetwork(t, c, "b")
	t.Run("CTL-4 all networks are listed, the oldest first", func(t *testing.T) {
		if got := c.Networks(); !slices.Equal(got, []libnetwork.Network{a, b}) {
			t.Errorf("networks are %v, want %v", got, []libnetwork.Network{a, b})
		}
	})
	t.Run("CTL-5 a network is found by its exact name; none is ErrNoSuchNetwork, and no name ErrInvalidName", func(t *testing.T) {
		if got := must(c.NetworkByName("b"))(t); got != b {
			t.Errorf("network is %v, want %v", got, b)
		}
		for _, name := range []string{"x", a.ID(), a.ID()[:12], "A", "a "} {
			n, err := c.NetworkByName(name)
			wantErr[libnetwork.ErrNoSuchNetwork](t, err, "NotFound")
			if n != nil {
				t.Errorf("network of name %q is %v, want nil", name, n)
			}
		}
		n, err := c.NetworkByName("")
		wantErr[libnetwork.ErrInvalidName](t, err, "BadRequest")
		if n != nil {
			t.Errorf("network without name is %v, want nil", n)
		}
	})
	t.Run("CTL-6 a network is found by its whole id, neither by a part of it nor by a name", func(t *testing.T) {
		if got := must(c.NetworkByID(b.ID()))(t); got != b {
			t.Errorf("network is %v, want %v", got, b)
		}
		for _, id := range []string{"x", "a", a.ID()[:12], a.ID()[:63], strings.ToUpper(a.ID())} {
			_, err := c.NetworkByID(id)
			wantErr[libnetwork.ErrNoSuchNetwork](t, err, "NotFound")
		}
		_, err := c.NetworkByID("")
		wantErr[libnetwork.ErrInvalidID](t, err, "BadRequest")
	})
}

func TestHandlesAreEqual(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web")
	ep := newEndpoint(t, n, "e")
	sb := newSandbox(t, c, "c1")
	check := func(t *testing.T) {
		t.Helper()
		var nets []libnetwork.Network
		c.WalkNetworks(func(n libnetwork.Network) bool { nets = append(nets, n); return false })
		nets = append(nets, append(c.Networks(), must(c.NetworkByName("web"))(t), must(c.NetworkByID(n.ID()))(t))...)
		for i, got := range nets {
			if got != n {
				t.Errorf("network of look-up %d differs", i)
			}
		}
		var eps []libnetwork.Endpoint
		n.WalkEndpoints(func(ep libnetwork.Endpoint) bool { eps = append(eps, ep); return false })
		eps = append(eps, append(n.Endpoints(), must(n.EndpointByName("e"))(t), must(n.EndpointByID(ep.ID()))(t))...)
		eps = append(eps, sb.Endpoints()...)
		for i, got := range eps {
			if got != ep {
				t.Errorf("endpoint of look-up %d differs", i)
			}
		}
		var sbs []libnetwork.Sandbox
		c.WalkSandboxes(func(sb libnetwork.Sandbox) bool { sbs = append(sbs, sb); return false })
		sbs = append(sbs, append(c.Sandboxes(), must(c.SandboxByID(sb.ID()))(t))...)
		if joined := ep.Info().Sandbox(); joined != nil {
			sbs = append(sbs, joined)
		}
		for i, got := range sbs {
			if got != sb {
				t.Errorf("sandbox of look-up %d differs", i)
			}
		}
	}
	t.Run("CTL-7 all values for one object are equal, however it was looked up", check)
	ok(t, ep.Join(sb))
	t.Run("CTL-7 all values for one object are equal while it is joined", check)
	ok(t, ep.Leave(sb))
	t.Run("CTL-7 all values for one object are equal after it has left", check)
}

func TestWalk(t *testing.T) {
	c := newController(t)
	for _, name := range []string{"a", "b", "c"} {
		n := newNetwork(t, c, name)
		newEndpoint(t, n, "e1")
		newEndpoint(t, n, "e2")
		newSandbox(t, c, name)
	}
	t.Run("CTL-8 a walk stops as soon as its walker says so", func(t *testing.T) {
		calls := 0
		c.WalkNetworks(func(n libnetwork.Network) bool {
			calls++
			return n.Name() == "b"
		})
		c.WalkSandboxes(func(sb libnetwork.Sandbox) bool {
			calls++
			return sb.ContainerID() == "b"
		})
		must(c.NetworkByName("a"))(t).WalkEndpoints(func(libnetwork.Endpoint) bool {
			calls++
			return true
		})
		if calls != 5 {
			t.Errorf("walkers were called %d times, want 2, 2 and 1", calls)
		}
	})
	t.Run("CTL-8 a walk goes over what there was at its start, and the walker may delete and create", func(t *testing.T) {
		seen := []string{}
		c.WalkSandboxes(func(sb libnetwork.Sandbox) bool {
			ok(t, sb.Delete())
			return false
		})
		c.WalkNetworks(func(n libnetwork.Network) bool {
			seen = append(seen, n.Name())
			n.WalkEndpoints(func(ep libnetwork.Endpoint) bool {
				ok(t, ep.Delete(false))
				return false
			})
			ok(t, n.Delete())
			newNetwork(t, c, n.Name()+"2")
			return false
		})
		diff(t, "walk is over a snapshot", []string{"a", "b", "c"}, seen)
		if left := len(c.Sandboxes()); left != 0 {
			t.Errorf("%d sandboxes are left", left)
		}
	})
}

func TestSandboxLookups(t *testing.T) {
	c := newController(t)
	a, b := newSandbox(t, c, "a"), newSandbox(t, c, "b")
	t.Run("CTL-9 a sandbox is found by its whole id, and all are listed, the oldest first", func(t *testing.T) {
		if got := must(c.SandboxByID(b.ID()))(t); got != b {
			t.Errorf("sandbox is %v, want %v", got, b)
		}
		_, err := c.SandboxByID("")
		wantErr[libnetwork.ErrInvalidID](t, err, "BadRequest")
		for _, id := range []string{"a", a.ID()[:12], "x"} {
			got, err := c.SandboxByID(id)
			wantClass(t, err, "NotFound")
			if got != nil {
				t.Errorf("sandbox is %v, want nil", got)
			}
		}
		if got := c.Sandboxes(); !slices.Equal(got, []libnetwork.Sandbox{a, b}) {
			t.Errorf("sandboxes are %v", got)
		}
	})
	t.Run("CTL-11 the ready-made walkers find a sandbox by container or key, and leave their result alone if there is none", func(t *testing.T) {
		var out libnetwork.Sandbox
		c.WalkSandboxes(libnetwork.SandboxContainerWalker(&out, "none"))
		c.WalkSandboxes(libnetwork.SandboxKeyWalker(&out, "none"))
		if out != nil {
			t.Errorf("found %v, want nothing", out)
		}
		c.WalkSandboxes(libnetwork.SandboxContainerWalker(&out, "b"))
		if out != b {
			t.Errorf("sandbox of container b is %v", out)
		}
		c.WalkSandboxes(libnetwork.SandboxKeyWalker(&out, a.Key()))
		if out != a {
			t.Errorf("sandbox of key %s is %v", a.Key(), out)
		}
	})
	t.Run("CTL-10 a sandbox is destroyed by its container's id, and that there is none is no error", func(t *testing.T) {
		ok(t, c.SandboxDestroy("none"))
		ok(t, c.SandboxDestroy(a.ID()))
		if len(c.Sandboxes()) != 2 {
			t.Error("the id of the sandbox was taken for one of a container")
		}
		ok(t, c.SandboxDestroy("a"))
		ok(t, c.SandboxDestroy("a"))
		if got := c.Sandboxes(); !slices.Equal(got, []libnetwork.Sandbox{b}) {
			t.Errorf("sandboxes are %v", got)
		}
	})
}

func TestStop(t *testing.T) {
	d := newDirs(t)
	t.Run("CTL-12 Stop ends all goroutines, leaves networks and sandboxes in the kernel, and can be repeated", func(t *testing.T) {
		// The check for leaks of newDirs would find this test's own things.
		c := d.open(t)
		n := newNetwork(t, c, "web")
		sb := attach(t, c, "c1", n)
		ns := inside(t, sb)
		c.Stop()
		c.Stop()
		diff(t, "links inside", []string{"eth0"}, linkNames(t, ns))
		nstest.Threads(t)
		for what, err := range map[string]error{
			"NewNetwork":     second(c.NewNetwork("bridge", "late")),
			"NewSandbox":     second(c.NewSandbox("late")),
			"CreateEndpoint": second(n.CreateEndpoint("late")),
			"Delete":         sb.Delete(),
			"Statistics":     second(sb.Statistics()),
		} {
			if err == nil {
				t.Errorf("%s after Stop: no error", what)
			} else if got := classesOf(err, false); len(got) != 1 {
				t.Errorf("%s after Stop: error %q is of the classes %v, want one", what, err, got)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestNewStart(t *testing.T) {
	d := newDirs(t)
	c := d.open(t)
	n := newNetwork(t, c, "web", append(dual("10.20.0.0/24", "fd00:20::/64"), libnetwork.NetworkOptionLabels(map[string]string{"a": "b"}))...)
	gone := newNetwork(t, c, "transient", libnetwork.NetworkOptionPersist(false))
	ep := newEndpoint(t, n, "e1")
	attach(t, c, "c1", n, gone)
	v4, v6 := ep.Info().Iface().Address(), ep.Info().Iface().AddressIPv6()
	id, driverOpts := n.ID(), n.Info().DriverOptions()
	conf4, _ := n.Info().IpamInfo()
	c.Stop()

	c = d.open(t)
	t.Run("CLN-1 the sandboxes of an earlier process are removed, with namespaces and files", func(t *testing.T) {
		if got := c.Sandboxes(); len(got) != 0 {
			t.Errorf("sandboxes are %v", got)
		}
		d.empty(t)
	})
	t.Run("CLN-4 a network is there after a new start, as it was, and can be deleted", func(t *testing.T) {
		n := must(c.NetworkByName("web"))(t)
		if n.ID() != id {
			t.Errorf("id is %s, was %s", n.ID(), id)
		}
		now, _ := n.Info().IpamInfo()
		t.Run("PER-1 subnets, driver options, labels and IPv6 of a network are read back", func(t *testing.T) {
			diff(t, "addresses", conf4, now)
			diff(t, "driver options", driverOpts, n.Info().DriverOptions())
			diff(t, "labels", map[string]string{"a": "b"}, n.Info().Labels())
			if !n.Info().IPv6Enabled() {
				t.Error("IPv6 is not enabled any more")
			}
		})
		t.Run("CLN-2 the endpoints of an earlier process are gone, and their names and addresses free", func(t *testing.T) {
			if eps := n.Endpoints(); len(eps) != 0 {
				t.Errorf("endpoints are %v", eps)
			}
			ep := newEndpoint(t, n, "e1", libnetwork.CreateOptionIpam(v4.IP, v6.IP, nil))
			diff(t, "address", v4.String(), ep.Info().Iface().Address().String())
			sb := newSandbox(t, c, "c1")
			ok(t, ep.Join(sb))
			ok(t, sb.Delete())
		})
		ok(t, n.Delete())
	})
	t.Run("PER-3 a network that is not to persist is gone with its endpoints after a new start", func(t *testing.T) {
		_, err := c.NetworkByName("transient")
		wantErr[libnetwork.ErrNoSuchNetwork](t, err, "NotFound")
	})
}

func TestKilled(t *testing.T) {
	d := newDirs(t)
	// What a process that is killed leaves: a sandbox, which a controller that is
	// stopped leaves as well, and files and namespaces without a record.
	c := d.open(t)
	n := newNetwork(t, c, "web")
	attach(t, c, "c1", n)
	c.Stop()
	stray := strings.Repeat("ab", 32)
	dir := filepath.Join(d.data, "network", "files", stray)
	ok(t, os.MkdirAll(dir, 0o755))
	ok(t, os.WriteFile(filepath.Join(dir, "hosts"), nil, 0o644))
	ok(t, os.WriteFile(filepath.Join(d.run, "netns", stray[:12]), nil, 0o644))
	c = d.open(t)
	t.Run("CLN-6 namespaces and files without a record are removed by a start", func(t *testing.T) { d.empty(t) })
	t.Run("CLN-6 the network of a process that was killed works", func(t *testing.T) {
		n := must(c.NetworkByName("web"))(t)
		sb := attach(t, c, "c1", n)
		diff(t, "links inside", []string{"eth0"}, linkNames(t, inside(t, sb)))
		ok(t, sb.Delete())
	})
}

func TestDamagedStore(t *testing.T) {
	d := newDirs(t)
	c := d.open(t)
	newNetwork(t, c, "web")
	c.Stop()
	file := filepath.Join(d.data, "libnetwork.db")
	read(t, file)
	ok(t, os.WriteFile(file, []byte("damaged"), 0o600))
	t.Run("CLN-5 a damaged file keeps nobody from starting, and loses nothing that its copy has", func(t *testing.T) {
		c := d.open(t)
		n, err := c.NetworkByName("web")
		if err != nil {
			t.Fatalf("the network is lost, though its other copy is whole: %v", err)
		}
		newEndpoint(t, n, "e")
	})
}

func TestUnknownStore(t *testing.T) {
	t.Run("DS-1 a controller with an unknown store is refused, and the known one named", func(t *testing.T) {
		c, err := libnetwork.New(config.OptionDataDir(t.TempDir()), config.OptionLocalKVProvider("punchcards"), config.OptionLocalKVProviderURL("drawer 7"))
		wantClass(t, err, "BadRequest")
		if c != nil || err == nil || !strings.Contains(err.Error(), "punchcards") || !strings.Contains(err.Error(), "boltdb") {
			t.Errorf("got %v, %v", c, err)
		}
	})
}

func TestReloadRefuses(t *testing.T) {
	d := newDirs(t)
	c := d.open(t)
	t.Run("DS-7 a reload cannot change the store of a scope", func(t *testing.T) {
		wantClass(t, c.ReloadConfiguration(d.options(config.OptionLocalKVProviderURL("/x"))...), "Forbidden")
	})
	t.Run("CTL-16 a configuration with the same stores changes nothing", func(t *testing.T) {
		before := c.Config()
		ok(t, c.ReloadConfiguration(d.options(config.OptionLabels([]string{"com.docker.network.x=y"}), config.OptionDefaultDriver("other"))...))
		diff(t, "configuration", before, c.Config(), cmpopts.IgnoreUnexported(config.Config{}))
	})
	t.Run("CTL-16 another provider of a store is Forbidden", func(t *testing.T) {
		wantClass(t, c.ReloadConfiguration(d.options(config.OptionLocalKVProvider("other"), config.OptionLocalKVProviderURL(c.Config().Scopes["local"].Client.Address))...), "Forbidden")
	})
	t.Run("CTL-16 another address of a store is Forbidden", func(t *testing.T) {
		wantClass(t, c.ReloadConfiguration(d.options(config.OptionLocalKVProviderURL("/x"))...), "Forbidden")
	})
}
