// Package bridge is the driver of networks that are a bridge of the host, with a
// veth pair for each endpoint, guarded by the host's firewall.
//
// It is pure: it reads options into the record of a network and turns records
// into wanted objects.
package bridge

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// Type is the name of the driver.
const Type = "bridge"

// defaultLink is the name of the bridge of a network that carries the
// default_bridge option and names none.
const defaultLink = "docker0"

// Names of the auxiliary addresses that stand for the gateways of containers.
const (
	auxGateway4 = "DefaultGatewayIPv4"
	auxGateway6 = "DefaultGatewayIPv6"
)

// Driver makes bridge networks.
type Driver struct {
	// Group is the link group that marks the links made for one data directory.
	Group uint32
	// NoFirewall wants no rules: networks are not isolated, and ports are published by
	// forwards alone.
	NoFirewall bool
	// DirectRouting opens published ports of networks of mode nat at the containers'
	// own addresses too.
	DirectRouting bool
}

// Type is the name of the driver.
func (Driver) Type() string { return Type }

// Traits are those of a driver with addresses and ports, on this host alone.
func (d Driver) Traits() model.Traits {
	return model.Traits{Scope: "local", Addresses: true, Ports: !d.NoFirewall, Forwards: d.NoFirewall, DirectRouting: d.DirectRouting}
}

// Prepare reads the options. A network on a bridge of somebody else, for which
// no subnet was asked, gets the one that the bridge has.
func (d Driver) Prepare(n *model.Network, env model.Env) error {
	b, err := parseOptions(n)
	if err != nil {
		return err
	}
	n.Bridge = b
	host, exists := env.Link(b.Link)
	if exists && host.Group != d.Group {
		return adopt(n, host)
	}
	if !n.Internal {
		sizeOf(n, env)
	}
	if isDefault(n) && b.Link != defaultLink && !exists {
		return types.ForbiddenErrorf("network %s: the default bridge %s does not exist: make it first, or leave out %s",
			n.Name, b.Link, labelName)
	}
	return nil
}

// sizeOf gives the network the MTU of the way out, unless it was given one: larger
// packets would have to be fragmented, or would never arrive where ICMP is
// filtered.
func sizeOf(n *model.Network, env model.Env) {
	b := n.Bridge
	if b.MTU != 0 || env.EgressMTU == nil {
		return
	}
	egress := env.EgressMTU()
	if egress < mtuMin || egress > mtuMax || n.IPv6 && egress < mtuMinIPv6 {
		return
	}
	if egress != mtuDefault {
		b.MTU = egress
	}
}

// adopt makes n use a bridge that is there already.
func adopt(n *model.Network, host model.HostLink) error {
	if host.Kind != "bridge" {
		return types.ForbiddenErrorf("network %s: link %s exists and is not a bridge but %s", n.Name, host.Name, cmp.Or(host.Kind, "a link of the hardware or of the kernel's own"))
	}
	if n.Bridge.Mode4 == model.ModeIsolated || n.Bridge.Mode6 == model.ModeIsolated {
		return types.ForbiddenErrorf("network %s: bridge %s is somebody else's and connected to the host: a network on it cannot be isolated", n.Name, host.Name)
	}
	n.Bridge.Adopted = true
	for _, v6 := range []bool{false, true} {
		conf := &n.IPAM.Conf4
		if v6 {
			conf = &n.IPAM.Conf6
		}
		i := slices.IndexFunc(host.Addrs, func(p netip.Prefix) bool {
			return p.Addr().Is6() == v6 && !p.Addr().IsLinkLocalUnicast()
		})
		switch {
		case v6 && !n.IPv6, !v6 && n.NoIPv4:
		case i < 0 && !v6 && !n.Bridge.InhibitIPv4:
			return types.InternalErrorf("network %s: bridge %s exists but has no IPv4 address", n.Name, host.Name)
		case i >= 0 && (len(*conf) == 0 || (*conf)[0].Pool == ""):
			*conf = []model.IPAMConf{{Pool: host.Addrs[i].Masked().String(), Gateway: host.Addrs[i].Addr().String()}}
		}
	}
	return nil
}

// Plan settles addresses and gateways, and looks for conflicts with other
// networks.
func (d Driver) Plan(n *model.Network, env model.Env) error {
	b := n.Bridge
	if len(n.IPAM.Pools4) > 1 || len(n.IPAM.Pools6) > 1 {
		return types.ForbiddenErrorf("network %s: a bridge network has at most one subnet of each family", n.Name)
	}
	if len(n.IPAM.Pools4) == 0 && len(n.IPAM.Pools6) == 0 {
		return types.BadRequestErrorf("network %s: a bridge network needs a subnet", n.Name)
	}
	for _, pools := range [][]model.Pool{n.IPAM.Pools4, n.IPAM.Pools6} {
		for _, p := range pools {
			if err := d.planPool(n, p); err != nil {
				return err
			}
		}
	}
	for _, c := range slices.Concat(n.IPAM.Conf4, n.IPAM.Conf6) {
		if err := checkRange(n, c); err != nil {
			return err
		}
	}
	if b.Adopted {
		if err := checkAdopted(n, env); err != nil {
			return err
		}
	}
	return conflicts(n, env.Others)
}

