package engine

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/internal/drivers/outside"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
	"github.com/libnetwork/libnetwork/types"
)

// An outside driver has a memory of its own, which no commit of ours covers. So
// before it is told of something that no record says yet, and in the commit that
// takes away what it knows, a pending record is written; the commit that makes
// both agree again drops it. What is pending when an engine starts is settled when
// the driver is there.

// kindPending is the kind of pending records.
const kindPending = "pending"

// pending says that a driver may know more of an object than the records do.
type pending struct {
	Driver  string `json:"driver"`
	Network string `json:"network"`
	// Endpoint is empty for the network itself.
	Endpoint string `json:"endpoint,omitempty"`
}

func (p pending) id() string {
	if p.Endpoint != "" {
		return p.Endpoint
	}
	return p.Network
}

func (p pending) put() store.Op {
	data, err := json.Marshal(p)
	if err != nil {
		panic("engine: encode pending record: " + err.Error()) // it holds strings alone
	}
	return store.Op{Kind: kindPending, ID: p.id(), Value: data, Durable: p.Endpoint == ""}
}

func (p pending) drop() store.Op {
	return store.Op{Kind: kindPending, ID: p.id(), Durable: p.Endpoint == ""}
}

// pending is the pending record of the endpoint.
func (ep *Endpoint) pending() pending {
	rec := ep.Record()
	return pending{Driver: ep.net.Record().Driver, Network: rec.Network, Endpoint: rec.ID}
}

// isOutside says whether a driver is told what to do.
func isOutside(d model.Driver) bool {
	_, ok := d.(outside.Driver)
	return ok
}

// outsideDriver is an outside driver that is called for one operation.
type outsideDriver struct {
	outside.Driver
	e *Engine
}

// outside returns the outside driver of a network type. If it is not there, the
// calls of what is returned fail.
func (e *Engine) outside(name string) outsideDriver {
	e.mu.RLock()
	defer e.mu.RUnlock()
	d, ok := e.drivers[name].(outside.Driver)
	if !ok {
		d = outside.Absent(name, "")
	}
	return outsideDriver{d, e}
}

// call makes one numbered call of the driver.
func (d outsideDriver) call(method, id string, f func() error) error {
	if err := d.e.cfg.Steps.Next("driver: " + method + " " + id); err != nil {
		return err
	}
	return f()
}

// RegisterDriver makes a driver of somebody else known. It fails with
// ErrInvalidName for a blank name and ErrActiveRegistration for one that is taken.
// Networks of that driver that an earlier process had can be used from then on.
func (e *Engine) RegisterDriver(ctx context.Context, name, scope string, d driverapi.Driver) error {
	switch {
	case strings.TrimSpace(name) == "":
		return ErrInvalidName(name)
	case d == nil:
		return types.BadRequestErrorf("network driver %s: there is none to register", name)
	case scope != "local" && scope != "global":
		return types.BadRequestErrorf("network driver %s: unknown scope %q: it is local or global", name, scope)
	}
	done, err := e.turns.take(ctx, exclusive("type", name))
	if err != nil {
		return err
	}
	defer done()
	if err := e.registerDriver(outside.New(name, scope, d)); err != nil {
		return err
	}
	e.settlePending(ctx, name)
	e.openWays(name)
	return nil
}

// openWays has a driver open the ways from outside again that sandboxes which have
// gone on need: an operation that was cut short may have closed one.
func (e *Engine) openWays(driver string) {
	for _, s := range e.Sandboxes() {
		for _, o := range s.View().Objects() {
			if c, ok := o.(model.Connectivity); ok && c.Driver == driver {
				e.logErr("open the way from outside", c.Endpoint, e.createDriver(c))
			}
		}
	}
}

// settlePending brings the memory of a driver to what the records say.
func (e *Engine) settlePending(ctx context.Context, driver string) {
	e.mu.Lock()
	var todo []pending
	for id, p := range e.pending {
		if p.Driver == driver {
			todo = append(todo, p)
			delete(e.pending, id)
		}
	}
	e.mu.Unlock()
	// Endpoints first: a network that has some is not deleted.
	slices.SortFunc(todo, func(a, b pending) int {
		if a.Endpoint == "" || b.Endpoint == "" {
			return strings.Compare(b.Endpoint, a.Endpoint)
		}
		return strings.Compare(a.Endpoint, b.Endpoint)
	})
	d := e.outside(driver)
	var ops []store.Op
	for _, p := range todo {
		e.mu.RLock()
		ep, n := e.endpoints[p.Endpoint], e.networks[p.Network]
		e.mu.RUnlock()
		switch {
		case p.Endpoint == "" && n == nil:
			d.deleteNetwork(p.Network)
		case p.Endpoint != "" && ep == nil:
			d.end(p)
			d.deleteEndpoint(p)
		case p.Endpoint != "" && ep.Record().Attached == nil:
			d.end(p)
		}
		ops = append(ops, p.drop())
	}
	e.logErr("settle pending records of driver", driver, e.commit(ctx, ops...))
}

