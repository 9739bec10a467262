package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/run"
	"github.com/libnetwork/libnetwork/types"
)

// outerEnv makes the test binary a program that calls Run: its value is the
// directory of the container, its arguments are the command.
const outerEnv = "LIBNETWORK_TEST_OUTER"

// trapEnv makes it a command that waits for the signal of that number and exits
// with code 7.
const trapEnv = "LIBNETWORK_TEST_TRAP"

func TestMain(m *testing.M) {
	run.ChildMain()
	if dir := os.Getenv(outerEnv); dir != "" {
		outer(dir, os.Args[1:])
	}
	if n, err := strconv.Atoi(os.Getenv(trapEnv)); err == nil {
		c := make(chan os.Signal, 1)
		signal.Notify(c, unix.Signal(n))
		fmt.Println("ready")
		<-c
		fmt.Println("got")
		os.Exit(7)
	}
	nstest.Main(m)
}

// trap is the command line of that command.
func trap(t *testing.T, s unix.Signal) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{"env", fmt.Sprintf("%s=%d", trapEnv, int(s)), exe}
}

// outer is the main function of a program that runs a command. With "hang" as
// directory it never makes the container, and prints the child's id instead.
func outer(dir string, args []string) {
	_ = os.Unsetenv(outerEnv)
	code, err := run.Run(context.Background(), run.Spec{
		Command: run.Command{Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr},
		Create: func(_ context.Context, pid int) (run.Container, error) {
			if dir == "hang" {
				fmt.Println(pid)
				_, _ = io.Copy(io.Discard, os.Stdin)
				select {}
			}
			return container(dir), nil
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// leaks is nstest.Leaks after package signal has started the goroutine that it
// keeps.
func leaks(t *testing.T) {
	t.Helper()
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGUSR1)
	signal.Stop(c)
	nstest.Leaks(t)
}

// container names the namespace and files of a directory.
func container(dir string) run.Container {
	return run.Container{
		Netns: filepath.Join(dir, "netns", "c1"), Hostname: "c1.example",
		Hosts: filepath.Join(dir, "hosts"), ResolvConf: filepath.Join(dir, "resolv.conf"),
	}
}

// directory makes a directory with all that a container needs.
func directory(t *testing.T) string {
	t.Helper()
	nstest.Require(t, nstest.Root)
	dir := t.TempDir()
	pins := filepath.Join(dir, "netns")
	if err := netns.EnsureDir(nil, pins); err != nil {
		t.Fatal(err)
	}
	c := container(dir)
	ns, err := netns.Create(t.Context(), nil, c.Netns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ns.Close(), netns.Remove(nil, c.Netns), netns.RemoveDir(nil, pins)); err != nil {
			t.Error(err)
		}
	})
	write(t, c.Hosts, "192.0.2.1 only-inside\n")
	write(t, c.ResolvConf, "nameserver 127.0.0.11\n")
	return dir
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// result is what came of a command.
type result struct {
	Code     int
	Out, Err string
}

// started is a command at work.
type started struct {
	pid  int
	done chan result
	in   io.Writer
	out  io.Reader
}

// begin calls Run in the background and returns when the command has written
// its first line, which it gives too.
func begin(ctx context.Context, t *testing.T, dir string, args ...string) (*started, string) {
	t.Helper()
	inR, inW, err1 := os.Pipe()
	outR, outW, err2 := os.Pipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	s := &started{done: make(chan result, 1), in: inW, out: outR}
	pid := make(chan int, 1)
	go func() {
		defer outW.Close()
		defer inR.Close()
		code, err := run.Run(ctx, run.Spec{
			Command: run.Command{Args: args, Stdin: inR, Stdout: outW, Stderr: outW},
			Create: func(_ context.Context, p int) (run.Container, error) {
				pid <- p
				return container(dir), nil
			},
		})
		s.done <- result{Code: code, Err: fmt.Sprint(err)}
	}()
	t.Cleanup(func() { _ = inW.Close(); _ = outR.Close() })
	s.pid = <-pid
	return s, line(t, outR)
}

func line(t *testing.T, r io.Reader) string {
	t.Helper()
	var text []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(r, b); err != nil {
			t.Fatalf("after %q: %v", text, err)
		}
		if b[0] == '\n' {
			return string(text)
		}
		text = append(text, b[0])
	}
}

// run1 runs a command to its end.
func run1(t *testing.T, dir string, env []string, args ...string) result {
	t.Helper()
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	removed := false
	code, err := run.Run(t.Context(), run.Spec{
		Command: run.Command{Args: args, Env: env, Stdout: files[0], Stderr: files[1]},
		Create:  func(context.Context, int) (run.Container, error) { return container(dir), nil },
		Remove:  func(context.Context) error { removed = true; return nil },
	})
	if !removed {
		t.Error("Remove was not called")
	}
	out, err1 := os.ReadFile(files[0].Name())
	errOut, err2 := os.ReadFile(files[1].Name())
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	r := result{Code: code, Out: string(out), Err: string(errOut)}
	if err != nil {
		r.Err += err.Error()
	}
	return r
}

func sh(script string) []string { return []string{"/bin/bash", "-c", script} }

func TestRun(t *testing.T) {
	leaks(t)
	dir := directory(t)
	bin := t.TempDir()
	write(t, filepath.Join(bin, "plain"), "#!/bin/sh\n")
	write(t, filepath.Join(bin, "lost"), "#!/no/such/shell\n")
	write(t, filepath.Join(bin, "junk"), "echo no first line\n")
	for _, name := range []string{"lost", "junk"} {
		if err := os.Chmod(filepath.Join(bin, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	descriptors, err := exec.CommandContext(t.Context(), "/bin/bash", "-c", "echo /proc/self/fd/*").Output()
	if err != nil {
		t.Fatal(err)
	}
	path := []string{"PATH=" + bin + ":/bin"}
	for _, tt := range []struct {
		name string
		args []string
		want result
	}{
		{"streams", sh("echo out; echo err >&2"), result{0, "out\n", "err\n"}},
		{"exit code", sh("exit 3"), result{Code: 3}},
		{"killed", sh("kill -9 $$"), result{Code: 128 + 9}},
		{"bytes of arguments", []string{"printf", "%s|", "a b", "\xff", "", "$x"}, result{Out: "a b|\xff||$x|"}},
		{"argument zero", sh("read -rd '' name < /proc/self/cmdline; echo $name"), result{Out: "/bin/bash\n"}},
		{"not found", []string{"no-such-command"}, result{Code: 127, Err: `command "no-such-command" is not in PATH: file does not exist`}},
		{"path not found", []string{"/no/such"}, result{Code: 127, Err: "command /no/such: no such file or directory"}},
		{"not executable", []string{"plain"}, result{Code: 126, Err: "command " + bin + "/plain: is not executable: permission denied"}},
		{"directory", []string{bin}, result{Code: 126, Err: "command " + bin + ": is a directory: permission denied"}},
		{"no interpreter", []string{"lost"}, result{Code: 126, Err: "execute " + bin + "/lost: it is there, but not the interpreter that it names: no such file or directory"}},
		{"no program", []string{"junk"}, result{Code: 126, Err: "execute " + bin + "/junk: neither a program of this machine nor a script with a #! line: exec format error"}},
		{"hosts", sh("cat /etc/hosts"), result{Out: "192.0.2.1 only-inside\n"}},
		{"resolv.conf", sh("cat /etc/resolv.conf"), result{Out: "nameserver 127.0.0.11\n"}},
		{"host name", []string{"uname", "-n"}, result{Out: "c1.example\n"}},
		{"links in /sys", sh("echo /sys/class/net/*"), result{Out: "/sys/class/net/lo\n"}},
		{"descriptors", sh("echo /proc/self/fd/*"), result{Out: string(descriptors)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, run1(t, dir, path, tt.args...)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	for _, file := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		if text, err := os.ReadFile(file); err == nil && (bytes.Contains(text, []byte("only-inside")) || bytes.Contains(text, []byte("127.0.0.11"))) {
			t.Errorf("%s outside is that of the container", file)
		}
	}
}

func TestRunFails(t *testing.T) {
	leaks(t)
	dir := directory(t)
	broken := errors.New("no address left")
	ok := func(c run.Container) func(context.Context, int) (run.Container, error) {
		return func(context.Context, int) (run.Container, error) { return c, nil }
	}
	noNS, noFile := container(dir), container(dir)
	noNS.Netns += "x"
	noFile.Hosts += "x"
	for _, tt := range []struct {
		name string
		spec run.Spec
		code int
		want string
	}{
		{"no command", run.Spec{}, 125, "no command given"},
		{"no container", run.Spec{Command: run.Command{Args: sh("exit 0")}, Create: func(context.Context, int) (run.Container, error) {
			return run.Container{}, broken
		}}, 125, "no address left"},
		{"no namespace", run.Spec{Command: run.Command{Args: sh("exit 0")}, Create: ok(noNS)}, 125, "network namespace " + noNS.Netns},
		{"no hosts file", run.Spec{Command: run.Command{Args: sh("exit 0")}, Create: ok(noFile)}, 125, noFile.Hosts},
		{"no directory", run.Spec{Command: run.Command{Args: sh("exit 0"), Dir: "/no/such"}, Create: ok(container(dir))}, 125, "/no/such"},
		{"removal fails", run.Spec{
			Command: run.Command{Args: sh("exit 4")}, Create: ok(container(dir)),
			Remove: func(context.Context) error { return broken },
		}, 4, "remove the container of the command: no address left"},
		{"removed already", run.Spec{
			Command: run.Command{Args: sh("exit 4")}, Create: ok(container(dir)),
			Remove: func(context.Context) error { return types.NotFoundErrorf("container c1") },
		}, 4, "<nil>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, err := run.Run(t.Context(), tt.spec)
			if code != tt.code || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got %d, %v; want %d, %s", code, err, tt.code, tt.want)
			}
		})
	}
}

// stat is the start time of a process.
func stat(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))[19]
}

func TestProcessStays(t *testing.T) {
	leaks(t)
	dir := directory(t)
	before := 0
	start := ""
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer outR.Close()
	code, err := run.Run(t.Context(), run.Spec{
		Command: run.Command{Args: sh("echo $$; read -r s < /proc/$$/stat; set -- ${s##*) }; echo ${20}"), Stdout: outW},
		Create: func(_ context.Context, pid int) (run.Container, error) {
			before, start = pid, stat(t, pid)
			return container(dir), nil
		},
	})
	_ = outW.Close()
	if code != 0 || err != nil {
		t.Fatal(code, err)
	}
	if diff := cmp.Diff([]string{strconv.Itoa(before), start}, []string{line(t, outR), line(t, outR)}); diff != "" {
		t.Errorf("process id and start time (-want +got)\n%s", diff)
	}
}

func TestSignals(t *testing.T) {
	leaks(t)
	dir := directory(t)
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGINT, unix.SIGQUIT, unix.SIGWINCH} {
		t.Run(unix.SignalName(s), func(t *testing.T) {
			if signal.Ignored(s) {
				t.Skip("the tests were started with this signal ignored, as by nohup, and a shell cannot trap it then")
			}
			c, _ := begin(t.Context(), t, dir, trap(t, s)...)
			if err := unix.Kill(os.Getpid(), s); err != nil {
				t.Fatal(err)
			}
			if got := line(t, c.out); got != "got" {
				t.Errorf("the command wrote %q", got)
			}
			if r := <-c.done; r.Code != 7 {
				t.Errorf("result %+v, want code 7", r)
			}
		})
	}
	t.Run("untrapped", func(t *testing.T) {
		c, _ := begin(t.Context(), t, dir, sh("echo ready; exec sleep 1000")...)
		if err := unix.Kill(os.Getpid(), unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if r := <-c.done; r.Code != 128+15 {
			t.Errorf("result %+v, want code 143", r)
		}
	})
	t.Run("end of the context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c, _ := begin(ctx, t, dir, trap(t, unix.SIGTERM)...)
		cancel()
		if r := <-c.done; r.Code != 7 {
			t.Errorf("result %+v, want code 7", r)
		}
	})
}

// outerCommand starts this binary as a program that calls Run.
func outerCommand(t *testing.T, dir string, args ...string) (*exec.Cmd, io.Reader, io.Writer) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), outerEnv+"="+dir)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, out, in
}

