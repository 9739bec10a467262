package host

import (
	"context"
	"log/slog"
	"net/netip"
	"os"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/drivers/single"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/ipam"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/ipams/null"
	"github.com/libnetwork/libnetwork/resolvconf"
)

func assemble(ctx context.Context, opts Options) (*engine.Engine, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	k, err := kernel.New(ctx, kernel.Config{
		DataDir: opts.DataDir, RunDir: opts.RunDir, Firewall: opts.Firewall, HeldPorts: opts.HeldPorts,
		NoTableOwner: opts.NoTableOwner, Sockets: opts.Sockets, Steps: opts.Steps, Logger: opts.Logger,
	})
	if err != nil {
		return nil, engine.WithClass(err, "open %s: %w", opts.RunDir, err)
	}
	managers, err := addressManagers(k, opts)
	if err != nil {
		_ = k.Close()
		return nil, engine.WithClass(err, "address managers: %w", err)
	}
	return engine.Open(ctx, engine.Config{
		DataDir: opts.DataDir, RunDir: opts.RunDir, Kernel: k,
		Drivers: []model.Driver{
			bridge.Driver{Group: kernel.Group(opts.DataDir), NoFirewall: opts.NoFirewall, DirectRouting: opts.DirectRouting},
			single.Host(), single.Null(),
		},
		IPAM: managers, KeepAlive: opts.KeepAlive, RemoveUnowned: opts.RemoveUnowned, Forwarding: opts.Forwarding, UserlandProxy: opts.UserlandProxy, TTL: opts.TTL,
		Logger: opts.Logger, Steps: opts.Steps,
	})
}

// addressManagers are the built-in ones.
func addressManagers(k *kernel.Kernel, opts Options) (map[string]ipamapi.Ipam, error) {
	local, global := ipam.LibraryBases()
	if opts.SmallPools {
		local, global = ipam.DaemonBases()
	}
	const subnetBits = 64
	local = append(local, ipam.Base{Prefix: ipam.ULABase(machineID()), Length: subnetBits})
	m, err := ipam.New(ipam.Config{Local: local, Global: global, Exclude: func() []netip.Prefix {
		return busy(k, opts.Logger)
	}})
	if err != nil {
		return nil, err
	}
	out := registry{ipamapi.DefaultIPAM: ipam.Default{Manager: m}}
	if err := null.Init(out, nil, nil); err != nil {
		return nil, err
	}
	return out, nil
}

// busy is what a pool of the address manager's choice must keep clear of: the
// subnets that the host has routes to, and its name servers.
func busy(k *kernel.Kernel, log *slog.Logger) []netip.Prefix {
	out, err := k.Busy(context.Background())
	if err != nil {
		log.Warn("read the host's routes", "err", err)
	}
	return append(out, nameServers(resolvconf.Get)...)
}

// nameServers are those of the host; a file that cannot be read has none.
func nameServers(read func() (*resolvconf.File, error)) (out []netip.Prefix) {
	file, err := read()
	if err != nil {
		return nil
	}
	for _, s := range resolvconf.GetNameservers(file.Content, resolvconf.IP) {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, netip.PrefixFrom(a.WithZone(""), a.BitLen()))
		}
	}
	return out
}

// machineID is stable for the machine; without one, every machine has the same.
func machineID() []byte {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil || len(id) == 0 {
		name, _ := os.Hostname()
		return []byte(name)
	}
	return id
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
