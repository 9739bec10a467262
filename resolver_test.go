//go:build linux

package libnetwork_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
)

func TestHostConfigurationChanges(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", dual("10.1.0.0/24", "fd00:1::/64")...)
	serve(t, "127.0.0.2:53", "192.0.2.2", dns.RcodeSuccess)
	serve(t, "127.0.0.3:53", "192.0.2.3", dns.RcodeSuccess)
	serve(t, "10.1.0.1:53", "192.0.2.1", dns.RcodeSuccess)
	serve(t, "[fd00:1::1]:53", "192.0.2.6", dns.RcodeSuccess)
	const host = "/etc/resolv.conf"
	bind(t, host, "nameserver 127.0.0.2\n")
	joined := func(t *testing.T, name string, opts ...libnetwork.SandboxOption) *netns.Namespace {
		t.Helper()
		sb := newSandbox(t, c, name, opts...)
		ok(t, newEndpoint(t, n, name).Join(sb))
		return inside(t, sb)
	}
	follows, own := joined(t, "follows"), joined(t, "own", libnetwork.OptionDNS("10.1.0.1"))
	searches := joined(t, "searches", libnetwork.OptionDNSSearch("ex.test"))
	name := 0
	asks := func(t *testing.T, ns *netns.Namespace, want string) {
		t.Helper()
		for _, network := range []string{"udp", "tcp"} {
			name++
			diff(t, "address over "+network, []string{want}, ask(t, ns, network, fmt.Sprintf("n%d.test.", name), "A"))
		}
	}
	asks(t, follows, "192.0.2.2")
	t.Run("DNS-17 a running sandbox asks the new servers once the host's file has changed", func(t *testing.T) {
		for _, next := range []struct{ server, answer string }{
			{"127.0.0.3", "192.0.2.3"}, {"127.0.0.2", "192.0.2.2"}, // within a tick of the file system's clock
			{"10.1.0.1", "192.0.2.1"}, {"127.0.0.3", "192.0.2.3"}, {"fd00:1::1", "192.0.2.6"},
		} {
			ok(t, os.WriteFile(host, []byte("nameserver "+next.server+"\n"), 0o644))
			asks(t, follows, next.answer)
			asks(t, searches, next.answer)
		}
	})
	t.Run("DNS-17 a change of the host's file does not touch servers that the user gave", func(t *testing.T) {
		asks(t, own, "192.0.2.1")
	})
	t.Run("DNS-17 a sandbox follows the host's file while it names no server", func(t *testing.T) {
		ok(t, os.WriteFile(host, []byte("# none\n"), 0o644))
		if r := exchange(t, follows, "udp", query("none.test.", "A")); r.Rcode != dns.RcodeServerFailure {
			t.Errorf("reply is %s", dns.RcodeToString[r.Rcode])
		}
		ok(t, os.WriteFile(host, []byte("nameserver 127.0.0.2\n"), 0o644))
		asks(t, follows, "192.0.2.2")
	})
}

func TestDeadServer(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	dead := must(net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.2:53"))))(t)
	defer dead.Close() // nobody reads it
	bind(t, "/etc/resolv.conf", "nameserver 127.0.0.2\n")
	sb := newSandbox(t, c, "c1")
	ok(t, newEndpoint(t, n, "c1").Join(sb))
	ns := inside(t, sb)
	t.Run("DNS-21 10000 queries to a dead server all get SERVFAIL, and then one is answered", func(t *testing.T) {
		const total, clients = 10000, 20
		var wg sync.WaitGroup
		for i := range clients {
			conn := must(ns.Dial(t.Context(), "udp", "127.0.0.11:53"))(t)
			t.Cleanup(func() { _ = conn.Close() })
			wg.Go(func() { servfails(t, conn, i*total, total/clients) })
		}
		wg.Wait()
		diff(t, "a name that is known", 1, len(ask(t, ns, "udp", "c1.", "A")))
		serve(t, "127.0.0.3:53", "192.0.2.3", dns.RcodeSuccess)
		ok(t, os.WriteFile("/etc/resolv.conf", []byte("nameserver 127.0.0.3\n"), 0o644))
		diff(t, "address", []string{"192.0.2.3"}, askPatiently(t, ns, "live.test."))
	})
}

// servfails sends count queries, with up to 60 on their way, and wants SERVFAIL
// for each. As every client of UDP it asks again when nothing comes.
func servfails(t *testing.T, conn net.Conn, first, count int) {
	t.Helper()
	waiting := make(map[uint16][]byte)
	buf := make([]byte, 512)
	for sent := 0; sent < count || len(waiting) > 0; {
		for ; sent < count && len(waiting) < 60; sent++ {
			q := query(fmt.Sprintf("n%d.test.", first+sent), "A")
			q.Id = uint16(sent)
			wire, err := q.Pack()
			if err == nil {
				_, err = conn.Write(wire)
			}
			if err != nil {
				t.Error(err)
				return
			}
			waiting[q.Id] = wire
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Error(err)
			return
		}
		size, err := conn.Read(buf)
		r := new(dns.Msg)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			for _, wire := range waiting {
				_, _ = conn.Write(wire)
			}
			continue
		case err == nil:
			err = r.Unpack(buf[:size])
		}
		if err != nil || r.Rcode != dns.RcodeServerFailure {
			t.Errorf("reply %v, %v", r, err)
			return
		}
		delete(waiting, r.Id)
	}
}

