package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/libnetwork/libnetwork/internal/apply"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// Network is the one object of a network.
type Network struct {
	e    *Engine
	drv  model.Driver
	rec  atomic.Pointer[model.Network]
	zone zone
	// gone says that the deletion has begun; it is withdrawn if that fails.
	gone atomic.Bool
	// endpoints are the network's, by name. Guarded by Engine.mu.
	endpoints map[string]*Endpoint
	// pins counts the endpoints that are being made without a turn at the network;
	// with one, its deletion does not begin. Guarded by Engine.mu.
	pins int
}

// NetworkRequest says what a new network shall be.
type NetworkRequest struct {
	Driver, Name                         string
	IPv6, Internal, DeferIPv6, Transient bool
	// NoIPv4 makes a network of IPv6 alone.
	NoIPv4          bool
	Options, Labels map[string]string
	// Generic are further options by label, for outside drivers.
	Generic map[string]any
	// IPAM holds what the user wants of it: Driver, Space, Options, Conf4, Conf6.
	IPAM model.IPAM
}

// Record returns the network's record, which is not to be changed.
func (n *Network) Record() *model.Network { return n.rec.Load() }

// ID returns the network's id.
func (n *Network) ID() string { return n.Record().ID }

// Name returns the network's name.
func (n *Network) Name() string { return n.Record().Name }

// CreateNetwork makes a network. See the issue of errors in package
// documentation: BadRequest for what cannot be, Forbidden for what is in the way
// of another network, and NetworkNameError for a name that is taken.
func (e *Engine) CreateNetwork(ctx context.Context, req NetworkRequest) (*Network, error) {
	done, err := e.turns.take(ctx, shared(turnPools, ""))
	if err != nil {
		return nil, err
	}
	defer done()
	return e.createNetwork(ctx, req)
}

// createNetwork is CreateNetwork for those who have the turn of the pools, or cannot
// wait for it.
func (e *Engine) createNetwork(ctx context.Context, req NetworkRequest) (*Network, error) {
	if strings.TrimSpace(req.Name) == "" {
		return nil, ErrInvalidName(req.Name)
	}
	drv, err := e.driver(req.Driver)
	if err != nil {
		return nil, err
	}
	traits := drv.Traits()
	if traits.Scope != "local" {
		return nil, types.ForbiddenErrorf("network %s: type %s is for several hosts, and no store for the scope %s is configured", req.Name, req.Driver, traits.Scope)
	}
	if e.unowned != "" && !traits.Single && !isOutside(drv) {
		return nil, types.ForbiddenErrorf("network %s: the records of what there was before were lost, and it is still there, perhaps in use, with addresses and ports that nobody knows: %s; end what uses it and start once with --remove-unowned",
			req.Name, e.unowned)
	}
	wanted := []turn{exclusive("name", traits.Scope+"/"+req.Name)}
	if traits.Single {
		wanted = append(wanted, exclusive("type", req.Driver))
	}
	done, err := e.turns.take(ctx, wanted...)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := e.admit(drv, req.Name); err != nil {
		return nil, err
	}

	rec := newNetworkRecord(req, traits)
	var undo undoList
	fail := func(err error) (*Network, error) {
		undo.run()
		e.relaxForwarding(context.WithoutCancel(ctx), 0)
		return nil, err
	}
	if err := e.plan(ctx, drv, rec, &undo); err != nil {
		return fail(err)
	}
	n := e.newNetwork(drv, rec)
	if err := e.ensureForwarding(ctx, rec, e.countForwarding); err != nil {
		return fail(err)
	}
	if isOutside(drv) {
		p := pending{Driver: rec.Driver, Network: rec.ID}
		if err := e.commit(ctx, p.put()); err != nil {
			return fail(opError("create network", rec.Name, rec.ID, err))
		}
		undo.add(func() { e.logErr("drop pending record", rec.ID, e.commit(context.WithoutCancel(ctx), p.drop())) })
	}
	log, err := apply.Apply(ctx, e.floor(), nil, drv.Network(rec))
	if err != nil {
		return fail(opError("create network", rec.Name, rec.ID, err))
	}
	// Another data directory whose last network went has turned off what was on before, unless
	// it has seen the bridge.
	if e.cfg.Forwarding {
		if err := e.ensureForwarding(ctx, rec, nil); err != nil {
			return fail(errors.Join(err, log.Undo(ctx)))
		}
	}
	if err := e.commit(ctx, n.put()...); err != nil {
		return fail(opError("create network", rec.Name, rec.ID, err, log.Undo(ctx)))
	}
	e.mu.Lock()
	delete(e.planned, rec.ID)
	e.networks[rec.ID] = n
	e.byName[nameKey(rec)] = n
	e.mu.Unlock()
	n.emit("create", nil)
	return n, nil
}

