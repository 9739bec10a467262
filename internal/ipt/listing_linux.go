package ipt

import (
	"bufio"
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
)

// userChain is where Docker lets administrators put rules that come first. Its own
// chains begin with docker: they accept what its containers send to ours, so ours
// have to be asked before. When it starts, Docker puts its rules to the top.
const (
	userChain = "DOCKER-USER"
	docker    = "DOCKER"
)

// misplaced is the group of entries that stand where none of ours would be put, and marks such
// hooks.
const misplaced = " misplaced"

// A listing is what a family's tables hold.
type listing struct {
	rules rules
	// place is where the rule that leads to our forward chain belongs among those of others,
	// from 1. What it lets pass is accepted directly behind it. If only that is to be moved, stays is
	// where the rule stands, and stays.
	place, stays int
	// ask is the place in DOCKER-USER of the rule by which that chain asks us, 0 where there is no
	// such chain: behind the rules of its users, before what another of our data directories
	// accepts there.
	ask int
	// others are the chains of other data directories that are asked, and accepting those by which
	// they accept.
	others, accepting map[pair][]string
	// late are the rules that lead to the forward chains of other data directories and stand
	// where not all is asked of them.
	late []string
	// held are our chains, by table, to which rules of others lead: they can be emptied and
	// not removed.
	held map[string]map[string]bool
	// dnat are the rules of others that lead ports elsewhere.
	dnat []dnatRule
}

// mostReadings bounds how often a listing is read that has rules of ours twice, and
// readingPause is between two of them.
const (
	mostReadings = 4
	readingPause = 5 * time.Millisecond
)

// readFamily lists the tables of a family. While somebody else makes a change, iptables-nft-save
// (1.8.9) may list rules twice that are there once; what it goes on to list twice, is.
func (f *Firewall) readFamily(ctx context.Context, i int) (listing, error) {
	fam := f.fams[i]
	if fam.v6 && !hasIPv6() {
		return fam.parse(nil), nil
	}
	for n := 1; ; n++ {
		out, err := f.run(ctx, "", f.progs[i].save)
		if err != nil {
			return listing{}, err
		}
		if l := fam.parse(out); f.variant != NFT || n == mostReadings || !l.rules.doubled() {
			return l, nil
		}
		select {
		case <-time.After(readingPause):
		case <-ctx.Done():
			return listing{}, ctx.Err()
		}
	}
}

// parse reads the output of iptables-save.
func (f *family) parse(out []byte) listing {
	l := listing{rules: nothing(), place: 1, others: map[pair][]string{}, accepting: map[pair][]string{}, held: map[string]map[string]bool{}}
	var t *table
	var name string
	var chains map[string]bool // of the table, whosever they are
	way := walk{listing: &l}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, len(out)+1)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "*"):
			name = line[1:]
			t, chains = l.rules[name], map[string]bool{}
		case t == nil:
		case strings.HasPrefix(line, ":"):
			c, _, _ := strings.Cut(line[1:], " ")
			chains[c] = true
			if f.owns(c) {
				t.chains[c] = map[string][]entry{}
			}
			if name == tableFilter {
				way.users = way.users || c == userChain
				l.meets(f, c)
			}
		case strings.HasPrefix(line, "-A "):
			c, text, _ := strings.Cut(line[len("-A "):], " ")
			hooks := len(t.hooks)
			t.found(f, chains, c, text)
			if len(t.hooks) == hooks && !f.owns(c) && strings.Contains(text, f.name) { // of thousands, hardly one
				l.hold(f, name, targetOf(text))
			}
			if name == tableNAT && !f.owns(c) {
				r, ok := parseDNAT(c, text)
				if ok && (r.dnat || chains[r.to] && !nft.IsOurs(c) && !f.owns(r.to) && !nft.IsOurs(r.to)) {
					l.dnat = append(l.dnat, r)
				}
			}
			switch {
			case name != tableFilter:
			case c == chainForward:
				way.pass(f, t, text, len(t.hooks) > hooks)
			case c == userChain:
				way.user(f, t, line, len(t.hooks) > hooks)
			}
		}
	}
	l.dnat = leading(l.dnat)
	way.end(l.rules[tableFilter])
	// Of what had to stay nothing more is to be done.
	for name, chains := range l.held {
		t := l.rules[name]
		maps.DeleteFunc(t.chains, func(c string, groups map[string][]entry) bool {
			return chains[c] && len(groups) == 0 && (!f.knows(name, c) || len(t.hooks) == 0)
		})
	}
	return l
}

