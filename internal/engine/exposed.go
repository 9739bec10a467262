package engine

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/libnetwork/libnetwork/internal/exposure"
	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// Exposed returns who can reach which ports of containers, and by which rule. It is
// made from the records, as the objects of the kernel are; of the kernel it asks
// only which rules of others translate published ports too, which chains of others
// drop what they do not accept, and what it forwards and shows to such chains.
func (e *Engine) Exposed(ctx context.Context) ([]exposure.Row, error) {
	backend, table := e.kernel.Firewall()
	h := exposure.Host{Backend: backend, Table: table}
	for _, n := range e.Networks() {
		h.Networks = append(h.Networks, exposure.Network{ID: n.ID(), Name: n.Name(), Objects: n.drv.Network(n.Record())})
	}
	var all []model.Port
	published := make(map[string][]PublishedPort)
	sandboxes := e.Sandboxes()
	for _, s := range sandboxes {
		published[s.ID()] = s.Published()
		for _, p := range published[s.ID()] {
			all = append(all, p.Port)
		}
	}
	foreign := make(map[string][]string)
	if len(all) > 0 {
		found, err := e.kernel.ForeignDNAT(ctx, all)
		if err != nil {
			return nil, WithClass(err, "see what is exposed: %w", err)
		}
		for _, f := range found {
			foreign[f.Port.Key()] = append(foreign[f.Port.Key()], f.Rule)
		}
	}
	if len(sandboxes) > 0 {
		if err := e.surroundings(ctx, &h); err != nil {
			return nil, WithClass(err, "see what is exposed: %w", err)
		}
	}
	away, err := e.isAway(ctx, all)
	if err != nil {
		return nil, WithClass(err, "see what is exposed: %w", err)
	}
	for _, s := range sandboxes {
		v := e.linked(*s.View())
		c := exposure.Container{Name: s.ContainerID(), Host: v.Sandbox.Host, Objects: v.Objects()}
		if c.Host && len(v.Attached) > 0 {
			c.HostNetwork = v.Attached[0].Network.Name
		}
		for _, p := range published[s.ID()] {
			c.Ports = append(c.Ports, exposure.PortState{
				Proto: p.Port.Proto, Host: p.Port.Host, First: p.Port.First, Foreign: foreign[p.Port.Key()],
				Held: p.How == hostport.Held || p.How == hostport.Forwarded, Taken: p.How == hostport.Taken,
				Away: away[p.Port.Host],
			})
		}
		h.Containers = append(h.Containers, c)
	}
	if err := ctx.Err(); err != nil {
		return nil, types.TimeoutErrorf("see what is exposed: %w", err)
	}
	return exposure.Report(h), nil
}

// surroundings asks the kernel for what of others and of the host's settings is in the way.
func (e *Engine) surroundings(ctx context.Context, h *exposure.Host) error {
	asleep, err := e.kernel.Asleep(ctx)
	if err != nil {
		return err
	}
	if len(asleep) > 0 {
		return types.NoServiceErrorf("nothing that our rules say holds, as these tables are dormant, wake each with `nft add table`: %s", strings.Join(asleep, ", "))
	}
	if h.Drops, err = e.kernel.ForeignDrops(ctx); err != nil {
		return err
	}
	for _, v6 := range []bool{false, true} {
		shown, err := e.kernel.Frames(ctx, v6)
		if err != nil {
			return err
		}
		if shown {
			h.Frames = append(h.Frames, v6)
		}
		on, err := e.kernel.Forwarding(ctx, v6)
		if errors.As(err, new(types.NotImplementedError)) {
			continue // without IPv6 nothing is exposed by it
		}
		if err != nil {
			return err
		}
		if !on {
			h.Stops = append(h.Stops, v6)
		}
	}
	h.StopsAt, err = e.kernel.StopsAt(ctx)
	return err
}

// isAway says which addresses of published ports the host has not now.
func (e *Engine) isAway(ctx context.Context, ports []model.Port) (map[netip.Addr]bool, error) {
	away := make(map[netip.Addr]bool)
	for _, p := range ports {
		if !p.Host.IsUnspecified() && !p.Host.IsLoopback() && !p.Host.IsLinkLocalUnicast() {
			away[p.Host] = true
		}
	}
	if len(away) == 0 {
		return nil, nil
	}
	has, err := e.kernel.Addresses(ctx)
	if err != nil || len(has) == 0 {
		return nil, err
	}
	for _, a := range has {
		delete(away, a)
	}
	return away, nil
}
