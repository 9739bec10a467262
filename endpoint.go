package libnetwork

import (
	"context"
	"net"
	"slices"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// Endpoint is a logical connection between a network and a sandbox. It keeps its
// addresses until it is deleted.
type Endpoint interface {
	// ID is chosen by the controller: 64 hex digits.
	ID() string

	// Name is unique on the network.
	Name() string

	// Network is the name of the network.
	Network() string

	// Join connects a sandbox: it gets the endpoint's interface, routes and names.
	// It fails with BadRequest for a sandbox that is none, and Forbidden if the
	// endpoint is joined already or the sandbox is deleted.
	Join(sandbox Sandbox, options ...EndpointOption) error

	// Leave undoes Join. It fails with Forbidden if the endpoint is not joined to
	// that sandbox.
	Leave(sandbox Sandbox, options ...EndpointOption) error

	// Info returns the endpoint's addresses and sandbox; nil once it is deleted.
	Info() EndpointInfo

	// DriverInfo returns what the driver knows, by label: netlabel.MacAddress, a
	// net.HardwareAddr, netlabel.PortMap, a []types.PortBinding, and
	// netlabel.ExposedPorts, a []types.TransportPort.
	DriverInfo() (map[string]interface{}, error)

	// Delete removes the endpoint. It fails with *ActiveContainerError while it is
	// joined to a sandbox, unless forced, and with *UnknownEndpointError when it is
	// gone.
	Delete(force bool) error
}

// EndpointInfo is what belongs to an endpoint. What it returns are copies.
type EndpointInfo interface {
	// Iface returns the interface's addresses.
	Iface() InterfaceInfo

	// Gateway returns the IPv4 gateway, nil unless joined to a sandbox.
	Gateway() net.IP

	// GatewayIPv6 returns the IPv6 gateway, nil unless joined to a sandbox.
	GatewayIPv6() net.IP

	// StaticRoutes returns the routes that the driver wants inside the sandbox.
	StaticRoutes() []*types.StaticRoute

	// Sandbox returns the sandbox, nil if there is none.
	Sandbox() Sandbox
}

// InterfaceInfo is the addresses of an endpoint. What it returns are copies.
type InterfaceInfo interface {
	// MacAddress returns the MAC address.
	MacAddress() net.HardwareAddr

	// Address returns the IPv4 address with its subnet's mask, or nil.
	Address() *net.IPNet

	// AddressIPv6 returns the IPv6 address with its subnet's mask, or nil.
	AddressIPv6() *net.IPNet
}

// EndpointWalker is called for each endpoint of a walk, and ends it by returning
// true. It may call back into the API.
type EndpointWalker func(ep Endpoint) bool

// endpoint is the request that the options of CreateEndpoint and Join write
// into.
type endpoint struct {
	req     engine.EndpointRequest
	join    engine.JoinRequest
	exposed []types.TransportPort
	sysctls string
	generic map[string]any
	err     error
}

func newEndpointRequest(options []EndpointOption) *endpoint {
	ep := &endpoint{}
	for _, o := range options {
		if o != nil {
			o(ep)
		}
	}
	ep.req.Generic = ep.generic
	for _, p := range ep.exposed {
		ep.req.Exposed = append(ep.req.Exposed, model.Expose{Proto: uint8(p.Proto), Port: p.Port})
	}
	return ep
}

// endpointHandle is an Endpoint. Two of them for one endpoint are equal.
type endpointHandle struct{ ep *engine.Endpoint }

func (h endpointHandle) ctx() context.Context { return h.ep.Network().Engine().Context() }

func (h endpointHandle) ID() string { return h.ep.ID() }

func (h endpointHandle) Name() string { return h.ep.Name() }

func (h endpointHandle) Network() string { return h.ep.Network().Name() }

func (h endpointHandle) Join(sandbox Sandbox, options ...EndpointOption) error {
	sb, err := engineSandbox(sandbox)
	if err != nil {
		return err
	}
	return h.ep.Join(h.ctx(), sb, newEndpointRequest(options).join)
}

func (h endpointHandle) Leave(sandbox Sandbox, _ ...EndpointOption) error {
	sb, err := engineSandbox(sandbox)
	if err != nil {
		return err
	}
	return h.ep.Leave(h.ctx(), sb)
}

// engineSandbox returns what is behind a sandbox of this package.
func engineSandbox(sandbox Sandbox) (*engine.Sandbox, error) {
	h, ok := sandbox.(sandboxHandle)
	if !ok || h.s == nil {
		return nil, types.BadRequestErrorf("%v is not a sandbox of this controller", sandbox)
	}
	return h.s, nil
}

func (h endpointHandle) Info() EndpointInfo {
	if !h.ep.Alive() {
		return nil
	}
	return endpointInfo{h.ep, h.ep.Record()}
}

func (h endpointHandle) DriverInfo() (map[string]interface{}, error) {
	if !h.ep.Alive() {
		return nil, types.NotFoundErrorf("endpoint %s (%s) does not exist any more", h.Name(), h.ID()[:12])
	}
	ep := h.ep
	if sb := ep.Sandbox(); sb != nil {
		// What leads to the sandbox from outside is what people ask for.
		for _, other := range sb.Endpoints() {
			if other.Record().Gateway {
				ep = other
			}
		}
	}
	if info, outside, err := ep.Info(); outside || err != nil {
		return info, err
	}
	return driverInfo(ep), nil
}

// driverInfo is what the built-in drivers know of an endpoint.
func driverInfo(ep *engine.Endpoint) map[string]interface{} {
	rec := ep.Record()
	out := make(map[string]interface{})
	if mac, err := net.ParseMAC(rec.MAC); err == nil {
		out[netlabel.MacAddress] = mac
	}
	var exposed []types.TransportPort
	for _, x := range rec.Exposed {
		exposed = append(exposed, types.TransportPort{Proto: types.Protocol(x.Proto), Port: x.Port})
	}
	sb := ep.Sandbox()
	if sb == nil {
		if exposed != nil {
			out[netlabel.ExposedPorts] = exposed
		}
		return out
	}
	for _, x := range sb.Record().Exposed {
		exposed = append(exposed, types.TransportPort{Proto: types.Protocol(x.Proto), Port: x.Port})
	}
	if exposed != nil {
		out[netlabel.ExposedPorts] = exposed
	}
	if bindings := portBindings(sb.Record(), rec); bindings != nil {
		out[netlabel.PortMap] = bindings
	}
	return out
}

// portBindings are the ports of a sandbox that lead to this endpoint.
func portBindings(sb *model.Sandbox, ep *model.Endpoint) []types.PortBinding {
	var out []types.PortBinding
	for p := range sb.Published.All() {
		if !ep.V4.IsValid() || p.Addr != ep.V4.Addr() {
			if !ep.V6.IsValid() || p.Addr != ep.V6.Addr() {
				continue
			}
		}
		for i := range p.Last - p.First + 1 {
			out = append(out, types.PortBinding{
				Proto: types.Protocol(p.Proto), IP: ip(p.Addr), Port: p.Port + i,
				HostIP: ip(p.Host), HostPort: p.First + i, HostPortEnd: p.First + i,
			})
		}
	}
	return out
}

func (h endpointHandle) Delete(force bool) error { return h.ep.Delete(h.ctx(), force) }

type endpointInfo struct {
	ep  *engine.Endpoint
	rec *model.Endpoint
}

func (i endpointInfo) Iface() InterfaceInfo { return interfaceInfo{i.rec} }

func (i endpointInfo) Gateway() net.IP { return i.gateway(false) }

func (i endpointInfo) GatewayIPv6() net.IP { return i.gateway(true) }

func (i endpointInfo) gateway(v6 bool) net.IP {
	if i.rec.Attached == nil {
		return nil
	}
	return ip(i.ep.Gateway(v6))
}

func (i endpointInfo) StaticRoutes() []*types.StaticRoute {
	if i.rec.Attached == nil || i.rec.Attached.Outside == nil {
		return nil
	}
	var out []*types.StaticRoute
	for _, r := range i.rec.Attached.Outside.Static {
		out = append(out, &types.StaticRoute{Destination: ipNet(r.Dst), RouteType: types.NEXTHOP, NextHop: ip(r.Via)})
	}
	return out
}

func (i endpointInfo) Sandbox() Sandbox {
	if s := i.ep.Sandbox(); s != nil {
		return sandboxHandle{s}
	}
	return nil
}

type interfaceInfo struct{ rec *model.Endpoint }

func (i interfaceInfo) MacAddress() net.HardwareAddr {
	mac, err := net.ParseMAC(i.rec.MAC)
	if err != nil {
		return nil
	}
	return slices.Clone(mac)
}

func (i interfaceInfo) Address() *net.IPNet { return ipNet(i.rec.V4) }

func (i interfaceInfo) AddressIPv6() *net.IPNet { return ipNet(i.rec.V6) }