// meets takes down a chain of the table filter that another data directory has.
func (l *listing) meets(f *family, chain string) {
	for _, p := range pairs() {
		if f.ofOther(chain, p.asked) {
			l.others[p] = append(l.others[p], chain)
		}
		if f.ofOther(chain, p.accepts) {
			l.accepting[p] = append(l.accepting[p], chain)
		}
	}
}

// ofOther says whether a chain is that which another data directory has by a short name.
func (f *family) ofOther(chain, short string) bool {
	name, ok := strings.CutSuffix(chain, "-"+short)
	if ok {
		_, ok = nft.OtherOf(name+"-"+chainForward, f.name)
	}
	return ok
}

// hold takes down that a rule of somebody else leads to a chain.
func (l *listing) hold(f *family, table, chain string) {
	if !f.owns(chain) {
		return
	}
	if l.held[table] == nil {
		l.held[table] = map[string]bool{}
	}
	l.held[table][chain] = true
}

// knows says whether a chain is one of those that we make in a table.
func (f *family) knows(table, chain string) bool {
	return slices.ContainsFunc(f.chains[table], func(c string) bool { return f.chain(c) == chain })
}

// astray says whether a rule of ours leads to a chain that we do not make: somebody has given it
// another name.
func (f *family) astray(text string) bool {
	target := targetOf(text)
	return !slices.ContainsFunc(tableNames(), func(table string) bool { return f.knows(table, target) })
}

// found enters a rule of a listing, if it is of ours. chains are those of the table.
func (t *table) found(f *family, chains map[string]bool, chain, text string) {
	e := entry{chain: chain, comment: commentOf(text), text: text}
	if f.owns(chain) {
		if t.chains[chain] == nil {
			t.chains[chain] = map[string][]entry{}
		}
		e.group = f.groupOf(chain, e.comment)
		for _, p := range pairs() {
			if chain == f.chain(p.accepts) && e.group != "" {
				owner, _, _ := cutLast(e.comment)
				if q := f.question(p, strings.ToUpper(owner)+"-"+p.asked); q.comment == e.comment {
					e.group = q.group // by whatever name the chain goes now
				}
			}
		}
		if t.behind(e) || !isQuestion(e.group) && chains[targetOf(text)] && f.astray(text) {
			e.group = misplaced
		}
		t.add(e)
		return
	}
	if owner, _, _ := cutLast(e.comment); owner == strings.ToLower(f.name) {
		t.hooks = append(t.hooks, hook{entry: e, misplaced: f.astray(text)})
	}
}

// behind says whether an entry comes behind those that it should come before.
func (t *table) behind(e entry) bool {
	if rank(e.group) == rankOther {
		return false // there may be thousands
	}
	for group := range t.chains[e.chain] {
		if rank(e.group) < rank(group) {
			return true
		}
	}
	return false
}

// The order of groups in a chain.
const (
	rankQuestion = iota
	rankAll      // what is there for all
	rankOther
)

func rank(group string) int {
	switch {
	case isQuestion(group):
		return rankQuestion
	case group == "":
		return rankAll
	}
	return rankOther
}

// owns says whether a chain is one of ours, be it of another version. Those of
// other data directories have one more word in their names, and that of a sandbox is
// not a firewall's.
func (f *family) owns(chain string) bool {
	short, ok := strings.CutPrefix(chain, f.name+"-")
	return ok && !strings.Contains(short, "-") && (short == chainDNS) == f.inside
}

// groupOf is the group of an entry by its comment.
func (f *family) groupOf(chain, comment string) string {
	owner, _, ok := cutLast(comment)
	switch {
	case !ok:
		return misplaced
	case owner == strings.ToLower(f.name):
		return ""
	}
	switch chain {
	case f.chain(chainAddress), f.chain(chainAny), f.chain(chainOpen), f.chain(chainLink), f.chain(chainKept):
		return comment
	}
	return owner
}

func cutLast(comment string) (owner, hash string, ok bool) {
	i := strings.LastIndexByte(comment, '.')
	if i < 0 {
		return "", "", false
	}
	return comment[:i], comment[i+1:], true
}

