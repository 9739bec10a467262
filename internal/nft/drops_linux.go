package nft

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// LegacyFilter is what the table filter of the legacy backend of iptables is called
// here: one of that name may stand beside it.
const LegacyFilter = foreignTable + " (legacy)"

// What firewalld has: a table, or a chain in the one of iptables.
const (
	wallTable = "firewalld"
	wallChain = "FORWARD_direct"
)

// Drops returns the chains that all that comes into the host, or is forwarded, by it or by
// its bridges, passes beside ours, and that drop what nothing in them accepts: by their
// policy, or by a last rule without a condition, which may stand in a chain that such a
// rule leads to. Left out are tables of that name and dormant ones. It looks in the namespace of
// the calling thread, at both backends of iptables, of the legacy one at the table filter.
func Drops(ctx context.Context, table string) ([]model.ForeignDrop, error) {
	var list []model.ForeignDrop
	err := retry(func() (err error) {
		list, err = nativeDrops(ctx, table)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading chains of others: %w", err)
	}
	for _, v6 := range []bool{false, true} {
		more, err := familyOf(v6).legacyDrops(ctx, table)
		if err != nil {
			return nil, fmt.Errorf("reading chains of others: %w", err)
		}
		list = append(list, more...)
	}
	return list, nil
}

// nativeDrops looks at nftables, in which the nf_tables backend of iptables is.
func nativeDrops(ctx context.Context, table string) (list []model.ForeignDrop, err error) {
	c, err := dial()
	if err != nil {
		if errors.Is(err, unix.EPROTONOSUPPORT) {
			return nil, nil
		}
		return nil, err
	}
	defer c.Close()
	var chains []dropChain
	walled := make(map[byte]bool)
	err = c.request(ctx, unix.NFT_MSG_GETCHAIN, unix.NFPROTO_UNSPEC, nil, func(m message) error {
		d, ok := readBaseChain(m)
		if ok && d.Table != table {
			chains = append(chains, d)
		}
		walled[d.num] = walled[d.num] || d.Table == foreignTable && d.Chain == wallChain
		return nil
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // there are no nftables
	}
	if err != nil {
		return nil, err
	}
	for _, d := range chains {
		seen := make(map[string]bool)
		drops, err := c.drops(ctx, d, seen)
		if err != nil {
			return nil, err
		}
		if drops && d.Table == foreignTable && d.Chain == "FORWARD" && seen[foreignChain] {
			u, err := c.userRules(ctx, d.num)
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return nil, err
			}
			d.Marked = slices.ContainsFunc(u.rules, func(r userRule) bool { return r.accepts == table })
		}
		d.Firewalld = d.Table == wallTable || d.Table == foreignTable && walled[d.num]
		if drops {
			list = append(list, d.ForeignDrop)
		}
	}
	return list, nil
}

// dropChain is a base chain that may drop.
type dropChain struct {
	model.ForeignDrop
	num    byte // of the family
	policy bool // drop
}

// readBaseChain reads a chain. ok says that packets of hosts and for them pass it.
func readBaseChain(m message) (d dropChain, ok bool) {
	a := m.attrs()
	hook := attrs(a.get(unix.NFTA_CHAIN_HOOK))
	d.num, d.Table, d.Chain = m.family(), cstring(a.get(unix.NFTA_CHAIN_TABLE)), cstring(a.get(unix.NFTA_CHAIN_NAME))
	d.Family = map[byte]string{
		unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_INET: "inet", unix.NFPROTO_BRIDGE: "bridge",
	}[d.num]
	if hook == nil || d.Family == "" || cstring(a.get(unix.NFTA_CHAIN_TYPE)) == "nat" {
		return d, false
	}
	// The hooks of bridges have the same numbers. Of those only what they forward is
	// looked at.
	switch num := be32(hook.get(unix.NFTA_HOOK_HOOKNUM)); {
	case num == unix.NF_INET_FORWARD:
		d.Forward = true
	case d.Bridged():
	case num == unix.NF_INET_PRE_ROUTING:
		d.Forward, d.Input = true, true
	case num == unix.NF_INET_LOCAL_IN:
		d.Input = true
	case num == unix.NF_INET_POST_ROUTING:
		d.Forward = true
	}
	policy := a.get(unix.NFTA_CHAIN_POLICY)
	d.policy = policy != nil && be32(policy) == 0 // NF_DROP
	return d, d.Forward || d.Input
}

// drops says whether a chain drops what nothing in it accepts.
func (c *conn) drops(ctx context.Context, d dropChain, seen map[string]bool) (bool, error) {
	flags, ok, err := c.tableFlags(ctx, d.num, d.Table)
	if err != nil || !ok || flags&unix.NFT_TABLE_F_DORMANT != 0 {
		return false, err
	}
	end, err := follow(d.Chain, seen, func(chain string) ([]ending, error) {
		return c.endings(ctx, d, chain)
	})
	if errors.Is(err, unix.ENOENT) {
		return false, nil // it has gone meanwhile
	}
	return end == endsDropped || end == endsSome && d.policy, err
}

// endings are those of the rules of a chain that are without condition.
func (c *conn) endings(ctx context.Context, d dropChain, chain string) (list []ending, err error) {
	err = c.request(ctx, unix.NFT_MSG_GETRULE, d.num, func(b *batch) {
		b.str(unix.NFTA_RULE_TABLE, d.Table)
		b.str(unix.NFTA_RULE_CHAIN, chain)
	}, func(m message) error {
		a := m.attrs()
		if cstring(a.get(unix.NFTA_RULE_TABLE)) == d.Table && cstring(a.get(unix.NFTA_RULE_CHAIN)) == chain {
			list = append(list, ends(a))
		}
		return nil
	})
	return list, err
}

// An ending is what a rule does with every packet that comes to it.
type ending struct {
	end int
	// chain is where endsJumped and endsGone lead.
	chain string
}

const (
	endsSome = iota // it ends only some, or none
	endsPassed
	endsDropped
	endsReturned
	endsJumped
	endsGone // to a chain that does not come back
)

// follow says how a chain ends every packet that no rule with a condition has ended:
// endsPassed, endsDropped, or endsSome if it does not. seen are the chains that are known
// not to.
func follow(chain string, seen map[string]bool, rules func(chain string) ([]ending, error)) (int, error) {
	if seen[chain] {
		return endsSome, nil
	}
	seen[chain] = true
	list, err := rules(chain)
	if err != nil {
		return endsSome, err
	}
	for _, v := range list {
		switch v.end {
		case endsPassed, endsDropped:
			return v.end, nil
		case endsReturned:
			return endsSome, nil
		case endsJumped:
			if end, err := follow(v.chain, seen, rules); err != nil || end != endsSome {
				return end, err
			}
		case endsGone:
			return follow(v.chain, seen, rules)
		}
	}
	return endsSome, nil
}

func ends(rule attrs) (some ending) {
	for _, item := range attrs(rule.get(unix.NFTA_RULE_EXPRESSIONS)).all {
		data := attrs(attrs(item).get(unix.NFTA_EXPR_DATA))
		switch name := cstring(attrs(item).get(unix.NFTA_EXPR_NAME)); name {
		case "counter", "log":
		case "reject":
			return ending{end: endsDropped}
		case "target":
			if strings.HasPrefix(cstring(data.get(unix.NFTA_TARGET_NAME)), "REJECT") {
				return ending{end: endsDropped}
			}
			return some
		case "match":
			if cstring(data.get(unix.NFTA_MATCH_NAME)) != "comment" {
				return some
			}
		case "immediate":
			v := attrs(attrs(data.get(unix.NFTA_IMMEDIATE_DATA)).get(unix.NFTA_DATA_VERDICT))
			if v == nil {
				return some
			}
			to := cstring(v.get(unix.NFTA_VERDICT_CHAIN))
			switch int32(be32(v.get(unix.NFTA_VERDICT_CODE))) {
			case 0: // NF_DROP
				return ending{end: endsDropped}
			case 1: // NF_ACCEPT
				return ending{end: endsPassed}
			case unix.NFT_RETURN:
				return ending{end: endsReturned}
			case unix.NFT_JUMP:
				return ending{endsJumped, to}
			case unix.NFT_GOTO:
				return ending{endsGone, to}
			}
			return some
		default:
			return some
		}
	}
	return some
}

// legacyDrops looks at the legacy backend of iptables.
func (f *family) legacyDrops(ctx context.Context, table string) (list []model.ForeignDrop, err error) {
	if !f.hasLegacy() {
		return nil, nil
	}
	program, err := exec.LookPath(iptables(f, "legacy"))
	if err != nil {
		return nil, nil // that nobody can look there is told where our rule would be put there
	}
	out, err := exec.CommandContext(ctx, program, "-w", "-S").Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return nil, fmt.Errorf("%s -S: %w: %s", program, err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("%s -S: %w", program, err)
	}
	lines := strings.Split(string(out), "\n")
	rules := legacyEndings(lines)
	for _, chain := range []string{"INPUT", "FORWARD"} {
		seen := make(map[string]bool)
		end, _ := follow(chain, seen, func(chain string) ([]ending, error) { return rules[chain], nil })
		drops := end == endsDropped || end == endsSome && slices.Contains(lines, "-P "+chain+" DROP")
		marked := chain == "FORWARD" && seen[foreignChain] && slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, "-A "+foreignChain+" ") && strings.Contains(l, "--comment "+table+" ") && strings.HasSuffix(l, " -j ACCEPT")
		})
		if drops {
			list = append(list, model.ForeignDrop{
				Family: f.keyword, Table: LegacyFilter, Chain: chain, Forward: chain == "FORWARD", Input: chain == "INPUT",
				Firewalld: slices.Contains(lines, "-N "+wallChain), Marked: marked,
			})
		}
	}
	return list, nil
}

// unconditional is a rule as iptables -S writes it, with no match but comments.
var unconditional = regexp.MustCompile(`^-A (\S+)(?: -m comment --comment (?:[^"\s]\S*|"(?:[^"\\]|\\.)*"))* -([jg]) (\S+)`)

// legacyEndings are those of the rules without condition, by chain.
func legacyEndings(lines []string) map[string][]ending {
	rules := make(map[string][]ending)
	for _, l := range lines {
		m := unconditional.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		v := ending{endsJumped, m[3]} // a target that ends nothing is a chain without rules
		switch {
		case m[2] == "g":
			v.end = endsGone
		case m[3] == "ACCEPT":
			v.end = endsPassed
		case m[3] == "DROP" || m[3] == "REJECT":
			v.end = endsDropped
		case m[3] == "RETURN":
			v.end = endsReturned
		}
		rules[m[1]] = append(rules[m[1]], v)
	}
	return rules
}
