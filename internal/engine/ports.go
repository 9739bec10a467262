package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// portBook keeps which sandbox has which ports of the host, and the sockets that
// hold them. It is guarded by the sandboxes' turns: mu guards the map alone.
type portBook struct {
	space *hostport.Space
	// proxy asks for forwards beside the rules.
	proxy bool
	mu    sync.Mutex // guards bySandbox
	// bySandbox has what a sandbox has for its wishes, in their order.
	bySandbox map[string]packedGrips
}

// of returns what a sandbox has, one element for each of its wishes.
func (b *portBook) of(sandbox string) []grip {
	b.mu.Lock()
	p := b.bySandbox[sandbox]
	b.mu.Unlock()
	return p.grips()
}

// grip is what has come of one wish: ports of the same number on some addresses
// of the host. It is not changed once it is in the book.
type grip struct {
	wish        model.Publish
	proto       uint8
	first, last uint16
	hosts       holds
}

// holds are the ports of one wish, one element for each address of the host. They
// are few, and there may be tens of thousands of wishes: a map would take more
// memory than all else.
type holds []held

type held struct {
	host netip.Addr
	kept hostport.Kept // nil where another program has the port
}

func (h holds) get(host netip.Addr) (kept hostport.Kept, ok bool) {
	for _, x := range h {
		if x.host == host {
			return x.kept, true
		}
	}
	return nil, false
}

// target is where one wish leads in one family.
type target struct {
	host, container netip.Addr
	// forwarded says that only a forward can lead there, since there is no firewall if
	// noRule; implied that nobody has asked for that address by name: then it is left
	// out where it cannot be had.
	forwarded, noRule, implied bool
}

// settlement is a change of a sandbox's ports that is held but not yet in the
// book.
type settlement struct {
	book      *portBook
	sandbox   string
	published model.Ports
	wishes    []model.Publish
	grips     []grip
	// fresh are the grips' parts that are new, for undoing; fixed says of each whether
	// its ports were not ours to choose.
	fresh []grip
	fixed []bool
	// careful says that a port was chosen before that others have: now they are asked
	// for theirs first.
	careful bool
	// former is what it has for wishes that are no more.
	former map[spot]hostport.Kept
	// gained are sockets that are new for ports that the sandbox has.
	gained []hostport.Kept
}

const ephemeralTries = 10

