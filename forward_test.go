//go:build linux

package libnetwork_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
)

// upstream is a name server in the tests' own namespace, which is the host for
// the sandboxes.
type upstream struct {
	mu      sync.Mutex // guards the following
	clients []string   // addresses that asked
	sockets []string   // the same with ports
}

// serve starts a server that answers every A query with ip, or with rcode.
func serve(t testing.TB, addr, ip string, rcode int) *upstream {
	t.Helper()
	u := &upstream{}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		host, _, _ := net.SplitHostPort(w.RemoteAddr().String())
		u.mu.Lock()
		u.clients = append(u.clients, host)
		u.sockets = append(u.sockets, w.RemoteAddr().String())
		u.mu.Unlock()
		r := new(dns.Msg).SetRcode(q, rcode)
		if rcode == dns.RcodeSuccess {
			r.Answer = append(r.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 77}, A: net.ParseIP(ip),
			})
			r.Ns = append(r.Ns, &dns.NS{Hdr: dns.RR_Header{Name: "test.", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 1}, Ns: "ns.test."})
		}
		_ = w.WriteMsg(r)
	})
	at := netip.MustParseAddrPort(addr)
	udp := must(net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)))(t)
	tcp := must(net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)))(t)
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.ActivateAndServe() })
		<-started
		t.Cleanup(func() {
			_ = s.Shutdown()
			wg.Wait()
		})
	}
	return u
}

func (u *upstream) asked() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.clients
}

func (u *upstream) from() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sockets
}

