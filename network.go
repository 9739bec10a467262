package libnetwork

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// Network is a zone of connectivity that containers may join. Its type is the
// name of the driver that manages it.
type Network interface {
	// Name is chosen by the user, and unique.
	Name() string

	// ID is chosen by the controller: 64 hex digits.
	ID() string

	// Type is the name of the driver.
	Type() string

	// CreateEndpoint makes an endpoint whose name is unique on this network. It fails
	// with ErrInvalidName for a blank name, Forbidden for one that is taken, BadRequest
	// for an address that cannot be, and NoService if no address is left.
	CreateEndpoint(name string, options ...EndpointOption) (Endpoint, error)

	// Delete removes the network. It fails with *ActiveEndpointsError while it has
	// endpoints, and with *UnknownNetworkError when it is gone.
	Delete() error

	// Endpoints returns all endpoints, the oldest first.
	Endpoints() []Endpoint

	// WalkEndpoints calls the walker for each endpoint until it returns true.
	WalkEndpoints(walker EndpointWalker)

	// EndpointByName returns the endpoint of that name, or ErrNoSuchEndpoint;
	// ErrInvalidName for the empty one.
	EndpointByName(name string) (Endpoint, error)

	// EndpointByID returns the endpoint of that id, or ErrNoSuchEndpoint;
	// ErrInvalidID for the empty one.
	EndpointByID(id string) (Endpoint, error)

	// Info returns the network's configuration.
	Info() NetworkInfo
}

// NetworkInfo is the configuration of a network. What it returns are copies.
type NetworkInfo interface {
	// IpamConfig returns the address manager, its options, and what was asked of
	// it for IPv4 and IPv6.
	IpamConfig() (string, map[string]string, []*IpamConf, []*IpamConf)
	// IpamInfo returns what the address manager gave for IPv4 and IPv6.
	IpamInfo() ([]*IpamInfo, []*IpamInfo)
	// DriverOptions returns the options for the driver.
	DriverOptions() map[string]string
	// Scope is "local" or "global".
	Scope() string
	// IPv6Enabled says whether endpoints get IPv6 addresses.
	IPv6Enabled() bool
	// Internal says whether the network leads nowhere but to its members.
	Internal() bool
	// Labels returns the user's labels.
	Labels() map[string]string
}

// network is the request that the options of NewNetwork write into.
type network struct {
	req engine.NetworkRequest
	// typed are the driver's options if they came as a map of any values.
	typed map[string]any
	// given are the labels that came as options of the network.
	given []string
	err   error
}

// networkHandle is a Network. Two of them for one network are equal.
type networkHandle struct{ n *engine.Network }

func (h networkHandle) ctx() context.Context { return h.n.Engine().Context() }

func (h networkHandle) Name() string { return h.n.Name() }

func (h networkHandle) ID() string { return h.n.ID() }

func (h networkHandle) Type() string { return h.n.Record().Driver }

func (h networkHandle) CreateEndpoint(name string, options ...EndpointOption) (Endpoint, error) {
	ep := newEndpointRequest(options)
	ep.req.Name = name
	if ep.err != nil {
		return nil, types.BadRequestErrorf("endpoint %s: %w", name, ep.err)
	}
	if err := bridge.CheckIfName(name, ep.req.IfName); err != nil {
		return nil, err
	}
	sysctls, err := bridge.ParseSysctls(name, ep.sysctls)
	if err != nil {
		return nil, err
	}
	ep.req.Sysctls = sysctls
	made, err := h.n.CreateEndpoint(h.ctx(), ep.req)
	if err != nil {
		return nil, err
	}
	return endpointHandle{made}, nil
}

func (h networkHandle) Delete() error { return h.n.Delete(h.ctx()) }

func (h networkHandle) Endpoints() []Endpoint {
	var out []Endpoint
	for _, ep := range h.n.Endpoints() {
		out = append(out, endpointHandle{ep})
	}
	return out
}

func (h networkHandle) WalkEndpoints(walker EndpointWalker) {
	_ = slices.ContainsFunc(h.Endpoints(), walker)
}

func (h networkHandle) EndpointByName(name string) (Endpoint, error) {
	ep, err := h.n.EndpointByName(name)
	if err != nil {
		return nil, err
	}
	return endpointHandle{ep}, nil
}

func (h networkHandle) EndpointByID(id string) (Endpoint, error) {
	ep, err := h.n.EndpointByID(id)
	if err != nil {
		return nil, err
	}
	return endpointHandle{ep}, nil
}

func (h networkHandle) Info() NetworkInfo { return networkInfo{h.n.Record()} }

// networkInfo is a view of a record, which never changes.
type networkInfo struct{ rec *model.Network }

func (i networkInfo) IpamConfig() (string, map[string]string, []*IpamConf, []*IpamConf) {
	m := i.rec.IPAM
	return m.Driver, maps.Clone(m.Options), publicConfs(m.Conf4), publicConfs(m.Conf6)
}

func (i networkInfo) IpamInfo() ([]*IpamInfo, []*IpamInfo) {
	return publicPools(i.rec.IPAM.Pools4), publicPools(i.rec.IPAM.Pools6)
}

func (i networkInfo) DriverOptions() map[string]string {
	if i.rec.Options == nil {
		return map[string]string{}
	}
	return maps.Clone(i.rec.Options)
}

func (i networkInfo) Scope() string { return i.rec.Scope }

func (i networkInfo) IPv6Enabled() bool { return i.rec.IPv6 }

func (i networkInfo) Internal() bool { return i.rec.Internal }

func (i networkInfo) Labels() map[string]string { return maps.Clone(i.rec.Labels) }

func publicConfs(confs []model.IPAMConf) []*IpamConf {
	var out []*IpamConf
	for _, c := range confs {
		out = append(out, &IpamConf{
			PreferredPool: c.Pool, SubPool: c.Sub, Gateway: c.Gateway, AuxAddresses: maps.Clone(c.Aux),
		})
	}
	return out
}

func publicPools(pools []model.Pool) []*IpamInfo {
	var out []*IpamInfo
	for _, p := range pools {
		info := &IpamInfo{PoolID: p.ID, Meta: maps.Clone(p.Meta), IPAMData: driverapi.IPAMData{
			AddressSpace: p.Space, Pool: ipNet(p.Prefix), Gateway: ipNet(p.Gateway),
		}}
		for name, a := range p.Aux {
			if info.AuxAddresses == nil {
				info.AuxAddresses = make(map[string]*net.IPNet, len(p.Aux))
			}
			info.AuxAddresses[name] = ipNet(a)
		}
		out = append(out, info)
	}
	return out
}

// ipNet converts to what the published API holds; the zero value is nil.
func ipNet(p netip.Prefix) *net.IPNet {
	if !p.IsValid() {
		return nil
	}
	return &net.IPNet{IP: ip(p.Addr()), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func ip(a netip.Addr) net.IP {
	if !a.IsValid() {
		return nil
	}
	return slices.Clone(a.AsSlice())
}

// addr converts from what the published API holds; nil is the zero value.
func addr(i net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(i)
	return a.Unmap()
}
