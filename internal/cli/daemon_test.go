package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/kernel"
)

// The configuration is asked again, for the level of messages.
func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dnet.toml")
	write := func(text string) {
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// A reload that still runs sees the one or the other.
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	hup := make(chan os.Signal)
	a := &app{Env: Env{Reload: hup, Getenv: func(string) string { return "" }}}
	level := new(slog.LevelVar)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.reload(ctx, &daemonFlags{configFile: path}, level, slog.New(slog.NewTextHandler(io.Discard, nil)))
	}()
	// The channel has no room: when the second signal is taken, the first is done.
	for _, step := range []struct {
		text string
		want slog.Level
	}{
		{"[daemon]\nloglevel = \"error\"\n", slog.LevelError},
		{"[daemon]\nloglevel = \"loud\"\n", slog.LevelError},
		{"[daemon\n", slog.LevelError},
		{"[daemon]\ndebug = true\n", slog.LevelDebug},
	} {
		write(step.text)
		hup <- os.Interrupt
		hup <- os.Interrupt
		if got := level.Level(); got != step.want {
			t.Errorf("%q: level %s, want %s", step.text, got, step.want)
		}
	}
	cancel()
	<-done
}

func TestSettings(t *testing.T) {
	file := func(text string) *configFile {
		f, err := parseConfig("dnet.toml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	type result struct {
		Data, Run, Hosts, Level string
		KeepAlive, Forwarding   bool
		Insecure                bool
	}
	for _, tt := range []struct {
		name  string
		flags daemonFlags
		hosts []string
		env   string
		file  string
		want  result
	}{
		{
			name: "nothing is said",
			want: result{"/var/lib/libnetwork", "/run/libnetwork", "unix:///run/libnetwork/dnet.sock", "INFO", true, true, false},
		},
		{
			name: "the file",
			file: "[daemon]\ndataDir = \"/d\"\nrundir = \"/r\"\nhosts = [\"unix:///a\", \"unix:///b\"]\nloglevel = \"warn\"\nkeepalive = false\nforwarding = false\ninsecure = true\n",
			want: result{"/d", "/r", "unix:///a unix:///b", "WARN", false, false, true},
		},
		{
			name:  "flags win over the file and the environment",
			flags: daemonFlags{dataDir: "/e", runDir: "/s", logLevel: "error", insecure: true, noKeepAlive: true},
			hosts: []string{"unix:///c"}, env: "unix:///env",
			file: "[daemon]\ndatadir = \"/d\"\nrundir = \"/r\"\nhosts = [\"unix:///a\"]\nloglevel = \"warn\"\n",
			want: result{"/e", "/s", "unix:///c", "ERROR", false, true, true},
		},
		{
			name: "the environment", env: "unix:///env",
			want: result{"/var/lib/libnetwork", "/run/libnetwork", "unix:///env", "INFO", true, true, false},
		},
		{
			name: "the socket is in the run directory", flags: daemonFlags{runDir: "/r", debug: true},
			want: result{"/var/lib/libnetwork", "/r", "unix:///r/dnet.sock", "DEBUG", true, true, false},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &app{hosts: tt.hosts, Env: Env{Getenv: func(name string) string {
				if name == "DNET_HOST" {
					return tt.env
				}
				return ""
			}}}
			s, err := a.settings(&tt.flags, file(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			e := s.daemon.Engine
			got := result{e.DataDir, e.RunDir, strings.Join(s.daemon.Hosts, " "), s.level.String(), e.KeepAlive, e.Forwarding, s.daemon.Insecure}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("another data directory has a run directory of its own", func(t *testing.T) {
		a := &app{Env: Env{Getenv: func(string) string { return "" }}}
		s, err := a.settings(&daemonFlags{dataDir: "/d"}, file(""))
		if err != nil {
			t.Fatal(err)
		}
		run := s.daemon.Engine.RunDir
		if filepath.Dir(run) != "/run/libnetwork" || s.daemon.Hosts[0] != "unix://"+run+"/dnet.sock" {
			t.Errorf("run directory %s, host %s", run, s.daemon.Hosts[0])
		}
	})
	t.Run("direct routing is allowed by the flag or by the file", func(t *testing.T) {
		a := &app{Env: Env{Getenv: func(string) string { return "" }}}
		for _, tt := range []struct {
			flag, want bool
			file       string
		}{
			{false, false, ""},
			{true, true, ""},
			{false, true, "[daemon]\nallowDirectRouting = true\n"},
		} {
			s, err := a.settings(&daemonFlags{directRouting: tt.flag}, file(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			if got := s.daemon.Engine.DirectRouting; got != tt.want {
				t.Errorf("flag %t, file %q: %t, want %t", tt.flag, tt.file, got, tt.want)
			}
		}
	})
	t.Run("the firewall backend: the flag wins over the file", func(t *testing.T) {
		a := &app{Env: Env{Getenv: func(string) string { return "" }}}
		for _, tt := range []struct {
			flag, file string
			want       kernel.Backend
		}{
			{"", "", kernel.Auto},
			{"", "[daemon]\nfirewallBackend = \"iptables\"\n", kernel.IPTables},
			{"iptables-legacy", "[daemon]\nfirewallbackend = \"nftables\"\n", kernel.IPTablesLegacy},
		} {
			s, err := a.settings(&daemonFlags{firewall: tt.flag}, file(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			if got := s.daemon.Engine.Firewall; got != tt.want {
				t.Errorf("flag %q, file %q: %q, want %q", tt.flag, tt.file, got, tt.want)
			}
		}
		_, err := a.settings(&daemonFlags{firewall: "ipfw"}, file(""))
		if !errors.As(err, new(usageError)) || !strings.Contains(err.Error(), "ipfw") {
			t.Errorf("an unknown backend: %v", err)
		}
	})
	t.Run("what has no effect is told", func(t *testing.T) {
		f := file("title = \"x\"\n[scopes.global.client]\nprovider = \"etcd\"\n[daemon]\nlabels = []\n")
		if diff := cmp.Diff([]string{"title", "scopes.global.client", "scopes.global.client.provider", "daemon.labels"}, f.ignored); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestHeldPorts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags daemonFlags
		file  string
		want  int
		bad   bool
	}{
		{name: "by default 1024", want: 1024},
		{name: "the configuration", file: "[daemon]\nheldports = 10\n", want: 10},
		{name: "the flag wins", flags: daemonFlags{heldPorts: 20, heldPortsSet: true}, file: "[daemon]\nheldports = 10\n", want: 20},
		{name: "0 is none", file: "[daemon]\nheldports = 0\n", want: -1},
		{name: "less than 0", flags: daemonFlags{heldPorts: -1, heldPortsSet: true}, bad: true},
	} {
		t.Run("how many ports are held can be said: "+tt.name, func(t *testing.T) {
			file, err := parseConfig("dnet.toml", []byte(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			got, err := heldPorts(&tt.flags, file)
			if got != tt.want || (err != nil) != tt.bad {
				t.Errorf("got %d, %v; want %d, an error %t", got, err, tt.want, tt.bad)
			}
		})
	}
}
