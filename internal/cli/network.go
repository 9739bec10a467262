package cli

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
	"github.com/libnetwork/libnetwork/types"
)

func (a *app) networkCommand() *cobra.Command {
	cmd := group("network", "Manage networks", `  dnet network create web
  dnet network ls
  dnet network rm web`)
	cmd.AddCommand(a.networkCreate(), a.networkList(), a.networkRemove(), a.networkInspect(), a.networkInfo(),
		a.networkPrune(), a.networkConnect(), a.networkDisconnect())
	return cmd
}

// networkFlags are the flags of network create.
type networkFlags struct {
	driver                      string
	subnets, gateways, ranges   []string
	aux                         []string
	noIPv4, ipv6, internal      bool
	ipamDriver                  string
	ipamOptions, options, label []string
}

func (a *app) networkCreate() *cobra.Command {
	var f networkFlags
	var ipv4 bool
	cmd := &cobra.Command{
		Use: "create [flags] NETWORK", Short: "Make a network and print its id", Args: args(1, 1),
		Example: `  dnet network create web
  dnet network create --subnet 10.8.0.0/24 --gateway 10.8.0.1 --ipv6 web
  dnet network create --internal -o com.docker.network.bridge.enable_icc=false vault`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.noIPv4 = !ipv4
			req, err := f.request(args[0])
			if err == nil && cmd.Flags().Changed("ipv6") && !f.ipv6 {
				err = withoutIPv6(req.Subnets)
			}
			if err != nil {
				return err
			}
			return a.ask(func(c *client.Client) error {
				n, err := c.CreateNetwork(cmd.Context(), req)
				if err == nil {
					fmt.Fprintln(a.Stdout, n.ID)
				}
				return err
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.driver, "driver", "d", api.BridgeDriver, "`driver` of the network")
	fs.StringArrayVar(&f.subnets, "subnet", nil, "subnet in `CIDR` notation (default: a free one)")
	fs.StringArrayVar(&f.gateways, "gateway", nil, "gateway of a subnet, an `IP` address (default: the first)")
	fs.StringArrayVar(&f.ranges, "ip-range", nil, "part of a subnet that containers get addresses from, in `CIDR` notation")
	fs.StringArrayVar(&f.aux, "aux-address", nil, "address of a subnet that no container gets, `NAME=IP`")
	fs.BoolVar(&ipv4, "ipv4", true, "give it IPv4 addresses; false with --ipv6 for IPv6 alone")
	fs.BoolVar(&f.ipv6, "ipv6", false, "give it IPv6 addresses too")
	fs.BoolVar(&f.internal, "internal", false, "let it exchange packets with nobody outside")
	fs.StringVar(&f.ipamDriver, "ipam-driver", "", "`name` of the address manager (default: the built-in one)")
	fs.StringArrayVar(&f.ipamOptions, "ipam-opt", nil, "option of the address manager, `KEY=VALUE`")
	fs.StringArrayVarP(&f.options, "opt", "o", nil, "option of the driver, `KEY=VALUE`")
	fs.StringArrayVar(&f.label, "label", nil, "label, `KEY=VALUE`")
	return cmd
}

// withoutIPv6 refuses subnets that --ipv6=false contradicts; without that flag they
// give the network IPv6.
func withoutIPv6(subnets []api.Subnet) error {
	for _, s := range subnets {
		if p, err := netip.ParsePrefix(s.Subnet); err == nil && p.Addr().Is6() {
			return types.BadRequestErrorf("--subnet %s is one of IPv6, which --ipv6=false turns off", s.Subnet)
		}
	}
	return nil
}

func (f *networkFlags) request(name string) (req api.NetworkCreate, err error) {
	req = api.NetworkCreate{Name: name, Driver: f.driver, Internal: f.internal, IPv6: f.ipv6, NoIPv4: f.noIPv4, IPAM: api.IPAM{Driver: f.ipamDriver}}
	if req.IPAM.Options, err = pairs("--ipam-opt", f.ipamOptions); err != nil {
		return req, err
	}
	if req.Options, err = pairs("-o", f.options); err != nil {
		return req, err
	}
	if req.Labels, err = pairs("--label", f.label); err != nil {
		return req, err
	}
	if req.Subnets, err = f.match(); err != nil {
		return req, err
	}
	return req, req.Check()
}

// pairs reads KEY=VALUE; a KEY alone has the empty value.
func pairs(flag string, list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(list))
	for _, s := range list {
		k, v, _ := strings.Cut(s, "=")
		if k == "" {
			return nil, types.BadRequestErrorf("%s %q has no key before the =", flag, s)
		}
		if _, twice := out[k]; twice {
			return nil, types.BadRequestErrorf("%s %s is given twice", flag, k)
		}
		out[k] = v
	}
	return out, nil
}

// match finds for each gateway, range and auxiliary address the subnet that it
// lies in.
func (f *networkFlags) match() ([]api.Subnet, error) {
	var subnets []api.Subnet
	var prefixes []netip.Prefix
	for _, s := range f.subnets {
		p, err := api.ParseSubnet(s)
		if err != nil {
			return nil, err
		}
		subnets = append(subnets, api.Subnet{Subnet: s})
		prefixes = append(prefixes, p)
	}
	find := func(flag, s string, addr netip.Addr) (*api.Subnet, error) {
		for i, p := range prefixes {
			if p.Contains(addr) {
				return &subnets[i], nil
			}
		}
		if len(subnets) == 0 {
			return nil, types.BadRequestErrorf("%s %s needs a --subnet that it lies in", flag, s)
		}
		return nil, types.BadRequestErrorf("%s %s is in no --subnet (%s)", flag, s, strings.Join(f.subnets, ", "))
	}
	for _, s := range f.gateways {
		addr, err := parseAddr("--gateway", s)
		if err != nil {
			return nil, err
		}
		sub, err := find("--gateway", s, addr)
		if err != nil {
			return nil, err
		}
		if sub.Gateway != "" {
			return nil, types.BadRequestErrorf("--gateway %s: subnet %s has the gateway %s already", s, sub.Subnet, sub.Gateway)
		}
		sub.Gateway = addr.String()
	}
	for _, s := range f.ranges {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, types.BadRequestErrorf("--ip-range %q is not a subnet in CIDR notation", s)
		}
		sub, err := find("--ip-range", s, p.Addr())
		if err != nil {
			return nil, err
		}
		if sub.IPRange != "" {
			return nil, types.BadRequestErrorf("--ip-range %s: subnet %s has the range %s already", s, sub.Subnet, sub.IPRange)
		}
		sub.IPRange = s
	}
	for _, s := range f.aux {
		name, ip, found := strings.Cut(s, "=")
		if !found || name == "" {
			return nil, types.BadRequestErrorf("--aux-address %q is not NAME=IP", s)
		}
		addr, err := parseAddr("--aux-address "+name, ip)
		if err != nil {
			return nil, err
		}
		sub, err := find("--aux-address", s, addr)
		if err != nil {
			return nil, err
		}
		if _, twice := sub.Aux[name]; twice {
			return nil, types.BadRequestErrorf("--aux-address %s is given twice", name)
		}
		if sub.Aux == nil {
			sub.Aux = make(map[string]string)
		}
		sub.Aux[name] = addr.String()
	}
	return subnets, nil
}

