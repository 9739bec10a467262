//go:build linux

package libnetwork_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
)

// queryTime is long enough for a server that asks three others in vain.
const queryTime = 15 * time.Second

// exchange asks the server at 127.0.0.11 from inside a namespace.
func exchange(t testing.TB, ns *netns.Namespace, network string, q *dns.Msg) *dns.Msg {
	t.Helper()
	conn := must(ns.Dial(t.Context(), network, "127.0.0.11:53"))(t)
	defer conn.Close()
	ok(t, conn.SetDeadline(time.Now().Add(queryTime)))
	co := &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize}
	ok(t, co.WriteMsg(q))
	r, err := co.ReadMsg()
	if err != nil {
		t.Fatalf("query for %v: %v", q.Question, err)
	}
	if r.Id != q.Id {
		t.Errorf("DNS-14: id of the reply is %d, of the query %d", r.Id, q.Id)
	}
	return r
}

func query(name, kind string) *dns.Msg {
	return new(dns.Msg).SetQuestion(name, dns.StringToType[kind])
}

// ask returns what the records of an answer hold, sorted, and fails unless the
// reply is NOERROR.
func ask(t testing.TB, ns *netns.Namespace, network, name, kind string) []string {
	t.Helper()
	r := exchange(t, ns, network, query(name, kind))
	if r.Rcode != dns.RcodeSuccess {
		t.Fatalf("reply to %s %s is %s", name, kind, dns.RcodeToString[r.Rcode])
	}
	return values(r)
}

func values(r *dns.Msg) []string {
	out := []string{}
	for _, rr := range r.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			out = append(out, rr.A.String())
		case *dns.AAAA:
			out = append(out, rr.AAAA.String())
		case *dns.PTR:
			out = append(out, rr.Ptr)
		default:
			out = append(out, rr.String())
		}
	}
	slices.Sort(out)
	return out
}

func text(ips []net.IP) string {
	var out []string
	for _, ip := range ips {
		out = append(out, ip.String())
	}
	return strings.Join(out, " ")
}

