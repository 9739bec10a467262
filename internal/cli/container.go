package cli

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
)

func (a *app) containerCommand() *cobra.Command {
	cmd := group("container", "Manage the networks of containers", `  dnet container create --network web -p 8080:80 c1
  dnet container ls
  dnet container rm c1`)
	cmd.AddCommand(a.containerCreate(), a.containerList(), a.containerRemove(), a.containerInspect(),
		a.containerConnect(), a.containerDisconnect(), a.containerPort())
	return cmd
}

func (a *app) containerCreate() *cobra.Command {
	var f *ContainerFlags
	cmd := &cobra.Command{
		Use: "create [flags] CONTAINER", Short: "Make the network of a container and print its sandbox id", Args: args(1, 1),
		Example: `  dnet container create c1
  dnet container create --network web:ip=10.8.0.9,alias=www --network vault -p 127.0.0.1:8080:80 c1
  dnet container create --netns /run/netns/mine c1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := f.Request(args[0])
			if err != nil {
				return err
			}
			return a.ask(func(c *client.Client) error {
				k, err := c.CreateContainer(cmd.Context(), req)
				if err == nil {
					a.warnUnpublished(req.Publish, k)
					fmt.Fprintln(a.Stdout, k.SandboxID)
				}
				return err
			})
		},
	}
	f = AddContainerFlags(cmd.Flags())
	a.completeContainerFlags(cmd)
	return cmd
}

// warnUnpublished tells of ports that were asked for and lead nowhere for now: a
// network with a way out may be connected later.
func (a *app) warnUnpublished(wishes []api.Publish, k api.Container) {
	for _, w := range wishes {
		if slices.ContainsFunc(k.Ports, func(p api.Port) bool { return meets(p, w) }) ||
			slices.ContainsFunc(k.Open, func(p api.OpenPort) bool { return opens(p, w) }) {
			continue
		}
		needs := "with a way out"
		if host, err := netip.ParseAddr(w.HostIP); err == nil {
			needs = "that publishes at IPv4 addresses of the host"
			if host.Unmap().Is6() {
				needs = "that publishes at IPv6 addresses of the host"
				// What a process forwards is one port of TCP or UDP.
				if w.Protocol == "sctp" || w.PortEnd > w.Port || w.HostPortEnd > w.HostPort {
					needs += ", where ranges and SCTP lead to IPv6 addresses of containers only, and not from " + netip.IPv6Loopback().String()
				}
			}
		}
		fmt.Fprintf(a.Stderr, "dnet: warning: %s is not published: container %s is on no network %s\n", w, k.ID, needs)
	}
}

func meets(p api.Port, w api.Publish) bool {
	host, err := netip.ParseAddr(w.HostIP)
	return p.Protocol == cmp.Or(w.Protocol, "tcp") && p.Port <= w.Port && w.Port <= p.PortEnd && (err != nil || host.Unmap() == p.HostIP)
}

// opens says whether a wish has opened a port at the container's own address; one for a certain
// address of the host opens none.
func opens(p api.OpenPort, w api.Publish) bool {
	host, err := netip.ParseAddr(w.HostIP)
	return p.Protocol == cmp.Or(w.Protocol, "tcp") && p.Port <= w.Port && w.Port <= p.PortEnd &&
		(err != nil || host.IsUnspecified() && host.Unmap().Is6() == p.IP.Is6())
}

func (a *app) containerRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm CONTAINER...", Aliases: []string{"remove"}, Short: "Remove the networks of containers", Args: args(1, -1),
		Example:           "  dnet container rm c1 c2",
		ValidArgsFunction: a.completeContainers(0, -1),
		RunE: a.runWith(func(cmd *cobra.Command, c *client.Client, args []string) error {
			return each(args, func(ref string) error { return c.DeleteContainer(cmd.Context(), ref) })
		}),
	}
}

func (a *app) containerConnect() *cobra.Command {
	return &cobra.Command{
		Use: "connect CONTAINER NETWORK[:OPTIONS]", Short: "Connect a container to a network", Args: args(2, 2),
		Example:           "  dnet container connect c1 web:ip=10.8.0.9,alias=www",
		ValidArgsFunction: completePair(a.completeContainers(0, 1), a.completeNetworks(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.connect(cmd, args[0], args[1])
		},
	}
}

func (a *app) containerDisconnect() *cobra.Command {
	return &cobra.Command{
		Use: "disconnect CONTAINER NETWORK", Short: "Take a container off a network", Args: args(2, 2),
		Example:           "  dnet container disconnect c1 web",
		ValidArgsFunction: completePair(a.completeContainers(0, 1), a.completeNetworks(1, 2)),
		RunE: a.runWith(func(cmd *cobra.Command, c *client.Client, args []string) error {
			_, err := c.Disconnect(cmd.Context(), args[0], args[1])
			return err
		}),
	}
}

func (a *app) containerPort() *cobra.Command {
	return &cobra.Command{
		Use: "port CONTAINER", Short: "Show the published ports of a container", Args: args(1, 1),
		Example:           "  dnet container port c1",
		ValidArgsFunction: a.completeContainers(0, 1),
		RunE: a.runWith(func(cmd *cobra.Command, c *client.Client, args []string) error {
			k, err := c.Container(cmd.Context(), args[0])
			for _, p := range k.Ports {
				inside, outside := portText(p)
				if p.Kept != "held" {
					outside += " (" + kept(p.Kept) + ")"
				}
				fmt.Fprintf(a.Stdout, "%s -> %s\n", inside, outside)
			}
			for _, p := range k.Open {
				inside, outside := portText(openPort(p))
				fmt.Fprintf(a.Stdout, "%s -> %s (open at its own address)\n", inside, outside)
			}
			return err
		}),
	}
}

// kept says in words how a port that is not held is kept from other programs.
func kept(how string) string {
	switch how {
	case "forwarded":
		return "forwarded by the daemon"
	case "checked":
		return "checked, not held"
	case "rule":
		return "by the rule alone, not held"
	case "taken":
		return "taken by another program"
	}
	return how
}

// openPort is what a port that is open at the container's own address looks like among
// those that are published: both sides are the same.
func openPort(p api.OpenPort) api.Port {
	return api.Port{
		Protocol: p.Protocol, HostIP: p.IP, HostPort: p.Port, HostPortEnd: p.PortEnd, IP: p.IP, Port: p.Port, PortEnd: p.PortEnd,
	}
}

// portText shows both sides of a published port.
func portText(p api.Port) (inside, outside string) {
	host := p.HostIP.String()
	if p.HostIP.Is6() {
		host = "[" + host + "]"
	}
	return api.Ports(p.Port, p.PortEnd) + "/" + p.Protocol, host + ":" + api.Ports(p.HostPort, p.HostPortEnd)
}
