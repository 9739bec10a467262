package kernel

import (
	"context"
	"log/slog"
	"slices"
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

	mu     sync.Mutex // guards links and going
	links  []string
	going  []string   // are being deleted
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
			_, _ = r.drain()
			return
		case <-r.work:
		}
		timer.Reset(reaperDelay)
		select {
		case <-r.stop:
		case <-timer.C:
		}
		_, _ = r.drain()
	}
}

// has says whether a link of this name waits to be deleted, or is being deleted.
func (r *reaper) has(link string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.links, link) || slices.Contains(r.going, link)
}

// drain deletes what is waiting and returns when it is gone. It says whether
// there was anything. What cannot be deleted waits for the next time.
func (r *reaper) drain() (some bool, err error) {
	r.reaped.Lock()
	defer r.reaped.Unlock()
	r.mu.Lock()
	r.going, r.links = r.links, nil
	links := r.going
	r.mu.Unlock()
	if len(links) == 0 {
		return false, nil
	}
	if err = r.rt.DeleteLinks(context.Background(), links...); err != nil {
		r.log.Error("delete links", "links", links, "err", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.going = nil
	if err != nil {
		r.links = append(links, r.links...)
	}
	return true, err
}

func (r *reaper) close() {
	close(r.stop)
	<-r.done
}
