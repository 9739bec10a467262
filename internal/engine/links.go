package engine

import (
	"context"
	"slices"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// What two linked sandboxes hold for their link follows from the records of both.
// So whoever changes a sandbox that has links has its networks to itself, and
// neither end's state changes while the other's objects are derived.

// networkTurn is the turn at a network for a change of a sandbox with these links.
func networkTurn(links *model.Links, network string) turn {
	if links != nil {
		return exclusive("network", network)
	}
	return shared("network", network)
}

// takeOn takes the turns of the sandbox, of one network, and then of more. Whether
// the sandbox has links is known once it is its turn.
func (s *Sandbox) takeOn(ctx context.Context, network string, more ...turn) (done func(), err error) {
	turns := &s.e.turns
	doneSandbox, err := turns.take(ctx, exclusive("sandbox", s.ID()))
	if err != nil {
		return nil, err
	}
	doneRest, err := turns.take(ctx, append([]turn{networkTurn(s.Record().Links, network)}, more...)...)
	if err != nil {
		doneSandbox()
		return nil, err
	}
	return func() { doneRest(); doneSandbox() }, nil
}

// noteLinks enters a sandbox into the list of those that have links, or takes it
// off.
func (e *Engine) noteLinks(s *Sandbox) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.Record().Links == nil {
		delete(e.linkers, s)
		return
	}
	if e.linkers == nil {
		e.linkers = make(map[*Sandbox]struct{})
	}
	e.linkers[s] = struct{}{}
}

// checkLinks refuses a sandbox that joins a network without ICC and is linked with
// an endpoint that is on none of its networks.
func (e *Engine) checkLinks(after model.View, joined []*model.Endpoint) error {
	links := after.Sandbox.Links
	if links == nil {
		return nil
	}
	networks := make(map[string]bool)
	matter := false
	for _, a := range after.Attached {
		networks[a.Network.ID] = true
		matter = matter || a.Linkable() && (joined == nil || slices.Contains(joined, a.Endpoint))
	}
	if !matter {
		return nil
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, id := range slices.Concat(links.Parents, links.Children) {
		if ep := e.endpoints[id]; ep == nil || !networks[ep.net.ID()] {
			return types.BadRequestErrorf("container %s: link with endpoint %q: there is none of that id on its networks", after.Sandbox.ContainerID, id)
		}
	}
	return nil
}

// linked returns the view with the other ends of its links, as they are now.
func (e *Engine) linked(v model.View) model.View {
	if !slices.ContainsFunc(v.Attached, model.Attachment.Linkable) {
		return v
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if v.Sandbox.Links == nil && len(e.linkers) == 0 {
		return v
	}
	v.Attached = slices.Clone(v.Attached)
	for i := range v.Attached {
		a := &v.Attached[i]
		if a.Peers = nil; a.Linkable() {
			e.ownPeersLocked(v.Sandbox, a)
			e.otherPeersLocked(v.Sandbox, a)
		}
	}
	return v
}

// ownPeersLocked adds the ends that the sandbox itself has asked for.
func (e *Engine) ownPeersLocked(sb *model.Sandbox, a *model.Attachment) {
	if sb.Links == nil {
		return
	}
	add := func(ids []string, client bool) {
		for _, id := range ids {
			ep := e.endpoints[id]
			if ep == nil || ep.net.ID() != a.Network.ID || ep.Record().Attached == nil {
				continue
			}
			if other := e.sandboxes[ep.Record().Attached.Sandbox]; other != nil && other.ID() != sb.ID {
				a.Peers = append(a.Peers, model.Peer{Endpoint: ep.Record(), Sandbox: other.Record(), Client: client})
			}
		}
	}
	add(sb.Links.Parents, true)
	add(sb.Links.Children, false)
}

// otherPeersLocked adds those that have asked for a link with the sandbox.
func (e *Engine) otherPeersLocked(sb *model.Sandbox, a *model.Attachment) {
	for s := range e.linkers {
		v := s.View()
		if v.Sandbox.ID == sb.ID || v.Sandbox.Links == nil {
			continue
		}
		for _, other := range v.Attached {
			if other.Network.ID != a.Network.ID {
				continue
			}
			p := model.Peer{Endpoint: other.Endpoint, Sandbox: v.Sandbox}
			if slices.Contains(v.Sandbox.Links.Parents, a.Endpoint.ID) {
				a.Peers = append(a.Peers, p)
			}
			if slices.Contains(v.Sandbox.Links.Children, a.Endpoint.ID) {
				p.Client = true
				a.Peers = append(a.Peers, p)
			}
		}
	}
}
