package nft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
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
// drops in the chain stays dropped. A RETURN at the end, as Docker puts there, stays
// behind it. It looks at both
// families, and at both iptables backends. The rule carries the table's name as
// comment. It returns a line for each rule that it added.
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

func (f *Firewall) foreignArgs() []string {
	mark := fmt.Sprintf("%#x/%#x", MarkBit, MarkBit)
	return []string{foreignChain, "-m", "mark", "--mark", mark, "-m", "comment", "--comment", f.table, "-j", "ACCEPT"}
}

// foreignNative works on the chain of the nf_tables backend of iptables.
func (f *Firewall) foreignNative(ctx context.Context, fam *family, want bool) ([]string, error) {
	handles, last, err := f.c.userRules(ctx, fam.num, f.table)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if want == (len(handles) > 0) {
		return nil, nil
	}
	b := f.c.newBatch()
	verb := "-A"
	if want {
		if err := b.newRule(fam.num, foreignTable, foreignChain, "", foreignExprs(f.table), last); err != nil {
			return nil, err
		}
	} else {
		verb = "-D"
		for _, h := range handles {
			b.begin(unix.NFT_MSG_DELRULE, 0, fam.num)
			b.str(unix.NFTA_RULE_TABLE, foreignTable)
			b.str(unix.NFTA_RULE_CHAIN, foreignChain)
			b.u64(unix.NFTA_RULE_HANDLE, h)
			b.end()
		}
	}
	if err := f.cfg.Steps.Next("nft: foreign accept"); err != nil {
		return nil, err
	}
	if err := f.c.commit(b); err != nil {
		return nil, err
	}
	return []string{iptables(fam, "nft") + " " + verb + " " + strings.Join(f.foreignArgs(), " ")}, nil
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

// userRules returns the handles of the rules in the foreign chain that are of the
// firewall called table, and that of its last rule if that ends the chain for every
// packet, else 0. It returns ENOENT if there is no such chain.
func (c *conn) userRules(ctx context.Context, fam byte, table string) (handles []uint64, last uint64, err error) {
	b := &batch{seq: c.seq}
	b.begin(unix.NFT_MSG_GETCHAIN, 0, fam)
	b.str(unix.NFTA_CHAIN_TABLE, foreignTable)
	b.str(unix.NFTA_CHAIN_NAME, foreignChain)
	b.end()
	if err := c.dump(ctx, b, func(message) error { return nil }); err != nil {
		return nil, 0, err
	}
	err = retry(func() error {
		handles, last = nil, 0
		return c.request(ctx, unix.NFT_MSG_GETRULE, fam, func(b *batch) {
			b.str(unix.NFTA_RULE_TABLE, foreignTable)
			b.str(unix.NFTA_RULE_CHAIN, foreignChain)
		}, func(m message) error {
			a := m.attrs()
			if cstring(a.get(unix.NFTA_RULE_TABLE)) != foreignTable || cstring(a.get(unix.NFTA_RULE_CHAIN)) != foreignChain {
				return nil
			}
			handle := be64(a.get(unix.NFTA_RULE_HANDLE))
			if accepts(a, table) {
				handles = append(handles, handle)
			}
			if last = 0; ends(a).end == endsReturned {
				last = handle
			}
			return nil
		})
	})
	return handles, last, err
}

// accepts recognises the rule of the firewall called table by all that it is made of:
// a comparison with the mark, our comment, and accept. iptables may have rewritten it
// meanwhile, with its restore, so the bytes are not compared.
func accepts(rule attrs, table string) bool {
	var mark, comment, accept bool
	for _, item := range attrs(rule.get(unix.NFTA_RULE_EXPRESSIONS)).all {
		data := attrs(attrs(item).get(unix.NFTA_EXPR_DATA))
		switch cstring(attrs(item).get(unix.NFTA_EXPR_NAME)) {
		case "cmp":
			v := attrs(data.get(unix.NFTA_CMP_DATA)).get(unix.NFTA_DATA_VALUE)
			mark = mark || slices.Equal(v, native32(MarkBit))
		case "match":
			comment = comment || cstring(data.get(unix.NFTA_MATCH_NAME)) == "comment" &&
				cstring(data.get(unix.NFTA_MATCH_INFO)) == table
			mark = mark || cstring(data.get(unix.NFTA_MATCH_NAME)) == "mark"
		case "immediate":
			v := attrs(attrs(data.get(unix.NFTA_IMMEDIATE_DATA)).get(unix.NFTA_DATA_VERDICT))
			accept = accept || v != nil && be32(v.get(unix.NFTA_VERDICT_CODE)) == 1 // NF_ACCEPT
		}
	}
	comment = comment || parseComment(rule.get(unix.NFTA_RULE_USERDATA)) == table
	return mark && comment && accept
}

// LegacyUserRules returns the rules for users in the legacy backend of iptables, for both
// families, as its program lists them; nothing where there are none. That backend tells
// nobody of changes.
func LegacyUserRules(ctx context.Context) string {
	var all strings.Builder
	for _, v6 := range []bool{false, true} {
		fam := familyOf(v6)
		if !fam.hasLegacy() {
			continue
		}
		if program, err := exec.LookPath(iptables(fam, "legacy")); err == nil {
			listed, _ := exec.CommandContext(ctx, program, "-w", "-S", foreignChain).Output()
			all.Write(listed)
		}
	}
	return all.String()
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
func (f *Firewall) foreignLegacy(ctx context.Context, fam *family, want bool) ([]string, error) {
	if !fam.hasLegacy() {
		return nil, nil
	}
	program, err := exec.LookPath(iptables(fam, "legacy"))
	if err != nil {
		return nil, fmt.Errorf("the kernel has legacy rules: %w", err)
	}
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, program, append([]string{"-w"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
		}
		return nil
	}
	listed, err := exec.CommandContext(ctx, program, "-w", "-S", foreignChain).Output()
	if err != nil {
		return nil, ctx.Err() // no such chain
	}
	args := f.foreignArgs()
	has := run(append([]string{"-C"}, args...)...) == nil
	if err := ctx.Err(); err != nil || has == want {
		return nil, err
	}
	if err := f.cfg.Steps.Next("nft: foreign accept"); err != nil {
		return nil, err
	}
	change := append([]string{"-A"}, args...)
	// The first line is the chain itself.
	if lines := strings.Split(strings.TrimSpace(string(listed)), "\n"); lines[len(lines)-1] == "-A "+foreignChain+" -j RETURN" {
		change = append([]string{"-I", foreignChain, strconv.Itoa(len(lines) - 1)}, args[1:]...)
	}
	if !want {
		change = append([]string{"-D"}, args...)
	}
	if err := run(change...); err != nil {
		return nil, err
	}
	return []string{iptables(fam, "legacy") + " " + strings.Join(change, " ")}, nil
}
