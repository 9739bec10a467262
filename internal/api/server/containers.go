package server

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

func (s *server) createContainer(r *http.Request, req *api.ContainerCreate) (_ answer, err error) {
	if err := req.Check(); err != nil {
		return answer{}, err
	}
	if _, err := s.e.SandboxByContainer(req.ID); err == nil {
		return answer{}, containerExists(req.ID)
	}
	sb := sandboxRequest(req)
	if req.OwnerPID != 0 {
		if ns := req.OwnerPIDNamespace; ns != "" && ns != api.PIDNamespace() {
			return answer{}, types.BadRequestErrorf("container %s: owner: process %d is in a PID namespace of its own, where the daemon cannot see when it ends: run the command outside of it",
				req.ID, req.OwnerPID)
		}
		if sb.Owner, err = engine.Process(req.OwnerPID); err != nil {
			return answer{}, types.BadRequestErrorf("container %s: owner: %w", req.ID, err)
		}
	}
	wanted := req.Networks
	if len(wanted) == 0 {
		wanted = []api.Attachment{{Network: api.DefaultNetwork}}
	}
	// All networks that must be there already are looked up before one is made.
	for _, a := range wanted {
		if _, isCommon := common[a.Network]; isCommon {
			continue
		}
		if _, err := s.network(a.Network); err != nil {
			return answer{}, err
		}
	}
	attach, undo, err := s.attachRequests(r.Context(), req.ID, wanted)
	if err == nil {
		sb.Host, err = checkMix(req, attach)
	}
	var made *engine.Sandbox
	if err == nil {
		made, err = s.e.CreateContainer(r.Context(), sb, attach)
	}
	if err != nil {
		undo()
		if _, again := s.e.SandboxByContainer(req.ID); again == nil && api.Code(err) == api.CodeBadRequest {
			err = containerExists(req.ID) // made by somebody else at the same time
		}
		return answer{}, err
	}
	return answer{http.StatusCreated, viewContainer(made)}, nil
}

func containerExists(id string) error {
	return types.ForbiddenErrorf("container %s exists already: choose another name, or remove it first", id)
}

// attachRequests resolves the networks of a new container. undo removes the
// common networks that had to be made for it, if nobody else uses them by then.
func (s *server) attachRequests(ctx context.Context, container string, wanted []api.Attachment) (out []engine.AttachRequest, undo func(), err error) {
	var made []*engine.Network
	undo = func() {
		for _, n := range made {
			if err := n.Delete(context.WithoutCancel(ctx)); err != nil && !isForbidden(err) && !isNotFound(err) {
				s.log.Error("remove network that is not needed", "network", n.Name(), "err", err)
			}
		}
	}
	for _, a := range wanted {
		n, fresh, err := s.use(ctx, a.Network)
		if err != nil {
			return nil, undo, err
		}
		if fresh {
			made = append(made, n)
		}
		for _, other := range out {
			if other.Network == n {
				return nil, undo, types.BadRequestErrorf("container %s: network %s is given twice", container, n.Name())
			}
		}
		req, join, err := endpointRequest(container, n, a)
		if err != nil {
			return nil, undo, err
		}
		out = append(out, engine.AttachRequest{Network: n, Endpoint: req, Join: join})
	}
	return out, undo, nil
}

// checkMix refuses what cannot be combined, by the drivers and not the names.
func checkMix(req *api.ContainerCreate, attach []engine.AttachRequest) (host bool, err error) {
	for _, a := range attach {
		driver := a.Network.Record().Driver
		if driver != api.HostDriver && driver != api.NullDriver {
			continue
		}
		if len(attach) > 1 {
			return false, types.BadRequestErrorf("container %s: network %s cannot be combined with other networks", req.ID, a.Network.Name())
		}
		host = driver == api.HostDriver
		if len(req.Publish) > 0 {
			return false, types.BadRequestErrorf("container %s: publish %s: a container on network %s has no ports to publish",
				req.ID, req.Publish[0], a.Network.Name())
		}
		if host && req.Netns != "" {
			return false, types.BadRequestErrorf("container %s: network %s cannot be combined with the namespace %s", req.ID, a.Network.Name(), req.Netns)
		}
	}
	return host, nil
}

// endpointRequest turns a checked attachment into the engine's requests. The
// endpoint has the container's name.
func endpointRequest(container string, n *engine.Network, a api.Attachment) (engine.EndpointRequest, engine.JoinRequest, error) {
	req := engine.EndpointRequest{Name: container, IfName: a.Interface, Aliases: a.Aliases}
	if model.IsID(container) {
		// The whole of it is too long for the DNS.
		req.Aliases = append([]string{short(container)}, a.Aliases...)
	}
	if a.IPv4 != "" {
		req.V4 = netip.MustParseAddr(a.IPv4)
	}
	if a.IPv6 != "" {
		req.V6 = netip.MustParseAddr(a.IPv6)
	}
	if a.MAC != "" {
		mac, err := api.ParseMAC(a.MAC)
		if err != nil {
			return req, engine.JoinRequest{}, err
		}
		req.MAC = mac
	}
	if d := n.Record().Driver; (d == api.HostDriver || d == api.NullDriver) &&
		(a.IPv4 != "" || a.IPv6 != "" || a.MAC != "" || a.Interface != "" || len(a.Aliases) > 0) {
		return req, engine.JoinRequest{}, types.BadRequestErrorf("network %s: takes no addresses, aliases or names", n.Name())
	}
	return req, engine.JoinRequest{Priority: a.Priority}, nil
}

