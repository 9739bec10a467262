package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/internal/client"
)

// completeTime is how long a shell waits for names.
const completeTime = 2 * time.Second

func completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print a completion script for a shell", ValidArgs: shells,
		Example: `  dnet completion bash > /etc/bash_completion.d/dnet
  dnet completion zsh > "${fpath[1]}/_dnet"
  dnet completion fish > ~/.config/fish/completions/dnet.fish`,
		Args: func(cmd *cobra.Command, given []string) error {
			if err := args(1, 1)(cmd, given); err != nil {
				return err
			}
			if !slices.Contains(shells, given[0]) {
				return usage(cmd, fmt.Errorf("shell %q is not known: there are bash, zsh and fish", given[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			default:
				return root.GenFishCompletion(out, true)
			}
		},
	}
}

type completeFunc = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeNetworks completes the arguments from first up to, not including, end
// with names of networks; end -1 is without one.
func (a *app) completeNetworks(first, end int) completeFunc {
	return a.complete(first, end, func(ctx context.Context, c *client.Client) (names []string, err error) {
		all, err := c.Networks(ctx)
		for _, n := range all {
			names = append(names, n.Name)
		}
		return names, err
	})
}

func (a *app) completeContainers(first, end int) completeFunc {
	return a.complete(first, end, func(ctx context.Context, c *client.Client) (names []string, err error) {
		all, err := c.Containers(ctx)
		for _, k := range all {
			names = append(names, k.ID)
		}
		return names, err
	})
}

// completePair completes two arguments of different kinds.
func completePair(first, second completeFunc) completeFunc {
	return func(cmd *cobra.Command, given []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(given) == 0 {
			return first(cmd, given, typed)
		}
		return second(cmd, given, typed)
	}
}

// completeContainerFlags completes the values of a container's flags.
func (a *app) completeContainerFlags(cmd *cobra.Command) {
	networks := a.completeNetworks(0, -1)
	values := func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		names, directive := networks(cmd, nil, typed)
		return names, directive | cobra.ShellCompDirectiveNoSpace // options may follow
	}
	if err := cmd.RegisterFlagCompletionFunc("network", values); err != nil {
		panic("cli: " + err.Error()) // the flag is missing
	}
}

func (a *app) complete(first, end int, get func(context.Context, *client.Client) ([]string, error)) completeFunc {
	return func(cmd *cobra.Command, given []string, _ string) (names []string, _ cobra.ShellCompDirective) {
		if len(given) < first || end >= 0 && len(given) >= end {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
		defer cancel()
		err := a.ask(func(c *client.Client) (err error) {
			names, err = get(ctx, c)
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names = slices.DeleteFunc(names, func(n string) bool { return slices.Contains(given, n) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
