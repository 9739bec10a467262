package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/internal/netns"
)

// demoTime is how long a page may take.
const demoTime = 5 * time.Second

// demoServer serves one text: the demo must run on a machine that has no other
// web server.
func (a *app) demoServer() *cobra.Command {
	return &cobra.Command{
		Use: "demo-server ADDRESS TEXT", Short: "Serve a text over HTTP, for the demo", Hidden: true, Args: args(2, 2),
		Example: "  dnet demo-server :80 hello",
		RunE: func(cmd *cobra.Command, args []string) error {
			var lc net.ListenConfig
			l, err := lc.Listen(cmd.Context(), "tcp", args[0])
			if err != nil {
				return err
			}
			srv := &http.Server{
				ReadHeaderTimeout: demoTime,
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					fmt.Fprintf(w, "%s (you are %s)\n", args[1], r.RemoteAddr)
				}),
			}
			stop := context.AfterFunc(cmd.Context(), func() { _ = srv.Close() })
			defer stop()
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
	}
}

// demoGet prints a page.
func (a *app) demoGet() *cobra.Command {
	return &cobra.Command{
		Use: "demo-get URL", Short: "Print a page, for the demo", Hidden: true, Args: args(1, 1),
		Example: "  dnet demo-get http://api",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), demoTime)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close() //nolint:errcheck // read only
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s: %s", args[0], resp.Status)
			}
			_, err = io.Copy(a.Stdout, resp.Body)
			return err
		},
	}
}

// demoLoopback raises the loopback of a fresh network namespace: a bare machine
// has no ip command.
func (a *app) demoLoopback() *cobra.Command {
	return &cobra.Command{
		Use: "demo-loopback", Short: "Raise the loopback, for the demo", Hidden: true, Args: args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			ns, err := netns.Host(nil)
			if err != nil {
				return err
			}
			defer ns.Close()
			sock, err := ns.Rtnl()
			if err != nil {
				return err
			}
			return sock.RaiseLoopback()
		},
	}
}
