package engine

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
	"github.com/libnetwork/libnetwork/types"
)

// Sandbox is the one object of a sandbox.
type Sandbox struct {
	e *Engine
	// view is the record with what is joined, swapped as a whole.
	view atomic.Pointer[model.View]
	// gone says that the sandbox has been deleted.
	gone atomic.Bool

	mu       sync.Mutex // guards the following
	resolver *resolver
	// labels are the user's own values, kept in memory.
	labels map[string]any
}

// SandboxRequest says what a new sandbox shall be.
type SandboxRequest struct {
	ContainerID, Name string
	// Host uses the host's namespace. External waits for one to be given. Path is
	// the namespace of somebody else to use.
	Host, External bool
	Path           string
	Files          model.Files
	Publish        []model.Publish
	Exposed        []model.Expose
	Links          *model.Links
	Labels         map[string]any
	Owner          *model.Process
}

// Record returns the sandbox's record, which is not to be changed.
func (s *Sandbox) Record() *model.Sandbox { return s.view.Load().Sandbox }

// View returns the sandbox with what is joined to it, not to be changed.
func (s *Sandbox) View() *model.View { return s.view.Load() }

// ID returns the sandbox's id.
func (s *Sandbox) ID() string { return s.Record().ID }

// ContainerID returns the id of the container that the sandbox was made for.
func (s *Sandbox) ContainerID() string { return s.Record().ContainerID }

// Labels returns a copy of the user's own values.
func (s *Sandbox) Labels() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.labels)
}

// Alive says whether the sandbox still exists.
func (s *Sandbox) Alive() bool { return !s.gone.Load() }

// Endpoints returns the endpoints joined, in the order that decides which of
// them answers first.
func (s *Sandbox) Endpoints() []*Endpoint {
	view := s.view.Load()
	s.e.mu.RLock()
	defer s.e.mu.RUnlock()
	out := make([]*Endpoint, 0, len(view.Attached))
	for _, a := range view.Attached {
		if ep := s.e.endpoints[a.Endpoint.ID]; ep != nil {
			out = append(out, ep)
		}
	}
	return out
}

// CreateSandbox makes a sandbox. It fails with BadRequest if the container has
// one already, or if a request cannot be met.
func (e *Engine) CreateSandbox(ctx context.Context, req SandboxRequest) (*Sandbox, error) {
	return e.CreateContainer(ctx, req, nil)
}

// AttachRequest says how a new container is to be joined to a network.
type AttachRequest struct {
	Network  *Network
	Endpoint EndpointRequest
	Join     JoinRequest
}

// CreateContainer makes a sandbox that is joined to networks from its start, by
// endpoints made for it, with one commit for it all.
func (e *Engine) CreateContainer(ctx context.Context, req SandboxRequest, attach []AttachRequest) (*Sandbox, error) {
	if strings.TrimSpace(req.ContainerID) == "" {
		return nil, types.BadRequestErrorf("invalid container id %q", req.ContainerID)
	}
	if err := e.checkSandbox(req); err != nil {
		return nil, err
	}
	wanted, err := attachTurns(req, attach)
	if err != nil {
		return nil, err
	}
	done, err := e.turns.take(ctx, wanted...)
	if err != nil {
		return nil, err
	}
	defer done()
	e.mu.RLock()
	_, taken := e.byContainer[req.ContainerID]
	e.mu.RUnlock()
	if taken {
		return nil, types.BadRequestErrorf("container %s has a sandbox already", req.ContainerID)
	}
	return e.createSandbox(ctx, req, attach)
}

// attachTurns are the turns that a new container takes.
func attachTurns(req SandboxRequest, attach []AttachRequest) ([]turn, error) {
	networks, names := make(map[string]turn), make(map[string]turn)
	for _, a := range attach {
		name := exclusive("name", a.Network.ID()+"/"+a.Endpoint.Name)
		if _, twice := names[name.key]; twice {
			return nil, types.ForbiddenErrorf("container %s: two endpoints %s on network %s", req.ContainerID, a.Endpoint.Name, a.Network.Name())
		}
		names[name.key] = name
		n := networkTurn(req.Links, a.Network.ID())
		networks[n.key] = n
	}
	wanted := []turn{exclusive("container", req.ContainerID)}
	for _, turns := range []map[string]turn{networks, names} {
		for _, key := range slices.Sorted(maps.Keys(turns)) {
			wanted = append(wanted, turns[key])
		}
	}
	return wanted, nil
}

