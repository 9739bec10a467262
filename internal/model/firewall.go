package model

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// FirewallNetwork is what the host's firewall shall do for one network.
type FirewallNetwork struct {
	// ID is the network's id; it is the mark of everything made from this.
	ID string
	// Bridge is the name of the network's link.
	Bridge string
	// V4 and V6 are nil where the network does not have that family.
	V4, V6 *FirewallFamily
}

// A Finding says what the rules were before they were reconciled with what is wanted.
type Finding uint8

// The findings, each worse than the one before.
const (
	// FoundRight: nothing was written.
	FoundRight Finding = iota
	// FoundLeftover: all that is wanted was there, and besides only what carries the id of
	// a network, sandbox or endpoint. An operation that was cut short leaves that.
	FoundLeftover
	// FoundMoved: all that is wanted was there, but what others have put beside it, or taken
	// away there, makes other places right, or wants a rule among theirs. That is no damage.
	FoundMoved
	// FoundWrong: something was missing, or other than wanted, or of somebody else.
	FoundWrong
)

// idLen is the length of the ids of networks, sandboxes and endpoints.
const idLen = 64

// IsID says whether s can be the id of a network, sandbox or endpoint: 64 hex digits, as
// container engines give to containers too.
func IsID(s string) bool {
	return len(s) == idLen && strings.Trim(s, "0123456789abcdef") == ""
}

// Key identifies the rules by their network.
func (f FirewallNetwork) Key() string { return "firewall/" + f.ID }

// Order is the object's place in the order of creation.
func (FirewallNetwork) Order() Order { return OrderFirewall }

// GatewayMode says how packets come into a network from outside, and how they
// leave it. Outside is everything but the members and the host: other networks,
// other machines.
type GatewayMode uint8

// The modes.
const (
	// ModeNAT: new connections come in only where destination NAT, that is a
	// published port, led them here, or to an [OpenPort]. What leaves is masqueraded
	// if Masquerade says so.
	ModeNAT GatewayMode = iota
	// ModeNATUnprotected is ModeNAT, but every port of a member can be reached from
	// outside at the member's own address too.
	ModeNATUnprotected
	// ModeRouted: addresses are never translated, in either direction. From outside,
	// new connections come in at the members' own addresses: to an [OpenPort], and
	// ICMP (in IPv6 ICMPv6) of all types. All else is dropped. Masquerade and
	// MasqueradeTo have no meaning. Destination NAT of somebody else's port that
	// leads here passes as in ModeNAT.
	ModeRouted
	// ModeIsolated, on internal networks only: as Internal, and what a member sends
	// to any address of the host is dropped as well (hook input). Frames between
	// members are not concerned, also where br_netfilter shows them to IP chains.
	ModeIsolated
)

// String is the name of the mode as it stands in options.
func (m GatewayMode) String() string {
	switch m {
	case ModeNAT:
		return "nat"
	case ModeNATUnprotected:
		return "nat-unprotected"
	case ModeRouted:
		return "routed"
	case ModeIsolated:
		return "isolated"
	}
	return "mode " + strconv.Itoa(int(m))
}

