package engine

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// portBook keeps which sandbox has which ports of the host, and the sockets that
// hold them. It is guarded by the sandboxes' turns: mu guards the map alone.
type portBook struct {
	space *hostport.Space
	mu    sync.Mutex // guards bySandbox
	// bySandbox has one element for each of a sandbox's wishes, in their order.
	bySandbox map[string][]grip
}

// grip is what has come of one wish: ports of the same number on some addresses
// of the host. Its map is not changed once it is in the book.
type grip struct {
	wish        model.Publish
	proto       uint8
	first, last uint16
	hosts       map[netip.Addr]io.Closer
}

// target is where one wish leads in one family.
type target struct{ host, container netip.Addr }

// settlement is a change of a sandbox's ports that is held but not yet in the
// book.
type settlement struct {
	book      *portBook
	sandbox   string
	published []model.Port
	grips     []grip
	// fresh are the grips' parts that are new, for undoing.
	fresh []grip
}

const ephemeralTries = 10

// checkPublish refuses a wish that can never be met.
func checkPublish(container string, p model.Publish) error {
	bad := func(format string, args ...any) error {
		return types.BadRequestErrorf("container %s: publish port: "+format, append([]any{container}, args...)...)
	}
	switch p.Proto {
	case uint8(types.TCP), uint8(types.UDP):
	case uint8(types.SCTP):
		return bad("protocol sctp is not supported")
	default:
		return bad("unknown protocol %d", p.Proto)
	}
	switch {
	case p.Host.IsMulticast(), p.Host == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return bad("%s is no address of a host", p.Host)
	case p.Port == 0:
		return bad("the container's port is 0")
	case p.PortLast < p.Port:
		return bad("the container's range %d-%d is reversed", p.Port, p.PortLast)
	case p.Last < p.First, p.First == 0 && p.Last != 0:
		return bad("the host's range %d-%d is reversed", p.First, p.Last)
	}
	span, room := int(p.PortLast)-int(p.Port), int(p.Last)-int(p.First)
	if p.First != 0 && span > 0 && span != room {
		return bad("%d ports of the container do not fit %d ports of the host", span+1, room+1)
	}
	return nil
}

// targets returns where a wish leads: one target for each family in which the
// sandbox has a way to the outside.
func targets(p model.Publish, view model.View) []target {
	var out []target
	for _, v6 := range []bool{false, true} {
		a := view.Provider(v6)
		if a == nil || !a.Driver.Traits().Ports || p.Host.IsValid() && p.Host.Is6() != v6 {
			continue
		}
		if a.Network.Mode(v6) == model.ModeRouted {
			continue // see model.OpenPort
		}
		host := p.Host
		if !host.IsValid() {
			var ok bool
			if host, ok = a.Network.Binding(v6); !ok {
				continue
			}
		}
		addr := a.Endpoint.V4.Addr()
		if v6 {
			addr = a.Endpoint.V6.Addr()
		}
		out = append(out, target{host, addr})
	}
	return out
}

// settle finds and holds the host's ports for all wishes of a sandbox as it will
// be. What it has already it keeps.
func (b *portBook) settle(ctx context.Context, k Kernel, view model.View) (*settlement, error) {
	sb := view.Sandbox
	s := b.none(sb.ID)
	b.mu.Lock()
	had := b.bySandbox[sb.ID]
	b.mu.Unlock()
	had = slices.Clone(had)
	for _, p := range sb.Publish {
		to := targets(p, view)
		var g grip
		if i := slices.IndexFunc(had, func(g grip) bool { return g.serves(p) }); i >= 0 {
			g = had[i]
			had = slices.Delete(had, i, i+1)
		}
		g, err := s.grasp(ctx, k, p, to, g, sb.ContainerID)
		if err != nil {
			return nil, errors.Join(err, s.undo())
		}
		s.grips = append(s.grips, g)
		for _, t := range to {
			s.published = append(s.published, model.Port{
				Proto: p.Proto, Host: t.host, First: g.first, Last: g.last,
				Addr: t.container, Port: p.Port, Owner: sb.ID,
			})
		}
	}
	return s, nil
}

// grasp takes the ports of one wish on the targets' addresses. had is what the
// wish has already.
func (s *settlement) grasp(ctx context.Context, k Kernel, p model.Publish, to []target, had grip, owner string) (grip, error) {
	g := grip{wish: p, proto: p.Proto, first: had.first, last: had.last, hosts: make(map[netip.Addr]io.Closer)}
	var missing []netip.Addr
	for _, t := range to {
		if c, ok := had.hosts[t.host]; ok {
			g.hosts[t.host] = c
		} else {
			missing = append(missing, t.host)
		}
	}
	if len(missing) == 0 {
		return g, nil
	}
	span := p.PortLast - p.Port
	fixed := had.first != 0 || p.First != 0 && p.Last-p.First == span
	if had.first == 0 {
		g.first, g.last = p.First, p.First+span
	}
	tries := ephemeralTries
	if p.First != 0 {
		tries = int(p.Last - p.First - span) // all that the range has
	}
	for try := 0; ; try++ {
		var err error
		if fixed {
			err = s.book.space.Take(p.Proto, missing, g.first, g.last, owner)
		} else if g.first, err = s.book.space.Next(p.Proto, missing, p.First, p.Last, int(span)+1, owner); err == nil {
			g.last = g.first + span
		}
		if err != nil {
			return g, err
		}
		held, err := s.hold(ctx, k, g, missing, owner)
		if err == nil {
			maps.Copy(g.hosts, held.hosts)
			return g, nil
		}
		// A port that was ours to choose and that somebody else has is skipped.
		if fixed || try >= tries || !errors.As(err, new(types.ForbiddenError)) {
			return g, err
		}
	}
}

