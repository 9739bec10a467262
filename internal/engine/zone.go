package engine

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/libnetwork/libnetwork/internal/model"
)

// zone is the name table of one network: what its endpoints are called and
// where they are. Names compare without regard to case (RFC 4343).
type zone struct {
	mu      sync.RWMutex // guards the maps
	names   map[string][]host
	reverse map[netip.Addr][]ptr
}

// host is one endpoint that goes by a name.
type host struct {
	endpoint string
	v4, v6   netip.Addr
}

// ptr is a name that an address goes by. The first one given stays.
type ptr struct{ endpoint, name string }

// published returns the names that an endpoint goes by: forward, and the one to
// answer with for its address, empty if there is none.
func published(ep *model.Endpoint) (forward []string, reverse string) {
	if !ep.Anonymous {
		forward = append(forward, ep.Name)
	}
	forward = append(forward, ep.Aliases...)
	if len(forward) > 0 {
		reverse = forward[0]
	}
	return forward, reverse
}

func (z *zone) add(ep *model.Endpoint) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addLocked(ep)
}

// rename is one step for those who look names up.
func (z *zone) rename(from, to *model.Endpoint) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.removeLocked(from)
	z.addLocked(to)
}

func (z *zone) addLocked(ep *model.Endpoint) {
	h := host{endpoint: ep.ID, v4: addrOf(ep.V4), v6: addrOf(ep.V6)}
	if !h.v4.IsValid() && !h.v6.IsValid() {
		return
	}
	forward, reverse := published(ep)
	if z.names == nil {
		z.names = make(map[string][]host)
		z.reverse = make(map[netip.Addr][]ptr)
	}
	for _, name := range forward {
		key := strings.ToLower(name)
		if !slices.Contains(z.names[key], h) {
			z.names[key] = append(z.names[key], h)
		}
	}
	for _, a := range []netip.Addr{h.v4, h.v6} {
		if a.IsValid() && reverse != "" {
			z.reverse[a] = append(z.reverse[a], ptr{ep.ID, reverse})
		}
	}
}

func (z *zone) remove(ep *model.Endpoint) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.removeLocked(ep)
}

func (z *zone) removeLocked(ep *model.Endpoint) {
	forward, _ := published(ep)
	for _, name := range forward {
		key := strings.ToLower(name)
		left := slices.DeleteFunc(slices.Clone(z.names[key]), func(h host) bool { return h.endpoint == ep.ID })
		if len(left) == 0 {
			delete(z.names, key)
		} else {
			z.names[key] = left
		}
	}
	for _, p := range []netip.Prefix{ep.V4, ep.V6} {
		a := addrOf(p)
		left := slices.DeleteFunc(slices.Clone(z.reverse[a]), func(r ptr) bool { return r.endpoint == ep.ID })
		if len(left) == 0 {
			delete(z.reverse, a)
		} else {
			z.reverse[a] = left
		}
	}
}

// lookup returns the addresses of a name in one family, and whether the name is
// known at all. name is in lower case. The slice is the caller's.
func (z *zone) lookup(name string, v6 bool) (addrs []netip.Addr, known bool) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	hosts := z.names[name]
	for _, h := range hosts {
		a := h.v4
		if v6 {
			a = h.v6
		}
		if a.IsValid() {
			addrs = append(addrs, a)
		}
	}
	return addrs, len(hosts) > 0
}

func (z *zone) name(a netip.Addr) (string, bool) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	if r := z.reverse[a]; len(r) > 0 {
		return r[0].name, true
	}
	return "", false
}

// resolve looks a name up for a sandbox: as it is on any network, then as
// name.network with every split at a dot, the last one first. The first endpoint
// with an address ends the search; known says that the name exists here, so that
// nobody else is to be asked for it.
func (s *Sandbox) resolve(name string, v6 bool) (addrs []netip.Addr, known bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	view := s.view.Load()
	if view == nil || name == "" {
		return nil, false
	}
	addrs, known = s.resolveOn(view, name, "", v6)
	for i := len(name) - 2; i > 0 && len(addrs) == 0; i-- {
		if name[i] == '.' {
			var here bool
			addrs, here = s.resolveOn(view, name[:i], name[i+1:], v6)
			known = known || here
		}
	}
	return addrs, known
}

// resolveOn asks the networks in the sandbox's order, or the one named: first
// for aliases that this sandbox has given, then for published names. A name that
// is known, but has no address of the family, does not end the search.
func (s *Sandbox) resolveOn(view *model.View, name, network string, v6 bool) (addrs []netip.Addr, known bool) {
	for _, aliases := range []bool{true, false} {
		for i := range view.Attached {
			a := &view.Attached[i]
			if network != "" && !strings.EqualFold(network, a.Network.Name) {
				continue
			}
			target, aliased := aliasOf(a.Endpoint, name)
			if aliases != aliased {
				continue
			}
			n := s.e.network(a.Network.ID)
			if n == nil {
				continue
			}
			addrs, here := n.zone.lookup(target, v6)
			if len(addrs) > 0 {
				return addrs, true
			}
			known = known || here
		}
	}
	return nil, known
}

// aliasOf returns what a name stands for in the sandbox of an endpoint, and
// whether it is an alias.
func aliasOf(ep *model.Endpoint, name string) (target string, aliased bool) {
	for alias, target := range ep.Attached.Aliases {
		if strings.EqualFold(alias, name) {
			return strings.ToLower(target), true
		}
	}
	return name, false
}

// reverse returns name.network of the first network that knows an address.
func (s *Sandbox) reverse(a netip.Addr) (string, bool) {
	view := s.view.Load()
	if view == nil {
		return "", false
	}
	for _, at := range view.Attached {
		if n := s.e.network(at.Network.ID); n != nil {
			if name, ok := n.zone.name(a); ok {
				return name + "." + at.Network.Name, true
			}
		}
	}
	return "", false
}

func addrOf(p netip.Prefix) netip.Addr {
	if !p.IsValid() {
		return netip.Addr{}
	}
	return p.Addr()
}