// ParseGatewayMode reads a mode as it stands in options.
func ParseGatewayMode(s string) (GatewayMode, error) {
	for m := ModeNAT; m <= ModeIsolated; m++ {
		if s == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%q is no gateway mode", s)
}

// MarshalText writes the mode into records.
func (m GatewayMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads it from them.
func (m *GatewayMode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseGatewayMode(string(text))
	return err
}

// FirewallFamily is the part of a FirewallNetwork for one address family.
//
// A packet that is forwarded to the network's bridge meets, in this order and
// each of them final:
//
//  1. an established or related connection: accepted;
//  2. from the network's own bridge, a [Link] or IPv6 neighbour discovery (ICMPv6
//     types 135 and 136): accepted;
//  3. from the network's own bridge: accepted with ICC, else dropped;
//  4. it comes out of an internal network, or this one is internal: dropped;
//  5. it carries TrustedMark, or came in by a link of Trusted: accepted;
//  6. ModeRouted, ICMP: accepted;
//  7. destination NAT has led it here, or it is for an [OpenPort]: accepted;
//  8. all else: dropped, in ModeNATUnprotected accepted.
//
// A packet of a member that leaves by a link which is no bridge of ours is
// accepted, unless the network is internal.
type FirewallFamily struct {
	// Subnets of the network.
	Subnets []netip.Prefix
	// Mode is how packets come in from outside, and go out.
	Mode GatewayMode
	// Masquerade gives packets from Subnets that leave by another link than the
	// network's own the host's address, multicast excepted.
	Masquerade bool
	// MasqueradeTo is the source that those packets get (SNAT); when it is the zero
	// value, they get the address of the link that they leave by.
	MasqueradeTo netip.Addr
	// Internal networks exchange packets with nobody but their own members and
	// the host.
	Internal bool
	// ICC lets members of the network reach each other.
	ICC bool
	// Trusted are links of the host, by name, from which every port of a member can
	// be reached at the member's own address. Names of links that do not exist are
	// allowed, they count once the link is there.
	Trusted []string
	// TrustedMark is a packet mark that opens every port of a member in the same
	// way, whatever link the packet comes from; without a Mask there is none.
	TrustedMark Mark
}

// Mark matches packets whose mark has Value in the bits of Mask.
type Mark struct {
	Value uint32 `json:"value"`
	Mask  uint32 `json:"mask"`
}

// OpenPort is a port, or a range of ports, of a member of a network in
// [ModeRouted] or [ModeNAT] that can be reached from outside at the member's own
// address. It takes nothing of the host.
type OpenPort struct {
	// Proto is the IP protocol number: 6 TCP, 17 UDP, 132 SCTP.
	Proto uint8
	// Addr is the container's address, First and Last its ports, inclusive.
	Addr        netip.Addr
	First, Last uint16
	// Owner is the id of the endpoint: the mark of what is made from this.
	Owner string
}

// Key identifies the opening by address and ports.
func (p OpenPort) Key() string {
	return "open/" + strconv.Itoa(int(p.Proto)) + "/" + netip.AddrPortFrom(p.Addr, p.First).String() +
		"-" + strconv.Itoa(int(p.Last))
}

// Order is the object's place in the order of creation.
func (OpenPort) Order() Order { return OrderPort }

// Link lets one member of a network without ICC reach one port of another one:
// packets of Proto from Client to Target with destination Port, and those from
// Target to Client with source Port, pass where they would be dropped between
// members.
//
// The sandboxes of both ends want it, and it goes as soon as one of them does not
// any more. So adding a Link that is there, and deleting one that is not, is no
// error and changes nothing.
type Link struct {
	// Bridge is the name of the network's link.
	Bridge string
	// Proto is the IP protocol number: 6 TCP, 17 UDP, 132 SCTP.
	Proto uint8
	// Client and Target are addresses of one family.
	Client, Target netip.Addr
	Port           uint16
	// ClientHost and TargetHost are the host's ends of their veth pairs. Addresses
	// alone would let any member take the place of either by forged frames.
	ClientHost, TargetHost string
	// Owner is the id of the client's endpoint: the mark of what is made from this.
	Owner string
}

// Key identifies the link by what it lets pass.
func (l Link) Key() string {
	return "link/" + l.Bridge + "/" + strconv.Itoa(int(l.Proto)) + "/" + l.Client.String() + "/" +
		netip.AddrPortFrom(l.Target, l.Port).String()
}

// Order is the object's place in the order of creation.
func (Link) Order() Order { return OrderLink }

// LinkedPort is the host's end of the veth pair of an endpoint that has links, on
// a network without ICC. Ports of such a network are isolated by the bridge
// ([Veth].Isolated) and need no rules; this one is not, and so all frames that the
// bridge forwards from or to it are dropped by rules (family bridge, hook forward),
// but for ARP, IPv6 neighbour discovery (ICMPv6 types 135 and 136), what a [Link]
// lets pass, and fragments but the first one. Frames from and to the bridge itself
// do not come through that hook and are not concerned; what is routed from a member to
// another one that way is no link's.
type LinkedPort struct {
	// Host is the name of the link.
	Host string
	// Owner is the id of the endpoint: the mark of what is made from this.
	Owner string
}

// Key identifies the port by the name of its link.
func (l LinkedPort) Key() string { return "linkedport/" + l.Host }

// Order is the object's place in the order of creation.
func (LinkedPort) Order() Order { return OrderLink }
