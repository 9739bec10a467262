package cli

import (
	"errors"
	"flag"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/extkey"
)

// runDirEnv is the environment variable that names the run directory in which a
// hook looks for its controller.
const runDirEnv = "LIBNETWORK_RUN_DIR"

// setKeyCommand is the program as an OCI hook. Its flags are those that container
// engines have always given it, with one dash.
func (a *app) setKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: extkey.Usage, Short: "Hand the network namespace of a container to its controller (OCI hook)",
		Long: `As the OCI hook createRuntime or prestart it reads the state of a container from
standard input and hands the network namespace of its process to a controller:
the daemon, whose id is printed by dnet version, or that of another program. The
controller's socket is looked for in the run directory of -exec-root, by default
in $` + runDirEnv + ` or ` + config.DefaultRunDir + `.`,
		Example: `  "hooks": {"createRuntime": [{"path": "/usr/bin/dnet",
    "args": ["libnetwork-setkey", "c1", "CONTROLLER_ID"]}]}`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := extkey.Hook(cmd.Context(), args, a.Stdin, first(a.Getenv(runDirEnv), config.DefaultRunDir))
			if errors.Is(err, flag.ErrHelp) {
				return cmd.Help()
			}
			return err
		},
	}
}