func TestResolveName(t *testing.T) {
	c := newController(t)
	front := newNetwork(t, c, "front", subnet("10.1.0.0/24"))
	back := newNetwork(t, c, "back.end", dual("10.2.0.0/24", "fd00:2::/64")...)
	apart := newNetwork(t, c, "apart", subnet("10.3.0.0/24"))
	newEndpoint(t, front, "db", address("10.1.0.10"))
	newEndpoint(t, front, "shared", address("10.1.0.11"))
	newEndpoint(t, back, "db", libnetwork.CreateOptionIpam(net.ParseIP("10.2.0.10"), net.ParseIP("fd00:2::10"), nil))
	newEndpoint(t, back, "Only.Back", libnetwork.CreateOptionIpam(net.ParseIP("10.2.0.12"), net.ParseIP("fd00:2::12"), nil))
	newEndpoint(t, front, "hidden", address("10.1.0.20"), libnetwork.CreateOptionAnonymous())
	newEndpoint(t, front, "nick", address("10.1.0.21"), libnetwork.CreateOptionAnonymous(),
		libnetwork.CreateOptionMyAlias("first"), libnetwork.CreateOptionMyAlias("twin"))
	newEndpoint(t, front, "named", address("10.1.0.22"), libnetwork.CreateOptionMyAlias("twin"))
	newEndpoint(t, apart, "far", address("10.3.0.10"))

	sb := newSandbox(t, c, "c1")
	ok(t, newEndpoint(t, front, "me", address("10.1.0.99")).Join(sb,
		libnetwork.JoinOptionPriority(nil, 1), libnetwork.CreateOptionAlias("db", "store"), libnetwork.CreateOptionAlias("db", "shared"),
		libnetwork.CreateOptionAlias("nobody", "twice"), libnetwork.CreateOptionAlias("db", "twice")))
	ok(t, newEndpoint(t, back, "me", libnetwork.CreateOptionIpam(net.ParseIP("10.2.0.99"), net.ParseIP("fd00:2::99"), nil)).Join(sb))
	ns := inside(t, sb)

	for _, tt := range []struct {
		name, ask string
		v4, v6    string
		known     bool // without an IPv6 address
	}{
		{"DNS-2 published without a join", "db.front", "10.1.0.10", "", true},
		{"DNS-7 the first network's endpoint ends the search", "db", "10.1.0.10", "fd00:2::10", false},
		{"DNS-7 one trailing dot", "db.", "10.1.0.10", "fd00:2::10", false},
		{"DNS-7 name.network where the network has a dot", "db.back.end", "10.2.0.10", "fd00:2::10", false},
		{"DNS-7 name.network where the name has a dot", "only.back.back.end", "10.2.0.12", "fd00:2::12", false},
		{"DNS-7 a name with a dot", "only.back", "10.2.0.12", "fd00:2::12", false},
		{"DNS-7d case", "ONLY.bAcK", "10.2.0.12", "fd00:2::12", false},
		{"DNS-7 a network that is not joined", "far.apart", "", "", false},
		{"DNS-7 a name of a network that is not joined", "far", "", "", false},
		{"DNS-7 unknown", "nobody", "", "", false},
		{"DNS-7 empty", "", "", "", false},
		{"DNS-7 a dot alone", ".", "", "", false},
		{"DNS-7 empty name on a network", ".front", "", "", false},
		{"DNS-7a an alias", "store", "10.1.0.10", "", true},
		{"DNS-7a an alias on its network", "store.front", "10.1.0.10", "", true},
		{"DNS-7a an alias goes before a published name", "shared", "10.1.0.10", "", true},
		{"OPT the last alias wins", "twice", "10.1.0.10", "", true},
		{"DNS-4 anonymous", "hidden", "", "", false},
		{"DNS-4 anonymous with an alias of its own", "nick", "", "", false},
		{"DNS-4 the alias", "first", "10.1.0.21", "", true},
		{"DNS-5 two endpoints of one name", "twin", "10.1.0.21 10.1.0.22", "", true},
		{"DNS-3 its own name", "named", "10.1.0.22", "", true},
		{"DNS-7b itself", "me.front", "10.1.0.99", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v4, _ := sb.ResolveName(tt.ask, 1)
			diff(t, "IPv4", tt.v4, text(v4))
			v6, known := sb.ResolveName(tt.ask, 2)
			diff(t, "IPv6", tt.v6, text(v6))
			if known != tt.known {
				t.Errorf("DNS-7b: known without IPv6 is %t, want %t", known, tt.known)
			}
			if strings.Trim(tt.ask, ".") == "" || tt.v4 == "" || strings.HasPrefix(tt.ask, ".") {
				return
			}
			name := strings.TrimSuffix(tt.ask, ".") + "."
			for _, network := range []string{"udp", "tcp"} {
				diff(t, "DNS-13 A over "+network, tt.v4, strings.Join(ask(t, ns, network, name, "A"), " "))
				diff(t, "DNS-13 AAAA over "+network, tt.v6, strings.Join(ask(t, ns, network, name, "AAAA"), " "))
			}
		})
	}
	t.Run("3.7 other family codes", func(t *testing.T) {
		for _, code := range []int{0, 3, 4, 6, 16, -1} {
			if ips, known := sb.ResolveName("db", code); len(ips) > 0 || known {
				t.Errorf("code %d gives %v, %t", code, ips, known)
			}
		}
	})
	t.Run("W-28 DNS-14 a result is the caller's", func(t *testing.T) {
		ips, _ := sb.ResolveName("twin", 1)
		ips[0][0], ips[1] = 99, nil
		again, _ := sb.ResolveName("twin", 1)
		diff(t, "addresses", "10.1.0.21 10.1.0.22", text(again))
	})
	t.Run("SB-12 ResolveName and ResolveIP answer as the sandbox's name server does", func(t *testing.T) {
		ips, known := sb.ResolveName("db", 1)
		if len(ips) != 1 || known {
			t.Fatalf("db resolves to %v, %t", ips, known)
		}
		diff(t, "answer of the server", []string{ips[0].String()}, ask(t, ns, "udp", "db.", "A"))
		o := strings.Split(ips[0].String(), ".")
		slices.Reverse(o)
		rev := strings.Join(o, ".")
		diff(t, "name", []string{sb.ResolveIP(rev) + "."}, ask(t, ns, "udp", rev+".in-addr.arpa.", "PTR"))
	})
	t.Run("DNS-7b ResolveIP", func(t *testing.T) {
		for rev, want := range map[string]string{
			"10.0.1.10": "db.front", "10.0.1.10.": "db.front", "21.0.1.10": "first.front", "22.0.1.10": "named.front",
			"20.0.1.10": "", "10.0.2.10": "db.back.end", "10.0.3.10": "", "1.2.3": "", "a.b.c.d": "", "": "", "256.0.1.10": "",
			strings.TrimSuffix(must(dns.ReverseAddr("fd00:2::10"))(t), ".ip6.arpa."): "db.back.end",
			strings.TrimSuffix(must(dns.ReverseAddr("fd00:2::11"))(t), ".ip6.arpa."): "",
		} {
			diff(t, "DNS-7c name of "+rev, want, sb.ResolveIP(rev))
		}
		diff(t, "DNS-13 PTR", []string{"db.front."}, ask(t, ns, "udp", "10.0.1.10.in-addr.arpa.", "PTR"))
		diff(t, "DNS-13 PTR of IPv6", []string{"db.back.end."}, ask(t, ns, "tcp", must(dns.ReverseAddr("fd00:2::10"))(t), "PTR"))
	})
	t.Run("DNS-13 another type of a known name", func(t *testing.T) {
		for _, kind := range []string{"MX", "TXT", "SRV", "HTTPS"} {
			diff(t, kind, []string{}, ask(t, ns, "udp", "db.", kind))
		}
	})
}

