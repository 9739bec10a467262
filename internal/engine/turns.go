package engine

import (
	"context"
	"sync"

	"github.com/libnetwork/libnetwork/types"
)

// turns queues operations by the objects that they change. An operation takes
// its turn at all of them before it looks at their state, and gives the turns
// back when its outcome can be seen. Waiting ends with the context, and is first
// come, first served, so that nobody starves.
//
// Every operation takes its turns in the order pools, sandbox, network, endpoint,
// name, which keeps circles of waiting from forming.
type turns struct {
	mu      sync.Mutex // guards the following
	queues  map[string]*queue
	closed  bool
	running sync.WaitGroup // operations; Add under mu, before closed
}

// queue is the state of one key.
type queue struct {
	readers int
	writer  bool
	waiting []*waiter
}

type waiter struct {
	exclusive bool
	ready     chan struct{}
}

// turn names a key and how it is wanted.
type turn struct {
	key       string
	exclusive bool
}

// turnPools is the turn of all pools together: who makes or removes networks
// shares it.
const turnPools = "pools"

func shared(kind, id string) turn    { return turn{key: kind + "/" + id} }
func exclusive(kind, id string) turn { return turn{key: kind + "/" + id, exclusive: true} }

// take waits for all turns, in their order. The caller gives them back with the
// function returned.
func (t *turns) take(ctx context.Context, wanted ...turn) (giveBack func(), err error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, errClosed
	}
	t.running.Add(1)
	t.mu.Unlock()
	for i, w := range wanted {
		if err := t.takeOne(ctx, w); err != nil {
			t.give(wanted[:i])
			t.running.Done()
			return nil, err
		}
	}
	return func() {
		t.give(wanted)
		t.running.Done()
	}, nil
}

// errClosed is what an operation gets whose engine has been closed.
var errClosed = types.TimeoutErrorf("the controller has been stopped: %w", context.Canceled)

// close refuses all turns from now on and returns when those that are taken have
// been given back.
func (t *turns) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.running.Wait()
}

func (t *turns) takeOne(ctx context.Context, w turn) error {
	if err := ctx.Err(); err != nil {
		return types.TimeoutErrorf("wait for %s: %w", w.key, err)
	}
	t.mu.Lock()
	q, entered := t.enter(w)
	if entered {
		t.mu.Unlock()
		return nil
	}
	me := &waiter{exclusive: w.exclusive, ready: make(chan struct{})}
	q.waiting = append(q.waiting, me)
	t.mu.Unlock()

	select {
	case <-me.ready:
		return nil
	case <-ctx.Done():
		t.abandon(w, q, me)
		return types.TimeoutErrorf("wait for %s: %w", w.key, ctx.Err())
	}
}

// try takes a turn if there is nobody to wait for. It is for those who hold turns
// of a later kind already.
func (t *turns) try(w turn) (giveBack func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, false
	}
	if _, ok := t.enter(w); !ok {
		return nil, false
	}
	t.running.Add(1)
	return func() {
		t.give([]turn{w})
		t.running.Done()
	}, true
}

// enter grants a turn that nobody is in the way of.
func (t *turns) enter(w turn) (*queue, bool) {
	if t.queues == nil {
		t.queues = make(map[string]*queue)
	}
	q := t.queues[w.key]
	if q == nil {
		q = &queue{}
		t.queues[w.key] = q
	}
	if len(q.waiting) > 0 || !q.admits(w.exclusive) {
		return q, false
	}
	q.enter(w.exclusive)
	return q, true
}

// abandon takes a waiter out of the queue, or gives back a turn that was
// granted at the same moment.
func (t *turns) abandon(w turn, q *queue, me *waiter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, other := range q.waiting {
		if other == me {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			t.wake(w.key, q)
			return
		}
	}
	q.leave(w.exclusive)
	t.wake(w.key, q)
}

func (t *turns) give(taken []turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range taken {
		q := t.queues[w.key]
		q.leave(w.exclusive)
		t.wake(w.key, q)
	}
}

// wake admits those at the head of the queue that can go on, and forgets a
// queue that nobody uses.
func (t *turns) wake(key string, q *queue) {
	for len(q.waiting) > 0 && q.admits(q.waiting[0].exclusive) {
		next := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.enter(next.exclusive)
		close(next.ready)
	}
	if q.readers == 0 && !q.writer && len(q.waiting) == 0 {
		delete(t.queues, key)
	}
}

func (q *queue) admits(exclusive bool) bool {
	return !q.writer && (!exclusive || q.readers == 0)
}

func (q *queue) enter(exclusive bool) {
	if exclusive {
		q.writer = true
	} else {
		q.readers++
	}
}

func (q *queue) leave(exclusive bool) {
	if exclusive {
		q.writer = false
	} else {
		q.readers--
	}
}
