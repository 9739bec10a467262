// Package daemon runs the HTTP API of an engine as a service: its listeners, its
// start and end, and what it tells the service manager.
//
// Run is for one goroutine; it owns all goroutines that it starts and returns
// when they have ended. A process may run several daemons with different
// directories and addresses.
package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/api/server"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/extkey"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/metrics"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/systemd"
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
	// HeldPorts is how many published ports are held by a socket at most: 0 for the
	// default, less than 0 for none.
	HeldPorts int
	// Forwarding lets the engine turn packet forwarding on.
	Forwarding bool
	// DirectRouting opens published ports of networks of mode nat at the containers'
	// own addresses too.
	DirectRouting bool
	// Firewall is the backend of the firewall.
	Firewall kernel.Backend
	// Sockets keeps sockets over a restart. Run sets it where there is a service manager.
	Sockets model.SocketKeeper
	Logger  *slog.Logger
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
	// MetricsAddr is HOST:PORT where metrics, and nothing else, are served over HTTP;
	// empty for none. Hosts serve them too.
	MetricsAddr string
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
	if err := errors.Join(checkHosts(cfg.Hosts, cfg.Insecure), checkMetricsAddr(cfg.MetricsAddr)); err != nil {
		return err
	}
	manager, err := systemd.Open(cfg.Getenv)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, manager.Close()) }()
	if manager.Present() {
		cfg.Engine.Sockets = manager
	}
	notify := func(state string) {
		if err := manager.Notify(state); err != nil {
			log.Warn(err.Error())
		}
	}
	e, closeEngine, err := cfg.Open(ctx, cfg.Engine)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it had begun
		}
		return err
	}
	defer func() { err = errors.Join(err, closeEngine()) }()
	id := controllerID(cfg.Engine.DataDir)
	hooks, err := extkey.Listen(ctx, extkey.Config{RunDir: e.RunDir(), ID: id, SetKey: e.SetKey, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hooks.Close()) }()
	m := metrics.New(e, cfg.Version, log)
	handler := server.New(server.Config{
		Engine: e, Version: cfg.Version, Controller: id, Done: ctx.Done(), Metrics: m.Handler(), Observe: m.Observe, Logger: log,
	})
	listeners, err := listenAll(ctx, cfg, manager)
	if err != nil {
		return err
	}
	shown, err := listenMetrics(ctx, cfg.MetricsAddr)
	if err != nil {
		closeAll(listeners)
		return err
	}
	services := []*service{newService(handler, log, listeners...), newService(metricsAlone(m.Handler()), log, shown...)}
	failed := make(chan error, len(listeners)+len(shown))
	for _, s := range services {
		s.start(failed)
	}
	for _, at := range addresses(shown) {
		log.Info("metrics are served", "address", at)
	}
	log.Info("daemon is ready", "hosts", strings.Join(addresses(listeners), " "),
		"data", cfg.Engine.DataDir, "run", cfg.Engine.RunDir, "version", cfg.Version,
		"networks", len(e.Networks()), "containers", len(e.Sandboxes()))
	notify("READY=1\nSTATUS=serving")
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	log.Info("daemon stops: networks and containers stay")
	notify("STOPPING=1")
	for _, s := range services {
		s.stop()
	}
	return err
}

// service is an HTTP server on some listeners.
type service struct {
	srv       *http.Server
	listeners []net.Listener
	cut       context.CancelFunc // ends the requests that run
	wg        sync.WaitGroup
}

func newService(h http.Handler, log *slog.Logger, listeners ...net.Listener) *service {
	requests, cut := context.WithCancel(context.Background())
	return &service{listeners: listeners, cut: cut, srv: &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

// start serves until stop, and says when it cannot.
func (s *service) start(failed chan<- error) {
	for _, l := range s.listeners {
		s.wg.Go(func() {
			if err := s.srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve at %s: %w", l.Addr(), err)
			}
		})
	}
}

// stop lets requests end, and cuts those that take too long.
func (s *service) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if s.srv.Shutdown(ctx) != nil {
		s.cut()
		_ = s.srv.Close()
	}
	s.cut()
	s.wg.Wait()
}

// metricsAlone serves metrics and nothing else.
func metricsAlone(h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+api.MetricsPath, h)
	return mux
}

// controllerID is the id by which OCI hooks find the daemon of a data directory.
// It is the same after a restart, since it stands in the configuration of
// containers that go on. Like all ids it does not begin with a decimal number.
func controllerID(dataDir string) string {
	for sum := sha256.Sum256([]byte(dataDir)); ; sum = sha256.Sum256(sum[:]) {
		id := hex.EncodeToString(sum[:])
		if _, err := strconv.ParseInt(id[:12], 10, 64); err != nil {
			return id
		}
	}
}

func addresses(listeners []net.Listener) []string {
	var out []string
	for _, l := range listeners {
		out = append(out, l.Addr().Network()+"://"+l.Addr().String())
	}
	return out
}
