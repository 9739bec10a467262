package engine

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/apply"
	"github.com/libnetwork/libnetwork/internal/hostsfile"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
	"github.com/libnetwork/libnetwork/types"
)

// SetKey gives the sandbox of a container another network namespace, see
// Sandbox.SetKey. It fails with BadRequest if there is no such sandbox.
func (e *Engine) SetKey(ctx context.Context, containerID, path string) error {
	s, err := e.SandboxByContainer(containerID)
	if err != nil {
		return types.BadRequestErrorf("no sandbox present for container %q", containerID)
	}
	return s.SetKey(ctx, path)
}

// SetKey gives the sandbox another network namespace, that of path, in place of
// its own: everything joined moves there. The other one is proven, and both are
// pinned, before anything is taken apart. On failure the former one stays in use,
// with all that somebody else has in it.
func (s *Sandbox) SetKey(ctx context.Context, path string) error {
	if path == "" {
		return types.BadRequestErrorf("container %s: the path of a network namespace is empty", s.ContainerID())
	}
	if err := s.e.kernel.CheckNamespace(path); err != nil {
		return unusable(s.ContainerID(), path, err)
	}
	return s.rebuild(ctx, rebuild{
		anew: func(o model.Object) bool { return o.Order() == model.OrderNamespace },
		edit: func(rec *model.Sandbox) error {
			if rec.Host {
				return types.ForbiddenErrorf("container %s uses the host's network namespace", rec.ContainerID)
			}
			rec.External, rec.Path = true, path
			rec.Moves++
			return nil
		},
		hold: func(before, after *model.Sandbox) []model.Object {
			pins := []model.Object{model.Namespace{Path: after.Spare(), From: after.Path}}
			if !before.External || before.Path != "" {
				pins = append(pins, model.Namespace{Path: before.Spare(), From: before.Key})
			}
			return pins
		},
	})
}

// Refresh makes the sandbox's files and ports anew, by other wishes. The
// namespace, its owner and what is joined stay, with aliases and priorities.
func (s *Sandbox) Refresh(ctx context.Context, req SandboxRequest) error {
	if err := s.e.checkSandbox(req); err != nil {
		return err
	}
	files := model.SandboxFiles{Sandbox: s.ID()}.Key()
	return s.rebuild(ctx, rebuild{
		anew: func(o model.Object) bool { return o.Key() == files },
		edit: func(rec *model.Sandbox) error {
			fresh := s.e.newSandboxRecord(req)
			fresh.ID, fresh.ContainerID, fresh.Name, fresh.Created = rec.ID, rec.ContainerID, rec.Name, rec.Created
			fresh.Key, fresh.Host, fresh.External, fresh.Path = rec.Key, rec.Host, rec.External, rec.Path
			fresh.Owner, fresh.NextIf, fresh.Moves = rec.Owner, rec.NextIf, rec.Moves
			if fresh.Files.Dir != "" {
				// The container has the files mounted: they stay where they are.
				fresh.Files.Dir = rec.Files.Dir
				if req.Files.Hosts == "" {
					fresh.Files.Hosts = rec.Files.Hosts
				}
				if req.Files.ResolvConf == "" {
					fresh.Files.ResolvConf = rec.Files.ResolvConf
				}
			}
			*rec = *fresh
			return nil
		},
		links:      req.Links,
		labels:     maps.Clone(req.Labels),
		setsLabels: true,
	})
}

// rebuild is a change of a sandbox by which everything is taken off it and put
// back.
type rebuild struct {
	// edit makes the record what it will be.
	edit func(*model.Sandbox) error
	// anew says of the sandbox's own objects which are made again as well.
	anew func(model.Object) bool
	// hold returns what keeps namespaces alive in between; nil: nothing.
	hold func(before, after *model.Sandbox) []model.Object
	// links are those that the sandbox is about to have; nil: no others than before.
	links *model.Links
	// labels are the sandbox's options by label, if setsLabels says that there are new
	// ones.
	labels     map[string]any
	setsLabels bool
}

// rebuild takes everything off the sandbox, and puts it back on the sandbox as
// its record is then. The one commit comes last: when it is cut short before that,
// the next start goes back to the sandbox as it was.
func (s *Sandbox) rebuild(ctx context.Context, r rebuild) error {
	e := s.e
	done, err := s.takeAll(ctx, r.links)
	if err != nil {
		return err
	}
	defer done()
	before := s.view.Load()
	rec := clone(before.Sandbox)
	rec.Resolver = 0
	if err := r.edit(rec); err != nil {
		return err
	}
	after := s.newView(rec, slices.Clone(before.Attached))
	if r.setsLabels {
		after.Labels = r.labels
	}
	after = e.linked(after)
	if err := e.checkLinks(after, nil); err != nil {
		return err
	}
	bare := model.View{Sandbox: clone(before.Sandbox)}
	bare.Sandbox.Resolver, bare.Sandbox.Published = 0, model.Ports{}
	left := slices.DeleteFunc(bare.Objects(), r.anew)

	ports, err := e.ports.settle(ctx, e.kernel, after)
	if err != nil {
		return opError("publish ports of container", rec.ContainerID, rec.ID, err)
	}
	rec.Published = ports.published
	back := ports.undo
	fail := func(err error) error { return opError("rebuild container", rec.ContainerID, rec.ID, err, back()) }
	if r.hold != nil {
		held, err := apply.Apply(ctx, e.floor(), nil, r.hold(before.Sandbox, rec))
		if err != nil {
			return fail(err)
		}
		defer func() { e.logErr("let go of namespaces of container "+rec.ContainerID, rec.ID, held.Undo(ctx)) }()
	}
	s.stopResolver()
	restore := saveFiles(before.Sandbox.Files)
	back = func() error { return errors.Join(ports.undo(), restore(), s.restartResolver()) }
	off, err := apply.Apply(ctx, e.floor(), e.linked(*before).Objects(), left)
	if err != nil {
		return fail(err)
	}
	back = func() error { return errors.Join(off.Undo(ctx), ports.undo(), restore(), s.restartResolver()) }
	on, res, err := s.wire(ctx, left, after)
	if err != nil {
		return fail(err)
	}
	if err := e.commit(ctx, store.Op{Kind: kindSandbox, ID: rec.ID, Value: model.Encode(rec)}); err != nil {
		return fail(errors.Join(err, res.close(), on.Undo(ctx)))
	}
	s.publish(after, res, ports)
	if r.setsLabels {
		s.mu.Lock()
		s.labels = r.labels
		s.mu.Unlock()
		s.emit("refresh", nil)
	} else {
		s.emit("setkey", nil)
	}
	return nil
}

