package libnetwork

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// Sandbox is a container's network namespace, with its hosts and resolv.conf
// files and its name server.
type Sandbox interface {
	// ID is chosen by the controller: 64 hex digits.
	ID() string
	// Key is the path of the file that pins the network namespace.
	Key() string
	// ContainerID is the id that the sandbox was made for.
	ContainerID() string
	// Labels returns a copy of the sandbox's options by label.
	Labels() map[string]interface{}
	// Statistics returns the counters of the sandbox's interfaces by their names.
	Statistics() (map[string]*types.InterfaceStatistics, error)
	// Refresh makes the sandbox's files and ports anew with other options. The
	// namespace and the endpoints stay.
	Refresh(options ...SandboxOption) error
	// SetKey gives the sandbox another network namespace. It fails with BadRequest
	// for a path that is none, and leaves the former one in use.
	SetKey(key string) error
	// Rename gives all endpoints of the sandbox another name. It fails with Forbidden
	// if one of the networks has that name.
	Rename(name string) error
	// Delete removes the sandbox and the endpoints that are joined to it. It fails
	// with Forbidden when it has been deleted.
	Delete() error
	// ResolveName looks a name up on the sandbox's networks. iplen is 1 for IPv4 and
	// 2 for IPv6. The second value is true if the name exists there without such an
	// address: nobody else is to be asked for it.
	ResolveName(name string, iplen int) ([]net.IP, bool)
	// ResolveIP returns the name of an address in the reverse notation of PTR
	// records, or the empty string.
	ResolveIP(name string) string
	// Endpoints returns the endpoints that are joined, in the order that decides
	// which of them answers first.
	Endpoints() []Endpoint
}

// sandbox is the request that the options of NewSandbox write into, and what a
// resolver is made for.
type sandbox struct {
	req     engine.SandboxRequest
	parents []parentUpdate
	err     error
	s       *engine.Sandbox
}

// parentUpdate is a change of the hosts file of another container.
type parentUpdate struct{ container, name, addr string }

func newSandboxRequest(containerID string, options []SandboxOption) *sandbox {
	sb := &sandbox{}
	sb.req.ContainerID = containerID
	sb.req.Labels = make(map[string]interface{})
	for _, o := range options {
		if o != nil {
			o(sb)
		}
	}
	sb.req.Labels = copyLabels(sb.req.Labels)
	sb.readPorts()
	sb.readLinks()
	return sb
}

// readLinks takes the links from the driver's part of the labels.
func (sb *sandbox) readLinks() {
	m, ok := generic(sb.req.Labels[netlabel.GenericData])
	if !ok {
		return
	}
	var l model.Links
	for label, list := range map[string]*[]string{"ParentEndpoints": &l.Parents, "ChildEndpoints": &l.Children} {
		v, ok := m[label]
		if !ok {
			continue
		}
		ids, ok := v.([]string)
		if !ok || slices.ContainsFunc(ids, func(id string) bool { return strings.TrimSpace(id) == "" }) {
			if sb.err == nil {
				sb.err = types.BadRequestErrorf("container %s: option %s: %#v is not a list of endpoint ids", sb.req.ContainerID, label, v)
			}
			continue
		}
		*list = slices.Clone(ids)
	}
	if len(l.Parents)+len(l.Children) > 0 {
		sb.req.Links = &l
	}
}

// copyLabels copies labels, and of their values those that this package knows.
func copyLabels(labels map[string]any) map[string]any {
	out := make(map[string]any, len(labels))
	for label, v := range labels {
		switch v := v.(type) {
		case []types.PortBinding:
			c := make([]types.PortBinding, len(v))
			for i := range v {
				c[i] = v[i].GetCopy()
			}
			out[label] = c
		case []types.TransportPort:
			out[label] = slices.Clone(v)
		case map[string]string:
			out[label] = maps.Clone(v)
		default:
			out[label] = v
		}
	}
	return out
}