func parseAddr(flag, s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return addr, types.BadRequestErrorf("%s %q is not an IP address", flag, s)
	}
	return addr, nil
}

func (a *app) networkRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm NETWORK...", Aliases: []string{"remove"}, Short: "Remove networks", Args: args(1, -1),
		Example:           "  dnet network rm web vault",
		ValidArgsFunction: a.completeNetworks(0, -1),
		RunE: a.runWith(func(cmd *cobra.Command, c *client.Client, args []string) error {
			return each(args, func(ref string) error { return c.DeleteNetwork(cmd.Context(), ref) })
		}),
	}
}

func (a *app) networkPrune() *cobra.Command {
	return &cobra.Command{
		Use: "prune", Short: "Remove all networks that nothing is connected to, and print them", Args: args(0, 0),
		Example: "  dnet network prune",
		RunE: a.runWith(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			p, err := c.PruneNetworks(cmd.Context())
			for _, n := range p.Networks {
				fmt.Fprintln(a.Stdout, n.Name)
			}
			return err
		}),
	}
}

func (a *app) networkConnect() *cobra.Command {
	return &cobra.Command{
		Use: "connect NETWORK[:OPTIONS] CONTAINER", Short: "Connect a container to a network", Args: args(2, 2),
		Example:           "  dnet network connect web:ip=10.8.0.9,alias=www c1",
		ValidArgsFunction: completePair(a.completeNetworks(0, 1), a.completeContainers(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.connect(cmd, args[1], args[0])
		},
	}
}

func (a *app) connect(cmd *cobra.Command, container, network string) error {
	at, err := api.ParseAttachment(network)
	if err != nil {
		return err
	}
	return a.ask(func(c *client.Client) error {
		_, err := c.Connect(cmd.Context(), container, at)
		return err
	})
}

func (a *app) networkDisconnect() *cobra.Command {
	return &cobra.Command{
		Use: "disconnect NETWORK CONTAINER", Short: "Take a container off a network", Args: args(2, 2),
		Example:           "  dnet network disconnect web c1",
		ValidArgsFunction: completePair(a.completeNetworks(0, 1), a.completeContainers(1, 2)),
		RunE: a.runWith(func(cmd *cobra.Command, c *client.Client, args []string) error {
			_, err := c.Disconnect(cmd.Context(), args[1], args[0])
			return err
		}),
	}
}

func (a *app) networkInfo() *cobra.Command {
	return &cobra.Command{
		Use: "info NETWORK", Short: "Show a network to people", Args: args(1, 1),
		Example:           "  dnet network info web",
		ValidArgsFunction: a.completeNetworks(0, 1),
		RunE: a.runWith(func(cmd *cobra.Command, c *client.Client, args []string) error {
			n, err := c.Network(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Stdout, "Network Id: %s\nName: %s\nType: %s\n", n.ID, n.Name, n.Driver)
			if n.Bridge != "" {
				fmt.Fprintf(a.Stdout, "Bridge: %s\n", n.Bridge)
			}
			for _, s := range n.Subnets {
				fmt.Fprintf(a.Stdout, "Subnet: %s, gateway %s\n", s.Subnet, orDash(s.Gateway))
			}
			for _, ep := range n.Endpoints {
				fmt.Fprintf(a.Stdout, "Container: %s, %s\n", orDash(ep.Container), orDash(addresses(ep)))
			}
			return nil
		}),
	}
}
