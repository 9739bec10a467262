package cli_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/libnetwork/libnetwork/internal/cli"
	"github.com/libnetwork/libnetwork/internal/client"
	"github.com/libnetwork/libnetwork/internal/daemon"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"dnet": dnet})
}

// dnet is the program on a kernel in memory.
func dnet() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	os.Exit(cli.Main(ctx, cli.Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Version: "1.2.3", Reload: reload,
		Open: func(ctx context.Context, cfg daemon.EngineConfig) (*engine.Engine, func() error, error) {
			k := new(enginetest.Kernel)
			for path := range strings.SplitSeq(os.Getenv("TEST_NAMESPACES"), ":") {
				k.AddNamespace(path)
			}
			e, err := enginetest.Open(ctx, k, cfg.DataDir, cfg.RunDir, cfg.Logger)
			if err != nil {
				return nil, nil, err
			}
			return e, e.Close, nil
		},
	}))
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			run := filepath.Join(env.WorkDir, "run")
			notify := filepath.Join(env.WorkDir, "notify")
			conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
			if err != nil {
				return err
			}
			env.Defer(func() { _ = conn.Close() })
			env.Values["notify"] = conn
			// The race detector would have every command sleep for a second at its end.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("NOTIFY_SOCKET", notify)
			env.Setenv("DNET_HOST", "unix://"+filepath.Join(run, "dnet.sock"))
			env.Setenv("LIBNETWORK_CFG", filepath.Join(env.WorkDir, "dnet.toml"))
			return os.WriteFile(filepath.Join(env.WorkDir, "dnet.toml"),
				[]byte("[daemon]\ndatadir = \""+filepath.Join(env.WorkDir, "data")+"\"\nrundir = \""+run+"\"\n"), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "notified": notified, "signal": sendSignal,
		},
	})
}

// The service manager hands sockets over.
func TestSocketActivation(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c",
		"LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=kept-tables:dnet.socket exec dnet -H fd:// daemon --data-dir "+dir+"/data --run-dir "+dir+"/run")
	// The first is what an earlier daemon has given the manager to keep.
	cmd.ExtraFiles = []*os.File{os.Stdin, f}
	cmd.Env = append(os.Environ(), "LIBNETWORK_CFG="+os.DevNull, "GORACE=atexit_sleep_ms=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The socket listens already: who connects waits for the daemon.
	c, err := client.New("tcp://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	v, err := c.Version(t.Context())
	if err != nil || v.Version != "1.2.3" {
		t.Errorf("got %+v, %v", v, err)
	}
	c.Close()
	if err := errors.Join(l.Close(), f.Close(), cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
		t.Error(err)
	}
}

// code runs a command that must end with a code: code N COMMAND...
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// sendSignal signals the command that was started in the background last.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	known := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}
	cmds := ts.BackgroundCmds()
	if neg || len(args) != 1 || known[args[0]] == nil || len(cmds) == 0 {
		ts.Fatalf("usage: signal TERM|INT|HUP, with a command in the background")
	}
	ts.Check(cmds[len(cmds)-1].Process.Signal(known[args[0]]))
}

// notified waits until the daemon tells the service manager something.
func notified(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: notified TEXT")
	}
	conn := ts.Value("notify").(*net.UnixConn)
	ts.Check(conn.SetReadDeadline(time.Now().Add(30 * time.Second)))
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	ts.Check(err)
	if !strings.Contains(string(buf[:n]), args[0]) {
		ts.Fatalf("the daemon says %q, want %q", buf[:n], args[0])
	}
}