// hold takes ports by sockets, on all hosts or on none.
func (s *settlement) hold(ctx context.Context, k Kernel, g grip, hosts []netip.Addr, owner string) (grip, error) {
	fresh := grip{proto: g.proto, first: g.first, last: g.last, hosts: make(map[netip.Addr]io.Closer)}
	for _, h := range hosts {
		c, err := k.Hold(ctx, model.Port{Proto: g.proto, Host: h, First: g.first, Last: g.last, Owner: owner})
		if err != nil {
			s.book.space.Release(g.proto, hosts, g.first, g.last)
			for _, c := range fresh.hosts {
				err = errors.Join(err, c.Close())
			}
			return fresh, err
		}
		fresh.hosts[h] = c
	}
	s.fresh = append(s.fresh, fresh)
	return fresh, nil
}

// none is the settlement of a sandbox without ports.
func (b *portBook) none(sandbox string) *settlement {
	return &settlement{book: b, sandbox: sandbox}
}

// done puts the settlement into the book and lets go of what is not in it any
// more.
func (s *settlement) done() {
	b := s.book
	b.mu.Lock()
	had := b.bySandbox[s.sandbox]
	if b.bySandbox == nil {
		b.bySandbox = make(map[string][]grip)
	}
	if len(s.grips) == 0 {
		delete(b.bySandbox, s.sandbox)
	} else {
		b.bySandbox[s.sandbox] = s.grips
	}
	b.mu.Unlock()
	for _, g := range had {
		for h, c := range g.hosts {
			if !slices.ContainsFunc(s.grips, func(now grip) bool { return now.keeps(g, h, c) }) {
				_ = b.letGo(g, h, c)
			}
		}
	}
}

// serves says whether what a wish has can be had by another one: they ask for the
// same of the host.
func (g grip) serves(p model.Publish) bool {
	w := g.wish
	return w.Proto == p.Proto && w.Host == p.Host && w.First == p.First && w.Last == p.Last &&
		w.PortLast-w.Port == p.PortLast-p.Port
}

// keeps says whether an address of another grip is in this one.
func (g grip) keeps(old grip, h netip.Addr, c io.Closer) bool {
	now, ok := g.hosts[h]
	return ok && now == c && g.proto == old.proto && g.first == old.first
}

// undo lets go of what the settlement took.
func (s *settlement) undo() error {
	var errs []error
	for _, g := range s.fresh {
		for h, c := range g.hosts {
			errs = append(errs, s.book.letGo(g, h, c))
		}
	}
	s.fresh = nil
	return errors.Join(errs...)
}

func (b *portBook) letGo(g grip, h netip.Addr, c io.Closer) error {
	b.space.Release(g.proto, []netip.Addr{h}, g.first, g.last)
	if c == nil {
		return nil
	}
	return c.Close()
}

// release lets go of all that a sandbox has.
func (b *portBook) release(sandbox string) { b.none(sandbox).done() }

// restore takes the ports that a sandbox had in an earlier process. A port that
// somebody else has taken meanwhile is reported; its rule stays.
func (b *portBook) restore(ctx context.Context, k Kernel, sb *model.Sandbox) error {
	s := b.none(sb.ID)
	var errs []error
	for _, p := range sb.Publish {
		g := grip{wish: p, proto: p.Proto, hosts: make(map[netip.Addr]io.Closer)}
		for _, q := range sb.Published {
			if q.Proto != p.Proto || q.Port != p.Port || p.Host.IsValid() && q.Host != p.Host ||
				p.First != 0 && (q.First < p.First || q.Last > p.Last) {
				continue
			}
			if _, ok := g.hosts[q.Host]; ok {
				continue
			}
			if err := b.space.Take(q.Proto, []netip.Addr{q.Host}, q.First, q.Last, sb.ContainerID); err != nil {
				continue // belongs to another wish of the same port
			}
			c, err := k.Hold(ctx, q)
			if err != nil {
				errs = append(errs, err)
				c = nil
			}
			g.first, g.last = q.First, q.Last
			g.hosts[q.Host] = c
		}
		s.grips = append(s.grips, g)
	}
	s.done()
	return errors.Join(errs...)
}

// close lets go of everything at once.
func (b *portBook) close() {
	b.mu.Lock()
	ids := slices.Collect(maps.Keys(b.bySandbox))
	b.mu.Unlock()
	for _, id := range ids {
		b.release(id)
	}
}