func (e *Engine) newNetwork(drv model.Driver, rec *model.Network) *Network {
	n := &Network{e: e, drv: drv, endpoints: make(map[string]*Endpoint)}
	n.rec.Store(rec)
	return n
}

// admit refuses a name that is taken and a second network of a single driver.
func (e *Engine) admit(drv model.Driver, name string) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if _, taken := e.byName[drv.Traits().Scope+"/"+name]; taken {
		return NetworkNameError(name)
	}
	if drv.Traits().Single && len(e.networksOfLocked(drv.Type())) > 0 {
		return types.ForbiddenErrorf("network %s: there can be only one network of type %s", name, drv.Type())
	}
	return nil
}

// plan settles a new network's options and addresses, and lists it as planned.
func (e *Engine) plan(ctx context.Context, drv model.Driver, rec *model.Network, undo *undoList) error {
	env := e.env(ctx)
	asked := rec.Transient
	if err := drv.Prepare(rec, env); err != nil {
		return err
	}
	if e.cfg.KeepAlive {
		// The driver's default network is made anew at each start by who ends his
		// containers with it; those that go on need it.
		rec.Transient = asked
	}
	if drv.Traits().Addresses {
		if err := e.allocate(rec, undo); err != nil {
			return err
		}
	}
	// What the driver sees of other networks and the entry in the plan are one
	// step, or two creations at once would both see no conflict.
	host := make(map[string]model.HostLink)
	if rec.Bridge != nil {
		if l, ok := env.Link(rec.Bridge.Link); ok {
			host[l.Name] = l
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	env.Others = e.networksOfLocked(rec.Driver)
	env.Link = func(name string) (model.HostLink, bool) { l, ok := host[name]; return l, ok }
	if err := drv.Plan(rec, env); err != nil {
		return err
	}
	e.planned[rec.ID] = rec
	undo.add(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.planned, rec.ID)
	})
	return nil
}

func newNetworkRecord(req NetworkRequest, traits model.Traits) *model.Network {
	rec := &model.Network{
		Version: model.Version, ID: newID(), Name: req.Name, Driver: req.Driver, Scope: traits.Scope,
		Created: time.Now().UTC(), IPv6: req.IPv6, NoIPv4: req.NoIPv4, Internal: req.Internal, DeferIPv6: req.DeferIPv6,
		Transient: req.Transient, Options: req.Options, Labels: req.Labels, Generic: req.Generic, IPAM: req.IPAM,
	}
	if rec.IPAM.Driver == "" {
		rec.IPAM.Driver = ipamapi.DefaultIPAM
	}
	return rec
}

// Delete removes the network. It fails with UnknownNetworkError when it is gone
// already, with ActiveEndpointsError while it has endpoints, and with Forbidden
// when it is one that stays.
func (n *Network) Delete(ctx context.Context) error {
	e, rec := n.e, n.Record()
	done, err := e.turns.take(ctx, shared(turnPools, ""), exclusive("network", rec.ID))
	if err != nil {
		return err
	}
	defer done()
	return n.delete(ctx)
}

// delete removes the network. The caller has its turn.
func (n *Network) delete(ctx context.Context) error {
	e, rec := n.e, n.Record()
	if e.network(rec.ID) != n {
		return &UnknownNetworkError{rec.Name, rec.ID}
	}
	if n.drv.Traits().Single {
		return types.ForbiddenErrorf("network %s: networks of type %s cannot be deleted", rec.Name, rec.Driver)
	}
	if eps := n.Endpoints(); len(eps) > 0 {
		names := make([]string, 0, len(eps))
		for _, ep := range eps {
			names = append(names, ep.Name())
		}
		slices.Sort(names)
		return &ActiveEndpointsError{rec.Name, rec.ID, names}
	}
	if !n.begone() {
		return &ActiveEndpointsError{rec.Name, rec.ID, []string{"one that is being made"}}
	}
	objs := n.drv.Network(rec)
	if isOutside(n.drv) {
		if err := n.deleteOutside(ctx); err != nil {
			n.gone.Store(false)
			return err
		}
		objs = nil
	}
	if err := e.commit(ctx, n.drop()...); err != nil {
		if isOutside(n.drv) {
			return opError("delete network", rec.Name, rec.ID, err, n.undeleteOutside(ctx))
		}
		n.gone.Store(false)
		return opError("delete network", rec.Name, rec.ID, err)
	}
	// From here on the network is gone, whatever the kernel says: what it keeps is
	// removed by the next start.
	ctx = context.WithoutCancel(ctx)
	e.logErr("delete network "+rec.Name, rec.ID, apply.Remove(ctx, e.kernel, objs, nil))
	e.mu.Lock()
	delete(e.networks, rec.ID)
	delete(e.byName, nameKey(rec))
	e.mu.Unlock()
	e.release(rec)
	e.relaxForwarding(ctx, 0)
	n.emit("destroy", nil)
	return nil
}

