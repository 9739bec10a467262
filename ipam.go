package libnetwork

import (
	"encoding/json"
	"maps"
	"net"

	"github.com/libnetwork/libnetwork/driverapi"
	"github.com/libnetwork/libnetwork/types"
)

// IpamConf is what is asked of an address manager for one subnet of a network.
// Addresses are text.
type IpamConf struct {
	// PreferredPool is the subnet in CIDR notation; empty for any.
	PreferredPool string
	// SubPool is the part of the subnet that containers get addresses from, in CIDR
	// notation; empty for all of it.
	SubPool string
	// Gateway is the address of the gateway; empty for the first one.
	Gateway string
	// AuxAddresses are addresses that the driver uses for itself, by a name. They
	// must be in the subnet, and are given to no container.
	AuxAddresses map[string]string
}

// Validate says, with a BadRequest error, which address is none.
func (c *IpamConf) Validate() error {
	if c.Gateway != "" && net.ParseIP(c.Gateway) == nil {
		return types.BadRequestErrorf("invalid gateway address %q in IPAM configuration", c.Gateway)
	}
	for name, a := range c.AuxAddresses {
		if net.ParseIP(a) == nil {
			return types.BadRequestErrorf("invalid auxiliary address %s=%q in IPAM configuration", name, a)
		}
	}
	return nil
}

// CopyTo makes dstC a deep copy.
func (c *IpamConf) CopyTo(dstC *IpamConf) error {
	*dstC = *c
	dstC.AuxAddresses = maps.Clone(c.AuxAddresses)
	return nil
}

// IpamInfo is what an address manager gave for one subnet of a network.
type IpamInfo struct {
	// PoolID is the address manager's name for the subnet.
	PoolID string
	// Meta is what the address manager has to say about it.
	Meta map[string]string
	driverapi.IPAMData
}

// CopyTo makes dstI a deep copy.
func (i *IpamInfo) CopyTo(dstI *IpamInfo) error {
	dstI.PoolID = i.PoolID
	dstI.Meta = maps.Clone(i.Meta)
	dstI.AddressSpace = i.AddressSpace
	dstI.Pool = types.GetIPNetCopy(i.Pool)
	dstI.Gateway = types.GetIPNetCopy(i.Gateway)
	dstI.AuxAddresses = nil
	if i.AuxAddresses != nil {
		dstI.AuxAddresses = make(map[string]*net.IPNet, len(i.AuxAddresses))
		for k, v := range i.AuxAddresses {
			dstI.AuxAddresses[k] = types.GetIPNetCopy(v)
		}
	}
	return nil
}

// ipamInfoJSON is the form of an IpamInfo in JSON: the subnet is JSON inside a
// string.
type ipamInfoJSON struct {
	PoolID   string
	Meta     map[string]string `json:",omitempty"`
	IPAMData string
}

// MarshalJSON encodes the value.
func (i *IpamInfo) MarshalJSON() ([]byte, error) {
	data, err := json.Marshal(&i.IPAMData)
	if err != nil {
		return nil, err
	}
	return json.Marshal(ipamInfoJSON{PoolID: i.PoolID, Meta: i.Meta, IPAMData: string(data)})
}

// UnmarshalJSON decodes what MarshalJSON wrote. What cannot be decoded is a
// BadRequest error, and leaves the value as it was.
func (i *IpamInfo) UnmarshalJSON(data []byte) error {
	var j ipamInfoJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return types.BadRequestErrorf("decode IPAM information: %w", err)
	}
	var d driverapi.IPAMData
	if j.IPAMData != "" {
		if err := json.Unmarshal([]byte(j.IPAMData), &d); err != nil {
			return types.BadRequestErrorf("decode IPAM information: subnet: %w", err)
		}
	}
	*i = IpamInfo{PoolID: j.PoolID, Meta: j.Meta, IPAMData: d}
	return nil
}
