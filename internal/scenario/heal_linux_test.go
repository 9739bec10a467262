package scenario_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/engine"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/metrics"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// listings are the programs that show the rules of each backend.
var listings = map[kernel.Backend][][]string{
	kernel.NFTables:       {{"sh", "-c", "nft -s list table ip $TABLE"}, {"sh", "-c", "nft -s list table ip6 $TABLE"}},
	kernel.IPTablesNFT:    {{"iptables-nft-save"}, {"ip6tables-nft-save"}},
	kernel.IPTablesLegacy: {{"iptables-legacy-save"}, {"ip6tables-legacy-save"}},
}

// legacyToo is what the programs of one variant say of the other, amid the lines of
// their output.
var legacyToo = regexp.MustCompile(`# Warning: \S+ tables present, use \S+ to see them\n`)

// allRules are the lines of all rules of the host, sorted: the order of tables is
// that of their making.
func allRules(t *testing.T, backend kernel.Backend) string {
	t.Helper()
	var lines []string
	for _, args := range listings[backend] {
		out, err := run(args...)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(steady(legacyToo.ReplaceAllString(out, ""))) {
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ":") {
				lines = append(lines, line)
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// portSetting finds the settings of a port of a bridge that are ours.
var portSetting = regexp.MustCompile(`(hairpin|isolated) (on|off)`)

// hostLinks are the host's links with their state, addresses and settings as ports,
// without what the kernel chooses.
func hostLinks(t *testing.T) string {
	t.Helper()
	out, err := run("ip", "-br", "addr")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		f[0], _, _ = strings.Cut(f[0], "@")
		if strings.HasPrefix(f[0], "veth") {
			f = f[:2]
			port, err := run("bridge", "-d", "link", "show", "dev", f[0])
			if err != nil {
				t.Fatal(err)
			}
			_, master, _ := strings.Cut(port, "master ")
			master, _, _ = strings.Cut(master, " ")
			f = append(append(f, master), portSetting.FindAllString(port, -1)...)
		}
		slices.Sort(f[2:])
		lines = append(lines, strings.Join(f, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestHeal has somebody else change what is ours, with each backend of the
// firewall: it is put back, and said.
func TestHeal(t *testing.T) {
	for _, tt := range []struct {
		backend  kernel.Backend
		needs    []nstest.Feature
		tampered [][]string
	}{
		{kernel.NFTables, []nstest.Feature{nstest.NFTables}, [][]string{
			{"nft", "flush ruleset"},
			{"sh", "-c", "nft flush table ip $TABLE"},
			{"sh", "-c", "nft delete table ip6 $TABLE"},
		}},
		{kernel.IPTablesNFT, []nstest.Feature{nstest.NFTables}, [][]string{
			{"nft", "flush ruleset"},
			{"iptables-nft", "-F", "FORWARD"},
			{"iptables-nft", "-t", "nat", "-F"},
		}},
		{kernel.IPTablesLegacy, nil, [][]string{
			{"iptables-legacy", "-F", "FORWARD"},
			{"iptables-legacy", "-t", "nat", "-F"},
		}},
	} {
		t.Run(string(tt.backend), func(t *testing.T) {
			nstest.Require(t, append(tt.needs, nstest.Bridge, nstest.Veth)...)
			nstest.Leaks(t)
			if err := standardTables(); err != nil {
				t.Fatal(err)
			}
			healed(t, tt.backend, tt.tampered)
			// The whole ruleset was flushed.
			if err := standardTables(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func healed(t *testing.T, backend kernel.Backend, tampered [][]string) {
	t.Helper()
	dir := t.TempDir()
	runDir, err := os.MkdirTemp("/run", "t") //nolint:usetesting // short
	if err != nil {
		t.Fatal(err)
	}
	e, release, err := assemble.Open(context.Background(), assemble.Options{
		DataDir: filepath.Join(dir, "d"), RunDir: runDir, KeepAlive: true, SmallPools: true, Firewall: backend, NoTableOwner: true,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TABLE", kernel.Table(filepath.Join(dir, "d")))
	n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: "bridge", Name: "web", IPv6: true, Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"},
		IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.5.0.0/24"}}, Conf6: []model.IPAMConf{{Pool: "fd00:5::/64"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.CreateContainer(t.Context(), engine.SandboxRequest{
		ContainerID: "c1", Publish: []model.Publish{{Proto: 6, First: 8080, Last: 8080, Port: 80, PortLast: 80}},
	}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: "c1"}}})
	if err != nil {
		t.Fatal(err)
	}
	bridge := n.Record().Bridge.Link
	veth := s.View().Attached[0].Endpoint.Attached.Host
	wantRules, wantLinks := allRules(t, backend), hostLinks(t)
	_, events, cancel := engine.Subscribe(e, time.Time{}, func(ev engine.Event) engine.Event { return ev })
	defer cancel()

	shown := metrics.New(e, "test", slog.New(slog.DiscardHandler))
	tamper := func(kind string, args ...string) {
		t.Helper()
		counted := "firewall"
		if kind != "firewall" {
			counted = "link"
		}
		before := repairs(t, shown, counted)
		begun := time.Now()
		if out, err := run(args...); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		for ev := range events {
			if ev.Action == "repair" && ev.Type == kind {
				break
			}
		}
		if after := repairs(t, shown, counted); after <= before {
			t.Errorf("after %v the metric of repairs, kind %s, is %v, and was %v before", args, counted, after, before)
		}
		t.Logf("%s: told of the repair after %v", strings.Join(args, " "), time.Since(begun).Round(time.Millisecond))
		// A repair of several things tells of each.
		eventually(t, "the rules are not as before", func() bool { return allRules(t, backend) == wantRules })
		eventually(t, "the links are not as before", func() bool { return hostLinks(t) == wantLinks })
		if out, err := run("nsenter", "--net="+s.Record().Key, "ping", "-c1", "-W5", n.Record().Bridge.Gateway4.String()); err != nil {
			t.Errorf("after %v the container does not reach its gateway: %s", args, out)
		}
	}
	for _, args := range tampered {
		tamper("firewall", args...)
	}
	healedBesideChanges(t, e, n, backend, tampered, wantRules)
	tamper("network", "ip", "addr", "flush", "dev", bridge)
	tamper("network", "ip", "link", "set", bridge, "down")
	tamper("sandbox", "ip", "link", "set", veth, "nomaster")
	tamper("sandbox", "ip", "link", "del", veth)
	tamper("network", "ip", "link", "del", bridge)
	if t.Failed() {
		t.Logf("(-want +got):\n%s\n%s", cmp.Diff(wantRules, allRules(t, backend)), cmp.Diff(wantLinks, hostLinks(t)))
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if err := n.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if err := errors.Join(release(), netns.RemoveDir(nil, filepath.Join(runDir, "netns")), os.RemoveAll(runDir)); err != nil {
		t.Error(err)
	}
}

// repairs is what the metric of repairs says of a kind.
func repairs(t *testing.T, m *metrics.Metrics, kind string) float64 {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, v := range f.GetMetric() {
			if f.GetName() == "dnet_repairs_total" && v.GetLabel()[0].GetValue() == kind {
				return v.GetCounter().GetValue()
			}
		}
	}
	t.Fatal("there is no metric of repairs of kind ", kind)
	return 0
}

// healedBesideChanges has somebody else change rules while we change them ourselves.
func healedBesideChanges(
	t *testing.T, e *engine.Engine, n *engine.Network, backend kernel.Backend, tampered [][]string, wantRules string,
) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10 {
			s, err := e.CreateContainer(t.Context(), engine.SandboxRequest{
				ContainerID: "c2", Publish: []model.Publish{{Proto: 6, First: 8081, Last: 8081, Port: 80, PortLast: 80}},
			}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: "c2"}}})
			if err == nil {
				err = s.Delete(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		}
	}()
	for range 3 {
		for _, args := range tampered {
			_, _ = run(args...) // it fails where another one has just taken all away
		}
	}
	<-done
	eventually(t, "the rules are not as before", func() bool { return allRules(t, backend) == wantRules })
}

// eventually waits for what comes about by itself.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Error(what)
			return
		}
	}
}
