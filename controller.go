package libnetwork

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync"

	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/extkey"
	"github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/types"
)

// NetworkController manages networks and sandboxes.
type NetworkController interface {
	// ID is unique to this controller. OCI hooks find the controller by it, see
	// SetExternalKey.
	ID() string

	// Config is a copy of the configuration that the controller works with.
	Config() config.Config

	// NewNetwork makes a network of the given type, which is the name of a driver.
	// It fails with ErrInvalidName for a blank name and NetworkNameError for one that
	// is taken, NotFound for an unknown type, BadRequest for an option or address
	// that cannot be, and Forbidden where it would be in the way of another network.
	NewNetwork(networkType, name string, options ...NetworkOption) (Network, error)

	// Networks returns all networks, the oldest first.
	Networks() []Network

	// WalkNetworks calls the walker for each network until it returns true.
	WalkNetworks(walker NetworkWalker)

	// NetworkByName returns the network of that name, or ErrNoSuchNetwork;
	// ErrInvalidName for the empty one.
	NetworkByName(name string) (Network, error)

	// NetworkByID returns the network of that id, or ErrNoSuchNetwork; ErrInvalidID
	// for the empty one. Only the whole id is an id.
	NetworkByID(id string) (Network, error)

	// NewSandbox makes a sandbox for a container. It fails with BadRequest if the
	// container has one.
	NewSandbox(containerID string, options ...SandboxOption) (Sandbox, error)

	// Sandboxes returns all sandboxes, the oldest first.
	Sandboxes() []Sandbox

	// WalkSandboxes calls the walker for each sandbox until it returns true.
	WalkSandboxes(walker SandboxWalker)

	// SandboxByID returns the sandbox of that id, or a NotFound error; ErrInvalidID
	// for the empty one.
	SandboxByID(id string) (Sandbox, error)

	// SandboxDestroy deletes the sandbox of a container id. That there is none is no
	// error.
	SandboxDestroy(id string) error

	// Stop ends the controller, its goroutines, its sockets and its subscriptions. Networks and
	// sandboxes stay in the kernel. A second Stop does nothing.
	Stop()

	// ReloadConfiguration changes the configuration. Scopes can be added, not
	// changed or removed: that is a Forbidden error.
	ReloadConfiguration(cfgOptions ...config.Option) error
}

// NetworkWalker is called for each network of a walk, and ends it by returning
// true. It may call back into the API.
type NetworkWalker func(nw Network) bool

// SandboxWalker is called for each sandbox of a walk, and ends it by returning
// true. It may call back into the API.
type SandboxWalker func(sb Sandbox) bool

// SandboxContainerWalker returns a walker that puts the sandbox of a container
// into out, if there is one, and ends the walk.
func SandboxContainerWalker(out *Sandbox, containerID string) SandboxWalker {
	return func(sb Sandbox) bool {
		if sb.ContainerID() != containerID {
			return false
		}
		*out = sb
		return true
	}
}

// SandboxKeyWalker returns a walker that puts the sandbox of a key into out, if
// there is one, and ends the walk.
func SandboxKeyWalker(out *Sandbox, key string) SandboxWalker {
	return func(sb Sandbox) bool {
		if sb.Key() != key {
			return false
		}
		*out = sb
		return true
	}
}

type controller struct {
	id      string
	e       *engine.Engine
	release func() error
	hooks   *extkey.Server
	stop    sync.Once

	mu  sync.Mutex // guards cfg
	cfg *config.Config

	subs subscriptions
}

// The controller is where drivers register themselves: a value that New returned
// can be asserted to be a driverapi.DriverCallback and an ipamapi.Callback.
var (
	_ driverapi.DriverCallback = (*controller)(nil)
	_ ipamapi.Callback         = (*controller)(nil)
)

// RegisterDriver makes a network driver known by the name of its type. It fails
// with ErrInvalidName for a blank name, driverapi.ErrActiveRegistration for one
// that is taken, and BadRequest for a scope that is neither local nor global.
// Networks of that type that an earlier controller made can be used from then on.
func (c *controller) RegisterDriver(networkType string, driver driverapi.Driver, capability driverapi.Capability) error {
	return c.e.RegisterDriver(c.ctx(), networkType, capability.DataScope, driver)
}

// RegisterIpamDriver makes an address manager known by a name. It fails with
// ErrInvalidName for a blank name, Forbidden for one that is taken, and Internal
// if the manager does not say its address spaces.
func (c *controller) RegisterIpamDriver(name string, driver ipamapi.Ipam) error {
	return c.e.RegisterIPAM(name, driver, false)
}

// RegisterIpamDriverWithCapabilities is RegisterIpamDriver for a manager that has
// wishes.
func (c *controller) RegisterIpamDriverWithCapabilities(name string, driver ipamapi.Ipam, caps *ipamapi.Capability) error {
	return c.e.RegisterIPAM(name, driver, caps != nil && caps.RequiresMACAddress)
}

