package ipt

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/model"
)

// A batch is the input of iptables-restore: lines by table.
type batch map[string][]string

func (b batch) add(table, format string, args ...any) {
	b[table] = append(b[table], fmt.Sprintf(format, args...))
}

// text is empty for a batch that changes nothing.
func (b batch) text() string {
	var s strings.Builder
	for _, name := range tableNames() {
		if len(b[name]) == 0 {
			continue
		}
		fmt.Fprintf(&s, "*%s\n%s\nCOMMIT\n", name, strings.Join(b[name], "\n"))
	}
	return s.String()
}

// replace returns the batch that leads from one content of the tables to another.
// Chains that differ are replaced as a whole.
func replace(from listing, to rules) batch {
	b := batch{}
	for _, name := range tableNames() {
		old, now := from.rules[name], to[name]
		var late []string
		if name == tableFilter && len(now.hooks) > 0 {
			late = from.late
		}
		if old.equal(now) && len(late) == 0 {
			continue
		}
		var differ []string
		for _, chain := range slices.Sorted(maps.Keys(now.chains)) {
			if had, ok := old.chains[chain]; !ok || !sameChain(had, now.chains[chain]) {
				differ = append(differ, chain)
				b.add(name, ":%s - [0:0]", chain) // made, or emptied
			}
		}
		b.hooks(name, old.hooks, now.hooks, from)
		// All are asked before any accepts, also those that nobody moves.
		for _, text := range late {
			b.add(name, "-D %s %s", chainForward, text)
			b.add(name, "-I %s %d %s", chainForward, from.place, text)
		}
		for _, chain := range differ {
			for _, e := range inOrder(now.chains[chain]) {
				b.add(name, "-A %s %s", chain, e.text)
			}
		}
		gone := slices.DeleteFunc(slices.Sorted(maps.Keys(old.chains)), func(c string) bool { return now.chains[c] != nil })
		for _, chain := range gone {
			b.add(name, "-F %s", chain)
		}
		for _, chain := range gone {
			if !from.held[name][chain] {
				b.add(name, "-X %s", chain)
			}
		}
	}
	return b
}

// hooks takes away the rules that lead to our chains wrongly, and adds those that
// are missing.
func (b batch) hooks(name string, old, now []hook, from listing) {
	missing := slices.Clone(now)
	for _, h := range old {
		i := slices.IndexFunc(missing, func(m hook) bool { return m.chain == h.chain && m.comment == h.comment && !h.misplaced })
		if i >= 0 {
			missing = slices.Delete(missing, i, i+1)
			continue
		}
		b.add(name, "-D %s %s", h.chain, h.text)
	}
	forward := cmp.Or(from.stays, from.place)
	for _, h := range missing {
		switch {
		case h.chain == userChain:
			b.add(name, "-I %s %d %s", h.chain, from.ask, h.text)
		case !h.first:
			b.add(name, "-A %s %s", h.chain, h.text)
		case name == tableFilter && h.chain == chainForward && h.accepts:
			b.add(name, "-I %s %d %s", h.chain, forward+1, h.text) // directly behind ours
		case name == tableFilter && h.chain == chainForward:
			b.add(name, "-I %s %d %s", h.chain, forward, h.text)
		default:
			b.add(name, "-I %s 1 %s", h.chain, h.text)
		}
	}
}

// inOrder are the entries of a chain: questions come first, then those for all.
func inOrder(chain map[string][]entry) []entry {
	groups := slices.SortedFunc(maps.Keys(chain), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	var list []entry
	for _, group := range groups {
		list = append(list, chain[group]...)
	}
	return list
}

// A place is a group of entries of a chain.
type place struct{ table, chain, group string }

// A change is what groups of entries become; without entries they go.
type change map[place][]entry

// change returns what a change of objects means for the tables.
func (f *family) change(have rules, add, del model.FirewallChange, g model.FirewallGuard) change {
	c := change{}
	for _, n := range slices.Concat(del.Networks, add.Networks) {
		for name, t := range have {
			for chain, groups := range t.chains {
				if len(groups[n.ID]) > 0 {
					c[place{name, chain, n.ID}] = nil
				}
			}
		}
	}
	for name, list := range f.single(del) {
		for _, e := range list {
			c[place{name, e.chain, e.group}] = nil
		}
	}
	for i := range add.Networks {
		for name, list := range f.network(&add.Networks[i]) {
			for _, e := range list {
				p := place{name, e.chain, e.group}
				c[p] = append(c[p], e)
			}
		}
	}
	for name, list := range f.single(add) {
		for _, e := range list {
			c[place{name, e.chain, e.group}] = []entry{e}
		}
	}
	guard := f.chain(chainGuard)
	rules := f.guardRules(g)
	if !slices.EqualFunc(rules, have[tableFilter].chains[guard][""], func(a, b entry) bool { return a.comment == b.comment }) {
		c[place{tableFilter, guard, ""}] = rules
	}
	return c
}

// mostDeleted is how many rules of a chain are deleted one by one. The programs look for
// each among all of the chain (2.5 us a rule, seen with iptables-nft 1.8.9), which is more
// than to fill the chain anew (some 25 us a rule).
const mostDeleted = 16

// batch returns the lines that make the change. Each table that it touches is
// asked first whether our chains are still led to.
func (c change) batch(have rules) batch {
	b := batch{}
	order := slices.SortedFunc(maps.Keys(c), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.chain, b.chain), cmp.Compare(a.group, b.group))
	})
	todo := slices.DeleteFunc(order, func(p place) bool {
		return slices.EqualFunc(c[p], c.had(have, p), func(a, b entry) bool { return a.comment == b.comment })
	})
	gone := map[[2]string]int{} // entries by table and chain
	for _, p := range todo {
		gone[[2]string{p.table, p.chain}] += len(c.had(have, p))
	}
	refilled := func(p place) bool { return gone[[2]string{p.table, p.chain}] > mostDeleted }
	next := c.in(have)
	for _, p := range todo {
		if len(b[p.table]) == 0 {
			for _, h := range have[p.table].hooks {
				if !h.ofOthers() { // that goes when they fill their chains anew
					b.add(p.table, "-C %s %s", h.chain, h.text)
				}
			}
		}
		if refilled(p) {
			if line := fmt.Sprintf(":%s - [0:0]", p.chain); !slices.Contains(b[p.table], line) {
				b[p.table] = append(b[p.table], line)
			}
			continue
		}
		for _, e := range c.had(have, p) {
			b.add(p.table, "-D %s %s", p.chain, e.text)
		}
	}
	full := map[[2]string]bool{}
	for _, p := range todo {
		list := c[p]
		if refilled(p) {
			key := [2]string{p.table, p.chain}
			if full[key] {
				continue
			}
			full[key], list = true, inOrder(next[p.table].chains[p.chain])
		}
		for _, e := range list {
			b.add(p.table, "-A %s %s", p.chain, e.text)
		}
	}
	return b
}

func (change) had(have rules, p place) []entry { return have[p.table].chains[p.chain][p.group] }

// in returns the tables as they are after the change.
func (c change) in(have rules) rules {
	now := rules{}
	for name, t := range have {
		now[name] = &table{chains: maps.Clone(t.chains), hooks: t.hooks}
	}
	copied := map[string]bool{}
	for p, list := range c {
		t := now[p.table]
		if key := p.table + p.chain; !copied[key] {
			copied[key] = true
			t.chains[p.chain] = maps.Clone(t.chains[p.chain])
		}
		if len(list) == 0 {
			delete(t.chains[p.chain], p.group)
		} else {
			t.chains[p.chain][p.group] = list
		}
	}
	return now
}