// commentOf is the comment of a rule as a listing shows it.
func commentOf(text string) string {
	_, rest, ok := strings.Cut(text, "--comment ")
	if !ok {
		return ""
	}
	end := " "
	if strings.HasPrefix(rest, `"`) {
		rest, end = rest[1:], `"`
	}
	comment, _, _ := strings.Cut(rest, end)
	return comment
}

// targetOf is the chain that a rule leads to.
func targetOf(text string) string {
	words := strings.Fields(text)
	for i, w := range words {
		if (w == "-j" || w == "-g") && i+1 < len(words) {
			return words[i+1]
		}
	}
	return ""
}

// empty says whether there is nothing of ours.
func (rs rules) empty() bool {
	for _, t := range rs {
		if len(t.chains) > 0 || len(t.hooks) > 0 {
			return false
		}
	}
	return true
}

// doubled says whether a chain has a rule of ours more than once.
func (rs rules) doubled() bool {
	for _, t := range rs {
		seen := make(map[[3]string]bool)
		again := func(e entry) bool {
			key := [3]string{e.chain, e.comment, e.text}
			had := seen[key]
			seen[key] = true
			return had && e.comment != ""
		}
		for _, groups := range t.chains {
			for _, list := range groups {
				if slices.ContainsFunc(list, again) {
					return true
				}
			}
		}
		if slices.ContainsFunc(t.hooks, func(h hook) bool { return again(h.entry) }) {
			return true
		}
	}
	return false
}

// networks are the ids of the networks that the tables hold.
func (f *family) networks(rs rules) map[string]bool {
	ids := map[string]bool{}
	for group := range rs[tableFilter].chains[f.chain(chainMember)] {
		if group != "" && group != misplaced {
			ids[group] = true
		}
	}
	return ids
}

// A pair is a chain by which a data directory accepts, and that of another one which it asks
// before, by their short names.
type pair struct{ accepts, asked string }

// pairs are all of them. No loop of chains may come about: what one asks asks nobody who accepts
// by that. A packet of an established connection, or between members, needs to get by what is
// closed alone.
func pairs() []pair {
	return []pair{{chainAccept, chainForward}, {chainPass, chainClosed}}
}

// asksFirst is how groups begin whose entries ask another data directory: before ours.
const asksFirst = " asks "

func isQuestion(group string) bool { return strings.HasPrefix(group, asksFirst) }

// question is the entry by which our chain that accepts asks one of another data directory before.
func (f *family) question(p pair, chain string) entry {
	owner := strings.ToLower(strings.TrimSuffix(chain, "-"+p.asked))
	e := f.entry(f.chain(p.accepts), owner, []string{"-j " + chain})
	e.group = asksFirst + owner
	return e
}

// asked adds what has all data directories asked before any accepts, if there is anything of
// ours: what one lets out another may not let in. Whoever comes later has the earlier ones ask
// him, in the transaction that makes his chains, so nothing gets by in between or while nobody
// looks. In FORWARD itself the order may be any, and changes with each start of Docker.
//
// The rule of DOCKER-USER is for those who accept there, and keep their own rules elsewhere.
func (f *family) asked(want rules, have listing) rules {
	t := want[tableFilter]
	if len(t.chains) == 0 {
		return want
	}
	if have.ask > 0 {
		t.hook(f, true, userChain, "-m mark --mark "+mark, f.to(chainForward))
	}
	known := []string{userChain}
	for _, p := range pairs() {
		ask := t.chains[f.chain(p.accepts)]
		for group, list := range have.rules[tableFilter].chains[f.chain(p.accepts)] {
			if isQuestion(group) {
				ask[group] = list // also where somebody has given the chain another name
			}
		}
		for _, chain := range have.others[p] {
			q := f.question(p, chain)
			ask[q.group] = []entry{q}
		}
		for _, chain := range have.accepting[p] {
			t.hook(f, true, chain, f.to(p.asked))
		}
		known = append(known, have.accepting[p]...)
	}
	for _, h := range have.rules[tableFilter].hooks {
		asks := slices.ContainsFunc(pairs(), func(p pair) bool { return targetOf(h.text) == f.chain(p.asked) })
		if h.ofOthers() && !slices.Contains(known, h.chain) && asks {
			t.hooks = append(t.hooks, h) // so it is with a chain by which they accept
		}
	}
	return want
}