// New makes a controller. It fails with BadRequest for a configuration that
// cannot be, Forbidden for a data directory that another process uses, and
// NotImplemented where the system cannot have container networks. What is left of
// sandboxes of an earlier process is removed.
func New(cfgOptions ...config.Option) (NetworkController, error) {
	cfg := config.ParseConfigOptions(cfgOptions...)
	opts, err := hostOptions(cfg)
	if err != nil {
		return nil, err
	}
	e, release, err := host.Open(context.Background(), opts)
	if err != nil {
		return nil, err
	}
	id := newControllerID()
	hooks, err := extkey.Listen(e.Context(), extkey.Config{RunDir: e.RunDir(), ID: id, SetKey: e.SetKey})
	if err != nil {
		return nil, engine.WithClass(err, "%w", errors.Join(err, release()))
	}
	return &controller{id: id, cfg: cfg, e: e, release: release, hooks: hooks}, nil
}

func newControllerID() string {
	for {
		var b [32]byte
		_, _ = rand.Read(b[:]) // never fails
		id := hex.EncodeToString(b[:])
		if _, err := strconv.ParseInt(id[:12], 10, 64); err != nil {
			return id
		}
	}
}

func (c *controller) ctx() context.Context { return c.e.Context() }

func (c *controller) ID() string { return c.id }

func (c *controller) Config() config.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return copyConfig(c.cfg)
}

func (c *controller) NewNetwork(networkType, name string, options ...NetworkOption) (Network, error) {
	n := &network{}
	n.req.Driver, n.req.Name = networkType, name
	for _, o := range options {
		if o != nil {
			o(n)
		}
	}
	if err := cmp.Or(n.err, n.readBridge()); err != nil {
		return nil, err
	}
	made, err := c.e.CreateNetwork(c.ctx(), n.req)
	if err != nil {
		return nil, err
	}
	return networkHandle{made}, nil
}

func (c *controller) Networks() []Network {
	var out []Network
	for _, n := range c.e.Networks() {
		out = append(out, networkHandle{n})
	}
	return out
}

func (c *controller) WalkNetworks(walker NetworkWalker) {
	_ = slices.ContainsFunc(c.Networks(), walker)
}

func (c *controller) NetworkByName(name string) (Network, error) {
	n, err := c.e.NetworkByName(name)
	if err != nil {
		return nil, err
	}
	return networkHandle{n}, nil
}

func (c *controller) NetworkByID(id string) (Network, error) {
	n, err := c.e.NetworkByID(id)
	if err != nil {
		return nil, err
	}
	return networkHandle{n}, nil
}

func (c *controller) NewSandbox(containerID string, options ...SandboxOption) (Sandbox, error) {
	sb := newSandboxRequest(containerID, options)
	if sb.err != nil {
		return nil, sb.err
	}
	made, err := c.e.CreateSandbox(c.ctx(), sb.req)
	if err != nil {
		return nil, err
	}
	for _, p := range sb.parents {
		if err := c.e.UpdateHosts(p.container, p.name, p.addr); err != nil {
			slog.Warn("update hosts file", "container", p.container, "err", err)
		}
	}
	return sandboxHandle{made}, nil
}

func (c *controller) Sandboxes() []Sandbox {
	var out []Sandbox
	for _, s := range c.e.Sandboxes() {
		out = append(out, sandboxHandle{s})
	}
	return out
}

func (c *controller) WalkSandboxes(walker SandboxWalker) {
	_ = slices.ContainsFunc(c.Sandboxes(), walker)
}

func (c *controller) SandboxByID(id string) (Sandbox, error) {
	s, err := c.e.SandboxByID(id)
	if err != nil {
		return nil, err
	}
	return sandboxHandle{s}, nil
}

func (c *controller) SandboxDestroy(id string) error {
	s, err := c.e.SandboxByContainer(id)
	if err != nil {
		return nil //nolint:nilerr // that there is none is no error
	}
	return s.Delete(c.ctx())
}

func (c *controller) Stop() {
	c.subs.close()
	c.stop.Do(func() {
		if err := errors.Join(c.hooks.Close(), c.release()); err != nil {
			slog.Error("stop the controller", "err", err)
		}
	})
}

func (c *controller) ReloadConfiguration(cfgOptions ...config.Option) error {
	next := config.ParseConfigOptions(cfgOptions...)
	if err := next.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, scope := range c.cfg.Scopes {
		other, ok := next.Scopes[name]
		switch {
		case !ok:
			return types.ForbiddenErrorf("reload the configuration: the scope %s is missing", name)
		case other.Client.Provider != scope.Client.Provider, other.Client.Address != scope.Client.Address:
			return types.ForbiddenErrorf("reload the configuration: the store of the scope %s cannot be changed", name)
		}
	}
	for name := range next.Scopes {
		if c.cfg.Scopes[name] == nil {
			return noGlobalScope(name)
		}
	}
	return nil
}
