// Package dnsserver is the name server of one sandbox: it answers names that its
// backend knows and forwards everything else.
//
// A Server works on sockets it is given and asks its caller to open the ones to
// upstream servers, so it never deals with namespaces. Queries for known names
// are answered on the goroutine that reads the socket, without allocation;
// nothing that a client or an upstream server does can hold that goroutine up.
// Messages to and from upstream servers pass unchanged but for their id.
//
// All methods are safe for concurrent use. A Server runs one goroutine a socket,
// one a TCP connection, one a forwarded question (equal questions share one) and
// one an upstream socket in use, closed when idle. Close ends them all.
// Limits: no cache, no search lists, no DNSSEC validation; class IN only, other
// classes are forwarded.
package dnsserver

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

// Backend knows the local names. Its methods are called from many goroutines
// and must not block.
type Backend interface {
	// ResolveName returns the IPv4 or, if v6, the IPv6 addresses of a name that
	// comes in lower case and without its last dot. known tells names that have
	// no such address, which are answered with an empty reply, from unknown
	// ones, which are forwarded. The server neither keeps nor changes addrs.
	ResolveName(name string, v6 bool) (addrs []netip.Addr, known bool)
	// ResolveIP returns the name for an address, without a dot at its end, and
	// "" for an address that is not known.
	ResolveIP(addr netip.Addr) (name string)
}

// Upstream is a server that unknown names are asked from.
type Upstream struct {
	Addr netip.AddrPort
	// HostNS says that Addr means the host's loopback and is reached from the
	// host's namespace.
	HostNS bool
}

// DialFunc opens a socket ("udp" or "tcp") to an upstream server, in the
// sandbox's namespace or in that of the host.
type DialFunc func(ctx context.Context, network, addr string, hostNS bool) (net.Conn, error)

// Config says how a server works. The zero value of each field but Backend is usable.
type Config struct {
	Backend   Backend    // required
	Upstreams []Upstream // see SetUpstreams
	// Follow, if there is one, is called before a query is forwarded. When changed
	// is true the server does what SetUpstreams does with list. It is never called
	// twice at a time, and may read a file.
	Follow func() (list []Upstream, changed bool)
	Dial   DialFunc // nil dials from the process's own namespace

	// TTL of local answers, cut to whole seconds; 0 means 5 s, less than 0 means 0.
	TTL time.Duration
	// MaxOutstanding is how many queries may wait for upstream servers; one more
	// is answered SERVFAIL at once. 0 means 1024.
	MaxOutstanding int
	// Timeout is how long one upstream server may take, the opening of the
	// socket included. 0 means 4 s.
	Timeout time.Duration
	// Self is our own address as clients see it. Nothing is forwarded to it,
	// unless in the host's namespace. The zero value means 127.0.0.11.
	Self netip.Addr

	// MaxConns is how many TCP connections may be open; one more closes the one
	// that was silent longest. 0 means 128.
	MaxConns int
	// IdleTimeout is how long a TCP connection may be silent, and how long an
	// upstream socket is kept. 0 means 10 s.
	IdleTimeout time.Duration

	Logger *slog.Logger // nil discards
}

const (
	maxUpstreams   = 3 // as in resolv.conf(5)
	defaultTTL     = 5 * time.Second
	defaultTimeout = 4 * time.Second
	defaultIdle    = 10 * time.Second
	defaultQueries = 1024
	defaultConns   = 128
)

// Stats counts since the start, but for the two fields that say "now".
type Stats struct {
	Local       uint64 // queries answered by the backend
	Forwarded   uint64 // queries taken for forwarding
	Coalesced   uint64 // of these, how many shared another one's exchange
	Limited     uint64 // queries refused because of MaxOutstanding
	Failed      uint64 // questions that no upstream server answered
	Outstanding int    // queries waiting now
	Conns       int    // TCP connections now
}

