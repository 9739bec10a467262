package dnsserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	lameTime  = 10 * time.Second // how long a server that failed is asked last
	socketAge = 30 * time.Second // after which a new source port is taken
)

var errFlushed = errors.New("upstream sockets were closed")

// upstreamSet is a list of servers that replaces another as a whole.
type upstreamSet struct {
	list []*upstream
	loop bool // our own address was left out
}

// upstream is one server and our UDP socket to it.
type upstream struct {
	Upstream
	s         *Server
	lameUntil atomic.Int64  // UnixNano
	dialing   chan struct{} // holds one token: only one socket is opened at a time

	mu      sync.Mutex // guards the following; never held while anything may block
	sock    *udpSocket // nil if there is none
	flushes int
}

// SetUpstreams replaces the list of upstream servers by the first three that are
// not ourselves, in their order. UDP queries that wait are asked again from them.
func (s *Server) SetUpstreams(list []Upstream) {
	set := new(upstreamSet)
	for _, u := range list {
		switch {
		case !u.HostNS && u.Addr.Addr().Unmap() == s.cfg.Self:
			set.loop = true
			s.log.Warn("dns upstream server is this server itself, not used", "server", u.Addr)
		case len(set.list) < maxUpstreams:
			set.list = append(set.list, &upstream{Upstream: u, s: s, dialing: make(chan struct{}, 1)})
		}
	}
	if old := s.upstreams.Swap(set); old != nil {
		old.flush()
	}
}

// follow asks which servers are to be used now.
func (s *Server) follow() {
	if s.cfg.Follow == nil {
		return
	}
	s.followMu.Lock()
	defer s.followMu.Unlock()
	if list, changed := s.cfg.Follow(); changed {
		s.SetUpstreams(list)
	}
}

// FlushUpstreams closes the sockets to upstream servers, as after a change of
// routes or addresses. UDP queries that wait are asked again over new ones.
func (s *Server) FlushUpstreams() {
	s.upstreams.Load().flush()
}

func (set *upstreamSet) flush() {
	for _, u := range set.list {
		u.mu.Lock()
		sock := u.sock
		u.sock = nil
		u.flushes++
		u.mu.Unlock()
		u.lameUntil.Store(0)
		if sock != nil {
			sock.fail(errFlushed)
		}
	}
}

