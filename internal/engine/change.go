package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"github.com/libnetwork/libnetwork/internal/apply"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
	"github.com/libnetwork/libnetwork/types"
)

// JoinRequest says how an endpoint joins a sandbox.
type JoinRequest struct {
	// Priority decides among networks: higher is first.
	Priority int
	// Aliases are names for other endpoints of the network, alias to name, that
	// hold inside this sandbox.
	Aliases map[string]string
}

// Join attaches the endpoint to a sandbox. It fails with Forbidden if it is
// attached already or the sandbox is being deleted; then, as after any failure,
// everything is as before.
func (ep *Endpoint) Join(ctx context.Context, s *Sandbox, req JoinRequest) error {
	e := ep.e
	if s == nil || s.e != e {
		return types.BadRequestErrorf("endpoint %s: join a sandbox of another controller", ep.Name())
	}
	done, err := s.takeOn(ctx, ep.net.ID(), exclusive("endpoint", ep.ID()))
	if err != nil {
		return err
	}
	defer done()
	rec := ep.Record()
	switch {
	case !ep.Alive():
		return &UnknownEndpointError{rec.Name, rec.ID}
	case rec.Attached != nil:
		return types.ForbiddenErrorf("endpoint %s (%s) is joined to a sandbox already", rec.Name, short(rec.ID))
	case s.gone.Load():
		return types.ForbiddenErrorf("endpoint %s: the sandbox of container %s is deleted", rec.Name, s.ContainerID())
	}
	return s.grow(ctx, grow{joins: []join{{ep: ep, req: req}}})
}

// Leave detaches the endpoint from the sandbox. It fails with Forbidden if it is
// not attached to it.
func (ep *Endpoint) Leave(ctx context.Context, s *Sandbox) error {
	e := ep.e
	if s == nil || s.e != e {
		return types.BadRequestErrorf("endpoint %s: leave a sandbox of another controller", ep.Name())
	}
	done, err := s.takeOn(ctx, ep.net.ID(), exclusive("endpoint", ep.ID()))
	if err != nil {
		return err
	}
	defer done()
	rec := ep.Record()
	switch {
	case !ep.Alive():
		return &UnknownEndpointError{rec.Name, rec.ID}
	case rec.Attached == nil:
		return types.ForbiddenErrorf("endpoint %s (%s) is not joined to a sandbox", rec.Name, short(rec.ID))
	case rec.Attached.Sandbox != s.ID():
		return types.ForbiddenErrorf("endpoint %s (%s) is joined to another sandbox", rec.Name, short(rec.ID))
	}
	return s.change(ctx, shrink{gone: []*Endpoint{ep}})
}

// grow is a change that adds to a sandbox: kernel first, one commit last.
type grow struct {
	// created says that the sandbox itself is new.
	created bool
	joins   []join
	// done gives back what is held for the change, whatever its outcome.
	done      undoList
	committed bool
}

type join struct {
	ep  *Endpoint
	req JoinRequest
	// created says that the endpoint is new as well.
	created bool
}

// grow adds endpoints to the sandbox. The caller has the turns of all of them.
func (s *Sandbox) grow(ctx context.Context, g grow) error {
	e, before := s.e, s.view.Load()
	var have []model.Object
	if !g.created {
		have = e.linked(*before).Objects()
	}
	var undo undoList // runs last
	defer func() { undo.run(); g.done.run() }()
	after, joined, err := s.joined(ctx, &g, &undo)
	if err != nil {
		return err
	}
	rec := after.Sandbox
	if err := e.checkLinks(after, joined); err != nil {
		return err
	}
	after = e.linked(after)
	ports, err := e.ports.settle(ctx, e.kernel, after)
	if err != nil {
		return opError("publish ports of container", rec.ContainerID, rec.ID, err)
	}
	rec.Published = ports.published
	restore := func() error { return nil }
	if !g.created && before.Sandbox.Resolver == 0 {
		restore = saveResolver(rec.Files)
	}
	log, res, err := s.wire(ctx, have, after)
	if err != nil {
		return opError("join container", rec.ContainerID, rec.ID, err, ports.undo(), restore())
	}
	ops := []store.Op{{Kind: kindSandbox, ID: rec.ID, Value: model.Encode(rec)}}
	for i, j := range g.joins {
		ops = append(ops, j.ep.put(joined[i])...)
	}
	if err := e.commit(ctx, ops...); err != nil {
		return opError("join container", rec.ContainerID, rec.ID, err, res.close(), log.Undo(ctx), ports.undo(), restore())
	}
	undo, g.committed = nil, true
	for i, j := range g.joins {
		j.ep.rec.Store(joined[i])
		if j.created {
			e.publishEndpoint(j.ep)
		}
	}
	s.publish(after, res, ports)
	if g.created {
		e.mu.Lock()
		e.sandboxes[rec.ID] = s
		e.byContainer[rec.ContainerID] = s
		e.mu.Unlock()
		s.emit("create", nil)
	}
	for _, j := range g.joins {
		e.emitAttach("connect", j.ep, rec)
	}
	if hasGateway(after.Attached) && !after.NeedsGateway() {
		e.logErr("take the default gateway off container "+rec.ContainerID, rec.ID, s.change(ctx, shrink{}))
	}
	return nil
}

