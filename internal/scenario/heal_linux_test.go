package scenario_test

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
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
)

// listings are the programs that show the rules of each backend.
var listings = map[kernel.Backend][][]string{
	kernel.NFTables: {
		{"sh", "-c", "nft -s list table ip $TABLE"},
		{"sh", "-c", "nft -s list table ip6 $TABLE"},
		{"iptables-nft-save"},
		{"ip6tables-nft-save"}, // DOCKER-USER
	},
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
	rules, err := listRules(backend)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// listRules fails where there is no table of ours.
func listRules(backend kernel.Backend) (string, error) { return linesOf(listings[backend]) }

// linesOf are the lines of rules that programs show, sorted.
func linesOf(programs [][]string) (string, error) {
	var lines []string
	for _, args := range programs {
		out, err := run(args...)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(steady(legacyToo.ReplaceAllString(out, ""))) {
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ":") {
				lines = append(lines, line)
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, ""), nil
}

// portSetting finds the settings of a port of a bridge that are ours.
var portSetting = regexp.MustCompile(`(hairpin|isolated) (on|off)`)

// hostLinks are the host's links with their state, addresses and settings as ports,
// without what the kernel chooses.
func hostLinks(t *testing.T) string {
	t.Helper()
	links, err := listLinks()
	if err != nil {
		t.Fatal(err)
	}
	return links
}

// listLinks fails where a link goes away meanwhile.
func listLinks() (string, error) {
	out, err := run("ip", "-br", "addr")
	if err != nil {
		return "", err
	}
	var lines []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		f[0], _, _ = strings.Cut(f[0], "@")
		if strings.HasPrefix(f[0], "veth") {
			f = f[:2]
			port, err := run("bridge", "-d", "link", "show", "dev", f[0])
			if err != nil {
				return "", err
			}
			_, master, _ := strings.Cut(port, "master ")
			master, _, _ = strings.Cut(master, " ")
			f = append(append(f, master), portSetting.FindAllString(port, -1)...)
		}
		slices.Sort(f[2:])
		lines = append(lines, strings.Join(f, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}

// older saves the tables of iptables as they are, and returns what makes them that
// again, as a reload of somebody's own rules does.
func older(t *testing.T, kind string) (restore string) {
	t.Helper()
	dir := t.TempDir()
	var steps []string
	for _, prog := range []string{"iptables-" + kind, "ip6tables-" + kind} {
		out, err := exec.CommandContext(t.Context(), prog+"-save").Output()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, prog)
		if err := os.WriteFile(path, out, 0o600); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, prog+"-restore -w < '"+path+"'")
	}
	return strings.Join(steps, " && ")
}

// refills is what users do with DOCKER-USER, which is theirs: our rule there comes back, and
// nobody has damaged anything.
func refills(t *testing.T, on backend) []string {
	t.Helper()
	if on != nftables+"+docker" {
		return nil
	}
	empty := "iptables-nft -w -F DOCKER-USER && iptables-nft -w -A DOCKER-USER -j RETURN"
	return []string{older(t, "nft"), empty + " && " + strings.ReplaceAll(empty, "iptables", "ip6tables")}
}

// tampering is what others do to our rules, as commands of a shell. Afterwards Docker's
// are there again.
func tampering(t *testing.T, on backend) []string {
	t.Helper()
	docker := on != on.alone()
	if on.alone() == nftables {
		return []string{"nft flush ruleset; " + older(t, "nft"), "nft flush table ip $TABLE", "nft delete table ip6 $TABLE"}
	}
	four := string(on.alone())
	kind := strings.TrimPrefix(four, "iptables-")
	six, restore := "ip6tables-"+kind, older(t, kind)
	list := []string{restore, four + " -w -t nat -F", six + " -w -F $CHAINS-FORWARD"}
	if docker {
		list = append(list, four+" -w -F FORWARD && "+four+" -w -A FORWARD -j DOCKER-USER")
	} else {
		list = append(list, four+" -w -F FORWARD", six+" -w -F && "+six+" -w -X")
	}
	if on.alone() == iptablesNFT {
		list = append(list, "nft flush ruleset; "+restore)
	}
	return list
}

// How soon what somebody else has done is put right: where the kernel tells of it, and
// where it is looked for every two seconds, as with iptables-legacy, which tells nobody.
const (
	soon = 200 * time.Millisecond
	poll = 2 * time.Second
)

// inTime checks how long repairs took: each at most [patience], which ends the test, and
// most of them no longer than they may. The machine may be slow now and then.
func inTime(t *testing.T, what string, took []time.Duration, limit time.Duration) {
	t.Helper()
	slices.Sort(took)
	if median := took[len(took)/2]; median >= limit {
		t.Fatalf("repairs of %s took %v, want most of them below %v", what, took, limit)
	}
}

// TestHeal has somebody else change what is ours, while we run and while nobody of us
// does: it is put back, and said by who runs.
func TestHeal(t *testing.T) {
	onEachBesideDocker(t, "case 44 what somebody else takes away is put back", testHeal)
}

func testHeal(t *testing.T, on backend) {
	h := bareHost(t, on.option())
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	tampered, refilled, rules := tampering(t, on), refills(t, on), kernel.Backend(on.alone())
	t.Setenv("TABLE", kernel.Table(h.data))
	t.Setenv("CHAINS", strings.ToUpper(kernel.Table(h.data)))
	e := h.engine(assemble.Options{Firewall: rules, NoTableOwner: true})
	n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: "bridge", Name: "web", IPv6: true, Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"},
		IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.99.1.0/24"}}, Conf6: []model.IPAMConf{{Pool: "fd99:0:0:1::/64"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := h.wide(e, n, "c1", []uint16{port}, model.Publish{Proto: 6, First: 7001, Last: 7001, Port: port, PortLast: port})
	served := fmt.Sprint("c1:", port)
	bridge := n.Record().Bridge.Link
	veth := s.View().Attached[0].Endpoint.Attached.Host
	wantRules, wantLinks := allRules(t, rules), hostLinks(t)
	whole := func(after string) {
		t.Helper()
		// A repair of several things tells of each.
		eventually(t, "the rules are not as before", func() bool { got, err := listRules(rules); return err == nil && got == wantRules })
		eventually(t, "the links are not as before", func() bool { got, err := listLinks(); return err == nil && got == wantLinks })
		h.visitBy([]string{"tcp"}, visit{"lan", h.lan, at(hostV4, 7001), served, lanV4}, visit{"lan", h.lan, at(hostV6, 7001), served, lanV6})
		if t.Failed() {
			t.Fatalf("after %s (-want +got):\n%s\n%s", after, cmp.Diff(wantRules, allRules(t, rules)), cmp.Diff(wantLinks, hostLinks(t)))
		}
	}
	whole("the start")
	links := []struct{ kind, command string }{
		{"network", "ip addr flush dev " + bridge},
		{"network", "ip link set " + bridge + " down"},
		{"sandbox", "ip link set " + veth + " nomaster"},
		{"sandbox", "bridge link set dev " + veth + " isolated off"},
		{"sandbox", "bridge link set dev " + veth + " hairpin off"},
		{"sandbox", "ip link del " + veth},
		{"network", "ip link del " + bridge},
		{"network", "ip link set " + bridge + " name brother"},
		{"sandbox", "ip link set " + veth + " name cousin"},
		{"sandbox", "ip link set " + bridge + " name brother; ip link add " + bridge + " type bridge; sleep 0.2; ip link del " + bridge},
	}

	_, events, cancel := engine.Subscribe(e.Engine, time.Time{}, func(ev engine.Event) engine.Event { return ev })
	shown := metrics.New(e.Engine, "test", slog.New(slog.DiscardHandler))
	took := make(map[string][]time.Duration) // by what is counted
	tamper := func(kind, command string) {
		t.Helper()
		counted := "firewall"
		if kind != "firewall" {
			counted = "link"
		}
		before := repairs(t, shown, counted)
		h.sh("sh", "-c", command)
		begun := time.Now()
		late := time.After(patience)
		for told := false; !told; {
			select {
			case ev := <-events:
				// That of an earlier command, which took several repairs, may come late.
				told = ev.Action == "repair" && ev.Type == kind && repairs(t, shown, counted) > before
			case <-late:
				t.Fatalf("no event tells of the repair after %s, or none is counted (-want +got):\n%s", command, cmp.Diff(wantRules, allRules(t, rules)))
			}
		}
		took[counted] = append(took[counted], time.Since(begun).Round(time.Millisecond))
		whole(command)
	}
	if on.alone() != iptablesLegacy {
		tampered = append(tampered, slices.Repeat(tampered[1:2], 10)...) // no pauses after so few
	}
	for _, command := range tampered {
		tamper("firewall", command)
	}
	for _, command := range refilled {
		before := repairs(t, shown, "firewall")
		h.sh("sh", "-c", command)
		whole(command)
		if got := repairs(t, shown, "firewall"); got != before {
			t.Errorf("%g repairs are counted after %s", got-before, command)
		}
	}
	limit := soon
	if rules == kernel.IPTablesLegacy {
		limit += poll
	}
	inTime(t, "rules", took["firewall"], limit)
	healedBesideChanges(t, e, n, tampered)
	whole("changes of rules beside our own")
	for _, l := range links {
		tamper(l.kind, l.command)
	}
	inTime(t, "links", took["link"], soon)
	cancel()

	dead := func(kind, command string) {
		t.Helper()
		e.close()
		h.sh("sh", "-c", command)
		begun := time.Now()
		e.open()
		whole(command + ", while nobody was there")
		told, _, cancel := engine.Subscribe(e.Engine, begun, func(ev engine.Event) string { return ev.Action + " " + ev.Type })
		cancel()
		counted := e.Repairs()
		want := map[string]uint64{"firewall": 0, "link": uint64(len(told)), "forwarding": 0}
		switch kind {
		case "":
			want["link"] = 0
		case "firewall":
			want["firewall"], want["link"] = 1, 0
		}
		if !maps.Equal(counted, want) || kind != "" && !slices.Contains(told, "repair "+kind) {
			t.Errorf("a start after %s tells of %v and counts %v, want %v", command, told, counted, want)
		}
	}
	dead("", "true")
	for _, command := range tampered {
		dead("firewall", command)
	}
	for _, l := range links {
		if strings.HasSuffix(l.command, "ip link del "+bridge) {
			l.kind = "network" // its ports are where they were
		}
		dead(l.kind, l.command)
	}
	dead("sandbox", "ip link set "+veth+" netns "+h.lan.Path())
	dead("", "true")
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
func healedBesideChanges(t *testing.T, e *hostEngine, n *engine.Network, tampered []string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 10 {
			s, err := e.CreateContainer(t.Context(), engine.SandboxRequest{
				ContainerID: "c2", Publish: []model.Publish{{Proto: 6, First: 7002, Last: 7002, Port: port, PortLast: port}},
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
		for _, command := range tampered {
			_, _ = run("sh", "-c", command) // it fails where another one has just taken all away
		}
	}
	<-done
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

// TestHealRoutes has somebody else take the routes to a network away, and forwarding on its
// bridge.
func TestHealRoutes(t *testing.T) {
	h := newHost(t)
	c := h.container("c1", both(nil, 7001, 0), h.network(1))
	routes := func() string { return h.sh("sh", "-c", "ip route show dev br1; ip -6 route show dev br1") }
	want := routes()
	const command = "ip route del 10.99.1.0/24 dev br1; ip -6 route del fd99:0:0:1::/64 dev br1"
	check := func(when string) {
		t.Helper()
		eventually(t, "the routes are not as before", func() bool { return routes() == want })
		h.visit(visit{"lan", h.lan, at(hostV4, 7001), c.name, lanV4}, visit{"lan", h.lan, at(hostV6, 7001), c.name, lanV6})
		if t.Failed() {
			t.Fatalf("%s (-want +got):\n%s", when, cmp.Diff(want, routes()))
		}
	}
	check("at first")
	h.sh("sh", "-c", command)
	check("after both have gone")
	const own = "ip route show table local dev br1 10.99.1.1; ip -6 route show table local dev br1 fd99:0:0:1::1"
	locals := func() string { return h.sh("sh", "-c", own) }
	before := locals()
	h.sh("sh", "-e", "-c", "ip route del local 10.99.1.1 dev br1 table local; ip -6 route del local fd99:0:0:1::1 dev br1 table local")
	eventually(t, "its addresses are the host's own again", func() bool { return locals() == before })
	check("after its addresses were not the host's own any more")
	for _, family := range []string{"ipv4", "ipv6"} {
		setting := "/proc/sys/net/" + family + "/conf/br1/forwarding"
		h.sh("sh", "-c", "echo 0 > "+setting)
		eventually(t, setting+" is off", func() bool { return h.sh("cat", setting) == "1\n" })
	}
	check("after its bridge has forwarded nothing")
	// Another link takes its subnet over, and goes: nobody says so.
	h.sh("sh", "-c", "ip link add tun1 type bridge; ip link set tun1 up; ip route replace 10.99.1.0/24 dev tun1")
	time.Sleep(impatience)
	if got := routes(); strings.Contains(got, "10.99.1.0/24") {
		t.Errorf("a route of somebody else has been replaced:\n%s", got)
	}
	h.sh("ip", "link", "del", "tun1")
	for late := time.Now().Add(15 * time.Second); routes() != want && time.Now().Before(late); {
		time.Sleep(impatience)
	}
	check("after that of somebody else has gone")
	h.remove(c)
	want = routes()
	h.ctl.Stop()
	h.sh("sh", "-c", command)
	h.start()
	if diff := cmp.Diff(want, routes()); diff != "" {
		t.Errorf("after they have gone while nobody was there (-want +got):\n%s", diff)
	}
}

// TestHealMoved has somebody else move the host's end of a container's link to another
// namespace: the pair is made again, and no end of the old one is left.
func TestHealMoved(t *testing.T) {
	h := newHost(t)
	c := h.container("c1", both(nil, 7001, 0), h.network(1))
	lans := func() string { return h.in(h.lan.Path(), "ip", "-br", "link") }
	links, inside, lan := hostLinks(t), h.in(c.sb.Key(), "ip", "-br", "addr"), lans()
	names := regexp.MustCompile(`@if\d+ *`)
	check := func(when string) {
		t.Helper()
		eventually(t, "the links are not as before "+when, func() bool { got, err := listLinks(); return err == nil && got == links })
		for what, got := range map[string][2]string{"the container": {inside, h.in(c.sb.Key(), "ip", "-br", "addr")}, "the other namespace": {lan, lans()}} {
			if diff := cmp.Diff(names.ReplaceAllString(got[0], " "), names.ReplaceAllString(got[1], " ")); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", what, when, diff)
			}
		}
		h.visit(visit{"lan", h.lan, at(hostV4, 7001), c.name, lanV4}, visit{"lan", h.lan, at(hostV6, 7001), c.name, lanV6})
	}
	check("at first")
	veth, _, _ := strings.Cut(strings.Fields(h.sh("ip", "-o", "link", "show", "master", "br1"))[1], "@")
	h.sh("ip", "link", "set", veth, "netns", h.lan.Path())
	check("after the move")
}

// TestHealOutsideOnly has a container change what it has inside: that is its business,
// also when its link and its bridge are put right on the host.
func TestHealOutsideOnly(t *testing.T) {
	h := newHost(t)
	c := h.container("c1", nil, h.network(1))
	links := hostLinks(t)
	veth, _, _ := strings.Cut(strings.Fields(h.sh("ip", "-o", "link", "show", "master", "br1"))[1], "@")
	inside := func() string {
		const list = "ip -br addr; ip -4 route; ip -6 route; ip link show eth0; ip rule; nft -s list ruleset"
		return h.in(c.sb.Key(), "sh", "-c", list)
	}
	before := inside()
	h.in(c.sb.Key(), "sh", "-c", "ip addr del "+c.v4.String()+"/24 dev eth0; ip addr del "+c.v6.String()+"/64 dev eth0; ip -6 route del default; "+
		"ip link set eth0 mtu 1300; ip rule add to 192.0.2.77 lookup 77; nft flush ruleset; nft add table inet theirs")
	want := inside()
	if want == before || strings.Contains(want, "default via") || !strings.Contains(want, "theirs") {
		t.Fatalf("the container has changed nothing:\n%s", want)
	}
	// What a repair has done inside is seen at the end of the next one.
	for _, command := range []string{"ip link set " + veth + " nomaster", "ip addr flush dev br1", "ip link set " + veth + " down", "ip link set br1 down"} {
		h.sh("sh", "-c", command)
		eventually(t, "the host is not as before after "+command, func() bool { got, err := listLinks(); return err == nil && got == links })
		eventually(t, "the inside is not as the container has left it after "+command, func() bool { return inside() == want })
	}
	if t.Failed() {
		t.Errorf("(-want +got):\n%s\n%s", cmp.Diff(links, hostLinks(t)), cmp.Diff(want, inside()))
	}
}
