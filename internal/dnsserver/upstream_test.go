package dnsserver

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// upstreamServer is a name server on loopback, UDP and TCP on one port.
type upstreamServer struct {
	addr  netip.AddrPort
	count atomic.Int64 // queries
}

func (u *upstreamServer) Upstream() Upstream { return Upstream{Addr: u.addr} }

// startUpstream starts a server; no reply is sent where answer gives nil.
func startUpstream(tb testing.TB, answer func(q *dns.Msg) *dns.Msg) *upstreamServer {
	tb.Helper()
	u, l := upstreamSockets(tb)
	up := &upstreamServer{addr: u.LocalAddr().(*net.UDPAddr).AddrPort()}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		up.count.Add(1)
		if r := answer(q); r != nil {
			_ = w.WriteMsg(r)
		}
	})
	var wg sync.WaitGroup
	tb.Cleanup(wg.Wait) // runs after the two below
	for _, server := range []*dns.Server{
		{PacketConn: u, Handler: handler, UDPSize: 65535, MsgAcceptFunc: acceptAll},
		{Listener: l, Handler: handler, MsgAcceptFunc: acceptAll},
	} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() { _ = server.ActivateAndServe() })
		<-started
		tb.Cleanup(func() { _ = server.Shutdown() })
	}
	return up
}

func acceptAll(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }

func upstreamSockets(tb testing.TB) (*net.UDPConn, net.Listener) {
	tb.Helper()
	for range 100 {
		u := listenUDP(tb)
		l, err := net.Listen("tcp", u.LocalAddr().String())
		if err == nil {
			tb.Cleanup(func() { _ = l.Close() })
			return u, l
		}
	}
	tb.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

// says returns a server that answers every query with this address.
func says(tb testing.TB, addr string) *upstreamServer {
	tb.Helper()
	return startUpstream(tb, func(q *dns.Msg) *dns.Msg { return reply(q, addr) })
}

func reply(q *dns.Msg, addr string) *dns.Msg {
	r := new(dns.Msg).SetReply(q)
	r.Answer = append(r.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.ParseIP(addr)})
	return r
}

func rcode(tb testing.TB, code int) *upstreamServer {
	tb.Helper()
	return startUpstream(tb, func(q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, code) })
}

func silent(tb testing.TB) *upstreamServer {
	tb.Helper()
	return startUpstream(tb, func(*dns.Msg) *dns.Msg { return nil })
}

// closedPort returns a server whose port nobody listens on.
func closedPort(tb testing.TB) *upstreamServer {
	tb.Helper()
	u, l := upstreamSockets(tb)
	_, _ = u.Close(), l.Close()
	return &upstreamServer{addr: u.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func upstreams(list ...*upstreamServer) []Upstream {
	var out []Upstream
	for _, u := range list {
		out = append(out, u.Upstream())
	}
	return out
}