func TestReply(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	sb := attach(t, c, "c1", n)
	ns := inside(t, sb)
	t.Run("DNS-14 the head and the question of a reply", func(t *testing.T) {
		for _, rd := range []bool{true, false} {
			q := query("C1.Web.", "A")
			q.RecursionDesired = rd
			r := exchange(t, ns, "udp", q)
			if !r.Response || r.Authoritative || !r.RecursionAvailable || r.RecursionDesired != rd || r.Rcode != dns.RcodeSuccess {
				t.Errorf("head is %+v", r.MsgHdr)
			}
			diff(t, "question", q.Question, r.Question)
			diff(t, "DNS-7d name of the answer", "C1.Web.", r.Answer[0].Header().Name)
			if ttl := r.Answer[0].Header().Ttl; ttl != 5 {
				t.Errorf("DNS-16: TTL is %d, want 5", ttl)
			}
		}
	})
	var want []string
	for i := range 60 {
		ep := newEndpoint(t, n, "e"+string(rune('a'+i%26))+string(rune('a'+i/26)), libnetwork.CreateOptionMyAlias("many"))
		want = append(want, ep.Info().Iface().Address().IP.String())
	}
	slices.Sort(want)
	t.Run("DNS-15 a reply over TCP is whole", func(t *testing.T) {
		diff(t, "addresses", want, ask(t, ns, "tcp", "many.", "A"))
	})
	t.Run("DNS-15 a reply over UDP is cut at 512 bytes", func(t *testing.T) {
		r := exchange(t, ns, "udp", query("many.", "A"))
		r.Compress = true
		if !r.Truncated || len(r.Answer) == 0 || r.Len() > dns.MinMsgSize {
			t.Errorf("TC is %t, %d records, %d bytes", r.Truncated, len(r.Answer), r.Len())
		}
	})
	t.Run("DNS-15 a reply over UDP may be as long as EDNS0 says", func(t *testing.T) {
		r := exchange(t, ns, "udp", query("many.", "A").SetEdns0(4096, false))
		if r.Truncated {
			t.Error("TC is set")
		}
		diff(t, "addresses", want, values(r))
	})
	t.Run("DNS-14 the order of addresses varies", func(t *testing.T) {
		first := exchange(t, ns, "tcp", query("many.", "A")).Answer[0].String()
		for range 100 {
			if exchange(t, ns, "tcp", query("many.", "A")).Answer[0].String() != first {
				return
			}
		}
		t.Error("100 replies began with the same address")
	})
}