// checkPublish refuses a wish that can never be met.
func checkPublish(container string, p model.Publish) error {
	bad := func(format string, args ...any) error {
		return types.BadRequestErrorf("container %s: publish port: "+format, append([]any{container}, args...)...)
	}
	switch p.Proto {
	case uint8(types.TCP), uint8(types.UDP), uint8(types.SCTP):
	default:
		return bad("unknown protocol %d", p.Proto)
	}
	switch {
	case p.Host.IsMulticast(), p.Host == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return bad("%s is no address of a host", p.Host)
	case p.Host.Is6() && p.Host.IsLinkLocalUnicast() && p.Host.Zone() == "":
		return bad("%s is a link-local address, which stands for one of every link: use another address of the host", p.Host)
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
		if a == nil && v6 {
			if t, ok := crossing(p, view); ok {
				out = append(out, t)
			}
			continue
		}
		if a == nil || !publishes(a) || p.Host.IsValid() && p.Host.Is6() != v6 {
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
		t := target{host: host, container: addr, noRule: a.Driver.Traits().Forwards}
		t.forwarded = model.Port{Host: host, Addr: addr, NoRule: t.noRule}.Forwarded()
		if t.forwarded && !t.noRule && !forwardable(p) {
			continue
		}
		out = append(out, t)
	}
	return out
}

// publishes says whether the driver of a network can publish ports in some way.
func publishes(a *model.Attachment) bool {
	t := a.Driver.Traits()
	return t.Ports || t.Forwards
}

// checkForwards refuses a wish for a port that no rule can serve, since there is no
// firewall, and no forward either.
func (b *portBook) checkForwards(p model.Publish, to []target) error {
	if !slices.ContainsFunc(to, func(t target) bool { return t.noRule }) {
		return nil
	}
	port := strconv.Itoa(int(p.Port))
	if p.PortLast > p.Port {
		port += "-" + strconv.Itoa(int(p.PortLast))
	}
	port += "/" + types.Protocol(p.Proto).String()
	switch {
	case !b.proxy:
		return types.NotImplementedErrorf("port %s: the firewall and the userland proxy are off: set EnableUserlandProxy to have the process serve it, or EnableIPTables to have rules", port)
	case !forwardable(p):
		return types.NotImplementedErrorf("port %s: the firewall is off, and the userland proxy serves single ports of TCP and UDP alone: set EnableIPTables to have rules", port)
	}
	return nil
}

// crossing returns where a wish leads from the host's IPv6 addresses when the
// sandbox has IPv4 alone: to that, by a forward.
func crossing(p model.Publish, view model.View) (target, bool) {
	a := view.Provider(false)
	if a == nil || !publishes(a) || a.Network.Mode(false) == model.ModeRouted {
		return target{}, false
	}
	t := target{host: p.Host, container: a.Endpoint.V4.Addr(), forwarded: true, noRule: a.Driver.Traits().Forwards}
	if !t.noRule && !forwardable(p) {
		return target{}, false
	}
	if !t.host.IsValid() {
		var ok bool
		if t.host, ok = a.Network.Binding(true); !ok {
			return target{}, false
		}
		t.implied = t.host == netip.IPv6Unspecified()
	}
	return t, t.host.Is6()
}

// forwardable says whether a process could carry what is wished: a single port of
// TCP or UDP.
func forwardable(p model.Publish) bool {
	return p.Port == p.PortLast && (p.Proto == uint8(types.TCP) || p.Proto == uint8(types.UDP))
}

// settle finds and holds the host's ports for all wishes of a sandbox as it will
// be. What it has already it keeps. A port that a rule of somebody else leads
// elsewhere is as taken as one that somebody listens at.
func (b *portBook) settle(ctx context.Context, k Kernel, view model.View) (*settlement, error) {
	var taken error
	for try := 0; ; try++ {
		s, err := b.trySettle(ctx, k, view, taken != nil)
		if taken != nil && errors.As(err, new(hostport.ErrAllPortsAllocated)) {
			return nil, taken
		}
		if err != nil {
			return nil, err
		}
		f, fixed := s.foreign(ctx, k)
		if f == nil {
			return s, nil
		}
		taken = errors.Join(types.ForbiddenErrorf("container %s: %s is in use: translated by a rule of %s: choose another port, or remove that rule",
			view.Sandbox.ContainerID, f.What(), f.Rule), s.undo())
		if fixed || try >= ephemeralTries {
			return nil, taken
		}
	}
}

// foreign returns a rule of somebody else for one of the ports that are new, and
// whether that port was not ours to choose. Rules that are about more ports than that
// are told of when the port is published: they may be meant to leave it to us.
func (s *settlement) foreign(ctx context.Context, k Kernel) (found *model.ForeignDNAT, fixed bool) {
	var ports []model.Port
	chosen := make(map[model.Port]bool)
	for i, g := range s.fresh {
		for _, x := range g.hosts {
			p := model.Port{Proto: g.proto, Host: x.host, First: g.first, Last: g.last}
			ports = append(ports, p)
			chosen[p] = !s.fixed[i]
		}
	}
	if len(ports) == 0 {
		return nil, false
	}
	all, err := k.ForeignDNAT(ctx, ports)
	if err != nil {
		return nil, false // told of when the ports are published
	}
	for i := range all {
		if all[i].Exact && (found == nil || !chosen[all[i].Port]) {
			found = &all[i]
		}
	}
	return found, found != nil && !chosen[found.Port]
}

func (b *portBook) trySettle(ctx context.Context, k Kernel, view model.View, careful bool) (*settlement, error) {
	sb := view.Sandbox
	s := b.none(sb.ID)
	s.wishes, s.careful = sb.Publish, careful
	had := b.of(sb.ID)
	found := s.find(had, sb.Publish)
	s.grips = make([]grip, len(sb.Publish))
	s.published.Grow(len(sb.Publish)) // more on two families
	// Those that have a choice come last, so that they leave the others what these need.
	for _, choice := range []bool{false, true} {
		for i, p := range sb.Publish {
			var g grip
			if j := found[i]; j >= 0 {
				g = had[j]
			}
			if choice != (g.first == 0 && !isFixed(p)) {
				continue
			}
			to := targets(p, view)
			err := b.checkForwards(p, to)
			if err == nil {
				s.grips[i], err = s.grasp(ctx, k, p, to, g, sb.ContainerID)
			}
			if err != nil {
				return nil, errors.Join(err, s.undo())
			}
		}
	}
	for i, p := range sb.Publish {
		g := s.grips[i]
		for _, t := range targets(p, view) {
			if _, ok := g.hosts.get(t.host); !ok {
				continue
			}
			s.published.Add(model.Port{
				Proto: p.Proto, Host: t.host, First: g.first, Last: g.last,
				Addr: t.container, Port: p.Port, Owner: sb.ID, Proxy: b.proxy, NoRule: t.noRule,
			})
		}
	}
	return s, nil
}

// isFixed says whether a wish leaves no choice of ports.
func isFixed(p model.Publish) bool { return p.First != 0 && p.Last-p.First == p.PortLast-p.Port }

// find returns which grip serves each wish, -1 if none does. What is left the sandbox may
// take once more: it may be a part of what it wishes now.
func (s *settlement) find(had []grip, wishes []model.Publish) []int {
	used := make([]bool, len(had))
	found := make([]int, len(wishes))
	for i, p := range wishes {
		if found[i] = find(had, used, i, p); found[i] >= 0 {
			used[found[i]] = true
		}
	}
	for j, g := range had {
		if used[j] {
			continue
		}
		for _, x := range g.hosts {
			if s.former == nil {
				s.former = make(map[spot]hostport.Kept)
			}
			s.former[g.at(x)] = x.kept
			s.book.space.Waive(g.proto, x.host, g.first, g.last)
		}
	}
	return found
}

// find returns which of the unused grips serves a wish, -1 if none does. It is most
// likely the one at place i.
func find(had []grip, used []bool, i int, p model.Publish) int {
	if i < len(had) && !used[i] && had[i].serves(p) {
		return i
	}
	for j, g := range had {
		if !used[j] && g.serves(p) {
			return j
		}
	}
	return -1
}

// grasp takes the ports of one wish on the targets' addresses. had is what the
// wish has already.
func (s *settlement) grasp(ctx context.Context, k Kernel, p model.Publish, to []target, had grip, owner string) (grip, error) {
	g := grip{wish: p, proto: p.Proto, first: had.first, last: had.last}
	var missing []target
	for _, t := range to {
		if c, ok := had.hosts.get(t.host); ok {
			g.hosts = append(g.hosts, s.served(ctx, k, g, t, held{t.host, c}))
		} else {
			missing = append(missing, t)
		}
	}
	hosts := hostsOf(missing)
	if len(missing) == 0 {
		return g, nil
	}
	span := p.PortLast - p.Port
	fixed := had.first != 0 || isFixed(p)
	if had.first == 0 {
		g.first, g.last = p.First, p.First+span
	}
	tries := ephemeralTries
	if p.First != 0 {
		tries = int(p.Last - p.First - span) // all that the range has
	}
	var others map[uint16]bool
	var taken error
	for try := 0; ; try++ {
		if !fixed && (s.careful || try > 0) && others == nil {
			others = s.others(ctx, k, p, hosts)
		}
		var err error
		if fixed {
			err = s.book.space.Take(p.Proto, hosts, g.first, g.last, owner)
			if e := (hostport.ErrPortAlreadyAllocated{}); errors.As(err, &e) && e.Owner == owner {
				err = fmt.Errorf("%w: it is asked for twice", err)
			}
		} else if g.first, err = s.book.space.Next(p.Proto, hosts, p.First, p.Last, int(span)+1, others, owner); err == nil {
			g.last = g.first + span
		}
		if err != nil {
			return g, cmp.Or(taken, err) // a program in the way says more than that nothing is free
		}
		fresh, err := s.hold(ctx, k, g, missing, owner)
		if err == nil {
			s.fixed = append(s.fixed, fixed)
			g.hosts = append(g.hosts, fresh.hosts...)
			return g, nil
		}
		// A port that was ours to choose and that somebody else has is skipped.
		if taken = err; fixed || try >= tries || !errors.As(err, new(types.ForbiddenError)) {
			return g, err
		}
	}
}

// others returns the ports that others have where there is a choice: by a socket, or by
// a rule of theirs that would be about no other ports than those chosen. Not to know
// them costs tries.
func (s *settlement) others(ctx context.Context, k Kernel, p model.Publish, hosts []netip.Addr) map[uint16]bool {
	out := make(map[uint16]bool)
	busy, err := k.BusyPorts(ctx, p.Proto, hosts)
	if err == nil {
		maps.Copy(out, busy)
	}
	from := model.Port{Proto: p.Proto, First: p.First, Last: p.Last}
	if p.First == 0 {
		from.First, from.Last = s.book.space.Range()
	}
	ports := make([]model.Port, len(hosts))
	for i := range hosts {
		ports[i], ports[i].Host = from, hosts[i]
	}
	rules, err := k.ForeignDNAT(ctx, ports)
	if err != nil {
		return out
	}
	for _, f := range rules {
		first, last := f.Bounds()
		if !f.Exact || last-first > p.PortLast-p.Port {
			continue
		}
		for port := int(first); port <= int(last); port++ {
			out[uint16(port)] = true
		}
	}
	return out
}

func hostsOf(to []target) []netip.Addr {
	out := make([]netip.Addr, len(to))
	for i, t := range to {
		out[i] = t.host
	}
	return out
}

// hold takes ports by sockets, on all hosts or on none. What is to be forwarded
// needs a socket; an implied address that gets none is left out.
func (s *settlement) hold(ctx context.Context, k Kernel, g grip, to []target, owner string) (grip, error) {
	fresh := grip{proto: g.proto, first: g.first, last: g.last}
	for _, t := range to {
		h := t.host
		var err error
		c := s.former[g.at(held{host: h})]
		if c == nil || c.How() != hostport.Held {
			c, err = k.Hold(ctx, model.Port{Proto: g.proto, Host: h, First: g.first, Last: g.last, Owner: owner})
		}
		if err == nil && t.forwarded && c.How() != hostport.Held {
			err = c.Close()
			if err == nil && t.implied {
				s.book.space.Release(g.proto, []netip.Addr{h}, g.first, g.last)
				continue
			}
			err = errors.Join(err, types.NoServiceErrorf("no rule can lead from %s to the container, so it needs a socket of its own: raise the limit of held ports (dnet daemon --held-ports)", netip.AddrPortFrom(h, g.first)))
		}
		if err != nil {
			s.book.space.Release(g.proto, hostsOf(to), g.first, g.last)
			for _, x := range fresh.hosts {
				err = errors.Join(err, s.drop(fresh, x))
			}
			return fresh, err
		}
		fresh.hosts = append(fresh.hosts, held{h, c})
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
	had, now := b.of(s.sandbox), pack(s.wishes, s.grips)
	b.mu.Lock()
	if b.bySandbox == nil {
		b.bySandbox = make(map[string]packedGrips)
	}
	if len(s.grips) == 0 {
		delete(b.bySandbox, s.sandbox)
	} else {
		b.bySandbox[s.sandbox] = now
	}
	b.mu.Unlock()
	if len(had) == 0 {
		return
	}
	kept := make(map[spot]hostport.Kept)
	for _, g := range s.grips {
		for _, x := range g.hosts {
			kept[g.at(x)] = x.kept
		}
	}
	for _, g := range had {
		for _, x := range g.hosts {
			at := g.at(x)
			c, ok := kept[at]
			if _, former := s.former[at]; former || !ok {
				b.space.Release(g.proto, []netip.Addr{x.host}, g.first, g.last)
			}
			if x.kept != nil && x.kept != c {
				_ = x.kept.Close()
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

// spot names a hold among those of a sandbox.
type spot struct {
	host        netip.Addr
	proto       uint8
	first, last uint16
}

func (g grip) at(x held) spot { return spot{x.host, g.proto, g.first, g.last} }

// undo lets go of what the settlement took.
func (s *settlement) undo() error {
	var errs []error
	for _, c := range s.gained {
		errs = append(errs, c.Close())
	}
	s.gained = nil
	for _, g := range s.fresh {
		for _, x := range g.hosts {
			s.book.space.Release(g.proto, []netip.Addr{x.host}, g.first, g.last)
			errs = append(errs, s.drop(g, x))
		}
	}
	s.fresh = nil
	for at := range s.former {
		s.book.space.Keep(at.proto, at.host, at.first, at.last)
	}
	return errors.Join(errs...)
}

// drop closes what is new, unless it was taken over from a former wish.
func (s *settlement) drop(g grip, x held) error {
	if x.kept == s.former[g.at(x)] {
		return nil
	}
	return x.kept.Close()
}

// release lets go of all that a sandbox has.
func (b *portBook) release(sandbox string) { b.none(sandbox).done() }

// close lets go of everything at once.
func (b *portBook) close() {
	b.mu.Lock()
	ids := slices.Collect(maps.Keys(b.bySandbox))
	b.mu.Unlock()
	for _, id := range ids {
		b.release(id)
	}
}