// sandboxRequest turns a checked request into the engine's.
func sandboxRequest(req *api.ContainerCreate) engine.SandboxRequest {
	out := engine.SandboxRequest{
		ContainerID: req.ID, Name: req.ID, Path: req.Netns,
		Files: model.Files{
			Hostname: req.Hostname, Domainname: req.Domainname,
			DNS: req.DNS, Search: req.DNSSearch, Options: req.DNSOptions,
		},
	}
	if out.Files.Hostname == "" {
		out.Files.Hostname = req.ID
		if model.IsID(req.ID) {
			out.Files.Hostname = short(req.ID)
		}
	}
	for _, h := range req.ExtraHosts {
		out.Files.Extra = append(out.Files.Extra, model.ExtraHost{Name: h.Name, Addr: h.Address})
	}
	for _, p := range req.Publish {
		q := model.Publish{Proto: uint8(types.TCP), First: p.HostPort, Last: p.HostPortEnd, Port: p.Port, PortLast: p.PortEnd}
		if p.Protocol != "" {
			q.Proto = uint8(types.ParseProtocol(p.Protocol)) // checked by api.Publish
		}
		if p.HostIP != "" {
			q.Host = netip.MustParseAddr(p.HostIP).Unmap()
		}
		q.Last, q.PortLast = max(q.First, q.Last), max(q.Port, q.PortLast)
		out.Publish = append(out.Publish, q)
	}
	return out
}

func (s *server) listContainers(*http.Request) (answer, error) {
	list := []api.Container{}
	for _, sb := range s.e.Sandboxes() {
		list = append(list, viewContainer(sb))
	}
	return ok(list)
}

func (s *server) getContainer(r *http.Request) (answer, error) {
	sb, err := s.container(r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	return ok(viewContainer(sb))
}

func (s *server) deleteContainer(r *http.Request) (answer, error) {
	sb, err := s.container(r.PathValue("id"))
	if err != nil {
		return answer{}, err
	}
	if err := sb.Delete(r.Context()); err != nil {
		if !sb.Alive() {
			// Somebody else was quicker.
			err = types.NotFoundErrorf("container %s not found", r.PathValue("id"))
		}
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

func (s *server) connectNetwork(r *http.Request, req *api.NetworkConnect) (answer, error) {
	a := req.Attachment
	a.Network = r.PathValue("id")
	return s.connect(r.Context(), req.Container, a)
}

func (s *server) connectContainer(r *http.Request, a *api.Attachment) (answer, error) {
	return s.connect(r.Context(), r.PathValue("id"), *a)
}

func (s *server) connect(ctx context.Context, container string, a api.Attachment) (answer, error) {
	if err := a.Check(); err != nil {
		return answer{}, err
	}
	sb, err := s.container(container)
	if err != nil {
		return answer{}, err
	}
	for _, ep := range sb.Endpoints() {
		if d := ep.Network().Record().Driver; d == api.HostDriver || d == api.NullDriver {
			return answer{}, types.ForbiddenErrorf("container %s is on network %s, which cannot be combined with other networks",
				sb.ContainerID(), ep.Network().Name())
		}
	}
	attach, undo, err := s.attachRequests(ctx, sb.ContainerID(), []api.Attachment{a})
	if err == nil {
		err = s.attach(ctx, sb, attach[0])
	}
	if err != nil {
		undo()
		return answer{}, err
	}
	return ok(viewContainer(sb))
}

func (s *server) attach(ctx context.Context, sb *engine.Sandbox, a engine.AttachRequest) error {
	n := a.Network
	if d := n.Record().Driver; d == api.HostDriver || d == api.NullDriver && len(sb.Endpoints()) > 0 {
		return types.ForbiddenErrorf("container %s cannot be connected to network %s: it has a namespace and networks of its own",
			sb.ContainerID(), n.Name())
	}
	for _, ep := range sb.Endpoints() {
		if ep.Network() == n {
			return types.ForbiddenErrorf("container %s is connected to network %s already", sb.ContainerID(), n.Name())
		}
	}
	_, err := sb.Attach(ctx, a)
	return err
}

func (s *server) disconnectNetwork(r *http.Request, req *api.NetworkDisconnect) (answer, error) {
	return s.disconnect(r.Context(), req.Container, r.PathValue("id"))
}

func (s *server) disconnectContainer(r *http.Request, req *api.ContainerDisconnect) (answer, error) {
	return s.disconnect(r.Context(), r.PathValue("id"), req.Network)
}

func (s *server) disconnect(ctx context.Context, container, network string) (answer, error) {
	sb, err := s.container(container)
	if err != nil {
		return answer{}, err
	}
	n, err := s.network(network)
	if err != nil {
		return answer{}, err
	}
	for _, ep := range sb.Endpoints() {
		if ep.Network() != n {
			continue
		}
		if n.Record().Driver == api.HostDriver {
			return answer{}, types.ForbiddenErrorf("container %s lives in the host's namespace: it cannot be disconnected from network %s",
				sb.ContainerID(), n.Name())
		}
		if err := ep.Delete(ctx, true); err != nil {
			return answer{}, err
		}
		return ok(viewContainer(sb))
	}
	return answer{}, types.NotFoundErrorf("container %s is not connected to network %s", sb.ContainerID(), n.Name())
}
