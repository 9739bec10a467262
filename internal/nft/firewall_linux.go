package nft

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// A Firewall is the tables of one data directory in the namespace in which it
// was opened. Close it when done; the tables stay.
type Firewall struct {
	table string
	cfg   Config
	log   *slog.Logger
	// flags are those that tables get.
	flags uint32
	// fams are IPv4, IPv6 and, for links, the bridge family.
	fams [3]*family

	// turn holds one token; who has it may use what stands below.
	turn chan struct{}
	c    *conn // nil after Close
	// loaded says that tables and nets are known.
	loaded bool
	// have says which tables exist.
	have [3]bool
	// nets is the networks that the tables hold, by id.
	nets map[string]netState
	// count is how many of them each table holds.
	count [2]int
	links linkState
	guard Guard
	// commits counts our own transactions, by which those of others are told.
	commits uint32
	// foreignDNAT are rules of others, as they were after so many of their
	// transactions, if they have been read.
	foreignDNAT []dnatRule
	foreignGen  uint32
	foreignRead bool
	// texts are the rules seen so far by comment, for List.
	texts map[string]string
}

// netState is what is needed to remove a network: its elements in both tables.
type netState [2][]elem

// Open prepares the firewall of the current network namespace. It changes
// nothing. The error of a kernel without nftables is of class NotImplemented.
func Open(ctx context.Context, cfg Config) (*Firewall, error) {
	f := &Firewall{
		table: cfg.Table, cfg: cfg, log: cfg.Logger,
		fams:  families(),
		turn:  make(chan struct{}, 1),
		nets:  map[string]netState{},
		texts: map[string]string{},
	}
	if f.table == "" {
		f.table = DefaultTable
	}
	if f.log == nil {
		f.log = slog.Default()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := dial()
	if err != nil {
		return nil, fmt.Errorf("opening firewall %s: %w: choose the firewall backend iptables", f.table, lacking(err))
	}
	f.c = c
	if !cfg.NoOwner {
		if f.flags, err = c.probeOwner(f.table); err != nil {
			f.log.Debug("cannot tell whether tables can have an owner, so they get none", "error", err)
		}
	}
	f.keep()
	return f, nil
}

// keep goes on with the socket that owns the tables, and has it kept for the next process.
func (f *Firewall) keep() {
	if f.cfg.Sockets == nil {
		return
	}
	if kept, ok := f.cfg.Sockets.Kept(f.table); ok {
		err := f.c.inherit(kept)
		if err == nil {
			return // and it is kept already
		}
		f.log.Warn("the firewall's socket of an earlier process is of no use", "table", f.table, "err", err)
	}
	if f.flags == 0 {
		return
	}
	if err := f.cfg.Sockets.Keep(f.table, f.c.fd); err != nil {
		f.log.Warn("the firewall's socket is not kept for the next process, so others may change the rules between the two", "table", f.table, "err", err)
	}
}

// Close ends the firewall's connection to the kernel. The tables stay. Later
// calls of other methods fail; a second Close does nothing.
func (f *Firewall) Close() error {
	f.turn <- struct{}{}
	defer f.release()
	if f.c == nil {
		return nil
	}
	err := f.c.Close()
	f.c = nil
	return err
}

// probeOwner asks whether a table may have the flags owner and persist.
func (c *conn) probeOwner(table string) (uint32, error) {
	err := c.tryTable(unix.NFPROTO_IPV4, table, flagOwner|flagPersist)
	switch {
	case errors.Is(err, unix.ENOENT):
		return flagOwner | flagPersist, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return 0, nil
	}
	return 0, err
}

// acquire waits for the turn.
func (f *Firewall) acquire(ctx context.Context) error {
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		f.release()
		return err
	}
	if f.c == nil {
		f.release()
		return errors.New("the firewall is closed")
	}
	return nil
}

func (f *Firewall) release() { <-f.turn }

// commit counts and sends a transaction.
func (f *Firewall) commit(b *batch, name string) error { return f.commitEcho(b, name, nil) }

func (f *Firewall) commitEcho(b *batch, name string, echo func(message)) error {
	if err := f.cfg.Steps.Next("nft: " + name); err != nil {
		return err
	}
	err := f.c.commitEcho(b, echo)
	if err == nil {
		f.commits++
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) {
		f.loaded = false
		return fmt.Errorf("%w: %w", ErrTampered, err)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return lacking(err)
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: the tables belong to another process, or this one may not change firewalls", err)
	}
	return err
}

// load finds out, once, which tables and networks there are, and adopts tables
// that an earlier process left.
func (f *Firewall) load(ctx context.Context) error {
	if f.loaded {
		return nil
	}
	return retry(func() error { return f.loadOnce(ctx) })
}

