package scenario_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/firewalld"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// program is a program of the host that runs until it is stopped.
type program struct {
	t   *testing.T
	cmd *exec.Cmd
	end chan error
}

func begin(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: cmd, end: make(chan error, 1)}
	go func() { p.end <- cmd.Wait() }()
	t.Cleanup(p.stop)
	return p
}

// stop ends the program, and waits for its end.
func (p *program) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.end:
	case <-time.After(30 * time.Second):
		p.t.Errorf("%s does not end", p.cmd.Path)
		_ = p.cmd.Process.Kill()
		<-p.end
	}
	p.cmd = nil
}

// A wall is the real firewalld on a system bus of the test's own, with its own
// configuration.
type wall struct {
	h     *host
	etc   string
	fw    *program
	bus   *program
	c     *firewalld.Client
	heard chan heard
	zone  firewalld.Zone
}

// heard is a signal of firewalld, with the time when it came.
type heard struct {
	what firewalld.Signal
	at   time.Time
}

// signals forgets those that have come.
func (w *wall) signals() {
	for len(w.heard) > 0 {
		<-w.heard
	}
}

// systemBus starts the host's bus.
func (h *host) systemBus(t *testing.T) *program {
	t.Helper()
	_ = os.Remove("/run/dbus/system_bus_socket")
	if err := os.MkdirAll("/run/dbus", 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dbus-daemon", "--system", "--nofork", "--nopidfile", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := begin(t, cmd)
	t.Cleanup(func() { _ = os.RemoveAll("/run/dbus") })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the bus says %q: %v", line, err)
	}
	return p
}

