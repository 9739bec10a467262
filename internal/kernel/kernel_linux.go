package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/conntrack"
	"github.com/libnetwork/libnetwork/internal/forward"
	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// Config says whose objects they are.
type Config struct {
	DataDir, RunDir string
	HeldPorts       int // see [hostport.Holder]
	// Firewall is the backend of the firewall; Auto if empty.
	Firewall Backend
	// NoTableOwner leaves tables of nftables open to changes by others.
	NoTableOwner bool
	// Sockets keeps the socket that owns the tables over a restart; nil keeps none.
	Sockets model.SocketKeeper
	Steps   *step.Counter // numbers each change; nil: none
	Logger  *slog.Logger  // nil: slog.Default
}

// Kernel makes and removes objects in the network namespace in which it was
// made.
type Kernel struct {
	cfg      Config
	log      *slog.Logger
	group    uint32
	dir      string // of pinned namespaces
	host     *netns.Namespace
	rt       *rtnl.Socket
	backend  Backend // that is in use, never Auto or IPTables
	firewall firewall
	redirect redirector
	// others are the other backends that Recover has found rules of ours with, until
	// these are removed, former their redirectors; switched says that there were such rules,
	// be it that they cannot be removed. Recover sets all before anything else is asked of
	// the kernel.
	others   []Backend
	former   []unredirector
	switched bool
	left     atomic.Bool // that there are others, for who may not read the list
	stuck    string      // why they could not be removed when that was last told
	ports    hostport.Holder
	conns    chan struct{} // one element for each TCP connection that is forwarded
	flows    chan struct{} // and for each UDP flow
	tracked  conntrack.Flusher
	reaper   *reaper
	announce announcer
	// ruling holds one token. Who has it changes what the firewall shall hold together
	// with what it holds, or compares the two.
	ruling chan struct{}
	zone   *zoneKeeper

	mu sync.Mutex // guards the following
	// repairedRules says that an operation has found the rules changed by somebody else;
	// lookAtRules has RepairRules called, nil while nobody watches.
	repairedRules bool
	lookAtRules   func()
	// forwards are those that run, by key; nil when closed.
	forwards map[string]*forward.Forwarder
	spaces   map[string]*netns.Namespace // nil when closed
	// networks, published, counted, open, kept, links, linked and guard are all that the
	// firewall shall hold, for its repair.
	networks  map[string]model.FirewallNetwork
	published map[string]model.Ports // by owner
	counted   map[string]model.Tracked
	open      map[string]model.OpenPort
	kept      map[string]model.KeptPort
	links     map[string]model.Link
	linked    map[string]model.LinkedPort
	guard     model.FirewallGuard
	// half has the objects, by key, about which something is left to do inside of their
	// namespace: pairs that have been made, redirects that could not be removed.
	half      map[string]bool
	recovered bool
	// unruled is why the firewall could not be brought to hold all that it shall; until
	// it does, no link of a network is made.
	unruled error
	// dropping are the chains of others that have been told of.
	dropping map[model.ForeignDrop]bool
	// told is what the last survey has told of, or one before it.
	told map[string]bool
}

// New opens what the kernel is talked to with. It changes nothing but the
// directory of namespaces.
func New(ctx context.Context, cfg Config) (_ *Kernel, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	k := &Kernel{
		cfg: cfg, log: cfg.Logger, group: Group(cfg.DataDir), dir: filepath.Join(cfg.RunDir, "netns"),
		ports: hostport.Holder{Steps: cfg.Steps, Limit: cfg.HeldPorts}, tracked: conntrack.Flusher{Steps: cfg.Steps},
		ruling:   make(chan struct{}, 1),
		forwards: make(map[string]*forward.Forwarder),
		spaces:   make(map[string]*netns.Namespace),
		networks: make(map[string]model.FirewallNetwork), published: make(map[string]model.Ports),
		counted: make(map[string]model.Tracked), open: make(map[string]model.OpenPort),
		kept:  make(map[string]model.KeptPort),
		links: make(map[string]model.Link), linked: make(map[string]model.LinkedPort),
		half: make(map[string]bool),
	}
	k.ports.Tracked = func(ctx context.Context, local, remote netip.AddrPort) (bool, error) {
		return k.tracked.Tracks(ctx, unix.IPPROTO_TCP, local, remote)
	}
	k.conns, k.flows = budget()
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()
	if err := netns.EnsureDir(cfg.Steps, k.dir); err != nil {
		return nil, err
	}
	if k.host, err = netns.Host(cfg.Steps); err != nil {
		return nil, err
	}
	if k.rt, err = k.host.Rtnl(); err != nil {
		return nil, err
	}
	if err := k.openFirewall(ctx); err != nil {
		return nil, err
	}
	k.announce.log = k.log
	k.zone = newZoneKeeper(k)
	k.reaper = newReaper(k.rt, k.log)
	return k, nil
}