func (f *Firewall) loadOnce(ctx context.Context) (err error) {
	nets := map[string]netState{}
	var have [3]bool
	var orphans []*family
	for i, fam := range f.fams {
		flags, ok, err := f.c.tableFlags(ctx, fam.num, f.table)
		if err != nil {
			return fmt.Errorf("reading table %s %s: %w", fam.keyword, f.table, err)
		}
		if have[i] = ok; !ok {
			continue
		}
		if asleep(flags) {
			return fmt.Errorf("%w: table %s %s is dormant", ErrTampered, fam.keyword, f.table)
		}
		if f.orphan(flags) {
			orphans = append(orphans, fam)
		}
	}
	if len(orphans) > 0 {
		b := f.c.newBatch()
		for _, fam := range orphans {
			b.newTable(fam.num, f.table, f.flags, 0)
		}
		if err := f.commit(b, "adopt tables"); err != nil {
			return fmt.Errorf("adopting the tables %s: %w", f.table, err)
		}
	}
	links := make(linkState)
	for i, fam := range f.fams {
		if !have[i] {
			continue
		}
		if fam.bridge() {
			if links, err = f.loadLinks(ctx, fam); err != nil {
				return fmt.Errorf("reading table %s %s: %w", fam.keyword, f.table, err)
			}
			continue
		}
		for _, set := range networkSets {
			elems, err := f.c.elems(ctx, fam.num, f.table, set)
			if err != nil {
				return fmt.Errorf("reading table %s %s: %w", fam.keyword, f.table, err)
			}
			slices.SortFunc(elems, compareElems)
			id := ""
			for _, e := range elems {
				if !e.last { // the end of an interval says not whose it is
					id = e.comment
				}
				s := nets[id]
				s[i] = append(s[i], e)
				nets[id] = s
			}
		}
		rules, err := f.c.rules(ctx, fam.num, f.table)
		if err != nil {
			return fmt.Errorf("reading table %s %s: %w", fam.keyword, f.table, err)
		}
		guarded := len(rules[chainGuard]) > 0
		if fam.v6() {
			f.guard.V6 = guarded
		} else {
			f.guard.V4 = guarded
		}
	}
	f.setNets(nets)
	f.have, f.links, f.loaded = have, links, true
	return nil
}

// orphan says whether a table with these flags waits for a new owner.
func (f *Firewall) orphan(flags uint32) bool {
	return f.flags != 0 && flags&(flagOwner|flagPersist) == flagPersist
}

// asleep says whether the rules of a table with these flags are asked for nothing: somebody
// else has made it so.
func asleep(flags uint32) bool { return flags&unix.NFT_TABLE_F_DORMANT != 0 }

// Apply removes del and adds add in one transaction. What both hold is replaced.
// The tables are created by the first transaction that needs them, and deleted
// with the last network. A network that del names and that is not there is no
// error; a port is, see [ErrTampered]. Adding what is there changes nothing. Of
// bad input the class of the error is BadRequest, and nothing reaches the kernel.
func (f *Firewall) Apply(ctx context.Context, add, del Change) error {
	if err := errors.Join(check(add), check(del)); err != nil {
		return types.BadRequestErrorf("firewall %s: %w", f.table, err)
	}
	if err := f.acquire(ctx); err != nil {
		return fmt.Errorf("changing firewall %s: %w", f.table, err)
	}
	defer f.release()
	if err := f.load(ctx); err != nil {
		return err
	}
	if err := f.apply(add, del, f.guard); err != nil {
		return fmt.Errorf("changing firewall %s: %w", f.table, err)
	}
	return nil
}

// SetGuard changes which families drop what neither enters nor leaves one of our
// bridges, in one transaction, or in none where nothing changes.
func (f *Firewall) SetGuard(ctx context.Context, g Guard) error {
	if err := f.acquire(ctx); err != nil {
		return fmt.Errorf("changing firewall %s: %w", f.table, err)
	}
	defer f.release()
	if err := f.load(ctx); err != nil {
		return err
	}
	if g == f.guard {
		return nil
	}
	if err := f.apply(Change{}, Change{}, g); err != nil {
		return fmt.Errorf("changing firewall %s: %w", f.table, err)
	}
	return nil
}

// Guarded says which families drop that.
func (f *Firewall) Guarded(ctx context.Context) (v4, v6 bool, err error) {
	if err := f.acquire(ctx); err != nil {
		return false, false, fmt.Errorf("reading firewall %s: %w", f.table, err)
	}
	defer f.release()
	err = f.load(ctx)
	return f.guard.V4, f.guard.V6, err
}

