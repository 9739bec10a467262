package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// GatewayNetwork is the name of the default-gateway network, and of its bridge.
// Sandboxes whose networks have no way out are joined to it by endpoints of the
// engine's own.
const GatewayNetwork = "dnet_gwbridge"

// gatewayPrefix begins the names of these endpoints; what follows is the beginning
// of the container's id.
const gatewayPrefix = "gateway_"

func hasGateway(attached []model.Attachment) bool {
	return slices.ContainsFunc(attached, func(a model.Attachment) bool { return a.Endpoint.Gateway })
}

// planGateway plans an endpoint on the default-gateway network, which is made if it
// is missing. What it holds of the network is given back with g.done.
//
// It takes no turn at the network: those who call it hold turns at others already,
// and would wait for each other. The network is pinned instead.
func (s *Sandbox) planGateway(ctx context.Context, g *grow, undo *undoList) (join, error) {
	e := s.e
	n, err := e.pinGateway(ctx, g)
	if err != nil {
		return join{}, opError("give container a default gateway", s.ContainerID(), s.ID(), err)
	}
	// Containers whose ids begin alike get names of more of their ids.
	id := s.ContainerID()
	for length := min(12, len(id)); ; length++ {
		name := gatewayPrefix + id[:min(length, len(id))]
		if length > len(id) {
			name = gatewayPrefix + s.ID()
		}
		// A name whose turn somebody has is as good as taken: it may be the one that is
		// being deleted here.
		done, ok := e.turns.try(exclusive("name", n.ID()+"/"+name))
		_, err := n.EndpointByName(name)
		switch {
		case ok && (err != nil || length > len(id)):
		case length > len(id):
			return join{}, types.RetryErrorf("container %s: the name %s of its default gateway is busy", id, name)
		default:
			if ok {
				done()
			}
			continue
		}
		g.done.add(done)
		rec, err := e.planEndpoint(ctx, n, EndpointRequest{Name: name, Anonymous: true, gateway: true}, undo)
		if err != nil {
			return join{}, opError("give container a default gateway", s.ContainerID(), s.ID(), err)
		}
		ep := &Endpoint{e: e, net: n}
		ep.rec.Store(rec)
		return join{ep: ep, created: true}, nil
	}
}

// pinGateway returns the default-gateway network, which stays until g.done.
func (e *Engine) pinGateway(ctx context.Context, g *grow) (*Network, error) {
	for {
		e.mu.Lock()
		n := e.byName["local/"+GatewayNetwork]
		gone := n != nil && n.gone.Load()
		if n != nil && !gone {
			n.pins++
		}
		e.mu.Unlock()
		switch {
		case gone:
			// Its deletion has begun, and waits for nothing any more.
			done, err := e.turns.take(ctx, shared("network", n.ID()))
			if err != nil {
				return nil, err
			}
			done()
		case n != nil:
			g.done.add(func() {
				e.mu.Lock()
				defer e.mu.Unlock()
				n.pins--
			})
			return n, nil
		default:
			made, err := e.createNetwork(ctx, NetworkRequest{
				Driver: bridge.Type, Name: GatewayNetwork, Options: bridge.GatewayOptions(GatewayNetwork),
			})
			switch {
			case err == nil:
				g.done.add(func() { made.dropUnused(ctx, g) })
			case !errors.As(err, new(NetworkNameError)):
				return nil, err
			}
		}
	}
}

// dropUnused deletes a network that was made for a change that failed, unless
// somebody else uses it by now.
func (n *Network) dropUnused(ctx context.Context, g *grow) {
	if g.committed {
		return
	}
	done, ok := n.e.turns.try(exclusive("network", n.ID()))
	if !ok {
		return
	}
	defer done()
	err := n.delete(context.WithoutCancel(ctx))
	if err != nil && !errors.As(err, new(*ActiveEndpointsError)) && !errors.As(err, new(*UnknownNetworkError)) {
		n.e.logErr("delete network "+n.Name(), n.ID(), err)
	}
}

// settleGateways finishes what operations that were cut short have left undone:
// sandboxes without a way out, and those that do not need one any more.
func (e *Engine) settleGateways(ctx context.Context) {
	for _, s := range e.Sandboxes() {
		v := s.View()
		switch needs, has := v.NeedsGateway(), hasGateway(v.Attached); {
		case needs && !has:
			e.logErr("give container "+s.ContainerID()+" a default gateway", s.ID(), s.grow(ctx, grow{}))
		case has && !needs:
			e.logErr("take the default gateway off container "+s.ContainerID(), s.ID(), s.change(ctx, shrink{}))
		}
	}
}