// end closes the way to an endpoint and has it leave. How much of that the driver
// knows of is not known here.
func (d outsideDriver) end(p pending) {
	c := model.Connectivity{Driver: p.Driver, Network: p.Network, Endpoint: p.Endpoint}
	if err := d.call("RevokeExternalConnectivity", p.Endpoint, func() error { return d.Revoke(c) }); err != nil {
		d.e.log.Debug("close the way from outside", "driver", p.Driver, "endpoint", p.Endpoint, "err", err)
	}
	if err := d.call("Leave", p.Endpoint, func() error { return d.Leave(p.Network, p.Endpoint) }); err != nil {
		d.e.log.Debug("leave endpoint", "driver", p.Driver, "endpoint", p.Endpoint, "err", err)
	}
}

// leave, deleteEndpoint and deleteNetwork tell the driver of what is gone already:
// that it fails changes nothing.
func (d outsideDriver) leave(p pending) {
	d.logged("leave endpoint", p.Endpoint, d.call("Leave", p.Endpoint, func() error { return d.Leave(p.Network, p.Endpoint) }))
}

func (d outsideDriver) deleteEndpoint(p pending) {
	d.logged("delete endpoint", p.Endpoint, d.call("DeleteEndpoint", p.Endpoint, func() error { return d.DeleteEndpoint(p.Network, p.Endpoint) }))
}

func (d outsideDriver) deleteNetwork(id string) {
	d.logged("delete network", id, d.call("DeleteNetwork", id, func() error { return d.DeleteNetwork(id) }))
}

// logged reports what went wrong, unless the driver says that it does not matter.
func (d outsideDriver) logged(what, id string, err error) {
	if err != nil && !errors.As(err, new(types.MaskableError)) {
		d.e.log.Error(what, "driver", d.Type(), "object", id, "err", err)
	}
}

// createOutside has an outside driver make an endpoint whose addresses are
// settled, as far as they are not for the driver to choose.
func (e *Engine) createOutside(ctx context.Context, n *Network, rec *model.Endpoint, req EndpointRequest, undo *undoList) (*model.Endpoint, error) {
	d := e.outside(n.Record().Driver)
	p := pending{Driver: d.Type(), Network: rec.Network, Endpoint: rec.ID}
	if err := e.commit(ctx, p.put()); err != nil {
		return nil, opError("create endpoint", rec.Name, rec.ID, err)
	}
	undo.add(func() { e.logErr("drop pending record", rec.ID, e.commit(context.WithoutCancel(ctx), p.drop())) })
	var made *model.Endpoint
	err := d.call("CreateEndpoint", rec.ID, func() (err error) {
		made, err = d.CreateEndpoint(rec, req.Generic)
		return err
	})
	if err != nil {
		return nil, types.InternalErrorf("create endpoint %s (%s): driver %s: %w", rec.Name, short(rec.ID), d.Type(), err)
	}
	undo.add(func() { d.deleteEndpoint(p) })
	return made, nil
}

// joinOutside has an outside driver make an endpoint ready for the sandbox, and
// enters what it says into the endpoint's record.
func (s *Sandbox) joinOutside(ctx context.Context, ep *Endpoint, rec *model.Endpoint, undo *undoList) error {
	e := s.e
	d, p := e.outside(ep.net.Record().Driver), ep.pending()
	if err := e.commit(ctx, p.put()); err != nil {
		return opError("join endpoint", rec.Name, rec.ID, err)
	}
	var said *model.Outside
	err := d.call("Join", rec.ID, func() (err error) {
		said, err = d.Join(rec, s.Record().Key, s.Labels())
		return err
	})
	if err != nil {
		e.logErr("drop pending record", rec.ID, e.commit(context.WithoutCancel(ctx), p.drop()))
		return driverError{err}
	}
	undo.add(func() {
		d.leave(p)
		e.logErr("drop pending record", rec.ID, e.commit(context.WithoutCancel(ctx), p.drop()))
	})
	rec.Attached.Outside = said
	return nil
}

// leaveOutside tells outside drivers that endpoints have left. The records say so
// already. Their links go back after that.
func (e *Engine) leaveOutside(left []*Endpoint) {
	for _, ep := range left {
		if isOutside(ep.net.drv) {
			e.outside(ep.net.Record().Driver).leave(ep.pending())
		}
	}
}

