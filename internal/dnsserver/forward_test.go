package dnsserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestFailover(t *testing.T) {
	good := says(t, "192.0.2.1")
	dead, refused, servfail := silent(t), closedPort(t), rcode(t, dns.RcodeServerFailure)
	denied, nx, empty := rcode(t, dns.RcodeRefused), rcode(t, dns.RcodeNameError), rcode(t, dns.RcodeSuccess)
	tests := []struct {
		name string
		list []Upstream
		code int
		want string
	}{
		{"DNS-18 after a silent server the next one is asked", upstreams(dead, good), dns.RcodeSuccess, "192.0.2.1"},
		{"DNS-18 after a server with a closed port the next one is asked", upstreams(refused, good), dns.RcodeSuccess, "192.0.2.1"},
		{"DNS-18 after two servers that fail the third is asked", upstreams(dead, refused, good), dns.RcodeSuccess, "192.0.2.1"},
		{"DNS-18 when all servers fail the reply is SERVFAIL", upstreams(dead, refused), dns.RcodeServerFailure, ""},
		{"DNS-18 without servers the reply is SERVFAIL", nil, dns.RcodeServerFailure, ""},
		{"DNS-19 after SERVFAIL the next server is asked", upstreams(servfail, good), dns.RcodeSuccess, "192.0.2.1"},
		{"DNS-19 after REFUSED the next server is asked", upstreams(denied, good), dns.RcodeSuccess, "192.0.2.1"},
		{"DNS-19 when servers say SERVFAIL alone so does the reply", upstreams(servfail, dead), dns.RcodeServerFailure, ""},
		{"DNS-19 when servers say REFUSED alone the reply is SERVFAIL", upstreams(denied), dns.RcodeServerFailure, ""},
		{"DNS-19 NXDOMAIN ends the search", upstreams(nx, good), dns.RcodeNameError, ""},
		{"DNS-19 NOERROR without records ends the search", upstreams(empty, good), dns.RcodeSuccess, ""},
		{"DNS-17 at most three servers are asked, in their order", upstreams(refused, denied, servfail, good), dns.RcodeServerFailure, ""},
		{"a loop is refused", []Upstream{{Addr: netip.MustParseAddrPort("127.0.0.11:53")}}, dns.RcodeRefused, ""},
		{"a loop among others is left out", append([]Upstream{{Addr: netip.MustParseAddrPort("[::ffff:127.0.0.11]:53")}}, good.Upstream()), dns.RcodeSuccess, "192.0.2.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, udp, tcp := start(t, Config{Upstreams: tt.list, Timeout: 50 * time.Millisecond})
			for network, addr := range map[string]string{"udp": udp, "tcp": tcp} {
				r := ask(t, network, addr, question("ex.test.", dns.TypeA))
				got := ""
				if len(r.Answer) > 0 {
					got = r.Answer[0].(*dns.A).A.String()
				}
				if r.Rcode != tt.code || got != tt.want {
					t.Errorf("%s: rcode %d, answer %q; want %d, %q", network, r.Rcode, got, tt.code, tt.want)
				}
			}
			closeIdle(t, s)
		})
	}
}

// closeIdle closes the server and checks that no place for a query stays taken.
func closeIdle(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if n := s.Stats().Outstanding; n != 0 {
		t.Errorf("DNS-21 %d queries outstanding", n)
	}
}

func TestLameServerIsAskedLast(t *testing.T) {
	dead, good := silent(t), says(t, "192.0.2.1")
	_, udp, _ := start(t, Config{Upstreams: upstreams(dead, good), Timeout: 20 * time.Millisecond})
	for i := range 5 {
		ask(t, "udp", udp, question(fmt.Sprintf("n%d.test.", i), dns.TypeA))
	}
	if n := dead.count.Load(); n != 1 {
		t.Errorf("the dead server was asked %d times, want 1", n)
	}
}

