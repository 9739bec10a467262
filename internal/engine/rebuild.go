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

// SetKey gives the sandbox another network namespace, that of path, in place of
// its own: everything joined moves there. On failure the former one stays in
// use.
func (s *Sandbox) SetKey(ctx context.Context, path string) error {
	if path == "" {
		return types.BadRequestErrorf("container %s: the path of a network namespace is empty", s.ContainerID())
	}
	if !s.e.kernel.NamespaceAlive(path) {
		return types.BadRequestErrorf("container %s: %s is not a network namespace", s.ContainerID(), path)
	}
	return s.rebuild(ctx, nil, func(rec *model.Sandbox) error {
		if rec.Host {
			return types.ForbiddenErrorf("container %s uses the host's network namespace", rec.ContainerID)
		}
		rec.External, rec.Path = true, path
		return nil
	}, func(bare *model.Sandbox) { bare.External, bare.Path = true, "" })
}

// Refresh makes the sandbox's files and ports anew, by other wishes. The
// namespace, its owner and what is joined stay.
func (s *Sandbox) Refresh(ctx context.Context, req SandboxRequest) error {
	if err := s.e.checkSandbox(req); err != nil {
		return err
	}
	return s.rebuild(ctx, req.Links, func(rec *model.Sandbox) error {
		fresh := s.e.newSandboxRecord(req)
		fresh.ID, fresh.ContainerID, fresh.Name, fresh.Created = rec.ID, rec.ContainerID, rec.Name, rec.Created
		fresh.Key, fresh.Host, fresh.External, fresh.Path = rec.Key, rec.Host, rec.External, rec.Path
		fresh.Owner, fresh.NextIf = rec.Owner, rec.NextIf
		if fresh.Files.Dir != "" {
			fresh.Files.Dir = rec.Files.Dir
			if req.Files.Hosts == "" {
				fresh.Files.Hosts = rec.Files.Hosts
			}
			if req.Files.ResolvConf == "" {
				fresh.Files.ResolvConf = rec.Files.ResolvConf
			}
		}
		if model.Equal(model.SandboxFiles{Files: fresh.Files}, model.SandboxFiles{Files: rec.Files}) {
			fresh.Upstreams = rec.Upstreams // the files stay as they are
		}
		*rec = *fresh
		s.mu.Lock()
		s.labels = maps.Clone(req.Labels)
		s.mu.Unlock()
		return nil
	}, func(*model.Sandbox) {})
}

// rebuild takes everything off the sandbox, and puts it back on the sandbox as
// edit leaves its record, with links. strip says what else the sandbox is without
// in between.
func (s *Sandbox) rebuild(ctx context.Context, links *model.Links, edit func(*model.Sandbox) error, strip func(*model.Sandbox)) error {
	e := s.e
	done, err := s.takeAll(ctx, links)
	if err != nil {
		return err
	}
	defer done()
	before := s.view.Load()
	bare := model.View{Sandbox: clone(before.Sandbox)}
	bare.Sandbox.Resolver, bare.Sandbox.Published = 0, nil
	strip(bare.Sandbox)
	rec := clone(before.Sandbox)
	rec.Resolver = 0
	if err := edit(rec); err != nil {
		return err
	}
	after := e.linked(model.NewView(rec, slices.Clone(before.Attached)))
	if err := e.checkLinks(after, nil); err != nil {
		return err
	}
	ports, err := e.ports.settle(ctx, e.kernel, after)
	if err != nil {
		return opError("publish ports of container", rec.ContainerID, rec.ID, err)
	}
	rec.Published = ports.published
	// From its own namespace a sandbox goes to none, and from there to the other
	// one: a kill on the way leaves one that waits for a namespace.
	waits := bare.Sandbox.External && !before.Sandbox.External
	put := func(rec *model.Sandbox) error {
		return e.commit(context.WithoutCancel(ctx), store.Op{Kind: kindSandbox, ID: rec.ID, Value: model.Encode(rec)})
	}
	if waits {
		if err := put(bare.Sandbox); err != nil {
			return opError("rebuild container", rec.ContainerID, rec.ID, err, ports.undo())
		}
	}
	restore := saveResolver(before.Sandbox.Files)
	back := func() error {
		err := errors.Join(ports.undo(), restore(), s.restartResolver())
		if waits {
			err = errors.Join(err, put(before.Sandbox))
		}
		return err
	}
	s.stopResolver()
	off, err := apply.Apply(ctx, e.floor(), e.linked(*before).Objects(), bare.Objects())
	if err != nil {
		return opError("rebuild container", rec.ContainerID, rec.ID, err, back())
	}
	fail := func(err error, more ...error) error {
		return opError("rebuild container", rec.ContainerID, rec.ID, err, append(more, off.Undo(ctx), back())...)
	}
	on, res, err := s.wire(ctx, bare.Objects(), after)
	if err != nil {
		return fail(err)
	}
	if err := e.commit(ctx, store.Op{Kind: kindSandbox, ID: rec.ID, Value: model.Encode(rec)}); err != nil {
		return fail(err, res.close(), on.Undo(ctx))
	}
	s.publish(after, res, ports)
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
	eps := s.Endpoints()
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
	for ep, rec := range renamed {
		old := ep.Record()
		ep.net.zone.rename(old, rec)
		e.mu.Lock()
		delete(ep.net.endpoints, old.Name)
		ep.net.endpoints[name] = ep
		ep.rec.Store(rec)
		e.mu.Unlock()
		e.events.emit(Event{Type: "endpoint", Action: "rename", ID: rec.ID, Name: name, Attributes: map[string]string{"old": old.Name}})
	}
	s.view.Store(&view)
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
