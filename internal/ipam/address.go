package ipam

import (
	"iter"
	"math"
	"math/big"
	"net/netip"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/runset"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// addresses are those of a master pool, as numbers.
type addresses struct {
	prefix netip.Prefix // never changes
	whole  span         // never changes

	mu     sync.Mutex // guards all below, and the cursors of the pools
	closed bool
	usable span       // whole but for what is reserved
	busy   runset.Set // live ones, and those whose reuse is delayed
	held   heldSet
}

// cursor is where serial order goes on.
type cursor struct {
	serial bool // what a request without the option does
	last   runset.Uint128
	valid  bool
}

// Usage says how full a pool is. Reserved, Allocated and Free add up to its size.
type Usage struct {
	// Reserved is the addresses that are never given.
	Reserved uint64
	// Allocated is those in use, Free those neither reserved nor in use.
	Allocated, Free runset.Uint128
	// Held is how many of Free are not chosen yet because of the reuse delay.
	Held uint64
}

// Size returns the number of all addresses, at most 2^128.
func (u Usage) Size() *big.Int {
	n := new(big.Int).SetUint64(u.Reserved)
	n.Add(n, u.Allocated.Big())
	return n.Add(n, u.Free.Big())
}

func newAddresses(p netip.Prefix) *addresses {
	a := &addresses{prefix: p, whole: spanOf(p)}
	a.usable = a.whole
	switch host := p.Addr().BitLen() - p.Bits(); {
	case host == 0: // one host, no network around it
	case p.Addr().Is6():
		a.usable.lo = a.whole.lo.Next() // subnet-router anycast, RFC 4291 2.6.1
	case host > 1: // a /31 has neither network nor broadcast address, RFC 3021
		a.usable = span{a.whole.lo.Next(), a.whole.hi.Prev()}
	}
	return a
}

// configure applies the options of one more request for a pool.
func (a *addresses) configure(c *cursor, o options) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.serial = c.serial || o.serial
	a.held.delay = max(a.held.delay, o.delay)
	if o.p2p && a.prefix.Bits() == 127 {
		a.usable = a.whole
	}
}

func (a *addresses) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
}

// RequestAddress takes an address of a pool: want, which may lie anywhere in the
// master pool, or the lowest free one of the pool (the next one, with OptSerial)
// if want is the zero Addr. The result has the length of the master pool.
//
// It fails with ipamapi.ErrIPOutOfRange, class BadRequest; with
// ErrIPAlreadyAllocated, class Forbidden, also for a reserved address; with
// ErrNoAvailableIPs, class NoService; with ErrPoolNotFound, class NotFound.
func (m *Manager) RequestAddress(poolID string, want netip.Addr, opts map[string]string) (netip.Prefix, error) {
	p, err := m.pool(poolID)
	if err != nil {
		return netip.Prefix{}, err
	}
	a := p.addrs
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return netip.Prefix{}, types.NotFoundErrorf("pool %s: %w", poolID, ipamapi.ErrPoolNotFound)
	}
	m.expireLocked(a)
	if want.IsValid() {
		return a.take(p, want.Unmap())
	}
	serial := p.cursor.serial
	if len(opts) > 0 {
		if serial, err = boolean(opts, OptSerial, serial); err != nil {
			return netip.Prefix{}, types.BadRequestErrorf("address of pool %s: %w", p.id, err)
		}
	}
	x, ok := a.choose(p, serial)
	if !ok {
		return netip.Prefix{}, types.NoServiceErrorf("pool %s: %w", p.id, ipamapi.ErrNoAvailableIPs)
	}
	p.cursor.last, p.cursor.valid = x, true
	return netip.PrefixFrom(addrOf(x, a.prefix.Addr().Is4()), a.prefix.Bits()), nil
}

// take takes the address want.
func (a *addresses) take(p *pool, want netip.Addr) (netip.Prefix, error) {
	if !a.prefix.Contains(want) {
		return netip.Prefix{}, types.BadRequestErrorf("address %s, pool %s: %w", want, p.id, ipamapi.ErrIPOutOfRange)
	}
	x := runset.FromAddr(want)
	if !a.usable.contains(x) {
		return netip.Prefix{}, types.ForbiddenErrorf("address %s is reserved in pool %s: %w", want, p.id, ipamapi.ErrIPAlreadyAllocated)
	}
	if !a.busy.Insert(x) && !a.held.remove(x) {
		return netip.Prefix{}, types.ForbiddenErrorf("address %s, pool %s: %w", want, p.id, ipamapi.ErrIPAlreadyAllocated)
	}
	return netip.PrefixFrom(want, a.prefix.Bits()), nil
}

