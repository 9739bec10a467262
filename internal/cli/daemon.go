package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
	"github.com/libnetwork/libnetwork/internal/daemon"
	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/kernel"
)

// daemonFlags are the flags of the daemon.
type daemonFlags struct {
	configFile, dataDir, runDir, logLevel, firewall, metricsAddr string

	heldPorts    int
	heldPortsSet bool

	debug, directRouting, insecure, noKeepAlive, removeUnowned bool
}

func (a *app) daemonCommand() *cobra.Command {
	var f daemonFlags
	cmd := &cobra.Command{
		Use: "daemon [flags]", Short: "Run the daemon until a signal ends it; networks and containers stay", Args: args(0, 0),
		Example: `  sudo dnet daemon &
  sudo dnet daemon --data-dir /srv/net -H unix:///run/net.sock -H tcp://127.0.0.1:2385
  sudo dnet daemon --metrics-addr 127.0.0.1:9323   # curl http://127.0.0.1:9323/metrics`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.heldPortsSet = cmd.Flags().Changed("held-ports")
			return a.runDaemon(cmd.Context(), &f)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.configFile, "config", "", "configuration `file` (default $"+configEnv+" or "+defaultConfig+" if it exists)")
	fs.StringVar(&f.dataDir, "data-dir", "", "`directory` of what outlives a boot (default "+config.DefaultDataDir+")")
	fs.StringVar(&f.runDir, "run-dir", "", "`directory` of what does not (default "+config.DefaultRunDir+", or one below it for another data directory)")
	fs.StringVar(&f.firewall, "firewall-backend", "", "`backend` of the firewall: auto, nftables, iptables, iptables-nft or iptables-legacy (default auto: nftables if the kernel has it)")
	fs.IntVar(&f.heldPorts, "held-ports", hostport.DefaultLimit, "`number` of published ports that are held by a socket at most, one descriptor each; those above it are checked to be free when they are published")
	fs.StringVar(&f.metricsAddr, "metrics-addr", "", "`address` HOST:PORT where /metrics, and nothing else, is served for Prometheus; the daemon's socket serves it too (default none)")
	fs.StringVar(&f.logLevel, "log-level", "", "`level` of messages: debug, info, warn or error (default info)")
	fs.BoolVarP(&f.debug, "debug", "D", false, "the same as --log-level debug")
	fs.BoolVar(&f.directRouting, "allow-direct-routing", false, "open published ports of networks of mode nat at the containers' own addresses too, for whoever has a route to those")
	fs.BoolVar(&f.insecure, "insecure", false, "let tcp:// be reached from other hosts, without any protection")
	fs.BoolVar(&f.removeUnowned, "remove-unowned", false, "remove links, namespaces and rules of ours that no record names, also if all records were lost")
	fs.BoolVar(&f.noKeepAlive, "no-keep-alive", false, "remove all containers when the daemon starts")
	return cmd
}

func (a *app) runDaemon(ctx context.Context, f *daemonFlags) error {
	file, err := a.loadConfig(f)
	if err != nil {
		return err
	}
	s, err := a.settings(f, file)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(s.level)
	log := slog.New(slog.NewTextHandler(a.Stderr, &slog.HandlerOptions{Level: level}))
	for _, w := range file.ignored {
		log.Warn("configuration has no effect", "key", w)
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.reload(ctx, f, level, log)
	}()
	defer func() { stop(); <-done }()
	s.daemon.Engine.Logger = log
	return daemon.Run(ctx, s.daemon)
}

// reload sets the level of messages to what the configuration says whenever the
// daemon is asked to.
func (a *app) reload(ctx context.Context, f *daemonFlags, level *slog.LevelVar, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.Reload:
		}
		file, err := a.loadConfig(f)
		if err == nil {
			var l slog.Level
			if l, err = pickLevel(f, file); err == nil {
				level.Set(l)
				log.Info("configuration is read again", "level", l)
				continue
			}
		}
		log.Error("configuration is not read again: all stays as it is", "err", err)
	}
}

