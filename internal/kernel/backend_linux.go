package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/sysctl"
	"github.com/libnetwork/libnetwork/types"
)

// A firewall keeps the rules of one data directory in the kernel. All
// implementations do the same for the same objects; they are safe for concurrent
// use.
type firewall interface {
	// Apply removes del and adds add: all of it, or nothing. Its error wraps
	// [model.ErrFirewallTampered] when the rules are not as they were left.
	Apply(ctx context.Context, add, del model.FirewallChange) error
	// Reconcile makes the rules exactly those that are wanted, and writes nothing if
	// they are. It returns what they were.
	Reconcile(ctx context.Context, want model.FirewallChange, g model.FirewallGuard) (found model.Finding, err error)
	// SetGuard changes for which families the host passes nothing through.
	SetGuard(ctx context.Context, g model.FirewallGuard) error
	// Guarded says for which families the host passes nothing through.
	Guarded(ctx context.Context) (v4, v6 bool, err error)
	// EnsureForeignAccept makes a foreign forward chain accept what ours accepts,
	// where it has a place for such a rule. It returns a line for each rule added.
	EnsureForeignAccept(ctx context.Context) ([]string, error)
	// RemoveForeignAccept takes those rules away again.
	RemoveForeignAccept(ctx context.Context) ([]string, error)
	// Untrack ends the counting for addresses that nothing leads to any more, and
	// returns those of which the kernel may remember connections.
	Untrack(ctx context.Context, list []model.Tracked) (used []netip.Addr, err error)
	// Tracked returns the addresses whose connections are counted.
	Tracked(ctx context.Context) ([]model.Tracked, error)
	// ForeignDNAT returns each publication that a rule of somebody else translates too.
	ForeignDNAT(ctx context.Context, ports []model.Port) ([]model.ForeignDNAT, error)
	// Close ends the use of the firewall. The rules stay.
	Close() error
}

// A redirector leads port 53 of 127.0.0.11 inside namespaces to the DNS server.
type redirector interface {
	// Set leads it to a port of that address; what is as wanted is not written.
	Set(ctx context.Context, nsFD int, port uint16) error
	unredirector
}

type unredirector interface {
	// Remove takes the redirect away; there being none is no error.
	Remove(ctx context.Context, nsFD int) error
}

// openFirewall opens the backend of the configuration. It changes nothing.
func (k *Kernel) openFirewall(ctx context.Context) error {
	backend, missing := k.cfg.Firewall, nft.Probe()
	if errors.Is(missing, unix.EPERM) {
		missing = nil // it is there, and not for us: to open it fails, and says so
	}
	auto := backend == "" || backend == Auto
	if auto {
		backend = NFTables
	}
	if auto && missing != nil {
		// The other variant of iptables needs the same of the kernel.
		backend = IPTablesLegacy
		k.log.Info("the kernel has no nftables, so the firewall is kept with legacy iptables", "err", missing)
	}
	lacks := func() error {
		return types.NotImplementedErrorf("firewall backend %s: this kernel has no nftables: choose the firewall backend %s: %w", backend, IPTablesLegacy, missing)
	}
	if missing != nil && backend == NFTables {
		return lacks()
	}
	f, err := k.openBackend(ctx, backend)
	if auto && errors.As(err, new(types.NoServiceError)) {
		// Before version 1.8 no program had the variant in its name.
		backend = IPTables
		f, err = k.openBackend(ctx, backend)
	}
	if err != nil {
		return err
	}
	k.firewall, k.backend = f, backend
	if ip, ok := f.(*ipt.Firewall); ok {
		k.backend = iptables(ip.Variant())
	}
	if missing != nil && k.backend == IPTablesNFT {
		return errors.Join(lacks(), f.Close())
	}
	k.redirect, err = redirectorOf(k.backend)
	if errors.As(err, new(types.NoServiceError)) {
		// Before version 1.8 no program had the variant in its name.
		k.redirect, err = redirectorOf(backend)
	}
	return err
}

