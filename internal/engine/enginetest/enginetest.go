// Package enginetest is a kernel in memory and an engine on it, for tests that
// need neither root nor Linux.
//
// A Kernel remembers objects and makes none; its DNS sockets are real ones on the
// host's loopback. It may be used from many goroutines. It does not tell whether
// the real kernel would accept an object.
package enginetest

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/drivers/single"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/ipam"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/ipams/null"
	"github.com/libnetwork/libnetwork/types"
)

// Group is the link group of the bridges in memory.
const Group = 7

// Kernel is a kernel in memory. The zero value is empty and works.
type Kernel struct {
	// Fail is asked before each object is made or removed; nil never fails. It is
	// set before the first use.
	Fail func(op string, o model.Object) error
	// FailForward is asked in the same way before forwarding is turned on or off.
	FailForward func(v6, on bool) error
	// Cookie tells the host's namespace from others; set before there is an engine.
	Cookie string
	// Others says whether another data directory has bridges; nil for no.
	Others func() bool

	mu         sync.Mutex // guards the following
	objects    map[string]model.Object
	foreign    []model.ForeignDNAT
	busy       map[uint16]bool
	namespaces map[string]bool // of somebody else
	forwarding map[bool]bool   // by IPv6
	guard      model.FirewallGuard
	lost       func(link string, others bool)
	rules      func()
	told       func(action, object string)
	stopped    func()
	lostRules  []model.Object
}

// AddNamespace makes path a network namespace of somebody else.
func (k *Kernel) AddNamespace(path string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.namespaces == nil {
		k.namespaces = make(map[string]bool)
	}
	k.namespaces[path] = true
}

// Keys are the keys of all objects, sorted.
func (k *Kernel) Keys() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.objects))
}

// Create makes objects.
func (k *Kernel) Create(ctx context.Context, objs []model.Object) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for i, o := range objs {
		if k.Fail != nil {
			if err := k.Fail("create", o); err != nil {
				return errors.Join(err, k.Delete(context.WithoutCancel(ctx), objs[:i]))
			}
		}
		k.put(o)
	}
	return nil
}

func (k *Kernel) put(o model.Object) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.objects == nil {
		k.objects = make(map[string]model.Object)
	}
	k.objects[o.Key()] = o
}

// Delete removes objects.
func (k *Kernel) Delete(_ context.Context, objs []model.Object) error {
	var errs []error
	for _, o := range objs {
		if k.Fail != nil {
			if err := k.Fail("delete", o); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		k.mu.Lock()
		delete(k.objects, o.Key())
		if ns, ok := o.(model.Namespace); ok {
			maps.DeleteFunc(k.objects, func(_ string, o model.Object) bool { return inside(o) == ns.Path })
		}
		k.mu.Unlock()
	}
	return errors.Join(errs...)
}

// inside is the path of the namespace that an object goes with.
func inside(o model.Object) string {
	switch o := o.(type) {
	case model.Redirect:
		return o.Netns
	case model.DefaultRoute:
		return o.Netns
	}
	return ""
}

// EgressMTU is that of a host without a default route.
func (*Kernel) EgressMTU(context.Context) (int, error) { return 0, nil }

// Recover makes the wanted objects all that there are, and says which bridges and veths
// were missing.
func (k *Kernel) Recover(_ context.Context, want []model.Object, keep bool) (r model.Recovery, err error) {
	k.mu.Lock()
	for _, o := range want {
		if _, there := k.objects[o.Key()]; !there && (o.Order() == model.OrderBridge || o.Order() == model.OrderVeth) {
			r.Links = append(r.Links, o.Key())
		}
	}
	if keep {
		r.Kept = slices.Sorted(maps.Keys(k.objects))
	} else {
		k.objects = nil
	}
	k.mu.Unlock()
	for _, o := range want {
		k.put(o)
	}
	return r, nil
}

// CheckNamespace fails for a namespace that has neither been made nor added.
func (k *Kernel) CheckNamespace(path string) error {
	if !k.NamespaceAlive(path) {
		return types.BadRequestErrorf("%s is not a network namespace", path)
	}
	return nil
}

// NamespaceAlive says whether a namespace has been made or added.
func (k *Kernel) NamespaceAlive(path string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ours := k.objects[model.Namespace{Path: path}.Key()]
	return ours || k.namespaces[path]
}

// Link finds a bridge.
func (k *Kernel) Link(_ context.Context, name string) (model.HostLink, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b, ok := k.objects[model.Bridge{Name: name}.Key()].(model.Bridge)
	return model.HostLink{Name: b.Name, Kind: "bridge", Group: b.Group, Addrs: b.Addrs}, ok, nil
}

// Listens makes another program have ports of the host.
func (k *Kernel) Listens(ports ...uint16) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy == nil {
		k.busy = make(map[uint16]bool)
	}
	for _, p := range ports {
		k.busy[p] = true
	}
}

