// Package engine owns all state: one object for each id of a network, endpoint
// and sandbox. It takes operations in turns, decides with package model, moves
// the kernel with package apply, commits once, and then publishes.
//
// The memory of the engine is the truth. The store is written with every change
// and read at the start; the kernel is changed and, but for a start, not asked.
// What an operation has answered is in the store; what is in the store and not
// in the kernel, or the other way round, is put right at the next start.
//
// All methods may be called from many goroutines. Operations on different
// objects run in parallel, those on one object one after the other (see turns).
// No mutex is held while the kernel, the store, an address manager or a caller's
// function is called. Lock order: Engine.mu before zone.mu; nothing else nests.
//
// The engine's goroutines are the embedded DNS servers, one that watches the
// processes that own sandboxes, and those that hear of and repair what somebody
// else takes away. Close ends and awaits them.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/internal/store"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// Kinds of records in the store.
const (
	kindNetwork  = "network"
	kindEndpoint = "endpoint"
	kindSandbox  = "sandbox"
	kindHost     = "host"
)

// Config says what an engine is made of.
type Config struct {
	// DataDir and RunDir are the directories of state and run-time state.
	DataDir, RunDir string
	Kernel          Kernel
	Drivers         []model.Driver
	// IPAM holds the address managers by name.
	IPAM map[string]ipamapi.Ipam
	// KeepAlive keeps sandboxes over a restart; without it they are removed, with
	// their endpoints, when the engine starts.
	KeepAlive bool
	// RemoveUnowned removes, when the engine starts, what is ours by its mark but is
	// named by no record, also if all records were lost.
	RemoveUnowned bool
	// Forwarding lets the engine turn packet forwarding on when a network needs it.
	Forwarding bool
	// UserlandProxy forwards published ports in this process too, wherever the
	// kernel's rules do not.
	UserlandProxy bool
	// ResolvConf is the host's resolver configuration; empty: /etc/resolv.conf.
	ResolvConf string
	// TTL is how long clients may remember local names; 0: 5 s.
	TTL time.Duration
	// BootID identifies this run of the machine; empty: what the machine says.
	BootID string
	Ports  *hostport.Space // nil: a space of its own
	Logger *slog.Logger    // nil: slog.Default
	Steps  *step.Counter   // numbers every change; nil: none
}

// Engine is the state of one data directory.
type Engine struct {
	cfg    Config
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	store  *store.Local
	kernel Kernel
	ports  portBook
	turns  turns
	events broadcaster
	healer *healer
	dns    dnsStats
	wg     sync.WaitGroup

	// unowned names what lost records have left in the kernel; set before anybody has
	// the engine.
	unowned string

	closeOnce sync.Once
	closeErr  error

	mu        sync.RWMutex // guards the following
	drivers   map[string]model.Driver
	ipam      map[string]ipamEntry
	networks  map[string]*Network
	sandboxes map[string]*Sandbox
	endpoints map[string]*Endpoint
	// byName and byContainer find networks by scope and name, and sandboxes.
	byName      map[string]*Network
	byContainer map[string]*Sandbox
	// linkers are the sandboxes that have links.
	linkers map[*Sandbox]struct{}
	// planned are the networks that are being made: they count as conflicts.
	planned map[string]*model.Network
	// pending is what an earlier process has left for drivers that are not there yet.
	pending map[string]pending
	// waiting are networks whose address manager is not there yet.
	waiting []*model.Network
	// forwarding says which families we have turned on. What follows needs the turn of that: how
	// the host is guarded, for whose sake it was left on at last, and since when nobody needs it.
	forwarding forwarding
	guarded    model.FirewallGuard // as it was asked for last
	kept       string
	unneeded   time.Time
	boot       string // this run of the machine, and the host's namespace

	hostConf hostConf
}

type ipamEntry struct {
	ipamapi.Ipam
	local, global string // default address spaces
	needsMAC      bool
}

