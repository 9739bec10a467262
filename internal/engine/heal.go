package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// What somebody else takes away from us on the host is put back while the engine
// runs: rules, bridges, the links of containers. The kernel says what may have been
// lost, here it is decided whose it is, and the object is looked at in its turn, so
// that nothing is taken for lost that an operation of ours is about to remove.

const (
	// healDelay gathers what belongs together: the deletion of one bridge is told as
	// the loss of each of its ports.
	healDelay = 20 * time.Millisecond
	// surveyPeriod is how often is looked for what the kernel tells nobody of.
	surveyPeriod = 10 * time.Second
)

// Repairs returns how often what somebody else had taken away was put back, by
// kind: "firewall", "link", "forwarding".
func (e *Engine) Repairs() map[string]uint64 {
	e.healer.mu.Lock()
	defer e.healer.mu.Unlock()
	out := map[string]uint64{"firewall": 0, "link": 0, "forwarding": 0}
	maps.Copy(out, e.healer.repairs)
	return out
}

// heal repairs what is lost until the engine is closed.
func (e *Engine) heal() {
	h := e.healer
	timer := time.NewTimer(healDelay)
	defer timer.Stop()
	survey := time.NewTicker(surveyPeriod)
	defer survey.Stop()
	var due time.Time // of the timer, zero when it does not run
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-survey.C:
			e.survey()
			continue
		case <-h.wake:
			// Not put off any more by what comes after it.
			if at := time.Now().Add(healDelay); due.IsZero() || due.After(at) {
				due = at
				timer.Reset(healDelay)
			}
			continue
		case <-timer.C:
		}
		links, rules, all, theirs := h.take(time.Now())
		if rules {
			e.healRules()
		}
		told := slices.Contains(links, forwardingLost)
		if all || told {
			e.healForwarding(told)
			links = slices.DeleteFunc(links, func(l string) bool { return l == forwardingLost })
		}
		if !h.behind { // without rules no link is made; all are looked at when they stand
			e.healLinks(links, all)
		}
		if all || told || theirs { // as another data directory, whose network kept forwarding on
			e.relaxForwarding(e.ctx, settling)
		}
		if due = h.due(); !due.IsZero() {
			timer.Reset(max(time.Until(due), healDelay))
		}
	}
}

// survey looks for what the kernel tells nobody of.
func (e *Engine) survey() {
	var want []model.Object
	for _, n := range e.Networks() {
		if rec := n.Record(); rec.Bridge != nil {
			want = append(want, n.drv.Network(rec)...)
		}
	}
	for _, s := range e.Sandboxes() {
		v := s.View()
		for _, a := range v.Attached {
			want = append(want, a.Driver.Attach(a.Network, a.Endpoint, v.Sandbox)...)
		}
	}
	lost, err := e.kernel.Survey(e.ctx, want)
	e.logErr("look at the links", "networks", unlessClosed(e.ctx, err))
	for _, name := range lost {
		e.healer.tell(name, false)
	}
	e.relaxForwarding(e.ctx, settling) // which also looks at what has become of bridges of others
}

func (e *Engine) healRules() {
	found, err := e.kernel.RepairRules(e.ctx)
	if e.ctx.Err() != nil {
		return
	}
	e.logErr("repair", "firewall", err)
	switch {
	case err != nil:
		e.healer.behind = true
		e.healer.again(rulesLost, time.Now())
	case e.healer.behind:
		// No link was made as long as there were no rules for it.
		e.healer.behind = false
		delete(e.healer.feuds, rulesLost)
		e.healer.tell("", false)
	}
	switch {
	case err != nil, found == model.FoundRight:
	case found == model.FoundMoved:
		e.noteMoved()
	default:
		e.noteRepair(rulesLost, "firewall", Event{Type: "firewall", Action: "repair", Scope: "local"})
	}
}

// noteMoved tells of rules that stand where they belong again. It is no repair.
func (e *Engine) noteMoved() {
	if pause := e.healer.moved(time.Now()); pause > 0 {
		e.log.Warn("another program puts rules before those of networks again and again: they are left there for a moment", "pause", pause)
		return
	}
	e.log.Info("others have put rules beside those of networks: they stand where they belong again")
}

// noteRepair counts a repair and tells of it, and of what is given up for a while.
func (e *Engine) noteRepair(name, kind string, ev Event) {
	pause := e.healer.repaired(name, kind, time.Now())
	e.events.emit(ev)
	if object := ev.Attributes["object"]; kind == "forwarding" {
		name = object // says of which family
	}
	if pause > 0 {
		e.log.Warn("another program keeps undoing what belongs to a network: it is left alone for a while",
			"kind", kind, "name", name, "pause", pause)
		return
	}
	e.log.Warn("somebody else has changed what belongs to a network: it has been put right", "kind", kind, "name", name)
}

// countRepair counts and tells of what was put back in the course of something else. The
// account of repairs is the healer's own.
func (e *Engine) countRepair(kind, text, name string, ev Event) {
	e.healer.mu.Lock()
	e.healer.repairs[kind]++
	e.healer.mu.Unlock()
	e.log.Warn(text, "kind", kind, "name", name)
	e.events.emit(ev)
}

