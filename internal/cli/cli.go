// Package cli is the command line of dnet: it reads flags, asks the daemon
// through package client, and formats what comes back; "dnet daemon" runs the
// daemon in this process.
//
// Main is for one goroutine and may be called many times. It touches the
// process's arguments, environment and files only through Env, and leaves
// signals to its caller.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
	"github.com/libnetwork/libnetwork/internal/daemon"
)

// Exit codes.
const (
	codeFailed      = 1
	codeUsage       = 2
	codeNotFound    = 3
	codeConflict    = 4
	codeUnreachable = 125
)

// Env is what Main has of the process.
type Env struct {
	// Args are the arguments after the program's name.
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Version is that of the program.
	Version string
	// Open opens the engine of a daemon.
	Open daemon.OpenFunc
	// Inherited returns a descriptor that the program was started with, nil if it is
	// none of those that are handed on: a pipe or a socket. nil: there are none.
	Inherited func(fd uintptr) *os.File
	// Reload asks a daemon to read its configuration again; nil: never.
	Reload <-chan os.Signal
}

// app is what all commands share.
type app struct {
	Env
	hosts []string // -H
}

// Main runs a command until it is done or ctx ends, and returns the exit code.
// Errors are on Stderr by then.
func Main(ctx context.Context, env Env) int {
	a := &app{Env: env}
	root := a.root()
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	return a.report(root.ExecuteContext(ctx))
}

func (a *app) root() *cobra.Command {
	root := group("dnet", "Networks for containers", `  sudo dnet daemon &
  dnet network create --subnet 10.8.0.0/24 web
  dnet container create --network web -p 8080:80 c1
  dnet container inspect c1`)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.Version = a.Version
	root.SetVersionTemplate("dnet {{.Version}}\n")
	root.PersistentFlags().StringArrayVarP(&a.hosts, "host", "H", nil,
		"`address` of the daemon, unix:///PATH or tcp://HOST:PORT (default $"+client.HostEnv+" or "+api.DefaultHost+")")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	root.PersistentPreRunE = noEmptyFlags
	root.AddCommand(a.daemonCommand(), a.networkCommand(), a.containerCommand(), a.exposedCommand(), a.ipamCommand(),
		a.runCommand(), a.execCommand(), a.eventsCommand(), a.setKeyCommand(), a.versionCommand(), completionCommand(),
		a.dockerProxy(), a.demoServer(), a.demoGet(), a.demoLoopback())
	return root
}

// noEmptyFlags refuses a flag that is given with nothing: a variable of a script that
// is not set would have the default taken for what was meant.
func noEmptyFlags(cmd *cobra.Command, _ []string) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" {
			err = cmd.FlagErrorFunc()(cmd, fmt.Errorf("--%s is given without a value: leave it out for the default", f.Name))
		}
	})
	return err
}

// group is a command that only holds others.
func group(use, short, example string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example,
		Args:                       cobra.ArbitraryArgs,
		SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			err := fmt.Errorf("%q is not a command of %s", args[0], cmd.CommandPath())
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				err = fmt.Errorf("%w: do you mean %s?", err, strings.Join(near, " or "))
			}
			return usage(cmd, err)
		},
	}
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(cmd *cobra.Command, err error) error {
	return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
}

// args checks the number of arguments; most is -1 for any.
func args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		want := ""
		switch {
		case len(args) >= least && (most < 0 || len(args) <= most):
			return nil
		case most < 0:
			want = fmt.Sprintf("at least %d", least)
		case least == most:
			want = fmt.Sprint(least)
		default:
			want = fmt.Sprintf("%d to %d", least, most)
		}
		return usage(cmd, fmt.Errorf("%s takes %s arguments, not %d", cmd.CommandPath(), want, len(args)))
	}
}

// exitError ends the program with a code; its message may be empty.
type exitError struct {
	code int
	msg  string
}

func (e exitError) Error() string { return e.msg }

// manyErrors are the failures of one command for several objects.
type manyErrors []error

func (m manyErrors) Error() string { return errors.Join(m...).Error() }

// each does something for all of several objects and goes on after a failure.
func each(names []string, f func(string) error) error {
	var failed manyErrors
	for _, name := range names {
		if err := f(name); err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return failed
}

// report prints an error once and returns its exit code.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	if many, ok := errors.AsType[manyErrors](err); ok {
		for _, e := range many {
			a.print(e)
		}
		return exitCode(many[0])
	}
	a.print(err)
	return exitCode(err)
}

func (a *app) print(err error) {
	if msg := err.Error(); msg != "" {
		fmt.Fprintln(a.Stderr, "dnet:", msg)
	}
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[exitError](err); ok {
		return exit.code
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return codeUsage
	}
	if _, ok := errors.AsType[*client.UnreachableError](err); ok {
		return codeUnreachable
	}
	switch api.Code(err) {
	case api.CodeBadRequest:
		return codeUsage
	case api.CodeNotFound:
		return codeNotFound
	case api.CodeConflict:
		return codeConflict
	default:
		return codeFailed
	}
}

// host is the address of the daemon: -H, else the environment, else the default.
func (a *app) host() (string, error) {
	switch {
	case len(a.hosts) > 1:
		return "", usageError{errors.New("-H is given twice: a command talks to one daemon")}
	case len(a.hosts) == 1:
		return a.hosts[0], nil
	}
	if h := a.Getenv(client.HostEnv); h != "" {
		return h, nil
	}
	return api.DefaultHost, nil
}

// client connects to the daemon. The caller closes it.
func (a *app) client() (*client.Client, error) {
	h, err := a.host()
	if err != nil {
		return nil, err
	}
	return client.New(h)
}

// ask calls the daemon.
func (a *app) ask(f func(*client.Client) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

// runWith makes a command out of a function that needs the daemon.
func (a *app) runWith(f func(cmd *cobra.Command, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.ask(func(c *client.Client) error { return f(cmd, c, args) })
	}
}
