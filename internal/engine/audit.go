package engine

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"github.com/libnetwork/libnetwork/internal/ipam"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// ledger is an address manager that shows what it holds. The built-in one does;
// one of somebody else keeps its books itself.
type ledger interface {
	Pools() []ipam.Pool
	Usage(poolID string) (ipam.Usage, error)
	Addresses(poolID string) (iter.Seq[netip.Addr], error)
}

// PoolUsage is a pool of an address manager, how full it is, and who uses it.
type PoolUsage struct {
	Manager string
	Pool    ipam.Pool
	Usage   ipam.Usage
	// Networks are the names of the networks that have the pool, or a sub pool of
	// it.
	Networks []string
}

// Pools returns the pools of all address managers that show what they hold, by
// manager and ID.
func (e *Engine) Pools() []PoolUsage {
	list := []PoolUsage{}
	for name, l := range e.ledgers() {
		users := make(map[string][]string)
		for _, n := range e.Networks() {
			rec := n.Record()
			for _, id := range poolIDs(rec, name) {
				users[id] = append(users[id], rec.Name)
			}
		}
		for _, p := range l.Pools() {
			u, err := l.Usage(p.ID)
			if err != nil {
				continue // it was given back meanwhile
			}
			list = append(list, PoolUsage{Manager: name, Pool: p, Usage: u, Networks: users[p.ID]})
		}
	}
	slices.SortFunc(list, func(a, b PoolUsage) int {
		return cmp.Or(cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.Pool.ID, b.Pool.ID))
	})
	return list
}

// poolIDs are the pools that a network has of an address manager, those above
// its sub pools included, each once.
func poolIDs(n *model.Network, manager string) []string {
	var ids []string
	if n.IPAM.Driver != manager {
		return nil
	}
	for _, p := range slices.Concat(n.IPAM.Pools4, n.IPAM.Pools6) {
		ids = append(ids, p.ID, masterOf(p).id())
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (e *Engine) ledgers() map[string]ledger {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := make(map[string]ledger)
	for name, i := range e.ipam {
		if l, ok := i.Ipam.(ledger); ok {
			out[name] = l
		}
	}
	return out
}

// What can be wrong with an address or a pool.
const (
	// Unowned is what the address manager holds and no record owns: nobody uses it,
	// and nobody else gets it before the next start.
	Unowned = "unowned"
	// Unallocated is what a record owns and the address manager does not hold: it
	// may be given to somebody else.
	Unallocated = "unallocated"
	// Duplicate is an address that several records own.
	Duplicate = "duplicate"
)

// Finding is an address, or a whole pool, about which the address manager and the
// records disagree.
type Finding struct {
	Problem string
	Manager string
	// Pool is the ID of the pool, for an address that of the master pool.
	Pool string
	// Addr is not valid if the pool itself is meant.
	Addr netip.Addr
	// Owners are the records that own it, for people.
	Owners []string
}

// Audit is what a comparison of address managers and records has found.
type Audit struct {
	// Pools and Addresses are how many were compared.
	Pools, Addresses int
	Findings         []Finding
}

// Audit compares what the address managers hold with what records own, both
// ways. What looks wrong is looked at again while no operation is on its way in
// the networks concerned, so that none is taken for a fault. Address managers
// that do not show what they hold are left out.
func (e *Engine) Audit(ctx context.Context) (Audit, error) {
	a := e.audit(nil)
	if len(a.Findings) == 0 {
		return a, nil
	}
	suspects := make(map[string]bool)
	for _, f := range a.Findings {
		suspects[masterID(f.Pool)] = true
	}
	done, err := e.quiet(ctx, suspects)
	if err != nil {
		return Audit{}, types.TimeoutErrorf("audit the addresses: wait for the operations on their way: %w", err)
	}
	defer done()
	a.Findings = e.audit(suspects).Findings
	return a, nil
}

// quiet waits until no operation is on its way that takes or gives back addresses
// of the master pools, and holds new ones back until done is called.
func (e *Engine) quiet(ctx context.Context, masters map[string]bool) (done func(), err error) {
	// While networks neither come nor go, the list of those to wait for is whole.
	donePools, err := e.turns.take(ctx, exclusive(turnPools, ""))
	if err != nil {
		return nil, err
	}
	var wanted []turn
	e.mu.RLock()
	for id, n := range e.networks {
		rec := n.Record()
		if slices.ContainsFunc(poolIDs(rec, rec.IPAM.Driver), func(id string) bool { return masters[id] }) {
			wanted = append(wanted, exclusive("network", id))
		}
	}
	e.mu.RUnlock()
	slices.SortFunc(wanted, func(a, b turn) int { return cmp.Compare(a.key, b.key) })
	doneNetworks, err := e.turns.take(ctx, wanted...)
	if err != nil {
		donePools()
		return nil, err
	}
	return func() { doneNetworks(); donePools() }, nil
}

// audit compares once, all master pools or those of only.
func (e *Engine) audit(only map[string]bool) Audit {
	var all Audit
	for name, l := range e.ledgers() {
		own := e.owned(name)
		pools := l.Pools()
		all.Pools += len(pools)
		found := slices.Concat(own.comparePools(pools), own.compareAddresses(l, pools, &all.Addresses))
		for _, f := range found {
			if f.Manager = name; only == nil || only[masterID(f.Pool)] {
				all.Findings = append(all.Findings, f)
			}
		}
	}
	slices.SortFunc(all.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.Pool, b.Pool), a.Addr.Compare(b.Addr), cmp.Compare(a.Problem, b.Problem))
	})
	return all
}

