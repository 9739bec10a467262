package nft

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// legacyFilter is what the table filter of the legacy backend of iptables is called
// here: one of that name may stand beside it.
const legacyFilter = foreignTable + " (legacy)"

// What firewalld has: a table, or a chain in the one of iptables.
const (
	wallTable = "firewalld"
	wallChain = "FORWARD_direct"
)

// Drops returns the chains that all that comes into the host, or is forwarded, passes
// beside ours, and that drop what nothing in them accepts: by their policy, or by a last
// rule without a condition. Left out are tables of that name, and a chain FORWARD that
// accepts what ours does, by our rule in DOCKER-USER. It looks in the namespace of the
// calling thread, at both backends of iptables.
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
		drops, err := c.drops(ctx, d)
		if err != nil {
			return nil, err
		}
		if drops && d.Table == foreignTable && d.Chain == "FORWARD" {
			handles, _, err := c.userRules(ctx, d.num, table)
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return nil, err
			}
			drops = len(handles) == 0
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
	d.Family = map[byte]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_INET: "inet"}[d.num]
	if hook == nil || d.Family == "" {
		return d, false
	}
	switch be32(hook.get(unix.NFTA_HOOK_HOOKNUM)) {
	case unix.NF_INET_LOCAL_IN:
		d.Input = true
	case unix.NF_INET_FORWARD:
	default:
		return d, false
	}
	policy := a.get(unix.NFTA_CHAIN_POLICY)
	d.policy = policy != nil && be32(policy) == 0 // NF_DROP
	return d, true
}

// drops says whether a chain drops what nothing in it accepts.
func (c *conn) drops(ctx context.Context, d dropChain) (drops bool, err error) {
	drops = d.policy
	decided := false
	err = c.request(ctx, unix.NFT_MSG_GETRULE, d.num, func(b *batch) {
		b.str(unix.NFTA_RULE_TABLE, d.Table)
		b.str(unix.NFTA_RULE_CHAIN, d.Chain)
	}, func(m message) error {
		a := m.attrs()
		if cstring(a.get(unix.NFTA_RULE_TABLE)) != d.Table || cstring(a.get(unix.NFTA_RULE_CHAIN)) != d.Chain {
			return nil
		}
		if end := ends(a); end != endsSome && !decided {
			drops, decided = end == endsDropped, true
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return false, nil // it has gone meanwhile
	}
	return drops, err
}

// What a rule does with every packet that comes to it.
const (
	endsSome = iota // only with some
	endsPassed
	endsDropped
)

func ends(rule attrs) int {
	for _, item := range attrs(rule.get(unix.NFTA_RULE_EXPRESSIONS)).all {
		data := attrs(attrs(item).get(unix.NFTA_EXPR_DATA))
		switch name := cstring(attrs(item).get(unix.NFTA_EXPR_NAME)); name {
		case "counter", "log":
		case "reject":
			return endsDropped
		case "target":
			if strings.HasPrefix(cstring(data.get(unix.NFTA_TARGET_NAME)), "REJECT") {
				return endsDropped
			}
			return endsSome
		case "match":
			if cstring(data.get(unix.NFTA_MATCH_NAME)) != "comment" {
				return endsSome
			}
		case "immediate":
			v := attrs(attrs(data.get(unix.NFTA_IMMEDIATE_DATA)).get(unix.NFTA_DATA_VERDICT))
			if v == nil {
				return endsSome
			}
			switch be32(v.get(unix.NFTA_VERDICT_CODE)) {
			case 0: // NF_DROP
				return endsDropped
			case 1: // NF_ACCEPT
				return endsPassed
			}
			return endsSome
		default:
			return endsSome
		}
	}
	return endsSome
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
		return nil, fmt.Errorf("%s -S: %w", program, err)
	}
	lines := strings.Split(string(out), "\n")
	for _, chain := range []string{"INPUT", "FORWARD"} {
		drops := slices.Contains(lines, "-P "+chain+" DROP")
		for _, l := range lines {
			if rest, ok := strings.CutPrefix(l, "-A "+chain+" -j "); ok {
				target, _, _ := strings.Cut(rest, " ")
				drops = target == "DROP" || target == "REJECT" || drops && target != "ACCEPT"
			}
		}
		accepted := chain == "FORWARD" && slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, "-A "+foreignChain+" ") && strings.Contains(l, "--comment "+table+" ") && strings.HasSuffix(l, " -j ACCEPT")
		})
		if drops && !accepted {
			list = append(list, model.ForeignDrop{Family: f.keyword, Table: legacyFilter, Chain: chain, Input: chain == "INPUT", Firewalld: slices.Contains(lines, "-N "+wallChain)})
		}
	}
	return list, nil
}
