package ipt

import (
	"context"
	"maps"
	"os/exec"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/nft"
)

// pollPeriod is how often the rules are looked at where nothing tells of changes:
// legacy iptables has no notifications.
const pollPeriod = 2 * time.Second

// A Watch hears of changes of the rules.
type Watch struct {
	tables  *nft.TableWatch // nil where the kernel has no nftables
	poll    bool
	changed func()
}

// Watch opens a watch that calls changed whenever somebody else may have changed
// the rules: at once those of the variant nft and of links, which are tables that
// the kernel tells of; every two seconds where there are others.
func (f *Firewall) Watch(changed func()) (*Watch, error) {
	w := &Watch{changed: changed, poll: f.variant == Legacy || f.links == nil}
	if f.links == nil {
		return w, nil
	}
	foreign, err := f.foreignEvents()
	if err != nil {
		return nil, err
	}
	w.tables, err = nft.WatchTables(func(ev nft.TableEvent) {
		if foreign(ev) {
			changed()
		}
	})
	return w, err
}

// foreignEvents returns a function that says whether an event may be a change by
// somebody else of tables that hold rules of ours.
func (f *Firewall) foreignEvents() (func(nft.TableEvent) bool, error) {
	ofLinks, err := f.links.Foreign()
	return func(ev nft.TableEvent) bool {
		return ofLinks(ev) || f.variant == NFT && isStandard(ev.Table) && !f.own.made(ev.Port)
	}, err
}

// isStandard says whether a table is one that all users of iptables share.
func isStandard(table string) bool {
	switch table {
	case "filter", "nat", "raw", "mangle":
		return true
	}
	return false
}

// Run calls the watch's function until ctx ends; then the watch is closed.
func (w *Watch) Run(ctx context.Context) error {
	if !w.poll {
		return w.tables.Run(ctx)
	}
	var wg sync.WaitGroup
	var err error
	ctx, cancel := context.WithCancel(ctx)
	if w.tables != nil {
		wg.Go(func() {
			defer cancel()
			err = w.tables.Run(ctx)
		})
	}
	tick := time.NewTicker(pollPeriod)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			w.changed()
		}
	}
	cancel()
	wg.Wait()
	return err
}

// processes are the programs that are run, or were a moment ago. A change of the
// variant nft carries the number of the process that made it: that is what the kernel
// gives a process's first socket of a family for an address (Linux 6.18, libmnl
// leaves it the choice). If another socket should have it already, our own change is
// taken for somebody else's, and looked at in vain.
//
// The zero value is ready; nil remembers nothing.
type processes struct {
	mu sync.Mutex
	// end is by number when a process ended, zero while it runs.
	end map[uint32]time.Time
}

// remembered is how long the number of a process that has ended is its own. What it
// did is in the watch's queue by then; the kernel gives the number to somebody else
// only after all others.
const remembered = time.Second

// start starts a program. Nothing is said of any change until its number is known.
func (p *processes) start(cmd *exec.Cmd) error {
	if p == nil {
		return cmd.Start()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	if p.end == nil {
		p.end = make(map[uint32]time.Time)
	}
	p.end[uint32(cmd.Process.Pid)] = time.Time{}
	return nil
}

// ended takes down that a program is no more.
func (p *processes) ended(cmd *exec.Cmd) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(p.end, func(_ uint32, end time.Time) bool { return !end.IsZero() && now.Sub(end) > remembered })
	p.end[uint32(cmd.Process.Pid)] = now
}

// made says whether a change with this number was made by one of them.
func (p *processes) made(number uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	end, ok := p.end[number]
	return ok && (end.IsZero() || time.Since(end) <= remembered)
}
