package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
	"github.com/libnetwork/libnetwork/internal/extkey"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// start starts a program that is ended with the test.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
	})
}

// runDaemon builds the program, runs its daemon on directories below /run, and
// returns it with a client.
func runDaemon(t *testing.T, run string) (dnet string, c *client.Client) {
	t.Helper()
	dnet = filepath.Join(t.TempDir(), "dnet")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dnet, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	host := "unix://" + run + "/d.sock"
	cmd := exec.Command(dnet, "daemon", "--data-dir", run+"/data", "--run-dir", run, "-H", host)
	var log bytes.Buffer
	cmd.Stderr = &log
	start(t, cmd)
	c, err := client.New(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); ; <-tick.C {
		if _, err := c.Version(t.Context()); err == nil {
			return dnet, c
		} else if time.Now().After(end) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Fatalf("%v\n%s", err, log.String())
		}
	}
}

func TestSetKeyHook(t *testing.T) {
	nstest.Require(t, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables)
	const run = "/run/hook"
	dnet, c := runDaemon(t, run)
	v, err := c.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateNetwork(t.Context(), api.NetworkCreate{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateContainer(t.Context(), api.ContainerCreate{ID: "c1", Networks: []api.Attachment{{Network: "web"}}}); err != nil {
		t.Fatal(err)
	}
	process := exec.Command("sleep", "infinity")
	process.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	start(t, process)
	state := fmt.Sprintf(`{"ociVersion":"1.0.2","id":"x","status":"creating","pid":%d,"bundle":"/b"}`, process.Process.Pid)
	hook := func(t *testing.T, state string, argv ...string) (string, error) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), dnet)
		cmd.Args = argv
		cmd.Env = append(os.Environ(), "LIBNETWORK_RUN_DIR="+run)
		cmd.Stdin = strings.NewReader(state)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		return stderr.String(), err
	}
	for _, tt := range []struct {
		name string
		argv []string
	}{
		{"EXT-5 dnet is the hook under the name libnetwork-setkey", []string{extkey.Name, "c1", v.Controller}},
		{"EXT-5 dnet is the hook under a path that ends in libnetwork-setkey", []string{"/usr/libexec/" + extkey.Name, "-exec-root", run, "c1", v.Controller}},
		{"EXT-5 dnet is the hook by its command libnetwork-setkey", []string{"dnet", extkey.Name, "c1", v.Controller}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if said, err := hook(t, state, tt.argv...); err != nil || said != "" {
				t.Fatalf("%v, %q", err, said)
			}
			ns, err := netns.Open(nil, fmt.Sprintf("/proc/%d/ns/net", process.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			defer ns.Close()
			rt, err := ns.Rtnl()
			if err != nil {
				t.Fatal(err)
			}
			if l, err := rt.Link(t.Context(), "eth0"); err != nil {
				t.Errorf("the process has no eth0: %v (%+v)", err, l)
			}
		})
	}
	for _, tt := range []struct {
		name, state, says string
		argv              []string
	}{
		{"EXT-5 a hook that fails has an exit code and says why", state, `no sandbox present for container "c2"`, []string{extkey.Name, "c2", v.Controller}},
		{"EXT-5 a hook with too few arguments has an exit code and says how", state, extkey.Usage, []string{extkey.Name, "c1"}},
		{"EXT-5 a hook without a process has an exit code and says why", `{"pid":0}`, "process 0", []string{extkey.Name, "c1", v.Controller}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, err := hook(t, tt.state, tt.argv...)
			if !errors.As(err, new(*exec.ExitError)) || !strings.Contains(said, tt.says) {
				t.Errorf("%v, %q", err, said)
			}
		})
	}
	t.Run("EXT-1 the daemon listens where its id says", func(t *testing.T) {
		sockets, err := filepath.Glob(run + "/*.sock")
		if err != nil || !slices.Contains(sockets, run+"/"+v.Controller[:12]+".sock") {
			t.Errorf("sockets %v, controller %s", sockets, v.Controller)
		}
	})
	if err := c.DeleteContainer(t.Context(), "c1"); err != nil {
		t.Error(err)
	}
	if err := c.DeleteNetwork(t.Context(), "web"); err != nil {
		t.Error(err)
	}
}
