// Package forward carries TCP connections and UDP datagrams from ports of the
// host to one port of a container where no rule of the kernel can: between the
// families, or from loopback addresses.
//
// A Forwarder works on sockets that it is given and dials with a function that it
// is given, so it never deals with namespaces. The container sees the host as
// the source of what it gets. TCP goes through the kernel alone (splice(2), by
// net.TCPConn.ReadFrom): ends of one direction and resets pass on as they come.
// UDP has a socket to the container for each client address and host address;
// answers leave from the address to which the client has sent.
//
// All methods are safe for concurrent use. A Forwarder runs one goroutine a
// socket, two a connection and one a flow. Close ends them all and cuts what is
// connected. Limits: a client that resets its connection after it has ended its
// own direction is noticed when the container sends next; datagrams of more than
// 65507 bytes, the most that IPv4 can carry, are lost on the way to IPv4; an
// ICMP error from the container ends nothing and does not reach the client.
package forward

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// DialFunc connects to the container's port ("tcp" or "udp"). A TCP connection
// must be a *net.TCPConn.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Config says how a Forwarder works. The zero value of each field but Target is
// usable.
type Config struct {
	Target netip.AddrPort // required
	Dial   DialFunc       // nil dials from the process's own namespace

	// Timeout is how long a TCP connection to the container may take to come about.
	// Then the client's is reset. 0 means 10 s.
	Timeout time.Duration
	// MaxConns is how many TCP connections are carried at once; more wait in the
	// listener's queue. Each takes [ConnFiles] descriptors. 0 means 4096.
	MaxConns int
	// Conns is shared by the forwarders of a process: as many connections as it can hold
	// elements are carried by all of them together. Nil sets no limit.
	Conns chan struct{}

	// Idle is how long a UDP flow may be silent in both directions. 0 means 90 s.
	Idle time.Duration
	// MaxFlows is how many flows one UDP socket has; one more ends the one that was
	// silent longest. 0 means 1024.
	MaxFlows int
	// Flows is shared like Conns, for flows. Each takes a descriptor.
	Flows chan struct{}

	Logger *slog.Logger // nil discards
}

// ConnFiles is how many descriptors a TCP connection takes: its two sockets, and the pipes of
// both directions.
const ConnFiles = 6

const (
	defaultTimeout = 10 * time.Second
	defaultConns   = 4096
	defaultIdle    = 90 * time.Second
	defaultFlows   = 1024

	// logEvery is how often a failure of the target is logged at most: clients
	// must not be able to fill the log.
	logEvery = 10 * time.Second
)

// Stats counts since the start, but for the two fields that say "now".
type Stats struct {
	Accepted uint64 // TCP connections
	Failed   uint64 // of these, how many found nobody at the target
	Opened   uint64 // UDP flows
	Evicted  uint64 // of these, how many ended because of MaxFlows or Flows
	Conns    int    // TCP connections now
	Flows    int    // UDP flows now
}

// A Forwarder carries what comes to its sockets to one target. Make one with New.
type Forwarder struct {
	cfg    Config
	target string
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // all goroutines
	slots  chan struct{}  // one element a TCP connection
	logged atomic.Int64   // UnixNano of the last warning about the target
	stats  struct {
		accepted, failed, opened, evicted atomic.Uint64
		conns, flows                      atomic.Int64
	}

	mu     sync.Mutex // guards the following; never held while anything may block
	closed bool
	open   map[io.Closer]struct{} // what Close has to close
}

// ErrClosed is returned by Serve after Close.
var ErrClosed = errors.New("forwarder is closed")

// New returns a forwarder that does nothing until it is given sockets.
func New(cfg Config) *Forwarder {
	setDefault(&cfg.Timeout, defaultTimeout)
	setDefault(&cfg.MaxConns, defaultConns)
	setDefault(&cfg.Idle, defaultIdle)
	setDefault(&cfg.MaxFlows, defaultFlows)
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	f := &Forwarder{
		cfg: cfg, target: cfg.Target.String(), log: cfg.Logger,
		slots: make(chan struct{}, cfg.MaxConns), open: make(map[io.Closer]struct{}),
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// ServeTCP starts to carry the connections that a listener accepts. The forwarder
// owns it from now on, and closes it if it is closed itself: then the error is
// ErrClosed.
func (f *Forwarder) ServeTCP(l *net.TCPListener) error {
	return f.serve(l, func() { f.acceptTCP(l) })
}

// ServeUDP does the same for the datagrams that a socket gets.
func (f *Forwarder) ServeUDP(c *net.UDPConn) error {
	return f.serveUDP(c, controlOf(c))
}

// serve runs the loop of one socket.
func (f *Forwarder) serve(socket io.Closer, loop func()) error {
	if !f.track(socket) {
		return ErrClosed
	}
	f.wg.Go(loop)
	return nil
}

// Close closes all sockets and returns when all goroutines have ended. What is
// connected is reset: a stream that was cut must not look complete. A second call
// waits too and does nothing else.
func (f *Forwarder) Close() error {
	f.mu.Lock()
	f.closed = true
	open := f.open
	f.open = nil
	f.mu.Unlock()

	f.cancel()
	var errs []error
	for c := range open {
		if t, ok := c.(*net.TCPConn); ok {
			reset(t)
		} else if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	f.wg.Wait()
	return errors.Join(errs...)
}

// Stats returns the counters.
func (f *Forwarder) Stats() Stats {
	return Stats{
		Accepted: f.stats.accepted.Load(),
		Failed:   f.stats.failed.Load(),
		Opened:   f.stats.opened.Load(),
		Evicted:  f.stats.evicted.Load(),
		Conns:    int(f.stats.conns.Load()),
		Flows:    int(f.stats.flows.Load()),
	}
}

// track makes Close close c. It closes c itself and returns false if the
// forwarder is closed already.
func (f *Forwarder) track(c io.Closer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		if t, ok := c.(*net.TCPConn); ok {
			reset(t)
		} else {
			_ = c.Close()
		}
		return false
	}
	f.open[c] = struct{}{}
	return true
}

// drop closes c and forgets it.
func (f *Forwarder) drop(c io.Closer) {
	f.mu.Lock()
	delete(f.open, c)
	f.mu.Unlock()
	_ = c.Close()
}

// warn logs that a socket or the target is of no use, not more often than logEvery.
func (f *Forwarder) warn(what string, err error) {
	now, last := time.Now().UnixNano(), f.logged.Load()
	if f.ctx.Err() != nil || last != 0 && now-last < int64(logEvery) || !f.logged.CompareAndSwap(last, now) {
		return
	}
	f.log.Warn("forward to container", "op", what, "target", f.target, "err", err)
}

// pause waits before a failed accept or read is tried again, longer each time,
// so that an error that stays (no more descriptors) costs no processor time. It
// returns false if the socket or the forwarder is closed.
func (f *Forwarder) pause(what string, err error, failures int) bool {
	if errors.Is(err, net.ErrClosed) || f.ctx.Err() != nil {
		return false
	}
	f.warn(what, err)
	t := time.NewTimer(min(10*time.Millisecond<<min(failures, 10), time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-f.ctx.Done():
		return false
	}
}