// joined returns the sandbox as it will be, and the records of the endpoints that
// join it. Outside drivers have been told of those that are theirs. When the
// sandbox needs the default-gateway network, that is added to what joins.
func (s *Sandbox) joined(ctx context.Context, g *grow, undo *undoList) (model.View, []*model.Endpoint, error) {
	before := s.view.Load()
	rec := clone(before.Sandbox)
	attached := slices.Clone(before.Attached)
	var joined []*model.Endpoint
	attach := func(j join) error {
		r, err := s.joinOne(ctx, rec, attached, j, undo)
		if err != nil {
			return err
		}
		joined = append(joined, r)
		attached = append(attached, model.Attachment{Network: j.ep.net.Record(), Endpoint: r, Driver: j.ep.net.drv})
		return nil
	}
	for _, j := range g.joins {
		if err := attach(j); err != nil {
			return model.View{}, nil, err
		}
	}
	if s.newView(rec, attached).NeedsGateway() && !hasGateway(attached) {
		j, err := s.planGateway(ctx, g, undo)
		if err != nil {
			return model.View{}, nil, err
		}
		g.joins = append(g.joins, j)
		if err := attach(j); err != nil {
			return model.View{}, nil, err
		}
	}
	return s.newView(rec, attached), joined, nil
}

// newView is model.NewView with the sandbox's labels.
func (s *Sandbox) newView(rec *model.Sandbox, attached []model.Attachment) model.View {
	v := model.NewView(rec, attached)
	v.Labels = s.Labels()
	return v
}

// joinOne returns the record of an endpoint as it joins those that are attached,
// and takes the number of its interface from the sandbox's record.
func (s *Sandbox) joinOne(
	ctx context.Context, sb *model.Sandbox, attached []model.Attachment, j join, undo *undoList,
) (*model.Endpoint, error) {
	r := clone(j.ep.Record())
	r.Attached = &model.Attached{Sandbox: sb.ID, Priority: j.req.Priority, Aliases: maps.Clone(j.req.Aliases)}
	if !j.ep.net.drv.Traits().Addresses {
		return r, nil
	}
	prefix := j.ep.net.Record().InterfacePrefix()
	if isOutside(j.ep.net.drv) {
		if err := s.joinOutside(ctx, j.ep, r, undo); err != nil {
			return nil, err
		}
		switch o := r.Attached.Outside; {
		case o.Link == "":
			return r, nil
		case sb.Host:
			r.Attached.Name = o.Link
			return r, nil
		case o.Prefix != "":
			prefix = o.Prefix
		}
	} else {
		r.Attached.Host = "veth" + r.ID[:11]
	}
	switch {
	case sb.Host:
		r.Attached.Name = "vsbx" + r.ID[:11]
	case r.IfName != "":
		r.Attached.Name = r.IfName
	default:
		r.Attached.Name = nextName(sb, attached, prefix)
	}
	return r, nil
}

// nextName is the name of the next interface inside the sandbox: one that somebody
// has asked for is passed over.
func nextName(rec *model.Sandbox, attached []model.Attachment, prefix string) string {
	for {
		name := prefix + strconv.Itoa(rec.NextIf)
		rec.NextIf++
		if !slices.ContainsFunc(attached, func(a model.Attachment) bool { return a.Endpoint.Attached.Name == name }) {
			return name
		}
	}
}

// wire moves the kernel to the sandbox as it will be, and opens the sockets of
// its DNS server if it needs one and has none yet. When the port of the server is
// taken by the container, the next one is tried.
func (s *Sandbox) wire(ctx context.Context, have []model.Object, after model.View) (*apply.Log, *resolver, error) {
	rec := after.Sandbox
	wired := !rec.External || rec.Path != ""
	start := after.Resolution() && wired && rec.Resolver == 0
	if start {
		rec.Resolver = resolverPort
		// What is in a file that is about to be made counts for nothing.
		files := model.SandboxFiles{Sandbox: rec.ID}.Key()
		if slices.ContainsFunc(have, func(o model.Object) bool { return o.Key() == files }) {
			if edited := s.e.editedUpstreams(rec); edited != nil {
				rec.Upstreams = edited
			}
		}
	}
	log, err := apply.Apply(ctx, s.e.floor(), have, after.Objects())
	if err != nil {
		return nil, nil, err
	}
	if !start {
		return log, nil, nil
	}
	res, err := s.openResolver(rec.Key, rec.Resolver)
	if err != nil {
		return nil, nil, errors.Join(err, log.Undo(ctx))
	}
	if res.port != rec.Resolver {
		was := after.Objects()
		rec.Resolver = res.port
		if _, err := apply.Apply(ctx, s.e.floor(), was, after.Objects()); err != nil {
			return nil, nil, errors.Join(err, res.close(), log.Undo(ctx))
		}
	}
	return log, res, nil
}

// shrink is a change that takes from a sandbox: one commit first, kernel after.
type shrink struct {
	gone []*Endpoint
	// delete says that the endpoints are to be deleted as well.
	delete bool
}