// restartResolver starts the DNS server that the sandbox had, after a failure.
func (s *Sandbox) restartResolver() error {
	rec := s.Record()
	if rec.Resolver == 0 {
		return nil
	}
	r, err := s.openResolver(rec.Key, rec.Resolver)
	if err != nil {
		return err
	}
	s.startResolver(r)
	return nil
}

// takeAll takes the turns of the sandbox, which may be about to get links, and of
// everything joined to it.
func (s *Sandbox) takeAll(ctx context.Context, links *model.Links) (done func(), err error) {
	e := s.e
	doneSandbox, err := e.turns.take(ctx, exclusive("sandbox", s.ID()))
	if err != nil {
		return nil, err
	}
	if s.gone.Load() {
		doneSandbox()
		return nil, types.ForbiddenErrorf("the sandbox of container %s has been deleted already", s.ContainerID())
	}
	var networks, endpoints []turn
	view := s.view.Load()
	if links == nil {
		links = view.Sandbox.Links
	}
	for _, a := range view.Attached {
		networks = append(networks, networkTurn(links, a.Network.ID))
		endpoints = append(endpoints, exclusive("endpoint", a.Endpoint.ID))
	}
	byKey := func(a, b turn) int { return strings.Compare(a.key, b.key) }
	slices.SortFunc(networks, byKey)
	slices.SortFunc(endpoints, byKey)
	doneRest, err := e.turns.take(ctx, append(slices.Compact(networks), endpoints...)...)
	if err != nil {
		doneSandbox()
		return nil, err
	}
	return func() { doneRest(); doneSandbox() }, nil
}

// Rename gives all endpoints of the sandbox another name. It fails with
// Forbidden, and changes nothing, if one of the networks has that name already.
func (s *Sandbox) Rename(ctx context.Context, name string) error {
	e := s.e
	done, err := s.takeAll(ctx, nil)
	if err != nil {
		return err
	}
	defer done()
	eps := slices.DeleteFunc(s.Endpoints(), func(ep *Endpoint) bool { return ep.Record().Gateway })
	var names []turn
	for _, ep := range eps {
		names = append(names, exclusive("name", ep.net.ID()+"/"+name))
	}
	slices.SortFunc(names, func(a, b turn) int { return strings.Compare(a.key, b.key) })
	doneNames, err := e.turns.take(ctx, slices.Compact(names)...)
	if err != nil {
		return err
	}
	defer doneNames()

	view := *s.view.Load()
	view.Attached = slices.Clone(view.Attached)
	renamed := make(map[*Endpoint]*model.Endpoint, len(eps))
	var ops []store.Op
	for _, ep := range eps {
		if other, err := ep.net.EndpointByName(name); err == nil && other != ep || len(eps) != len(uniqueNetworks(eps)) {
			return types.ForbiddenErrorf("rename container %s: network %s has an endpoint %s already", s.ContainerID(), ep.net.Name(), name)
		}
		rec := clone(ep.Record())
		rec.Name, rec.Anonymous = name, false
		renamed[ep] = rec
		ops = append(ops, ep.put(rec)...)
		for i := range view.Attached {
			if view.Attached[i].Endpoint.ID == rec.ID {
				view.Attached[i].Endpoint = rec
			}
		}
	}
	if err := e.commit(ctx, ops...); err != nil {
		return opError("rename container", s.ContainerID(), s.ID(), err)
	}
	was := make(map[*Endpoint]*model.Endpoint, len(eps))
	for ep, rec := range renamed {
		old := ep.Record()
		was[ep] = old
		ep.net.zone.rename(old, rec)
		e.mu.Lock()
		delete(ep.net.endpoints, old.Name)
		ep.net.endpoints[name] = ep
		ep.rec.Store(rec)
		e.mu.Unlock()
	}
	s.view.Store(&view)
	for _, ep := range eps {
		if old := was[ep]; old.Name != name || old.Anonymous {
			ep.emit("rename", map[string]string{"old": old.Name})
		}
	}
	if len(eps) > 0 {
		s.emit("rename", map[string]string{"new": name})
	}
	return nil
}

// UpdateHosts gives the lines of a name in the hosts file of another container
// an address; a container that is not known is none to update.
func (e *Engine) UpdateHosts(containerID, name, addr string) error {
	s, err := e.SandboxByContainer(containerID)
	if err != nil {
		return nil //nolint:nilerr // the published behaviour
	}
	return hostsfile.Update(s.Record().Files.Hosts, addr, name)
}

func uniqueNetworks(eps []*Endpoint) map[*Network]bool {
	out := make(map[*Network]bool, len(eps))
	for _, ep := range eps {
		out[ep.net] = true
	}
	return out
}
