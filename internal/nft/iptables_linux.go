package nft

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// What the nf_tables variant of iptables has made are tables, chains and rules of
// nftables, so it can be found and taken away where its programs are not installed,
// or not any more.

// An owned is what the tables of iptables hold of chains of one owner.
type owned struct {
	chains []chainOf
	// leads are the handles of rules of other chains that lead to them.
	leads map[chainOf][]uint64
	// rules are the same, for people.
	rules []Lead
}

// A Lead is a rule that leads to a chain.
type Lead struct {
	Table, Chain, To, Comment string
}

type chainOf struct {
	family       byte
	table, chain string
}

// HasIPTables says whether the nf_tables variant of iptables has chains that are owned.
func HasIPTables(ctx context.Context, owns func(chain string) bool) (bool, error) {
	c, err := dial()
	if err != nil {
		return false, nil //nolint:nilerr // the kernel has no nftables
	}
	defer c.Close()
	var o owned
	err = retry(func() (err error) {
		o, err = c.iptablesChains(ctx, owns)
		return err
	})
	return len(o.chains) > 0, err
}

// RemoveIPTables removes the chains that are owned from the tables of the nf_tables
// variant of iptables, with the rules that lead to them, in one transaction. It says
// whether there were any, and which rules of other chains went with them. The tables stay.
func RemoveIPTables(ctx context.Context, owns func(chain string) bool) (removed bool, leads []Lead, err error) {
	c, err := dial()
	if err != nil {
		return false, nil, err
	}
	defer c.Close()
	return c.removeIPTables(ctx, owns)
}

// RemoveIPTablesIn does so in the namespace that nsFD is open on.
func RemoveIPTablesIn(ctx context.Context, nsFD int, owns func(chain string) bool) (removed bool, err error) {
	c, err := dialIn(ctx, nsFD)
	if err != nil {
		return false, err
	}
	defer c.Close()
	removed, _, err = c.removeIPTables(ctx, owns)
	return removed, err
}

func (c *conn) removeIPTables(ctx context.Context, owns func(chain string) bool) (removed bool, leads []Lead, err error) {
	err = retry(func() error { // also where somebody has changed them meanwhile
		o, err := c.iptablesChains(ctx, owns)
		if removed = len(o.chains) > 0; err != nil || !removed {
			return err
		}
		if err := c.iptablesLeads(ctx, &o); err != nil {
			return err
		}
		leads = o.rules
		return c.commit(c.removal(o))
	})
	if err != nil {
		return false, nil, fmt.Errorf("removing chains of iptables: %w", err)
	}
	return removed, leads, nil
}

// removal deletes what is owned.
func (c *conn) removal(o owned) *batch {
	b := c.newBatch()
	for at, handles := range o.leads {
		for _, h := range handles {
			b.begin(unix.NFT_MSG_DELRULE, 0, at.family)
			b.str(unix.NFTA_RULE_TABLE, at.table)
			b.str(unix.NFTA_RULE_CHAIN, at.chain)
			b.u64(unix.NFTA_RULE_HANDLE, h)
			b.end()
		}
	}
	for _, at := range o.chains { // they lead to each other
		b.flushChain(at.family, at.table, at.chain)
	}
	for _, at := range o.chains {
		b.delChain(at.family, at.table, at.chain)
	}
	return b
}

// iptablesTable says whether a table is one of that variant.
func iptablesTable(table string) bool {
	switch table {
	case "filter", "nat", "mangle", "raw", "security":
		return true
	}
	return false
}

// AsleepIPTables returns the tables of that variant, with their families, that somebody has made
// dormant.
func AsleepIPTables(ctx context.Context) (tables []string, err error) {
	c, err := dial()
	if err != nil {
		return nil, fmt.Errorf("reading tables: %w", err)
	}
	defer c.Close()
	for fam, name := range map[byte]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6"} {
		for _, table := range []string{"filter", "nat", "mangle", "raw"} {
			flags, there, err := c.tableFlags(ctx, fam, table)
			if err != nil {
				return nil, fmt.Errorf("reading tables: %w", err)
			}
			if there && asleep(flags) {
				tables = append(tables, name+" "+table)
			}
		}
	}
	slices.Sort(tables)
	return tables, nil
}

func (c *conn) iptablesChains(ctx context.Context, owns func(chain string) bool) (o owned, err error) {
	for _, fam := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		err = c.request(ctx, unix.NFT_MSG_GETCHAIN, fam, nil, func(m message) error {
			a := m.attrs()
			at := chainOf{fam, cstring(a.get(unix.NFTA_CHAIN_TABLE)), cstring(a.get(unix.NFTA_CHAIN_NAME))}
			if m.family() == fam && iptablesTable(at.table) && owns(at.chain) {
				o.chains = append(o.chains, at)
			}
			return nil
		})
		if err != nil {
			return o, err
		}
	}
	return o, nil
}

// iptablesLeads reads which rules lead to chains of o.
func (c *conn) iptablesLeads(ctx context.Context, o *owned) error {
	mine, tables := map[chainOf]bool{}, map[chainOf]bool{}
	for _, at := range o.chains {
		mine[at] = true
		tables[chainOf{family: at.family, table: at.table}] = true
	}
	o.leads = map[chainOf][]uint64{}
	for t := range tables {
		err := c.request(ctx, unix.NFT_MSG_GETRULE, t.family, func(b *batch) {
			b.str(unix.NFTA_RULE_TABLE, t.table)
		}, func(m message) error {
			a := m.attrs()
			at := chainOf{t.family, cstring(a.get(unix.NFTA_RULE_TABLE)), cstring(a.get(unix.NFTA_RULE_CHAIN))}
			if at.table != t.table || mine[at] {
				return nil
			}
			if to := leadsTo(a); to != "" && mine[chainOf{t.family, t.table, to}] {
				o.leads[at] = append(o.leads[at], be64(a.get(unix.NFTA_RULE_HANDLE)))
				o.rules = append(o.rules, Lead{Table: familyOf(at.family == unix.NFPROTO_IPV6).keyword + " " + at.table, Chain: at.chain, To: to, Comment: commentOf(a)})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// commentOf is the comment of a rule of iptables.
func commentOf(rule attrs) string {
	for _, item := range attrs(rule.get(unix.NFTA_RULE_EXPRESSIONS)).all {
		data := attrs(attrs(item).get(unix.NFTA_EXPR_DATA))
		if cstring(attrs(item).get(unix.NFTA_EXPR_NAME)) == "match" && cstring(data.get(unix.NFTA_MATCH_NAME)) == "comment" {
			return cstring(data.get(unix.NFTA_MATCH_INFO))
		}
	}
	return parseComment(rule.get(unix.NFTA_RULE_USERDATA))
}

// leadsTo is the chain that a rule leads to, if it leads to any.
func leadsTo(rule attrs) string {
	for _, item := range attrs(rule.get(unix.NFTA_RULE_EXPRESSIONS)).all {
		if cstring(attrs(item).get(unix.NFTA_EXPR_NAME)) != "immediate" {
			continue
		}
		data := attrs(attrs(item).get(unix.NFTA_EXPR_DATA))
		v := attrs(attrs(data.get(unix.NFTA_IMMEDIATE_DATA)).get(unix.NFTA_DATA_VERDICT))
		if to := cstring(v.get(unix.NFTA_VERDICT_CHAIN)); to != "" {
			return to
		}
	}
	return ""
}
