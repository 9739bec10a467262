//go:build linux

package libnetwork_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/miekg/dns"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
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
		{"DNS-2 an endpoint has its names from its creation on, without a join", "db.front", "10.1.0.10", "", true},
		{"DNS-7 the first endpoint in the sandbox's order that knows a name ends the search", "db", "10.1.0.10", "fd00:2::10", false},
		{"DNS-7 one trailing dot is dropped", "db.", "10.1.0.10", "fd00:2::10", false},
		{"DNS-7 name.network finds the name on a network with a dot in its name", "db.back.end", "10.2.0.10", "fd00:2::10", false},
		{"DNS-7 name.network finds a name with a dot", "only.back.back.end", "10.2.0.12", "fd00:2::12", false},
		{"DNS-7 a name with a dot is tried whole first", "only.back", "10.2.0.12", "fd00:2::12", false},
		{"DNS-7d names compare without regard to case", "ONLY.bAcK", "10.2.0.12", "fd00:2::12", false},
		{"DNS-7 name.network of a network that is not joined is unknown", "far.apart", "", "", false},
		{"DNS-7 a name of a network that is not joined is unknown", "far", "", "", false},
		{"DNS-7 a name that nobody has is unknown", "nobody", "", "", false},
		{"DNS-7 the empty name is unknown", "", "", "", false},
		{"DNS-7 the root is unknown", ".", "", "", false},
		{"DNS-7 an empty name on a network is unknown", ".front", "", "", false},
		{"DNS-7a an alias stands for its target on the same network", "store", "10.1.0.10", "", true},
		{"DNS-7a alias.network is found, too", "store.front", "10.1.0.10", "", true},
		{"DNS-7a an alias goes before a published name", "shared", "10.1.0.10", "", true},
		{"DNS-7a of an alias given twice the last target holds", "twice", "10.1.0.10", "", true},
		{"DNS-4 an anonymous endpoint does not go by its own name", "hidden", "", "", false},
		{"DNS-4 an anonymous endpoint with an alias does not go by its own name either", "nick", "", "", false},
		{"DNS-4 an anonymous endpoint goes by its alias", "first", "10.1.0.21", "", true},
		{"DNS-5 one name may have the addresses of several endpoints", "twin", "10.1.0.21 10.1.0.22", "", true},
		{"DNS-3 an endpoint that is not anonymous goes by its own name, beside its aliases", "named", "10.1.0.22", "", true},
		{"DNS-7b a sandbox resolves its own name", "me.front", "10.1.0.99", "", true},
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
	t.Run("DNS-7b family codes other than 1 and 2 resolve nothing", func(t *testing.T) {
		for _, code := range []int{0, 3, 4, 6, 16, -1} {
			if ips, known := sb.ResolveName("db", code); len(ips) > 0 || known {
				t.Errorf("code %d gives %v, %t", code, ips, known)
			}
		}
	})
	t.Run("DNS-14 a result is the caller's own slice", func(t *testing.T) {
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
	t.Run("DNS-7c ResolveIP gives name.network of the first network that knows an address", func(t *testing.T) {
		for rev, want := range map[string]string{
			"10.0.1.10": "db.front", "10.0.1.10.": "db.front", "21.0.1.10": "first.front", "22.0.1.10": "named.front",
			"20.0.1.10": "", "10.0.2.10": "db.back.end", "10.0.3.10": "", "1.2.3": "", "a.b.c.d": "", "": "", "256.0.1.10": "",
			strings.TrimSuffix(must(dns.ReverseAddr("fd00:2::10"))(t), ".ip6.arpa."): "db.back.end",
			strings.TrimSuffix(must(dns.ReverseAddr("fd00:2::11"))(t), ".ip6.arpa."): "",
		} {
			diff(t, "DNS-7c name of "+rev, want, sb.ResolveIP(rev))
		}
	})
	t.Run("DNS-13 PTR of a known address is answered with name.network", func(t *testing.T) {
		diff(t, "IPv4", []string{"db.front."}, ask(t, ns, "udp", "10.0.1.10.in-addr.arpa.", "PTR"))
		diff(t, "IPv6", []string{"db.back.end."}, ask(t, ns, "tcp", must(dns.ReverseAddr("fd00:2::10"))(t), "PTR"))
	})
	t.Run("DNS-3 an alias of a named endpoint has no reverse record", func(t *testing.T) {
		diff(t, "name", "named.front", sb.ResolveIP("22.0.1.10"))
	})
	t.Run("DNS-4 the first alias of an anonymous endpoint is its reverse name", func(t *testing.T) {
		diff(t, "with aliases", "first.front", sb.ResolveIP("21.0.1.10"))
		diff(t, "without", "", sb.ResolveIP("20.0.1.10"))
	})
	t.Run("DNS-7b a name that is known without an IPv6 address is not to be asked of others", func(t *testing.T) {
		for name, want := range map[string]bool{"named": true, "db": false, "nobody": false} {
			if ips, known := sb.ResolveName(name, 2); known != want || len(ips) > 0 != (name == "db") {
				t.Errorf("%s gives %v, %t", name, ips, known)
			}
			if name != "db" && name != "nobody" {
				diff(t, "AAAA of "+name, []string{}, ask(t, ns, "udp", name+".", "AAAA"))
			}
		}
	})
	t.Run("DNS-1 nothing but the names and aliases of endpoints resolves, no short container ids", func(t *testing.T) {
		const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		other := newSandbox(t, c, id)
		plain, short := newEndpoint(t, front, "plain", address("10.1.0.31")), newEndpoint(t, front, "short", address("10.1.0.32"), libnetwork.CreateOptionMyAlias(id[:12]))
		ok(t, plain.Join(other))
		for _, name := range []string{id, plain.ID(), plain.ID()[:12], other.ID(), other.ID()[:12]} {
			if ips, known := sb.ResolveName(name, 1); len(ips) > 0 || known {
				t.Errorf("%s resolves to %v", name, ips)
			}
		}
		diff(t, "an id that is an alias", []string{"10.1.0.32"}, ask(t, ns, "udp", id[:12]+".", "A"))
		diff(t, "name to IPv6", []string{"fd00:2::10"}, ask(t, ns, "udp", "db.back.end.", "AAAA"))
		diff(t, "address to name", "plain.front", sb.ResolveIP("31.0.1.10"))
		ok(t, short.Delete(false))
	})
	t.Run("DNS-13 other types of a known name are answered without records", func(t *testing.T) {
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
	t.Run("DNS-14 a local reply repeats id, question and RD, sets RA and not AA", func(t *testing.T) {
		for _, rd := range []bool{true, false} {
			q := query("C1.Web.", "A")
			q.RecursionDesired = rd
			r := exchange(t, ns, "udp", q)
			if !r.Response || r.Authoritative || !r.RecursionAvailable || r.RecursionDesired != rd || r.Rcode != dns.RcodeSuccess {
				t.Errorf("head is %+v", r.MsgHdr)
			}
			diff(t, "question", q.Question, r.Question)
		}
	})
	t.Run("DNS-7d the answer repeats the spelling of the question", func(t *testing.T) {
		diff(t, "name", "C1.Web.", exchange(t, ns, "udp", query("C1.Web.", "A")).Answer[0].Header().Name)
	})
	t.Run("DNS-16 the TTL of local names is 5 s unless configured", func(t *testing.T) {
		diff(t, "TTL", uint32(5), exchange(t, ns, "udp", query("c1.", "A")).Answer[0].Header().Ttl)
	})
	var want []string
	for i := range 60 {
		ep := newEndpoint(t, n, "e"+string(rune('a'+i%26))+string(rune('a'+i/26)), libnetwork.CreateOptionMyAlias("many"))
		want = append(want, ep.Info().Iface().Address().IP.String())
	}
	slices.Sort(want)
	t.Run("DNS-15 a long reply over TCP is whole", func(t *testing.T) {
		diff(t, "addresses", want, ask(t, ns, "tcp", "many.", "A"))
	})
	t.Run("DNS-15 a long reply over UDP is cut at 512 bytes and has TC", func(t *testing.T) {
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
	t.Run("DNS-14 several addresses come in random order", func(t *testing.T) {
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
	t.Run("DNS-5 the deletion of an endpoint never removes another's record", func(t *testing.T) {
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
	t.Run("DNS-8 the server starts with the first joined endpoint that wants resolution", func(t *testing.T) {
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
	t.Run("DNS-8 no server runs in the host's namespace", func(t *testing.T) {
		sb := newSandbox(t, c, "c2", libnetwork.OptionUseDefaultSandbox())
		ok(t, newEndpoint(t, n, "h").Join(sb))
		if ns := inside(t, sb); answers(t, ns) {
			t.Error("a server runs on the host")
		}
	})
	t.Run("DNS-10 the container may itself listen on 0.0.0.0:53", func(t *testing.T) {
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
	t.Run("DNS-9 where the container has the server's port the next one is used", func(t *testing.T) {
		sb := newSandbox(t, c, "c4")
		ns := inside(t, sb)
		udp := must(ns.ListenUDP(netip.MustParseAddrPort("127.0.0.11:30053")))(t)
		defer udp.Close()
		ok(t, newEndpoint(t, n, "c4").Join(sb))
		if got := ask(t, ns, "udp", "c4.", "A"); len(got) != 1 {
			t.Errorf("addresses are %v", got)
		}
	})
	t.Run("DNS-11 the server answers after leaving and joining again", func(t *testing.T) {
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
	t.Run("DNS-11 joining again leaves one rule a protocol and direction", func(t *testing.T) {
		sb := attach(t, c, "c6", n)
		ns := inside(t, sb)
		want := rules(t, ns)
		if len(want) == 0 {
			t.Fatal("there are no rules")
		}
		for i, r := range want {
			if slices.Contains(want[:i], r) {
				t.Errorf("rule %s is there twice", r)
			}
		}
		ep := sb.Endpoints()[0]
		for range 3 {
			ok(t, ep.Leave(sb))
			ok(t, ep.Join(sb))
		}
		diff(t, "rules", want, rules(t, ns))
	})
	t.Run("DNS-11 the rules go with the sandbox where the namespace stays", func(t *testing.T) {
		given := nstest.New(t)
		sb := newSandbox(t, c, "c7", libnetwork.OptionUseExternalKey())
		ok(t, newEndpoint(t, n, "c7").Join(sb))
		ok(t, sb.SetKey(given.Path()))
		ns := must(netns.Open(nil, given.Path()))(t)
		defer ns.Close()
		diff(t, "addresses", 1, len(ask(t, ns, "udp", "c7.", "A")))
		ok(t, sb.Delete())
		diff(t, "rules", []string(nil), rules(t, ns))
		if answers(t, ns) {
			t.Error("the server is still there")
		}
	})
}

// rules are the firewall rules of a namespace, as text.
func rules(t *testing.T, ns *netns.Namespace) []string {
	t.Helper()
	c := must(nftables.New(nftables.WithNetNSFd(ns.FD())))(t)
	var out []string
	for _, chain := range must(c.ListChains())(t) {
		for _, r := range must(c.GetRules(chain.Table, chain))(t) {
			text := chain.Table.Name + " " + chain.Name
			for _, e := range r.Exprs {
				text += fmt.Sprintf(" %T%+v", e, e)
			}
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return out
}