// newWall starts a bus, and on it firewalld with one of its own backends.
func (h *host) newWall(t *testing.T, backend string) *wall {
	t.Helper()
	nstest.Require(t, nstest.Firewalld)
	w := &wall{h: h, etc: t.TempDir(), heard: make(chan heard, 100), zone: kernel.Zone(h.data)}
	conf := "DefaultZone=public\nCleanupOnExit=yes\nFirewallBackend=" + backend + "\n"
	if err := os.WriteFile(filepath.Join(w.etc, "firewalld.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	w.begin()
	return w
}

// begin starts the bus, and firewalld on it.
func (w *wall) begin() {
	w.h.t.Helper()
	w.bus = w.h.systemBus(w.h.t)
	var err error
	if w.c, err = firewalld.Dial(context.Background(), func(s firewalld.Signal) { w.heard <- heard{s, time.Now()} }); err != nil {
		w.h.t.Fatal(err)
	}
	w.h.t.Cleanup(func() { _ = w.c.Close() })
	w.start()
}

// end ends both.
func (w *wall) end() {
	w.fw.stop()
	_ = w.c.Close()
	w.bus.stop()
}

// start starts firewalld, by a program if one is given, and waits until it answers.
func (w *wall) start(by ...string) {
	w.h.t.Helper()
	args := append(by, "firewalld", "--nofork", "--nopid", "--system-config", w.etc, "--log-file", filepath.Join(w.h.t.TempDir(), "log"))
	w.fw = begin(w.h.t, exec.Command(args[0], args[1:]...))
	eventually(w.h.t, "firewalld does not come up", func() bool {
		pid, err := w.c.Process(context.Background())
		if err != nil || pid == 0 {
			return false
		}
		_, err = w.c.Members(context.Background(), "public")
		return err == nil
	})
}

// cmd is what an administrator types.
func (w *wall) cmd(args ...string) string {
	w.h.t.Helper()
	return w.h.sh(append([]string{"firewall-cmd"}, args...)...)
}

// members are the interfaces in our zone.
func (w *wall) members() []string {
	w.h.t.Helper()
	list, err := w.c.Members(context.Background(), w.zone.Name)
	if err != nil {
		w.h.t.Error(err)
	}
	slices.Sort(list)
	return list
}

// has waits until exactly these bridges are in our zone.
func (w *wall) has(bridges ...string) {
	w.h.t.Helper()
	var got []string
	eventually(w.h.t, "the zone is not what it shall be", func() bool {
		got = w.members()
		return slices.Equal(got, bridges)
	})
	if !slices.Equal(got, bridges) {
		w.h.t.Errorf("zone %s has %v, want %v", w.zone.Name, got, bridges)
	}
}

// permanent are the files of the permanent configuration, without those that
// firewalld itself has put aside.
func (w *wall) permanent() []string {
	w.h.t.Helper()
	var files []string
	err := filepath.WalkDir(w.etc, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasSuffix(path, ".old") {
			rel, _ := filepath.Rel(w.etc, path)
			files = append(files, rel)
		}
		return err
	})
	if err != nil {
		w.h.t.Fatal(err)
	}
	return files
}

// rules are all rules of the host, of whatever kind.
func (h *host) rules() string {
	h.t.Helper()
	out := h.sh("nft", "list", "ruleset")
	for _, prog := range []string{"iptables-legacy-save", "ip6tables-legacy-save"} {
		more, err := run(prog)
		if err != nil && !errors.Is(err, exec.ErrNotFound) {
			h.t.Fatal(err)
		}
		out += more
	}
	return out
}

// ours are the rules of the host that are ours, without their order, as soon as two
// listings say the same: one that is made amid a change may be torn.
func (h *host) ours(on backend) string {
	h.t.Helper()
	h.t.Setenv("TABLE", kernel.Table(h.data))
	programs := listings[kernel.Backend(on)]
	if on == nftables {
		programs = programs[:2] // those of our own tables
	}
	all := ""
	eventually(h.t, "the rules do not come to rest", func() bool {
		before := all
		var err error
		if all, err = linesOf(programs); err != nil {
			h.t.Fatal(err)
		}
		return all == before
	})
	if on == nftables {
		return all
	}
	var b strings.Builder
	for line := range strings.Lines(all) {
		if strings.Contains(line, "LIBNETWORK-") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// anew makes the tables of iptables anew: firewalld makes more of them than others,
// and deletes chains.
func anew(t *testing.T) {
	t.Helper()
	for _, family := range []string{"ip", "ip6", "bridge"} {
		for _, table := range []string{"filter", "nat", "raw", "mangle", "security"} {
			_, _ = run("nft", "delete", "table", family, table)
		}
	}
	if err := standardTables(); err != nil {
		t.Fatal(err)
	}
}

func TestFirewalld(t *testing.T) {
	for theirs, ours := range map[string][]backend{
		"nftables": {nftables, iptablesNFT, iptablesLegacy},
		// To its rules, which iptables-nft makes, legacy ones are what ours of nftables are.
		"iptables": {nftables, iptablesNFT},
	} {
		for _, on := range ours {
			t.Run("case 44 firewalld with "+theirs+" lets through what shall get through, and nothing else, also after its reload and restart ("+string(on)+")", func(t *testing.T) {
				nstest.Require(t, backends()[on])
				testFirewalld(t, on, theirs)
			})
		}
	}
}

func testFirewalld(t *testing.T, on backend, theirs string) {
	anew(t)
	h := bareHost(t, on.option())
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	w := h.newWall(t, theirs)
	h.start()
	h.lanServer()
	srv, err := serve(h.own, "host", 9000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.close)
	events, cancel := h.ctl.(libnetwork.EventSource).Subscribe()
	defer func() { cancel() }()

	tcp := types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001}
	udp := types.PortBinding{Proto: types.UDP, Port: port, HostPort: 7001}
	routed := []netOption{label(labelMode4, "routed"), label(labelMode6, "routed")}
	nets := []libnetwork.Network{
		h.network(1), h.network(2, routed...), h.network(3, inside), h.network(4, label(labelICC, "false")), h.network(5),
	}
	bridges := []string{"br1", "br2", "br3", "br4", "br5"}
	var c1, c2, r1, in1, in2, alone1, alone2 *container
	var rules string
	populate := func() {
		c1, c2, r1 = h.container("c1", publish(tcp, udp), nets[0]), h.container("c2", nil, nets[0]), h.container("r1", publish(tcp, udp), nets[1])
		in1, in2 = h.container("in1", nil, nets[2]), h.container("in2", nil, nets[2])
		alone1, alone2 = h.container("alone1", nil, nets[3]), h.container("alone2", nil, nets[3])
		for _, gateway := range []string{"10.99.3.1", "fd99:0:0:3::1"} { // as a container does that wants out
			h.in(in1.sb.Key(), "ip", "route", "add", "default", "via", gateway)
		}
		// By the host, where firewalld has a say, and back: the bridge has none.
		for _, way := range [][2]*container{{alone1, alone2}, {alone2, alone1}} {
			h.in(way[0].sb.Key(), "ip", "route", "add", way[1].v4.String(), "via", "10.99.4.1")
			h.in(way[0].sb.Key(), "ip", "route", "add", way[1].v6.String(), "via", "fd99:0:0:4::1")
		}
		rules = h.ours(on)
	}
	all := func(more ...visit) {
		list := append(append(more, to("c1", c1.ns, c2, "c2")...), to("c2", c2.ns, c1, "c1")...)
		// What networks keep apart the zone and the policy do not let through.
		list = append(append(list, to("in1", in1.ns, in2, "in2")...), to("in1", in1.ns, c1, "")...)
		list = append(append(list, to("c1", c1.ns, in1, "")...), to("lan", h.lan, in1, "")...)
		list = append(append(list, to("alone1", alone1.ns, alone2, "")...), to("lan", h.lan, alone1, "")...)
		list = append(list, to("alone1", alone1.ns, c1, "")...)
		// Not translated: it takes the policy to let it in.
		list = append(list, to("lan", h.lan, r1, "r1")...)
		for host, other := range map[string]string{hostV4: lanV4, hostV6: lanV6} {
			list = append(
				list,
				visit{"c1", c1.ns, at(other, port), "lan", host},
				visit{"r1", r1.ns, at(other, port), "lan", ""},
				visit{"alone1", alone1.ns, at(other, port), "lan", host},
				visit{who: "alone1", from: alone1.ns, to: at(host, 7001), want: "c1"},
				visit{who: "in1", from: in1.ns, to: at(other, port)},
				visit{who: "lan", from: h.lan, to: at(host, 7001), want: "c1", sees: other},
				visit{who: "c2", from: c2.ns, to: at(host, 7001), want: "c1"},
			)
		}
		for _, gateway := range []string{"10.99.1.1", "fd99:0:0:1::1"} {
			list = append(list, visit{who: "c2", from: c2.ns, to: at(gateway, 9000), want: "host"})
		}
		h.visit(list...)
	}
	check := func(when string) {
		t.Helper()
		w.has(bridges...)
		eventually(t, "our rules are not as before "+when, func() bool { return h.ours(on) == rules })
		all(visit9000(h)...) // what firewalld is for
		if t.Failed() {
			t.Fatalf("%s (-want +got):\n%s", when, cmp.Diff(rules, h.ours(on)))
		}
	}
	// reload has firewalld reloaded. The members come with it: when it says so they are
	// there, and nothing is left for us to put back.
	reload := func() {
		t.Helper()
		w.keeps(bridges...)
		for len(events) > 0 {
			<-events
		}
		w.signals()
		w.cmd("--reload")
		<-w.heard
		if diff := cmp.Diff(bridges, w.members()); diff != "" {
			t.Errorf("members when it has just been reloaded (-want +got):\n%s", diff)
		}
		h.drop(h.network(9)) // for which the answer to the reload is waited for
		for len(events) > 0 {
			if ev := <-events; ev.Type == "firewall" && strings.HasPrefix(ev.Attributes["object"], "firewalld zone") {
				t.Errorf("told: %s %s", ev.Action, ev.Attributes["object"])
			}
		}
	}
	populate()
	check("at first")
	for _, r := range h.exposed() {
		if by := droppedBy(r); by != nil && !r.Forwarded {
			t.Errorf("what is open to %s at %s is dropped by %q", r.From, r.Addr, by)
		}
	}
	if diff := cmp.Diff([]string{"firewalld.conf", "policies/" + w.zone.Policy + ".xml", "zones/" + w.zone.Name + ".xml"}, w.permanent()); diff != "" {
		t.Errorf("permanent configuration (-want +got):\n%s", diff)
	}
	w.cmd("--zone", w.zone.Name, "--remove-interface", "br1")
	h.visit(visit{who: "c1 without the zone", from: c1.ns, to: at("10.99.1.1", 9000)})
	if theirs == "nftables" || on == nftables { // else our chain comes first, and accepts for good
		h.visit(visit{who: "c1 without the zone", from: c1.ns, to: at(lanV4, port)})
	}
	reload()
	check("after a reload")

	h.drop(nets[4])
	bridges = bridges[:4]
	w.has(bridges...)
	rules = h.ours(on)
	reload() // waits until it is not in the permanent configuration any more
	check("after a deletion and a reload")
	gone := regexp.MustCompile(`\bbr5\b|` + nets[4].ID()[:12])
	for what, text := range map[string]string{
		"rules": h.rules(), "zones": w.cmd("--list-all-zones"), "policies": w.cmd("--list-all-policies"), "permanent": w.cmd("--permanent", "--list-all-zones"),
	} {
		if gone.MatchString(text) {
			t.Errorf("%s name the deleted network:\n%s", what, text)
		}
	}

	n6 := h.network(6)
	w.keeps(append(slices.Clone(bridges), "br6")...)
	w.fw.stop()
	h.drop(n6)
	eventually(t, "our rules are not as before without firewalld", func() bool { return h.ours(on) == rules })
	all()
	nets[4] = h.network(5)
	bridges = append(bridges, "br5")
	rules = h.ours(on)
	w.start()
	check("after a restart, and networks made and deleted meanwhile")
	w.keeps(bridges...)

	cancel()
	h.ctl.Stop()
	for _, c := range h.running {
		c.close()
	}
	h.running = nil
	w.fw.stop()
	w.start()
	if diff := cmp.Diff(bridges, w.members()); diff != "" {
		t.Errorf("members after a restart of firewalld alone (-want +got):\n%s", diff)
	}
	h.start()
	for i := range nets {
		nets[i] = h.netByName(nets[i].Name())
	}
	populate()
	check("after a restart of both")

	for _, c := range slices.Clone(h.running) {
		h.remove(c)
	}
	h.drop(nets...)
	w.has()
	eventually(t, "the permanent configuration is not as it was", func() bool {
		return slices.Equal(w.permanent(), []string{"firewalld.conf"})
	})
	w.cmd("--reload")
	if text := w.cmd("--get-zones") + w.cmd("--get-policies") + h.rules(); strings.Contains(text, w.zone.Name) {
		t.Errorf("something is left:\n%s", text)
	}
	h.clear()
	w.fw.stop()
	anew(t)
}

// visit9000 are visits of a server of the host that firewalld keeps others from.
func visit9000(h *host) []visit {
	return []visit{{who: "lan", from: h.lan, to: at(hostV4, 9000)}, {who: "lan", from: h.lan, to: at(hostV6, 9000)}}
}

// TestFirewalldTrouble has no firewalld, one that is busy for long, and none again.
func TestFirewalldTrouble(t *testing.T) {
	nstest.Require(t, nstest.Firewalld)
	anew(t)
	h := newHost(t)
	h.lanServer()
	n1 := h.network(1)
	c1 := h.container("c1", publish(types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001}), n1)
	reach := func(t *testing.T) {
		t.Helper()
		h.visitBy(
			[]string{"tcp"}, visit{"c1", c1.ns, at(lanV4, port), "lan", hostV4}, visit{"c1", c1.ns, at(lanV6, port), "lan", hostV6},
			visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: "c1"}, visit{who: "lan", from: h.lan, to: at(hostV6, 7001), want: "c1"},
		)
	}
	var w *wall
	t.Run("a bus and a firewalld that come later are found", func(t *testing.T) {
		reach(t)
		w = h.newWall(h.t, "nftables")
		w.has("br1")
		reach(t)
	})
	t.Run("one that is stopped keeps nobody, and is told later", func(t *testing.T) {
		if err := w.fw.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		n2 := h.network(2)
		t.Log("the first network took", time.Since(begun).Round(time.Millisecond))
		begun = time.Now()
		h.network(3)
		h.drop(n2)
		t.Log("the next ones took", time.Since(begun).Round(time.Millisecond))
		reach(t)
		if err := w.fw.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		w.has("br1", "br3")
	})
	t.Run("that of another network namespace is left alone", func(t *testing.T) {
		w.keeps("br1", "br3")
		w.fw.stop()
		w.start("nsenter", "--net="+h.lan.Path())
		// It has read the same configuration. Our own answer comes after what the
		// controller has asked before.
		n4 := h.network(4)
		w.cmd("--reload")
		h.drop(n4)
		w.cmd("--reload")
		if diff := cmp.Diff([]string{"br1", "br3"}, w.members()); diff != "" {
			t.Errorf("members (-want +got):\n%s", diff)
		}
		w.keeps("br1", "br3")
		w.fw.stop()
	})
	t.Run("a bus that is gone keeps nobody, and is found again", func(t *testing.T) {
		w.end()
		h.drop(h.network(5))
		h.drop(h.netByName("net3"))
		reach(t)
		w.begin()
		w.has("br1")
		w.keeps("br1")
		reach(t)
	})
	h.remove(c1)
	h.drop(n1)
	h.clear()
	w.end()
	anew(t)
}
