package nft

import (
	"fmt"
	"strings"
)

// acceptOf is the rule that EnsureForeignAccept makes for a table, as iptables writes it.
func acceptOf(table string) string {
	return "-m mark " + markMatch() + " -m comment --comment " + table + " -j ACCEPT"
}

func markMatch() string { return fmt.Sprintf("--mark %#x/%#x", MarkBit, MarkBit) }

// UserChainChange returns the lines for iptables-restore, of the table filter, by which the
// chain DOCKER-USER has one rule that accepts for that table if it is wanted, else none; no
// lines if that is so. rules are those of the chain, as iptables-save or iptables -S lists
// them.
//
// The rule belongs behind those of others, but before the first that returns every packet:
// what is behind that is never asked. Such rules for other tables of ours may stay behind it.
func UserChainChange(rules []string, table string, want bool) (lines []string) {
	returns, overtaken := 0, false // returns is a place, from 1
	for i, r := range rules {
		comment := AcceptsFor(r)
		switch {
		case comment == table:
			// By its text: places may be others when the line is read.
			lines = append(lines, "-D"+strings.TrimPrefix(r, "-A"))
			overtaken = returns > 0
		case returns > 0:
		case r == "-A "+foreignChain+" -j RETURN":
			returns = i + 1 - len(lines) // when ours have been deleted
		case !strings.HasPrefix(comment, DefaultTable):
			overtaken = overtaken || len(lines) > 0
		}
	}
	switch {
	case !want:
		return lines
	case len(lines) == 1 && !overtaken:
		return nil
	case returns > 0:
		return append(lines, fmt.Sprintf("-I %s %d %s", foreignChain, returns, acceptOf(table)))
	}
	return append(lines, "-A "+foreignChain+" "+acceptOf(table))
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

// listedRules are the rules of a chain that iptables -S has listed, behind the chain itself.
func listedRules(listed []byte) []string {
	return strings.Split(strings.TrimSpace(string(listed)), "\n")[1:]
}

// UserChains remembers which chains DOCKER-USER have our rule, by the program that they are
// changed with.
type UserChains map[string]bool

// Lost says whether the rule is not there any more though it was and shall be, and takes down
// whether it will be.
func (u UserChains) Lost(program string, there, want bool) bool {
	lost := u[program] && !there && want
	u[program] = want
	return lost
}