func TestForward(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", dual("10.1.0.0/24", "fd00:1::/64")...)
	count := 0
	// joined makes a container with these servers.
	joined := func(t *testing.T, opts ...libnetwork.SandboxOption) (libnetwork.Sandbox, *netns.Namespace) {
		t.Helper()
		count++
		name := fmt.Sprint("c", count)
		sb := newSandbox(t, c, name, opts...)
		ok(t, newEndpoint(t, n, name).Join(sb))
		return sb, inside(t, sb)
	}
	t.Run("DNS-17 servers are asked from the container's namespace, over the client's transport", func(t *testing.T) {
		u := serve(t, "10.1.0.1:53", "192.0.2.1", dns.RcodeSuccess)
		sb, ns := joined(t, libnetwork.OptionDNS("10.1.0.1"))
		for i, network := range []string{"udp", "tcp"} {
			diff(t, "address over "+network, []string{"192.0.2.1"}, ask(t, ns, network, "outside.test.", "A"))
			ip := sb.Endpoints()[0].Info().Iface().Address().IP.String()
			if got := u.asked(); len(got) != i+1 || got[i] != ip {
				t.Errorf("clients are %v, want %s", got, ip)
			}
		}
		t.Run("DNS-22 a forwarded reply has all sections and TTLs of the server", func(t *testing.T) {
			r := exchange(t, ns, "udp", query("Outside.test.", "A"))
			if len(r.Ns) != 1 || r.Answer[0].Header().Ttl != 77 {
				t.Errorf("reply is %v", r)
			}
		})
		t.Run("DNS-13 no query for a known name leaves the container, whatever its type", func(t *testing.T) {
			before := len(u.asked())
			for _, kind := range []string{"A", "AAAA", "MX"} {
				ask(t, ns, "udp", sb.ContainerID()+".", kind)
			}
			if got := len(u.asked()); got != before {
				t.Errorf("%d queries left the container", got-before)
			}
		})
		t.Run("DNS-13 PTR and other types of unknown names are forwarded", func(t *testing.T) {
			before := len(u.asked())
			for _, q := range []*dns.Msg{query("1.2.0.192.in-addr.arpa.", "PTR"), query("x.test.", "PTR"), query("x.test.", "MX"), query("x.test.", "AAAA")} {
				exchange(t, ns, "udp", q)
			}
			if got := len(u.asked()); got != before+4 {
				t.Errorf("%d of 4 queries were forwarded", got-before)
			}
		})
	})
	t.Run("DNS-24 servers with an IPv6 address are asked over IPv6", func(t *testing.T) {
		serve(t, "[fd00:1::1]:53", "192.0.2.6", dns.RcodeSuccess)
		_, ns := joined(t, libnetwork.OptionDNS("fd00:1::1"))
		diff(t, "address", []string{"192.0.2.6"}, ask(t, ns, "udp", "outside.test.", "A"))
	})
	t.Run("DNS-18 when a server fails the next one is asked", func(t *testing.T) {
		servfail := serve(t, "10.1.0.1:53", "", dns.RcodeServerFailure)
		bind(t, "/etc/resolv.conf", "nameserver 127.0.0.2\nnameserver 10.1.0.1\nnameserver 127.0.0.3\n")
		serve(t, "127.0.0.3:53", "192.0.2.3", dns.RcodeSuccess) // at 127.0.0.2 there is none
		_, ns := joined(t)
		diff(t, "address", []string{"192.0.2.3"}, ask(t, ns, "udp", "outside.test.", "A"))
		diff(t, "address over TCP", []string{"192.0.2.3"}, ask(t, ns, "tcp", "outside.test.", "A"))
		if len(servfail.asked()) == 0 {
			t.Error("the second server was not asked")
		}
	})
	t.Run("DNS-19 NXDOMAIN ends the search", func(t *testing.T) {
		serve(t, "127.0.0.2:53", "", dns.RcodeNameError)
		second := serve(t, "127.0.0.3:53", "192.0.2.3", dns.RcodeSuccess)
		bind(t, "/etc/resolv.conf", "nameserver 127.0.0.2\nnameserver 127.0.0.3\n")
		_, ns := joined(t)
		if r := exchange(t, ns, "udp", query("outside.test.", "A")); r.Rcode != dns.RcodeNameError || len(second.asked()) != 0 {
			t.Errorf("reply is %s, the second server was asked by %v", dns.RcodeToString[r.Rcode], second.asked())
		}
	})
	t.Run("DNS-24 a server on the host's loopback is asked from the host's namespace", func(t *testing.T) {
		u := serve(t, "127.0.0.53:53", "192.0.2.53", dns.RcodeSuccess)
		bind(t, "/etc/resolv.conf", "nameserver 127.0.0.53\n")
		_, ns := joined(t)
		diff(t, "address", []string{"192.0.2.53"}, ask(t, ns, "udp", "outside.test.", "A"))
		if got := u.asked(); len(got) != 1 || !strings.HasPrefix(got[0], "127.") {
			t.Errorf("clients are %v", got)
		}
	})
	t.Run("DNS-18 without any server the reply is SERVFAIL", func(t *testing.T) {
		bind(t, "/etc/resolv.conf", "# none\n")
		_, ns := joined(t)
		if r := exchange(t, ns, "udp", query("outside.test.", "A")); r.Rcode != dns.RcodeServerFailure {
			t.Errorf("reply is %s", dns.RcodeToString[r.Rcode])
		}
	})
	t.Run("DNS-17 servers that the user has written into the container's file are asked", func(t *testing.T) {
		serve(t, "127.0.0.53:53", "192.0.2.53", dns.RcodeSuccess)
		serve(t, "10.1.0.1:53", "192.0.2.1", dns.RcodeSuccess)
		bind(t, "/etc/resolv.conf", "nameserver 127.0.0.53\n")
		path := filepath.Join(t.TempDir(), "resolv.conf")
		sb := newSandbox(t, c, "edited", libnetwork.OptionResolvConfPath(path))
		ok(t, os.WriteFile(path, []byte("nameserver 10.1.0.1\n"), 0o644))
		ok(t, newEndpoint(t, n, "edited").Join(sb))
		ns := inside(t, sb)
		diff(t, "address", []string{"192.0.2.1"}, ask(t, ns, "udp", "outside.test.", "A"))
		ok(t, sb.Refresh(libnetwork.OptionResolvConfPath(path)))
		diff(t, "address after Refresh, which makes the files anew", []string{"192.0.2.53"}, ask(t, ns, "udp", "outside.test.", "A"))
	})
	t.Run("DNS-23 a new default gateway closes the sockets to other servers", func(t *testing.T) {
		other := newNetwork(t, c, "other", subnet("10.2.0.0/24"))
		u := serve(t, "10.1.0.1:53", "192.0.2.1", dns.RcodeSuccess)
		sb := newSandbox(t, c, "moving", libnetwork.OptionDNS("10.1.0.1"))
		first, second := newEndpoint(t, other, "moving"), newEndpoint(t, n, "moving")
		ok(t, first.Join(sb))
		ns := inside(t, sb)
		ask(t, ns, "udp", "outside.test.", "A")
		ok(t, second.Join(sb, libnetwork.JoinOptionPriority(nil, 1)))
		ask(t, ns, "udp", "outside.test.", "A")
		ok(t, second.Leave(sb))
		ask(t, ns, "udp", "outside.test.", "A")
		want := []string{first.Info().Iface().Address().IP.String(), second.Info().Iface().Address().IP.String()}
		diff(t, "clients", []string{want[0], want[1], want[0]}, u.asked())
	})
}
