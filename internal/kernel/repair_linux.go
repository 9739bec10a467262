package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/internal/sysctl"
	"github.com/libnetwork/libnetwork/types"
)

// RepairRules makes the firewall what it shall be. It says how it was, as an operation has
// found it since it was last asked, or now.
func (k *Kernel) RepairRules(ctx context.Context) (found model.Finding, err error) {
	k.zone.idle(ctx)
	// What a change is about to make is not undone by what was wanted before it.
	done, err := k.rule(ctx)
	if err != nil {
		return found, err
	}
	defer done()
	want, g := k.wanted()
	late := !k.isRuled()
	if !late && idle(want, g) && len(k.others) == 0 {
		return k.takeRepaired(), nil
	}
	if found, err = k.reconcile(ctx, want, g); err != nil {
		return model.FoundRight, err
	}
	found = max(found, k.takeRepaired())
	if len(want.Networks) > 0 {
		found = max(found, k.acceptedByOthers(ctx, true))
		k.warnDrops(ctx)
	}
	stuck := k.retireOthers(ctx)
	if late {
		return found, stuck
	}
	// Our own are right. Survey has it tried again, and it is said once.
	if stuck != nil && stuck.Error() != k.stuck {
		k.stuck = stuck.Error()
		k.log.Error("rules of another firewall backend are still there", "err", stuck)
	}
	return found, nil
}

// RepairLinks makes bridges and veths of the host what they shall be, with the
// addresses of the bridges and what veths have inside. It returns the keys of those
// that were not and are now. What is right is not touched; what else is among the objects helps
// to furnish a link that had to be made again.
func (k *Kernel) RepairLinks(ctx context.Context, want []model.Object) (repaired []string, err error) {
	if err := k.ruled(ctx); err != nil {
		return nil, err
	}
	links, err := k.linksOf(ctx, want)
	if err != nil {
		return nil, err
	}
	var addrs []rtnl.Address
	if slices.ContainsFunc(want, isBridge) {
		if addrs, err = k.rt.Addresses(ctx); err != nil {
			return nil, err
		}
	}
	reclaimed := k.reclaim(ctx, links, want)
	byName := make(map[string]rtnl.Link, len(links))
	for _, l := range links {
		byName[l.Name] = l
	}
	k.disown(byName, want)
	settled := k.settled(byName, want)
	want = slices.Clone(want)
	slices.SortStableFunc(want, func(a, b model.Object) int { return int(a.Order()) - int(b.Order()) })
	var errs []error
	fix := func(o model.Object, err error) {
		if err == nil {
			repaired = append(repaired, o.Key())
		}
		errs = append(errs, err)
	}
	var made []model.Veth // and those made earlier of which not all was right inside
	for _, o := range want {
		switch o := o.(type) {
		case model.Bridge:
			if o.Adopted {
				continue
			}
			if l, ok := byName[o.Name]; ok && k.whole(o, l) {
				if differs, err := k.repairBridge(ctx, o, l, addrs); differs || err != nil || reclaimed[o.Name] {
					fix(o, err)
				}
				continue
			}
			fix(o, k.createBridge(ctx, o))
			delete(byName, o.Name)
			if l, err := k.rt.Link(ctx, o.Name); err == nil && k.whole(o, l) {
				byName[o.Name] = l
			}
		case model.Veth:
			l, ok := byName[o.Host]
			if !ok {
				err := k.remakeVeth(ctx, o)
				if err == nil {
					made = append(made, o)
				}
				errs = append(errs, err)
				continue
			}
			if differs, err := k.repairPort(ctx, o, l, byName[o.Bridge]); differs || err != nil || reclaimed[o.Host] {
				fix(o, err)
			}
			if k.isHalf(o) {
				made = append(made, o)
			}
		}
	}
	if len(made) > 0 {
		errs = append(errs, k.repairInside(ctx, want, settled))
	}
	for _, v := range made {
		if !k.isHalf(v) && !slices.Contains(repaired, v.Key()) {
			repaired = append(repaired, v.Key())
		}
	}
	return repaired, errors.Join(errs...)
}

func isBridge(o model.Object) bool {
	_, ok := o.(model.Bridge)
	return ok
}

// linksOf returns the links that are wanted, with the bridges that they are for; all links
// of the host if one is missing, for it may have another name. A host may have thousands,
// and this is asked for each container.
func (k *Kernel) linksOf(ctx context.Context, want []model.Object) ([]rtnl.Link, error) {
	var links []rtnl.Link
	seen := make(map[string]bool)
	for _, o := range want {
		var names []string
		switch o := o.(type) {
		case model.Bridge:
			names = []string{o.Name}
		case model.Veth:
			names = []string{o.Host, o.Bridge}
		}
		for _, name := range names {
			if name == "" || seen[name] {
				continue
			}
			seen[name] = true
			l, err := k.rt.Link(ctx, name)
			if errors.Is(err, unix.ENODEV) {
				return k.rt.Links(ctx)
			}
			if err != nil {
				return nil, err
			}
			links = append(links, l)
		}
	}
	return links, nil
}