// Close gives back what the process holds. What is in the kernel stays.
func (k *Kernel) Close() error {
	var errs []error
	if k.reaper != nil {
		k.reaper.close()
	}
	errs = append(errs, k.closeForwards())
	k.mu.Lock()
	for _, ns := range k.spaces {
		errs = append(errs, ns.Close())
	}
	k.spaces = nil
	k.mu.Unlock()
	errs = append(errs, k.tracked.Close(), k.announce.close())
	if k.firewall != nil {
		errs = append(errs, k.firewall.Close())
	}
	if k.host != nil {
		errs = append(errs, k.host.Close())
	}
	return errors.Join(errs...)
}

// space returns an open namespace by its path; the empty one is the host's.
func (k *Kernel) space(path string) (*netns.Namespace, error) {
	if path == "" {
		return k.host, nil
	}
	k.mu.Lock()
	ns := k.spaces[path]
	k.mu.Unlock()
	if ns != nil {
		return ns, nil
	}
	ns, err := netns.Open(k.cfg.Steps, path)
	if err != nil {
		return nil, err
	}
	return k.keep(path, ns)
}

// keep remembers an open namespace, or closes it if another call was quicker or
// the kernel has been closed.
func (k *Kernel) keep(path string, ns *netns.Namespace) (*netns.Namespace, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.spaces == nil {
		return nil, errors.Join(fmt.Errorf("use of %s after the controller has been stopped: %w", path, context.Canceled), ns.Close())
	}
	if had := k.spaces[path]; had != nil {
		_ = ns.Close()
		return had, nil
	}
	k.spaces[path] = ns
	return ns, nil
}

func (k *Kernel) forget(path string) error {
	k.mu.Lock()
	ns := k.spaces[path]
	delete(k.spaces, path)
	k.mu.Unlock()
	if ns == nil {
		return nil
	}
	return ns.Close()
}

// Addresses returns those that the host has.
func (k *Kernel) Addresses(ctx context.Context) ([]netip.Addr, error) {
	list, err := k.rt.Addresses(ctx)
	addrs := make([]netip.Addr, 0, len(list))
	for _, a := range list {
		addrs = append(addrs, a.Prefix.Addr())
	}
	return addrs, err
}

// CheckNamespace fails where path is no network namespace that can be used.
func (k *Kernel) CheckNamespace(path string) error {
	ns, err := netns.Open(nil, path)
	if err != nil {
		return err
	}
	return ns.Close()
}

// NamespaceAlive says whether path is a network namespace.
func (k *Kernel) NamespaceAlive(path string) bool { return netns.IsNamespace(path) }

// Link looks up a link of the host.
func (k *Kernel) Link(ctx context.Context, name string) (model.HostLink, bool, error) {
	l, err := k.rt.Link(ctx, name)
	if errors.Is(err, unix.ENODEV) {
		return model.HostLink{}, false, nil
	}
	if err != nil {
		return model.HostLink{}, false, err
	}
	h := model.HostLink{Name: l.Name, Kind: l.Kind, Group: l.Group}
	addrs, err := k.rt.Addresses(ctx)
	if err != nil {
		return h, true, err
	}
	for _, a := range addrs {
		if a.Index == l.Index {
			h.Addrs = append(h.Addrs, a.Prefix)
		}
	}
	return h, true, nil
}

// Busy returns the subnets that the host has routes to: a new network had better
// not be one of them. It is for the address manager, at every choice of a pool.
func (k *Kernel) Busy(ctx context.Context) ([]netip.Prefix, error) {
	routes, err := k.rt.Routes(ctx)
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, r := range routes {
		// Only what is on a link: the routes of a VPN may cover the whole of the
		// address space.
		if !r.Via.IsValid() {
			out = append(out, r.Dst.Masked())
		}
	}
	return out, nil
}

