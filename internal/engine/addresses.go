package engine

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// undoList runs functions backwards.
type undoList []func()

func (u *undoList) add(f func()) { *u = append(*u, f) }

func (u *undoList) run() {
	for _, f := range slices.Backward(*u) {
		f()
	}
	*u = nil
}

// allocate gets the pools, gateways and auxiliary addresses of a new network. On
// failure everything obtained is given back, in reverse order.
func (e *Engine) allocate(n *model.Network, undo *undoList) (err error) {
	im, err := e.addressManager(n.IPAM.Driver)
	if err != nil {
		return err
	}
	if n.IPAM.Space == "" {
		n.IPAM.Space = im.local
		if n.Scope == "global" {
			n.IPAM.Space = im.global
		}
	}
	if !n.NoIPv4 {
		conf4 := n.IPAM.Conf4
		if len(conf4) == 0 {
			conf4 = []model.IPAMConf{{}}
		}
		if n.IPAM.Pools4, err = e.allocatePools(im, n, conf4, false, undo); err != nil {
			return err
		}
	}
	if !n.IPv6 {
		return nil
	}
	n.IPAM.Pools6, err = e.allocatePools(im, n, n.IPAM.Conf6, true, undo)
	return err
}

func (e *Engine) allocatePools(im ipamEntry, n *model.Network, confs []model.IPAMConf, v6 bool, undo *undoList) ([]model.Pool, error) {
	for _, c := range confs {
		if err := checkConf(n.Name, c, v6); err != nil {
			return nil, err
		}
	}
	var pools []model.Pool
	for _, c := range confs {
		p, err := e.allocatePool(im, n, c, v6, undo)
		if err != nil {
			return nil, err
		}
		pools = append(pools, p)
	}
	return pools, nil
}

// checkConf refuses what no address manager needs to be asked about.
func checkConf(network string, c model.IPAMConf, v6 bool) error {
	fam := "IPv4"
	if v6 {
		fam = "IPv6"
	}
	for _, s := range []string{c.Pool, c.Sub} {
		if s == "" {
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return types.BadRequestErrorf("network %s: %q is not a subnet in CIDR notation", network, s)
		}
		if p.Addr().Is6() != v6 {
			return types.BadRequestErrorf("network %s: %q is not an %s subnet", network, s, fam)
		}
		if p.Bits() == 0 {
			return types.BadRequestErrorf("network %s: subnet %s is the whole address space", network, p)
		}
	}
	addrs := map[string]string{}
	if c.Gateway != "" {
		addrs["gateway"] = c.Gateway
	}
	for name, a := range c.Aux {
		addrs["auxiliary address "+name] = a
	}
	for what, s := range addrs {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return types.BadRequestErrorf("network %s: %s %q is not an IP address", network, what, s)
		}
		if a.Unmap().Is6() != v6 {
			return types.BadRequestErrorf("network %s: %s %q is not an %s address", network, what, s, fam)
		}
	}
	return nil
}

func (e *Engine) allocatePool(im ipamEntry, n *model.Network, c model.IPAMConf, v6 bool, undo *undoList) (model.Pool, error) {
	id, nw, meta, err := im.RequestPool(n.IPAM.Space, c.Pool, c.Sub, n.IPAM.Options, v6)
	if err != nil {
		return model.Pool{}, opError("create network", n.Name, n.ID, e.nameHolder(n, c.Pool, err))
	}
	undo.add(func() { e.logErr("release pool", id, im.ReleasePool(id)) })
	p := model.Pool{ID: id, Space: n.IPAM.Space, Prefix: prefixOf(nw).Masked(), Meta: meta}
	if p.Prefix.IsValid() && p.Prefix.Addr().Is6() != v6 {
		return p, types.InternalErrorf("network %s: address manager %s answers with %s, which is of the other family", n.Name, n.IPAM.Driver, p.Prefix)
	}

	if g := meta[netlabel.Gateway]; g != "" {
		gw, err := netip.ParsePrefix(g)
		if err != nil {
			return p, types.BadRequestErrorf("network %s: the address manager gave the gateway %q, which is no CIDR", n.Name, g)
		}
		p.Gateway = gw
	}
	if c.Gateway != "" || !p.Gateway.IsValid() {
		if p.Gateway, err = e.allocateGateway(im, n, p, c.Gateway, undo); err != nil {
			return p, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Aux)) {
		a := netip.MustParseAddr(c.Aux[name]).Unmap() // checked by checkConf
		if !p.Prefix.Contains(a) {
			return p, types.ForbiddenErrorf("network %s: auxiliary address %s=%s is outside the subnet %s", n.Name, name, a, p.Prefix)
		}
		_, _, err := im.RequestAddress(p.ID, a.AsSlice(), nil)
		switch {
		case err == nil:
			undo.add(func() { e.logErr("release auxiliary address", p.ID, im.ReleaseAddress(p.ID, a.AsSlice())) })
		case !errors.Is(err, ipamapi.ErrIPOutOfRange):
			return p, types.InternalErrorf("network %s: auxiliary address %s=%s: %w", n.Name, name, a, err)
		}
		if p.Aux == nil {
			p.Aux = make(map[string]netip.Prefix)
		}
		p.Aux[name] = netip.PrefixFrom(a, p.Prefix.Bits())
	}
	return p, nil
}

