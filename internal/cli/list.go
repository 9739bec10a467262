package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
	"github.com/libnetwork/libnetwork/internal/model"
)

// filter holds the values of --filter by their keys. Values of one key are
// alternatives; all keys must fit. All labels must fit.
type filter map[string][]string

func (o *output) filter(known ...string) (filter, error) {
	f := make(filter)
	for _, s := range o.filters {
		k, v, found := strings.Cut(s, "=")
		switch {
		case !found || v == "":
			return nil, usageError{fmt.Errorf("--filter %q is not KEY=VALUE", s)}
		case !slices.Contains(known, k):
			return nil, usageError{fmt.Errorf("--filter %s: key %q is not one of %s", s, k, strings.Join(known, ", "))}
		}
		f[k] = append(f[k], v)
	}
	return f, nil
}

// fits says whether one of the values of a key does; a key that was not given
// fits.
func (f filter) fits(key string, match func(want string) bool) bool {
	return len(f[key]) == 0 || slices.ContainsFunc(f[key], match)
}

func (f filter) contains(key, value string) bool {
	return f.fits(key, func(want string) bool { return strings.Contains(value, want) })
}

func (f filter) begins(key string, values ...string) bool {
	return f.fits(key, func(want string) bool {
		return slices.ContainsFunc(values, func(v string) bool { return strings.HasPrefix(v, want) })
	})
}

func (f filter) is(key, value string) bool {
	return f.fits(key, func(want string) bool { return value == want })
}

func (f filter) labels(have map[string]string) bool {
	for _, want := range f["label"] {
		k, v, valued := strings.Cut(want, "=")
		if got, ok := have[k]; !ok || valued && got != v {
			return false
		}
	}
	return true
}

// networkRow is a network in a table or template.
type networkRow struct {
	ID, Name, Driver, Scope, Subnets, Bridge string
	Internal, IPv6                           bool
	Containers                               int
	Labels, Options                          map[string]string
	CreatedAt                                string
}

func networkHeaders() map[string]string {
	return map[string]string{
		"ID": "NETWORK ID", "Name": "NAME", "Driver": "TYPE", "Scope": "SCOPE", "Subnets": "SUBNETS", "Bridge": "BRIDGE",
		"Internal": "INTERNAL", "IPv6": "IPV6", "Containers": "CONTAINERS", "Labels": "LABELS", "Options": "OPTIONS",
		"CreatedAt": "CREATED AT",
	}
}

func (a *app) networkList() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "ls [flags]", Aliases: []string{"list"}, Short: "List networks", Args: args(0, 0),
		Example: `  dnet network ls
  dnet network ls -q --filter driver=bridge
  dnet network ls --format 'table {{.Name}}\t{{.Subnets}}'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := o.filter("name", "id", "driver", "label")
			if err != nil {
				return err
			}
			return a.ask(func(c *client.Client) error {
				all, err := c.Networks(cmd.Context())
				if err != nil {
					return err
				}
				l := list[networkRow]{table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Subnets}}", headers: networkHeaders()}
				for _, n := range all {
					if f.contains("name", n.Name) && f.begins("id", n.ID) && f.is("driver", n.Driver) && f.labels(n.Labels) {
						l.rows = append(l.rows, rowOfNetwork(n, &o))
						l.objects = append(l.objects, n)
						l.ids = append(l.ids, n.ID)
					}
				}
				return l.print(a.Stdout, &o)
			})
		},
	}
	o.addList(cmd.Flags(), "name, id, driver, label")
	return cmd
}

func rowOfNetwork(n api.Network, o *output) networkRow {
	var subnets []string
	for _, s := range n.Subnets {
		subnets = append(subnets, s.Subnet)
	}
	return networkRow{
		ID: o.id(n.ID), Name: n.Name, Driver: n.Driver, Scope: n.Scope, Bridge: orDash(n.Bridge),
		Subnets: orDash(strings.Join(subnets, ",")), Internal: n.Internal, IPv6: n.IPv6, Containers: len(n.Endpoints),
		Labels: n.Labels, Options: n.Options, CreatedAt: n.Created.Format(time.RFC3339),
	}
}

// containerRow is a container in a table or template.
type containerRow struct {
	ID, SandboxID, Networks, Addresses, Ports, Netns, CreatedAt string
}

func containerHeaders() map[string]string {
	return map[string]string{
		"ID": "CONTAINER ID", "SandboxID": "SANDBOX ID", "Networks": "NETWORKS", "Addresses": "ADDRESSES", "Ports": "PORTS",
		"Netns": "NETNS", "CreatedAt": "CREATED AT",
	}
}

func (a *app) containerList() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "ls [flags]", Aliases: []string{"list"}, Short: "List containers", Args: args(0, 0),
		Example: `  dnet container ls
  dnet container ls --filter network=web --format '{{.ID}} {{.Addresses}}'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := o.filter("name", "id", "network")
			if err != nil {
				return err
			}
			return a.ask(func(c *client.Client) error {
				all, err := c.Containers(cmd.Context())
				if err != nil {
					return err
				}
				l := list[containerRow]{table: "{{.ID}}\t{{.Networks}}\t{{.Addresses}}\t{{.Ports}}", headers: containerHeaders()}
				for _, k := range all {
					if f.contains("name", k.ID) && f.begins("id", k.ID, k.SandboxID) && fitsNetwork(f, k) {
						l.rows = append(l.rows, rowOfContainer(k, &o))
						l.objects = append(l.objects, k)
						l.ids = append(l.ids, k.ID)
					}
				}
				return l.print(a.Stdout, &o)
			})
		},
	}
	o.addList(cmd.Flags(), "name, id, network")
	return cmd
}

