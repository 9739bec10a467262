package server

import (
	"strings"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// minPrefix is how much of an id must be given. With less of it, a name that is
// gone, such as "db", would soon be the beginning of somebody else's id.
const minPrefix = 4

func begins(id, ref string) bool { return len(ref) >= minPrefix && strings.HasPrefix(id, ref) }

// network finds a network by its id, its name, or the beginning of its id, the
// exact ones first.
func (s *server) network(ref string) (*engine.Network, error) {
	if ref == "" {
		return nil, types.BadRequestErrorf("a network without a name")
	}
	if n, err := s.e.NetworkByID(ref); err == nil {
		return n, nil
	}
	if n, err := s.e.NetworkByName(ref); err == nil {
		return n, nil
	}
	var found []*engine.Network
	var names []string
	for _, n := range s.e.Networks() {
		if begins(n.ID(), ref) {
			found = append(found, n)
			names = append(names, n.Name()+" ("+short(n.ID())+")")
		}
	}
	switch len(found) {
	case 0:
		return nil, engine.ErrNoSuchNetwork(ref)
	case 1:
		return found[0], nil
	default:
		return nil, ambiguous("network", ref, names)
	}
}

// container finds a container by its name, the id of its sandbox, or the
// beginning of an id, the exact ones first. The name of a container counts as an
// id if it looks like one, as those of container engines do.
func (s *server) container(ref string) (*engine.Sandbox, error) {
	if ref == "" {
		return nil, types.BadRequestErrorf("a container without a name")
	}
	if sb, err := s.e.SandboxByContainer(ref); err == nil {
		return sb, nil
	}
	if sb, err := s.e.SandboxByID(ref); err == nil {
		return sb, nil
	}
	var found []*engine.Sandbox
	var names []string
	for _, sb := range s.e.Sandboxes() {
		name := sb.ContainerID()
		if begins(sb.ID(), ref) || model.IsID(name) && begins(name, ref) {
			found = append(found, sb)
			names = append(names, name+" ("+short(sb.ID())+")")
		}
	}
	switch len(found) {
	case 0:
		return nil, types.NotFoundErrorf("container %s not found", ref)
	case 1:
		return found[0], nil
	default:
		return nil, ambiguous("container", ref, names)
	}
}

func ambiguous(what, ref string, names []string) error {
	const most = 8
	more := ""
	if len(names) > most {
		names, more = names[:most], ", ..."
	}
	return types.BadRequestErrorf("%s %s is the beginning of %d ids: %s%s", what, ref, len(names), strings.Join(names, ", "), more)
}

// short is how ids are shown to people.
func short(id string) string { return id[:min(12, len(id))] }