// Hold takes nothing: the engine's own account of ports, and what Listens was told,
// is all there is.
func (k *Kernel) Hold(_ context.Context, p model.Port) (hostport.Kept, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for port := int(p.First); port <= int(p.Last); port++ {
		if k.busy[uint16(port)] {
			return nil, types.ForbiddenErrorf("port %d is in use: held by nginx (pid 7)", port)
		}
	}
	return portHold{}, nil
}

// BusyPorts returns what Listens was told.
func (k *Kernel) BusyPorts(context.Context, uint8, []netip.Addr) (map[uint16]bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.busy), nil
}

// Resume is Hold.
func (k *Kernel) Resume(ctx context.Context, p model.Port) (hostport.Kept, error) {
	return k.Hold(ctx, p)
}

type portHold struct{}

func (portHold) Close() error      { return nil }
func (portHold) How() hostport.How { return hostport.Held }

// Listen opens sockets on the host's loopback, at a port of its choice.
func (k *Kernel) Listen(string, netip.AddrPort) (net.PacketConn, net.Listener, error) {
	lc := new(net.ListenConfig)
	udp, err := lc.ListenPacket(context.Background(), "udp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	tcp, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, errors.Join(err, udp.Close())
	}
	return udp, tcp, nil
}

// Dial refuses: nothing is behind the names of a test.
func (k *Kernel) Dial(_ context.Context, _, _, address string) (net.Conn, error) {
	return nil, types.NoServiceErrorf("dial %s: there is no network in memory", address)
}

// Statistics are all zero.
func (k *Kernel) Statistics(context.Context, string, string) (*types.InterfaceStatistics, error) {
	return &types.InterfaceStatistics{}, nil
}

// Forwarding says what was asked for last.
func (k *Kernel) Forwarding(_ context.Context, v6 bool) (on bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.forwarding[v6], nil
}

// BeforeForwarding is nothing: there are no links.
func (k *Kernel) BeforeForwarding(ctx context.Context, v6 bool) (b model.BeforeForwarding, off bool, err error) {
	on, err := k.Forwarding(ctx, v6)
	return b, !on, err
}

// StopsAt are none.
func (*Kernel) StopsAt(context.Context) ([]string, error) { return nil, nil }

// Forward remembers what is asked.
func (k *Kernel) Forward(_ context.Context, v6, on bool, _ model.BeforeForwarding) error {
	if k.FailForward != nil {
		if err := k.FailForward(v6, on); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.forwarding == nil {
		k.forwarding = make(map[bool]bool)
	}
	k.forwarding[v6] = on
	return nil
}

// Firewall is that of nftables in the default data directory.
func (*Kernel) Firewall() (backend, table string) { return "nftables", "libnetwork" }

// AddForeignDNAT makes a rule of somebody else translate a published port.
func (k *Kernel) AddForeignDNAT(f model.ForeignDNAT) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.foreign = append(k.foreign, f)
}

// ForeignDNAT returns what was added of it for the ports.
func (k *Kernel) ForeignDNAT(_ context.Context, ports []model.Port) (found []model.ForeignDNAT, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.foreign {
		for _, p := range ports {
			if f.Port.Proto == p.Proto && f.Port.First <= p.Last && p.First <= f.Port.Last {
				f.Port, f.Ports = p, [][2]uint16{{f.Port.First, f.Port.Last}}
				found = append(found, f)
			}
		}
	}
	return found, nil
}

// Addresses cannot be told.
func (k *Kernel) Addresses(context.Context) ([]netip.Addr, error) { return nil, nil }

// Asleep is none.
func (k *Kernel) Asleep(context.Context) ([]string, error) { return nil, nil }

// ForeignDrops are none.
func (k *Kernel) ForeignDrops(context.Context) ([]model.ForeignDrop, error) { return nil, nil }

// Frames are shown to nobody.
func (k *Kernel) Frames(context.Context, bool) (shown bool, err error) { return false, nil }

// Neighbours are none, but needed as Others says.
func (k *Kernel) Neighbours(context.Context, model.BeforeForwarding, model.BeforeForwarding) (g model.FirewallGuard, needed bool, err error) {
	return g, k.Others != nil && k.Others(), nil
}

// Namespace is what Cookie says.
func (k *Kernel) Namespace() string { return k.Cookie }

// Guard remembers what is asked.
func (k *Kernel) Guard(_ context.Context, g model.FirewallGuard) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.guard = g
	return nil
}

