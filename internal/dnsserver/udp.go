package dnsserver

import (
	"net"
	"net/netip"
)

// maxQuery is the size of the greatest UDP query that is read whole. Queries
// carry a name and little else.
const maxQuery = 2048

// packetConn is what the server needs of a UDP socket.
type packetConn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error)
}

func newPacketConn(c net.PacketConn) packetConn {
	if pc, ok := c.(packetConn); ok {
		return pc
	}
	return anyPacketConn{c}
}

// anyPacketConn serves sockets that are not of type net.UDPConn.
type anyPacketConn struct{ net.PacketConn }

func (c anyPacketConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, addr, err := c.ReadFrom(b)
	if u, ok := addr.(*net.UDPAddr); ok {
		return n, u.AddrPort(), err
	}
	return 0, netip.AddrPort{}, err // an empty message is passed over
}

func (c anyPacketConn) WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error) {
	return c.WriteTo(b, net.UDPAddrFromAddrPort(addr))
}

// serveUDP answers on one socket until it is closed.
func (s *Server) serveUDP(c packetConn) {
	a := answerer{s: s}
	msg, out := make([]byte, maxQuery), make([]byte, 0, minUDP)
	for failures := 0; ; {
		n, client, err := c.ReadFromUDPAddrPort(msg)
		if err != nil {
			if !s.pause("read", err, failures) {
				return
			}
			failures++
			continue
		}
		failures = 0
		reply, forward := a.handle(out[:0], msg[:n], true)
		switch {
		case len(reply) > 0:
			out = reply
			// A datagram that cannot be sent is like one that is lost: the client asks again.
			_, _ = c.WriteToUDPAddrPort(reply, client)
		case len(forward) > 0:
			s.forwardUDP(forward, waiter{conn: c, client: client})
		}
	}
}