// master is a master pool.
type master struct {
	space  string
	prefix netip.Prefix
}

func masterOf(p model.Pool) master { return master{p.Space, p.Prefix} }

func (m master) id() string { return m.space + "/" + m.prefix.String() }

// masterID is the ID of the master pool of a pool: the first three parts.
func masterID(poolID string) string {
	parts := 0
	for i, c := range poolID {
		if c == '/' {
			if parts++; parts == 3 {
				return poolID[:i]
			}
		}
	}
	return poolID
}

// holdings is what records own, with what owns it.
type holdings struct {
	pools     map[string][]string                // by pool ID
	addresses map[string]map[netip.Addr][]string // by ID of the master pool
}

// owned is what the records own of an address manager.
func (e *Engine) owned(manager string) holdings {
	h := holdings{make(map[string][]string), make(map[string]map[netip.Addr][]string)}
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, n := range e.networks {
		rec := n.Record()
		if rec.IPAM.Driver != manager {
			continue
		}
		masters := make(map[string]string)
		for _, p := range slices.Concat(rec.IPAM.Pools4, rec.IPAM.Pools6) {
			id := masterOf(p).id()
			masters[p.ID] = id
			h.pools[p.ID] = append(h.pools[p.ID], "network "+rec.Name)
			h.add(id, p.Gateway, "gateway of network "+rec.Name)
			for name, a := range p.Aux {
				h.add(id, a, fmt.Sprintf("auxiliary address %s of network %s", name, rec.Name))
			}
		}
		for _, ep := range n.endpoints {
			r := ep.Record()
			owner := fmt.Sprintf("endpoint %s of network %s", r.Name, rec.Name)
			h.add(masters[r.Pool4], r.V4, owner)
			h.add(masters[r.Pool6], r.V6, owner)
		}
	}
	return h
}

func (h holdings) add(pool string, a netip.Prefix, owner string) {
	if !a.IsValid() || pool == "" {
		return
	}
	if h.addresses[pool] == nil {
		h.addresses[pool] = make(map[netip.Addr][]string)
	}
	h.addresses[pool][a.Addr()] = append(h.addresses[pool][a.Addr()], owner)
}

// comparePools counts requests: a record has made one for each of its pools.
func (h holdings) comparePools(pools []ipam.Pool) (found []Finding) {
	held := make(map[string]int)
	for _, p := range pools {
		held[p.ID] += p.Refs
		if p.Sub.IsValid() {
			held[master{p.Space, p.Prefix}.id()] -= p.Refs // counted there too
		}
	}
	for id := range h.pools {
		held[id] += 0
	}
	for id, n := range held {
		switch owners := h.pools[id]; {
		case n > len(owners):
			found = append(found, Finding{Problem: Unowned, Pool: id, Owners: owners})
		case n < len(owners):
			found = append(found, Finding{Problem: Unallocated, Pool: id, Owners: owners})
		}
	}
	return found
}

// compareAddresses looks at each address both ways, and counts those held.
func (h holdings) compareAddresses(l ledger, pools []ipam.Pool, count *int) (found []Finding) {
	type place struct {
		pool string
		addr netip.Addr
	}
	held := make(map[place]bool)
	for _, p := range pools {
		if p.Sub.IsValid() {
			continue // its addresses are those of the master pool
		}
		list, err := l.Addresses(p.ID)
		if err != nil {
			continue // it was given back meanwhile
		}
		for a := range list {
			*count++
			held[place{p.ID, a}] = true
			if len(h.addresses[p.ID][a]) == 0 {
				found = append(found, Finding{Problem: Unowned, Pool: p.ID, Addr: a})
			}
		}
	}
	for pool, own := range h.addresses {
		for a, owners := range own {
			if !held[place{pool, a}] {
				found = append(found, Finding{Problem: Unallocated, Pool: pool, Addr: a, Owners: owners})
			}
			if len(owners) > 1 {
				found = append(found, Finding{Problem: Duplicate, Pool: pool, Addr: a, Owners: owners})
			}
		}
	}
	return found
}
