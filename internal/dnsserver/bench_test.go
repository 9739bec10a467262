package dnsserver

import (
	"net"
	"testing"

	"github.com/miekg/dns"
)

// BenchmarkHandle is the cost of an answer without its socket.
func BenchmarkHandle(b *testing.B) {
	s := newServer(b, Config{})
	a := answerer{s: s}
	out := make([]byte, 0, 512)
	for _, bb := range []struct {
		name  string
		query []byte
	}{
		{"A", pack(b, new(dns.Msg).SetQuestion("web.", dns.TypeA))},
		{"A-edns", pack(b, new(dns.Msg).SetQuestion("web.", dns.TypeA).SetEdns0(1232, false))},
		{"AAAA", pack(b, new(dns.Msg).SetQuestion("web.", dns.TypeAAAA))},
		{"PTR", pack(b, new(dns.Msg).SetQuestion("2.0.0.10.in-addr.arpa.", dns.TypePTR))},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				reply, _ := a.handle(out, bb.query, true)
				if len(reply) == 0 {
					b.Fatal("no reply")
				}
			}
		})
	}
}

// BenchmarkServe compares, over real sockets and with one client that keeps 64
// queries in flight, the server with a loop that only sends back what it reads.
// One operation is one query.
func BenchmarkServe(b *testing.B) {
	query := pack(b, new(dns.Msg).SetQuestion("web.", dns.TypeA))
	b.Run("echo", func(b *testing.B) {
		c := listenUDP(b)
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 2048)
			for {
				n, addr, err := c.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				_, _ = c.WriteToUDPAddrPort(buf[:n], addr)
			}
		}()
		load(b, c.LocalAddr(), query)
		_ = c.Close()
		<-done
	})
	b.Run("server", func(b *testing.B) {
		s := newServer(b, Config{})
		c := listenUDP(b)
		if err := s.Serve([]net.PacketConn{c}, nil); err != nil {
			b.Fatal(err)
		}
		load(b, c.LocalAddr(), query)
	})
}

// load sends b.N queries over one socket.
func load(b *testing.B, to net.Addr, query []byte) {
	b.Helper()
	c, err := net.DialUDP("udp", nil, to.(*net.UDPAddr))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	const inFlight = 64
	tokens := make(chan struct{}, inFlight)
	sent := make(chan error, 1)
	b.ResetTimer()
	go func() {
		for range b.N {
			tokens <- struct{}{}
			if _, err := c.Write(query); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	buf := make([]byte, 2048)
	for range b.N {
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
		<-tokens
	}
	b.StopTimer()
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}
