package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start runs a daemon until the test ends or stop is called, and returns once it
// says that it is ready.
func start(t *testing.T, dir string, hosts ...string) (stop func() error) {
	t.Helper()
	return startAs(t, dir, func(cfg *Config) { cfg.Hosts = hosts })
}

// startAs does the same with a configuration that is edited.
func startAs(t *testing.T, dir string, edit func(*Config)) (stop func() error) {
	t.Helper()
	notify := filepath.Join(dir, "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	cfg := Config{
		Engine:  EngineConfig{DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), Logger: quiet()},
		Version: "1.2.3",
		Getenv:  func(name string) string { return map[string]string{"NOTIFY_SOCKET": notify}[name] },
		Open: func(ctx context.Context, cfg EngineConfig) (*engine.Engine, func() error, error) {
			e, err := enginetest.Open(ctx, new(enginetest.Kernel), cfg.DataDir, cfg.RunDir, cfg.Logger)
			if err != nil {
				return nil, nil, err
			}
			return e, e.Close, nil
		},
	}
	edit(&cfg)
	go func() { done <- Run(ctx, cfg) }()
	said := func() string {
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		if err != nil {
			select {
			case err := <-done:
				t.Fatal("the daemon has ended: ", err)
			default:
				t.Fatal(err)
			}
		}
		return string(buf[:n])
	}
	if s := said(); !strings.HasPrefix(s, "READY=1") {
		t.Errorf("the daemon says %q", s)
	}
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		if s := said(); s != "STOPPING=1" {
			t.Errorf("the daemon says %q", s)
		}
		return errors.Join(<-done, conn.Close(), os.Remove(notify))
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return stop
}

func dial(t *testing.T, host string) *client.Client {
	t.Helper()
	c, err := client.New(host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestRun(t *testing.T) {
	dir := nstest.ShortDir(t)
	path := filepath.Join(dir, "sub", "dnet.sock")
	host := "unix://" + path
	stop := start(t, dir, host)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != os.ModeSocket|socketMode {
		t.Errorf("mode of the socket is %s", got)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("beside the socket there is %v, %v", left, err)
	}
	c := dial(t, host)
	if _, err := c.CreateNetwork(t.Context(), api.NetworkCreate{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Network(t.Context(), "../../_ping"); !errors.As(err, new(types.NotFoundError)) {
		t.Errorf("a name that looks like a path: %v", err)
	}
	events, err := c.Events(t.Context(), api.EventQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteNetwork(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	// The stream does not keep the daemon from stopping; it ends with an error.
	seen := 0
	for ev, err := range events {
		if err == nil {
			seen++
			if ev.Action != "destroy" || ev.Type != "network" {
				t.Errorf("event %+v", ev)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			continue
		}
		if !errors.As(err, new(types.NoServiceError)) {
			t.Errorf("the stream ends with %v", err)
		}
	}
	if seen != 1 {
		t.Errorf("%d events", seen)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	_, err = c.Networks(t.Context())
	var unreachable *client.UnreachableError
	if !errors.As(err, &unreachable) || unreachable.Host != host || !strings.Contains(err.Error(), "sudo dnet daemon") {
		t.Errorf("a daemon that is gone: %v", err)
	}
}

func TestControllerID(t *testing.T) {
	dir := nstest.ShortDir(t)
	host := "unix://" + filepath.Join(dir, "s")
	var ids []string
	for range 2 {
		stop := start(t, dir, host)
		v, err := dial(t, host).Version(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, v.Controller)
		if _, err := os.Stat(filepath.Join(dir, "run", v.Controller[:12]+".sock")); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		left, err := filepath.Glob(filepath.Join(dir, "run", "*.sock"))
		if err != nil || len(left) > 0 {
			t.Errorf("sockets of a stopped daemon: %v, %v", left, err)
		}
	}
	t.Run("EXT-1 a daemon has the same id after a restart, and another one for another data directory", func(t *testing.T) {
		if ids[0] != ids[1] || len(ids[0]) != 64 || controllerID(dir+"x") == ids[0] {
			t.Errorf("ids are %v", ids)
		}
	})
}

func TestSocketPath(t *testing.T) {
	dir := nstest.ShortDir(t)
	path := filepath.Join(dir, "s")
	t.Run("a file that is no socket", func(t *testing.T) {
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := listenUnix(t.Context(), path, quiet())
		if !errors.As(err, new(types.ForbiddenError)) || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
		if data, err := os.ReadFile(path); err != nil || string(data) != "mine" {
			t.Errorf("the file holds %q, %v", data, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a stale socket is replaced", func(t *testing.T) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		first, err := listenUnix(t.Context(), path, quiet())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := listenUnix(t.Context(), path, quiet()); !errors.As(err, new(types.ForbiddenError)) {
			t.Errorf("a socket that answers is replaced: %v", err)
		}
		// Somebody else's file at the same path is left alone.
		if err := os.Rename(path, path+".moved"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		if err := first.Close(); err != nil {
			t.Errorf("the second close: %v", err)
		}
	})
}

func TestCheckHosts(t *testing.T) {
	for _, tt := range []struct {
		name     string
		hosts    []string
		insecure bool
		named    string // empty: accepted
	}{
		{"ok, socket and loopback", []string{"unix:///a", "tcp://127.0.0.1:1", "tcp://[::1]:1", "tcp://localhost:1", "fd://"}, false, ""},
		{"ok, insecure", []string{"tcp://0.0.0.0:1"}, true, ""},
		{"bad, none", nil, false, "no address"},
		{"bad, twice", []string{"unix:///a", "unix:///a"}, false, "unix:///a"},
		{"bad, from outside", []string{"tcp://0.0.0.0:1"}, false, "tcp://0.0.0.0:1"},
		{"bad, a name", []string{"tcp://example.com:1"}, false, "tcp://example.com:1"},
		{"bad, no address", []string{"x"}, true, `"x"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkHosts(tt.hosts, tt.insecure)
			switch {
			case tt.named == "" && err != nil:
				t.Error(err)
			case tt.named != "" && (!errors.As(err, new(types.BadRequestError)) || !strings.Contains(err.Error(), tt.named)):
				t.Errorf("got %v", err)
			}
		})
	}
}
