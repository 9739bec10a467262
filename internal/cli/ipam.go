package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/client"
)

func (a *app) ipamCommand() *cobra.Command {
	cmd := group("ipam", "See how addresses are used", `  dnet ipam ls
  dnet ipam audit`)
	cmd.AddCommand(a.ipamList(), a.ipamAudit())
	return cmd
}

// poolRow is a pool in a table or template. Numbers are text: those of IPv6 are
// larger than an integer.
type poolRow struct {
	// Pool is the range, or the subnet without one.
	ID, Pool, Manager, Space, Subnet, IPRange, Networks string
	Size, Allocated, Free, Reserved, Held               string
}

func poolHeaders() map[string]string {
	return map[string]string{
		"ID": "POOL ID", "Pool": "POOL", "Manager": "MANAGER", "Space": "SPACE", "Subnet": "SUBNET", "IPRange": "IP RANGE", "Networks": "NETWORKS",
		"Size": "SIZE", "Allocated": "ALLOCATED", "Free": "FREE", "Reserved": "RESERVED", "Held": "HELD",
	}
}

func (a *app) ipamList() *cobra.Command {
	o := output{noTrunc: true}
	cmd := &cobra.Command{
		Use: "ls [flags]", Aliases: []string{"list"}, Short: "List address pools and how full they are", Args: args(0, 0),
		Example: `  dnet ipam ls
  dnet ipam ls --filter network=web
  dnet ipam ls --format '{{.Subnet}} {{.Free}} of {{.Size}}'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := o.filter("network", "subnet", "manager")
			if err != nil {
				return err
			}
			return a.ask(func(c *client.Client) error {
				all, err := c.Pools(cmd.Context())
				if err != nil {
					return err
				}
				l := list[poolRow]{
					table:   "{{.Pool}}\t{{.Networks}}\t{{.Size}}\t{{.Allocated}}\t{{.Free}}\t{{.Reserved}}",
					headers: poolHeaders(),
				}
				for _, p := range all {
					if f.is("subnet", p.Subnet) && f.is("manager", p.Manager) && fitsUsers(f, p) {
						l.rows = append(l.rows, rowOfPool(p))
						l.objects = append(l.objects, p)
						l.ids = append(l.ids, p.ID)
					}
				}
				return l.print(a.Stdout, &o)
			})
		},
	}
	o.addRows(cmd.Flags(), "network, subnet, manager")
	return cmd
}

func fitsUsers(f filter, p api.Pool) bool {
	return f.fits("network", func(want string) bool { return slices.Contains(p.Networks, want) })
}

func rowOfPool(p api.Pool) poolRow {
	pool := p.Subnet
	if p.IPRange != "" {
		pool = p.IPRange
	}
	return poolRow{
		ID: p.ID, Pool: pool, Manager: p.Manager, Space: p.Space, Subnet: p.Subnet, IPRange: orDash(p.IPRange),
		Networks: orDash(strings.Join(p.Networks, ",")),
		Size:     p.Size, Allocated: p.Allocated, Free: p.Free, Reserved: p.Reserved, Held: p.Held,
	}
}

// findingRow is a finding in a table or template.
type findingRow struct {
	Problem, Manager, Pool, Address, Owners string
}

func findingHeaders() map[string]string {
	return map[string]string{
		"Problem": "PROBLEM", "Manager": "MANAGER", "Pool": "POOL", "Address": "ADDRESS", "Owners": "OWNERS",
	}
}

func (a *app) ipamAudit() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use: "audit [flags]", Short: "Compare the addresses that are allocated with those that are owned", Args: args(0, 0),
		Long: `Compare the addresses and pools that the address manager has given away with those
that networks and endpoints own, both ways:

  unowned      allocated, but nothing owns it: nobody can get it. The next start of
               the daemon frees it.
  unallocated  owned, but not allocated: it may be given to somebody else.
  duplicate    owned by several.

The exit status is 0 if nothing is wrong and 1 if something is.`,
		Example: `  dnet ipam audit
  dnet ipam audit --format json`,
		RunE: a.runWith(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			audit, err := c.Audit(cmd.Context())
			if err != nil {
				return err
			}
			if err := a.printAudit(audit, &o); err != nil {
				return err
			}
			if n := len(audit.Findings); n > 0 {
				return exitError{codeFailed, fmt.Sprintf("%d findings among %d addresses in %d pools; dnet ipam audit --help says what they mean", n, audit.Addresses, audit.Pools)}
			}
			return nil
		}),
	}
	o.addFormat(cmd.Flags())
	return cmd
}

func (a *app) printAudit(audit api.Audit, o *output) error {
	if o.format == "json" {
		return printJSON(a.Stdout, []any{audit})
	}
	if o.format == "" && len(audit.Findings) == 0 {
		fmt.Fprintf(a.Stdout, "%d addresses in %d pools: all are owned, and all that are owned are allocated\n", audit.Addresses, audit.Pools)
		return nil
	}
	l := list[findingRow]{table: "{{.Problem}}\t{{.Pool}}\t{{.Address}}\t{{.Owners}}", headers: findingHeaders()}
	for _, f := range audit.Findings {
		row := findingRow{Problem: f.Problem, Manager: f.Manager, Pool: f.Pool, Address: "-", Owners: orDash(strings.Join(f.Owners, ", "))}
		if f.Address.IsValid() {
			row.Address = f.Address.String()
		}
		l.rows = append(l.rows, row)
	}
	return l.print(a.Stdout, o)
}
