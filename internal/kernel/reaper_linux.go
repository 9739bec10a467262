package kernel

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/rtnl"
)

// reaperDelay is how long links are gathered before they are deleted together:
// one deletion takes the kernel as long as many. Most of them are gone by then,
// with their namespaces.
const reaperDelay = 40 * time.Millisecond

// reaper deletes links in the background. A process that ends before it has done
// so leaves them to the recovery of the next one.
type reaper struct {
	rt   *rtnl.Socket
	log  *slog.Logger
	work chan struct{}
	stop chan struct{}
	done chan struct{}

	mu     sync.Mutex // guards links
	links  []string
	reaped sync.Mutex // held while links are deleted
}

func newReaper(rt *rtnl.Socket, log *slog.Logger) *reaper {
	r := &reaper{rt: rt, log: log, work: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go r.run()
	return r
}

func (r *reaper) add(link string) {
	r.mu.Lock()
	r.links = append(r.links, link)
	r.mu.Unlock()
	select {
	case r.work <- struct{}{}:
	default:
	}
}

func (r *reaper) run() {
	defer close(r.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.stop:
			r.drain()
			return
		case <-r.work:
		}
		timer.Reset(reaperDelay)
		select {
		case <-r.stop:
		case <-timer.C:
		}
		r.drain()
	}
}

// drain deletes what is waiting and returns when it is gone. It says whether
// there was anything.
func (r *reaper) drain() bool {
	r.reaped.Lock()
	defer r.reaped.Unlock()
	r.mu.Lock()
	links := r.links
	r.links = nil
	r.mu.Unlock()
	if len(links) == 0 {
		return false
	}
	if err := r.rt.DeleteLinks(context.Background(), links...); err != nil {
		r.log.Error("delete links", "links", links, "err", err)
	}
	return true
}

func (r *reaper) close() {
	close(r.stop)
	<-r.done
}
