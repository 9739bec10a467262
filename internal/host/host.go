// Package host assembles an engine for this machine: the kernel, the built-in
// drivers and the address managers; and shares it among all in this process that
// use the same data directory.
//
// It is safe for concurrent use. Its one piece of global state is the list of
// engines that are open in this process: the kernel is one, whoever asks.
package host

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// RunDirEnv is the environment variable that names another default run
// directory.
const RunDirEnv = "LIBNETWORK_RUN_DIR"

// Options say what an engine is made of. When the engine of a data directory is
// open already, they have no effect.
type Options struct {
	// DataDir and RunDir are its directories; by default those of package config.
	DataDir, RunDir string
	// KeepAlive keeps sandboxes over a restart.
	KeepAlive bool
	// RemoveUnowned removes what no record names, also if all records were lost.
	RemoveUnowned bool
	// HeldPorts is how many published ports are held by a socket at most: 0 for the
	// default, less than 0 for none.
	HeldPorts int
	// Forwarding lets it turn packet forwarding on.
	Forwarding bool
	// UserlandProxy forwards published ports in this process too.
	UserlandProxy bool
	// DirectRouting opens published ports of networks of mode nat at the containers'
	// own addresses too.
	DirectRouting bool
	// NoFirewall leaves the host's firewall alone: no isolation, no masquerading, and
	// no published ports but with UserlandProxy.
	NoFirewall bool
	// Firewall names the backend of the firewall; kernel.Auto if empty.
	Firewall kernel.Backend
	// NoTableOwner leaves tables of nftables open to changes by others, who can then
	// edit them by hand, also where the kernel could protect them.
	NoTableOwner bool
	// Sockets keeps the socket that owns the tables over a restart; nil keeps none.
	Sockets model.SocketKeeper
	// SmallPools cuts the default address pools to /24, so that there are 4096
	// instead of 31.
	SmallPools bool
	// TTL is how long clients may remember local names; 0: 5 s.
	TTL    time.Duration
	Logger *slog.Logger
	Steps  *step.Counter
}

// shared is an engine with those who use it.
type shared struct {
	users int
	ready chan struct{} // closed when e or err is set
	e     *engine.Engine
	err   error
}

//nolint:gochecknoglobals // see the package documentation
var open struct {
	sync.Mutex // guards engines
	engines    map[string]*shared
}

// RunDirFromEnv is the run directory that is used when nothing else is said.
func RunDirFromEnv() string {
	if dir := os.Getenv(RunDirEnv); dir != "" {
		return dir
	}
	return config.DefaultRunDir
}

// Open returns the engine of a data directory, which it makes unless it is open
// in this process. The caller gives it back with the function returned; the last
// one closes it.
func Open(ctx context.Context, opts Options) (e *engine.Engine, release func() error, err error) {
	if opts.DataDir == "" {
		opts.DataDir = config.DefaultDataDir
	}
	if opts.DataDir, err = filepath.Abs(opts.DataDir); err != nil {
		return nil, nil, types.BadRequestErrorf("data directory: %w", err)
	}
	if opts.RunDir == "" {
		opts.RunDir = RunDirFromEnv()
	}
	if opts.RunDir, err = filepath.Abs(opts.RunDir); err != nil {
		return nil, nil, types.BadRequestErrorf("run directory: %w", err)
	}
	open.Lock()
	s := open.engines[opts.DataDir]
	first := s == nil
	if first {
		s = &shared{ready: make(chan struct{})}
		if open.engines == nil {
			open.engines = make(map[string]*shared)
		}
		open.engines[opts.DataDir] = s
	}
	s.users++
	open.Unlock()
	if first {
		s.e, s.err = assemble(ctx, opts)
		close(s.ready)
	}
	<-s.ready
	var once sync.Once
	release = func() (err error) {
		once.Do(func() { err = s.leave(opts.DataDir) })
		return err
	}
	if s.err != nil {
		_ = release()
		return nil, nil, s.err
	}
	return s.e, release, nil
}

func (s *shared) leave(dir string) error {
	open.Lock()
	defer open.Unlock()
	s.users--
	if s.users > 0 {
		return nil
	}
	delete(open.engines, dir)
	if s.e == nil {
		return nil
	}
	// Under the lock: whoever opens the directory next finds it free.
	return s.e.Close()
}
