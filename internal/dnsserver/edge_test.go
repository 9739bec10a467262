package dnsserver

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestLimitIsReached(t *testing.T) {
	t.Run("DNS-21 as many queries as the limit says may wait, and the next one is SERVFAIL at once", func(t *testing.T) {
		const limit = 3
		asked := make(chan string, limit+1)
		up := startUpstream(t, func(q *dns.Msg) *dns.Msg { asked <- q.Question[0].Name; return nil })
		_, udp, _ := start(t, Config{Upstreams: upstreams(up), Timeout: time.Hour, MaxOutstanding: limit})
		c, err := net.Dial("udp", udp)
		if err != nil {
			t.Fatal(err)
		}
		replies := make(chan *dns.Msg, limit+1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn := &dns.Conn{Conn: c}
			for {
				r, err := conn.ReadMsg()
				if err != nil {
					return
				}
				replies <- r
			}
		}()
		defer func() {
			_ = c.Close()
			<-done
		}()
		for _, name := range []string{"a.test.", "b.test.", "c.test."} {
			if _, err := c.Write(pack(t, question(name, dns.TypeA))); err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-asked:
				if got != name {
					t.Errorf("the server was asked for %s, want %s", got, name)
				}
			case r := <-replies:
				t.Fatalf("%s was refused: %v", name, r)
			}
		}
		if _, err := c.Write(pack(t, question("d.test.", dns.TypeA))); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-asked:
			t.Errorf("the server was asked for %s beyond the limit", got)
		case r := <-replies:
			if r.Rcode != dns.RcodeServerFailure || r.Question[0].Name != "d.test." {
				t.Errorf("reply %v", r)
			}
		}
	})
}

// mixed is a backend that does not look at the family that it is asked for.
type mixed struct{}

func (mixed) ResolveName(string, bool) ([]netip.Addr, bool) {
	return addrs("10.0.0.1", "fd00::1", "10.0.0.2"), true
}

func (mixed) ResolveIP(netip.Addr) string { return "" }

func TestFamilies(t *testing.T) {
	_, udp, _ := start(t, Config{Backend: mixed{}})
	t.Run("DNS-13 an answer holds addresses of the family that was asked for alone", func(t *testing.T) {
		for qtype, want := range map[uint16]int{dns.TypeA: 2, dns.TypeAAAA: 1} {
			r := ask(t, "udp", udp, question("any.", qtype))
			if len(r.Answer) != want {
				t.Errorf("answers of type %s: %v", dns.TypeToString[qtype], r.Answer)
			}
			for _, rr := range r.Answer {
				if rr.Header().Rrtype != qtype {
					t.Errorf("answer %v to a question of type %s", rr, dns.TypeToString[qtype])
				}
			}
		}
	})
}
