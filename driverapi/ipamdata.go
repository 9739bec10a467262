package driverapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/libnetwork/libnetwork/types"
)

// IPAMData is what a driver is told of one subnet of a network. Its addresses have
// the mask of the pool.
type IPAMData struct {
	// AddressSpace is the address space that the pool was taken from.
	AddressSpace string
	// Pool is the subnet. 0.0.0.0/0 means that the network has no IPv4 addresses.
	Pool *net.IPNet
	// Gateway is the address of the gateway.
	Gateway *net.IPNet
	// AuxAddresses are further addresses that are taken, by name.
	AuxAddresses map[string]*net.IPNet
}

// ipamDataJSON is IPAMData as it goes over the wire and into records.
type ipamDataJSON struct {
	AddressSpace string
	Pool         string            `json:",omitempty"`
	Gateway      string            `json:",omitempty"`
	AuxAddresses map[string]string `json:",omitzero"`
}

// MarshalJSON returns an object with the names of the fields, networks in CIDR
// notation; what is nil is left out. It fails with BadRequest if one has no CIDR
// notation.
func (i *IPAMData) MarshalJSON() ([]byte, error) {
	w := ipamDataJSON{AddressSpace: i.AddressSpace}
	var err error
	if w.Pool, err = formatCIDR("pool", i.Pool); err != nil {
		return nil, err
	}
	if w.Gateway, err = formatCIDR("gateway", i.Gateway); err != nil {
		return nil, err
	}
	if i.AuxAddresses != nil {
		w.AuxAddresses = make(map[string]string, len(i.AuxAddresses))
	}
	for name, aux := range i.AuxAddresses {
		if aux == nil {
			continue
		}
		if w.AuxAddresses[name], err = formatCIDR("auxiliary address "+name, aux); err != nil {
			return nil, err
		}
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON writes; what is left out becomes zero. The
// gateway and the auxiliary addresses may also come without prefix length, which is
// then the pool's. What it cannot read fails with BadRequest and leaves i as it was.
func (i *IPAMData) UnmarshalJSON(data []byte) error {
	var w ipamDataJSON
	if err := json.Unmarshal(data, &w); err != nil {
		return types.BadRequestErrorf("address data: %w", err)
	}
	d := IPAMData{AddressSpace: w.AddressSpace}
	var err error
	if w.Pool != "" {
		if d.Pool, err = types.ParseCIDR(w.Pool); err != nil {
			return types.BadRequestErrorf("pool: %w", err)
		}
	}
	if w.Gateway != "" {
		if d.Gateway, err = parseInPool(w.Gateway, d.Pool); err != nil {
			return types.BadRequestErrorf("gateway: %w", err)
		}
	}
	if w.AuxAddresses != nil {
		d.AuxAddresses = make(map[string]*net.IPNet, len(w.AuxAddresses))
	}
	for _, name := range slices.Sorted(maps.Keys(w.AuxAddresses)) {
		if d.AuxAddresses[name], err = parseInPool(w.AuxAddresses[name], d.Pool); err != nil {
			return types.BadRequestErrorf("auxiliary address %s: %w", name, err)
		}
	}
	*i = d
	return nil
}

// Validate fails with BadRequest if there is no pool or no gateway, or if the
// gateway or an auxiliary address is not in the pool.
func (i *IPAMData) Validate() error {
	if i.Pool == nil {
		return types.BadRequestErrorf("address data: no pool")
	}
	if i.Gateway == nil {
		return types.BadRequestErrorf("pool %s: no gateway", i.Pool)
	}
	if err := i.checkInPool("gateway", i.Gateway); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(i.AuxAddresses)) {
		if err := i.checkInPool("auxiliary address "+name, i.AuxAddresses[name]); err != nil {
			return err
		}
	}
	return nil
}

func (i *IPAMData) checkInPool(what string, addr *net.IPNet) error {
	switch {
	case addr == nil:
		return types.BadRequestErrorf("pool %s: %s is nil", i.Pool, what)
	case (addr.IP.To4() == nil) != i.IsV6():
		return types.BadRequestErrorf("pool %s: %s %s is of another address family", i.Pool, what, addr)
	case !i.Pool.Contains(addr.IP):
		return types.BadRequestErrorf("pool %s: %s %s is outside", i.Pool, what, addr)
	}
	return nil
}

// IsV6 says whether the pool is one of IPv6.
func (i *IPAMData) IsV6() bool {
	return i.Pool != nil && i.Pool.IP.To4() == nil
}

// String returns all fields in one line.
func (i *IPAMData) String() string {
	return fmt.Sprintf("address space %s, pool %v, gateway %v, auxiliary addresses %v",
		i.AddressSpace, i.Pool, i.Gateway, i.AuxAddresses)
}

// formatCIDR returns the CIDR notation, "" for nil.
func formatCIDR(what string, nw *net.IPNet) (string, error) {
	if nw == nil {
		return "", nil
	}
	s := nw.String()
	// String does not fail: it returns "<nil>" or a mask in hex for what has no CIDR
	// notation, which nobody could read back.
	if _, _, err := net.ParseCIDR(s); err != nil {
		return "", types.BadRequestErrorf("%s: %w", what, err)
	}
	return s, nil
}

// parseInPool parses an address in CIDR notation, or a plain one with the mask of
// the pool; without a pool of its family it stands for itself alone.
func parseInPool(s string, pool *net.IPNet) (*net.IPNet, error) {
	ip := net.ParseIP(s)
	if ip == nil {
		return types.ParseCIDR(s)
	}
	bits := 8 * len(types.GetMinimalIP(ip))
	mask := net.CIDRMask(bits, bits)
	if pool != nil && len(pool.Mask) == len(mask) {
		mask = slices.Clone(pool.Mask)
	}
	return &net.IPNet{IP: ip, Mask: mask}, nil
}
