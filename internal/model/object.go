package model

import (
	"net/netip"
	"reflect"
	"strconv"

	"github.com/libnetwork/libnetwork/types"
)

// Order is the place of a kind of object in the one fixed order of creation.
// Deletion goes through it backwards. Rules come before the links that they
// guard, so that no packet ever meets a link without its rules.
type Order int

// The kinds, in order of creation.
const (
	OrderHost Order = iota
	OrderFirewall
	OrderBridge
	OrderDriver
	OrderNamespace
	OrderFiles
	OrderRedirect
	OrderTracked
	OrderLink
	OrderVeth
	OrderRoute
	OrderPort
	OrderEntry
	OrderConnectivity
	OrderForward
)

// A Recovery says what the kernel was found to be at a start.
type Recovery struct {
	// Kept are the names of what nobody wants and was left alone.
	Kept []string
	// Rules says that networks had not the rules that they should, Links are the keys of
	// bridges and veths that were missing, or not as they should be. They are right now.
	Rules bool
	Links []string
}

// An Object is one thing that the kernel (or a sandbox's directory) shall hold.
// Objects are compared by value: the same key with other content is a change.
type Object interface {
	// Key identifies the object among all objects, whatever its content.
	Key() string
	// Order is the object's place in the order of creation.
	Order() Order
}

// Equal says whether a and b are the same object with the same content.
func Equal(a, b Object) bool { return a.Key() == b.Key() && reflect.DeepEqual(a, b) }

// Forwarding asks the host to forward packets of one family.
type Forwarding struct {
	IPv6 bool
}

// Key identifies the setting.
func (f Forwarding) Key() string { return "forwarding/" + family(f.IPv6) }

// Order is the object's place in the order of creation.
func (Forwarding) Order() Order { return OrderHost }

// Bridge is a bridge link in the host's namespace with its addresses, up.
type Bridge struct {
	Name string
	// Group is the link group that marks the links of one data directory.
	// Links of another group are foreign.
	Group uint32
	// Alias is information for people, set after creation.
	Alias string
	// MAC is empty for an address of the kernel's choice.
	MAC string
	// MTU is 0 for the kernel's default.
	MTU int
	// Addrs are the addresses of the bridge itself, the gateways of its network.
	Addrs []netip.Prefix
	// IPv6 turns IPv6 on for the link (disable_ipv6=0, fe80::1/64 besides
	// Addrs); without it IPv6 is turned off.
	IPv6 bool
	// RouteLocalnet lets 127.0.0.0/8 be a source or destination on this link,
	// which a port published on 127.0.0.1 needs.
	RouteLocalnet bool
	// StrictSource has the kernel drop IPv4 packets from members whose answer would
	// leave by another link (rp_filter=1, RFC 3704, 2.2).
	StrictSource bool
	// Adopted marks a bridge of somebody else: it is used as it is, never
	// created, changed or deleted.
	Adopted bool
}

// Key identifies the bridge by its name.
func (b Bridge) Key() string { return "bridge/" + b.Name }

// Order is the object's place in the order of creation.
func (Bridge) Order() Order { return OrderBridge }

// Namespace is a network namespace pinned to a file, its loopback up.
type Namespace struct {
	Path string
	// From is the path of a namespace of somebody else to pin; empty for a new one.
	From string
	// Spare is a file that may pin the namespace while the one of Path changes: if it
	// does, that is the namespace to pin.
	Spare string
	// Host says that it is that of the process itself, which is left as it is.
	Host bool
}

// Key identifies the namespace by its path.
func (n Namespace) Key() string { return "netns/" + n.Path }

// Order is the object's place in the order of creation.
func (Namespace) Order() Order { return OrderNamespace }

// Route is a route inside a namespace, through a gateway or, with no Via, on
// the link itself.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr
}

// Veth is a pair of links, one end a port of a bridge in the host's namespace,
// the other one inside a sandbox under its final name, up, with addresses.
type Veth struct {
	// Host is the name of the end in the host's namespace.
	Host string
	// Netns is the path of the namespace that holds the other end.
	Netns string
	// Name is the name of the end inside.
	Name string
	// Bridge is the link that the host's end is a port of.
	Bridge string
	// Adopted says that the bridge is somebody else's. Otherwise one that is not of
	// the group is not the one that is meant.
	Adopted bool
	Group   uint32
	Alias   string
	// MAC is the address of the end inside.
	MAC string
	// MTU of both ends, 0 for the kernel's default.
	MTU int
	// Addrs are the addresses inside. Without one of IPv6 the link has no
	// link-local address either.
	Addrs []netip.Prefix
	// Sysctls are set for the end inside before it is raised, and hold after it.
	Sysctls []Sysctl
	// Routes are static routes by this link.
	Routes []Route
	// Isolated ports of a bridge do not reach each other.
	Isolated bool
	// Hairpin lets a frame leave by the port that it came in.
	Hairpin bool
	// EndsWithNetns says of a pair to be deleted that its namespace is about to go
	// and will take it along.
	EndsWithNetns bool
}

// Key identifies the pair by the name of its host end.
func (v Veth) Key() string { return "veth/" + v.Host }

// Order is the object's place in the order of creation.
func (Veth) Order() Order { return OrderVeth }

