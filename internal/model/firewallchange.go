package model

import (
	"errors"
)

// FirewallMark is set in the mark of every packet that our forward chain accepts,
// so that a foreign forward chain can tell, and taken away in postrouting. It lies outside of what Docker, Kubernetes
// (0x4000, 0x8000), netavark and the CNI port mapper (0x2000), Tailscale
// (0xff0000) and Cilium (0xf00) use.
const FirewallMark = 0x02000000

// ErrFirewallTampered is wrapped by errors of a firewall that say that its rules
// are not as this process left them.
var ErrFirewallTampered = errors.New("firewall rules were changed by somebody else")

// FirewallChange is a part of what the host's firewall shall hold, or all of it.
type FirewallChange struct {
	Networks []FirewallNetwork
	Ports    []Port
	// Tracked are addresses whose connections are counted, where the firewall can.
	Tracked   []Tracked
	OpenPorts []OpenPort
	// Kept are ports of a family that has networks.
	Kept        []KeptPort
	Links       []Link
	LinkedPorts []LinkedPort
}

// FirewallGuard says for which families the host drops what neither enters nor
// leaves one of our bridges, but for what passes by links of others.
type FirewallGuard struct {
	V4, V6           bool
	Passes4, Passes6 GuardPasses
}

// GuardPasses are links of others by which packets of a family pass. Each is a list of names,
// with spaces between them.
type GuardPasses struct {
	// All packets pass by Bridges, in and out. The ports of Switches reach each other, where
	// br_netfilter shows their frames. By Routers packets come in that were forwarded before the
	// host became a router.
	Bridges, Switches, Routers string
}

// Of says whether one family is guarded.
func (g FirewallGuard) Of(v6 bool) bool {
	if v6 {
		return g.V6
	}
	return g.V4
}

// Passes says what passes of a family.
func (g FirewallGuard) Passes(v6 bool) GuardPasses {
	if v6 {
		return g.Passes6
	}
	return g.Passes4
}

// BeforeForwarding is what is to be known of a host before it is made to forward packets of a
// family. Links are their indexes, which stay when they get other names; 0 is what links to come
// have, which the kernel calls "default".
type BeforeForwarding struct {
	// Bridges of others were there, and did without.
	Bridges []int `json:"bridges,omitempty"`
	// Routers forwarded what came in by them already, as the kernel lets each link have it.
	Routers []int `json:"routers,omitempty"`
	// Set have their own setting on; of IPv6 that alone forwards nothing, and says to neighbours
	// what the host is.
	Set []int `json:"set,omitempty"`
	// Raised are those for which accept_ra is raised, so that they go on listening to routers.
	Raised []int `json:"raised,omitempty"`
	// NoRedirects says that ICMP redirects are refused (accept_redirects of IPv4): the kernel turns
	// that over with forwarding.
	NoRedirects bool `json:"noRedirects,omitempty"`
}

// Among says whether any of these ranges of ports has one of p, and whether they have no
// other.
func (p Port) Among(ranges [][2]uint16) (hit, exact bool) {
	exact = true
	for _, r := range ranges {
		hit = hit || r[0] <= p.Last && p.First <= r[1]
		exact = exact && r[0] >= p.First && r[1] <= p.Last
	}
	return hit, hit && exact
}

// ForeignDNAT is a published port that a rule of somebody else translates too.
type ForeignDNAT struct {
	Port Port
	// Rule says where that rule is.
	Rule string
	// Ports are the ranges that the rule is about.
	Ports [][2]uint16
	// Exact says that they are none but these of Port.
	Exact bool
}

// What is the first of the published ports that the rule is about.
func (f ForeignDNAT) What() Port {
	p := f.Port
	for _, r := range f.Ports {
		if first, last := max(r[0], p.First), min(r[1], p.Last); first <= last {
			p.First, p.Last = first, last
			break
		}
	}
	return p
}

// Bounds are the lowest and the highest port that the rule is about.
func (f ForeignDNAT) Bounds() (first, last uint16) {
	for i, r := range f.Ports {
		if i == 0 || r[0] < first {
			first = r[0]
		}
		last = max(last, r[1])
	}
	return first, last
}

// String is a line for people.
func (f ForeignDNAT) String() string {
	return f.What().String() + " is translated by a rule of " + f.Rule + ", too"
}

// ForeignDrop is a chain of somebody else that drops what nothing in it accepts.
type ForeignDrop struct {
	// Family is ip, ip6, or inet for both. Or it is bridge: all pass it that bridges
	// forward between their ports, and nothing else.
	Family, Table, Chain string
	// Forward says that what is forwarded passes it, Input that what comes into the
	// host does.
	Forward, Input bool
	// Firewalld says that it is one of firewalld's.
	Firewalld bool
	// Marked says that our rule in it accepts what ours have let pass, so that nothing is
	// dropped if it is asked after them.
	Marked bool
}

// Of says whether packets of a family pass the chain.
func (d ForeignDrop) Of(v6 bool) bool {
	return d.Family == "inet" || d.Bridged() || (d.Family == "ip6") == v6
}

// Bridged says that it is for what bridges forward.
func (d ForeignDrop) Bridged() bool { return d.Family == "bridge" }

// String names the chain.
func (d ForeignDrop) String() string {
	return "table " + d.Family + " " + d.Table + ", chain " + d.Chain
}
