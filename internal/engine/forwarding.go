package engine

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
)

// recordForwarding is the id of the record that says what we have turned on.
const recordForwarding = "forwarding"

// ensureForwarding turns packet forwarding on where a new network needs it. That
// we did so is recorded before it is done: a host that we made a router is
// guarded by the firewall, unless that is off, also after a kill at any moment.
func (e *Engine) ensureForwarding(ctx context.Context, n *model.Network) error {
	want := forwarding{V4: len(n.IPAM.Pools4) > 0, V6: len(n.IPAM.Pools6) > 0}
	if !e.cfg.Forwarding || n.Internal || !want.on() {
		return nil
	}
	done, err := e.turns.take(ctx, exclusive("host", recordForwarding))
	if err != nil {
		return err
	}
	defer done()
	e.mu.RLock()
	had := e.forwarding
	e.mu.RUnlock()
	now := had
	var off []bool // by somebody else, after we had turned it on
	for _, f := range []struct {
		v6, want bool
		on       *bool
	}{{false, want.V4, &now.V4}, {true, want.V6, &now.V6}} {
		if !f.want {
			continue
		}
		on, links, err := e.kernel.Forwarding(ctx, f.v6)
		if err != nil {
			return opError("turn on forwarding for network", n.Name, n.ID, err)
		}
		if *f.on {
			if !on {
				off = append(off, f.v6)
			}
			continue
		}
		*f.on = !on
		now.Links = slices.Concat(now.Links, links)
	}
	for _, v6 := range off {
		if err := e.kernel.Forward(ctx, v6, true, nil); err != nil {
			return opError("turn on forwarding for network", n.Name, n.ID, err)
		}
		e.log.Warn("somebody else has turned off packet forwarding: it is on again", "ipv6", v6)
	}
	if now.V4 == had.V4 && now.V6 == had.V6 {
		return nil
	}
	if err := e.commitForwarding(ctx, now); err != nil {
		return err
	}
	if err := e.guard(ctx, now); err != nil {
		return opError("guard forwarding for network", n.Name, n.ID, err)
	}
	guarded := "packets that neither enter nor leave one of our networks are dropped"
	if e.unfiltered() {
		guarded = "the firewall is off, so the host is a router for everybody"
	}
	for _, v6 := range []bool{false, true} {
		if v6 && now.V6 != had.V6 || !v6 && now.V4 != had.V4 {
			if err := e.kernel.Forward(ctx, v6, true, nil); err != nil {
				return opError("turn on forwarding for network", n.Name, n.ID, err)
			}
			e.log.Info("turned on packet forwarding; "+guarded, "ipv6", v6)
		}
	}
	return nil
}

// forwardAgain turns on what we had turned on before. It is for the healer.
func (e *Engine) forwardAgain(ctx context.Context, v6 bool) error {
	if err := e.kernel.Forward(ctx, v6, true, nil); err != nil {
		return err
	}
	what := "ipv4"
	if v6 {
		what = "ipv6"
	}
	e.noteRepair(forwardingLost, "forwarding", Event{
		Type: "host", Action: "repair", Scope: "local", Attributes: map[string]string{"object": "forwarding/" + what},
	})
	return nil
}

// healForwarding turns on again what we have turned on and somebody else has turned off.
func (e *Engine) healForwarding() {
	done, err := e.turns.take(e.ctx, exclusive("host", recordForwarding))
	if err != nil {
		return
	}
	defer done()
	e.mu.RLock()
	had := e.forwarding
	e.mu.RUnlock()
	for v6, wanted := range map[bool]bool{false: had.V4, true: had.V6} {
		if !wanted {
			continue
		}
		on, _, err := e.kernel.Forwarding(e.ctx, v6)
		if err == nil && !on {
			err = e.forwardAgain(e.ctx, v6)
		}
		if err = unlessClosed(e.ctx, err); err != nil {
			e.logErr("turn on forwarding again", "host", err)
			e.healer.again(forwardingLost, time.Now())
		}
	}
}

// guard has the firewall drop what neither enters nor leaves one of our networks, in the
// families for which we have made the host a router. Where the firewall is off, no rule
// would tell our networks from others: all would be dropped.
func (e *Engine) guard(ctx context.Context, f forwarding) error {
	if e.unfiltered() {
		f = forwarding{}
	}
	return e.kernel.Guard(ctx, f.V4, f.V6)
}

// unfiltered says whether the firewall is off.
func (e *Engine) unfiltered() bool {
	return slices.ContainsFunc(e.cfg.Drivers, func(d model.Driver) bool { return d.Traits().Forwards })
}

// relaxForwarding turns off what we turned on when no network is left, also none of
// another data directory. A family in which the host stays a router stays guarded; the
// next network of ours that goes, or start, tries again.
func (e *Engine) relaxForwarding(ctx context.Context) {
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
	if left > 0 || !had.on() {
		return
	}
	if shared, err := e.kernel.Shared(ctx); err != nil || shared {
		e.logErr("look for networks of others", recordForwarding, err)
		return
	}
	now := forwarding{V4: had.V4 && e.stillForwards(ctx, false, nil), V6: had.V6 && e.stillForwards(ctx, true, had.Links)}
	if now.V6 {
		now.Links = had.Links
	}
	if now.V4 == had.V4 && now.V6 == had.V6 {
		return
	}
	e.logErr("remove the guard of forwarding", recordForwarding, e.guard(ctx, now))
	e.logErr("forget forwarding", recordForwarding, e.commitForwarding(ctx, now))
}

// stillForwards turns forwarding of a family off, and says whether that was to no avail.
func (e *Engine) stillForwards(ctx context.Context, v6 bool, links []string) bool {
	err := e.kernel.Forward(ctx, v6, false, links)
	if err == nil {
		return false
	}
	e.logErr("turn off forwarding", recordForwarding, err)
	on, _, err := e.kernel.Forwarding(ctx, v6)
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
