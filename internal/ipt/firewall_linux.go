package ipt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/types"
)

// A Firewall is the chains of one data directory in the namespace in which it was
// opened. Close it when done; the chains stay.
type Firewall struct {
	cfg     Config
	log     *slog.Logger
	variant Variant
	progs   [2]programs
	fams    [2]*family
	// links keeps the rules for what passes between linked containers; it is nil
	// where the kernel has no nftables, for the reason that noNFTables says.
	links      *nft.Firewall
	noNFTables error
	// own are the programs that it runs, by which its changes are told from others.
	own processes

	// turn holds one token; who has it may use what stands below.
	turn chan struct{}
	ns   int // the namespace; -1 after Close
	// loaded says that have is known.
	loaded bool
	have   [2]listing
	// stamps are those of the table nat since it was read, or since our last change; stale says
	// that somebody else's change came between the two.
	stamps [2]stamp
	stale  bool
	told   map[string]bool // of which chains has been told
}

// Open finds the programs. It changes nothing. The error is of class NoService
// where they are missing, and NotImplemented where the kernel has not what they need.
func Open(ctx context.Context, cfg Config) (*Firewall, error) {
	if cfg.Name == "" {
		cfg.Name = DefaultName
	}
	f := &Firewall{cfg: cfg, log: cfg.Logger, turn: make(chan struct{}, 1), told: map[string]bool{}}
	if f.log == nil {
		f.log = slog.Default()
	}
	var err error
	if f.variant, err = choose(ctx, cfg); err != nil {
		return nil, fmt.Errorf("opening firewall %s: %w", cfg.Name, err)
	}
	if f.variant == NFT {
		if err := nft.Probe(); err != nil {
			return nil, fmt.Errorf("opening firewall %s: iptables-nft needs nftables, choose the firewall backend iptables-legacy: %w", cfg.Name, err)
		}
	}
	for i, v6 := range []bool{false, true} {
		f.fams[i] = familyOf(cfg.Name, v6)
		if v6 && !hasIPv6() {
			continue
		}
		if f.progs[i], err = find(f.variant, v6, cfg.Dirs); err != nil && cfg.Variant == Any {
			// Before version 1.8 no program had the variant in its name.
			f.progs[i], err = find(Any, v6, cfg.Dirs)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, list := range chains() {
		for _, c := range list {
			if name := f.fams[0].chain(c); len(name) > maxName {
				return nil, types.BadRequestErrorf("firewall %s: the name of chain %s is longer than %d", cfg.Name, name, maxName)
			}
		}
	}
	if err := f.openLinks(ctx); err != nil {
		return nil, err
	}
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		err = fmt.Errorf("opening firewall %s: %w", cfg.Name, os.NewSyscallError("open", err))
		return nil, errors.Join(err, f.closeLinks())
	}
	f.ns = ns
	return f, nil
}

// choose returns the variant to use: where it is open, that of the host's programs if
// the kernel has what they need, but rather the other one if that alone has the chain of Docker, for only there
// can our chain come before Docker's.
func choose(ctx context.Context, cfg Config) (Variant, error) {
	if cfg.Variant != Any {
		return cfg.Variant, nil
	}
	progs, err := find(Any, false, cfg.Dirs)
	if err != nil {
		return Any, err
	}
	own, err := variant(ctx, progs.restore)
	if err != nil {
		return Any, err
	}
	if own == NFT && nft.Probe() != nil {
		return Legacy, nil // what the host's programs need is not in the kernel
	}
	other := NFT
	if own == NFT {
		other = Legacy
	}
	if !hasUserChain(ctx, own, cfg) && hasUserChain(ctx, other, cfg) {
		return other, nil
	}
	return own, nil
}

// hasUserChain says whether the tables of a variant have the chain of Docker.
func hasUserChain(ctx context.Context, v Variant, cfg Config) bool {
	if used, err := legacyFilter(false); v == Legacy && (err != nil || !used) {
		return false
	}
	progs, err := find(v, false, cfg.Dirs)
	if err != nil {
		return false
	}
	out, err := exec.CommandContext(ctx, progs.save).Output()
	return err == nil && strings.Contains(string(out), "\n:"+userChain+" ")
}

// Variant says which programs it uses.
func (f *Firewall) Variant() Variant { return f.variant }

// Close ends the use of the firewall. The chains stay. Later calls of other
// methods fail; a second Close does nothing.
func (f *Firewall) Close() error {
	f.turn <- struct{}{}
	defer f.release()
	if f.ns < 0 {
		return nil
	}
	err := unix.Close(f.ns)
	f.ns = -1
	return errors.Join(os.NewSyscallError("close", err), f.closeLinks())
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
	if f.ns < 0 {
		f.release()
		return errors.New("the firewall is closed")
	}
	return nil
}

func (f *Firewall) release() { <-f.turn }

// do calls fn in its turn.
func (f *Firewall) do(ctx context.Context, what string, fn func() error) error {
	err := f.acquire(ctx)
	if err == nil {
		defer f.release()
		err = fn()
	}
	if err != nil {
		return fmt.Errorf("%s firewall %s: %w", what, f.cfg.Name, err)
	}
	return nil
}

// Apply removes del and adds add: all of it, or nothing. What both hold is
// replaced. The chains are made with the first network and go with the last one.
// A network or a link that del names and that is not there is no error; a port is:
// it wraps [model.ErrFirewallTampered], as does that of rules that others have
// changed. Adding what is there changes nothing. Of bad input the class of the
// error is BadRequest, and nothing reaches the kernel.
func (f *Firewall) Apply(ctx context.Context, add, del model.FirewallChange) error {
	if err := refusal(f.cfg.Name, add, del); err != nil {
		return err
	}
	if err := f.checkLinks(add); err != nil {
		return err
	}
	return f.change(ctx, func() error { return f.apply(ctx, add, del, f.guard()) })
}

// SetGuard changes which families drop what neither enters nor leaves one of our
// bridges. Where nothing changes nothing is written.
func (f *Firewall) SetGuard(ctx context.Context, g model.FirewallGuard) error {
	return f.change(ctx, func() error { return f.apply(ctx, model.FirewallChange{}, model.FirewallChange{}, g) })
}

// mostTries is how often a change is tried again that others have got in the way of.
const mostTries = 3

// change makes a change, again if others have moved their rules while it was made and have
// left ours as they were.
func (f *Firewall) change(ctx context.Context, apply func() error) error {
	return f.do(ctx, "changing", func() error {
		if err := f.load(ctx); err != nil {
			return err
		}
		err := apply()
		for range mostTries {
			if !errors.Is(err, errOutdated) {
				break
			}
			was := f.have
			now, failed := f.read(ctx)
			if failed != nil || !f.untouched(was, now) {
				break
			}
			f.have, f.loaded = now, true
			err = apply()
		}
		return err
	})
}

// untouched says whether what is ours alone is the same in two listings.
func (f *Firewall) untouched(was, now [2]listing) bool {
	for i, fam := range f.fams {
		a, b := was[i].rules.alone(fam), now[i].rules.alone(fam)
		if !maps.EqualFunc(a, b, (*table).equal) {
			return false
		}
	}
	return true
}

// load finds out, once, what there is.
func (f *Firewall) load(ctx context.Context) error {
	if f.loaded {
		return nil
	}
	have, err := f.read(ctx)
	if err != nil {
		return err
	}
	f.have, f.loaded = have, true
	return nil
}

// read lists the tables of both families.
func (f *Firewall) read(ctx context.Context) ([2]listing, error) {
	var have [2]listing
	f.stale = false
	for i, fam := range f.fams {
		var err error
		f.stamps[i], _ = f.stampOf(fam.v6) // before, so that no change is missed
		if have[i], err = f.readFamily(ctx, i); err != nil {
			return have, fmt.Errorf("reading the rules of %s: %w", fam, err)
		}
		f.warnHeld(fam, have[i])
	}
	return have, nil
}

// warnHeld tells once of chains with names of ours that we do not make, and cannot remove.
func (f *Firewall) warnHeld(fam *family, l listing) {
	for table, chains := range l.held {
		for c := range chains {
			if key := fam.String() + table + c; !fam.knows(table, c) && !f.told[key] {
				f.told[key] = true
				f.log.Warn("a chain with a name of ours is not ours, and stays, empty, as a rule of somebody else leads to it: delete that rule",
					"family", fam.String(), "table", table, "chain", c)
			}
		}
	}
}

// hasIPv6 says whether the kernel has the family at all; it may have been left out
// at its start.
func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// apply makes a change. What the tables hold is known.
func (f *Firewall) apply(ctx context.Context, add, del model.FirewallChange, g model.FirewallGuard) error {
	var next [2]rules
	var batches [2]batch
	for i, fam := range f.fams {
		if f.have[i].rules.empty() == fam.needed(f.have[i].rules, add, del, g) {
			// The chains are to be made or removed: where their hooks belong, or are, and
			// whether there is anything after all, is looked up.
			have, err := f.read(ctx)
			if err != nil {
				return err
			}
			f.have = have
			break
		}
	}
	for i, fam := range f.fams {
		have := f.have[i]
		switch needed := fam.needed(have.rules, add, del, g); {
		case !needed:
			next[i] = nothing()
			batches[i] = replace(have, next[i])
		case have.rules.empty():
			next[i] = fam.asked(fam.build(add, g), have)
			batches[i] = replace(have, next[i])
		default:
			if err := fam.intact(have.rules, del); err != nil {
				f.loaded = false
				return err
			}
			c := fam.change(have.rules, add, del, g)
			batches[i] = c.batch(have.rules)
			next[i] = c.in(have.rules)
		}
	}
	return f.commit(ctx, "apply", batches, next, func() error { return f.applyLinks(ctx, add, del) })
}

// needed says whether a family's tables hold anything after a change.
func (f *family) needed(have rules, add, del model.FirewallChange, g model.FirewallGuard) bool {
	ids := f.networks(have)
	for _, n := range del.Networks {
		delete(ids, n.ID)
	}
	for _, n := range add.Networks {
		if part(&n, f.v6) != nil {
			return true
		}
		delete(ids, n.ID)
	}
	return len(ids) > 0 || g.Of(f.v6)
}

// intact fails if rules are not there that should be: those that lead to our
// chains, or that are to be deleted.
func (f *family) intact(have rules, del model.FirewallChange) error {
	if !f.whole(have) {
		return fmt.Errorf("%w: chains of ours are incomplete", model.ErrFirewallTampered)
	}
	del.Links = nil
	for name, list := range f.single(del) {
		for _, e := range list {
			if len(have[name].chains[e.chain][e.group]) == 0 {
				return fmt.Errorf("%w: chain %s lacks the rule %s", model.ErrFirewallTampered, e.chain, e.text)
			}
		}
	}
	return nil
}

// commit runs the batches of both families and then links, which does nothing when it
// fails, and undoes what was done when one of them fails.
func (f *Firewall) commit(ctx context.Context, what string, batches [2]batch, next [2]rules, links func() error) error {
	for i, fam := range f.fams {
		text := batches[i].text()
		if text == "" {
			continue
		}
		if err := f.restore(ctx, i, what, text); err != nil {
			err = fmt.Errorf("rules of %s: %w", fam, err)
			return f.undo(ctx, next, err)
		}
	}
	if err := links(); err != nil {
		return f.undo(ctx, next, err)
	}
	made := false
	for i := range f.have {
		made = made || f.have[i].rules.empty() && !next[i].empty()
		f.have[i].rules, f.have[i].late = next[i], nil
	}
	if made {
		f.meet(ctx)
	}
	return nil
}

// meet looks again when chains have been made: another data directory that made its own at the
// same time, as when a host starts, has not seen them, nor have we seen its.
func (f *Firewall) meet(ctx context.Context) {
	now, err := f.read(ctx)
	if err == nil {
		var next [2]rules
		var batches [2]batch
		for i, fam := range f.fams {
			next[i] = fam.asked(now[i].rules.unasked(fam), now[i])
			batches[i] = replace(now[i], next[i])
		}
		f.have = now
		err = f.commit(ctx, "meet", batches, next, func() error { return nil })
	}
	if err != nil {
		f.loaded = false
		f.log.Warn("what other data directories have made at the same time is not known", "err", err)
	}
}

// errOutdated is of a batch that does not fit what others have made of the tables meanwhile.
var errOutdated = fmt.Errorf("%w meanwhile", model.ErrFirewallTampered)

// outdated says whether a batch has failed because chains or rules are not there that were
// listed, or are there that were not, since somebody else has changed them meanwhile: a
// chain has become shorter, or has gone, also while the program ran, or is led to. By the time that it
// is listed again all may be as before. What fails at the end of a table, the kernel does
// not take.
func outdated(batch string, err error) bool {
	for _, said := range []string{
		"Index of insertion too big", "failed (No such file or directory)", "failed (Device or resource busy)", "Couldn't load target", "' does not exist",
	} {
		if strings.Contains(err.Error(), said) {
			return true
		}
	}
	m := failedLine.FindStringSubmatch(err.Error())
	if m == nil {
		return false
	}
	number, _ := strconv.Atoi(m[1])
	lines := strings.Split(batch, "\n")
	return number >= 1 && number <= len(lines) && lines[number-1] != "COMMIT"
}

var failedLine = regexp.MustCompile(`line (\d+) failed`)

// restore counts and runs a batch.
func (f *Firewall) restore(ctx context.Context, i int, what, text string) error {
	if f.fams[i].v6 && !hasIPv6() {
		return types.NotImplementedErrorf("the kernel has no IPv6")
	}
	if err := f.cfg.Steps.Next("ipt: " + what + " " + f.fams[i].String()); err != nil {
		return err
	}
	f.stale = f.stale || f.changed(i)
	_, err := f.run(ctx, text, f.progs[i].restore, "--noflush", "-w")
	f.stamps[i], _ = f.stampOf(f.fams[i].v6)
	if err != nil && outdated(text, err) {
		return fmt.Errorf("%w: %w", errOutdated, err)
	}
	if err != nil && ctx.Err() == nil && f.variant == Legacy && !legacyLoaded(f.fams[i].v6) {
		return types.NotImplementedErrorf("the kernel has no iptables: %w", err)
	}
	return err
}

func (f *Firewall) run(ctx context.Context, input, program string, args ...string) ([]byte, error) {
	return run(ctx, f.ns, &f.own, input, program, args...)
}

// undoTime bounds the undoing, which goes on when the change has been given up.
const undoTime = 30 * time.Second

// undo brings the tables back to what they were before a failure. If they are
// neither as before nor as they were to be, somebody else has been at them.
func (f *Firewall) undo(ctx context.Context, next [2]rules, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	f.loaded = false
	now, err := f.read(ctx)
	if err != nil {
		return errors.Join(cause, err)
	}
	for i := range now {
		if now[i].place != f.have[i].place {
			return fmt.Errorf("%w: %w", model.ErrFirewallTampered, cause)
		}
		for _, name := range tableNames() {
			if t := now[i].rules[name]; !t.equal(f.have[i].rules[name]) && !t.equal(next[i][name]) {
				return fmt.Errorf("%w: %w", model.ErrFirewallTampered, cause)
			}
		}
	}
	for i, fam := range f.fams {
		if text := replace(now[i], f.have[i].rules).text(); text != "" {
			if err := f.restore(ctx, i, "undo", text); err != nil {
				return errors.Join(cause, fmt.Errorf("undoing the rules of %s: %w", fam, err))
			}
		}
	}
	f.loaded = true
	return cause
}

// Reconcile makes the chains hold exactly want. They are listed once; what is as
// wanted is not written, and what differs is replaced, a table at a time, so that no
// packet meets a half-made one. It returns what they were, if they are right now.
func (f *Firewall) Reconcile(ctx context.Context, want model.FirewallChange, g model.FirewallGuard) (found model.Finding, err error) {
	if err := refusal(f.cfg.Name, want); err != nil {
		return found, err
	}
	err = f.do(ctx, "reconciling", func() error {
		f.loaded = false
		if err := f.load(ctx); err != nil {
			return err
		}
		var next [2]rules
		var batches [2]batch
		for i, fam := range f.fams {
			next[i] = fam.asked(fam.build(want, g), f.have[i])
			batches[i] = replace(f.have[i], next[i])
			switch {
			case len(batches[i]) == 0:
			case len(f.have[i].late) == 0 && leftover(f.have[i].rules, next[i]):
				found = max(found, model.FoundLeftover)
			case leftover(f.have[i].rules.moved(fam, next[i]), next[i]):
				found = max(found, model.FoundMoved)
			default:
				found = model.FoundWrong
			}
		}
		if err := f.commit(ctx, "reconcile", batches, next, func() error { return nil }); err != nil {
			return err
		}
		linked, err := f.reconcileLinks(ctx, want)
		found = max(found, linked)
		if failed := f.warnAsleep(ctx); failed != nil {
			f.log.Warn("look for dormant tables", "err", failed)
		}
		return err
	})
	if err == nil {
		// All that can be made stands by now.
		err = f.checkLinks(want)
	}
	if err != nil {
		return model.FoundRight, err
	}
	return found, nil
}

// List returns the batches that would make what the kernel holds.
func (f *Firewall) List(ctx context.Context) (string, error) {
	text := ""
	err := f.do(ctx, "reading", func() error {
		have, err := f.read(ctx)
		if err != nil {
			return err
		}
		links, err := f.listLinks(ctx)
		text = f.fams[0].text(have[0].rules) + f.fams[1].text(have[1].rules) + links
		return err
	})
	return text, err
}

// text is empty where there is nothing.
func (f *family) text(rs rules) string {
	if rs.empty() {
		return ""
	}
	return "# " + f.String() + "\n" + replace(listing{rules: nothing(), place: 1}, maps.Clone(rs)).text()
}

// Render returns the batches that make what want and guard ask for on a host
// without any of it, and the table of links as package nft renders it.
func Render(name string, want model.FirewallChange, g model.FirewallGuard) (string, error) {
	if err := refusal(name, want); err != nil {
		return "", err
	}
	var text strings.Builder
	for _, v6 := range []bool{false, true} {
		fam := familyOf(name, v6)
		text.WriteString(fam.text(fam.build(want, g)))
	}
	links, err := nft.Render(linksTable(name, NFT), linked(want), model.FirewallGuard{})
	return text.String() + links, err
}
