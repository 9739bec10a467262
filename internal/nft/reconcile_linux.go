package nft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// A dumped table, in the shape that comparing needs.
type dumped struct {
	flags  uint32
	sets   map[string]string // name: definition
	chains map[string]string // name: definition
	rules  map[string][]string
	elems  []elem // sorted
}

// dumpTries bounds how often a dump that was interrupted by a change of somebody
// else is repeated.
const dumpTries = 10

// request sends a dump request for objects of a table.
func (c *conn) request(ctx context.Context, typ uint16, fam byte, fill func(*batch), fn func(message) error) error {
	b := &batch{seq: c.seq}
	b.begin(typ, unix.NLM_F_DUMP, fam)
	if fill != nil {
		fill(b)
	}
	b.end()
	return c.dump(ctx, b, fn)
}

// tableFlags returns the flags of a table and whether it exists.
func (c *conn) tableFlags(ctx context.Context, fam byte, table string) (flags uint32, ok bool, err error) {
	b := &batch{seq: c.seq}
	b.begin(unix.NFT_MSG_GETTABLE, 0, fam)
	b.str(unix.NFTA_TABLE_NAME, table)
	b.end()
	err = c.dump(ctx, b, func(m message) error {
		flags, ok = be32(m.attrs().get(unix.NFTA_TABLE_FLAGS)), true
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return 0, false, nil
	}
	return flags, ok, err
}

// elems dumps a set.
func (c *conn) elems(ctx context.Context, fam byte, table, set string) ([]elem, error) {
	var list []elem
	err := c.request(ctx, unix.NFT_MSG_GETSETELEM, fam, func(b *batch) {
		b.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		b.str(unix.NFTA_SET_ELEM_LIST_SET, set)
	}, func(m message) error {
		for _, item := range attrs(m.attrs().get(unix.NFTA_SET_ELEM_LIST_ELEMENTS)).all {
			list = append(list, parseElem(set, item))
		}
		return nil
	})
	return list, err
}

// rules dumps the comments of the rules of all chains of a table; a rule without
// a comment counts as a foreign one.
func (c *conn) rules(ctx context.Context, fam byte, table string) (map[string][]string, error) {
	rules := map[string][]string{}
	err := c.request(ctx, unix.NFT_MSG_GETRULE, fam, func(b *batch) {
		b.str(unix.NFTA_RULE_TABLE, table)
	}, func(m message) error {
		a := m.attrs()
		if cstring(a.get(unix.NFTA_RULE_TABLE)) != table {
			return nil
		}
		chain := cstring(a.get(unix.NFTA_RULE_CHAIN))
		rules[chain] = append(rules[chain], parseComment(a.get(unix.NFTA_RULE_USERDATA)))
		return nil
	})
	return rules, err
}

// dumpTable reads a table, nil if there is none.
func (c *conn) dumpTable(ctx context.Context, fam byte, table string) (*dumped, error) {
	var d *dumped
	err := retry(func() (err error) {
		d, err = c.dumpOnce(ctx, fam, table)
		return err
	})
	return d, err
}

// retry repeats a dump that was interrupted, or of a table that somebody deleted
// meanwhile.
func retry(dump func() error) error {
	for try := 1; ; try++ {
		err := dump()
		if try == dumpTries || !errors.Is(err, errInterrupted) && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
}

func (c *conn) dumpOnce(ctx context.Context, fam byte, table string) (*dumped, error) {
	flags, ok, err := c.tableFlags(ctx, fam, table)
	if err != nil || !ok {
		return nil, err
	}
	d := &dumped{flags: flags, sets: map[string]string{}, chains: map[string]string{}}
	err = c.request(ctx, unix.NFT_MSG_GETCHAIN, fam, nil, func(m message) error {
		a := m.attrs()
		if cstring(a.get(unix.NFTA_CHAIN_TABLE)) != table {
			return nil
		}
		def := ""
		if hook := attrs(a.get(unix.NFTA_CHAIN_HOOK)); hook != nil {
			def = fmt.Sprint(cstring(a.get(unix.NFTA_CHAIN_TYPE)), be32(hook.get(unix.NFTA_HOOK_HOOKNUM)),
				int32(be32(hook.get(unix.NFTA_HOOK_PRIORITY))), be32(a.get(unix.NFTA_CHAIN_POLICY)))
		}
		d.chains[cstring(a.get(unix.NFTA_CHAIN_NAME))] = def
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.request(ctx, unix.NFT_MSG_GETSET, fam, func(b *batch) {
		b.str(unix.NFTA_SET_TABLE, table)
	}, func(m message) error {
		a := m.attrs()
		s := setDef{
			flags:   be32(a.get(unix.NFTA_SET_FLAGS)),
			keyType: be32(a.get(unix.NFTA_SET_KEY_TYPE)), keyLen: be32(a.get(unix.NFTA_SET_KEY_LEN)),
			dataType: be32(a.get(unix.NFTA_SET_DATA_TYPE)), dataLen: be32(a.get(unix.NFTA_SET_DATA_LEN)),
		}
		s.counter = a.get(setExpr) != nil
		d.sets[cstring(a.get(unix.NFTA_SET_NAME))] = s.def()
		return nil
	})
	if err != nil {
		return nil, err
	}
	if d.rules, err = c.rules(ctx, fam, table); err != nil {
		return nil, err
	}
	for name := range d.sets {
		list, err := c.elems(ctx, fam, table, name)
		if err != nil {
			return nil, err
		}
		d.elems = append(d.elems, list...)
	}
	slices.SortFunc(d.elems, compareElems)
	return d, nil
}

func (s *setDef) def() string {
	dataLen := s.dataLen
	if s.dataType == typeVerdict {
		dataLen = 0 // the kernel's own size of a verdict
	}
	return fmt.Sprint(s.flags, s.keyType, s.keyLen, s.dataType, dataLen, s.counter)
}

func (c *chainDef) def() string {
	if c.hook == "" {
		return ""
	}
	return fmt.Sprint(c.kind, c.hooknum, c.priority, uint32(1))
}

// same says whether a dumped table is as wanted.
func (d *dumped) same(rs *ruleset) bool {
	sets := map[string]string{}
	for i := range rs.sets {
		sets[rs.sets[i].name] = rs.sets[i].def()
	}
	chains := map[string]string{}
	rules := map[string][]string{}
	for i := range rs.chains {
		c := &rs.chains[i]
		chains[c.name] = c.def()
		for _, r := range c.rules {
			rules[c.name] = append(rules[c.name], r.comment())
		}
	}
	elems := slices.SortedFunc(slices.Values(rs.elems), compareElems)
	return maps.Equal(sets, d.sets) && maps.Equal(chains, d.chains) &&
		maps.EqualFunc(rules, d.rules, slices.Equal) && slices.Equal(elems, d.elems)
}

// leftover says whether a dumped table holds all that is wanted, and besides only what
// carries ids.
func (d *dumped) leftover(rs *ruleset) bool {
	type place struct {
		set, key string
		last     bool
	}
	elems := make(map[place]bool, len(rs.elems))
	for _, e := range rs.elems {
		elems[place{e.set, e.key, e.last}] = true
	}
	chains := make(map[string]bool, len(rs.chains))
	for i := range rs.chains {
		chains[rs.chains[i].name] = true
	}
	isOver := func(chain string) bool { return !chains[chain] && strings.HasPrefix(chain, chainMarked("")) }
	rest := *d
	rest.chains, rest.rules, rest.elems = maps.Clone(d.chains), maps.Clone(d.rules), nil
	maps.DeleteFunc(rest.chains, func(chain, _ string) bool { return isOver(chain) })
	maps.DeleteFunc(rest.rules, func(chain string, _ []string) bool { return isOver(chain) })
	over := false // so is the end of an interval that comes next
	for _, e := range d.elems {
		if over = !elems[place{e.set, e.key, e.last}] && (model.IsID(e.comment) || e.last && over); !over {
			rest.elems = append(rest.elems, e)
		}
	}
	return rest.same(rs)
}

// Reconcile makes the tables hold exactly want. It reads them once; if they are
// as wanted nothing is written, else those that differ are replaced in one
// transaction, so that no packet meets a half-made one. It returns what they were, if
// they are right now.
func (f *Firewall) Reconcile(ctx context.Context, want Change, g Guard) (found model.Finding, err error) {
	if err := check(want); err != nil {
		return found, types.BadRequestErrorf("firewall %s: %w", f.table, err)
	}
	if err := f.acquire(ctx); err != nil {
		return found, fmt.Errorf("reconciling firewall %s: %w", f.table, err)
	}
	defer f.release()
	found, err = f.reconcile(ctx, want, g)
	if err != nil {
		f.loaded = false
		return model.FoundRight, fmt.Errorf("reconciling firewall %s: %w", f.table, err)
	}
	return found, nil
}

func (f *Firewall) reconcile(ctx context.Context, want Change, g Guard) (found model.Finding, err error) {
	var dumps [3]*dumped
	for i, fam := range f.fams {
		d, err := f.c.dumpTable(ctx, fam.num, f.table)
		if err != nil {
			return found, fmt.Errorf("reading table %s %s: %w", fam.keyword, f.table, err)
		}
		dumps[i] = d
	}
	b := f.c.newBatch()
	b.lived = true // a table that is replaced takes its counters along
	orphans := false
	var have [3]bool
	for i, fam := range f.fams {
		d := dumps[i]
		rs := fam.build(want, g)
		have[i] = rs != nil
		if d == nil && rs == nil {
			continue
		}
		if rs != nil {
			f.remember(rs)
		}
		if d != nil && rs != nil && !asleep(d.flags) && d.same(rs) {
			if f.orphan(d.flags) {
				orphans = true
				continue
			}
			if d.flags == f.flags {
				continue
			}
		}
		if d != nil && (rs == nil || !asleep(d.flags) && d.leftover(rs)) {
			found = max(found, model.FoundLeftover)
		} else {
			found = model.FoundWrong
		}
		if d != nil {
			b.delTable(fam.num, f.table)
		}
		if rs != nil {
			if err := b.table(rs, f.table, f.flags); err != nil {
				return found, err
			}
		}
	}
	if found != model.FoundRight {
		if err := f.commit(b, "reconcile"); err != nil {
			return found, err
		}
	}
	f.setNets(netsOf(want))
	// What an earlier process has left and is right is taken over by the first
	// change: a start that finds everything right writes nothing.
	f.have, f.guard, f.links, f.loaded = have, g, linkStateOf(want), !orphans
	return found, nil
}

// netsOf returns the networks when there is nothing but want.
func netsOf(want Change) map[string]netState {
	nets := make(map[string]netState, len(want.Networks))
	for _, n := range want.Networks {
		nets[n.ID] = stateOf(n)
	}
	return nets
}

// List returns what the kernel holds, as text in the style of the nft program. It
// is for people. A rule that this process does not know stands as its comment.
func (f *Firewall) List(ctx context.Context) (string, error) {
	if err := f.acquire(ctx); err != nil {
		return "", fmt.Errorf("reading firewall %s: %w", f.table, err)
	}
	defer f.release()
	var text strings.Builder
	for _, fam := range f.fams {
		d, err := f.c.dumpTable(ctx, fam.num, f.table)
		if err != nil {
			return "", fmt.Errorf("reading table %s %s: %w", fam.keyword, f.table, err)
		}
		if d == nil {
			continue
		}
		for _, known := range fam.known().chains {
			for _, r := range known.rules {
				f.texts[r.comment()] = r.text
			}
		}
		text.WriteString(f.render(fam, d))
	}
	return text.String(), nil
}

func (f *Firewall) render(fam *family, d *dumped) string {
	rs := &ruleset{fam: fam, elems: d.elems}
	for _, s := range fam.known().sets {
		if _, ok := d.sets[s.name]; ok {
			rs.sets = append(rs.sets, s)
		}
	}
	known := map[string]chainDef{}
	for _, c := range fam.known().chains {
		known[c.name] = c
	}
	for _, name := range slices.SortedFunc(maps.Keys(d.chains), cmp.Compare[string]) {
		c := known[name]
		c.name, c.rules = name, nil
		for _, comment := range d.rules[name] {
			text, ok := f.texts[comment]
			if !ok {
				text = fmt.Sprintf("# unknown rule, comment %q", comment)
			}
			c.rules = append(c.rules, rule{text: text})
		}
		rs.chains = append(rs.chains, c)
	}
	return rs.text(f.table)
}

// known are the sets and chains that every table of a family has.
func (f *family) known() *ruleset {
	if f.bridge() {
		return buildLinks(f, Change{LinkedPorts: make([]model.LinkedPort, 1)})
	}
	return &ruleset{fam: f, sets: f.sets(), chains: f.base(Guard{V4: true, V6: true})}
}
