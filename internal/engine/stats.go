package engine

import (
	"maps"
	"slices"
	"sync"

	"github.com/libnetwork/libnetwork/internal/dnsserver"
	"github.com/libnetwork/libnetwork/internal/hostport"
)

// Counts is how many of each thing there are. No operation is waited for.
type Counts struct {
	// Networks are by driver.
	Networks             map[string]int
	Endpoints, Sandboxes int
	// Ports are published ports of the host, those of one number on two addresses
	// twice, by how they are kept from other programs.
	Ports map[hostport.How]int
}

// Counts returns how many of each thing there are now.
func (e *Engine) Counts() Counts {
	c := Counts{Networks: make(map[string]int)}
	e.mu.RLock()
	for _, n := range e.networks {
		c.Networks[n.Record().Driver]++
	}
	c.Endpoints, c.Sandboxes = len(e.endpoints), len(e.sandboxes)
	e.mu.RUnlock()
	c.Ports = e.ports.counts()
	return c
}

// counts counts the ports of the host, by how they are kept.
func (b *portBook) counts() map[hostport.How]int {
	// What is in the book is never changed, so that it is counted outside of mu.
	b.mu.Lock()
	books := slices.Collect(maps.Values(b.bySandbox))
	b.mu.Unlock()
	out := make(map[hostport.How]int)
	for _, p := range books {
		for _, g := range p.list {
			if g.host != noHost {
				out[p.hows[g.how]] += int(g.last-g.first) + 1
			}
		}
	}
	return out
}

// how says how the port is kept from other programs.
func (x held) how() hostport.How {
	if x.kept == nil {
		return hostport.Taken
	}
	return x.kept.How()
}

// dnsStats are the counters of all DNS servers that are and that have been.
type dnsStats struct {
	mu      sync.Mutex // guards the following
	servers map[*dnsserver.Server]struct{}
	past    dnsserver.Stats
}

func (d *dnsStats) add(s *dnsserver.Server) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.servers == nil {
		d.servers = make(map[*dnsserver.Server]struct{})
	}
	d.servers[s] = struct{}{}
}

// remove keeps what a server has counted; it has ended.
func (d *dnsStats) remove(s *dnsserver.Server) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.servers[s]; ok {
		delete(d.servers, s)
		d.past = d.past.Add(s.Stats())
	}
}

// DNS returns what the embedded DNS servers of all sandboxes, those of former ones
// included, have counted.
func (e *Engine) DNS() dnsserver.Stats {
	d := &e.dns
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := d.past
	for s := range d.servers {
		sum = sum.Add(s.Stats())
	}
	return sum
}
