package outside

import (
	"maps"
	"net"
	"net/netip"

	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// there fails with NotFound if the driver is not there.
func (d Driver) there() error {
	if d.driver == nil {
		return types.NotFoundErrorf("network driver %s is not there: it is to be registered, or its plugin started, before its networks can be used", d.name)
	}
	return nil
}

// CreateNetwork has the driver make a network.
func (d Driver) CreateNetwork(n *model.Network) error {
	if err := d.there(); err != nil {
		return err
	}
	opts := maps.Clone(n.Generic)
	if opts == nil {
		opts = make(map[string]any)
	}
	if _, ok := opts[netlabel.GenericData]; !ok || len(n.Options) > 0 {
		data := maps.Clone(n.Options)
		if data == nil {
			data = map[string]string{}
		}
		opts[netlabel.GenericData] = data
	}
	if n.IPv6 {
		opts[netlabel.EnableIPv6] = true
	}
	if n.Internal {
		opts[netlabel.Internal] = true
	}
	return d.driver.CreateNetwork(n.ID, opts, ipamData(n.IPAM.Pools4), ipamData(n.IPAM.Pools6))
}

func ipamData(pools []model.Pool) []driverapi.IPAMData {
	out := make([]driverapi.IPAMData, 0, len(pools))
	for _, p := range pools {
		d := driverapi.IPAMData{AddressSpace: p.Space, Pool: ipNet(p.Prefix), Gateway: ipNet(p.Gateway)}
		for name, a := range p.Aux {
			if d.AuxAddresses == nil {
				d.AuxAddresses = make(map[string]*net.IPNet, len(p.Aux))
			}
			d.AuxAddresses[name] = ipNet(a)
		}
		out = append(out, d)
	}
	return out
}

// DeleteNetwork has the driver remove a network.
func (d Driver) DeleteNetwork(id string) error {
	if err := d.there(); err != nil {
		return err
	}
	return d.driver.DeleteNetwork(id)
}

// CreateEndpoint has the driver make an endpoint, and returns its record with the
// addresses that the driver has added.
func (d Driver) CreateEndpoint(ep *model.Endpoint, options map[string]any) (*model.Endpoint, error) {
	if err := d.there(); err != nil {
		return nil, err
	}
	made := *ep
	i := &interfaceInfo{ep: &made}
	opts := maps.Clone(options)
	if opts == nil {
		opts = make(map[string]any)
	}
	err := d.driver.CreateEndpoint(ep.Network, ep.ID, i, opts)
	i.ep = nil // it is valid during the call only
	return &made, err
}

// DeleteEndpoint has the driver remove an endpoint.
func (d Driver) DeleteEndpoint(network, endpoint string) error {
	if err := d.there(); err != nil {
		return err
	}
	return d.driver.DeleteEndpoint(network, endpoint)
}

// Join has the driver make an endpoint ready for the sandbox of that key.
func (d Driver) Join(ep *model.Endpoint, key string, labels map[string]any) (*model.Outside, error) {
	if err := d.there(); err != nil {
		return nil, err
	}
	said := &model.Outside{}
	j := &joinInfo{said: said}
	err := d.driver.Join(ep.Network, ep.ID, key, j, nonNil(labels))
	j.said = nil // it is valid during the call only
	return said, err
}

// Leave undoes Join.
func (d Driver) Leave(network, endpoint string) error {
	if err := d.there(); err != nil {
		return err
	}
	return d.driver.Leave(network, endpoint)
}

// Program opens the way to an endpoint from outside.
func (d Driver) Program(c model.Connectivity) error {
	if err := d.there(); err != nil {
		return err
	}
	return d.driver.ProgramExternalConnectivity(c.Network, c.Endpoint, nonNil(c.Labels))
}

// Revoke undoes Program.
func (d Driver) Revoke(c model.Connectivity) error {
	if err := d.there(); err != nil {
		return err
	}
	return d.driver.RevokeExternalConnectivity(c.Network, c.Endpoint)
}

// Info returns what the driver knows of an endpoint, by label.
func (d Driver) Info(network, endpoint string) (map[string]any, error) {
	if err := d.there(); err != nil {
		return nil, err
	}
	return d.driver.EndpointOperInfo(network, endpoint)
}

func nonNil(labels map[string]any) map[string]any {
	if labels == nil {
		return map[string]any{}
	}
	return maps.Clone(labels)
}

// ipNet converts to what the published API holds; the zero value is nil.
func ipNet(p netip.Prefix) *net.IPNet {
	if !p.IsValid() {
		return nil
	}
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefix converts from what the published API holds.
func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	a = a.Unmap()
	if bits == 128 && a.Is4() {
		ones -= 96
	}
	if !ok || bits == 0 || ones < 0 || ones > a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones), true
}