func redirectorOf(b Backend) (redirector, error) {
	if b == NFTables {
		return new(nft.Redirector), nil
	}
	return ipt.NewRedirector(ipt.Config{Variant: variantOf(b)})
}

// Firewall says with which backend the firewall is kept, and what its tables or
// chains are called by.
func (k *Kernel) Firewall() (backend, table string) { return string(k.backend), Table(k.cfg.DataDir) }

// ForeignDNAT returns the published ports that rules of others translate too.
func (k *Kernel) ForeignDNAT(ctx context.Context, ports []model.Port) ([]model.ForeignDNAT, error) {
	found, err := k.firewall.ForeignDNAT(ctx, ports)
	if err != nil || k.backend == NFTables {
		return found, err
	}
	var native []model.ForeignDNAT
	err = k.host.Do(func() error {
		native, err = nft.ReadForeignDNAT(ctx, ports, func(family, table string) bool {
			return k.backend == IPTablesNFT && family != "inet" && slices.Contains(iptablesTables, table)
		})
		return err
	})
	return append(found, native...), err
}

// iptablesTables are those that iptables-nft has, and that its programs have read.
var iptablesTables = []string{"filter", "mangle", "nat", "raw", "security"}

// ForeignDrops returns the chains of others that drop what nothing in them accepts, also where a
// rule of ours has what we accept accepted in them, if they may be asked before ours.
func (k *Kernel) ForeignDrops(ctx context.Context) (list []model.ForeignDrop, err error) {
	err = k.host.Do(func() error { // programs are run, and they look where the thread is
		list, err = nft.Drops(ctx, Table(k.cfg.DataDir))
		return err
	})
	return slices.DeleteFunc(list, func(d model.ForeignDrop) bool {
		return !d.Input && !d.Bridged() && (k.comesFirst(d) || d.Marked && k.backend == NFTables || d.Firewalld && k.zone.accepts())
	}), err
}

// Frames says whether br_netfilter shows the frames of a family that bridges forward to the
// chains for IP.
func (k *Kernel) Frames(_ context.Context, v6 bool) (shown bool, err error) {
	setting := "bridge-nf-call-iptables"
	if v6 {
		setting = "bridge-nf-call-ip6tables"
	}
	value, err := sysctl.Read("net", "bridge", setting)
	if errors.As(err, new(types.NotFoundError)) {
		return false, nil // the module is not loaded
	}
	return err == nil && value != "0", err
}

// Asleep returns the tables of iptables-nft that somebody has made dormant, if that is the backend.
func (k *Kernel) Asleep(ctx context.Context) (tables []string, err error) {
	if k.backend != IPTablesNFT {
		return nil, nil // our own are woken at once, and legacy tables do not sleep
	}
	err = k.host.Do(func() error {
		tables, err = nft.AsleepIPTables(ctx)
		return err
	})
	return tables, err
}

// comesFirst says whether our own chains are in a chain for what is forwarded, before
// all else.
func (k *Kernel) comesFirst(d model.ForeignDrop) bool {
	return d.Chain == "FORWARD" && d.Family != "inet" && (k.backend == IPTablesNFT && d.Table == "filter" ||
		k.backend == IPTablesLegacy && d.Table == nft.LegacyFilter)
}

// openBackend opens a backend for the rules of the data directory.
func (k *Kernel) openBackend(ctx context.Context, b Backend) (firewall, error) {
	if b == NFTables {
		return nft.Open(ctx, nft.Config{
			Table: Table(k.cfg.DataDir), NoOwner: k.cfg.NoTableOwner, Sockets: k.cfg.Sockets, Steps: k.cfg.Steps, Logger: k.log,
		})
	}
	return ipt.Open(ctx, k.iptConfig(b))
}