// settings are the configuration with the flags over it.
type settings struct {
	daemon daemon.Config
	level  slog.Level
}

func (a *app) settings(f *daemonFlags, file *configFile) (*settings, error) {
	s := new(settings)
	backend, err := kernel.ParseBackend(first(f.firewall, file.Daemon.FirewallBackend))
	if err != nil {
		return nil, usageError{err}
	}
	if s.level, err = pickLevel(f, file); err != nil {
		return nil, err
	}
	d := file.Daemon
	opts := []config.Option{config.OptionDataDir(first(f.dataDir, d.DataDir, config.DefaultDataDir))}
	if dir := first(f.runDir, d.RunDir); dir != "" {
		opts = append(opts, config.OptionRunDir(dir))
	}
	dirs := config.ParseConfigOptions(opts...)
	if err := dirs.Err(); err != nil {
		return nil, err
	}
	for _, dir := range []*string{&dirs.Daemon.DataDir, &dirs.Daemon.RunDir} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, err
		}
	}
	hosts := a.hosts
	if len(hosts) == 0 {
		hosts = d.Hosts
	}
	if h := a.Getenv(client.HostEnv); len(hosts) == 0 && h != "" {
		hosts = []string{h}
	}
	if len(hosts) == 0 {
		hosts = []string{api.DefaultHost}
		if dirs.Daemon.RunDir != config.DefaultRunDir {
			hosts[0] = "unix://" + filepath.Join(dirs.Daemon.RunDir, "dnet.sock")
		}
	}
	held, err := heldPorts(f, file)
	if err != nil {
		return nil, err
	}
	s.daemon = daemon.Config{
		Engine: daemon.EngineConfig{
			DataDir: dirs.Daemon.DataDir, RunDir: dirs.Daemon.RunDir,
			KeepAlive:     !f.noKeepAlive && (d.KeepAlive == nil || *d.KeepAlive),
			RemoveUnowned: f.removeUnowned, HeldPorts: held,
			Forwarding:    d.Forwarding == nil || *d.Forwarding,
			DirectRouting: f.directRouting || d.AllowDirectRouting,
			Firewall:      backend,
		},
		Open: a.Open, Hosts: hosts, MetricsAddr: first(f.metricsAddr, d.MetricsAddr), Insecure: f.insecure || d.Insecure, Version: a.Version, Getenv: a.Getenv,
	}
	return s, nil
}

// heldPorts is how many ports are held as the engine wants it: for it 0 is the
// default, less than 0 none.
func heldPorts(f *daemonFlags, file *configFile) (int, error) {
	held := hostport.DefaultLimit
	switch {
	case f.heldPortsSet:
		held = f.heldPorts
	case file.Daemon.HeldPorts != nil:
		held = *file.Daemon.HeldPorts
	}
	if held < 0 {
		return 0, usageError{fmt.Errorf("the number of held ports is %d: it cannot be less than 0", held)}
	}
	if held == 0 {
		held = -1
	}
	return held, nil
}

// first is the first that is not empty.
func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

func pickLevel(f *daemonFlags, file *configFile) (slog.Level, error) {
	if f.debug || f.logLevel == "" && file.Daemon.Debug && file.Daemon.LogLevel == "" {
		return slog.LevelDebug, nil
	}
	switch s := first(f.logLevel, file.Daemon.LogLevel, "info"); s {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	default:
		return 0, usageError{fmt.Errorf("log level %q is not debug, info, warn or error", s)}
	}
}

// configPath says where the configuration is, and whether it must be there.
func (a *app) configPath(f *daemonFlags) (path string, must bool) {
	if path := first(f.configFile, a.Getenv(configEnv)); path != "" {
		return path, true
	}
	return defaultConfig, false
}

func (a *app) loadConfig(f *daemonFlags) (*configFile, error) {
	path, must := a.configPath(f)
	data, err := os.ReadFile(path)
	if err != nil {
		if os.IsNotExist(err) && !must {
			return new(configFile), nil
		}
		return nil, usageError{fmt.Errorf("configuration: %w", err)}
	}
	return parseConfig(path, data)
}