// noteRecovery counts and tells of what a start has put right. After a boot nothing is
// there, as it should be.
func (e *Engine) noteRecovery(found model.Recovery) {
	if !e.store.SameBoot() {
		return
	}
	if found.Rules {
		e.countRepair("firewall", "the rules were not those of what is recorded: somebody else has changed them, settings or version are others, or a change of a container was cut short; they are right now", rulesLost,
			Event{Type: "firewall", Action: "repair"})
	}
	owners := make(map[string]Event) // by the keys of links
	for _, n := range e.Networks() {
		if rec := n.Record(); rec.Bridge != nil {
			owners[model.Bridge{Name: rec.Bridge.Link}.Key()] = Event{Type: "network", ID: n.ID(), Name: n.Name(), Scope: rec.Scope}
		}
	}
	for _, s := range e.Sandboxes() {
		for _, a := range s.View().Attached {
			owners[model.Veth{Host: a.Endpoint.Attached.Host}.Key()] = Event{Type: "sandbox", ID: s.ID(), Name: s.ContainerID()}
		}
	}
	for _, key := range found.Links {
		ev := owners[key]
		ev.Action, ev.Attributes = "repair", map[string]string{"object": key}
		_, name, _ := strings.Cut(key, "/")
		e.countRepair("link", "a link was not as it is recorded: somebody else has changed it, another version has made it, or a change of a container was cut short; it is right now", name, ev)
	}
}

// noteForeign tells of what was done to firewalld, or is to be known of it. The log
// has it already, but for repairs.
func (e *Engine) noteForeign(action, object string) {
	ev := Event{Type: "firewall", Action: action, Scope: "local", Attributes: map[string]string{"object": object}}
	if action == "repair" {
		e.countRepair("firewall", "firewalld has forgotten what belongs to a network: it has been put right", object, ev)
		return
	}
	e.events.emit(ev)
}

// noteRepairs tells of links that were repaired, by their keys.
func (e *Engine) noteRepairs(keys []string, ev Event) {
	for _, key := range keys {
		_, name, _ := strings.Cut(key, "/")
		ev.Attributes = map[string]string{"object": key}
		e.noteRepair(name, "link", ev)
	}
}

// healLinks looks at the networks and sandboxes that links belong to, or at all.
// Networks come first: a bridge has to be there before its ports. Most of what is
// lost was taken away by ourselves and belongs to nobody any more.
func (e *Engine) healLinks(links []string, all bool) {
	if len(links) == 0 && !all {
		return
	}
	lost := make(map[string]bool, len(links))
	for _, l := range links {
		lost[l] = true
	}
	networks := make(map[string]bool)
	for _, n := range e.Networks() {
		rec := n.Record()
		if rec.Bridge != nil && (all || lost[rec.Bridge.Link]) {
			networks[rec.ID] = true
			e.healNetwork(n)
		}
	}
	for _, s := range e.Sandboxes() {
		if slices.ContainsFunc(s.View().Attached, func(a model.Attachment) bool {
			return all || networks[a.Network.ID] || lost[a.Endpoint.Attached.Host]
		}) {
			e.healSandbox(s)
		}
	}
}

func (e *Engine) healNetwork(n *Network) {
	done, err := e.turns.take(e.ctx, exclusive("network", n.ID()))
	if err != nil {
		return
	}
	defer done()
	if e.network(n.ID()) != n || n.gone.Load() {
		return
	}
	repaired, err := e.kernel.RepairLinks(e.ctx, n.drv.Network(n.Record()))
	e.failedRepair("network "+n.Name(), n.ID(), err, n.Record().Bridge.Link)
	e.noteRepairs(repaired, Event{Type: "network", Action: "repair", ID: n.ID(), Name: n.Name(), Scope: n.Record().Scope})
}

func (e *Engine) healSandbox(s *Sandbox) {
	done, err := s.takeAll(e.ctx, nil)
	if err != nil {
		return
	}
	defer done()
	if !s.Record().Host && !e.kernel.NamespaceAlive(s.Record().Key) {
		return // removed by somebody else, it is never made again empty
	}
	var want []model.Object
	var links []string
	for _, a := range s.View().Attached { // the networks have been looked at
		links = append(links, a.Endpoint.Attached.Host)
	}
	want = append(want, e.linked(*s.View()).Objects()...)
	repaired, err := e.kernel.RepairLinks(e.ctx, want)
	e.failedRepair("container "+s.ContainerID(), s.ID(), err, links...)
	e.noteRepairs(repaired, Event{Type: "sandbox", Action: "repair", ID: s.ID(), Name: s.ContainerID(), Scope: "local"})
}

// failedRepair reports the error of a repair, if there is one, and has the links looked
// at again. Without rules no link is made: all are looked at when the rules are right.
func (e *Engine) failedRepair(what, id string, err error, links ...string) {
	if err = unlessClosed(e.ctx, err); err == nil {
		return
	}
	e.logErr("repair "+what, id, err)
	for _, l := range links {
		if l != "" && !e.healer.behind {
			e.healer.again(l, time.Now())
		}
	}
}

// unlessClosed drops errors of what was cut short by the end of the engine.
func unlessClosed(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.As(err, new(types.TimeoutError)) && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