// repairBridge gives a bridge of ours the addresses that it has not, the routes to their
// subnets, and its settings, and puts it up. It says whether anything was to be done.
func (k *Kernel) repairBridge(ctx context.Context, b model.Bridge, l rtnl.Link, addrs []rtnl.Address) (differs bool, err error) {
	if b.Adopted {
		return false, nil
	}
	var errs []error
	fix := func(wrong bool, right func() error) {
		if wrong {
			differs = true
			errs = append(errs, right())
		}
	}
	mtu, err := k.mtuOf(ctx, b, l)
	errs = append(errs, err)
	fix(mtu != l.MTU, func() (err error) {
		if err := k.rt.ChangeLink(ctx, b.Name, rtnl.LinkChange{MTU: mtu}); err != nil {
			return err
		}
		l, err = k.rt.Link(ctx, b.Name) // which may have got IPv6 back
		return err
	})
	fix(b.IPv6 && l.LinkLocal, func() error { return k.rt.NoLinkLocal(ctx, l) })
	lacks := lacking(b, l, addrs)
	fix(len(lacks) > 0, func() error {
		err := k.rt.AddAddresses(ctx, b.Name, lacks...)
		if err != nil && l.MTU < rtnl.MinMTUv6 {
			err = fmt.Errorf("bridge %s has an MTU of %d, be it that of a port of somebody else, and IPv6 needs %d: %w", b.Name, l.MTU, rtnl.MinMTUv6, err)
		}
		return err
	})
	fix(!l.Up || l.NoARP, func() error { return k.rt.SetLinkUp(ctx, b.Name) })
	for _, s := range unset(b, l) {
		fix(true, func() error { return k.write(s) })
	}
	if err := errors.Join(errs...); err != nil || l.Master != 0 { // a VRF has its own routes
		return differs, err
	}
	for _, a := range rtnl.BridgeAddresses(b) {
		back, err := k.localAgain(ctx, b.Name, a)
		if differs = differs || back; err != nil {
			return differs, err
		}
		missed, err := k.rt.AddConnected(ctx, l, a)
		if err != nil {
			return differs, err
		}
		differs = differs || missed
	}
	return differs, nil
}

// With an address of IPv6 the kernel makes the route to itself a moment later.
const (
	localTries = 5
	localPause = 10 * time.Millisecond
)

// localAgain gives a bridge an address anew that the kernel does not take for the host's any
// more, and says whether that was so.
func (k *Kernel) localAgain(ctx context.Context, bridge string, a netip.Prefix) (back bool, err error) {
	if a.Addr().IsLinkLocalUnicast() {
		return false, nil // of many links, which one is asked for is not said
	}
	tries := 1
	if a.Addr().Is6() {
		tries = localTries
	}
	for i := range tries {
		if i > 0 {
			time.Sleep(localPause)
		}
		if local, err := k.rt.Local(ctx, a.Addr()); err != nil || local {
			return false, err
		}
	}
	if err := k.rt.DeleteAddresses(ctx, bridge, a); err != nil {
		return true, err
	}
	return true, k.rt.AddAddresses(ctx, bridge, a)
}

// mtuOf is the MTU that a bridge should have: what it was given, or what the kernel gives it
// as long as nobody has, the least of those of its ports, which may be others' too, and without
// any its default.
func (k *Kernel) mtuOf(ctx context.Context, b model.Bridge, l rtnl.Link) (int, error) {
	given := rtnl.MTU(b.MTU)
	if l.MTU == given || l.MTU == rtnl.MTU(0) && !l.Carrier {
		return l.MTU, nil
	}
	links, err := k.rt.Links(ctx)
	if err != nil {
		return l.MTU, err
	}
	least := 0
	for _, port := range links {
		if port.Master == l.Index && (least == 0 || port.MTU < least) {
			least = port.MTU
		}
	}
	if l.MTU == least {
		return least, nil
	}
	return min(given, cmp.Or(least, given)), nil
}

// A setting is a value of a file below /proc/sys.
type setting struct {
	path  []string
	value string
}

func (k *Kernel) write(s setting) error {
	return sysctl.WriteIn(k.host, k.cfg.Steps, s.value, s.path...)
}

// unset are the settings that a bridge shall have and has not. IPv6 is turned on with the
// addresses.
func unset(b model.Bridge, l rtnl.Link) (list []setting) {
	lacks := func(missing bool, family, name, value string) {
		if missing {
			list = append(list, setting{[]string{"net", family, "conf", b.Name, name}, value})
		}
	}
	lacks(b.StrictSource && !l.StrictSource, "ipv4", "rp_filter", "1")
	lacks(b.RouteLocalnet && !l.RouteLocalnet, "ipv4", "route_localnet", "1")
	lacks(!forwards(b, l, false), "ipv4", "forwarding", "1")
	lacks(!forwards(b, l, true), "ipv6", "forwarding", "1")
	// No rule is about the IPv6 of a network that has none.
	lacks(!b.IPv6 && l.IPv6 && hasIPv6(b.Name), "ipv6", "disable_ipv6", "1")
	lacks(l.AcceptsRA && hasIPv6(b.Name), "ipv6", "accept_ra", "0")
	return list
}

// hasIPv6 says whether there are settings of IPv6 for a link.
func hasIPv6(link string) bool {
	_, err := sysctl.Read("net", "ipv6", "conf", link, "disable_ipv6")
	return !errors.As(err, new(types.NotFoundError))
}

// unsetPort says whether the host's end of a pair has other settings than it shall have. On a
// host that lets nobody change settings it has IPv6, but no address.
func (k *Kernel) unsetPort(v model.Veth, l, bridge rtnl.Link) bool {
	if rtnl.Unset(v, l, bridge) {
		return true
	}
	if v.Bridge == "" || !l.IPv6 {
		return false
	}
	writable := false
	_ = k.host.Do(func() error { // fails with the kernel's other work, which says so
		writable = sysctl.Writable("net", "ipv6", "conf", v.Host, "disable_ipv6")
		return nil
	})
	return writable
}

// lacking are the addresses that a bridge shall have and has not.
func lacking(b model.Bridge, l rtnl.Link, addrs []rtnl.Address) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(rtnl.BridgeAddresses(b)), func(p netip.Prefix) bool {
		return slices.Contains(addrs, rtnl.Address{Index: l.Index, Prefix: p})
	})
}
