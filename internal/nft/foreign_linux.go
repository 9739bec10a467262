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
// directories stay behind it. It looks at both
// families, and at both iptables backends. The rule carries the table's name as
// comment. It returns a line for each rule that it added or took away, and whether one
// was there that somebody has taken away.
func (f *Firewall) EnsureForeignAccept(ctx context.Context) (lines []string, lost bool, err error) {
	return f.foreign(ctx, true)
}

// RemoveForeignAccept deletes the rules that EnsureForeignAccept added, by this
// process or an earlier one, and nothing else. It returns a line for each.
func (f *Firewall) RemoveForeignAccept(ctx context.Context) ([]string, error) {
	lines, _, err := f.foreign(ctx, false)
	return lines, err
}

func (f *Firewall) foreign(ctx context.Context, want bool) (lines []string, lost bool, err error) {
	if err := f.acquire(ctx); err != nil {
		return nil, false, fmt.Errorf("chain %s: %w", foreignChain, err)
	}
	defer f.release()
	for _, fam := range f.fams {
		if fam.num == unix.NFPROTO_BRIDGE {
			continue // is not iptables'
		}
		for _, set := range []func(context.Context, *family, bool) ([]string, bool, error){f.foreignNative, f.foreignLegacy} {
			more, missed, ferr := set(ctx, fam, want)
			lines, lost, err = append(lines, more...), lost || missed, errors.Join(err, ferr)
		}
	}
	if err != nil {
		err = fmt.Errorf("chain %s: %w", foreignChain, err)
	}
	return lines, lost, err
}

// foreignNative works on the chain of the nf_tables backend of iptables.
func (f *Firewall) foreignNative(ctx context.Context, fam *family, want bool) (lines []string, lost bool, err error) {
	program := iptables(fam, "nft")
	u, err := f.c.userRules(ctx, fam.num, f.table)
	if errors.Is(err, unix.ENOENT) {
		delete(f.users, program)
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	lost = f.users.Lost(program, len(u.handles) > 0, want)
	if want == (len(u.handles) > 0) && !(want && u.overtaken) {
		return nil, lost, nil
	}
	b := f.c.newBatch()
	say := func(verb string) {
		lines = append(lines, program+" "+verb+" "+foreignChain+" "+acceptOf(f.table))
	}
	if want {
		if err := b.newRule(fam.num, foreignTable, foreignChain, "", foreignExprs(f.table), u.last); err != nil {
			return nil, lost, err
		}
		say("-A")
	}
	for _, h := range u.handles {
		b.begin(unix.NFT_MSG_DELRULE, 0, fam.num)
		b.str(unix.NFTA_RULE_TABLE, foreignTable)
		b.str(unix.NFTA_RULE_CHAIN, foreignChain)
		b.u64(unix.NFTA_RULE_HANDLE, h)
		b.end()
	}
	if len(u.handles) > 0 {
		say("-D")
	}
	if err := f.cfg.Steps.Next("nft: foreign accept"); err != nil {
		return nil, lost, err
	}
	if err := f.c.commit(b); err != nil {
		return nil, lost, err
	}
	return lines, lost, nil
}

func iptables(fam *family, kind string) string {
	if fam.v6() {
		return "ip6tables-" + kind
	}
	return "iptables-" + kind
}

// foreignExprs is the rule as iptables-nft itself writes it, so that its listings
// show and its commands delete it.
func foreignExprs(comment string) []expr.Any {
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
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// userRules is what is to be known of the foreign chain.
type userRules struct {
	// handles are those of the rules of the firewall, last that of the first rule that
	// returns every packet, or 0: what is behind is never asked.
	handles []uint64
	last    uint64
	// overtaken says that rules of somebody else have come behind ours, or that ours are not
	// asked.
	overtaken bool
}

// userRules reads the foreign chain for the firewall called table. It returns ENOENT if there
// is no such chain.
func (c *conn) userRules(ctx context.Context, fam byte, table string) (u userRules, err error) {
	b := &batch{seq: c.seq}
	b.begin(unix.NFT_MSG_GETCHAIN, 0, fam)
	b.str(unix.NFTA_CHAIN_TABLE, foreignTable)
	b.str(unix.NFTA_CHAIN_NAME, foreignChain)
	b.end()
	if err := c.dump(ctx, b, func(message) error { return nil }); err != nil {
		return u, err
	}
	err = retry(func() error {
		u = userRules{}
		return c.request(ctx, unix.NFT_MSG_GETRULE, fam, func(b *batch) {
			b.str(unix.NFTA_RULE_TABLE, foreignTable)
			b.str(unix.NFTA_RULE_CHAIN, foreignChain)
		}, func(m message) error {
			a := m.attrs()
			if cstring(a.get(unix.NFTA_RULE_TABLE)) != foreignTable || cstring(a.get(unix.NFTA_RULE_CHAIN)) != foreignChain {
				return nil
			}
			handle := be64(a.get(unix.NFTA_RULE_HANDLE))
			switch {
			case accepts(a) == table:
				u.handles = append(u.handles, handle)
				u.overtaken = u.last != 0
			case u.last != 0:
			case ends(a).end == endsReturned:
				u.last = handle
			case !strings.HasPrefix(accepts(a), DefaultTable):
				u.overtaken = u.overtaken || len(u.handles) > 0
			}
			return nil
		})
	})
	return u, err
}

// accepts returns whose rule it is that accepts packets with our mark, by its comment, and
// nothing for other rules. It is recognised by all that it is made of: a comparison with the
// mark, a comment, and accept. iptables may have rewritten it meanwhile, with its restore, so
// the bytes are not compared.
func accepts(rule attrs) (comment string) {
	var mark, accept bool
	comment = commentOf(rule)
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
	if mark && accept {
		return comment
	}
	return ""
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
		listed, err := exec.CommandContext(ctx, program, "-w", "-S", foreignChain).Output()
		if err != nil {
			continue // no such chain
		}
		if len(UserChainChange(listedRules(listed), table, true)) > 0 {
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
func (f *Firewall) foreignLegacy(ctx context.Context, fam *family, want bool) (lines []string, lost bool, err error) {
	if !fam.hasLegacy() {
		return nil, false, nil
	}
	name := iptables(fam, "legacy")
	program, err := exec.LookPath(name)
	if err != nil {
		return nil, false, fmt.Errorf("the kernel has legacy rules: %w", err)
	}
	listed, err := exec.CommandContext(ctx, program, "-w", "-S", foreignChain).Output()
	if err != nil {
		delete(f.users, name)
		return nil, false, ctx.Err() // no such chain
	}
	rules := listedRules(listed)
	lost = f.users.Lost(name, slices.ContainsFunc(rules, func(r string) bool { return AcceptsFor(r) == f.table }), want)
	lines = UserChainChange(rules, f.table, want)
	if len(lines) == 0 {
		return nil, lost, nil
	}
	if err := f.cfg.Steps.Next("nft: foreign accept"); err != nil {
		return nil, lost, err
	}
	// All at once, by text: places may be others by now.
	cmd := exec.CommandContext(ctx, program+"-restore", "-w", "--noflush")
	cmd.Stdin = strings.NewReader("*" + foreignTable + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, lost, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	for i, l := range lines {
		lines[i] = name + " " + l
	}
	return lines, lost, nil
}
