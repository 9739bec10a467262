package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
)

// settling is how long nobody must need forwarding until it is turned off. A bridge that somebody
// has deleted may wait for the lock of legacy iptables until it is made again.
const settling = 5 * time.Second

// recordForwarding is the id of the record that says what we have turned on.
const recordForwarding = "forwarding"

// ensureForwarding turns packet forwarding on where a new network needs it. That
// we did so is recorded before it is done: a host that we made a router is
// guarded by the firewall, unless that is off, also after a kill at any moment.
//
// It calls again, unless it is nil, for families in which somebody else had turned it off.
func (e *Engine) ensureForwarding(ctx context.Context, n *model.Network, again func(v6 bool)) error {
	want := forwardedBy(n)
	if !want.on() {
		return nil
	}
	if !e.cfg.Forwarding {
		e.warnForwarding(want)
		return nil
	}
	done, err := e.turns.take(ctx, exclusive("host", recordForwarding))
	if err != nil {
		return err
	}
	defer done()
	if err := e.forward(ctx, want, again); err != nil {
		return opError("turn on forwarding for network", n.Name, n.ID, err)
	}
	return nil
}

// forward turns forwarding on in the families that are wanted, and calls again, unless it is
// nil, for those in which somebody else had turned it off after us. It needs the turn.
func (e *Engine) forward(ctx context.Context, want forwarding, again func(v6 bool)) error {
	e.mu.RLock()
	had := e.forwarding
	e.mu.RUnlock()
	now := had
	var off []bool // is it, by IPv6
	for _, f := range []struct {
		v6, want bool
		on       *bool
	}{{false, want.V4, &now.V4}, {true, want.V6, &now.V6}} {
		if !f.want {
			continue
		}
		on, err := e.kernel.Forwarding(ctx, f.v6)
		if err != nil {
			return err
		}
		if on {
			continue
		}
		before, isOff, err := e.kernel.BeforeForwarding(ctx, f.v6)
		if err != nil {
			return err
		}
		if !isOff {
			continue // somebody else has just turned it on
		}
		off = append(off, f.v6)
		*f.on, now.Boot = true, e.boot
		if f.v6 {
			now.Before6 = since(had.V6, had.Before6, before)
		} else {
			now.Before4 = since(had.V4, had.Before4, before)
		}
	}
	if !reflect.DeepEqual(now, had) {
		if err := e.commitForwarding(ctx, now); err != nil {
			return err
		}
		if _, err := e.guard(ctx, now); err != nil {
			return fmt.Errorf("guard: %w", err)
		}
	}
	guarded := "turned on packet forwarding; packets that neither enter nor leave one of our networks are dropped"
	if e.unfiltered() {
		guarded = "turned on packet forwarding; the firewall is off, so the host is a router for everybody"
	}
	var errs []error
	for _, v6 := range off {
		err := e.kernel.Forward(ctx, v6, true, model.BeforeForwarding{})
		switch {
		case err != nil:
			errs = append(errs, err)
		case had.has(v6) && again != nil:
			again(v6)
		default:
			e.log.Info(guarded, "ipv6", v6)
		}
	}
	if len(errs) > 1 {
		return fmt.Errorf("%w; %w", errs[0], errs[1]) // in one line
	}
	return errors.Join(errs...)
}

// since is what there was before a family was forwarded, which it was already if on: then links
// have come meanwhile, and bridges among them have found a router.
func since(on bool, had, now model.BeforeForwarding) model.BeforeForwarding {
	if !on {
		return now
	}
	for _, f := range []struct {
		list *[]int
		more []int
	}{{&had.Routers, now.Routers}, {&had.Set, now.Set}, {&had.Raised, now.Raised}} {
		all := slices.Concat(*f.list, f.more)
		slices.Sort(all)
		*f.list = slices.Compact(all)
	}
	return had
}

// forwardedBy says in which families the packets of a network are to be forwarded.
func forwardedBy(n *model.Network) forwarding {
	return forwarding{V4: !n.Internal && len(n.IPAM.Pools4) > 0, V6: !n.Internal && len(n.IPAM.Pools6) > 0}
}

// neededLocked says in which families networks need forwarding.
func (e *Engine) neededLocked() (need forwarding) {
	add := func(n *model.Network) {
		f := forwardedBy(n)
		need.V4, need.V6 = need.V4 || f.V4, need.V6 || f.V6
	}
	for _, n := range e.planned {
		add(n)
	}
	for _, n := range e.networks {
		if !n.gone.Load() { // another data directory may have seen that before we have
			add(n.Record())
		}
	}
	return need
}

