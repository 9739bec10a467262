// Command dnet gives containers their networks: daemon and command line in one.
package main

import (
	"os"

	"github.com/libnetwork/libnetwork/internal/cli"
	"github.com/libnetwork/libnetwork/internal/run"
)

// version is set when the program is linked.
var version = "unknown"

func main() {
	run.ChildMain()
	ctx, reload, stop := signals()
	code := cli.Main(ctx, cli.Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Version: version, Open: openEngine, Reload: reload,
	})
	stop()
	os.Exit(code)
}
