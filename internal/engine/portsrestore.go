package engine

import (
	"context"
	"errors"
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// restore takes the ports that a sandbox had in an earlier process. A port that
// somebody else has taken meanwhile is reported; its rule stays.
func (b *portBook) restore(ctx context.Context, k Kernel, view model.View) error {
	sb := view.Sandbox
	s := b.none(sb.ID)
	s.wishes = sb.Publish
	s.grips = make([]grip, 0, len(sb.Publish))
	var errs []error
	next := 0 // of the published ports, which are in the order of the wishes and their targets
	for _, p := range sb.Publish {
		g := grip{wish: p, proto: p.Proto}
		for _, t := range targets(p, view) {
			if next == sb.Published.Len() {
				break
			}
			q := sb.Published.At(next)
			if !g.led(t.host, q) {
				continue // was left out
			}
			next++
			if err := b.space.Take(q.Proto, []netip.Addr{q.Host}, q.First, q.Last, sb.ContainerID); err != nil {
				errs = append(errs, err)
				continue
			}
			c, err := k.Resume(ctx, q)
			if err != nil {
				errs = append(errs, err)
				if c = nil; !errors.As(err, new(types.ForbiddenError)) {
					c = noted(hostport.Checked) // not held, but nobody has it
				}
			}
			g.first, g.last = q.First, q.Last
			g.hosts = append(g.hosts, held{q.Host, c})
		}
		s.grips = append(s.grips, g)
	}
	if left := sb.Published.Len() - next; left > 0 {
		errs = append(errs, types.InternalErrorf("%d published ports, %s the first, come from no wish: they are not held until the container joins or leaves a network",
			left, sb.Published.At(next).Key()))
	}
	s.done()
	return errors.Join(errs...)
}

// led says whether a published port may have come of the grip's wish, on one of its
// hosts: a wish has the same numbers on all of them.
func (g grip) led(host netip.Addr, q model.Port) bool {
	p := g.wish
	return q.Proto == p.Proto && q.Host == host && q.Port == p.Port && q.Last-q.First == p.PortLast-p.Port &&
		(p.First == 0 || p.First <= q.First && q.Last <= p.Last) &&
		(g.first == 0 || g.first == q.First)
}
