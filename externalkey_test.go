//go:build linux

package libnetwork_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// hookName is the name under which the test binary is an OCI hook.
const hookName = "libnetwork-setkey"

// hook is the body of TestMain under that name.
func hook() int {
	if err := libnetwork.SetKeyHook(os.Args, os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestSetExternalKey(t *testing.T) {
	d := newDirs(t)
	c := d.open(t)
	t.Setenv("LIBNETWORK_RUN_DIR", d.run)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	sb := newSandbox(t, c, "c1", libnetwork.OptionUseExternalKey())
	ok(t, newEndpoint(t, n, "e").Join(sb))
	given := nstest.New(t)
	ns := must(netns.Open(nil, given.Path()))(t)
	defer ns.Close()
	t.Run("EXT-1 the socket has the controller's id and mode 0600", func(t *testing.T) {
		if m := mode(t, filepath.Join(d.run, c.ID()[:12]+".sock")); m != 0o600 {
			t.Errorf("mode is %o", m)
		}
	})
	t.Run("EXT-3 a container that is not known is the text of an error", func(t *testing.T) {
		err := libnetwork.SetExternalKey(c.ID(), "c2", given.Path())
		wantClass(t, err, "Internal")
		if !strings.Contains(err.Error(), `no sandbox present for container "c2"`) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("EXT-3 a path that is no namespace is the text of an error", func(t *testing.T) {
		if err := libnetwork.SetExternalKey(c.ID(), "c1", "/no/such/file"); err == nil || !strings.Contains(err.Error(), "/no/such/file") {
			t.Errorf("error is %v", err)
		}
		diff(t, "links", []string(nil), linkNames(t, ns))
	})
	t.Run("EXT-3 when the reply has come the sandbox is in its namespace", func(t *testing.T) {
		ok(t, libnetwork.SetExternalKey(c.ID(), "c1", given.Path()))
		diff(t, "links", []string{"eth0"}, linkNames(t, ns))
		diff(t, "routes", []string{"10.1.0.1 eth0"}, defaults(t, ns))
	})
	t.Run("EXT-1 two controllers of one directory have a socket each", func(t *testing.T) {
		other := must(libnetwork.New(d.options()...))(t)
		ok(t, libnetwork.SetExternalKey(other.ID(), "c1", given.Path()))
		other.Stop()
		ok(t, libnetwork.SetExternalKey(c.ID(), "c1", given.Path()))
		if err := libnetwork.SetExternalKey(other.ID(), "c1", given.Path()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket of a stopped controller: %v", err)
		}
	})
	t.Run("EXT-4 the error of a dial is returned as it is", func(t *testing.T) {
		if err := libnetwork.SetExternalKey("ffffffffffff", "c1", given.Path()); !errors.Is(err, unix.ENOENT) {
			t.Errorf("error is %v", err)
		}
		wantClass(t, libnetwork.SetExternalKey("../x", "c1", given.Path()), "BadRequest")
	})
	t.Run("EXT-1 a run directory with too long a path is refused", func(t *testing.T) {
		run := filepath.Join(d.run, strings.Repeat("x", 100))
		defer os.RemoveAll(run)
		_, err := libnetwork.New(config.OptionDataDir(filepath.Join(t.TempDir(), "d")), config.OptionRunDir(run))
		wantClass(t, err, "BadRequest")
		ok(t, netns.RemoveDir(nil, filepath.Join(run, "netns")))
	})
	for _, tt := range []struct {
		name, stdin string
		args        []string
		says        string // empty: the hook succeeds
	}{
		{"EXT-5 the hook fails for a process in the host's own namespace", fmt.Sprintf(`{"pid":%d}`, os.Getpid()), []string{"c1", c.ID()}, "host's own network namespace"},
		{"EXT-5 the hook fails without arguments", "{}", nil, "usage: libnetwork-setkey"},
		{"EXT-5 the hook fails for pid 0", `{"pid":0}`, []string{"c1", c.ID()}, "process 0"},
		{"EXT-5 the hook fails for a process that has ended", `{"pid":99999999}`, []string{"c1", c.ID()}, "/proc/99999999/ns/net is not a network namespace"},
		{"EXT-5 the hook finds the controller by -exec-root", `{"pid":0}`, []string{"-exec-root", d.run, "c1", c.ID()}, "process 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
			cmd.Args = append([]string{hookName}, tt.args...)
			cmd.Stdin = strings.NewReader(tt.stdin)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err := cmd.Run()
			if (err == nil) != (tt.says == "") || !strings.Contains(stderr.String(), tt.says) {
				t.Errorf("the hook ends with %v and says %q, want %q", err, stderr.String(), tt.says)
			}
		})
	}
}

// container runs a command in an OCI container of runc, with a root file system of
// busybox, and returns what it prints. hook is under which kind the hook stands;
// files are mounted into the container.
func container(t *testing.T, id, hookKind string, args []string, env []string, command string, files map[string]string) (string, error) {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "bundle")
	root := filepath.Join(bundle, "rootfs")
	for _, dir := range []string{"bin", "proc", "etc", "dev"} {
		ok(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	busybox := must(exec.LookPath("busybox"))(t)
	ok(t, os.WriteFile(filepath.Join(root, "bin", "busybox"), must(os.ReadFile(busybox))(t), 0o755))
	ok(t, os.Symlink("busybox", filepath.Join(root, "bin", "sh")))
	mounts := []map[string]any{{"destination": "/proc", "type": "proc", "source": "proc"}}
	for to, from := range files {
		mounts = append(mounts, map[string]any{"destination": to, "type": "bind", "source": from, "options": []string{"bind", "ro"}})
	}
	spec := map[string]any{
		"ociVersion": "1.0.2",
		"process": map[string]any{
			"user": map[string]int{"uid": 0, "gid": 0}, "cwd": "/", "env": []string{"PATH=/bin"},
			"args": []string{"/bin/sh", "-c", command},
		},
		"root": map[string]any{"path": "rootfs"}, "hostname": id, "mounts": mounts,
		"hooks": map[string]any{hookKind: []map[string]any{{
			"path": must(os.Executable())(t), "args": args, "env": env, "timeout": 60,
		}}},
		"linux": map[string]any{"namespaces": []map[string]string{
			{"type": "pid"}, {"type": "network"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"},
		}},
	}
	ok(t, os.WriteFile(filepath.Join(bundle, "config.json"), must(json.Marshal(spec))(t), 0o600))
	cmd := exec.CommandContext(t.Context(), "runc", "--root", filepath.Join(t.TempDir(), "runc"), "run", "--bundle", bundle,
		// Also the name of a cgroup, of which the machine has one tree.
		fmt.Sprint(id, "-", os.Getpid()))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// needRunc skips the test, or fails it, without the programs for a container; and
// gives runc a cgroup tree in this mount namespace.
func needRunc(t *testing.T) {
	t.Helper()
	for _, name := range []string{"runc", "busybox"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv(nstest.RequireEnv) != "" {
				t.Fatalf("%v: make test installs it", err)
			}
			t.Skip(err)
		}
	}
	const tree = "/sys/fs/cgroup"
	ok(t, unix.Mount("none", tree, "cgroup2", 0, ""))
	t.Cleanup(func() {
		if err := unix.Unmount(tree, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// serveText answers each connection in a sandbox with a text.
func serveText(t *testing.T, sb libnetwork.Sandbox, text string) {
	t.Helper()
	l := must(inside(t, sb).ListenTCP(netip.MustParseAddrPort("0.0.0.0:80")))(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
}

// TestRunc starts containers by runc with the hook in their configuration.
func TestRunc(t *testing.T) {
	d := newDirs(t)
	needRunc(t)
	c := d.open(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	db := attach(t, c, "db", n)
	serveText(t, db, "hello from db\n")
	addr := db.Endpoints()[0].Info().Iface().Address().IP.String()
	script := strings.Join([]string{
		"/bin/busybox ip -o -4 addr show dev eth0",
		"/bin/busybox ip route",
		"/bin/busybox cat /etc/resolv.conf /etc/hosts",
		"/bin/busybox nslookup db",
		"/bin/busybox nc " + addr + " 80",
		"/bin/busybox nc db 80",
	}, "; echo; ")
	env := []string{"LIBNETWORK_RUN_DIR=" + d.run}
	run := func(t *testing.T, id, kind string, args ...string) (libnetwork.Sandbox, string, error) {
		t.Helper()
		p, placed := newPaths(t)
		sb := newSandbox(t, c, id, append(placed, libnetwork.OptionUseExternalKey(), libnetwork.OptionHostname(id))...)
		ok(t, newEndpoint(t, n, id).Join(sb))
		out, err := container(t, id, kind, append([]string{hookName}, args...), env, script, map[string]string{"/etc/hosts": p.hosts, "/etc/resolv.conf": p.resolv})
		return sb, out, err
	}
	for _, kind := range []string{"createRuntime", "prestart"} {
		t.Run("EXT-5 a container of runc has its network by the hook "+kind, func(t *testing.T) {
			id := "runc-" + strings.ToLower(kind)
			sb, out, err := run(t, id, kind, id, c.ID())
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			own := sb.Endpoints()[0].Info().Iface().Address().IP.String()
			for what, text := range map[string]string{
				"eth0 with its address": "inet " + own + "/24",
				"a default route":       "default via 10.1.0.1 dev eth0",
				"its name server":       "nameserver 127.0.0.11\n",
				"its own line of hosts": own + "\t" + id + "\n",
				"an answer to db":       addr,
			} {
				if !strings.Contains(out, text) {
					t.Errorf("the container has not %s:\n%s", what, out)
				}
			}
			if got := strings.Count(out, "hello from db\n"); got != 2 {
				t.Errorf("the neighbour was reached %d times, want by address and by name:\n%s", got, out)
			}
			ok(t, sb.Delete())
		})
	}
	t.Run("EXT-5 a hook that fails keeps the container from starting", func(t *testing.T) {
		sb, out, err := run(t, "runc-bad", "createRuntime", "another", c.ID())
		if err == nil || !strings.Contains(out, "no sandbox present for container") || strings.Contains(out, "eth0") {
			t.Errorf("error %v:\n%s", err, out)
		}
		ok(t, sb.Delete())
	})
	t.Run("OSL-17 what is in the container's namespace goes with the container, the sandbox stays", func(t *testing.T) {
		sb, out, err := run(t, "runc-again", "createRuntime", "runc-again", c.ID())
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		next := nstest.New(t)
		ok(t, sb.SetKey(next.Path()))
		diff(t, "links", []string{"eth0"}, linkNames(t, inside(t, sb)))
		ask(t, inside(t, sb), "udp", "db.", "A")
		ok(t, sb.Delete())
	})
}