// change takes endpoints off the sandbox. The caller has the turns of all of
// them. The engine's own endpoint goes when it is not needed any more.
func (s *Sandbox) change(ctx context.Context, c shrink) error {
	e, before := s.e, s.view.Load()
	rec := clone(before.Sandbox)
	stay := slices.DeleteFunc(slices.Clone(before.Attached), func(a model.Attachment) bool {
		return slices.ContainsFunc(c.gone, func(ep *Endpoint) bool { return ep.ID() == a.Endpoint.ID })
	})
	deleted := make(map[*Endpoint]bool)
	for _, ep := range c.gone {
		deleted[ep] = c.delete || ep.Record().Gateway
	}
	if hasGateway(stay) && !s.newView(rec, stay).NeedsGateway() {
		for _, ep := range s.Endpoints() {
			if ep.Record().Gateway && !slices.Contains(c.gone, ep) {
				c.gone = append(c.gone, ep)
				deleted[ep] = true
			}
		}
		stay = slices.DeleteFunc(stay, func(a model.Attachment) bool { return a.Endpoint.Gateway })
	}
	after := s.newView(rec, stay)
	ports, err := e.ports.settle(ctx, e.kernel, after)
	if err != nil {
		// What can no longer be published must not keep an endpoint from leaving.
		e.log.Error("publish ports", "container", rec.ContainerID, "err", err)
		after.Sandbox.Published = model.Ports{}
		ports = e.ports.none(rec.ID)
	}
	rec.Published = ports.published

	ops := []store.Op{{Kind: kindSandbox, ID: rec.ID, Value: model.Encode(rec)}}
	freed := make([]*model.Endpoint, len(c.gone))
	for i, ep := range c.gone {
		freed[i] = clone(ep.Record())
		freed[i].Attached = nil
		if deleted[ep] {
			ops = append(ops, ep.drop()...)
			continue
		}
		ops = append(ops, ep.put(freed[i])...)
		if isOutside(ep.net.drv) {
			ops = append(ops, ep.pending().put())
		}
	}
	if err := e.commit(ctx, ops...); err != nil {
		return opError("leave container", rec.ContainerID, rec.ID, err, ports.undo())
	}
	ctx = context.WithoutCancel(ctx)
	left := s.unwire(ctx, e.linked(*before).Objects(), e.linked(after).Objects(), c.gone, deleted)
	e.logErr("leave container "+rec.ContainerID, rec.ID, left)
	for i, ep := range c.gone {
		ep.rec.Store(freed[i])
	}
	s.publish(after, nil, ports)
	for _, ep := range c.gone {
		e.emitAttach("disconnect", ep, rec)
		if deleted[ep] {
			e.forgetEndpoint(ep, left != nil)
		}
	}
	if after.NeedsGateway() && !hasGateway(after.Attached) {
		return s.grow(ctx, grow{})
	}
	return nil
}

// unwire takes from the kernel what the sandbox has no more. Outside drivers are
// told in their order: the way from outside is closed before the endpoint leaves, and
// its link goes back after that, before the endpoint is deleted.
func (s *Sandbox) unwire(ctx context.Context, have, want []model.Object, gone []*Endpoint, deleted map[*Endpoint]bool) error {
	e, f := s.e, s.e.floor()
	if !slices.ContainsFunc(gone, func(ep *Endpoint) bool { return isOutside(ep.net.drv) }) {
		return apply.Remove(ctx, f, have, want)
	}
	var closed []model.Object
	lost, _ := apply.Diff(have, want)
	for _, o := range lost {
		if o.Order() == model.OrderConnectivity {
			closed = append(closed, o)
		}
	}
	errs := []error{f.Delete(ctx, closed)}
	have = slices.DeleteFunc(slices.Clone(have), func(o model.Object) bool {
		return slices.ContainsFunc(closed, func(c model.Object) bool { return c.Key() == o.Key() })
	})
	e.leaveOutside(gone)
	errs = append(errs, apply.Remove(ctx, f, have, want))
	e.deleteOutside(ctx, gone, deleted)
	return errors.Join(errs...)
}

// publish makes a committed state of the sandbox visible.
func (s *Sandbox) publish(after model.View, res *resolver, ports *settlement) {
	gateway := func(v *model.View) string {
		if a := v.Provider(false); a != nil {
			return a.Endpoint.ID
		}
		return ""
	}
	before := s.view.Load()
	changed := gateway(before) != gateway(&after)
	s.view.Store(&after)
	if before.Sandbox.Links != nil || after.Sandbox.Links != nil {
		s.e.noteLinks(s)
	}
	ports.done()
	if len(ports.gained) > 0 {
		// What the process should have served all along is none of what has changed.
		s.e.logErr("forward ports of container "+after.Sandbox.ContainerID, after.Sandbox.ID, s.e.resumeForwards(s.e.ctx, s))
	}
	if res != nil {
		s.startResolver(res)
	} else if changed {
		s.flushResolver()
	}
}

// clone copies a record, so that the published one stays as it is. What it
// points to is shared and never changed in place.
func clone[T any](v *T) *T {
	c := *v
	return &c
}