// Add returns the sum of two servers' counters.
func (a Stats) Add(b Stats) Stats {
	return Stats{
		Local: a.Local + b.Local, Forwarded: a.Forwarded + b.Forwarded, Coalesced: a.Coalesced + b.Coalesced,
		Limited: a.Limited + b.Limited, Failed: a.Failed + b.Failed,
		Outstanding: a.Outstanding + b.Outstanding, Conns: a.Conns + b.Conns,
	}
}

// Server answers the queries of one sandbox. Make one with New.
type Server struct {
	cfg    Config
	ttl    uint32 // seconds
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // all goroutines

	followMu    sync.Mutex // held while Follow is called and its list is set
	upstreams   atomic.Pointer[upstreamSet]
	outstanding atomic.Int64
	limitLogged atomic.Int64 // UnixNano of the last message about MaxOutstanding
	stats       struct{ local, forwarded, coalesced, limited, failed atomic.Uint64 }

	mu      sync.Mutex // guards the following; never held while anything may block
	closed  bool
	open    map[io.Closer]struct{} // what Close has to close
	conns   map[*clientConn]struct{}
	flights map[string]*flight // by question message without id
}

// ErrClosed is returned by Serve after Close.
var ErrClosed = errors.New("dns server is closed")

// New returns a server that does nothing until Serve.
func New(cfg Config) *Server {
	s := &Server{
		open:    make(map[io.Closer]struct{}),
		conns:   make(map[*clientConn]struct{}),
		flights: make(map[string]*flight),
	}
	setDefault(&cfg.TTL, defaultTTL)
	setDefault(&cfg.Timeout, defaultTimeout)
	setDefault(&cfg.IdleTimeout, defaultIdle)
	setDefault(&cfg.MaxOutstanding, defaultQueries)
	setDefault(&cfg.MaxConns, defaultConns)
	setDefault(&cfg.Self, netip.AddrFrom4([4]byte{127, 0, 0, 11}))
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, network, addr string, _ bool) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	}
	s.log = cfg.Logger
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ttl = uint32(min(max(cfg.TTL/time.Second, 0), 1<<31-1)) // RFC 2181 section 8
	s.cfg = cfg
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.SetUpstreams(cfg.Upstreams)
	return s
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Serve starts answering on the sockets, which the server owns from now on, and
// returns at once. It may be called again with more. If the server is closed it
// closes the sockets and returns ErrClosed.
func (s *Server) Serve(udp []net.PacketConn, tcp []net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		for _, c := range udp {
			_ = c.Close()
		}
		for _, l := range tcp {
			_ = l.Close()
		}
		return ErrClosed
	}
	for _, c := range udp {
		s.open[c] = struct{}{}
		s.wg.Go(func() { s.serveUDP(newPacketConn(c)) })
	}
	for _, l := range tcp {
		s.open[l] = struct{}{}
		s.wg.Go(func() { s.serveTCP(l) })
	}
	return nil
}

// Close closes all sockets and returns when all goroutines have ended. Queries
// that wait are not answered. A second call waits too and does nothing else.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = nil
	s.mu.Unlock()

	s.cancel()
	var errs []error
	for c := range open {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.wg.Wait()
	return errors.Join(errs...)
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	conns := len(s.conns)
	s.mu.Unlock()
	return Stats{
		Local:       s.stats.local.Load(),
		Forwarded:   s.stats.forwarded.Load(),
		Coalesced:   s.stats.coalesced.Load(),
		Limited:     s.stats.limited.Load(),
		Failed:      s.stats.failed.Load(),
		Outstanding: int(s.outstanding.Load()),
		Conns:       conns,
	}
}

// track makes Close close c. It closes c itself and returns false if the server
// is closed already.
func (s *Server) track(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.open[c] = struct{}{}
	return true
}

// drop closes c and forgets it.
func (s *Server) drop(c io.Closer) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	_ = c.Close()
}

// pause waits before a failed accept or read is tried again, longer each time,
// so that an error that stays (no more descriptors) costs no processor time. It
// returns false if the socket or the server is closed.
func (s *Server) pause(what string, err error, failures int) bool {
	if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
		return false
	}
	s.log.Warn("dns server socket", "op", what, "err", err)
	t := time.NewTimer(min(10*time.Millisecond<<min(failures, 10), time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}