func (e *Engine) createSandbox(ctx context.Context, req SandboxRequest, attach []AttachRequest) (*Sandbox, error) {
	s := &Sandbox{e: e, labels: maps.Clone(req.Labels)}
	rec := e.newSandboxRecord(req)
	s.view.Store(&model.View{Sandbox: rec})
	var undo undoList
	g := grow{}
	for _, a := range attach {
		epRec, err := e.planEndpoint(ctx, a.Network, a.Endpoint, &undo)
		if err != nil {
			undo.run()
			return nil, err
		}
		ep := &Endpoint{e: e, net: a.Network}
		ep.rec.Store(epRec)
		g.joins = append(g.joins, join{ep: ep, req: a.Join, created: true})
	}
	g.created = true
	if err := s.grow(ctx, g); err != nil {
		undo.run()
		return nil, err
	}
	return s, nil
}

// Attach makes an endpoint and joins the sandbox to it, with one commit for both.
func (s *Sandbox) Attach(ctx context.Context, a AttachRequest) (*Endpoint, error) {
	e := s.e
	if strings.TrimSpace(a.Endpoint.Name) == "" {
		return nil, ErrInvalidName(a.Endpoint.Name)
	}
	done, err := s.takeOn(ctx, a.Network.ID(), exclusive("name", a.Network.ID()+"/"+a.Endpoint.Name))
	if err != nil {
		return nil, err
	}
	defer done()
	if s.gone.Load() {
		return nil, types.ForbiddenErrorf("the sandbox of container %s is deleted", s.ContainerID())
	}
	var undo undoList
	rec, err := e.planEndpoint(ctx, a.Network, a.Endpoint, &undo)
	if err != nil {
		undo.run()
		return nil, err
	}
	ep := &Endpoint{e: e, net: a.Network}
	ep.rec.Store(rec)
	if err := s.grow(ctx, grow{joins: []join{{ep: ep, req: a.Join, created: true}}}); err != nil {
		undo.run()
		return nil, err
	}
	return ep, nil
}

// unusable is the error of a network namespace that a container cannot have. What is in the
// way of the daemon itself keeps its class.
func unusable(container, path string, err error) error {
	if errors.As(err, new(types.BadRequestError)) || errors.As(err, new(types.NotFoundError)) {
		return types.BadRequestErrorf("container %s: %s is not a network namespace: %v", container, path, err)
	}
	return WithClass(err, "container %s: network namespace %s: %w", container, path, err)
}

// checkSandbox refuses a request before anything is done for it.
func (e *Engine) checkSandbox(req SandboxRequest) error {
	if req.Path != "" {
		if err := e.kernel.CheckNamespace(req.Path); err != nil {
			return unusable(req.ContainerID, req.Path, err)
		}
	}
	for _, p := range req.Publish {
		if err := checkPublish(req.ContainerID, p); err != nil {
			return err
		}
	}
	for _, d := range req.Files.DNS {
		if _, err := netip.ParseAddr(d); err != nil {
			return types.BadRequestErrorf("container %s: name server %q is not an IP address", req.ContainerID, d)
		}
	}
	return nil
}

func (e *Engine) newSandboxRecord(req SandboxRequest) *model.Sandbox {
	rec := &model.Sandbox{
		Version: model.Version, ID: newID(), ContainerID: req.ContainerID, Name: req.Name, Created: time.Now().UTC(),
		Host: req.Host, External: req.External || req.Path != "", Path: req.Path,
		Files: req.Files, Publish: req.Publish, Exposed: req.Exposed, Links: req.Links, Owner: req.Owner,
	}
	rec.Key = filepath.Join(e.cfg.RunDir, "netns", short(rec.ID))
	dir := filepath.Join(e.cfg.DataDir, "network", "files", rec.ID)
	if rec.Files.Hosts == "" {
		rec.Files.Dir, rec.Files.Hosts = dir, filepath.Join(dir, "hosts")
	}
	if rec.Files.ResolvConf == "" {
		rec.Files.Dir, rec.Files.ResolvConf = dir, filepath.Join(dir, "resolv.conf")
	}
	return rec
}