// exchangeUDP asks over the kept socket, opening it if needed.
func (u *upstream) exchangeUDP(ctx context.Context, msg []byte) ([]byte, error) {
	question, ok := firstQuestion(msg)
	if !ok {
		return nil, errors.New("question is compressed")
	}
	c := &call{question: question, done: make(chan struct{})}
	var sock *udpSocket
	for {
		var err error
		if sock, err = u.socket(ctx); err != nil {
			return nil, err
		}
		if sock.register(c) {
			break
		}
	}
	defer sock.unregister(c)
	wire := bytes.Clone(msg)
	binary.BigEndian.PutUint16(wire, c.id)
	if _, err := sock.conn.Write(wire); err != nil {
		// The socket may carry an error that an earlier datagram caused.
		if _, err = sock.conn.Write(wire); err != nil {
			return nil, fmt.Errorf("send: %w", err)
		}
	}
	select {
	case <-c.done:
		return c.reply, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// socket returns the kept socket or opens one.
func (u *upstream) socket(ctx context.Context) (*udpSocket, error) {
	select {
	case u.dialing <- struct{}{}:
		defer func() { <-u.dialing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	u.mu.Lock()
	sock, flushes := u.sock, u.flushes
	if sock != nil && (sock.isRetired() || time.Since(sock.born) > socketAge) {
		sock, u.sock = nil, nil // an old one ends when nobody waits on it
	}
	u.mu.Unlock()
	if sock != nil {
		return sock, nil
	}
	conn, err := u.s.cfg.Dial(ctx, "udp", u.Addr.String(), u.HostNS)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	if !u.s.track(conn) {
		return nil, ErrClosed
	}
	sock = &udpSocket{conn: conn, born: time.Now(), pending: make(map[uint16]*call)}
	u.mu.Lock()
	flushed := u.flushes != flushes
	if !flushed {
		u.sock = sock
	}
	u.mu.Unlock()
	if flushed {
		u.s.drop(conn)
		return nil, errFlushed
	}
	u.s.wg.Go(func() {
		sock.read(u.s.cfg.IdleTimeout)
		u.s.drop(conn)
	})
	return sock, nil
}

// exchangeTCP asks over a connection of its own.
func (u *upstream) exchangeTCP(ctx context.Context, msg []byte) (reply []byte, err error) {
	question, ok := firstQuestion(msg)
	if !ok {
		return nil, errors.New("question is compressed")
	}
	conn, err := u.s.cfg.Dial(ctx, "tcp", u.Addr.String(), u.HostNS)
	if err != nil {
		return nil, fmt.Errorf("open connection: %w", err)
	}
	if !u.s.track(conn) {
		return nil, ErrClosed
	}
	defer u.s.drop(conn)
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	frame := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	frame = append(frame, msg...)
	id := uint16(rand.Uint32())
	binary.BigEndian.PutUint16(frame[2:], id)
	if _, err := conn.Write(frame); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	reply = make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	if !isReply(reply, question) || binary.BigEndian.Uint16(reply) != id {
		return nil, errors.New("reply does not belong to the question")
	}
	return reply, nil
}

// isReply reports whether msg answers question, whose case the server may have
// changed. Servers that cannot read a query leave the question out.
func isReply(msg, question []byte) bool {
	if len(msg) < headerLen || msg[2]&bitQR == 0 {
		return false
	}
	if binary.BigEndian.Uint16(msg[4:]) == 0 {
		switch msg[3] & maskRcode {
		case dns.RcodeFormatError, dns.RcodeServerFailure, dns.RcodeNotImplemented, dns.RcodeRefused:
			return true
		}
		return false
	}
	got, ok := firstQuestion(msg)
	if !ok || len(got) != len(question) {
		return false
	}
	n := len(got) - 4
	return bytes.Equal(got[n:], question[n:]) && equalFold(got[:n], question[:n])
}

// equalFold compares names in wire form, RFC 4343. Length bytes are below the letters.
func equalFold(a, b []byte) bool {
	lower := func(c byte) byte {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// call is one question on the wire.
type call struct {
	question []byte
	id       uint16
	done     chan struct{} // closed when reply or err is there
	reply    []byte
	err      error
}

// udpSocket is a socket to one server that any number of calls share, told apart
// by their random ids.
type udpSocket struct {
	conn net.Conn
	born time.Time

	mu      sync.Mutex // guards the following
	pending map[uint16]*call
	retired bool
}

func (k *udpSocket) isRetired() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.retired
}

// register gives the call an id that no other has. It fails if nobody reads the
// socket any more.
func (k *udpSocket) register(c *call) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.retired {
		return false
	}
	for {
		c.id = uint16(rand.Uint32()) // the generator is a ChaCha8 that cannot be predicted
		if k.pending[c.id] == nil {
			k.pending[c.id] = c
			return true
		}
	}
}

func (k *udpSocket) unregister(c *call) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pending[c.id] == c {
		delete(k.pending, c.id)
	}
}

// fail ends all calls with err, and the reader.
func (k *udpSocket) fail(err error) {
	k.mu.Lock()
	k.retired = true
	for id, c := range k.pending {
		c.err = err
		close(c.done)
		delete(k.pending, id)
	}
	k.mu.Unlock()
	_ = k.conn.Close()
}

// read hands out replies until the socket fails, or was idle for a while with
// nobody waiting.
func (k *udpSocket) read(idle time.Duration) {
	buf := make([]byte, 1<<16)
	for {
		_ = k.conn.SetReadDeadline(time.Now().Add(idle))
		n, err := k.conn.Read(buf)
		switch {
		case err == nil:
			k.deliver(buf[:n])
		case !errors.Is(err, os.ErrDeadlineExceeded):
			// Connection refused comes at once where nobody listens.
			k.fail(fmt.Errorf("receive: %w", err))
			return
		case k.retireIfUnused():
			return
		}
	}
}

func (k *udpSocket) retireIfUnused() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.retired = len(k.pending) == 0
	return k.retired
}

func (k *udpSocket) deliver(msg []byte) {
	if len(msg) < headerLen {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	id := binary.BigEndian.Uint16(msg)
	c := k.pending[id]
	if c == nil || !isReply(msg, c.question) {
		return // late or forged
	}
	delete(k.pending, id)
	c.reply = bytes.Clone(msg)
	close(c.done)
}