// choose takes an address in the range of p.
func (a *addresses) choose(p *pool, serial bool) (runset.Uint128, bool) {
	r := span{later(p.dyn.lo, a.usable.lo), p.dyn.hi}
	if a.usable.hi.Less(r.hi) {
		r.hi = a.usable.hi
	}
	if r.hi.Less(r.lo) {
		return runset.Uint128{}, false // a sub pool of reserved addresses alone
	}
	start := r.lo
	if c := p.cursor; serial && c.valid && r.contains(c.last) && c.last != r.hi {
		start = c.last.Next()
	}
	x, ok := a.busy.NextAbsent(start)
	if (!ok || r.hi.Less(x)) && start != r.lo {
		x, ok = a.busy.NextAbsent(r.lo)
	}
	if ok && !r.hi.Less(x) {
		a.busy.Insert(x)
		return x, true
	}
	return a.held.oldest(r)
}

func later(a, b runset.Uint128) runset.Uint128 {
	if a.Less(b) {
		return b
	}
	return a
}

// ReleaseAddress gives back an address, by the ID of its master pool or of any sub
// pool. One that is free or reserved changes nothing. It fails with
// ipamapi.ErrIPOutOfRange or ErrInvalidRequest (the zero Addr), class BadRequest,
// and with ErrPoolNotFound, class NotFound.
func (m *Manager) ReleaseAddress(poolID string, addr netip.Addr) error {
	p, err := m.pool(poolID)
	if err != nil {
		return err
	}
	addr = addr.Unmap()
	if !addr.IsValid() {
		return types.BadRequestErrorf("release in pool %s without an address: %w", p.id, ipamapi.ErrInvalidRequest)
	}
	a := p.addrs
	if !a.prefix.Contains(addr) {
		return types.BadRequestErrorf("release of address %s, pool %s: %w", addr, p.id, ipamapi.ErrIPOutOfRange)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return types.NotFoundErrorf("pool %s: %w", poolID, ipamapi.ErrPoolNotFound)
	}
	x := runset.FromAddr(addr)
	if a.held.delay == 0 {
		a.busy.Delete(x)
		return nil
	}
	now := m.expireLocked(a)
	if a.busy.Contains(x) {
		a.held.add(x, now)
	}
	return nil
}

// expireLocked makes addresses free whose delay is over.
func (m *Manager) expireLocked(a *addresses) (now time.Time) {
	if a.held.delay == 0 {
		return now
	}
	now = m.now()
	for {
		x, ok := a.held.expired(now)
		if !ok {
			return now
		}
		a.busy.Delete(x)
	}
}

// Usage returns how full a pool is; for a sub pool, within its range.
func (m *Manager) Usage(poolID string) (Usage, error) {
	p, err := m.pool(poolID)
	if err != nil {
		return Usage{}, err
	}
	a := p.addrs
	a.mu.Lock()
	defer a.mu.Unlock()
	m.expireLocked(a)

	var reserved uint64
	if a.usable.lo != a.whole.lo && p.dyn.contains(a.whole.lo) {
		reserved++
	}
	if a.usable.hi != a.whole.hi && p.dyn.contains(a.whole.hi) {
		reserved++
	}
	held := a.held.count(p.dyn)
	live := a.busy.CountRange(p.dyn.lo, p.dyn.hi).Sub(runset.U64(held))
	// Modulo 2^128, which is the size of ::/0; of that one is reserved.
	free := p.dyn.hi.Sub(p.dyn.lo).Next().Sub(runset.U64(reserved)).Sub(live)
	return Usage{Reserved: reserved, Allocated: live, Free: free, Held: held}, nil
}

// Addresses returns the addresses in use of a pool in rising order; for a sub
// pool, within its range. No lock is held while the caller looks at one: what
// changes meanwhile may or may not be seen.
func (m *Manager) Addresses(poolID string) (iter.Seq[netip.Addr], error) {
	p, err := m.pool(poolID)
	if err != nil {
		return nil, err
	}
	return func(yield func(netip.Addr) bool) {
		const batch = 256
		buf := make([]netip.Addr, 0, batch)
		for at, more := p.dyn.lo, true; more; {
			buf, at, more = p.addrs.list(buf[:0], at, p.dyn.hi)
			for _, a := range buf {
				if !yield(a) {
					return
				}
			}
		}
	}, nil
}

// list fills the room of buf with addresses in use from lo to hi, and returns
// where to go on.
func (a *addresses) list(buf []netip.Addr, lo, hi runset.Uint128) (_ []netip.Addr, next runset.Uint128, more bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v4 := a.prefix.Addr().Is4()
	for r := range a.busy.From(lo) {
		for x := later(r.Lo, lo); !r.Hi.Less(x); x = x.Next() {
			if hi.Less(x) {
				return buf, x, false
			}
			if len(buf) == cap(buf) {
				return buf, x, true
			}
			if !a.held.contains(x) {
				buf = append(buf, addrOf(x, v4))
			}
			if x == (runset.Uint128{Hi: math.MaxUint64, Lo: math.MaxUint64}) {
				return buf, x, false
			}
		}
	}
	return buf, lo, false
}