// readPorts takes the ports from the labels, where options of all kinds put
// them.
func (sb *sandbox) readPorts() {
	switch v := sb.req.Labels[netlabel.PortMap].(type) {
	case nil:
	case []types.PortBinding:
		sb.req.Publish = slices.Grow(sb.req.Publish, len(v)) // they may be many, and are kept
		for _, b := range v {
			p, err := publish(sb.req.ContainerID, b)
			if err != nil {
				sb.err = err
				return
			}
			sb.req.Publish = append(sb.req.Publish, p)
		}
	default:
		sb.err = types.BadRequestErrorf("container %s: option %s is a %T, not a []types.PortBinding", sb.req.ContainerID, netlabel.PortMap, v)
	}
	switch v := sb.req.Labels[netlabel.ExposedPorts].(type) {
	case nil:
	case []types.TransportPort:
		for _, p := range v {
			sb.req.Exposed = append(sb.req.Exposed, model.Expose{Proto: uint8(p.Proto), Port: p.Port})
		}
	default:
		sb.err = types.BadRequestErrorf("container %s: option %s is a %T, not a []types.TransportPort", sb.req.ContainerID, netlabel.ExposedPorts, v)
	}
}

// publish reads a binding: one port of the container, and one of the host or
// some to choose from.
func publish(container string, b types.PortBinding) (model.Publish, error) {
	p := model.Publish{
		Proto: uint8(b.Proto), First: b.HostPort, Last: b.HostPortEnd, Port: b.Port, PortLast: b.Port,
	}
	if p.Last == 0 {
		p.Last = p.First
	}
	if b.HostIP != nil {
		if p.Host = addr(b.HostIP); !p.Host.IsValid() {
			return p, types.BadRequestErrorf("container %s: host address %v of port %d is not an IP address", container, []byte(b.HostIP), b.Port)
		}
	}
	return p, nil
}

// sandboxHandle is a Sandbox. Two of them for one sandbox are equal.
type sandboxHandle struct{ s *engine.Sandbox }

func (h sandboxHandle) ctx() context.Context { return h.s.Engine().Context() }

func (h sandboxHandle) ID() string { return h.s.ID() }

func (h sandboxHandle) Key() string { return h.s.Record().Key }

func (h sandboxHandle) ContainerID() string { return h.s.ContainerID() }

func (h sandboxHandle) Labels() map[string]interface{} { return copyLabels(h.s.Labels()) }

func (h sandboxHandle) Statistics() (map[string]*types.InterfaceStatistics, error) {
	return h.s.Statistics(h.ctx())
}

func (h sandboxHandle) Refresh(options ...SandboxOption) error {
	sb := newSandboxRequest(h.ContainerID(), options)
	if sb.err != nil {
		return sb.err
	}
	return h.s.Refresh(h.ctx(), sb.req)
}

func (h sandboxHandle) SetKey(key string) error { return h.s.SetKey(h.ctx(), key) }

func (h sandboxHandle) Rename(name string) error {
	if strings.TrimSpace(name) == "" {
		return ErrInvalidName(name)
	}
	return h.s.Rename(h.ctx(), name)
}

func (h sandboxHandle) Delete() error { return h.s.Delete(h.ctx()) }

// Family codes of ResolveName.
const (
	familyIPv4 = 1
	familyIPv6 = 2
)

func (h sandboxHandle) ResolveName(name string, iplen int) ([]net.IP, bool) {
	if iplen != familyIPv4 && iplen != familyIPv6 {
		return nil, false
	}
	addrs, known := h.s.Resolve(name, iplen == familyIPv6)
	if len(addrs) == 0 {
		return nil, known
	}
	out := make([]net.IP, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, ip(a))
	}
	return out, false
}

func (h sandboxHandle) ResolveIP(name string) string {
	return h.s.ResolveReverse(name)
}

func (h sandboxHandle) Endpoints() []Endpoint {
	var out []Endpoint
	for _, ep := range h.s.Endpoints() {
		out = append(out, endpointHandle{ep})
	}
	return out
}
