package engine

import (
	"context"
	"net"
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/apply"
	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// Kernel is what the engine needs of the machine. Its methods may be called
// from many goroutines; the engine sees to it that no two calls are about the
// same object.
type Kernel interface {
	// Create and Delete make and remove namespaces, links, routes, rules, ports and
	// redirects.
	apply.Floor

	// Recover brings the kernel to the wanted objects after a start: it removes
	// what carries the mark of the data directory and is not wanted, makes what is
	// missing, and touches nothing that is right. It goes on after a failure and
	// returns all of them joined. With keep it removes nothing, and returns the
	// names of what it would have removed.
	Recover(ctx context.Context, want []model.Object, keep bool) (model.Recovery, error)
	// CheckNamespace says why path is none that can be used.
	CheckNamespace(path string) error
	// NamespaceAlive says whether path is a network namespace.
	NamespaceAlive(path string) bool

	// Link looks up a link of the host.
	Link(ctx context.Context, name string) (model.HostLink, bool, error)
	// EgressMTU is the MTU of the host's default route, IPv4 first; 0 without one.
	EgressMTU(ctx context.Context) (int, error)
	// Hold takes a host port, or a range, until it is closed. A port that somebody
	// else has is a Forbidden error that names the one.
	Hold(ctx context.Context, p model.Port) (hostport.Kept, error)
	// BusyPorts returns the ports that other programs have on one of the addresses.
	BusyPorts(ctx context.Context, proto uint8, hosts []netip.Addr) (map[uint16]bool, error)
	// Resume is Hold for what was published before: also where the host does not have
	// the address, or not yet. A port that is Forwarded is held whatever the limit.
	Resume(ctx context.Context, p model.Port) (hostport.Kept, error)
	// Listen opens the sockets of an embedded DNS server inside a namespace. An
	// address that somebody else has is a Forbidden error.
	Listen(netns string, addr netip.AddrPort) (net.PacketConn, net.Listener, error)
	// Dial opens a socket inside a namespace; on an empty one, in the host's.
	Dial(ctx context.Context, netns, network, address string) (net.Conn, error)
	// Statistics reads the counters of a link inside a namespace.
	Statistics(ctx context.Context, netns, name string) (*types.InterfaceStatistics, error)
	// Forwarding says whether the host forwards packets of a family.
	Forwarding(ctx context.Context, v6 bool) (on bool, err error)
	// BeforeForwarding says what is to be known of it before it is made to, if it does not.
	BeforeForwarding(ctx context.Context, v6 bool) (b model.BeforeForwarding, off bool, err error)
	// StopsAt are the host's links that forward no IPv4 packets that come in by them, though
	// the host does.
	StopsAt(ctx context.Context) ([]string, error)
	// Forward turns forwarding of a family on, or off with what that has changed as it was
	// before.
	Forward(ctx context.Context, v6, on bool, before model.BeforeForwarding) error
	// Neighbours says which packets of others a host that was made to forward lets pass, by what
	// there was before, and whether others need that it forwards.
	Neighbours(ctx context.Context, before4, before6 model.BeforeForwarding) (g model.FirewallGuard, needed bool, err error)
	// Guarded says for which families the firewall guards the host, as it is found.
	Guarded(ctx context.Context) (v4, v6 bool, err error)
	// Namespace tells the host's network namespace from others of this run of the machine, if
	// the kernel can.
	Namespace() string
	// Guard tells the firewall to drop what would only pass through the host,
	// since we, not the user, made it a router.
	Guard(ctx context.Context, g model.FirewallGuard) error
	// Watch hears from now on of what somebody else does to what is ours on the host.
	// run tells of it until its context ends: it calls lost with the name of a link, or
	// the empty one for any, and whether it was that of a bridge of others that has come
	// or gone, so that what has failed may do now; rules when the firewall may have been
	// changed; forwarding when the host forwards no packets of a family any more; and
	// foreign of what was done to firewalld: "repair" when something was put back,
	// "configure" when its permanent configuration was changed, "warn" when it is in the
	// way.
	Watch(lost func(link string, others bool), rules, forwarding func(), foreign func(action, object string)) (run func(context.Context) error, err error)
	// RepairLinks makes those links among the wanted objects right that are not, and
	// returns the keys of those that are now. What an earlier call has not come to do
	// is done by the next one.
	RepairLinks(ctx context.Context, want []model.Object) (repaired []string, err error)
	// Survey returns the names of links among the wanted objects about which RepairLinks
	// has something to do that Watch does not tell of; the empty one if RepairRules has.
	Survey(ctx context.Context, want []model.Object) (lost []string, err error)
	// RepairRules makes the firewall right, and says how it was.
	RepairRules(ctx context.Context) (found model.Finding, err error)
	// Firewall says with which backend the firewall is kept, and what its tables or
	// chains are called by.
	Firewall() (backend, table string)
	// ForeignDNAT returns those of the ports that rules of others translate too, as far
	// as the backend sees them.
	ForeignDNAT(ctx context.Context, ports []model.Port) ([]model.ForeignDNAT, error)
	// Addresses returns those that the host has; none if that cannot be told.
	Addresses(ctx context.Context) ([]netip.Addr, error)
	// ForeignDrops returns the chains of others that drop what nothing in them accepts, if
	// they may drop what we accept.
	ForeignDrops(ctx context.Context) ([]model.ForeignDrop, error)
	// Frames says whether packets of a family pass the chains for IP also where a bridge
	// forwards them between its ports.
	Frames(ctx context.Context, v6 bool) (shown bool, err error)
	// Asleep returns the tables of others that rules of ours are in and that are asked for
	// nothing, as somebody has made them dormant.
	Asleep(ctx context.Context) ([]string, error)
	// Close gives back what the process holds. What is in the kernel stays.
	Close() error
}
