package kernel

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/rtnl"
)

const (
	// soon is how long links are gathered before they are deleted together: one
	// deletion takes the kernel as long as many.
	soon = 40 * time.Millisecond
	// late is when a link is deleted that should have gone with its namespace by
	// itself. That lives on for minutes if a connection in it was cut off before it
	// was closed.
	late = 2 * time.Second
)

// reaper deletes links in the background. A process that ends before it has done
// so leaves them to the recovery of the next one.
type reaper struct {
	rt   *rtnl.Socket
	log  *slog.Logger
	work chan struct{}
	stop chan struct{}
	done chan struct{}

	mu      sync.Mutex // guards waiting and going
	waiting []dying
	going   []string   // are being deleted
	reaped  sync.Mutex // held while links are deleted
}

// dying is a link that is to be deleted, not before due.
type dying struct {
	link string
	due  time.Time
}

func newReaper(rt *rtnl.Socket, log *slog.Logger) *reaper {
	r := &reaper{rt: rt, log: log, work: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go r.run()
	return r
}

func (r *reaper) add(link string, delay time.Duration) {
	r.mu.Lock()
	r.waiting = append(r.waiting, dying{link, time.Now().Add(delay)})
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
			_, _ = r.drain(true)
			return
		case <-r.work:
		case <-timer.C:
			_, _ = r.drain(false)
		}
		if next, some := r.next(); some {
			timer.Reset(max(time.Until(next), soon))
		}
	}
}

// next is when the next link is due.
func (r *reaper) next() (due time.Time, some bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.waiting {
		if !some || d.due.Before(due) {
			due, some = d.due, true
		}
	}
	return due, some
}

// has says whether a link of this name waits to be deleted, or is being deleted.
func (r *reaper) has(link string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.waiting, func(d dying) bool { return d.link == link }) || slices.Contains(r.going, link)
}

// drain deletes what is due, or all that is waiting, and returns when it is gone.
// It says whether there was anything. What cannot be deleted waits for the next
// time.
func (r *reaper) drain(all bool) (some bool, err error) {
	r.reaped.Lock()
	defer r.reaped.Unlock()
	now := time.Now()
	var links []string
	r.mu.Lock()
	r.waiting = slices.DeleteFunc(r.waiting, func(d dying) bool {
		if !all && d.due.After(now) {
			return false
		}
		links = append(links, d.link)
		return true
	})
	r.going = links
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
		for _, l := range links {
			r.waiting = append(r.waiting, dying{l, now.Add(late)})
		}
	}
	return true, err
}

func (r *reaper) close() {
	close(r.stop)
	<-r.done
}
