package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/internal/client"
	"github.com/libnetwork/libnetwork/internal/run"
)

func (a *app) execCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "exec CONTAINER -- COMMAND [ARG...]", Short: "Run a command in the network of a container",
		Long: `Run a command in the network of a container. If the container belongs to a
process with mounts and a host name of its own, the command sees these.

Exit codes of dnet itself: 125 the command was not started, 126 it cannot be
executed, 127 it was not found.`,
		Example: `  dnet exec api -- ip address
  dnet exec api -- getent hosts db`,
		ValidArgsFunction: a.completeContainers(0, 1),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return failed(usage(cmd, errors.New("dnet exec needs a container and a command")))
			}
			return needCommand(cmd, args[1:])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, rest := args[0], args[1:]
			if rest[0] == "--" {
				rest = rest[1:]
			}
			if err := needCommand(cmd, rest); err != nil {
				return err
			}
			return a.inContainer(func(c *client.Client) (int, error) {
				k, err := c.Container(cmd.Context(), ref)
				if err != nil {
					return run.CodeFailed, err
				}
				return run.Exec(context.WithoutCancel(cmd.Context()), run.ExecSpec{
					Command: a.command(rest), Container: view(k), Owner: run.Process{PID: k.OwnerPID, Start: k.OwnerStart},
				})
			})
		},
	}
	commandFlags(cmd)
	return cmd
}
