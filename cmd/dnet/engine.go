package main

import (
	"context"
	"errors"
	"os"
	"runtime"

	"github.com/libnetwork/libnetwork/internal/daemon"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/host"
)

// openEngine opens the engine of this machine's kernel.
func openEngine(ctx context.Context, cfg daemon.EngineConfig) (*engine.Engine, func() error, error) {
	if runtime.GOOS == "linux" && os.Geteuid() != 0 {
		return nil, nil, errors.New("the daemon must be root: it makes network namespaces, links and firewall rules; try sudo dnet daemon")
	}
	return host.Open(ctx, host.Options{
		DataDir: cfg.DataDir, RunDir: cfg.RunDir, KeepAlive: cfg.KeepAlive, RemoveUnowned: cfg.RemoveUnowned, Forwarding: cfg.Forwarding,
		HeldPorts: cfg.HeldPorts, DirectRouting: cfg.DirectRouting, Firewall: cfg.Firewall, SmallPools: true, Sockets: cfg.Sockets, Logger: cfg.Logger,
	})
}