// unasked returns the tables without what asked adds.
func (rs rules) unasked(f *family) rules {
	now := maps.Clone(rs)
	t := &table{chains: maps.Clone(rs[tableFilter].chains), hooks: slices.DeleteFunc(slices.Clone(rs[tableFilter].hooks), hook.ofOthers)}
	for _, p := range pairs() {
		if groups := maps.Clone(t.chains[f.chain(p.accepts)]); groups != nil {
			maps.DeleteFunc(groups, func(group string, _ []entry) bool { return isQuestion(group) })
			t.chains[f.chain(p.accepts)] = groups
		}
	}
	now[tableFilter] = t
	return now
}

// alone returns the tables without what asked adds, wherever the hooks stand.
func (rs rules) alone(f *family) rules {
	now := rs.unasked(f)
	for i := range now[tableFilter].hooks { // a copy
		now[tableFilter].hooks[i].misplaced = false
	}
	return now
}

// whole says whether the tables have all the chains and hooks that belong to them. Those in chains
// of others come and go with what these have there.
func (f *family) whole(rs rules) bool {
	for name, t := range f.base(model.FirewallGuard{}) {
		hooks := slices.DeleteFunc(slices.Clone(rs[name].hooks), hook.ofOthers)
		if !sameHooks(t.hooks, hooks) || len(t.chains) != len(rs[name].chains) {
			return false
		}
	}
	return true
}

// leftover says whether the tables hold all that is wanted, and besides only what carries
// ids.
func leftover(have, want rules) bool {
	if want.empty() {
		return true
	}
	for name, t := range want {
		rest := &table{chains: map[string]map[string][]entry{}, hooks: have[name].hooks}
		for chain, groups := range have[name].chains {
			rest.chains[chain] = maps.Clone(groups)
			maps.DeleteFunc(rest.chains[chain], func(group string, _ []entry) bool {
				owner, _, alone := cutLast(group)
				return t.chains[chain][group] == nil && (model.IsID(group) || alone && model.IsID(owner))
			})
		}
		if !rest.equal(t) {
			return false
		}
	}
	return true
}

// moved returns what the tables would hold if the hooks stood where they belong, and if the chains
// of others asked us, and those by which we accept asked them, as is wanted: they fill theirs anew
// as they like, and put their questions into ours.
func (rs rules) moved(f *family, want rules) rules {
	hooks := slices.DeleteFunc(slices.Clone(rs[tableFilter].hooks), hook.ofOthers)
	for i := range hooks {
		hooks[i].misplaced = false
	}
	for _, h := range want[tableFilter].hooks {
		if h.ofOthers() {
			hooks = append(hooks, h)
		}
	}
	now := rs.unasked(f)
	now[tableFilter].hooks = hooks
	for _, p := range pairs() {
		if groups := now[tableFilter].chains[f.chain(p.accepts)]; groups != nil {
			for group, list := range want[tableFilter].chains[f.chain(p.accepts)] {
				if isQuestion(group) {
					groups[group] = list
				}
			}
		}
	}
	return now
}

// ofOthers says whether a hook stands in a chain of users or of another data directory, and not
// in one of the kernel's.
func (h hook) ofOthers() bool {
	return !slices.Contains([]string{"PREROUTING", chainInput, chainForward, chainOutput, "POSTROUTING"}, h.chain)
}

// equal says whether two tables hold the same. The order of groups does not count.
func (t *table) equal(o *table) bool {
	return maps.EqualFunc(t.chains, o.chains, sameChain) && sameHooks(t.hooks, o.hooks)
}

func sameChain(a, b map[string][]entry) bool {
	return maps.EqualFunc(a, b, func(a, b []entry) bool {
		return slices.EqualFunc(a, b, func(a, b entry) bool { return a.comment == b.comment })
	})
}

func sameHooks(a, b []hook) bool {
	return slices.Equal(hookKeys(a), hookKeys(b))
}

func hookKeys(list []hook) []string {
	keys := make([]string, 0, len(list))
	for _, h := range list {
		key := h.chain + " " + h.comment
		if h.misplaced {
			key += misplaced
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
