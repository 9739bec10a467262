package cli

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
	"github.com/libnetwork/libnetwork/internal/run"
)

func (a *app) runCommand() *cobra.Command {
	var f *ContainerFlags
	var name string
	var remove bool
	cmd := &cobra.Command{
		Use: "run [flags] -- COMMAND [ARG...]", Short: "Run a command in a network of its own",
		Long: `Run a command in a network of its own, with its own /etc/hosts, /etc/resolv.conf
and host name. All other files are the host's.

Signals go to the command, and its exit code comes back. The network belongs to
the command: when it ends the network goes, even if this program was killed.

Exit codes of dnet itself: 125 the command was not started, 126 it cannot be
executed, 127 it was not found.`,
		Example: `  dnet run --network web --name api -p 8080:80 -- ./server --listen :80
  dnet run -- bash
  dnet run --network web -- getent hosts api`,
		Args: needCommand,
		RunE: func(cmd *cobra.Command, args []string) error {
			if name == "" {
				name = readableName()
			}
			req, err := f.Request(name)
			if err != nil {
				return failed(err)
			}
			return a.inContainer(func(c *client.Client) (int, error) {
				var sandbox string
				spec := run.Spec{Command: a.command(args), Create: func(ctx context.Context, pid int) (run.Container, error) {
					req.OwnerPID, req.OwnerPIDNamespace = pid, api.PIDNamespace()
					k, err := c.CreateContainer(ctx, req)
					sandbox = k.SandboxID
					if err == nil {
						a.warnUnpublished(req.Publish, k)
					}
					return view(k), err
				}}
				if remove {
					// By the id: the name may be another one's by now.
					spec.Remove = func(ctx context.Context) error { return c.DeleteContainer(ctx, sandbox) }
				}
				// Interrupts are for the command; its end is ours.
				return run.Run(context.WithoutCancel(cmd.Context()), spec)
			})
		},
	}
	f = AddContainerFlags(cmd.Flags())
	a.completeContainerFlags(cmd)
	commandFlags(cmd)
	cmd.Flags().StringVar(&name, "name", "", "`name` of the container (default: one that is made up)")
	cmd.Flags().BoolVar(&remove, "rm", true, "remove the network before returning; else the daemon does it a moment later")
	return cmd
}

// needCommand wants a command, which may follow flags without the dashes too.
func needCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return failed(usage(cmd, fmt.Errorf("%s needs a command to run", cmd.CommandPath())))
	}
	return nil
}

// failed gives an error the exit code of what is not the command's fault.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return exitError{run.CodeFailed, err.Error()}
}

// commandFlags ends the flags of a command that runs another one at the first
// argument, and makes a wrong one a failure of ours.
func commandFlags(cmd *cobra.Command) {
	cmd.Flags().SetInterspersed(false)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return failed(usage(cmd, err)) })
}

// inContainer runs a command and makes its exit code ours.
func (a *app) inContainer(f func(*client.Client) (int, error)) error {
	c, err := a.client()
	if err != nil {
		return failed(err)
	}
	defer c.Close()
	code, err := f(c)
	switch {
	case err != nil:
		return exitError{code, err.Error()}
	case code != 0:
		return exitError{code: code}
	}
	return nil
}

// command is a command with the files of this process. What is no file, as in
// tests, becomes /dev/null.
func (a *app) command(args []string) run.Command {
	in, _ := a.Stdin.(*os.File)
	out, _ := a.Stdout.(*os.File)
	errs, _ := a.Stderr.(*os.File)
	return run.Command{Args: args, Stdin: in, Stdout: out, Stderr: errs}
}

// view is what a command sees of a container.
func view(k api.Container) run.Container {
	v := run.Container{Netns: k.Netns, Hosts: k.HostsPath, ResolvConf: k.ResolvConfPath, Hostname: k.Hostname}
	if k.Host {
		v.Netns = ""
	}
	return v
}

// readableName makes up a name for a container. The daemon refuses one that is
// taken.
func readableName() string {
	first := [...]string{
		"amber", "brisk", "calm", "dapper", "eager", "fair", "gentle", "happy", "keen", "light", "merry", "noble",
		"proud", "quick", "royal", "sunny", "tidy", "vivid", "warm", "young",
	}
	second := [...]string{
		"badger", "beaver", "crane", "dolphin", "eagle", "falcon", "gecko", "heron", "ibis", "jay", "koala", "lynx",
		"marten", "newt", "otter", "panda", "quail", "raven", "seal", "tiger",
	}
	return fmt.Sprintf("%s-%s-%04x", first[rand.IntN(len(first))], second[rand.IntN(len(second))], rand.IntN(1<<16))
}
