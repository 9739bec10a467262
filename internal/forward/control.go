package forward

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// controlSize has room for what the kernel says about a datagram.
const controlSize = 128

// control knows to which address of the host a datagram was sent, and has the
// answer leave from it. On a socket of all addresses the kernel would choose the
// one that is nearest to the client, which is another one on a host that has
// several, and the client would drop the answer.
type control interface {
	// host is the address to which a datagram was sent, the zero Addr if the kernel does
	// not say. What was sent to many at once is not for a port that is forwarded: ok is
	// false.
	host(oob []byte) (a netip.Addr, ok bool)
	// from is the control message for an answer from that address.
	from(host netip.Addr) []byte
}

// controlOf sets up the control messages of a socket.
func controlOf(c *net.UDPConn) control {
	local, _ := c.LocalAddr().(*net.UDPAddr)
	if local == nil || !local.IP.IsUnspecified() {
		return noControl{}
	}
	if local.IP.To4() != nil {
		if ipv4.NewPacketConn(c).SetControlMessage(ipv4.FlagDst, true) == nil {
			return new(control4)
		}
	} else if ipv6.NewPacketConn(c).SetControlMessage(ipv6.FlagDst, true) == nil {
		return new(control6)
	}
	return noControl{} // this system cannot
}

// noControl leaves it to the socket, which has one address alone.
type noControl struct{}

func (noControl) host([]byte) (netip.Addr, bool) { return netip.Addr{}, true }
func (noControl) from(netip.Addr) []byte         { return nil }

type control4 struct{ last ipv4.ControlMessage }

func (c *control4) host(oob []byte) (netip.Addr, bool) {
	if c.last.Parse(oob) != nil {
		return netip.Addr{}, true
	}
	return unicast(c.last.Dst)
}

func (*control4) from(host netip.Addr) []byte {
	if !host.IsValid() {
		return nil
	}
	return (&ipv4.ControlMessage{Src: host.AsSlice()}).Marshal()
}

type control6 struct{ last ipv6.ControlMessage }

func (c *control6) host(oob []byte) (netip.Addr, bool) {
	if c.last.Parse(oob) != nil {
		return netip.Addr{}, true
	}
	return unicast(c.last.Dst)
}

func (*control6) from(host netip.Addr) []byte {
	switch {
	case !host.IsValid():
		return nil
	case host.Is4(): // of a socket of both families
		return (*control4).from(nil, host)
	}
	return (&ipv6.ControlMessage{Src: host.AsSlice()}).Marshal()
}

// unicast is the address if it is one host's.
func unicast(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	if a = a.Unmap(); !ok || a.IsUnspecified() {
		return netip.Addr{}, true
	}
	return a, !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
