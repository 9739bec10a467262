package scenario_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/netns"
)

// upgradeFrom names a program dnet of another version, with which TestUpgrade begins (make
// upgrade). Without it that is one of this version, which calls itself another.
const upgradeFrom = "LIBNETWORK_UPGRADE_FROM"

// TestUpgrade has connections and streams of datagrams go on when the program is replaced by
// that of another version, after its end in peace and by kill -9. Once the new one has made the
// rules its own, its starts write nothing.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	build := func(version string) string {
		file := filepath.Join(dir, version)
		if _, err := run("go", "build", "-o", file, "-ldflags", "-X main.version="+version, "github.com/libnetwork/libnetwork/cmd/dnet"); err != nil {
			t.Fatal(err)
		}
		return file
	}
	older, newer := os.Getenv(upgradeFrom), build("newer")
	another := older != ""
	if !another {
		older = build("older")
	}
	onEach(t, "connections go on over an upgrade", func(t *testing.T, on backend) {
		for _, end := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
			t.Run(unix.SignalName(end), func(t *testing.T) { testUpgrade(t, on, older, newer, end, another) })
		}
	})
}

func testUpgrade(t *testing.T, on backend, older, newer string, end unix.Signal, another bool) {
	t.Helper()
	h := bareHost(t, on.option())
	t.Setenv("TABLE", kernel.Table(h.data))
	runs := restores(t)
	d := h.dnet(older, on)
	d.tell("network", "create", "--ipv6", "--subnet", "10.99.1.0/24", "--subnet", "fd99:0:0:1::/64", "web")
	d.tell("container", "create", "--network", "web", "-p", "8080:8080", "-p", "8080:8080/udp", "c1")
	key := d.tell("container", "inspect", "--format", "{{.Netns}}", "c1")
	ns, err := netns.Open(nil, key)
	if err != nil {
		t.Fatal(err)
	}
	stop := echo(t, ns)
	eventually(t, "the kernel still makes up addresses", func() bool {
		const tentative = "ip -6 addr show tentative"
		return h.sh(strings.Fields(tentative)...)+h.in(key, strings.Fields(tentative)...) == ""
	})
	f := h.flows(100)
	f.goOn(t)
	start := func(what string, quiet bool) {
		t.Helper()
		d.finish(end)
		f.goOn(t)
		count := changes(t, ns, runs)
		d = h.dnet(newer, on)
		if seen := count(); quiet && len(seen) > 0 {
			t.Errorf("%s has changed the kernel: %v", what, seen)
		}
		f.goOn(t)
	}
	start("the first start", !another)
	if got := d.tell("version", "--format", "{{.Server.Version}}"); got != "newer" {
		t.Errorf("version %q answers", got)
	}
	rules := ownership.ReplaceAllString(allRules(t, kernel.Backend(on)), "")
	start("the second start", true)
	if diff := cmp.Diff(rules, ownership.ReplaceAllString(allRules(t, kernel.Backend(on)), "")); diff != "" {
		t.Errorf("the second start (-before +after):\n%s", diff)
	}
	f.end(t)
	stop()
	if err := ns.Close(); err != nil {
		t.Error(err)
	}
	d.tell("container", "rm", "c1")
	d.tell("network", "rm", "web")
	d.finish(unix.SIGTERM)
	if err := netns.RemoveDir(nil, h.run+"/netns"); err != nil {
		t.Error(err)
	}
}

// A dnet is the daemon of the host, run from a file.
type dnet struct {
	*program
	at string // address of the daemon
}

func (h *host) dnet(file string, on backend) *dnet {
	h.t.Helper()
	d := &dnet{at: "unix://" + h.run + "/d.sock"}
	cmd := exec.Command(file, "daemon", "--data-dir", h.data, "--run-dir", h.run, "-H", d.at, "--firewall-backend", string(on.alone()))
	cmd.Env = append(os.Environ(), "LIBNETWORK_CFG="+os.DevNull)
	d.program = begin(h.t, cmd)
	eventually(h.t, "the daemon does not answer", func() bool {
		_, err := run(file, "-H", d.at, "version")
		return err == nil
	})
	return d
}

// tell runs a command of the program, and returns what it says.
func (d *dnet) tell(args ...string) string {
	d.t.Helper()
	said, err := run(append([]string{d.cmd.Path, "-H", d.at}, args...)...)
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSpace(said)
}

// finish has the daemon end by a signal.
func (d *dnet) finish(by unix.Signal) {
	_ = d.cmd.Process.Signal(by)
	<-d.end
	d.cmd = nil
}