// findForwarding takes the host's forwarding for ours where the firewall guards it and all records
// were lost: nobody else would turn it off. What others have now passes, since nobody knows what
// there was before.
func (e *Engine) findForwarding(ctx context.Context) {
	v4, v6, err := e.kernel.Guarded(ctx)
	e.logErr("look whether forwarding is guarded", recordForwarding, err)
	if f := (forwarding{V4: v4, V6: v6, Boot: e.boot}); f.on() {
		e.logErr("remember forwarding", recordForwarding, e.commitForwarding(ctx, f))
	}
}

// startForwarding turns on what the networks of a start need, as a new one does: whoever had
// turned it on may not have done so since the host has booted.
func (e *Engine) startForwarding(ctx context.Context) {
	done, err := e.turns.take(ctx, exclusive("host", recordForwarding))
	if err != nil {
		return
	}
	defer done()
	e.mu.RLock()
	need := e.neededLocked()
	e.mu.RUnlock()
	if !e.cfg.Forwarding {
		e.warnForwarding(need)
		return
	}
	again := e.countForwarding
	if !e.store.SameBoot() {
		again = nil
	}
	e.logErr("turn on forwarding", recordForwarding, e.forward(ctx, need, again))
}

// healForwarding turns on again what we have turned on, networks need, and somebody else has
// turned off. What was on before us is his: when the kernel has told of it, so do we.
func (e *Engine) healForwarding(told bool) {
	done, err := e.turns.take(e.ctx, exclusive("host", recordForwarding))
	if err != nil {
		return
	}
	defer done()
	var ours forwarding
	e.mu.RLock()
	need := e.neededLocked()
	if e.cfg.Forwarding {
		ours = e.forwarding
	}
	e.mu.RUnlock()
	if told {
		e.warnForwarding(forwarding{V4: need.V4 && !ours.V4, V6: need.V6 && !ours.V6})
	}
	if ours.V4 && !need.V4 || ours.V6 && !need.V6 {
		// Networks of another data directory may have found it on, as we had made it.
		_, shared, err := e.kernel.Neighbours(e.ctx, ours.Before4, ours.Before6)
		e.logErr("look for networks of others", recordForwarding, unlessClosed(e.ctx, err))
		need.V4, need.V6 = need.V4 || shared, need.V6 || shared
	}
	err = e.forward(e.ctx, forwarding{V4: ours.V4 && need.V4, V6: ours.V6 && need.V6}, func(v6 bool) {
		e.noteRepair(forwardingLost, "forwarding", forwardingEvent(v6))
	})
	if err = unlessClosed(e.ctx, err); err != nil {
		e.logErr("turn on forwarding again", recordForwarding, err)
		e.healer.again(forwardingLost, time.Now())
	}
}

// warnForwarding tells of families that are off, and not ours to turn on.
func (e *Engine) warnForwarding(f forwarding) {
	for _, v6 := range []bool{false, true} {
		if !f.has(v6) {
			continue
		}
		switch on, err := e.kernel.Forwarding(e.ctx, v6); {
		case err != nil:
			e.logErr("look at forwarding", recordForwarding, unlessClosed(e.ctx, err))
		case !on:
			e.log.Warn("packet forwarding is off, and networks need it: it is not ours to turn on", "ipv6", v6)
		}
	}
}

// countForwarding counts and tells of what was put back in the course of something else.
func (e *Engine) countForwarding(v6 bool) {
	e.countRepair("forwarding", "somebody else has turned off packet forwarding: it is on again", model.Forwarding{IPv6: v6}.Key(), forwardingEvent(v6))
}

func forwardingEvent(v6 bool) Event {
	return Event{
		Type: "host", Action: "repair", Scope: "local",
		Attributes: map[string]string{"object": model.Forwarding{IPv6: v6}.Key()},
	}
}

// guard has the firewall drop what neither enters nor leaves one of our networks, in the
// families for which we have made the host a router, but for what others need. It says whether
// others need forwarding. Where the firewall is off, no rule would tell our networks from others:
// all would be dropped.
//
// It needs the turn.
func (e *Engine) guard(ctx context.Context, f forwarding) (shared bool, err error) {
	var g model.FirewallGuard
	if f.on() {
		if g, shared, err = e.kernel.Neighbours(ctx, f.Before4, f.Before6); err != nil {
			g = e.guarded // what passed goes on
		}
	}
	if g.V4, g.V6 = f.V4, f.V6; !g.V4 {
		g.Passes4 = model.GuardPasses{}
	}
	if !g.V6 {
		g.Passes6 = model.GuardPasses{}
	}
	if e.unfiltered() {
		g = model.FirewallGuard{}
	}
	failed := e.kernel.Guard(ctx, g)
	if failed == nil && g != e.guarded {
		names := func(g model.FirewallGuard) string {
			return strings.TrimSpace(g.Passes4.Bridges + " " + g.Passes6.Bridges)
		}
		if now := names(g); now != "" && now != names(e.guarded) {
			e.log.Info("packets by these bridges of others pass, as they would on any router", "ipv4", g.Passes4.Bridges, "ipv6", g.Passes6.Bridges)
		}
		e.guarded = g
	}
	return shared, errors.Join(err, failed)
}