func fitsNetwork(f filter, k api.Container) bool {
	return f.fits("network", func(want string) bool {
		return slices.ContainsFunc(k.Endpoints, func(ep api.Endpoint) bool {
			return ep.Network == want || strings.HasPrefix(ep.NetworkID, want)
		})
	})
}

func rowOfContainer(k api.Container, o *output) containerRow {
	var networks, addrs, ports []string
	for _, ep := range k.Endpoints {
		networks = append(networks, ep.Network)
		if s := addresses(ep); s != "" {
			addrs = append(addrs, s)
		}
	}
	for _, p := range k.Ports {
		inside, outside := portText(p)
		ports = append(ports, outside+"->"+inside)
	}
	for _, p := range k.Open {
		_, outside := portText(openPort(p))
		ports = append(ports, outside+"/"+p.Protocol)
	}
	id := k.ID
	if model.IsID(id) {
		id = o.id(id)
	}
	return containerRow{
		ID: id, SandboxID: o.id(k.SandboxID), Netns: orDash(k.Netns), CreatedAt: k.Created.Format(time.RFC3339),
		Networks: orDash(strings.Join(networks, ",")), Addresses: orDash(strings.Join(addrs, ",")), Ports: orDash(strings.Join(ports, ",")),
	}
}

// addresses are those of an endpoint, without the lengths of their subnets.
func addresses(ep api.Endpoint) string {
	var out []string
	if ep.IPv4.IsValid() {
		out = append(out, ep.IPv4.Addr().String())
	}
	if ep.IPv6.IsValid() {
		out = append(out, ep.IPv6.Addr().String())
	}
	return strings.Join(out, ",")
}

func (a *app) networkInspect() *cobra.Command {
	cmd := inspect(a, "network", func(ctx context.Context, c *client.Client, ref string) (api.Network, error) {
		return c.Network(ctx, ref)
	})
	cmd.ValidArgsFunction = a.completeNetworks(0, -1)
	return cmd
}

func (a *app) containerInspect() *cobra.Command {
	cmd := inspect(a, "container", func(ctx context.Context, c *client.Client, ref string) (api.Container, error) {
		return c.Container(ctx, ref)
	})
	cmd.ValidArgsFunction = a.completeContainers(0, -1)
	return cmd
}

// inspect is a command that prints all there is to know of objects.
func inspect[T any](a *app, what string, get func(context.Context, *client.Client, string) (T, error)) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "inspect [flags] " + strings.ToUpper(what) + "...", Short: "Print all about a " + what + " as JSON", Args: args(1, -1),
		Example: "  dnet " + what + " inspect NAME\n  dnet " + what + " inspect --format '{{.ID}}' NAME",
		RunE: a.runWith(func(cmd *cobra.Command, c *client.Client, args []string) error {
			var found []T
			failed := each(args, func(ref string) error {
				v, err := get(cmd.Context(), c, ref)
				if err == nil {
					found = append(found, v)
				}
				return err
			})
			if err := printInspect(a.Stdout, o.format, found); err != nil {
				return err
			}
			return failed
		}),
	}
	o.addFormat(cmd.Flags())
	return cmd
}