// deleteOutside tells outside drivers of those endpoints among the ones that have
// left that are deleted: their links are where the drivers made them. From then on
// drivers and records agree.
func (e *Engine) deleteOutside(ctx context.Context, left []*Endpoint, deleted map[*Endpoint]bool) {
	var ops []store.Op
	for _, ep := range left {
		if !isOutside(ep.net.drv) {
			continue
		}
		p := ep.pending()
		if deleted[ep] {
			e.outside(p.Driver).deleteEndpoint(p)
		}
		ops = append(ops, p.drop())
	}
	e.logErr("drop pending records", "endpoints", e.commit(ctx, ops...))
}

// driverError is the error of an outside driver, which the caller gets as it is
// when nothing else went wrong.
type driverError struct{ error }

func (e driverError) Unwrap() error { return e.error }

// createDriver and deleteDriver are the floor's part for what outside drivers make.
func (e *Engine) createDriver(o model.Object) error {
	switch o := o.(type) {
	case model.DriverNetwork:
		d := e.outside(o.Network.Driver)
		if err := d.call("CreateNetwork", o.Network.ID, func() error { return d.CreateNetwork(o.Network) }); err != nil {
			return driverError{err}
		}
		return nil
	case model.Connectivity:
		d := e.outside(o.Driver)
		err := d.call("ProgramExternalConnectivity", o.Endpoint, func() error { return d.Program(o) })
		if err != nil {
			return types.InternalErrorf("driver %s: open the way from outside to endpoint %s: %w", o.Driver, short(o.Endpoint), err)
		}
		return nil
	}
	return types.InternalErrorf("%s is not for a driver", o.Key())
}

func (e *Engine) deleteDriver(o model.Object) error {
	switch o := o.(type) {
	case model.DriverNetwork:
		d := e.outside(o.Network.Driver)
		return d.call("DeleteNetwork", o.Network.ID, func() error { return d.DeleteNetwork(o.Network.ID) })
	case model.Connectivity:
		d := e.outside(o.Driver)
		err := d.call("RevokeExternalConnectivity", o.Endpoint, func() error { return d.Revoke(o) })
		if err != nil && !errors.As(err, new(types.MaskableError)) {
			return types.InternalErrorf("driver %s: close the way from outside to endpoint %s: %w", o.Driver, short(o.Endpoint), err)
		}
		return nil
	}
	return types.InternalErrorf("%s is not for a driver", o.Key())
}

// deleteOutside begins the deletion of a network whose driver has a say in it. A
// Forbidden error of the driver ends it, with the network as before.
func (n *Network) deleteOutside(ctx context.Context) error {
	e, rec := n.e, n.Record()
	marked := clone(rec)
	marked.Deleting = true
	n.rec.Store(marked)
	if err := e.commit(ctx, n.put()...); err != nil {
		n.rec.Store(rec)
		return opError("delete network", rec.Name, rec.ID, err)
	}
	d := e.outside(rec.Driver)
	err := d.call("DeleteNetwork", rec.ID, func() error { return d.DeleteNetwork(rec.ID) })
	if errors.As(err, new(types.ForbiddenError)) || errors.As(err, new(types.NotFoundError)) && d.Missing() {
		n.rec.Store(rec)
		if again := e.commit(context.WithoutCancel(ctx), n.put()...); again != nil {
			return opError("delete network", rec.Name, rec.ID, err, again)
		}
		return err
	}
	d.logged("delete network", rec.ID, err)
	return nil
}

// undeleteOutside has the driver make a network again whose deletion could not be
// recorded. What fails is finished by the next start.
func (n *Network) undeleteOutside(ctx context.Context) error {
	e, marked := n.e, n.Record()
	rec := clone(marked)
	rec.Deleting = false
	if err := e.createDriver(model.DriverNetwork{Network: rec}); err != nil {
		return err
	}
	n.rec.Store(rec)
	if err := e.commit(context.WithoutCancel(ctx), n.put()...); err != nil {
		n.rec.Store(marked)
		return err
	}
	n.gone.Store(false)
	return nil
}

// Info returns what an outside driver knows of the endpoint, by label. ok is false
// for other drivers, whose knowledge is the record.
func (ep *Endpoint) Info() (info map[string]any, ok bool, err error) {
	if !isOutside(ep.net.drv) {
		return nil, false, nil
	}
	d := ep.e.outside(ep.net.Record().Driver)
	info, err = d.Driver.Info(ep.net.ID(), ep.ID())
	return maps.Clone(info), true, err
}
