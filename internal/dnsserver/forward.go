package dnsserver

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// rcodeLimit answers a query beyond MaxOutstanding. Clients try their next
// server then, or report it as temporary.
const rcodeLimit = dns.RcodeServerFailure

// flight is one question that is being asked for all clients that want it.
type flight struct {
	waiters []waiter // guarded by Server.mu
}

// waiter is a UDP client that waits for a flight.
type waiter struct {
	conn   packetConn
	client netip.AddrPort
	id     uint16
}

// enter takes one of the places for waiting queries.
func (s *Server) enter() bool {
	if s.outstanding.Add(1) <= int64(s.cfg.MaxOutstanding) {
		s.stats.forwarded.Add(1)
		return true
	}
	s.outstanding.Add(-1)
	s.stats.limited.Add(1)
	now, last := time.Now().UnixNano(), s.limitLogged.Load()
	if now-last > int64(2*time.Second) && s.limitLogged.CompareAndSwap(last, now) {
		s.log.Warn("dns queries refused, too many wait for upstream servers", "limit", s.cfg.MaxOutstanding)
	}
	return false
}

// forwardUDP asks upstream servers for a UDP client and returns at once. msg may
// be used again after the call.
func (s *Server) forwardUDP(msg []byte, w waiter) {
	w.id = binary.BigEndian.Uint16(msg)
	if !s.enter() {
		_, _ = w.conn.WriteToUDPAddrPort(s.failure(msg, rcodeLimit), w.client)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flights[string(msg[2:])]; f != nil {
		s.stats.coalesced.Add(1)
		f.waiters = append(f.waiters, w)
		return
	}
	if s.closed {
		s.outstanding.Add(-1)
		return
	}
	query := append([]byte(nil), msg...)
	key := string(query[2:])
	s.flights[key] = &flight{waiters: []waiter{w}}
	s.wg.Go(func() { s.fly(key, query) })
}

// fly asks and gives the reply to all that wait for it.
func (s *Server) fly(key string, query []byte) {
	reply := s.resolve("udp", query)
	s.mu.Lock()
	waiters := s.flights[key].waiters
	delete(s.flights, key)
	s.mu.Unlock()
	for _, w := range waiters {
		if reply != nil {
			binary.BigEndian.PutUint16(reply, w.id)
			_, _ = w.conn.WriteToUDPAddrPort(reply, w.client)
		}
		s.outstanding.Add(-1)
	}
}

// resolve asks the upstream servers in turn and returns the reply to msg with
// its id, one of our own if none of them has a useful one. It returns nil if
// the server is closed.
func (s *Server) resolve(network string, msg []byte) []byte {
	const restarts = 2 // a flush while we ask makes us begin again, with the servers there are then
	s.follow()
	for i := 0; ; i++ {
		set := s.upstreams.Load()
		reply, err := s.ask(set, network, msg)
		switch {
		case s.ctx.Err() != nil:
			return nil
		case err == nil:
			binary.BigEndian.PutUint16(reply, binary.BigEndian.Uint16(msg))
			return reply
		case errors.Is(err, errFlushed) && i < restarts:
			continue
		}
		s.stats.failed.Add(1)
		if len(set.list) == 0 && set.loop {
			return s.failure(msg, dns.RcodeRefused)
		}
		return s.failure(msg, dns.RcodeServerFailure)
	}
}

var errNoUpstream = errors.New("no upstream server answered")

// ask goes through the servers once: those that did not answer lately come last,
// so that a dead one costs its timeout now and then, not in every query.
func (s *Server) ask(set *upstreamSet, network string, msg []byte) ([]byte, error) {
	var failed []byte // a SERVFAIL reply is better than our own: it may say why
	for _, u := range set.order(time.Now()) {
		reply, err := s.exchange(u, network, msg)
		switch {
		case errors.Is(err, errFlushed) || s.ctx.Err() != nil:
			return nil, err
		case err != nil:
			u.lameUntil.Store(time.Now().Add(lameTime).UnixNano())
			s.log.Debug("dns upstream server failed", "server", u.Addr, "network", network, "err", err)
			continue
		}
		u.lameUntil.Store(0)
		switch reply[3] & maskRcode {
		case dns.RcodeServerFailure:
			failed = reply
		case dns.RcodeRefused:
		default:
			return reply, nil
		}
	}
	if failed != nil {
		return failed, nil
	}
	return nil, errNoUpstream
}

// order is that in which servers are asked: those that are lame now come last.
func (set *upstreamSet) order(now time.Time) []*upstream {
	list := make([]*upstream, 0, len(set.list))
	var lame []*upstream
	for _, u := range set.list {
		if u.lameUntil.Load() > now.UnixNano() {
			lame = append(lame, u)
			continue
		}
		list = append(list, u)
	}
	return append(list, lame...)
}

// exchange asks one server and returns its reply, with any id.
func (s *Server) exchange(u *upstream, network string, msg []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
	defer cancel()
	if network == "tcp" {
		return u.exchangeTCP(ctx, msg)
	}
	return u.exchangeUDP(ctx, msg)
}