// Open reads the store, recovers, and returns a running engine.
func Open(ctx context.Context, cfg Config) (_ *Engine, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.TTL == 0 {
		cfg.TTL = 5 * time.Second
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	if cfg.Ports == nil {
		cfg.Ports = hostport.NewSpace(hostport.EphemeralRange())
	}
	e := &Engine{
		cfg: cfg, log: cfg.Logger, kernel: cfg.Kernel, healer: newHealer(),
		drivers:   make(map[string]model.Driver),
		ipam:      make(map[string]ipamEntry),
		networks:  make(map[string]*Network),
		sandboxes: make(map[string]*Sandbox), endpoints: make(map[string]*Endpoint),
		byName: make(map[string]*Network), byContainer: make(map[string]*Sandbox),
		planned: make(map[string]*model.Network), pending: make(map[string]pending),
	}
	e.ports.space, e.ports.proxy = cfg.Ports, cfg.UserlandProxy
	e.hostConf.path = cfg.ResolvConf
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = WithClass(err, "open %s: %w", cfg.DataDir, errors.Join(err, e.Close()))
		}
	}()
	for _, d := range cfg.Drivers {
		if err := e.registerDriver(d); err != nil {
			return nil, err
		}
	}
	for name, i := range cfg.IPAM {
		if err := e.RegisterIPAM(name, i, false); err != nil {
			return nil, err
		}
	}
	boot := cfg.BootID
	if boot == "" {
		if boot, err = bootID(); err != nil {
			return nil, err
		}
	}
	e.boot = strings.TrimSpace(boot + " " + e.kernel.Namespace())
	// From before the recovery, so that nothing is lost in between.
	watch, err := e.kernel.Watch(e.healer.tell, e.healer.tellRules, e.healer.tellForwarding, e.noteForeign)
	if err != nil {
		return nil, err
	}
	e.wg.Go(func() { e.logErr("watch the host", cfg.DataDir, watch(e.ctx)) })
	e.store, err = store.Open(ctx, store.Config{
		DataDir: cfg.DataDir, RunDir: cfg.RunDir, BootID: boot, Steps: cfg.Steps, Logger: e.log,
	})
	if err != nil {
		return nil, err
	}
	if err := e.recover(ctx); err != nil {
		return nil, err
	}
	e.wg.Go(e.watchOwners)
	e.wg.Go(e.heal)
	return e, nil
}