func (d Driver) planPool(n *model.Network, p model.Pool) error {
	if p.Prefix.Bits() == 0 {
		return types.BadRequestErrorf("network %s: a bridge network needs a subnet, not %s", n.Name, p.Prefix)
	}
	if p.Prefix.Addr().Is6() && p.Prefix.Addr().IsLinkLocalUnicast() {
		return types.BadRequestErrorf("network %s: subnet %s is of link-local addresses, which every link has for itself, so that nothing leads there: choose one of fd00::/8, or of your own", n.Name, p.Prefix)
	}
	// Of an IPv4 /31 both addresses can be used (RFC 3021), of an IPv6 /127 the
	// second one alone.
	most := p.Prefix.Addr().BitLen() - 1
	if p.Prefix.Addr().Is6() {
		most--
	}
	if p.Prefix.Bits() > most {
		return types.BadRequestErrorf("network %s: subnet %s has no room for a gateway and one address", n.Name, p.Prefix)
	}
	if !p.Gateway.IsValid() {
		return types.BadRequestErrorf("network %s: subnet %s has no gateway address", n.Name, p.Prefix)
	}
	if !p.Prefix.Contains(p.Gateway.Addr()) {
		return types.BadRequestErrorf("network %s: gateway %s is outside the subnet %s", n.Name, p.Gateway.Addr(), p.Prefix)
	}
	b := n.Bridge
	v6 := p.Prefix.Addr().Is6()
	if n.Mode(v6) != model.ModeIsolated && (v6 || !b.InhibitIPv4) {
		b.Addrs = append(b.Addrs, p.Gateway)
	}
	gw, aux := &b.Gateway4, auxGateway4
	if v6 {
		gw, aux = &b.Gateway6, auxGateway6
	}
	*gw = p.Gateway.Addr()
	if a, ok := p.Aux[aux]; ok {
		if !p.Prefix.Contains(a.Addr()) {
			return types.BadRequestErrorf("network %s: gateway %s is outside the subnet %s", n.Name, a.Addr(), p.Prefix)
		}
		*gw = a.Addr()
	}
	return nil
}

// checkRange refuses a range of which the network itself takes every address.
func checkRange(n *model.Network, c model.IPAMConf) error {
	r, err := netip.ParsePrefix(c.Sub)
	if err != nil {
		return nil //nolint:nilerr // none is given, or it is for the address manager to refuse
	}
	for _, p := range slices.Concat(n.IPAM.Pools4, n.IPAM.Pools6) {
		if !p.Prefix.Overlaps(r) {
			continue
		}
		taken := []netip.Addr{p.Gateway.Addr()}
		for _, a := range p.Aux {
			taken = append(taken, a.Addr())
		}
		if r.Addr().BitLen()-p.Prefix.Bits() > 1 { // else RFC 3021
			taken = append(taken, p.Prefix.Masked().Addr())
		}
		for a := r.Masked().Addr(); r.Contains(a); a = a.Next() {
			if broadcast := a.Is4() && !p.Prefix.Contains(a.Next()) && p.Prefix.Bits() < 31; !broadcast && !slices.Contains(taken, a) {
				return nil
			}
		}
		return types.BadRequestErrorf("network %s: the range %s of subnet %s has no address for an endpoint beside the gateway %s and the auxiliary ones", n.Name, c.Sub, p.Prefix, p.Gateway.Addr())
	}
	return nil
}

// checkAdopted compares the wanted addresses with those that a bridge of
// somebody else has: it is never changed.
func checkAdopted(n *model.Network, env model.Env) error {
	host, ok := env.Link(n.Bridge.Link)
	if !ok {
		return types.InternalErrorf("network %s: bridge %s has vanished", n.Name, n.Bridge.Link)
	}
	for _, want := range n.Bridge.Addrs {
		if !slices.Contains(host.Addrs, want) {
			return types.BadRequestErrorf("network %s: bridge %s has the addresses %v, not %s: name the subnet and gateway that it has",
				n.Name, host.Name, host.Addrs, want)
		}
	}
	return nil
}

