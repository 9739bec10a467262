//go:build linux

package libnetwork_test

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

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