// bootID identifies this run of the machine. Linux has one: without it, what is
// alive would be taken for what an earlier boot has left. Systems that have none
// give the empty string, which is never another boot's.
func bootID() (string, error) {
	if runtime.GOOS != "linux" {
		return "", nil
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", types.InternalErrorf("identify the boot, without which no state can be trusted; is /proc mounted? %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Close ends what the process runs and gives the directories back. Networks and
// sandboxes stay in the kernel. A second call returns what the first did.
func (e *Engine) Close() error {
	e.closeOnce.Do(func() {
		e.cancel()
		// What an operation has opened when it ends is closed below.
		e.turns.close()
		for _, s := range e.Sandboxes() {
			s.stopResolver()
		}
		e.wg.Wait()
		e.events.close()
		var errs []error
		e.ports.close()
		if e.store != nil {
			errs = append(errs, e.store.Close())
		}
		errs = append(errs, e.kernel.Close())
		e.closeErr = errors.Join(errs...)
	})
	return e.closeErr
}

// Context ends when the engine is closed. Calls that have none of their own run
// under it.
func (e *Engine) Context() context.Context { return e.ctx }

// RunDir is the directory of run-time state.
func (e *Engine) RunDir() string { return e.cfg.RunDir }

func (e *Engine) registerDriver(d model.Driver) error {
	if strings.TrimSpace(d.Type()) == "" {
		return ErrInvalidName(d.Type())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.drivers[d.Type()]; ok {
		return driverapi.ErrActiveRegistration(d.Type())
	}
	e.drivers[d.Type()] = d
	return nil
}

// RegisterIPAM makes an address manager known by a name. It fails with
// ErrInvalidName for a blank name, Forbidden for one that is taken, and Internal
// if the manager does not say its address spaces. Networks of that manager that an
// earlier process had come back.
func (e *Engine) RegisterIPAM(name string, i ipamapi.Ipam, needsMAC bool) error {
	if strings.TrimSpace(name) == "" {
		return ErrInvalidName(name)
	}
	if i == nil {
		return types.BadRequestErrorf("address manager %s: there is none to register", name)
	}
	local, global, err := i.GetDefaultAddressSpaces()
	if err != nil {
		return types.InternalErrorf("address manager %s: default address spaces: %w", name, err)
	}
	e.mu.Lock()
	if _, ok := e.ipam[name]; ok {
		e.mu.Unlock()
		return types.ForbiddenErrorf("address manager %s is registered already", name)
	}
	e.ipam[name] = ipamEntry{Ipam: i, local: local, global: global, needsMAC: needsMAC}
	var late []*model.Network
	e.waiting = slices.DeleteFunc(e.waiting, func(n *model.Network) bool {
		if n.IPAM.Driver != name {
			return false
		}
		late = append(late, n)
		return true
	})
	e.mu.Unlock()
	for _, n := range late {
		e.restoreLate(n)
	}
	return nil
}

func (e *Engine) driver(name string) (model.Driver, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	d, ok := e.drivers[name]
	if !ok {
		known := make([]string, 0, len(e.drivers))
		for n := range e.drivers {
			known = append(known, n)
		}
		slices.Sort(known)
		return nil, types.NotFoundErrorf("network driver %s not found: there are %s", name, strings.Join(known, ", "))
	}
	return d, nil
}

func (e *Engine) addressManager(name string) (ipamEntry, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	i, ok := e.ipam[name]
	if !ok {
		return ipamEntry{}, types.BadRequestErrorf("address manager %s not found", name)
	}
	return i, nil
}

// commit writes operations in one commit. Transient objects are not written.
func (e *Engine) commit(ctx context.Context, ops ...store.Op) error {
	if len(ops) == 0 {
		return nil
	}
	if err := e.store.Commit(ctx, ops...); err != nil {
		return types.InternalErrorf("write the store: %w", err)
	}
	return nil
}

// env is what a driver may know, without the other networks.
func (e *Engine) env(ctx context.Context) model.Env {
	return model.Env{
		Link: func(name string) (model.HostLink, bool) {
			l, ok, err := e.kernel.Link(ctx, name)
			if err != nil {
				e.log.Warn("look up link", "link", name, "err", err)
			}
			return l, ok
		},
		EgressMTU: func() int {
			mtu, err := e.kernel.EgressMTU(ctx)
			if err != nil {
				e.log.Warn("look up the MTU of the default route", "err", err)
			}
			return mtu
		},
	}
}

// networksOfLocked returns the networks of a driver, those being made included.
func (e *Engine) networksOfLocked(driver string) []*model.Network {
	return slices.DeleteFunc(e.recordsLocked(), func(r *model.Network) bool { return r.Driver != driver })
}

// recordsLocked returns the records of all networks, of planned ones too.
func (e *Engine) recordsLocked() []*model.Network {
	out := slices.AppendSeq(make([]*model.Network, 0, len(e.networks)+len(e.planned)), maps.Values(e.planned))
	for _, n := range e.networks {
		out = append(out, n.Record())
	}
	return out
}

func (e *Engine) network(id string) *Network {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.networks[id]
}

// forwarding says for which families we have turned packet forwarding on.
type forwarding struct {
	V4 bool `json:"v4,omitempty"`
	V6 bool `json:"v6,omitempty"`
	// Before4 and Before6 are what there was before.
	Before4 model.BeforeForwarding `json:"before4,omitzero"`
	Before6 model.BeforeForwarding `json:"before6,omitzero"`
	// Boot is the run of the machine, and the namespace, that this is about.
	Boot string `json:"boot,omitempty"`
}

func (f forwarding) on() bool { return f.V4 || f.V6 }

func (f forwarding) has(v6 bool) bool { return v6 && f.V6 || !v6 && f.V4 }