// Delete removes the sandbox with the endpoints that are joined to it. It fails
// with Forbidden when it has been deleted already.
func (s *Sandbox) Delete(ctx context.Context) error {
	done, err := s.takeAll(ctx, nil)
	if err != nil {
		return err
	}
	defer done()
	return s.destroy(ctx, s.Endpoints())
}

// destroy forgets the sandbox and its endpoints, and then takes their kernel
// objects away.
func (s *Sandbox) destroy(ctx context.Context, eps []*Endpoint) error {
	e, view := s.e, s.view.Load()
	ops := []store.Op{{Kind: kindSandbox, ID: s.ID()}}
	for _, ep := range eps {
		ops = append(ops, ep.drop()...)
	}
	if err := e.commit(ctx, ops...); err != nil {
		return opError("delete sandbox of container", view.Sandbox.ContainerID, s.ID(), err)
	}
	ctx = context.WithoutCancel(ctx)
	s.gone.Store(true)
	s.stopResolver()
	deleted := make(map[*Endpoint]bool, len(eps))
	for _, ep := range eps {
		deleted[ep] = true
	}
	left := s.unwire(ctx, e.linked(*view).Teardown(), nil, eps, deleted)
	e.logErr("delete sandbox of container "+view.Sandbox.ContainerID, s.ID(), left)
	e.ports.release(s.ID())
	e.mu.Lock()
	delete(e.sandboxes, s.ID())
	delete(e.linkers, s)
	if e.byContainer[view.Sandbox.ContainerID] == s {
		delete(e.byContainer, view.Sandbox.ContainerID)
	}
	e.mu.Unlock()
	for _, ep := range eps {
		e.emitAttach("disconnect", ep, view.Sandbox)
		e.forgetEndpoint(ep, left != nil)
	}
	s.emit("destroy", nil)
	return nil
}

// Sandboxes returns all sandboxes in the order of their creation.
func (e *Engine) Sandboxes() []*Sandbox {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := slices.Collect(maps.Values(e.sandboxes))
	slices.SortFunc(out, func(a, b *Sandbox) int { return byCreation(a.Record().Created, b.Record().Created, a.ID(), b.ID()) })
	return out
}

// SandboxByID returns a sandbox by its whole id.
func (e *Engine) SandboxByID(id string) (*Sandbox, error) {
	if id == "" {
		return nil, ErrInvalidID(id)
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if s := e.sandboxes[id]; s != nil {
		return s, nil
	}
	return nil, types.NotFoundErrorf("sandbox %s not found", id)
}

// SandboxByContainer returns the sandbox of a container.
func (e *Engine) SandboxByContainer(containerID string) (*Sandbox, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if s := e.byContainer[containerID]; s != nil {
		return s, nil
	}
	return nil, types.NotFoundErrorf("container %s not found", containerID)
}

// Statistics returns the counters of the sandbox's interfaces by their names.
func (s *Sandbox) Statistics(ctx context.Context) (map[string]*types.InterfaceStatistics, error) {
	view := s.view.Load()
	out := make(map[string]*types.InterfaceStatistics)
	if view.Sandbox.External && view.Sandbox.Path == "" {
		return out, nil
	}
	var errs []error
	for _, a := range view.Attached {
		name := a.Endpoint.Attached.Name
		if name == "" {
			continue
		}
		st, err := s.e.kernel.Statistics(ctx, s.netns(), name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out[name] = st
	}
	if err := errors.Join(errs...); err != nil {
		return out, opError("read the counters of container", view.Sandbox.ContainerID, s.ID(), err)
	}
	return out, nil
}

// netns is where the sandbox's interfaces are: empty for the host's namespace.
func (s *Sandbox) netns() string {
	if rec := s.Record(); !rec.Host {
		return rec.Key
	}
	return ""
}

// Engine returns the engine that the sandbox belongs to.
func (s *Sandbox) Engine() *Engine { return s.e }
