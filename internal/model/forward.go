package model

import (
	"net/netip"
	"strconv"
)

// Forward is a port of the host that the process itself carries to a container,
// with the socket that holds the port.
type Forward struct {
	// Proto is the IP protocol number: 6 TCP, 17 UDP.
	Proto uint8
	// Host is the address of the socket, Target the container's.
	Host, Target netip.AddrPort
	// Link is the bridge that leads to the container. Nothing for it leaves by another
	// link, wherever the host's routes lead.
	Link string
	// Owner is the id of the sandbox.
	Owner string
	// Beside says that a rule of the kernel leads to the container too, all but what
	// the socket gets: so it may be missing where the port is not held.
	Beside bool
	// Apart says that the socket gets only what is sent to ::1 and to link-local
	// addresses, which no rule leads anywhere. What a rule leads to the container would
	// come to the socket while the rules are lost, and it would end the connections.
	Apart bool
}

// Key identifies the forward by what it takes of the host.
func (f Forward) Key() string {
	return "forward/" + strconv.Itoa(int(f.Proto)) + "/" + f.Host.String()
}

// Order is the object's place in the order of creation.
func (Forward) Order() Order { return OrderForward }

// KeptPort is a port of one IPv6 address of the host, or of all, that stays there for the
// Forward that serves it. No [Port] of all addresses leads that of one address to another
// container. Members of internal networks do not reach it: through the process they would
// reach who is elsewhere.
type KeptPort struct {
	// Proto is the IP protocol number: 6 TCP, 17 UDP.
	Proto uint8
	Host  netip.AddrPort
	// Owner is the id of the sandbox.
	Owner string
}

// Key identifies the port by what it takes of the host.
func (p KeptPort) Key() string {
	return "kept/" + strconv.Itoa(int(p.Proto)) + "/" + p.Host.String()
}

// Order is the object's place in the order of creation.
func (KeptPort) Order() Order { return OrderPort }

// The protocols that a process can carry.
const (
	protoTCP = 6
	protoUDP = 17
)

// Served says whether the process itself serves the port, be it beside a rule: if it
// gets a socket.
func (p Port) Served() bool {
	single := p.First == p.Last && (p.Proto == protoTCP || p.Proto == protoUDP)
	return single && (p.Forwarded() || p.Host == netip.IPv6Unspecified() || p.Proxy)
}

// objects are what a published port takes: a rule, a forward, or both. All
// addresses of IPv6 have both where there are rules, since those do not reach ::1.
// link leads to the container.
func (p Port) objects(link string) []Object {
	var out []Object
	switch {
	case !p.Forwarded():
		out = append(out, p)
	case p.NoRule: // there are none to be kept from
	case p.Served() && !p.Host.IsLoopback(): // loopback addresses are not translated, nor come from elsewhere
		host := p.Host.WithZone("") // rules know no zones
		out = append(out, KeptPort{Proto: p.Proto, Host: netip.AddrPortFrom(host, p.First), Owner: p.Owner})
	}
	if p.Served() {
		out = append(out, Forward{
			Proto: p.Proto, Host: netip.AddrPortFrom(p.Host, p.First), Target: netip.AddrPortFrom(p.Addr, p.Port),
			Link: link, Owner: p.Owner, Beside: !p.Forwarded(), Apart: !p.Forwarded() && !p.Proxy,
		})
	}
	return out
}
