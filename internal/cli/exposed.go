package cli

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
	"github.com/libnetwork/libnetwork/internal/model"
)

// exposedRow is a way to ports of a container, in a table or template.
type exposedRow struct {
	Container, Network, From, Address, Port, IP, Through, Why, Rules, Warnings string
}

func exposedHeaders() map[string]string {
	return map[string]string{
		"Container": "CONTAINER", "Network": "NETWORK", "From": "FROM", "Address": "ADDRESS", "Port": "PORT", "IP": "IP",
		"Through": "THROUGH", "Why": "WHY", "Rules": "RULES", "Warnings": "WARNINGS",
	}
}

// outsiders are the values of --filter from=.
func outsiders() []string { return []string{"internet", "lan", "network", "neighbour", "host"} }

func (a *app) exposedCommand() *cobra.Command {
	o := output{noTrunc: true}
	cmd := &cobra.Command{
		Use: "exposed [flags]", Short: "List who can reach which ports of containers, and by which rule", Args: args(0, 0),
		Long: `List which ports of containers are open, to whom, and by which rule:

  internet   any other machine, near or far, that dials an address of the host
  lan        a machine with a route by the host to the container's own address
  network    containers on other networks, at an address of the host, that of their
             gateway included, or at the container's own
  neighbour  containers on the same network, and the container itself at an address
             of the host
  host       processes of the host

ADDRESS is what they dial: 0.0.0.0 and [::] are all addresses of the host (those of
127.0.0.0/8 only from the host), "but" says which of them lead elsewhere. PORT is the
container's. RULES names the rules of the firewall that let packets in; where there are
none, nothing is in the way. --format json has the command that shows each of them.

It is what our own rules let in, whether or not a program listens. Packets that the
kernel leads to a container pass by the rules of the host for what comes in (INPUT, as
of ufw): what must not be reached from outside is to be published on 127.0.0.1.
WARNINGS tells of a host that forwards no packets of a family, and names chains of others that drop what nothing in them accepts, by their policy or
last rule; between neighbours those for what bridges forward. Other rules of others can
close more than this list says. Networks of drivers of somebody else are not in it.`,
		Example: `  dnet exposed
  dnet exposed --filter from=internet
  dnet exposed -q --filter from=lan --filter network=web
  dnet exposed --filter container=c1 --format json
  dnet exposed --format 'table {{.Container}}\t{{.From}}\t{{.Address}}\t{{.Warnings}}'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := o.filter("network", "container", "from")
			if err != nil {
				return err
			}
			for _, from := range f["from"] {
				if !slices.Contains(outsiders(), from) {
					return usageError{fmt.Errorf("--filter from=%s: %q is not one of %s", from, from, strings.Join(outsiders(), ", "))}
				}
			}
			return a.ask(func(c *client.Client) error {
				if err := known(cmd.Context(), c, f); err != nil {
					return err
				}
				all, err := c.Exposed(cmd.Context())
				if err != nil {
					return err
				}
				return a.printExposed(all, f, &o)
			})
		},
	}
	o.addRows(cmd.Flags(), "network, container, from")
	if err := cmd.RegisterFlagCompletionFunc("filter", a.completeExposed); err != nil {
		panic(err) // there is no such flag: a mistake here
	}
	return cmd
}

// known fails where a filter names what there is not: that nothing is exposed must not be
// said of a word that was mistyped. What there is gets the name by which rows know it.
func known(ctx context.Context, c *client.Client, f filter) error {
	for i, ref := range f["network"] {
		n, err := c.Network(ctx, ref)
		if err != nil {
			return err
		}
		f["network"][i] = n.Name
	}
	for i, ref := range f["container"] {
		k, err := c.Container(ctx, ref)
		if err != nil {
			return err
		}
		f["container"][i] = k.ID
	}
	return nil
}

func (a *app) printExposed(all []api.Exposed, f filter, o *output) error {
	l := list[exposedRow]{
		table:   "{{.Container}}\t{{.From}}\t{{.Address}}\t{{.Port}}\t{{.Why}}\t{{.Rules}}\t{{.Warnings}}",
		headers: exposedHeaders(),
	}
	for _, e := range all {
		named := func(want string) bool {
			return e.Container == want || model.IsID(e.Container) && strings.HasPrefix(e.Container, want)
		}
		if !f.is("network", e.Network) || !f.fits("container", named) || !f.is("from", e.From) {
			continue
		}
		l.rows = append(l.rows, rowOfExposed(e))
		l.objects = append(l.objects, e)
		if n := len(l.ids); n == 0 || l.ids[n-1] != e.Container {
			l.ids = append(l.ids, e.Container)
		}
	}
	return l.print(a.Stdout, o)
}

func rowOfExposed(e api.Exposed) exposedRow {
	from := e.From
	switch {
	case len(e.Only) > 0:
		from += " (" + strings.Join(e.Only, ",") + ")"
	case e.InternalToo:
		from += " (internal too)"
	}
	rules := make([]string, 0, len(e.Rules))
	for _, r := range e.Rules {
		rules = append(rules, r.Show[strings.LastIndexByte(r.Show, ' ')+1:]+" "+r.Text)
	}
	return exposedRow{
		Container: e.Container, Network: orDash(e.Network), From: from, Address: dialled(e), IP: e.IP.String(),
		Port: portsOf(e.ContainerPort, e.ContainerPortEnd, e.Protocol), Through: e.Through, Why: e.Why,
		Rules: orDash(strings.Join(rules, ", ")), Warnings: orDash(strings.Join(e.Warnings, "; ")),
	}
}

// dialled is what is dialled to go a way.
func dialled(e api.Exposed) string {
	text := e.Address.String()
	if e.Address.Is6() {
		text = "[" + text + "]"
	}
	if e.Port != 1 || e.PortEnd != 65535 {
		text += ":" + api.Ports(e.Port, e.PortEnd)
	}
	if e.SourcePort != 0 {
		text += fmt.Sprintf(" from port %d", e.SourcePort)
	}
	if len(e.Except) > 0 {
		text += " but " + strings.Join(texts(e.Except), ",")
	}
	return text
}

func texts(list []netip.AddrPort) []string {
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

func portsOf(first, last uint16, protocol string) string {
	ports := api.Ports(first, last)
	if first == 1 && last == 65535 {
		ports = "all"
	}
	if protocol == "all" {
		return ports
	}
	return ports + "/" + protocol
}

// completeExposed completes the values of --filter.
func (a *app) completeExposed(cmd *cobra.Command, _ []string, part string) (out []string, _ cobra.ShellCompDirective) {
	key, _, found := strings.Cut(part, "=")
	if !found {
		return []string{"network=", "container=", "from="}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	names, directive := outsiders(), cobra.ShellCompDirectiveNoFileComp
	switch key {
	case "network":
		names, directive = a.completeNetworks(0, -1)(cmd, nil, "")
	case "container":
		names, directive = a.completeContainers(0, -1)(cmd, nil, "")
	case "from":
	default:
		return nil, directive
	}
	for _, n := range names {
		out = append(out, key+"="+n)
	}
	return out, directive
}
