// Package daemon runs the HTTP API of an engine as a service: its listeners, its
// start and end, and what it tells the service manager.
//
// Run is for one goroutine; it owns all goroutines that it starts and returns
// when they have ended. A process may run several daemons with different
// directories and addresses.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/api/server"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/kernel"
)

const (
	// headerTimeout is how long a client may take to say what it wants.
	headerTimeout = 10 * time.Second
	// stopTimeout is how long requests may go on when the daemon is to stop.
	stopTimeout = 5 * time.Second
)

// EngineConfig says what engine a daemon needs.
type EngineConfig struct {
	DataDir, RunDir string
	// KeepAlive keeps containers over a restart of the daemon.
	KeepAlive bool
	// RemoveUnowned removes what no record names, also if all records were lost.
	RemoveUnowned bool
	// Forwarding lets the engine turn packet forwarding on.
	Forwarding bool
	// Firewall is the backend of the firewall.
	Firewall kernel.Backend
	Logger   *slog.Logger
}

// OpenFunc opens an engine. What it returns beside it closes the engine.
type OpenFunc func(context.Context, EngineConfig) (*engine.Engine, func() error, error)

// Config says what Run runs.
type Config struct {
	Engine EngineConfig
	Open   OpenFunc
	// Hosts are the addresses to listen at: unix:///PATH, tcp://HOST:PORT, or fd://
	// for the sockets that the service manager has handed over.
	Hosts []string
	// Insecure lets tcp:// be reached from outside this host, without any
	// protection.
	Insecure bool
	// Version is that of the program.
	Version string
	// Getenv looks up what the service manager says.
	Getenv func(string) string
}

// Run serves until ctx ends, and then stops in order: no more requests, those
// that run are given some seconds, then the engine is closed. Networks and
// containers stay.
func Run(ctx context.Context, cfg Config) (err error) {
	log := cfg.Engine.Logger
	if err := checkHosts(cfg.Hosts, cfg.Insecure); err != nil {
		return err
	}
	e, closeEngine, err := cfg.Open(ctx, cfg.Engine)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it had begun
		}
		return err
	}
	defer func() { err = errors.Join(err, closeEngine()) }()
	listeners, err := listenAll(ctx, cfg)
	if err != nil {
		return err
	}
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := &http.Server{
		Handler:           server.New(server.Config{Engine: e, Version: cfg.Version, Done: ctx.Done(), Logger: log}),
		ReadHeaderTimeout: headerTimeout,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	var wg sync.WaitGroup
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		wg.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve at %s: %w", l.Addr(), err)
			}
		})
	}
	log.Info("daemon is ready", "hosts", strings.Join(addresses(listeners), " "),
		"data", cfg.Engine.DataDir, "run", cfg.Engine.RunDir, "version", cfg.Version,
		"networks", len(e.Networks()), "containers", len(e.Sandboxes()))
	notify(cfg.Getenv, log, "READY=1\nSTATUS=serving")
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	log.Info("daemon stops: networks and containers stay")
	notify(cfg.Getenv, log, "STOPPING=1")
	stop(srv, cut)
	wg.Wait()
	return err
}

// stop lets requests end, and cuts those that take too long.
func stop(srv *http.Server, cut func()) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		cut()
		_ = srv.Close()
	}
}

func addresses(listeners []net.Listener) []string {
	var out []string
	for _, l := range listeners {
		out = append(out, l.Addr().Network()+"://"+l.Addr().String())
	}
	return out
}