// Tracked is a container's address, of which the kernel shall remember no
// connection when it is gone: whoever has the address next, or the ports that led
// to it, must not get what was meant for this one. Whether there have been any is
// counted from before the address lives until after it is dead, so that nothing
// has to be looked for where there were none.
type Tracked struct {
	Addr netip.Addr
	// Owner is the id of the sandbox: the mark of what is made from this.
	Owner string
}

// Key identifies the address.
func (t Tracked) Key() string { return "tracked/" + t.Addr.String() }

// Order is the object's place in the order of creation.
func (Tracked) Order() Order { return OrderTracked }

// DefaultRoute is the default route of one family inside a sandbox.
type DefaultRoute struct {
	Netns string
	Via   netip.Addr
	// Dev is the name of the link inside.
	Dev string
}

// Key identifies the route by namespace and family.
func (r DefaultRoute) Key() string {
	return "default/" + family(r.Via.Is6()) + "/" + r.Netns
}

// Order is the object's place in the order of creation.
func (DefaultRoute) Order() Order { return OrderRoute }

// Port is a port, or a range of ports, of the host that leads to a container.
type Port struct {
	// Proto is the IP protocol number: 6 TCP, 17 UDP, 132 SCTP.
	Proto uint8
	// Host is the host's address; the unspecified address of a family stands
	// for all local addresses of that family.
	Host netip.Addr
	// First and Last are the host's ports, inclusive; equal for a single port.
	First, Last uint16
	// Addr and Port are the container's; a range maps to as many ports from
	// Port on. Addr is of the same family as Host, unless Forwarded.
	Addr netip.Addr
	Port uint16
	// Owner is the id of the sandbox: the mark of what is made from this.
	Owner string
	// Proxy asks for a Forward beside the rule.
	Proxy bool `json:",omitempty"`
	// NoRule says that the firewall is off: there is the Forward alone.
	NoRule bool `json:",omitempty"`
}

// Forwarded says that no rule of the kernel leads from the host's address to the
// container's: there is no firewall, or it cannot, since translation does not cross
// families, and what is sent to ::1 never leaves the loopback link.
func (p Port) Forwarded() bool {
	return p.NoRule || p.Host.Is6() && (p.Addr.Is4() || p.Host == netip.IPv6Loopback())
}

// String names the host's ports for people: "tcp port 0.0.0.0:80", "udp ports
// [::]:8000-8010".
func (p Port) String() string {
	text := types.Protocol(p.Proto).String() + " port "
	if p.First != p.Last {
		text = types.Protocol(p.Proto).String() + " ports "
	}
	text += netip.AddrPortFrom(p.Host, p.First).String()
	if p.First != p.Last {
		text += "-" + strconv.Itoa(int(p.Last))
	}
	return text
}

// Key identifies the publication by what it takes of the host.
func (p Port) Key() string {
	return "port/" + strconv.Itoa(int(p.Proto)) + "/" + netip.AddrPortFrom(p.Host, p.First).String() +
		"-" + strconv.Itoa(int(p.Last))
}

// Order is the object's place in the order of creation.
func (Port) Order() Order { return OrderPort }

// Redirect leads port 53 of 127.0.0.11 inside a namespace to the port of the
// embedded DNS server, without connection tracking.
type Redirect struct {
	Netns string
	// Port is where the server listens on 127.0.0.11, UDP and TCP.
	Port uint16
}

// Key identifies the redirect by its namespace.
func (r Redirect) Key() string { return "redirect/" + r.Netns }

// Order is the object's place in the order of creation.
func (Redirect) Order() Order { return OrderRedirect }

// SandboxDir is the directory of a sandbox's own files. It goes with all that is
// in it, so it outlives a change of the files: they are mounted into containers,
// and must stay the same ones.
type SandboxDir struct {
	Path string
}

// Key identifies the directory by its path.
func (d SandboxDir) Key() string { return "dir/" + d.Path }

// Order is the object's place in the order of creation.
func (SandboxDir) Order() Order { return OrderFiles }

// SandboxFiles are a sandbox's own hosts and resolv.conf files.
type SandboxFiles struct {
	Sandbox string
	Files   Files
}

// Key identifies the files by their sandbox.
func (f SandboxFiles) Key() string { return "files/" + f.Sandbox }

// Order is the object's place in the order of creation.
func (SandboxFiles) Order() Order { return OrderFiles }

// ResolverConf adapts a sandbox's resolv.conf to what the sandbox is joined to.
type ResolverConf struct {
	Sandbox string
	Files   Files
	// IPv6 says that the sandbox has an address of that family.
	IPv6 bool
	// Server says that the file is to name the embedded DNS server.
	Server bool
}

// Key identifies the file by its sandbox.
func (r ResolverConf) Key() string { return "resolvconf/" + r.Sandbox }

// Order is the object's place in the order of creation.
func (ResolverConf) Order() Order { return OrderEntry }

// HostsEntry is a sandbox's own lines in its hosts file for one endpoint.
type HostsEntry struct {
	// Path is the hosts file.
	Path     string
	Endpoint string
	Addrs    []netip.Addr

	Hostname, Domainname string
}

// Key identifies the lines by their endpoint.
func (e HostsEntry) Key() string { return "hosts/" + e.Endpoint }

// Order is the object's place in the order of creation.
func (HostsEntry) Order() Order { return OrderEntry }

func family(v6 bool) string {
	if v6 {
		return "ipv6"
	}
	return "ipv4"
}