// begone begins the deletion, unless an endpoint is being made.
func (n *Network) begone() bool {
	n.e.mu.Lock()
	defer n.e.mu.Unlock()
	if n.pins == 0 {
		n.gone.Store(true)
	}
	return n.pins == 0
}

// put and drop are the store operations that record and forget the network.
func (n *Network) put() []store.Op {
	rec := n.Record()
	if rec.Transient {
		return nil
	}
	ops := []store.Op{{Kind: kindNetwork, ID: rec.ID, Value: model.Encode(rec), Durable: true}}
	if isOutside(n.drv) {
		ops = append(ops, pending{Driver: rec.Driver, Network: rec.ID}.drop())
	}
	return ops
}

func (n *Network) drop() []store.Op {
	rec := n.Record()
	if rec.Transient {
		return nil
	}
	return []store.Op{{Kind: kindNetwork, ID: rec.ID, Durable: true}}
}

// Endpoints returns the network's endpoints in the order of their creation.
func (n *Network) Endpoints() []*Endpoint {
	n.e.mu.RLock()
	defer n.e.mu.RUnlock()
	out := slices.Collect(maps.Values(n.endpoints))
	slices.SortFunc(out, func(a, b *Endpoint) int { return byCreation(a.Record().Created, b.Record().Created, a.ID(), b.ID()) })
	return out
}

// Networks returns all networks in the order of their creation.
func (e *Engine) Networks() []*Network {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := make([]*Network, 0, len(e.networks))
	for _, n := range e.networks {
		if !n.gone.Load() {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b *Network) int { return byCreation(a.Record().Created, b.Record().Created, a.ID(), b.ID()) })
	return out
}

// NetworkByID returns a network by its whole id.
func (e *Engine) NetworkByID(id string) (*Network, error) {
	if id == "" {
		return nil, ErrInvalidID(id)
	}
	if n := e.network(id); n != nil && !n.gone.Load() {
		return n, nil
	}
	return nil, ErrNoSuchNetwork(id)
}

// NetworkByName returns a network by its name.
func (e *Engine) NetworkByName(name string) (*Network, error) {
	if name == "" {
		return nil, ErrInvalidName(name)
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, scope := range []string{"local", "global"} {
		if n := e.byName[scope+"/"+name]; n != nil && !n.gone.Load() {
			return n, nil
		}
	}
	return nil, ErrNoSuchNetwork(name)
}

func nameKey(n *model.Network) string { return n.Scope + "/" + n.Name }

func byCreation(a, b time.Time, ida, idb string) int {
	if c := a.Compare(b); c != 0 {
		return c
	}
	return strings.Compare(ida, idb)
}

// newID returns 64 random hex digits. One whose short form reads as a number is
// not used: people and programs would take it for one.
func newID() string {
	for {
		var b [32]byte
		_, _ = rand.Read(b[:]) // never fails
		id := hex.EncodeToString(b[:])
		if _, err := strconv.ParseInt(short(id), 10, 64); err != nil {
			return id
		}
	}
}

// opError says what was being done to which object, and what failed when it was
// taken back. It keeps the class of the cause, or makes it Internal.
func opError(op, name, id string, cause error, undo ...error) error {
	if d := (driverError{}); errors.As(cause, &d) && errors.Join(undo...) == nil {
		return d.error
	}
	return WithClass(cause, "%s %s (%s): %w", op, name, short(id), errors.Join(append([]error{cause}, undo...)...))
}

// WithClass makes an error of the class of cause, which a type assertion finds on
// it, or of class Internal if cause has none.
func WithClass(cause error, format string, args ...any) error {
	switch {
	case errors.As(cause, new(types.BadRequestError)):
		return types.BadRequestErrorf(format, args...)
	case errors.As(cause, new(types.NotFoundError)):
		return types.NotFoundErrorf(format, args...)
	case errors.As(cause, new(types.ForbiddenError)):
		return types.ForbiddenErrorf(format, args...)
	case errors.As(cause, new(types.NoServiceError)):
		return types.NoServiceErrorf(format, args...)
	case errors.As(cause, new(types.NotImplementedError)):
		return types.NotImplementedErrorf(format, args...)
	case errors.As(cause, new(types.RetryError)):
		return types.RetryErrorf(format, args...)
	case errors.As(cause, new(types.TimeoutError)),
		errors.Is(cause, context.DeadlineExceeded), errors.Is(cause, context.Canceled):
		return types.TimeoutErrorf(format, args...)
	default:
		return types.InternalErrorf(format, args...)
	}
}

// Engine returns the engine that the network belongs to.
func (n *Network) Engine() *Engine { return n.e }

// Gateway returns the default gateway that the network offers the endpoint, or
// the zero value.
func (ep *Endpoint) Gateway(v6 bool) netip.Addr {
	return model.Attachment{Network: ep.net.Record(), Endpoint: ep.Record(), Driver: ep.net.drv}.Gateway(v6)
}
