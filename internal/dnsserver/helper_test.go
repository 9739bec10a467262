package dnsserver

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// names is a backend made of two maps. Its slices are shared on purpose: the
// server must not change them.
type names struct {
	forward map[string][]netip.Addr
	reverse map[netip.Addr]string
}

func (n names) ResolveName(name string, v6 bool) (addrs []netip.Addr, known bool) {
	all, known := n.forward[name]
	for i, a := range all {
		if a.Is6() == v6 {
			if !v6 && addrs == nil && all[len(all)-1].Is4() {
				return all[i:], known
			}
			addrs = append(addrs, a)
		}
	}
	return addrs, known
}

func (n names) ResolveIP(addr netip.Addr) string { return n.reverse[addr] }

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func manyAddrs(n int, first string) []netip.Addr {
	out := addrs(first)
	for range n - 1 {
		out = append(out, out[len(out)-1].Next())
	}
	return out
}

var testNames = names{
	forward: map[string][]netip.Addr{
		"web":        addrs("10.0.0.2"),
		"web.front":  addrs("10.0.0.2"),
		"dual":       addrs("fd00::3", "10.0.0.3"),
		"six":        addrs("fd00::4"),
		"three":      addrs("10.0.0.5", "10.0.0.6", "10.0.0.7"),
		"crowd":      manyAddrs(100, "10.1.0.0"),
		"crowd6":     manyAddrs(5000, "fd00:1::"),
		"under_s-1c": addrs("10.0.0.8"),
		`a\.b`:       addrs("10.0.0.9"),
	},
	reverse: map[netip.Addr]string{
		netip.MustParseAddr("10.0.0.2"): "web.front",
		netip.MustParseAddr("fd00::4"):  "six.back",
		netip.MustParseAddr("10.0.0.9"): strings.Repeat("x", 64) + ".bad",
	},
}

func newServer(tb testing.TB, cfg Config) *Server {
	tb.Helper()
	if cfg.Backend == nil {
		cfg.Backend = testNames
	}
	s := New(cfg)
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return s
}

func listenUDP(tb testing.TB) *net.UDPConn {
	tb.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func listenTCP(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// start returns a server that serves, and the addresses of its sockets.
func start(tb testing.TB, cfg Config) (s *Server, udp, tcp string) {
	tb.Helper()
	s = newServer(tb, cfg)
	u, l := listenUDP(tb), listenTCP(tb)
	if err := s.Serve([]net.PacketConn{u}, []net.Listener{l}); err != nil {
		tb.Fatal(err)
	}
	return s, u.LocalAddr().String(), l.Addr().String()
}

func pack(tb testing.TB, m *dns.Msg) []byte {
	tb.Helper()
	b, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func unpack(tb testing.TB, b []byte) *dns.Msg {
	tb.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		tb.Fatalf("unpack reply: %v", err)
	}
	return m
}

func question(name string, qtype uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(name, qtype)
}

// ask sends m and returns the reply.
func ask(tb testing.TB, network, addr string, m *dns.Msg) *dns.Msg {
	tb.Helper()
	c := dns.Client{Net: network, Timeout: 20 * time.Second, UDPSize: 65535}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		tb.Fatalf("%s query for %v: %v", network, m.Question, err)
	}
	return r
}