// Hold takes a port of the host.
func (k *Kernel) Hold(ctx context.Context, p model.Port) (hostport.Kept, error) {
	if p.Proto == unix.IPPROTO_SCTP && !conntrack.TracksSCTP() {
		return nil, types.NotImplementedErrorf("%s: the kernel does not track SCTP connections (CONFIG_NF_CT_PROTO_SCTP), so it cannot lead them to a container", p)
	}
	kept, err := k.ports.Reserve(ctx, p.Proto, p.Host, p.First, p.Last)
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// BusyPorts returns the ports of the host that other programs have.
func (k *Kernel) BusyPorts(ctx context.Context, proto uint8, hosts []netip.Addr) (map[uint16]bool, error) {
	return k.ports.Busy(ctx, proto, hosts)
}

// Resume takes a port of the host again.
func (k *Kernel) Resume(ctx context.Context, p model.Port) (hostport.Kept, error) {
	kept, err := k.ports.Resume(ctx, p.Proto, p.Host, p.First, p.Last, p.Forwarded())
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// Listen opens the sockets of a DNS server inside a namespace.
func (k *Kernel) Listen(path string, addr netip.AddrPort) (net.PacketConn, net.Listener, error) {
	ns, err := k.space(path)
	if err != nil {
		return nil, nil, err
	}
	udp, tcp, err := ns.Listen(addr)
	if err != nil {
		return nil, nil, taken(addr, err)
	}
	return udp, tcp, nil
}

// taken gives the error of an address that somebody else has its class.
func taken(addr netip.AddrPort, err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return types.ForbiddenErrorf("listen on %s: %w", addr, err)
	}
	return err
}

// Dial opens a socket inside a namespace, or in the host's for the empty path.
func (k *Kernel) Dial(ctx context.Context, path, network, address string) (net.Conn, error) {
	ns, err := k.space(path)
	if err != nil {
		return nil, err
	}
	return ns.Dial(ctx, network, address)
}

// Statistics reads the counters of a link inside a namespace.
func (k *Kernel) Statistics(ctx context.Context, path, name string) (*types.InterfaceStatistics, error) {
	ns, err := k.space(path)
	if err != nil {
		return nil, err
	}
	rt, err := ns.Rtnl()
	if err != nil {
		return nil, err
	}
	return rt.Stats(ctx, name)
}

// rule takes the token of ruling until done is called.
func (k *Kernel) rule(ctx context.Context) (done func(), err error) {
	select {
	case k.ruling <- struct{}{}:
		return func() { <-k.ruling }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("change the firewall: %w", ctx.Err())
	}
}

// Guard makes the firewall drop, in the families given, what would only pass
// through the host. Before Recover it says what that shall find, or make.
func (k *Kernel) Guard(ctx context.Context, g model.FirewallGuard) error {
	done, err := k.rule(ctx)
	if err != nil {
		return err
	}
	defer done()
	k.mu.Lock()
	had, recovered := k.guard, k.recovered
	k.guard = g
	k.mu.Unlock()
	if !recovered || g == had {
		return nil
	}
	err = k.repaired(ctx, k.firewall.SetGuard(ctx, g))
	if err != nil {
		k.mu.Lock()
		k.guard = had
		k.mu.Unlock()
	}
	return err
}

// repaired puts the firewall right when a change has found that somebody else
// has been at it; everything wanted, that change included, is in the books.
func (k *Kernel) repaired(ctx context.Context, err error) error {
	if !errors.Is(err, model.ErrFirewallTampered) {
		return err
	}
	k.log.Warn("firewall rules were changed by somebody else: they are put right", "err", err)
	k.zone.idle(ctx)
	want, g := k.wanted()
	if _, again := k.reconcile(ctx, want, g); again != nil {
		return fmt.Errorf("%w; and the repair failed: %w", err, again)
	}
	k.tellRepaired()
	return nil
}

// tellRepaired has the next RepairRules say that the rules were not right, and has it called:
// what an operation has come upon and put right is a repair like any other.
func (k *Kernel) tellRepaired() {
	k.mu.Lock()
	k.repairedRules = true
	look := k.lookAtRules
	k.mu.Unlock()
	if look != nil {
		look()
	}
}

// takeRepaired says whether an operation has told so since this was last asked.
func (k *Kernel) takeRepaired() (found model.Finding) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.repairedRules {
		found = model.FoundWrong
	}
	k.repairedRules = false
	return found
}