// askPatiently asks again while the server has too many queries that wait.
func askPatiently(t *testing.T, ns *netns.Namespace, name string) []string {
	t.Helper()
	var out []string
	eventually(t, "the server does not come back", func() bool {
		r := exchange(t, ns, "udp", query(name, "A"))
		out = values(r)
		return r.Rcode == dns.RcodeSuccess
	})
	return out
}

func TestBadClients(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	sb := attach(t, c, "c1", n)
	ns := inside(t, sb)
	want := ask(t, ns, "udp", "c1.", "A")
	t.Run("DNS-13 messages without a question or that are no queries get no reply", func(t *testing.T) {
		conn := must(ns.Dial(t.Context(), "udp", "127.0.0.11:53"))(t)
		defer conn.Close()
		answer := must(new(dns.Msg).SetReply(query("c1.", "A")).Pack())(t)
		none := must(new(dns.Msg).Pack())(t)
		for _, b := range [][]byte{{}, {0}, []byte("garbage"), none, answer} {
			_ = must(conn.Write(b))(t)
		}
		q := query("c1.", "A")
		_ = must(conn.Write(must(q.Pack())(t)))(t)
		ok(t, conn.SetReadDeadline(time.Now().Add(queryTime)))
		buf := make([]byte, 512)
		size := must(conn.Read(buf))(t)
		r := new(dns.Msg)
		ok(t, r.Unpack(buf[:size]))
		if r.Id != q.Id || len(r.Answer) != 1 {
			t.Errorf("first reply is %v", r)
		}
	})
	t.Run("DNS-9 half-open connections and garbage over TCP hold nobody up", func(t *testing.T) {
		for i := range 300 { // more than the server keeps open
			conn := must(ns.Dial(t.Context(), "tcp", "127.0.0.11:53"))(t)
			defer conn.Close()
			_, _ = conn.Write([][]byte{{}, {0}, {0, 40, 1}, {0xff, 0xff, 0xde, 0xad}, {0, 3, 1, 2, 3}}[i%5])
		}
		for _, network := range []string{"udp", "tcp"} {
			diff(t, "addresses over "+network, want, ask(t, ns, network, "c1.", "A"))
		}
	})
}

func TestOwnResolver(t *testing.T) {
	c := newController(t)
	ns := inside(t, newSandbox(t, c, "c1"))
	r := libnetwork.NewResolver(nil)
	t.Cleanup(r.Stop)
	setUp := func() error { r.SetupFunc()(); return nil }
	t.Run("DNS-12 a resolver starts once after each set-up in the namespace, and only then", func(t *testing.T) {
		if r.Start() == nil {
			t.Error("it starts without being set up")
		}
		for range 2 {
			ok(t, ns.Do(setUp))
			ok(t, r.Start())
			if r.Start() == nil {
				t.Error("it starts twice")
			}
			if reply := exchange(t, ns, "udp", query("x.test.", "A")); reply.Rcode != dns.RcodeServerFailure {
				t.Errorf("reply is %v", reply)
			}
			r.Stop()
			if r.Start() == nil {
				t.Error("it starts after Stop without being set up")
			}
		}
	})
	ok(t, ns.Do(setUp))
	ok(t, r.Start())
	t.Run("DNS-12 it is at 127.0.0.11 and wants ndots:0", func(t *testing.T) {
		diff(t, "address", "127.0.0.11", r.NameServer())
		diff(t, "options", []string{"ndots:0"}, r.ResolverOptions())
	})
	for i := range 3 {
		serve(t, fmt.Sprintf("127.0.0.%d:53", i+2), "", dns.RcodeRefused)
	}
	u := serve(t, "127.0.0.5:53", "192.0.2.5", dns.RcodeSuccess)
	t.Run("DNS-12 SetExtServers replaces the list and takes the first three", func(t *testing.T) {
		r.SetExtServers([]string{"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"})
		if reply := exchange(t, ns, "udp", query("x.test.", "A")); reply.Rcode != dns.RcodeServerFailure || len(u.asked()) > 0 {
			t.Errorf("reply is %v, the fourth was asked by %v", reply, u.asked())
		}
		r.SetExtServers([]string{"127.0.0.5"})
		diff(t, "address", []string{"192.0.2.5"}, ask(t, ns, "tcp", "x.test.", "A"))
		r.SetExtServers(nil)
		if reply := exchange(t, ns, "udp", query("x.test.", "A")); reply.Rcode != dns.RcodeServerFailure {
			t.Errorf("reply is %v", reply)
		}
	})
	t.Run("DNS-12 FlushExtServers closes the sockets to the servers", func(t *testing.T) {
		r.SetExtServers([]string{"127.0.0.5"})
		before := len(u.from())
		for i := range 3 {
			if i == 2 {
				r.FlushExtServers()
			}
			ask(t, ns, "udp", fmt.Sprintf("n%d.test.", i), "A")
		}
		if s := u.from()[before:]; len(s) != 3 || s[0] != s[1] || s[1] == s[2] {
			t.Errorf("clients are %v: the third alone is to have another socket", s)
		}
	})
}
