package nft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// The one foreign chain that gets a rule: Docker makes it for other people's
// rules, and its own forward chain asks it first.
const (
	foreignTable = "filter"
	foreignChain = "DOCKER-USER"
)

// EnsureForeignAccept puts, where the chain DOCKER-USER exists, a rule to its end
// that accepts what our forward chain accepted, unless it is there: Docker lets
// the policy of the forward chain drop what it does not know. What the administrator
// drops in the chain stays dropped, so a rule of ours that others have come behind moves
// there. A RETURN at the end, as Docker puts there, and such rules of other data
// directories stay behind it. Before it those of them are asked that have chains in that
// table. It looks at both
// families, and at both iptables backends. The rule carries the table's name as
// comment. It returns a line for each rule that it added or took away.
func (f *Firewall) EnsureForeignAccept(ctx context.Context) ([]string, error) {
	return f.foreign(ctx, true)
}

// RemoveForeignAccept deletes the rules that EnsureForeignAccept added, by this
// process or an earlier one, and nothing else. It returns a line for each.
func (f *Firewall) RemoveForeignAccept(ctx context.Context) ([]string, error) {
	return f.foreign(ctx, false)
}

func (f *Firewall) foreign(ctx context.Context, want bool) (lines []string, err error) {
	if err := f.acquire(ctx); err != nil {
		return nil, fmt.Errorf("chain %s: %w", foreignChain, err)
	}
	defer f.release()
	for _, fam := range f.fams {
		if fam.num == unix.NFPROTO_BRIDGE {
			continue // is not iptables'
		}
		line, ferr := f.foreignNative(ctx, fam, want)
		if ferr != nil {
			err = errors.Join(err, fmt.Errorf("chain %s %s %s: %w", fam.keyword, foreignTable, foreignChain, ferr))
		}
		lines = append(lines, line...)
		line, ferr = f.foreignLegacy(ctx, fam, want)
		if ferr != nil {
			err = errors.Join(err, fmt.Errorf("legacy chain %s %s: %w", fam.keyword, foreignChain, ferr))
		}
		lines = append(lines, line...)
	}
	return lines, err
}

