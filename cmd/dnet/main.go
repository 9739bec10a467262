// Command dnet gives containers their networks: daemon and command line in one.
package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/libnetwork/libnetwork/internal/cli"
	"github.com/libnetwork/libnetwork/internal/daemon"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/extkey"
	"github.com/libnetwork/libnetwork/internal/run"
)

// version is set when the program is linked.
var version = "unknown"

func main() {
	run.ChildMain()
	ctx, reload, listen, stop := signals()
	open := func(ctx context.Context, cfg daemon.EngineConfig) (*engine.Engine, func() error, error) {
		listen() // this is the daemon
		return openEngine(ctx, cfg)
	}
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == extkey.Name {
		args = slices.Insert(args, 0, extkey.Name)
	}
	code := cli.Main(ctx, cli.Env{
		Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Version: version, Open: open, Reload: reload,
	})
	stop()
	os.Exit(code)
}