// unfiltered says whether the firewall is off.
func (e *Engine) unfiltered() bool {
	return slices.ContainsFunc(e.cfg.Drivers, func(d model.Driver) bool { return d.Traits().Forwards })
}

// relaxForwarding turns off what we turned on when no network is left, also none of
// another data directory. A family in which the host stays a router stays guarded; when the
// next network of ours or bridge of another directory goes, and at a start, it is tried again.
// Where nobody has said that his network goes, the time settling must pass without any: bridges
// are lost and made again.
func (e *Engine) relaxForwarding(ctx context.Context, settling time.Duration) {
	done, err := e.turns.take(ctx, exclusive("host", recordForwarding))
	if err != nil {
		return
	}
	defer done()
	e.mu.RLock()
	had, left := e.forwarding, len(e.planned)
	for _, n := range e.networks {
		if n.drv.Traits().Addresses {
			left++
		}
	}
	e.mu.RUnlock()
	if !had.on() || left > 0 && settling == 0 { // of which there may be hundreds
		return
	}
	shared, err := e.guard(ctx, had) // for bridges of others that have come
	if err != nil {
		e.logErr("guard forwarding", recordForwarding, unlessClosed(e.ctx, err))
		return
	}
	if left > 0 || shared {
		if names := e.guarded.Passes4.Bridges + e.guarded.Passes6.Bridges; left == 0 && names != e.kept {
			e.kept = names
			e.log.Info("packet forwarding is left on, as others need it", "ipv4", e.guarded.Passes4.Bridges, "ipv6", e.guarded.Passes6.Bridges)
		}
		e.unneeded = time.Time{}
		return
	}
	if e.unneeded.IsZero() {
		e.unneeded = time.Now()
	}
	if rest := settling - time.Since(e.unneeded); rest > 0 {
		time.AfterFunc(rest, e.healer.tellForwarding)
		return
	}
	e.unneeded = time.Time{}
	ctx = context.WithoutCancel(ctx) // no guard is left where nothing is forwarded
	now := had
	if now.V4 = had.V4 && e.stillForwards(ctx, false, had.Before4); !now.V4 {
		now.Before4 = model.BeforeForwarding{}
	}
	if now.V6 = had.V6 && e.stillForwards(ctx, true, had.Before6); !now.V6 {
		now.Before6 = model.BeforeForwarding{}
	}
	if !now.on() {
		now = forwarding{}
	}
	if now.V4 == had.V4 && now.V6 == had.V6 {
		return
	}
	// One that has made its first network meanwhile has found forwarding on; it looks again when
	// its bridge is there, so one of us sees the other.
	if _, shared, err := e.kernel.Neighbours(ctx, had.Before4, had.Before6); err != nil || shared {
		e.logErr("look for networks of others", recordForwarding, err)
		e.logErr("leave forwarding on", recordForwarding, e.forward(ctx, had, nil))
		return
	}
	_, err = e.guard(ctx, now)
	e.logErr("remove the guard of forwarding", recordForwarding, err)
	e.logErr("forget forwarding", recordForwarding, e.commitForwarding(ctx, now))
}

// stillForwards turns forwarding of a family off, and says whether that was to no avail.
func (e *Engine) stillForwards(ctx context.Context, v6 bool, before model.BeforeForwarding) bool {
	err := e.kernel.Forward(ctx, v6, false, before)
	if err == nil {
		return false
	}
	e.logErr("turn off forwarding", recordForwarding, err)
	on, err := e.kernel.Forwarding(ctx, v6)
	return on || err != nil
}

func (e *Engine) commitForwarding(ctx context.Context, f forwarding) error {
	op := store.Op{Kind: kindHost, ID: recordForwarding, Durable: true}
	if f.on() {
		value, err := json.Marshal(f)
		if err != nil {
			return err
		}
		op.Value = value
	}
	if err := e.commit(ctx, op); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forwarding = f
	return nil
}
