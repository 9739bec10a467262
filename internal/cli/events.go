package cli

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
)

func (a *app) eventsCommand() *cobra.Command {
	var o output
	var since, until string
	cmd := &cobra.Command{
		Use: "events [flags]", Short: "Print what happens, as it happens", Args: args(0, 0),
		Long: "Print what happens, as it happens.\n\n" +
			"The daemon remembers the last 1024 events since it started: with --since, those come\n" +
			"first. Times are durations such as 10m, which is ten minutes ago, dates and times such\n" +
			"as 2006-01-02T15:04:05Z, or seconds since 1970. Values of one --filter key are\n" +
			"alternatives; all keys must fit.",
		Example: `  dnet events
  dnet events --since 10m --until 0s
  dnet events --format json --filter type=network --filter action=connect`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := eventQuery(since, until, o.filters, time.Now())
			if err != nil {
				return err
			}
			return a.ask(func(c *client.Client) error {
				events, err := c.Events(cmd.Context(), q)
				if err != nil {
					return err
				}
				for ev, err := range events {
					if err != nil {
						return err
					}
					if err := a.printEvent(ev, &o); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	o.addFormat(cmd.Flags())
	cmd.Flags().StringVar(&since, "since", "", "begin with what has happened since `TIME`")
	cmd.Flags().StringVar(&until, "until", "", "end at `TIME`")
	cmd.Flags().StringArrayVarP(&o.filters, "filter", "f", nil,
		"print what fits `KEY=VALUE` only; keys are type, action, name, id, network, container, endpoint, scope")
	return cmd
}

// eventQuery reads the flags. Durations are against the clock of this machine.
func eventQuery(since, until string, filters []string, now time.Time) (q api.EventQuery, err error) {
	for _, f := range []struct {
		flag, text string
		to         *string
	}{{"--since", since, &q.Since}, {"--until", until, &q.Until}} {
		if f.text == "" {
			continue
		}
		t, err := api.ParseTime(f.text, now)
		if err != nil {
			return q, usageError{fmt.Errorf("%s: %w", f.flag, err)}
		}
		*f.to = api.FormatTime(t)
	}
	q.Filters = make(api.EventFilter)
	for _, s := range filters {
		k, v, found := strings.Cut(s, "=")
		if !found || v == "" {
			return q, usageError{fmt.Errorf("--filter %q is not KEY=VALUE", s)}
		}
		q.Filters[k] = append(q.Filters[k], v)
	}
	if err := q.Filters.Check(); err != nil {
		return q, usageError{fmt.Errorf("--filter: %w", err)}
	}
	return q, nil
}

func (a *app) printEvent(ev api.Event, o *output) error {
	switch o.format {
	case "":
		attrs := ""
		for _, k := range slices.Sorted(maps.Keys(ev.Actor.Attributes)) {
			if attrs != "" {
				attrs += ", "
			}
			attrs += k + "=" + ev.Actor.Attributes[k]
		}
		when := time.Unix(0, ev.TimeNano).Format(time.RFC3339Nano)
		_, err := fmt.Fprintf(a.Stdout, "%s %s %s %s (%s)\n", when, ev.Type, ev.Action, ev.Actor.ID, attrs)
		return err
	case "json":
		return printJSON(a.Stdout, []any{ev})
	default:
		return printTemplate(a.Stdout, o.format, []api.Event{ev})
	}
}

// versions are those of both ends.
type versions struct {
	Client api.Version
	// Server is nil when the daemon does not answer.
	Server *api.Version `json:",omitempty"`
}

func (a *app) versionCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "version [flags]", Short: "Print the versions of the program and of the daemon", Args: args(0, 0),
		Example: "  dnet version\n  dnet version --format '{{.Client.Version}}'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Client: api.Version{
				Version: a.Version, GoVersion: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, API: "v2",
			}}
			failed := a.ask(func(c *client.Client) error {
				server, err := c.Version(cmd.Context())
				if err == nil {
					v.Server = &server
				}
				return err
			})
			if o.format != "" {
				if err := printInspect(a.Stdout, o.format, []versions{v}); err != nil {
					return err
				}
				return failed
			}
			fmt.Fprintf(a.Stdout, "Client: dnet %s (%s, %s/%s)\n", v.Client.Version, v.Client.GoVersion, v.Client.OS, v.Client.Arch)
			if s := v.Server; s != nil {
				fmt.Fprintf(a.Stdout, "Daemon: dnet %s (%s, %s/%s), API %s\n", s.Version, s.GoVersion, s.OS, s.Arch, s.API)
				fmt.Fprintf(a.Stdout, "Controller: %s\n", s.Controller)
			}
			return failed
		},
	}
	o.addFormat(cmd.Flags())
	return cmd
}