// overlapError is an address manager's error about an overlap in words that name
// the network.
type overlapError struct {
	text  string
	cause error
}

func (e overlapError) Error() string { return e.text }
func (e overlapError) Unwrap() error { return e.cause }

// nameHolder has an address manager's error about an overlap name the network that
// has the other subnet.
func (e *Engine) nameHolder(n *model.Network, pool string, err error) error {
	want, bad := netip.ParsePrefix(pool)
	if bad != nil || !errors.Is(err, ipamapi.ErrPoolOverlap) {
		return err
	}
	if text := e.overlap(n, want); text != "" {
		return overlapError{text, err}
	}
	return err
}

// overlap says in words which network has a subnet of the same address manager that
// overlaps; nothing if none has.
func (e *Engine) overlap(n *model.Network, want netip.Prefix) string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, o := range e.recordsLocked() {
		if o.IPAM.Driver != n.IPAM.Driver || o.IPAM.Space != n.IPAM.Space {
			continue
		}
		for _, p := range slices.Concat(o.IPAM.Pools4, o.IPAM.Pools6) {
			if p.Prefix.Overlaps(want) {
				return fmt.Sprintf("subnet %s overlaps with %s of network %s", want, p.Prefix, o.Name)
			}
		}
	}
	return ""
}

func (e *Engine) allocateGateway(im ipamEntry, n *model.Network, p model.Pool, want string, undo *undoList) (netip.Prefix, error) {
	var ip net.IP
	if want != "" {
		a := netip.MustParseAddr(want).Unmap() // checked by checkConf
		if err := usable(p.Prefix, a); p.Prefix.Bits() > 0 && err != nil {
			return netip.Prefix{}, types.BadRequestErrorf("network %s: gateway %s %w", n.Name, a, err)
		}
		ip = a.AsSlice()
	}
	nw, _, err := im.RequestAddress(p.ID, ip, map[string]string{ipamapi.RequestAddressType: netlabel.Gateway})
	if err != nil {
		// Another network may have the subnet, and all of it or the gateway that is wanted.
		if text := e.overlap(n, p.Prefix); text != "" {
			return netip.Prefix{}, types.ForbiddenErrorf("network %s: gateway: %s: %w", n.Name, text, err)
		}
		return netip.Prefix{}, types.InternalErrorf("network %s: gateway in %s: %w", n.Name, p.Prefix, err)
	}
	if nw == nil { // an address manager without addresses
		return netip.Prefix{}, nil
	}
	gw := prefixOf(nw)
	undo.add(func() { e.logErr("release gateway", p.ID, im.ReleaseAddress(p.ID, gw.Addr().AsSlice())) })
	return gw, nil
}

// The reasons for which an address cannot be used in a subnet.
var (
	errOutside   = errors.New("is outside the subnet")
	errNetwork   = errors.New("is the address of the subnet itself")
	errBroadcast = errors.New("is the broadcast address of the subnet")
)

// usable says why a host cannot have an address in a subnet.
func usable(p netip.Prefix, a netip.Addr) error {
	switch {
	case !p.Contains(a):
		return errOutside
	case a.BitLen()-p.Bits() < 2:
		return nil // RFC 3021
	case a == p.Masked().Addr():
		return errNetwork
	case a.Is4() && !p.Contains(a.Next()):
		return errBroadcast
	}
	return nil
}

