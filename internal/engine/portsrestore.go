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
//
// There may be more ports than sockets, so those that the process serves come first, of
// all sandboxes: rest takes the others, and ends it.
func (b *portBook) restore(ctx context.Context, k Kernel, view model.View) (rest func() error, err error) {
	sb := view.Sandbox
	s := b.none(sb.ID)
	s.wishes = sb.Publish
	s.grips = make([]grip, 0, len(sb.Publish))
	var errs []error
	places := make([]*held, sb.Published.Len()) // nil where there is nothing to be held
	next := 0                                   // of the published ports, which are in the order of the wishes and their targets
	for _, p := range sb.Publish {
		to := targets(p, view)
		g := grip{wish: p, proto: p.Proto, hosts: make(holds, 0, len(to))}
		for _, t := range to {
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
			g.first, g.last = q.First, q.Last
			g.hosts = append(g.hosts, held{host: q.Host})
			places[next-1] = &g.hosts[len(g.hosts)-1]
		}
		s.grips = append(s.grips, g)
	}
	if left := sb.Published.Len() - next; left > 0 {
		errs = append(errs, types.InternalErrorf("%d published ports, %s the first, come from no wish: they are not held until the container joins or leaves a network",
			left, sb.Published.At(next).Key()))
	}
	hold := func(served bool) error {
		var errs []error
		for i, x := range places {
			q := sb.Published.At(i)
			if x == nil || q.Served() != served {
				continue
			}
			c, err := k.Resume(ctx, q)
			switch {
			case err == nil:
				x.kept = c
			case !errors.As(err, new(types.ForbiddenError)):
				x.kept = noted(hostport.Checked) // not held, but nobody has it
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	errs = append(errs, hold(true))
	return func() error {
		defer s.done()
		return hold(false)
	}, errors.Join(errs...)
}

// led says whether a published port may have come of the grip's wish, on one of its
// hosts: a wish has the same numbers on all of them.
func (g grip) led(host netip.Addr, q model.Port) bool {
	p := g.wish
	return q.Proto == p.Proto && q.Host == host && q.Port == p.Port && q.Last-q.First == p.PortLast-p.Port &&
		(p.First == 0 || p.First <= q.First && q.Last <= p.Last) &&
		(g.first == 0 || g.first == q.First)
}

// served returns what the sandbox has on one host, with a socket if it needs one and has
// none: a rule led there before, or somebody else had the port at the start. Where there
// is none to be had all else goes on.
func (s *settlement) served(ctx context.Context, k Kernel, g grip, t target, x held) held {
	if !t.forwarded || x.how() == hostport.Held {
		return x
	}
	c, err := k.Resume(ctx, model.Port{
		Proto: g.proto, Host: t.host, First: g.first, Last: g.last, Addr: t.container, Port: g.wish.Port, Owner: s.sandbox, NoRule: t.noRule,
	})
	switch {
	case errors.As(err, new(types.ForbiddenError)):
		return held{t.host, nil}
	case err != nil:
		return x
	}
	s.gained = append(s.gained, c)
	return held{t.host, c}
}