func conflicts(n *model.Network, others []*model.Network) error {
	for _, o := range others {
		if o.ID == n.ID || o.Bridge == nil {
			continue
		}
		if o.Bridge.Link == n.Bridge.Link {
			return types.ForbiddenErrorf("network %s: bridge %s belongs to network %s already", n.Name, n.Bridge.Link, o.Name)
		}
		if err := overlap(n, o, n.IPAM.Pools4, o.IPAM.Pools4); err != nil {
			return err
		}
		if err := overlap(n, o, n.IPAM.Pools6, o.IPAM.Pools6); err != nil {
			return err
		}
	}
	return nil
}

// overlap compares pools of one family.
func overlap(n, o *model.Network, pools, others []model.Pool) error {
	for _, a := range pools {
		for _, b := range others {
			if a.Prefix.Overlaps(b.Prefix) {
				return types.ForbiddenErrorf("network %s: subnet %s overlaps with %s of network %s", n.Name, a.Prefix, b.Prefix, o.Name)
			}
		}
	}
	return nil
}

// Network wants the bridge and its rules.
func (d Driver) Network(n *model.Network) []model.Object {
	b := n.Bridge
	fw := model.FirewallNetwork{ID: n.ID, Bridge: b.Link}
	trusted := slices.Compact(slices.Sorted(slices.Values(b.Trusted))) // a name may have been given twice
	for _, p := range slices.Concat(n.IPAM.Pools4, n.IPAM.Pools6) {
		v6 := p.Prefix.Addr().Is6()
		f, source := &fw.V4, b.Source4
		if v6 {
			f, source = &fw.V6, b.Source6
		}
		*f = &model.FirewallFamily{
			Subnets: []netip.Prefix{p.Prefix}, Mode: n.Mode(v6), Masquerade: b.Masquerade, MasqueradeTo: source,
			Internal: n.Internal, ICC: b.ICC, Trusted: trusted, TrustedMark: b.TrustedMark,
		}
	}
	if n.Internal && fw.V4 == nil && !b.Adopted {
		// No setting keeps the host from IPv4 on a link, so the rules do.
		fw.V4 = &model.FirewallFamily{Mode: model.ModeIsolated, Internal: true, ICC: b.ICC}
	}
	link := model.Bridge{
		Name: b.Link, Group: d.Group, Alias: fmt.Sprintf("network %s %s", n.Name, n.ID), MAC: hardwareAddr(n.ID),
		Addrs: b.Addrs, IPv6: len(n.IPAM.Pools6) > 0 && b.Mode6 != model.ModeIsolated,
		RouteLocalnet: !d.NoFirewall && len(n.IPAM.Pools4) > 0, Adopted: b.Adopted, MTU: b.MTU,
		// Where the host has no address of the subnet, its answers would leave.
		StrictSource: n.Internal,
	}
	if d.NoFirewall {
		return []model.Object{link}
	}
	return []model.Object{fw, link}
}

// hardwareAddr is the MAC address of a network's bridge. A bridge without one of
// its own has the lowest of its ports', so it would change with the containers
// that come and go, and members would send to an address that is gone.
func hardwareAddr(id string) string {
	h := fnv.New32a()
	h.Write([]byte(id))
	return net.HardwareAddr(h.Sum([]byte{0x02, 0x42})).String()
}

// Attach wants a veth pair.
func (d Driver) Attach(n *model.Network, ep *model.Endpoint, sb *model.Sandbox) []model.Object {
	v := model.Veth{
		Host: ep.Attached.Host, Name: ep.Attached.Name, Bridge: n.Bridge.Link, Adopted: n.Bridge.Adopted, Group: d.Group,
		Alias: fmt.Sprintf("endpoint %s %s", ep.Name, ep.ID),
		MAC:   ep.MAC, MTU: n.Bridge.MTU, Hairpin: true, Sysctls: ep.Sysctls,
	}
	objs := make([]model.Object, 0, 2)
	switch {
	case n.Bridge.ICC:
	case sb.Links == nil || d.NoFirewall:
		v.Isolated = true
	default:
		// Isolation knows no exceptions: rules take its place.
		objs = append(objs, model.LinkedPort{Host: v.Host, Owner: ep.ID})
	}
	if !sb.Host {
		v.Netns = sb.Key
	}
	for _, p := range []netip.Prefix{ep.V4, ep.V6} {
		if p.IsValid() {
			v.Addrs = append(v.Addrs, p)
		}
	}
	return append(objs, v)
}

// Gateway is the bridge's address, or what an auxiliary address says; internal
// networks offer none.
func (Driver) Gateway(n *model.Network, _ *model.Endpoint, v6 bool) netip.Addr {
	switch {
	case n.Internal || n.Bridge == nil:
		return netip.Addr{}
	case v6:
		return n.Bridge.Gateway6
	default:
		return n.Bridge.Gateway4
	}
}