func TestDeadServersAreAskedOnce(t *testing.T) {
	a, b := silent(t), silent(t)
	_, udp, _ := start(t, Config{Upstreams: upstreams(a, b), Timeout: 20 * time.Millisecond})
	for i := range int64(2) { // they answer lately, and have not answered lately
		if r := ask(t, "udp", udp, question(fmt.Sprintf("n%d.test.", i), dns.TypeA)); r.Rcode != dns.RcodeServerFailure {
			t.Errorf("answer %v", r)
		}
		if x, y := a.count.Load(), b.count.Load(); x != i+1 || y != i+1 {
			t.Errorf("after query %d the servers were asked %d and %d times", i+1, x, y)
		}
	}
}

func TestParallelClients(t *testing.T) {
	t.Run("DNS-20 parallel clients with equal ids get each its own reply", parallelClients)
}

func parallelClients(t *testing.T) {
	// The server answers with the address that the name spells, in any order.
	up := startUpstream(t, func(q *dns.Msg) *dns.Msg {
		host, _, _ := strings.Cut(q.Question[0].Name, ".")
		return reply(q, strings.ReplaceAll(host, "-", "."))
	})
	s, udp, tcp := start(t, Config{Upstreams: upstreams(up)})
	var wg sync.WaitGroup
	for c := range 32 {
		network, addr := "udp", udp
		if c%4 == 0 {
			network, addr = "tcp", tcp
		}
		wg.Go(func() {
			for i := range 20 {
				want := fmt.Sprintf("10.9.%d.%d", c, i)
				q := question(strings.ReplaceAll(want, ".", "-")+".test.", dns.TypeA)
				q.Id = uint16(i) // the same ids at all clients
				client := dns.Client{Net: network, Timeout: 20 * time.Second}
				r, _, err := client.Exchange(q, addr)
				if err != nil {
					t.Errorf("DNS-20 %s: %v", want, err)
				} else if len(r.Answer) != 1 || r.Answer[0].(*dns.A).A.String() != want {
					t.Errorf("DNS-20 asked for %s, got %v", want, r.Answer)
				}
			}
		})
	}
	wg.Wait()
	closeIdle(t, s)
}

func TestForgedReplies(t *testing.T) {
	t.Run("DNS-20 only a reply with our own id and question is taken", func(t *testing.T) {
		u := listenUDP(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 4096)
			n, client, err := u.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if err := q.Unpack(buf[:n]); err != nil {
				return
			}
			send := func(change func(m *dns.Msg)) {
				m := reply(q, "203.0.113.66")
				change(m)
				b, err := m.Pack()
				if err == nil {
					_, _ = u.WriteToUDPAddrPort(b, client)
				}
			}
			send(func(m *dns.Msg) { m.Id++ })
			send(func(m *dns.Msg) { m.Question[0].Name = "other.test." })
			send(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA })
			send(func(m *dns.Msg) { m.Response = false })
			send(func(m *dns.Msg) { m.Question = nil })
			_, _ = u.WriteToUDPAddrPort([]byte{1, 2, 3}, client)
			send(func(m *dns.Msg) { m.Question[0].Name = "EX.test."; m.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 1) })
		}()
		_, udp, _ := start(t, Config{Upstreams: []Upstream{{Addr: u.LocalAddr().(*net.UDPAddr).AddrPort()}}})
		r := ask(t, "udp", udp, question("ex.test.", dns.TypeA))
		if got := r.Answer[0].(*dns.A).A.String(); got != "192.0.2.1" {
			t.Errorf("answer %s, want 192.0.2.1", got)
		}
		<-done
	})
}