// Guarded says what Guard was asked for last.
func (k *Kernel) Guarded(context.Context) (v4, v6 bool, err error) {
	g := k.Guards()
	return g.V4, g.V6, nil
}

// Guards is what Guard was asked for last.
func (k *Kernel) Guards() model.FirewallGuard {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.guard
}

// Watch hears of what Lose is told.
func (k *Kernel) Watch(lost func(link string, others bool), rules, forwarding func(), foreign func(action, object string)) (run func(context.Context) error, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lost, k.rules, k.told, k.stopped = lost, rules, foreign, forwarding
	return func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}, nil
}

// Lose takes objects away as somebody else would, and tells of it. Of a link the
// name is told, of anything else that the rules have changed.
func (k *Kernel) Lose(objs ...model.Object) {
	k.mu.Lock()
	for _, o := range objs {
		delete(k.objects, o.Key())
		switch o.(type) {
		case model.FirewallNetwork, model.Port:
			k.lostRules = append(k.lostRules, o)
		}
	}
	lost, rules := k.lost, k.rules
	k.mu.Unlock()
	for _, o := range objs {
		switch o := o.(type) {
		case model.Bridge:
			lost(o.Name, false)
		case model.Veth:
			lost(o.Host, false)
		default:
			rules()
		}
	}
}

// Theirs tells of a bridge of others that has come or gone.
func (k *Kernel) Theirs(name string) {
	k.mu.Lock()
	lost := k.lost
	k.mu.Unlock()
	lost(name, true)
}

// StopForwarding turns forwarding off as somebody else would, and tells of it.
func (k *Kernel) StopForwarding(v6 bool) {
	k.mu.Lock()
	k.forwarding[v6] = false
	stopped := k.stopped
	k.mu.Unlock()
	stopped()
}

// Foreign tells of firewalld.
func (k *Kernel) Foreign(action, object string) {
	k.mu.Lock()
	told := k.told
	k.mu.Unlock()
	told(action, object)
}

// RepairLinks makes missing bridges and veths again.
func (k *Kernel) RepairLinks(ctx context.Context, want []model.Object) (repaired []string, err error) {
	for _, o := range want {
		switch o.(type) {
		case model.Bridge, model.Veth:
		default:
			continue
		}
		k.mu.Lock()
		_, there := k.objects[o.Key()]
		k.mu.Unlock()
		if !there {
			if err := k.Create(ctx, []model.Object{o}); err != nil {
				return repaired, err
			}
			repaired = append(repaired, o.Key())
		}
	}
	return repaired, nil
}

// Survey finds nothing: Lose tells of all that goes.
func (k *Kernel) Survey(context.Context, []model.Object) (lost []string, err error) { return nil, nil }

// RepairRules makes the rules again that Lose has taken.
func (k *Kernel) RepairRules(ctx context.Context) (found model.Finding, err error) {
	k.mu.Lock()
	objs := k.lostRules
	k.lostRules = nil
	k.mu.Unlock()
	if len(objs) > 0 {
		found = model.FoundWrong
	}
	return found, k.Create(ctx, objs)
}

// Close does nothing.
func (k *Kernel) Close() error { return nil }

// Open opens an engine with the built-in drivers and address managers on k. Its
// host has no name servers.
func Open(ctx context.Context, k *Kernel, dataDir, runDir string, log *slog.Logger) (*engine.Engine, error) {
	local, global := ipam.DaemonBases()
	local = append(local, ipam.Base{Prefix: ipam.ULABase([]byte("test")), Length: 64})
	m, err := ipam.New(ipam.Config{Local: local, Global: global})
	if err != nil {
		return nil, err
	}
	managers := registry{ipamapi.DefaultIPAM: ipam.Default{Manager: m}}
	if err := null.Init(managers, nil, nil); err != nil {
		return nil, err
	}
	return engine.Open(ctx, engine.Config{
		DataDir: dataDir, RunDir: runDir, Kernel: k,
		Drivers: []model.Driver{bridge.Driver{Group: Group}, single.Host(), single.Null()},
		IPAM:    managers, KeepAlive: true, Forwarding: true, ResolvConf: dataDir + "/no-resolv.conf", Logger: log,
	})
}

// registry collects address managers that register themselves.
type registry map[string]ipamapi.Ipam

// RegisterIpamDriver takes an address manager.
func (r registry) RegisterIpamDriver(name string, driver ipamapi.Ipam) error {
	r[name] = driver
	return nil
}

// RegisterIpamDriverWithCapabilities takes an address manager.
func (r registry) RegisterIpamDriverWithCapabilities(name string, driver ipamapi.Ipam, _ *ipamapi.Capability) error {
	return r.RegisterIpamDriver(name, driver)
}
