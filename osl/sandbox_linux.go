package osl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/types"
)

// leftovers are the keys whose files could not be removed when their sandboxes
// were destroyed. They are of the process, since GC has no receiver.
var leftovers struct {
	mu    sync.Mutex
	paths map[string]bool
}

// sandbox is a network namespace pinned to a file.
type sandbox struct {
	key string
	ns  *netns.Namespace
	// host says that the namespace is the caller's own: links stay where they
	// are.
	host bool

	// mu is held for one operation: what is known and what the kernel has
	// change together.
	mu        sync.Mutex
	rt        *rtnl.Socket
	next      int // number of the next interface
	ifaces    []*iface
	gw4, gw6  gateway
	routes    []*types.StaticRoute
	neighs    []neigh
	destroyed bool
}

// NewSandbox makes a fresh namespace with its loopback up and pins it to the
// file key. With osCreate false it pins the caller's own namespace. Whatever was
// pinned to the file before is detached.
func NewSandbox(key string, osCreate bool) (Sandbox, error) {
	if err := prepare(key); err != nil {
		return nil, err
	}
	var ns *netns.Namespace
	var err error
	if osCreate {
		ns, err = netns.Create(context.Background(), nil, key)
	} else {
		ns, err = pinned(key, func() (*netns.Namespace, error) { return netns.OpenSelf(nil) })
	}
	if err != nil {
		return nil, types.InternalErrorf("new sandbox: %w", err)
	}
	sb, err := open(ns, key, !osCreate)
	if err != nil {
		return nil, err
	}
	return sb, nil
}

// GetSandboxForExternalKey pins the namespace of the file path, such as
// /proc/1234/ns/net, to the file key, raises its loopback, and returns its
// sandbox.
func GetSandboxForExternalKey(path, key string) (Sandbox, error) {
	if err := prepare(key); err != nil {
		return nil, err
	}
	ns, err := pinned(key, func() (*netns.Namespace, error) { return netns.Open(nil, path) })
	if err != nil {
		return nil, err // it has its class
	}
	sb, err := open(ns, key, false)
	if err != nil {
		return nil, err
	}
	if err := sb.rt.RaiseLoopback(); err != nil {
		return nil, errors.Join(err, sb.Destroy())
	}
	return sb, nil
}

// prepare makes the directory of a key.
func prepare(key string) error {
	leftovers.mu.Lock()
	delete(leftovers.paths, key)
	leftovers.mu.Unlock()
	dir := filepath.Dir(key)
	err := os.MkdirAll(dir, 0o755)
	// A directory of the caller's choice stays as it is.
	if dir == keyDir() {
		err = netns.EnsureDir(nil, dir)
	}
	if err != nil {
		return types.InternalErrorf("directory of sandbox %s: %w", key, err)
	}
	return nil
}

// pinned opens a namespace and pins it to key.
func pinned(key string, open func() (*netns.Namespace, error)) (*netns.Namespace, error) {
	ns, err := open()
	if err != nil {
		return nil, err
	}
	if err := ns.Pin(key); err != nil {
		return nil, types.InternalErrorf("%w", errors.Join(err, ns.Close()))
	}
	return ns, nil
}

func open(ns *netns.Namespace, key string, host bool) (*sandbox, error) {
	rt, err := ns.Rtnl()
	if err != nil {
		return nil, types.InternalErrorf("sandbox %s: %w", key, errors.Join(err, ns.Close(), netns.Remove(nil, key)))
	}
	return &sandbox{key: key, ns: ns, rt: rt, host: host}, nil
}

// GC removes the files of destroyed sandboxes that could not be removed at once.
func GC() {
	leftovers.mu.Lock()
	defer leftovers.mu.Unlock()
	for path := range leftovers.paths {
		if netns.Remove(nil, path) == nil {
			delete(leftovers.paths, path)
		}
	}
}

func (s *sandbox) Key() string { return s.key }

func (s *sandbox) NeighborOptions() NeighborOptionSetter { return neighborOptions{} }

func (s *sandbox) InterfaceOptions() IfaceOptionSetter { return ifaceOptions{} }

func (s *sandbox) InvokeFunc(f func()) error {
	return s.ns.Do(func() error {
		f()
		return nil
	})
}

func (s *sandbox) Destroy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.destroyed {
		return types.NotFoundErrorf("sandbox %s is destroyed already", s.key)
	}
	s.destroyed = true
	err := netns.Remove(nil, s.key)
	if err != nil {
		leftovers.mu.Lock()
		if leftovers.paths == nil {
			leftovers.paths = map[string]bool{}
		}
		leftovers.paths[s.key] = true
		leftovers.mu.Unlock()
	}
	if err := errors.Join(err, s.ns.Close()); err != nil {
		return types.InternalErrorf("destroy sandbox %s: %w", s.key, err)
	}
	return nil
}

func (s *sandbox) Info() Info { return s }

func (s *sandbox) Interfaces() []Interface {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Interface, 0, len(s.ifaces))
	for _, i := range s.ifaces {
		list = append(list, i)
	}
	return list
}

func (s *sandbox) Gateway() net.IP     { return s.gatewayIP(&s.gw4) }
func (s *sandbox) GatewayIPv6() net.IP { return s.gatewayIP(&s.gw6) }

func (s *sandbox) StaticRoutes() []*types.StaticRoute {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*types.StaticRoute, 0, len(s.routes))
	for _, r := range s.routes {
		list = append(list, r.GetCopy())
	}
	return list
}

// wrap names the sandbox in an error and keeps its class.
func (s *sandbox) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return reclass(err, fmt.Errorf("%s sandbox %s: %w", op, s.key, err))
}

// reclass gives text the class of err.
func reclass(err, text error) error {
	switch {
	case is[types.NotFoundError](err):
		return types.NotFoundErrorf("%w", text)
	case is[types.BadRequestError](err):
		return types.BadRequestErrorf("%w", text)
	case is[types.ForbiddenError](err):
		return types.ForbiddenErrorf("%w", text)
	case is[types.NoServiceError](err):
		return types.NoServiceErrorf("%w", text)
	case is[types.NotImplementedError](err):
		return types.NotImplementedErrorf("%w", text)
	default:
		return types.InternalErrorf("%w", text)
	}
}

func is[T any](err error) bool {
	var class T
	return errors.As(err, &class)
}