func TestContentPasses(t *testing.T) {
	t.Run("DNS-22 replies pass byte for byte, also those above 512 bytes", func(t *testing.T) {
		r := new(dns.Msg)
		for i := range 200 {
			r.Answer = append(r.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: "big.test.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{fmt.Sprint(i)}})
		}
		r.Ns = append(r.Ns, &dns.NS{Hdr: dns.RR_Header{Name: "test.", Rrtype: dns.TypeNS, Class: dns.ClassINET}, Ns: "ns.big.test."})
		up := startUpstream(t, func(q *dns.Msg) *dns.Msg {
			m := r.Copy().SetReply(q)
			m.Answer, m.Ns = r.Answer, r.Ns
			m.Authoritative, m.AuthenticatedData, m.Truncated, m.Compress = true, true, true, true
			return m.SetEdns0(1400, true)
		})
		_, udp, tcp := start(t, Config{Upstreams: upstreams(up)})
		q := question("big.test.", dns.TypeTXT).SetEdns0(65000, true)
		q.IsEdns0().Option = append(q.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"})
		direct := ask(t, "udp", up.addr.String(), q)
		for network, addr := range map[string]string{"udp": udp, "tcp": tcp} {
			c, err := net.Dial(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			conn := &dns.Conn{Conn: c, UDPSize: 65535}
			if err := conn.WriteMsg(q); err != nil {
				t.Fatal(err)
			}
			raw, err := conn.ReadMsgHeader(nil)
			if err != nil {
				t.Fatal(err)
			}
			direct.Compress = true
			if !bytes.Equal(pack(t, direct), raw) {
				t.Errorf("%s: %d bytes differ from the server's reply", network, len(raw))
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestLimit(t *testing.T) {
	t.Run("DNS-21 the count of waiting queries is limited and back at 0 when idle", func(t *testing.T) {
		const total, limit = 10000, 100
		dead, good := silent(t), says(t, "192.0.2.1")
		s, udp, _ := start(t, Config{Upstreams: upstreams(dead), Timeout: 300 * time.Millisecond, MaxOutstanding: limit})
		c, err := net.Dial("udp", udp)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		buf := make([]byte, 512)
		got := 0
		read := func() {
			if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("after %d replies: %v", got, err)
			}
			if code := int(buf[3] & maskRcode); n < headerLen || code != dns.RcodeServerFailure {
				t.Fatalf("rcode %d, want SERVFAIL", code)
			}
			got++
		}
		for i := range total {
			q := question(fmt.Sprintf("n%d.test.", i), dns.TypeA)
			if _, err := c.Write(pack(t, q)); err != nil {
				t.Fatal(err)
			}
			if i-got >= limit { // at most the limit waits, so a reply must be on its way
				read()
			}
		}
		for got < total {
			read()
		}
		s.SetUpstreams(upstreams(good))
		r := ask(t, "udp", udp, question("live.test.", dns.TypeA))
		if len(r.Answer) != 1 {
			t.Errorf("answer %v", r.Answer)
		}
		stats := s.Stats()
		if stats.Limited == 0 || stats.Limited+stats.Forwarded != total+1 || stats.Failed != stats.Forwarded-1 {
			t.Errorf("counters %+v", stats)
		}
		closeIdle(t, s)
	})
	t.Run("DNS-21 a query over TCP beyond the limit is SERVFAIL at once", func(t *testing.T) {
		s, _, tcp := start(t, Config{Upstreams: upstreams(silent(t)), Timeout: time.Hour, MaxOutstanding: 1})
		c, err := net.Dial("tcp", tcp)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		conn := &dns.Conn{Conn: c}
		for _, name := range []string{"a.test.", "b.test."} {
			if err := conn.WriteMsg(question(name, dns.TypeA)); err != nil {
				t.Fatal(err)
			}
		}
		r, err := conn.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		if r.Rcode != dns.RcodeServerFailure {
			t.Errorf("reply %v", r)
		}
		closeIdle(t, s)
	})
}

func TestCoalesce(t *testing.T) {
	const clients = 50
	release := make(chan struct{})
	up := startUpstream(t, func(q *dns.Msg) *dns.Msg { <-release; return reply(q, "192.0.2.1") })
	s, udp, _ := start(t, Config{Upstreams: upstreams(up)})
	var conns []net.Conn
	for i := range clients {
		c, err := net.Dial("udp", udp)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		q := question("same.test.", dns.TypeA)
		q.Id = uint16(1000 + i)
		if _, err := c.Write(pack(t, q)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for s.Stats().Forwarded < clients {
		runtime.Gosched()
	}
	close(release)
	for i, c := range conns {
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 512)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if r := unpack(t, buf[:n]); r.Id != uint16(1000+i) || len(r.Answer) != 1 {
			t.Errorf("reply %v", r)
		}
	}
	if n := up.count.Load(); n != 1 {
		t.Errorf("%d queries sent, want 1", n)
	}
	if n := s.Stats().Coalesced; n != clients-1 {
		t.Errorf("%d coalesced, want %d", n, clients-1)
	}
	closeIdle(t, s)
}

func TestSetUpstreams(t *testing.T) {
	t.Run("DNS-12 a new list of servers replaces the old one, for waiting queries too", func(t *testing.T) {
		dead, good := silent(t), says(t, "192.0.2.1")
		s, udp, tcp := start(t, Config{Upstreams: upstreams(dead), Timeout: time.Hour})
		done := make(chan *dns.Msg, 1)
		go func() {
			client := dns.Client{Net: "udp", Timeout: 20 * time.Second}
			r, _, _ := client.Exchange(question("ex.test.", dns.TypeA), udp)
			done <- r
		}()
		for dead.count.Load() == 0 {
			runtime.Gosched()
		}
		s.SetUpstreams(upstreams(good))
		if r := <-done; r == nil || len(r.Answer) != 1 {
			t.Errorf("reply %v", r)
		}
		before := dead.count.Load()
		for network, addr := range map[string]string{"udp": udp, "tcp": tcp} {
			ask(t, network, addr, question("again.test.", dns.TypeA))
		}
		if dead.count.Load() != before {
			t.Error("the old server was asked")
		}
		closeIdle(t, s)
	})
}

func TestDial(t *testing.T) {
	type dialed struct {
		Network, Addr string
		HostNS        bool
	}
	var mu sync.Mutex
	var calls []dialed
	good := says(t, "192.0.2.1")
	dial := func(ctx context.Context, network, addr string, hostNS bool) (net.Conn, error) {
		mu.Lock()
		calls = append(calls, dialed{network, addr, hostNS})
		mu.Unlock()
		return new(net.Dialer).DialContext(ctx, network, good.addr.String())
	}
	take := func() []dialed {
		mu.Lock()
		defer mu.Unlock()
		defer func() { calls = nil }()
		return calls
	}
	s, udp, tcp := start(t, Config{Dial: dial, Upstreams: []Upstream{{Addr: netip.MustParseAddrPort("127.0.0.53:53"), HostNS: true}}})
	steps := []struct {
		name string
		do   func(t *testing.T)
		want []dialed
	}{
		{"DNS-24 a server on the host's loopback is reached from the host's namespace", func(t *testing.T) { ask(t, "udp", udp, question("a.test.", dns.TypeA)) }, []dialed{{"udp", "127.0.0.53:53", true}}},
		{"DNS-20 one UDP socket to a server is kept", func(t *testing.T) { ask(t, "udp", udp, question("b.test.", dns.TypeA)) }, nil},
		{"DNS-20 each TCP query has a connection of its own", func(t *testing.T) {
			ask(t, "tcp", tcp, question("c.test.", dns.TypeA))
			ask(t, "tcp", tcp, question("c.test.", dns.TypeA))
		}, []dialed{{"tcp", "127.0.0.53:53", true}, {"tcp", "127.0.0.53:53", true}}},
		{"DNS-23 a flush closes the kept socket", func(t *testing.T) { s.FlushUpstreams(); ask(t, "udp", udp, question("d.test.", dns.TypeA)) }, []dialed{{"udp", "127.0.0.53:53", true}}},
		{"DNS-24 servers may have IPv6 addresses", func(t *testing.T) {
			s.SetUpstreams([]Upstream{{Addr: netip.MustParseAddrPort("[2001:db8::1]:53")}})
			ask(t, "udp", udp, question("e.test.", dns.TypeA))
		}, []dialed{{"udp", "[2001:db8::1]:53", false}}},
		{"DNS-24 the host's own 127.0.0.11 is no loop", func(t *testing.T) {
			s.SetUpstreams([]Upstream{{Addr: netip.MustParseAddrPort("127.0.0.11:53"), HostNS: true}})
			ask(t, "udp", udp, question("f.test.", dns.TypeA))
		}, []dialed{{"udp", "127.0.0.11:53", true}}},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			step.do(t)
			if diff := cmp.Diff(step.want, take()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestIdleUpstreamSocketCloses(t *testing.T) {
	var open atomic.Int64
	good := says(t, "192.0.2.1")
	s, udp, _ := start(t, Config{Upstreams: upstreams(good), IdleTimeout: time.Millisecond, Dial: func(ctx context.Context, network, addr string, _ bool) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		open.Add(1)
		return countedConn{c, &open}, err
	}})
	for i := range 3 {
		ask(t, "udp", udp, question(fmt.Sprintf("n%d.test.", i), dns.TypeA))
		for open.Load() > 0 {
			runtime.Gosched()
		}
	}
	closeIdle(t, s)
}

type countedConn struct {
	net.Conn
	open *atomic.Int64
}

func (c countedConn) Close() error { c.open.Add(-1); return c.Conn.Close() }

func TestIsReply(t *testing.T) {
	q := pack(t, question("ex.test.", dns.TypeA))
	asked, ok := firstQuestion(q)
	if !ok {
		t.Fatal("no question")
	}
	f := func(change func(m *dns.Msg)) []byte {
		m := reply(question("ex.test.", dns.TypeA), "192.0.2.1")
		change(m)
		return pack(t, m)
	}
	for _, tt := range []struct {
		name string
		msg  []byte
		want bool
	}{
		{"usual", f(func(*dns.Msg) {}), true},
		{"without question, FORMERR", f(func(m *dns.Msg) { m.Question, m.Rcode = nil, dns.RcodeFormatError }), true},
		{"without question, NOERROR", f(func(m *dns.Msg) { m.Question = nil }), false},
		{"pointer as name", append(binary.BigEndian.AppendUint16(f(func(m *dns.Msg) { m.Answer, m.Question = nil, nil })[:4], 1), 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1), false},
		{"cut", f(func(*dns.Msg) {})[:headerLen+5], false},
	} {
		if got := isReply(tt.msg, asked); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// FuzzReply: what another server sends never stops us, and is taken for a reply
// only if a full parser finds our question in it, or none beside an error code.
func FuzzReply(f *testing.F) {
	q := question("ex.test.", dns.TypeA)
	asked, _ := firstQuestion(pack(f, q))
	f.Add(pack(f, reply(q, "192.0.2.1")))
	f.Add(pack(f, new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)))
	f.Add(pack(f, q))
	f.Add([]byte("\x00\x01\x80\x02\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x01\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		c := &call{question: asked, id: 7, done: make(chan struct{})}
		k := &udpSocket{pending: map[uint16]*call{7: c}}
		k.deliver(msg)
		if c.reply == nil {
			return
		}
		if binary.BigEndian.Uint16(c.reply) != 7 || !bytes.Equal(c.reply, msg) {
			t.Errorf("reply %x was taken from %x", c.reply, msg)
		}
		var m dns.Msg
		if err := m.Unpack(msg); err != nil {
			return // its records are the client's to judge
		}
		if len(m.Question) > 0 && !strings.EqualFold(m.Question[0].Name, "ex.test.") || len(m.Question) == 0 && m.Rcode == dns.RcodeSuccess {
			t.Errorf("taken for a reply: %v", m)
		}
	})
}