// release gives back everything that a network has of its address manager.
func (e *Engine) release(n *model.Network) {
	im, err := e.addressManager(n.IPAM.Driver)
	if err != nil {
		return
	}
	for _, p := range slices.Concat(n.IPAM.Pools4, n.IPAM.Pools6) {
		for _, a := range p.Aux {
			e.logErr("release auxiliary address", p.ID, im.ReleaseAddress(p.ID, a.Addr().AsSlice()))
		}
		if p.Gateway.IsValid() {
			e.logErr("release gateway", p.ID, im.ReleaseAddress(p.ID, p.Gateway.Addr().AsSlice()))
		}
		e.logErr("release pool", p.ID, im.ReleasePool(p.ID))
	}
}

// endpointAddress gets an address for an endpoint from the first pool that has
// one, or the wanted one from the pool that holds it.
func (e *Engine) endpointAddress(im ipamEntry, n *model.Network, v6 bool, want netip.Addr, opts map[string]string, undo *undoList) (netip.Prefix, string, error) {
	pools, fam := n.IPAM.Pools4, "IPv4"
	if v6 {
		pools, fam = n.IPAM.Pools6, "IPv6"
	}
	if len(pools) == 0 {
		if want.IsValid() {
			return netip.Prefix{}, "", types.BadRequestErrorf("network %s has no %s subnet for the address %s", n.Name, fam, want)
		}
		return netip.Prefix{}, "", nil
	}
	for _, p := range pools {
		var ip net.IP
		if want.IsValid() {
			if !p.Prefix.Contains(want) {
				continue
			}
			if err := usable(p.Prefix, want); err != nil {
				return netip.Prefix{}, "", types.BadRequestErrorf("network %s: address %s %w %s", n.Name, want, err, p.Prefix)
			}
			ip = want.AsSlice()
		}
		nw, _, err := im.RequestAddress(p.ID, ip, opts)
		if err != nil {
			if !want.IsValid() && errors.Is(err, ipamapi.ErrNoAvailableIPs) {
				continue
			}
			return netip.Prefix{}, "", opError("get an address of network", n.Name, n.ID, err)
		}
		if nw == nil {
			return netip.Prefix{}, "", nil
		}
		got := prefixOf(nw)
		undo.add(func() { e.logErr("release address", p.ID, im.ReleaseAddress(p.ID, nw.IP)) })
		if !got.IsValid() || got.Addr().Is6() != v6 || !p.Prefix.Contains(got.Addr()) || got.Bits() < p.Prefix.Bits() {
			return netip.Prefix{}, "", types.InternalErrorf("network %s: address manager %s answers with %s, which is no address of %s", n.Name, n.IPAM.Driver, nw, p.Prefix)
		}
		return got, p.ID, nil
	}
	if want.IsValid() {
		return netip.Prefix{}, "", types.BadRequestErrorf("network %s: address %s is in none of its subnets", n.Name, want)
	}
	return netip.Prefix{}, "", types.NoServiceErrorf("network %s (%s): no free %s address left", n.Name, short(n.ID), fam)
}

// releaseEndpoint gives the addresses of an endpoint back.
func (e *Engine) releaseEndpoint(n *model.Network, ep *model.Endpoint) {
	im, err := e.addressManager(n.IPAM.Driver)
	if err != nil {
		return
	}
	if ep.V4.IsValid() && ep.Pool4 != "" {
		e.logErr("release address", ep.Pool4, im.ReleaseAddress(ep.Pool4, ep.V4.Addr().AsSlice()))
	}
	if ep.V6.IsValid() && ep.Pool6 != "" {
		e.logErr("release address", ep.Pool6, im.ReleaseAddress(ep.Pool6, ep.V6.Addr().AsSlice()))
	}
}

func (e *Engine) logErr(what, object string, err error) {
	if err != nil {
		e.log.Error(what, "object", object, "err", err)
	}
}

// prefixOf converts what an address manager gives; nil is the zero value.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, _ := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	a = a.Unmap()
	if bits == 128 && a.Is4() {
		ones -= 96
	}
	return netip.PrefixFrom(a, ones)
}
