package model

import (
	"errors"
	"strings"
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
// leaves one of our bridges.
type FirewallGuard struct {
	V4, V6 bool
	// Bridges are links of others, by which all packets pass; Routers4 and Routers6 those by which
	// packets of a family came in that were forwarded before the host became a router. These are
	// names, with spaces between them.
	Bridges, Routers4, Routers6 string
}

// Of says whether one family is guarded.
func (g FirewallGuard) Of(v6 bool) bool {
	if v6 {
		return g.V6
	}
	return g.V4
}

// Passes are the names of links of others: those by which packets of a family pass, in and out,
// and those by which they come in.
func (g FirewallGuard) Passes(v6 bool) (bridges, routers []string) {
	list := g.Routers4
	if v6 {
		list = g.Routers6
	}
	return strings.Fields(g.Bridges), strings.Fields(list)
}

// LinkForwarding is what turning forwarding of a family on changes of links, by their names.
type LinkForwarding struct {
	// Raised have accept_ra raised, so that they go on listening to routers.
	Raised []string
	// Routers forwarded what came in by them already, as the kernel lets each link have it.
	Routers []string
	// Set have their own setting on; of IPv6 that alone forwards nothing, and says to neighbours
	// what the host is.
	Set []string
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