// repairTries bounds how often a repair begins anew because somebody else has changed
// the rules in the middle of it.
const repairTries = 5

// reconcile makes the firewall hold what is wanted, and says what it was. Who calls it
// has the token.
func (k *Kernel) reconcile(ctx context.Context, want model.FirewallChange, g model.FirewallGuard) (found model.Finding, err error) {
	for range repairTries {
		found, err = k.firewall.Reconcile(ctx, want, g)
		if !errors.Is(err, model.ErrFirewallTampered) {
			break
		}
	}
	k.mu.Lock()
	if k.unruled = err; idle(want, g) {
		k.unruled = nil // without a firewall links need no rules
	}
	k.mu.Unlock()
	return found, err
}

// idle says whether nothing is wanted of the firewall.
func idle(want model.FirewallChange, g model.FirewallGuard) bool {
	return len(want.Networks)+len(want.Ports)+len(want.Tracked) == 0 && g == (model.FirewallGuard{})
}

// ruled fails as long as the firewall does not hold what it shall, and tries to bring it
// there: a link without rules would be open to everybody.
func (k *Kernel) ruled(ctx context.Context) error {
	if k.isRuled() {
		return nil
	}
	if _, err := k.RepairRules(ctx); err != nil {
		return types.InternalErrorf("the firewall does not hold the rules of all networks, so nothing is connected: %w", err)
	}
	return nil
}

func (k *Kernel) isRuled() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.unruled == nil
}

func (k *Kernel) wanted() (model.FirewallChange, model.FirewallGuard) {
	kept := k.keptPorts()
	k.mu.Lock()
	defer k.mu.Unlock()
	var c model.FirewallChange
	for _, n := range k.networks {
		c.Networks = append(c.Networks, n)
	}
	for _, ports := range k.published {
		c.Ports = slices.AppendSeq(c.Ports, ports.All())
	}
	c.Tracked = slices.AppendSeq(c.Tracked, maps.Values(k.counted))
	c.OpenPorts = slices.AppendSeq(c.OpenPorts, maps.Values(k.open))
	c.Kept = without(kept, nil)
	c.Links = slices.AppendSeq(c.Links, maps.Values(k.links))
	c.LinkedPorts = slices.AppendSeq(c.LinkedPorts, maps.Values(k.linked))
	return c, k.guard
}

// bridges are those that have rules.
func (k *Kernel) bridges() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	names := make([]string, 0, len(k.networks))
	for _, n := range k.networks {
		names = append(names, n.Bridge)
	}
	return names
}

// book enters a change of the firewall into the books.
func (k *Kernel) book(add, del model.FirewallChange) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range del.Networks {
		delete(k.networks, n.ID)
	}
	k.bookPorts(del.Ports, nil)
	for _, n := range add.Networks {
		k.networks[n.ID] = n
	}
	k.bookPorts(add.Ports, add.Ports)
	bookByKey(k.counted, add.Tracked, del.Tracked)
	bookByKey(k.open, add.OpenPorts, del.OpenPorts)
	bookByKey(k.kept, add.Kept, del.Kept)
	bookByKey(k.links, add.Links, del.Links)
	bookByKey(k.linked, add.LinkedPorts, del.LinkedPorts)
}

// bookPorts replaces the ports that take the same of the host as those of del by
// add.
func (k *Kernel) bookPorts(del, add []model.Port) {
	type place struct {
		proto       uint8
		host        netip.Addr
		first, last uint16
	}
	at := func(p model.Port) place { return place{p.Proto, p.Host, p.First, p.Last} }
	gone := make(map[string]map[place]bool)
	for _, p := range del {
		if gone[p.Owner] == nil {
			gone[p.Owner] = make(map[place]bool)
		}
		gone[p.Owner][at(p)] = true
	}
	for owner, places := range gone {
		left := k.published[owner].Without(func(p model.Port) bool { return places[at(p)] })
		if left.IsZero() {
			delete(k.published, owner)
		} else {
			k.published[owner] = left
		}
	}
	for _, p := range add {
		ports := k.published[p.Owner]
		ports.Add(p)
		k.published[p.Owner] = ports
	}
}

func bookByKey[T model.Object](book map[string]T, add, del []T) {
	for _, o := range del {
		delete(book, o.Key())
	}
	for _, o := range add {
		book[o.Key()] = o
	}
}
