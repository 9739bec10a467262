package engine

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/libnetwork/libnetwork/internal/dnsserver"
)

// one knows one name.
type one struct{}

func (one) ResolveName(name string, v6 bool) ([]netip.Addr, bool) {
	return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, name == "web" && !v6
}

func (one) ResolveIP(netip.Addr) string { return "" }

func TestDNSStats(t *testing.T) {
	e := new(Engine)
	var servers []*dnsserver.Server
	for range 2 {
		c, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := dnsserver.New(dnsserver.Config{Backend: one{}})
		e.dns.add(s)
		if err := s.Serve([]net.PacketConn{c}, nil); err != nil {
			t.Fatal(err)
		}
		servers = append(servers, s)
		for _, name := range []string{"web.", "elsewhere."} { // nobody is there to be asked for the second
			if _, err := dns.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), c.LocalAddr().String()); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := dnsserver.Stats{Local: 2, Forwarded: 2, Failed: 2}
	check := func(when string) {
		t.Helper()
		got := e.DNS()
		got.Outstanding, got.Conns = 0, 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	check("of two servers")
	for _, s := range servers {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		e.dns.remove(s)
		e.dns.remove(s) // once is enough
		check("what a server has counted stays when it ends")
	}
	if len(e.dns.servers) != 0 {
		t.Errorf("%d servers are kept", len(e.dns.servers))
	}
}