func TestNamesFollow(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	v6 := newNetwork(t, c, "six", libnetwork.NetworkOptionEnableIPv6(true), libnetwork.NetworkOptionIpam("", "",
		[]*libnetwork.IpamConf{{PreferredPool: "10.6.0.0/24"}}, []*libnetwork.IpamConf{{PreferredPool: "fd00:6::/64"}}, nil))
	sb := attach(t, c, "me", n, v6)
	ns := inside(t, sb)
	t.Run("CON-3 names come with CreateEndpoint and go with Delete", func(t *testing.T) {
		for range 20 {
			ep := newEndpoint(t, n, "e", address("10.1.0.50"))
			diff(t, "addresses", []string{"10.1.0.50"}, ask(t, ns, "udp", "e.", "A"))
			ok(t, ep.Delete(false))
			if ips, known := sb.ResolveName("e", 1); len(ips) > 0 || known || sb.ResolveIP("50.0.1.10") != "" {
				t.Fatalf("a name that is gone resolves to %v, %t", ips, known)
			}
		}
	})
	t.Run("EP-17 Leave keeps the name", func(t *testing.T) {
		other := attach(t, c, "other", n)
		ok(t, other.Endpoints()[0].Leave(other))
		if got := ask(t, ns, "udp", "other.", "A"); len(got) != 1 {
			t.Errorf("addresses are %v", got)
		}
	})
	t.Run("DNS-5 deleting one of two endpoints keeps the other's record", func(t *testing.T) {
		e1 := newEndpoint(t, n, "e1", address("10.1.0.61"), libnetwork.CreateOptionMyAlias("both"))
		newEndpoint(t, n, "e2", address("10.1.0.62"), libnetwork.CreateOptionMyAlias("both"), libnetwork.CreateOptionMyAlias("e1"))
		ok(t, e1.Delete(false))
		diff(t, "alias", []string{"10.1.0.62"}, ask(t, ns, "udp", "both.", "A"))
		diff(t, "name that the other had too", []string{"10.1.0.62"}, ask(t, ns, "udp", "e1.", "A"))
		diff(t, "reverse", []string{"e2.web."}, ask(t, ns, "udp", "62.0.1.10.in-addr.arpa.", "PTR"))
	})
	t.Run("CON-3 a renamed endpoint has its new name alone when Rename returns", func(t *testing.T) {
		other := attach(t, c, "renamed", n)
		ip := other.Endpoints()[0].Info().Iface().Address().IP.String()
		ok(t, other.Rename("fresh"))
		diff(t, "new name", []string{ip}, ask(t, ns, "udp", "fresh.", "A"))
		if ips, _ := sb.ResolveName("renamed", 1); len(ips) > 0 {
			t.Errorf("the old name resolves to %v", ips)
		}
	})
}

func TestServerWhere(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	answers := func(t *testing.T, ns *netns.Namespace) bool {
		t.Helper()
		conn, err := ns.Dial(t.Context(), "tcp", "127.0.0.11:53")
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	}
	t.Run("DNS-8 with the first endpoint that wants it", func(t *testing.T) {
		sb := newSandbox(t, c, "c1")
		ns := inside(t, sb)
		ok(t, newEndpoint(t, n, "e1", libnetwork.CreateOptionDisableResolution()).Join(sb))
		if answers(t, ns) {
			t.Error("a server runs for an endpoint that wants none")
		}
		ok(t, newEndpoint(t, n, "e2").Join(sb))
		if !answers(t, ns) {
			t.Error("no server runs")
		}
	})
	t.Run("DNS-8 W-18 never in the host's namespace", func(t *testing.T) {
		sb := newSandbox(t, c, "c2", libnetwork.OptionUseDefaultSandbox())
		ok(t, newEndpoint(t, n, "h").Join(sb))
		if ns := inside(t, sb); answers(t, ns) {
			t.Error("a server runs on the host")
		}
	})
	t.Run("DNS-10 port 53 of the container is free", func(t *testing.T) {
		sb := newSandbox(t, c, "c3")
		ns := inside(t, sb)
		any53 := netip.MustParseAddrPort("0.0.0.0:53")
		udp := must(ns.ListenUDP(any53))(t)
		defer udp.Close()
		tcp := must(ns.ListenTCP(any53))(t)
		defer tcp.Close()
		ok(t, newEndpoint(t, n, "c3").Join(sb))
		for _, network := range []string{"udp", "tcp"} {
			if got := ask(t, ns, network, "c3.", "A"); len(got) != 1 {
				t.Errorf("addresses over %s are %v", network, got)
			}
		}
	})
	t.Run("DNS-9 the server's own port is taken", func(t *testing.T) {
		sb := newSandbox(t, c, "c4")
		ns := inside(t, sb)
		udp := must(ns.ListenUDP(netip.MustParseAddrPort("127.0.0.11:30053")))(t)
		defer udp.Close()
		ok(t, newEndpoint(t, n, "c4").Join(sb))
		if got := ask(t, ns, "udp", "c4.", "A"); len(got) != 1 {
			t.Errorf("addresses are %v", got)
		}
	})
	t.Run("DNS-11 after leaving and joining again", func(t *testing.T) {
		sb := attach(t, c, "c5", n)
		ns := inside(t, sb)
		ep := sb.Endpoints()[0]
		for range 3 {
			ok(t, ep.Leave(sb))
			ok(t, ep.Join(sb))
			if got := ask(t, ns, "udp", "c5.", "A"); len(got) != 1 {
				t.Errorf("addresses are %v", got)
			}
		}
	})
}
