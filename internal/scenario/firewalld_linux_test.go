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
	heard chan firewalld.Signal
	zone  firewalld.Zone
}

// systemBus starts the host's bus.
func (h *host) systemBus(t *testing.T) *program {
	t.Helper()
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
	w := &wall{h: h, etc: t.TempDir(), heard: make(chan firewalld.Signal, 100), zone: kernel.Zone(h.data)}
	conf := "DefaultZone=public\nCleanupOnExit=yes\nFirewallBackend=" + backend + "\n"
	if err := os.WriteFile(filepath.Join(w.etc, "firewalld.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	w.bus = h.systemBus(t)
	t.Cleanup(func() {
		// It removes the chains of iptables too, ours or not.
		if err := standardTables(); err != nil {
			t.Error(err)
		}
	})
	w.start()
	return w
}

// start starts firewalld and waits until it answers.
func (w *wall) start() {
	w.h.t.Helper()
	dir := w.h.t.TempDir()
	cmd := exec.Command("firewalld", "--nofork", "--nopid", "--system-config", w.etc, "--log-file", filepath.Join(dir, "log"))
	w.fw = begin(w.h.t, cmd)
	if w.c == nil {
		var err error
		if w.c, err = firewalld.Dial(context.Background(), func(s firewalld.Signal) { w.heard <- s }); err != nil {
			w.h.t.Fatal(err)
		}
		w.h.t.Cleanup(func() { _ = w.c.Close() })
	}
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

func TestFirewalld(t *testing.T) {
	for _, theirs := range []string{"nftables", "iptables"} {
		t.Run(theirs, func(t *testing.T) {
			onEach(t, "case 44 firewalld with "+theirs+" lets through what shall get through, also after its reload and restart",
				func(t *testing.T, on backend) { testFirewalld(t, on, theirs) })
		})
	}
}

func testFirewalld(t *testing.T, on backend, theirs string) {
	h := bareHost(t, on.option())
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	w := h.newWall(t, theirs)
	// What the administrator has published of the host, so that it can be seen that
	// nothing but our bridges gets more.
	h.start()
	h.lanServer()
	srv, err := serve(h.own, "host", 9000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.close)

	b := types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001}
	u := types.PortBinding{Proto: types.UDP, Port: port, HostPort: 7001}
	routed := []netOption{label(labelMode4, "routed"), label(labelMode6, "routed")}
	nets := []libnetwork.Network{h.network(1), h.network(2, routed...), h.network(3)}
	bridges := []string{"br1", "br2", "br3"}
	var c1, c2, r1 *container
	populate := func() {
		c1, c2 = h.container("c1", publish(b, u), nets[0]), h.container("c2", nil, nets[0])
		r1 = h.container("r1", publish(types.PortBinding{Proto: types.TCP, Port: port}, types.PortBinding{Proto: types.UDP, Port: port}), nets[1])
	}
	ways := func() []visit {
		list := append(to("c1", c1.ns, c2, "c2"), to("c2", c2.ns, c1, "c1")...)
		// Not translated: it takes the policy to let it in.
		list = append(list, to("lan", h.lan, r1, "r1")...)
		for host, other := range map[string]string{hostV4: lanV4, hostV6: lanV6} {
			list = append(
				list,
				visit{"c1", c1.ns, at(other, port), "lan", host},
				visit{"r1", r1.ns, at(other, port), "lan", ""},
				visit{who: "lan", from: h.lan, to: at(host, 7001), want: "c1", sees: other},
				visit{who: "c2", from: c2.ns, to: at(host, 7001), want: "c1"},
			)
		}
		for _, gateway := range []string{"10.99.1.1", "fd99:0:0:1::1"} {
			list = append(list, visit{who: "c2", from: c2.ns, to: at(gateway, 9000), want: "host"})
		}
		return list
	}
	check := func(when string) {
		t.Helper()
		eventually(t, "our zone is not whole "+when, func() bool { return slices.Equal(w.members(), bridges) })
		h.visit(ways()...)
		// What firewalld is for.
		h.visit(visit{who: "lan", from: h.lan, to: at(hostV4, 9000)}, visit{who: "lan", from: h.lan, to: at(hostV6, 9000)})
		if t.Failed() {
			t.Fatalf("%s:\n%s", when, h.rules())
		}
	}
	populate()
	check("at first")
	if diff := cmp.Diff([]string{"firewalld.conf", "policies/" + w.zone.Policy + ".xml", "zones/" + w.zone.Name + ".xml"}, w.permanent()); diff != "" {
		t.Errorf("permanent configuration (-want +got):\n%s", diff)
	}

	w.cmd("--reload")
	check("after a reload")

	h.drop(nets[2])
	bridges = bridges[:2]
	w.has(bridges...)
	w.cmd("--reload")
	check("after a deletion and a reload")
	gone := regexp.MustCompile(`\bbr3\b|` + nets[2].ID()[:12])
	for what, text := range map[string]string{
		"rules": h.rules(), "zones": w.cmd("--list-all-zones"), "policies": w.cmd("--list-all-policies"), "permanent": w.cmd("--permanent", "--list-all-zones"),
	} {
		if gone.MatchString(text) {
			t.Errorf("%s name the deleted network:\n%s", what, text)
		}
	}

	w.fw.stop()
	h.visit(ways()...)
	nets[2] = h.network(3)
	bridges = append(bridges, "br3")
	w.start()
	check("after a restart, and a network made meanwhile")

	h.ctl.Stop()
	for _, c := range h.running {
		c.close()
	}
	h.running = nil
	w.fw.stop()
	w.start()
	if got := w.members(); len(got) > 0 {
		t.Errorf("members %v of the zone after a restart of firewalld alone", got)
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
}
