// Package ipam hands out address pools and addresses of them: it is the address
// manager called default.
//
// A Manager is safe for concurrent use. It has no goroutine, no operating system
// and no clock but the one it is given, and holds no lock while it calls the
// functions of its Config. Requests to different pools do not wait for each
// other. A request and a release of an address cost O(log n) in the number of
// runs of neighbouring addresses, and memory is proportional to that number,
// whatever the length of the pool.
//
// It keeps no record. An address belongs to the network or endpoint whose record
// names it, so whoever starts a Manager asks for all of them again: first
// RequestPool with the prefix (and sub pool) of each record, which gives the same
// ID as before since an ID is made from nothing else, then RequestAddress with
// each address.
//
// There are two address spaces, LocalDefault and GlobalDefault. Pools of one
// space never overlap. Networks that want to share a pool request it by the same
// prefix, each with a sub pool of its own if it likes.
package ipam

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// The address spaces.
const (
	LocalSpace  = "LocalDefault"
	GlobalSpace = "GlobalDefault"
)

// Config says from what a Manager cuts the pools that it chooses itself.
type Config struct {
	// Local and Global are the bases of the two address spaces. Of overlapping
	// ones only the widest counts. Without a base of a family a request that
	// names no pool of it fails.
	Local, Global []Base

	// Exclude returns what a pool of the local space must not overlap when the
	// Manager chooses it, such as routes of the host and name servers. It is
	// called for each such request. Prefixes of length 0 are left out: a default
	// route is not a network in use. Nil excludes nothing.
	Exclude func() []netip.Prefix

	// Now is the clock of the reuse delay. Nil is time.Now.
	Now func() time.Time
}

// Manager owns the pools of the two address spaces.
type Manager struct {
	exclude func() []netip.Prefix
	now     func() time.Time
	local   *space
	global  *space

	// mu guards pools and all fields of spaces and pools that are not said to be
	// guarded by another. The lock of a pool's addresses is taken under it, never
	// the other way round.
	mu    sync.RWMutex
	pools map[string]*pool // by ID
}

// space is an address space.
type space struct {
	name    string
	bases   [2][]Base   // by family, sorted and disjoint; never changes
	masters [2][]master // by family, sorted and disjoint
	hints   [2]hint     // by family
}

// master is the place of a master pool in the order of addresses.
type master struct {
	span
	pool *pool
}

// pool is a master pool, or a sub pool of one.
type pool struct {
	id          string
	space       *space
	prefix, sub netip.Prefix // sub is not valid for a master
	parent      *pool        // nil for a master
	refs        int          // requests for it, and for its sub pools
	children    int          // how many of refs come from sub pools

	addrs  *addresses // of the master
	dyn    span       // where addresses are chosen
	cursor cursor     // guarded by addrs.mu
}

// Pool describes a pool.
type Pool struct {
	// ID is "space/prefix" or "space/prefix/sub".
	ID    string
	Space string
	// Prefix is the master pool, Sub the sub pool or not valid.
	Prefix, Sub netip.Prefix
	// Refs is how many requests hold it; those for sub pools count for the master
	// too.
	Refs int
	// Meta is data for the network driver, by label. It is always empty here.
	Meta map[string]string
}

// New returns a Manager without pools. It fails with BadRequest if a base cannot
// be cut as it says.
func New(cfg Config) (*Manager, error) {
	m := &Manager{
		exclude: cfg.Exclude,
		now:     cfg.Now,
		local:   &space{name: LocalSpace},
		global:  &space{name: GlobalSpace},
		pools:   make(map[string]*pool),
	}
	if m.now == nil {
		m.now = time.Now
	}
	var err error
	if m.local.bases, err = normalize(cfg.Local); err != nil {
		return nil, types.BadRequestErrorf("address space %s: %w", LocalSpace, err)
	}
	if m.global.bases, err = normalize(cfg.Global); err != nil {
		return nil, types.BadRequestErrorf("address space %s: %w", GlobalSpace, err)
	}
	return m, nil
}

