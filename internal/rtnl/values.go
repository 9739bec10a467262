package rtnl

import (
	"net"
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/step"
)

// DyingGroup is the link group into which links are put that are deleted
// together. Whoever finds a link in it may delete it.
const DyingGroup = 0x6c6e6478

// MinMTUv6 is the least MTU of a link with IPv6 (RFC 8200, 5).
const MinMTUv6 = 1280

// Config says how a [Socket] is opened. The zero value is valid.
type Config struct {
	// Enter runs a function in the socket's namespace. Nil stands for the
	// namespace of the calling thread, which must then be the process's own.
	Enter func(func() error) error
	// Steps numbers the changing calls; it may be nil.
	Steps *step.Counter
	// NoAdvertisements says that links made in the namespace accept no router
	// advertisements, so that nobody has to turn that off for each.
	NoAdvertisements bool
}

// LinkChange is what [Socket.ChangeLink] changes; zero fields stay as they are.
type LinkChange struct {
	// Rename is the new name.
	Rename string
	MAC    net.HardwareAddr
	MTU    int
	Alias  string
	// Group is the new link group, 0 for no change.
	Group uint32
	// Master is the name of the bridge that the link becomes a port of.
	Master string
	// NoMaster takes the link off its bridge.
	NoMaster bool
	// NetnsFD is a descriptor of the namespace that the link moves to; 0 is none.
	NetnsFD  int
	Up, Down bool
}

// Neighbour is an entry of the neighbour table of a link or, for a port of a
// bridge or a VXLAN, of its forwarding database.
type Neighbour struct {
	// Dev is the name of the link.
	Dev string
	// Addr is the IP address; in a forwarding database it may be invalid.
	Addr netip.Addr
	MAC  net.HardwareAddr
	// Bridge says that the entry is one of the forwarding database.
	Bridge bool
}

// Link is a link as the kernel describes it.
type Link struct {
	Index int
	Name  string
	Group uint32
	// Kind is "bridge", "veth" and so on, empty for hardware and loopback.
	Kind string
	// Master is the index of the bridge that the link is a port of, or 0.
	Master int
	// Peer is the index of the other end of a veth, or of the link below, or 0.
	Peer int
	// PeerNetns is the id of Peer's namespace, or -1 if it is in this one.
	PeerNetns int
	MAC       net.HardwareAddr
	MTU       int
	Alias     string
	// NoARP says that neighbours are not looked for by the link.
	Up, NoARP bool
	// Carrier says that somebody is at the other end; of a bridge, that a port has one.
	// Running says that the kernel has acted on it.
	Carrier, Running bool
	// STP says of a bridge that it, or a program, decides about the states of its ports.
	STP bool
	// Isolated and Hairpin are settings of a port.
	Isolated, Hairpin bool
	// Blocked says that the state of a port is another than forwarding, Narrowed that the
	// bridge does not learn by it, does not flood it, or that it is locked.
	Blocked, Narrowed bool
	// GroupMask says which frames to group addresses of bridges a port forwards like others.
	GroupMask uint16
	// StrictSource says that IPv4 packets are dropped whose answer would leave by another
	// link (rp_filter 1).
	StrictSource bool
	// RouteLocalnet says that loopback addresses are routed like others.
	RouteLocalnet bool
	// StopsV4 and StopsV6 say that packets of a family that come in by the link are not
	// forwarded.
	StopsV4, StopsV6 bool
	// IPv6 says that IPv6 is not turned off for the link, AcceptsRA that routers may tell it
	// of addresses and routes.
	IPv6, AcceptsRA bool
	// LinkLocal says that the kernel gives the link a link-local IPv6 address by itself.
	LinkLocal bool
}

// Hardware says that a link leads out of the host, or may: it is none of those by which programs
// connect containers and machines.
func (l *Link) Hardware() bool { return l.Kind != "veth" && l.Kind != "tun" && l.Kind != "dummy" }

// Address is an address of a link.
type Address struct {
	// Index is that of the link.
	Index  int
	Prefix netip.Prefix
}

// Route is a route of a namespace.
type Route struct {
	Dst netip.Prefix
	// Via is the gateway, not valid for what is on the link.
	Via netip.Addr
	// Index is that of the link, 0 if there are several.
	Index int
	Table uint32
}