func (f *Firewall) apply(add, del Change, g Guard) error {
	count := f.counts(add, del)
	links := f.links.settle(&add, &del)
	b := f.c.newBatch()
	empty := len(b.buf)
	have := f.have
	for i, fam := range f.fams {
		needed := len(links) > 0
		if !fam.bridge() {
			needed = g.Of(fam.v6()) || count[i] > 0
		}
		switch {
		case !needed && have[i]:
			b.delTable(fam.num, f.table)
			have[i] = false
		case needed && !have[i]:
			rs := fam.build(add, g)
			f.remember(rs)
			if err := b.table(rs, f.table, f.flags); err != nil {
				return err
			}
			have[i] = true
		case needed:
			if err := f.change(b, i, add, del, g); err != nil {
				return err
			}
		}
	}
	if len(b.buf) > empty {
		if err := f.commit(b, "apply"); err != nil {
			return err
		}
	}
	for _, n := range del.Networks {
		delete(f.nets, n.ID)
	}
	for _, n := range add.Networks {
		f.nets[n.ID] = stateOf(n)
	}
	f.have, f.guard, f.count, f.links = have, g, count, links
	return nil
}

// counts returns how many networks each table holds after a change.
func (f *Firewall) counts(add, del Change) [2]int {
	count := f.count
	seen := map[string]netState{}
	become := func(id string, now netState) {
		old, ok := seen[id]
		if !ok {
			old = f.nets[id]
		}
		for i := range count {
			if len(old[i]) > 0 {
				count[i]--
			}
			if len(now[i]) > 0 {
				count[i]++
			}
		}
		seen[id] = now
	}
	for _, n := range del.Networks {
		become(n.ID, netState{})
	}
	for _, n := range add.Networks {
		become(n.ID, stateOf(n))
	}
	return count
}

func stateOf(n model.FirewallNetwork) netState {
	var s netState
	for i, c := range []*model.FirewallFamily{n.V4, n.V6} {
		if c != nil {
			s[i] = networkElems(&n, c)
		}
	}
	return s
}

// setNets replaces what is known of networks.
func (f *Firewall) setNets(nets map[string]netState) {
	f.nets, f.count = nets, [2]int{}
	for _, s := range nets {
		for i, elems := range s {
			if len(elems) > 0 {
				f.count[i]++
			}
		}
	}
}

// change adds the messages of a change of an existing table: first all that goes.
func (f *Firewall) change(b *batch, i int, add, del Change, g Guard) error {
	fam := f.fams[i]
	if fam.bridge() {
		f.elems(b, unix.NFT_MSG_DELSETELEM, fam, del)
		f.elems(b, unix.NFT_MSG_NEWSETELEM, fam, add)
		return nil
	}
	gone := map[string]bool{}
	for _, list := range [][]model.FirewallNetwork{del.Networks, add.Networks} {
		for _, n := range list {
			old := f.nets[n.ID][i]
			if gone[n.ID] {
				continue
			}
			gone[n.ID] = true
			b.setElems(unix.NFT_MSG_DELSETELEM, fam.num, f.table, old)
			for _, e := range old {
				if e.chain != "" {
					b.delChain(fam.num, f.table, e.chain)
				}
			}
		}
	}
	f.elems(b, unix.NFT_MSG_DELSETELEM, fam, del)
	for k := range add.Networks {
		n := &add.Networks[k]
		c := part(n, fam.v6())
		if c == nil {
			continue
		}
		chains := network(n, c)
		f.rememberChains(chains)
		if err := b.chains(fam.num, f.table, chains); err != nil {
			return err
		}
		b.setElems(unix.NFT_MSG_NEWSETELEM, fam.num, f.table, networkElems(n, c))
	}
	f.elems(b, unix.NFT_MSG_NEWSETELEM, fam, add)
	return f.changeGuard(b, fam, g)
}

// changeGuard adds the messages that make a guard another one.
func (f *Firewall) changeGuard(b *batch, fam *family, g Guard) error {
	if g == f.guard {
		return nil
	}
	b.flushChain(fam.num, f.table, chainGuard)
	if !g.Of(fam.v6()) {
		return nil
	}
	rules := fam.guardRules(g)
	f.rememberChains([]chainDef{{name: chainGuard, rules: rules}})
	for _, r := range rules {
		if err := b.newRule(fam.num, f.table, chainGuard, r.comment(), r.exprs, 0); err != nil {
			return err
		}
	}
	return nil
}

// elems adds or deletes the elements of what belongs to endpoints.
func (f *Firewall) elems(b *batch, typ uint16, fam *family, c Change) {
	elems := fam.elems(c)
	slices.SortFunc(elems, compareElems)
	b.setElems(typ, fam.num, f.table, elems)
}

// remember keeps the texts of rules.
func (f *Firewall) remember(rs *ruleset) { f.rememberChains(rs.chains) }

func (f *Firewall) rememberChains(chains []chainDef) {
	for _, c := range chains {
		for _, r := range c.rules {
			f.texts[r.comment()] = r.text
		}
	}
}