// RequestPool takes a pool, or one more reference to it. Host bits of pool and
// sub are ignored.
//
// The zero pool stands for the first free one of the space's bases, IPv6 if v6.
// The unspecified address with a length (0.0.0.0/24, ::/64) stands for the first
// free one of that length; with length 0 it is the pool of all addresses. sub, if not zero, is where addresses are chosen; it
// must lie in pool.
//
// It fails with ipamapi.ErrInvalidAddressSpace, ErrInvalidPool, ErrInvalidSubPool
// or ErrInvalidRequest (an option), class BadRequest; with ErrPoolOverlap, class
// Forbidden, if another pool of the space has some of its addresses; with
// ErrNoAvailablePool, class NotFound, if the bases have none left.
func (m *Manager) RequestPool(spaceName string, prefix, sub netip.Prefix, opts map[string]string, v6 bool) (Pool, error) {
	s, err := m.space(spaceName)
	if err != nil {
		return Pool{}, err
	}
	o, err := parseOptions(opts)
	if err != nil {
		return Pool{}, types.BadRequestErrorf("pool of %s: %w", s.name, err)
	}
	none := prefix == netip.Prefix{}
	if sub != (netip.Prefix{}) && none {
		return Pool{}, types.BadRequestErrorf("sub pool %s without a pool: %w", sub, ipamapi.ErrInvalidSubPool)
	}
	if !none {
		if !usable(prefix) {
			return Pool{}, types.BadRequestErrorf("pool %s: %w", prefix, ipamapi.ErrInvalidPool)
		}
		prefix = prefix.Masked()
	}
	if none || prefix.Addr().IsUnspecified() && prefix.Bits() > 0 {
		if !none {
			v6 = prefix.Addr().Is6()
		}
		if sub != (netip.Prefix{}) {
			return Pool{}, types.BadRequestErrorf("sub pool %s in a pool that is not chosen yet: %w", sub, ipamapi.ErrInvalidSubPool)
		}
		return m.requestAny(s, prefix.Bits(), v6, o)
	}
	if sub != (netip.Prefix{}) {
		if !usable(sub) || !prefix.Contains(sub.Addr()) || sub.Bits() < prefix.Bits() {
			return Pool{}, types.BadRequestErrorf("sub pool %s is not inside pool %s: %w", sub, prefix, ipamapi.ErrInvalidSubPool)
		}
		sub = sub.Masked()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requestLocked(s, prefix, sub, o)
}

// usable reports whether a prefix may be a pool: an IPv4-mapped one may not.
func usable(p netip.Prefix) bool { return p.IsValid() && !p.Addr().Is4In6() }

// requestAny takes the first free pool that the bases give: one of length bits,
// or of the length that each base is cut to if bits is negative.
func (m *Manager) requestAny(s *space, bits int, v6 bool, o options) (Pool, error) {
	var excluded []span
	if s == m.local && m.exclude != nil {
		excluded = merge(m.exclude(), v6)
	}
	// Search and request under one lock, so two callers never get the same pool.
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := s.free(excluded, bits, v6)
	if !ok {
		return Pool{}, types.NotFoundErrorf("address space %s: %s: %w", s.name, s.blockers(excluded, bits, v6), ipamapi.ErrNoAvailablePool)
	}
	return m.requestLocked(s, p, netip.Prefix{}, o)
}

func (m *Manager) requestLocked(s *space, prefix, sub netip.Prefix, o options) (Pool, error) {
	id := s.name + "/" + prefix.String()
	parent := m.pools[id]
	if parent == nil {
		var err error
		if parent, err = m.addMaster(s, id, prefix); err != nil {
			return Pool{}, err
		}
	}
	p := parent
	if sub.IsValid() {
		id += "/" + sub.String()
		if p = m.pools[id]; p == nil {
			p = &pool{id: id, space: s, prefix: prefix, sub: sub, parent: parent, addrs: parent.addrs, dyn: spanOf(sub)}
			m.pools[id] = p
		}
		p.refs++
		parent.children++
	}
	parent.refs++
	p.addrs.configure(&p.cursor, o)
	return p.describe(), nil
}

// addMaster makes a master pool without references.
func (m *Manager) addMaster(s *space, id string, prefix netip.Prefix) (*pool, error) {
	masters := &s.masters[family(prefix.Addr())]
	sp := spanOf(prefix)
	i := firstFrom(*masters, sp.lo)
	if i < len(*masters) && !sp.hi.Less((*masters)[i].lo) {
		return nil, types.ForbiddenErrorf("pool %s overlaps with %s in %s: %w", prefix, (*masters)[i].pool.prefix, s.name, ipamapi.ErrPoolOverlap)
	}
	p := &pool{id: id, space: s, prefix: prefix, addrs: newAddresses(prefix), dyn: sp}
	*masters = slices.Insert(*masters, i, master{sp, p})
	m.pools[id] = p
	return p, nil
}

// ReleasePool gives back one request. With the last one of a master pool and its
// sub pools all its addresses are forgotten. It fails with ipamapi.ErrBadPool,
// class BadRequest, if nobody holds the pool by this ID.
func (m *Manager) ReleasePool(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pools[id]
	if p == nil {
		p = m.pools[canonicalID(id)]
	}
	if p == nil || p.refs == p.children {
		return types.BadRequestErrorf("release of pool %q: %w", id, ipamapi.ErrBadPool)
	}
	p.refs--
	top := p
	if p.parent != nil {
		top = p.parent
		top.refs--
		top.children--
		if p.refs == 0 {
			delete(m.pools, p.id)
		}
	}
	if top.refs > 0 {
		return nil
	}
	delete(m.pools, top.id)
	f := family(top.prefix.Addr())
	masters := &top.space.masters[f]
	i := firstFrom(*masters, top.dyn.lo)
	*masters = slices.Delete(*masters, i, i+1)
	top.space.unsee(f, top.dyn)
	top.addrs.close()
	return nil
}

// Pools lists the pools, sub pools too, sorted by ID.
func (m *Manager) Pools() []Pool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	list := make([]Pool, 0, len(m.pools))
	for _, p := range m.pools {
		list = append(list, p.describe())
	}
	slices.SortFunc(list, func(a, b Pool) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func (p *pool) describe() Pool {
	return Pool{ID: p.id, Space: p.space.name, Prefix: p.prefix, Sub: p.sub, Refs: p.refs}
}

func (m *Manager) space(name string) (*space, error) {
	switch name {
	case LocalSpace:
		return m.local, nil
	case GlobalSpace:
		return m.global, nil
	case "":
		return nil, types.BadRequestErrorf("address space is missing: %w", ipamapi.ErrInvalidAddressSpace)
	}
	return nil, types.BadRequestErrorf("address space %q is not known here, only %s and %s: %w", name, LocalSpace, GlobalSpace, ipamapi.ErrInvalidAddressSpace)
}

// pool finds a pool for an address call.
func (m *Manager) pool(id string) (*pool, error) {
	m.mu.RLock()
	p := m.pools[id]
	m.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	canonical := canonicalID(id)
	if canonical == "" {
		return nil, types.BadRequestErrorf("malformed pool id %q: %w", id, ipamapi.ErrInvalidRequest)
	}
	m.mu.RLock()
	p = m.pools[canonical]
	m.mu.RUnlock()
	if p == nil {
		return nil, types.NotFoundErrorf("pool %s: %w", id, ipamapi.ErrPoolNotFound)
	}
	return p, nil
}

// canonicalID is the ID without host bits in its prefixes, "" if it is none. Old
// IDs have the sub pool as the user spelled it.
func canonicalID(id string) string {
	parts := strings.Split(id, "/")
	if len(parts) != 3 && len(parts) != 5 || parts[0] == "" {
		return ""
	}
	out := parts[:1:1]
	for i := 1; i < len(parts); i += 2 {
		p, err := netip.ParsePrefix(parts[i] + "/" + parts[i+1])
		if err != nil {
			return ""
		}
		out = append(out, p.Masked().String())
	}
	return strings.Join(out, "/")
}