// waitEnd returns when a process that is no child of this one has ended.
func waitEnd(t *testing.T, pidfd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 10_000)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case n != 1 || err != nil:
			t.Fatalf("the process does not end (%d, %v)", n, err)
		}
		return
	}
}

func pidfd(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// TestMountsAreKept: tools of the host replace the files by renaming, and mount
// tables of commands lose what was mounted on them.
func TestMountsAreKept(t *testing.T) {
	const hosts, resolv = "192.0.2.2 outside\n", "nameserver 192.0.2.53\n"
	t.Run("files", func(t *testing.T) {
		mountsAreKept(t, map[string]string{"hosts": hosts, "resolv.conf": resolv})
	})
	t.Run("links", func(t *testing.T) {
		mountsAreKept(t, map[string]string{"hosts": "->real", "real": hosts, "resolv.conf": "->/etc/stub", "stub": resolv})
	})
}

func mountsAreKept(t *testing.T, files map[string]string) {
	t.Helper()
	leaks(t)
	dir := directory(t)
	etc(t, files)
	c, _ := begin(t.Context(), t, dir, sh(`echo ready
		while read -r x; do
			[ "$x" = end ] && break
			until grep -q inside /etc/hosts && grep -q 127.0.0.11 /etc/resolv.conf; do :; done
			echo seen
		done`)...)
	for range 3 {
		for _, name := range []string{"hosts", "resolv.conf"} {
			write(t, "/etc/new", "192.0.2.3 replaced\n")
			if err := os.Rename("/etc/new", "/etc/"+name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.WriteString(c.in, "look\n"); err != nil {
			t.Fatal(err)
		}
		if got := line(t, c.out); got != "seen" {
			t.Error(got)
		}
	}
	if _, err := io.WriteString(c.in, "end\n"); err != nil {
		t.Fatal(err)
	}
	if r := <-c.done; r.Code != 0 {
		t.Errorf("result %+v", r)
	}
}

// etc puts a directory of these files in the place of /etc until the test ends.
func etc(t *testing.T, files map[string]string) {
	t.Helper()
	mountTmpfs(t, "/etc")
	for name, text := range files {
		if to, ok := strings.CutPrefix(text, "->"); ok {
			if err := os.Symlink(to, "/etc/"+name); err != nil {
				t.Fatal(err)
			}
			continue
		}
		write(t, "/etc/"+name, text)
	}
}

func mountTmpfs(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestResolvers(t *testing.T) {
	leaks(t)
	dir := directory(t)
	for _, d := range []string{"/run/systemd/resolve", "/run/nscd", "/run/NetworkManager"} {
		mountTmpfs(t, d)
	}
	write(t, "/run/systemd/resolve/io.systemd.Resolve", "")
	write(t, "/run/systemd/resolve/stub-resolv.conf", "nameserver 127.0.0.53\n")
	write(t, "/run/nscd/socket", "")
	write(t, "/run/NetworkManager/resolv.conf", "nameserver 192.0.2.1\n")
	const hosts = "192.0.2.2 outside\n"
	for _, tt := range []struct {
		name string
		etc  map[string]string
		note bool // about a copy of /etc
	}{
		{"file", map[string]string{"hosts": hosts, "resolv.conf": "#\n"}, false},
		{"link to systemd-resolved", map[string]string{"hosts": hosts, "resolv.conf": "->../run/systemd/resolve/stub-resolv.conf"}, false},
		{"link to another", map[string]string{"hosts": hosts, "resolv.conf": "->/run/NetworkManager/resolv.conf"}, false},
		{"link to nowhere", map[string]string{"hosts": hosts, "resolv.conf": "->/run/no/such/resolv.conf"}, true},
		{"link to itself", map[string]string{"hosts": hosts, "resolv.conf": "->resolv.conf"}, true},
		{"no file", map[string]string{"hosts": hosts}, true},
		{"no files", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			etc(t, tt.etc)
			r := run1(t, dir, nil, sh("cat /etc/hosts /etc/resolv.conf; echo /run/nscd/* /run/systemd/resolve/*; cat /run/systemd/resolve/stub-resolv.conf; { echo x > /run/nscd/x; } || true")...)
			want := "192.0.2.1 only-inside\nnameserver 127.0.0.11\n/run/nscd/* /run/systemd/resolve/stub-resolv.conf\nnameserver 127.0.0.11\n"
			if r.Code != 0 || r.Out != want {
				t.Errorf("got %+v, want %q", r, want)
			}
			if !strings.Contains(r.Err, "Read-only") {
				t.Errorf("/run/nscd is writable: %q", r.Err)
			}
			if strings.Contains(r.Err, "copy of /etc") != tt.note {
				t.Errorf("written: %q", r.Err)
			}
			names, err := os.ReadDir("/etc")
			if err != nil || len(names) != len(tt.etc) {
				t.Errorf("/etc holds %v (%v) outside", names, err)
			}
		})
	}
}

func TestExec(t *testing.T) {
	leaks(t)
	dir := directory(t)
	exec1 := func(t *testing.T, s run.ExecSpec) result {
		t.Helper()
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s.Command.Args = sh("uname -n; cat /etc/hosts; echo /sys/class/net/* $(</proc/sys/net/ipv4/ip_forward); ls -d /tmp/mark; exit 6")
		s.Command.Stdout = f
		code, err := run.Exec(t.Context(), s)
		out, _ := os.ReadFile(f.Name())
		r := result{Code: code, Out: string(out)}
		if err != nil {
			r.Err = err.Error()
		}
		return r
	}
	plain := result{Code: 6, Out: "c1.example\n192.0.2.1 only-inside\n/sys/class/net/lo 0\n"}
	t.Run("no owner", func(t *testing.T) {
		if diff := cmp.Diff(plain, exec1(t, run.ExecSpec{Container: container(dir)})); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("owner without mounts of its own", func(t *testing.T) {
		if diff := cmp.Diff(plain, exec1(t, run.ExecSpec{Container: container(dir), Owner: run.Process{PID: os.Getpid()}})); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	c, _ := begin(t.Context(), t, dir, sh("mount -t tmpfs none /tmp && touch /tmp/mark; echo ready; read")...)
	start, err := strconv.ParseUint(stat(t, c.pid), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("owner", func(t *testing.T) {
		want := plain
		want.Out += "/tmp/mark\n"
		got := exec1(t, run.ExecSpec{Container: container(dir), Owner: run.Process{PID: c.pid, Start: start}})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("later process of the same id", func(t *testing.T) {
		got := exec1(t, run.ExecSpec{Container: container(dir), Owner: run.Process{PID: c.pid, Start: start + 1}})
		if got.Code != 125 || !strings.Contains(got.Err, "has ended") {
			t.Errorf("got %+v", got)
		}
	})
	if _, err := io.WriteString(c.in, "end\n"); err != nil {
		t.Fatal(err)
	}
	<-c.done
}

func TestParentKilled(t *testing.T) {
	leaks(t)
	dir := directory(t)
	t.Run("before the container is made", func(t *testing.T) {
		cmd, out, _ := outerCommand(t, "hang", sh("echo must not run")...)
		pid, err := strconv.Atoi(line(t, out))
		if err != nil {
			t.Fatal(err)
		}
		fd := pidfd(t, pid)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		waitEnd(t, fd)
		if rest, err := io.ReadAll(out); err != nil || len(rest) != 0 {
			t.Errorf("the child wrote %q (%v)", rest, err)
		}
	})
	t.Run("while the command runs", func(t *testing.T) {
		cmd, out, in := outerCommand(t, dir, sh("echo $$; read; echo /sys/class/net/*; cat /etc/hosts; exit 5")...)
		pid, err := strconv.Atoi(line(t, out))
		if err != nil {
			t.Fatal(err)
		}
		fd := pidfd(t, pid)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = cmd.Process.Wait()
		if _, err := io.WriteString(in, "go on\n"); err != nil {
			t.Fatal(err)
		}
		want := []string{"/sys/class/net/lo", "192.0.2.1 only-inside"}
		if diff := cmp.Diff(want, []string{line(t, out), line(t, out)}); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		waitEnd(t, fd)
	})
}

func TestNetworkIsTheContainers(t *testing.T) {
	leaks(t)
	dir := directory(t)
	ns, err := netns.Open(nil, container(dir).Netns)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var l net.Listener
	if err := ns.Do(func() error { l, err = net.Listen("tcp4", "127.0.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, "hello\n")
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r := run1(t, dir, nil, sh("cat < /dev/tcp/127.0.0.1/"+port)...)
	if diff := cmp.Diff(result{Out: "hello\n"}, r); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// On the host's network /sys is the right one already, and the kernel refuses to
// mount it on itself.
func TestSysIsTheContainersAlready(t *testing.T) {
	leaks(t)
	dir := directory(t)
	ns, err := netns.Open(nil, container(dir).Netns)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := ns.Do(func() error { return unix.Mount("sysfs", "/sys", "sysfs", 0, "") }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	mountTmpfs(t, "/sys/fs/cgroup")
	write(t, "/sys/fs/cgroup/mark", "")
	r := run1(t, dir, nil, sh("echo /sys/class/net/* /sys/fs/cgroup/*")...)
	if diff := cmp.Diff(result{Out: "/sys/class/net/lo /sys/fs/cgroup/mark\n"}, r); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
