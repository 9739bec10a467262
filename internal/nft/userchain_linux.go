package nft

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// In DOCKER-USER each data directory accepts what its own rules have let out, and with that for
// all who come later: also for another data directory that keeps its rules with iptables, and is
// asked behind that chain. So whoever accepts there has those asked first, be they running or
// not. Such a question is the same rule whoever puts it there, and goes with the chain that it
// leads to.

// acceptOf is the rule that EnsureForeignAccept makes for a table, as iptables writes it.
func acceptOf(table string) string {
	return "-m mark " + markMatch() + " -m comment --comment " + table + " -j ACCEPT"
}

// questionOf is the rule that asks a chain of another data directory, as iptables writes it.
func questionOf(chain string) string {
	return "-m mark " + markMatch() + " -m comment --comment " + questionComment(chain) + " -j " + chain
}

// questionComment is what package ipt gives a rule of that text, by which it knows its own.
func questionComment(chain string) string {
	return RuleComment(strings.ToLower(strings.TrimSuffix(chain, forwardChain)), foreignChain, "-m mark "+markMatch()+" -j "+chain)
}

// RuleComment is the comment of a rule of a chain of iptables, by whose it is and what it says.
func RuleComment(owner, chain, text string) string {
	h := fnv.New32a()
	h.Write([]byte(chain + " " + text))
	return fmt.Sprintf("%s.%08x", owner, h.Sum32())
}

func markMatch() string { return fmt.Sprintf("--mark %#x/%#x", MarkBit, MarkBit) }

// forwardChain is how the names of the chains end that data directories have for what is
// forwarded, if they keep their rules with iptables.
const forwardChain = "-FORWARD"

// ofAnother says whether a chain is one of those, and not of that table.
func ofAnother(chain, table string) bool {
	_, ok := OtherOf(chain, table)
	return ok
}

// OtherOf returns how the chains of another data directory than that of a table begin, if a
// chain of iptables is that which it has for what is forwarded.
func OtherOf(chain, table string) (name string, ok bool) {
	name, ok = strings.CutSuffix(chain, forwardChain)
	prefix := strings.ToUpper(DefaultTable)
	return name, ok && (name == prefix || strings.HasPrefix(name, prefix+"-")) && name != strings.ToUpper(table)
}

// A userRule is what is to be known of a rule of DOCKER-USER.
type userRule struct {
	accepts string // for that table
	asks    string // that chain
	returns bool   // every packet: what is behind is never asked
}

// A userChange is how the chain gets right.
type userChange struct {
	del    []int    // those rules go
	before int      // of that rule, or at the end, these come:
	asks   []string // questions to these chains
	accept bool     // and a rule that accepts
}

// changeOf returns what makes the chain have one rule that accepts for a table if it is wanted,
// else none, and whether that is so already. It belongs behind what others have there, but
// before a rule that returns every packet, and behind questions to the chains of others. Such
// rules for other tables of ours may stay behind it.
func changeOf(rules []userRule, table string, want bool, others []string) (c userChange, right bool) {
	c.before = len(rules)
	if i := slices.IndexFunc(rules, func(r userRule) bool { return r.returns }); i >= 0 {
		c.before = i
	}
	first, overtaken := len(rules), false // the first that accepts for us
	for i, r := range rules {
		switch {
		case r.accepts == table:
			c.del = append(c.del, i)
			first, overtaken = min(first, i), i > c.before
		case first < i && i < c.before && !strings.HasPrefix(r.accepts, DefaultTable) && r.asks == "":
			overtaken = true
		}
	}
	if !want {
		return c, len(c.del) == 0
	}
	for _, chain := range others {
		if !slices.ContainsFunc(rules[:min(first, c.before)], func(r userRule) bool { return r.asks == chain }) {
			c.asks = append(c.asks, chain)
		}
	}
	if len(c.del) == 1 && !overtaken && len(c.asks) == 0 {
		return userChange{}, true
	}
	for i, r := range rules {
		if slices.Contains(c.asks, r.asks) {
			c.del = append(c.del, i) // too late
		}
	}
	c.accept = true
	return c, false
}

// UserChainChange returns the lines for iptables-restore, of the table filter, by which the
// chain DOCKER-USER accepts what the firewall called table has let out, if that is wanted, when
// all others have been asked that have chains in that table of iptables; no lines if that is so.
// listed is what iptables-save or iptables -S writes.
func UserChainChange(listed []byte, table string, want bool) (lines []string) {
	var texts, others []string
	var rules []userRule
	exists := false
	for line := range strings.Lines(string(listed)) {
		line = strings.TrimSpace(line)
		chain, isChain := strings.CutPrefix(line, "-N ")
		if !isChain {
			chain, isChain = strings.CutPrefix(line, ":")
			chain, _, _ = strings.Cut(chain, " ")
		}
		switch {
		case isChain && chain == foreignChain:
			exists = true
		case isChain && ofAnother(chain, table):
			others = append(others, chain)
		case strings.HasPrefix(line, "-A "+foreignChain+" "):
			texts = append(texts, line)
			rules = append(rules, readUserRule(line))
		}
	}
	if !exists {
		return nil
	}
	c, right := changeOf(rules, table, want, others)
	if right {
		return nil
	}
	at := c.before + 1 // from 1, when those are deleted that are before it
	for _, i := range c.del {
		// By its text: places may be others when the line is read.
		lines = append(lines, "-D"+strings.TrimPrefix(texts[i], "-A"))
		if i < c.before {
			at--
		}
	}
	insert := func(rule string) {
		if c.before == len(rules) {
			lines = append(lines, "-A "+foreignChain+" "+rule)
			return
		}
		lines = append(lines, fmt.Sprintf("-I %s %d %s", foreignChain, at, rule))
		at++
	}
	for _, chain := range c.asks {
		insert(questionOf(chain))
	}
	if c.accept {
		insert(acceptOf(table))
	}
	return lines
}

func readUserRule(line string) (r userRule) {
	r.accepts, r.returns = AcceptsFor(line), Returns(line)
	if target := line[strings.LastIndexByte(line, ' ')+1:]; ofAnother(target, "") && strings.Contains(line, " "+markMatch()+" ") {
		r.asks = target
	}
	return r
}

// AcceptsFor returns for which table of ours a rule accepts what has our mark, by its
// comment, and nothing for other rules.
func AcceptsFor(rule string) string {
	_, comment, ok := strings.Cut(rule, "--comment ")
	if !ok || !strings.Contains(rule, " "+markMatch()+" ") || !strings.HasSuffix(rule, " -j ACCEPT") {
		return ""
	}
	comment, _, _ = strings.Cut(comment, " ")
	return strings.Trim(comment, `"`)
}

// Returns says whether a rule returns every packet.
func Returns(rule string) bool {
	m := unconditional.FindStringSubmatch(rule)
	return m != nil && m[2] == "j" && m[3] == "RETURN"
}