func (k *Kernel) iptConfig(b Backend) ipt.Config {
	return ipt.Config{
		Name: Table(k.cfg.DataDir), Variant: variantOf(b), NoOwner: k.cfg.NoTableOwner, Steps: k.cfg.Steps, Logger: k.log,
	}
}

func iptables(v ipt.Variant) Backend { return IPTables + "-" + Backend(v) }

func variantOf(b Backend) ipt.Variant {
	switch b {
	case IPTablesNFT:
		return ipt.NFT
	case IPTablesLegacy:
		return ipt.Legacy
	}
	return ipt.Any
}

// findOthers looks for rules that an earlier process has kept with another backend. It
// changes nothing.
func (k *Kernel) findOthers(ctx context.Context) error {
	var errs []error
	for _, b := range []Backend{NFTables, IPTablesNFT, IPTablesLegacy} {
		if b == k.backend {
			continue
		}
		there, err := k.hasRules(ctx, b)
		if err == nil && there {
			k.switched = true
			var r unredirector
			if r, err = formerRedirector(b); err == nil {
				k.others, k.former = append(k.others, b), append(k.former, r)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("rules of the firewall backend %s: %w", b, err))
		}
	}
	k.left.Store(len(k.others) > 0)
	return errors.Join(errs...)
}

// hasRules says whether a backend has rules of ours. It needs no programs, and changes
// nothing.
func (k *Kernel) hasRules(ctx context.Context, b Backend) (there bool, err error) {
	name := Table(k.cfg.DataDir)
	if b == NFTables {
		return nft.TableExists(ctx, name)
	}
	err = k.host.Do(func() error {
		there, err = ipt.Present(ctx, name, variantOf(b))
		return err
	})
	return there, err
}

func formerRedirector(b Backend) (unredirector, error) {
	if b == IPTablesNFT {
		return ipt.FormerNFT{}, nil
	}
	r, err := redirectorOf(b)
	if errors.As(err, new(types.NoServiceError)) {
		err = fmt.Errorf("an earlier start has left them, and they cannot be removed: what they publish may lead to containers that do not: %w; start again then, or restart the host", err)
	}
	return r, err
}

// retireOthers removes the rules that findOthers has found. Those of this backend stand
// already, so nothing is open meanwhile, and connections go on: their translation is the
// connection tracking's. What is left inside of namespaces is told by these rules alone,
// so they go after it.
func (k *Kernel) retireOthers(ctx context.Context) error {
	var errs []error
	for _, b := range k.others {
		if err := k.retire(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("removing the rules of the firewall backend %s: %w", b, err))
		}
	}
	if len(errs) == 0 {
		k.others = nil
		k.left.Store(false)
	}
	return errors.Join(errs...)
}

func (k *Kernel) retire(ctx context.Context, b Backend) (err error) {
	var removed bool
	if b == IPTablesNFT {
		removed, err = ipt.RetireNFT(ctx, k.iptConfig(b))
	} else {
		var f firewall
		if f, err = k.openBackend(ctx, b); err == nil {
			var found model.Finding
			found, err = f.Reconcile(ctx, model.FirewallChange{}, model.FirewallGuard{})
			removed, err = found != model.FoundRight, errors.Join(err, f.Close())
		}
	}
	if removed {
		k.log.Info("the rules of another firewall backend have been removed", "backend", b)
	}
	return err
}

// setRedirect makes a redirect, and takes that of a former backend away.
func (k *Kernel) setRedirect(ctx context.Context, ns *netns.Namespace, port uint16) error {
	err := k.redirect.Set(ctx, ns.FD(), port)
	for _, r := range k.former {
		err = errors.Join(err, r.Remove(ctx, ns.FD()))
	}
	return err
}

// removeRedirect takes a redirect away, of whatever backend.
func (k *Kernel) removeRedirect(ctx context.Context, ns *netns.Namespace) error {
	err := k.redirect.Remove(ctx, ns.FD())
	for _, r := range k.former {
		err = errors.Join(err, r.Remove(ctx, ns.FD()))
	}
	return err
}