// foreignNative works on the chain of the nf_tables backend of iptables.
func (f *Firewall) foreignNative(ctx context.Context, fam *family, want bool) ([]string, error) {
	u, err := f.c.userRules(ctx, fam.num)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, right := changeOf(u.rules, f.table, want, u.others(f.table))
	if right {
		return nil, nil
	}
	b := f.c.newBatch()
	var lines []string
	say := func(verb, rule string) {
		lines = append(lines, iptables(fam, "nft")+" "+verb+" "+foreignChain+" "+rule)
	}
	var before uint64
	if c.before < len(u.rules) {
		before = u.handles[c.before]
	}
	for _, chain := range c.asks {
		asks := foreignExprs(questionComment(chain), &expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
		if err := b.newRule(fam.num, foreignTable, foreignChain, "", asks, before); err != nil {
			return nil, err
		}
		say("-A", questionOf(chain))
	}
	if c.accept {
		accepts := foreignExprs(f.table, &expr.Verdict{Kind: expr.VerdictAccept})
		if err := b.newRule(fam.num, foreignTable, foreignChain, "", accepts, before); err != nil {
			return nil, err
		}
		say("-A", acceptOf(f.table))
	}
	for _, i := range c.del {
		b.begin(unix.NFT_MSG_DELRULE, 0, fam.num)
		b.str(unix.NFTA_RULE_TABLE, foreignTable)
		b.str(unix.NFTA_RULE_CHAIN, foreignChain)
		b.u64(unix.NFTA_RULE_HANDLE, u.handles[i])
		b.end()
		if u.rules[i].accepts != "" {
			say("-D", acceptOf(f.table))
		}
	}
	if err := f.cfg.Steps.Next("nft: foreign accept"); err != nil {
		return nil, err
	}
	if err := f.c.commit(b); err != nil {
		return nil, err
	}
	return lines, nil
}

func iptables(fam *family, kind string) string {
	if fam.v6() {
		return "ip6tables-" + kind
	}
	return "iptables-" + kind
}

// foreignExprs is a rule for what has our mark as iptables-nft itself writes it, so that its
// listings show and its commands delete it.
func foreignExprs(comment string, verdict *expr.Verdict) []expr.Any {
	text := make([]byte, 256) // struct xt_comment_info
	copy(text[:255], comment)
	info := xt.Unknown(text)
	return []expr.Any{
		meta(expr.MetaKeyMARK, unix.NFT_REG_1),
		&expr.Bitwise{
			SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 4,
			Mask: native32(MarkBit), Xor: native32(0),
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: native32(MarkBit)},
		&expr.Match{Name: "comment", Info: &info},
		&expr.Counter{},
		verdict,
	}
}

// userChain is the foreign chain as the nf_tables backend of iptables has it.
type userChain struct {
	rules   []userRule
	handles []uint64 // of the rules
	chains  []string // those beside it
}

// others are the chains of other data directories.
func (u userChain) others(table string) (list []string) {
	for _, c := range u.chains {
		if ofAnother(c, table) {
			list = append(list, c)
		}
	}
	return list
}

// userRules reads the foreign chain. It returns ENOENT if there is no such chain.
func (c *conn) userRules(ctx context.Context, fam byte) (u userChain, err error) {
	err = retry(func() error {
		u = userChain{}
		err := c.request(ctx, unix.NFT_MSG_GETCHAIN, fam, func(b *batch) { b.str(unix.NFTA_CHAIN_TABLE, foreignTable) }, func(m message) error {
			if a := m.attrs(); cstring(a.get(unix.NFTA_CHAIN_TABLE)) == foreignTable {
				u.chains = append(u.chains, cstring(a.get(unix.NFTA_CHAIN_NAME)))
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !slices.Contains(u.chains, foreignChain) {
			return unix.ENOENT
		}
		return c.request(ctx, unix.NFT_MSG_GETRULE, fam, func(b *batch) {
			b.str(unix.NFTA_RULE_TABLE, foreignTable)
			b.str(unix.NFTA_RULE_CHAIN, foreignChain)
		}, func(m message) error {
			a := m.attrs()
			if cstring(a.get(unix.NFTA_RULE_TABLE)) == foreignTable && cstring(a.get(unix.NFTA_RULE_CHAIN)) == foreignChain {
				u.rules = append(u.rules, foreignRule(a))
				u.handles = append(u.handles, be64(a.get(unix.NFTA_RULE_HANDLE)))
			}
			return nil
		})
	})
	return u, err
}

// foreignRule reads a rule of the foreign chain. Ours are recognised by all that they are made
// of: a comparison with the mark, a comment, and a verdict. iptables may have rewritten them
// meanwhile, with its restore, so the bytes are not compared.
func foreignRule(rule attrs) (r userRule) {
	var mark, accept bool
	for _, item := range attrs(rule.get(unix.NFTA_RULE_EXPRESSIONS)).all {
		data := attrs(attrs(item).get(unix.NFTA_EXPR_DATA))
		switch cstring(attrs(item).get(unix.NFTA_EXPR_NAME)) {
		case "cmp":
			v := attrs(data.get(unix.NFTA_CMP_DATA)).get(unix.NFTA_DATA_VALUE)
			mark = mark || slices.Equal(v, native32(MarkBit))
		case "match":
			mark = mark || cstring(data.get(unix.NFTA_MATCH_NAME)) == "mark"
		case "immediate":
			v := attrs(attrs(data.get(unix.NFTA_IMMEDIATE_DATA)).get(unix.NFTA_DATA_VERDICT))
			accept = accept || v != nil && be32(v.get(unix.NFTA_VERDICT_CODE)) == 1 // NF_ACCEPT
		}
	}
	r.returns = ends(rule).end == endsReturned
	switch chain := leadsTo(rule); {
	case mark && accept:
		r.accepts = commentOf(rule)
	case mark && ofAnother(chain, ""):
		r.asks = chain
	}
	return r
}

// LegacyLacksAccept says whether the chain DOCKER-USER of the legacy backend of iptables, of
// either family, is without the rule that EnsureForeignAccept puts there for that table, or
// has it in another place. That backend tells nobody of changes.
func LegacyLacksAccept(ctx context.Context, table string) bool {
	for _, v6 := range []bool{false, true} {
		fam := familyOf(v6)
		if !fam.hasLegacy() {
			continue
		}
		program, err := exec.LookPath(iptables(fam, "legacy"))
		if err != nil {
			continue
		}
		listed, err := exec.CommandContext(ctx, program, "-w", "-S").Output()
		if err == nil && len(UserChainChange(listed, table, true)) > 0 {
			return true
		}
	}
	return false
}

// hasLegacy says whether the legacy backend of iptables has a filter table in this
// namespace. Its program would make one.
func (f *family) hasLegacy() bool {
	names := "/proc/thread-self/net/ip_tables_names"
	if f.v6() {
		names = "/proc/thread-self/net/ip6_tables_names"
	}
	list, err := os.ReadFile(names)
	return err == nil && slices.Contains(strings.Fields(string(list)), foreignTable)
}

// foreignLegacy works on the chain of the legacy backend, which only its own
// program can change. It is run only where that backend has a filter table.
func (f *Firewall) foreignLegacy(ctx context.Context, fam *family, want bool) (lines []string, err error) {
	if !fam.hasLegacy() {
		return nil, nil
	}
	program, err := exec.LookPath(iptables(fam, "legacy"))
	if err != nil {
		return nil, fmt.Errorf("the kernel has legacy rules: %w", err)
	}
	listed, err := exec.CommandContext(ctx, program, "-w", "-S").Output()
	if err != nil {
		return nil, fmt.Errorf("%s -S: %w", program, err)
	}
	lines = UserChainChange(listed, f.table, want)
	if len(lines) == 0 {
		return nil, nil
	}
	if err := f.cfg.Steps.Next("nft: foreign accept"); err != nil {
		return nil, err
	}
	// All at once, by text: places may be others by now.
	cmd := exec.CommandContext(ctx, program+"-restore", "-w", "--noflush")
	cmd.Stdin = strings.NewReader("*" + foreignTable + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	for i, l := range lines {
		lines[i] = iptables(fam, "legacy") + " " + l
	}
	return lines, nil
}
