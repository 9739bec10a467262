package kernel

import (
	"cmp"
	"context"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/types"
)

// foreign says whether a link that has the name of a veth of ours is somebody else's: it has
// neither the mark nor the alias, or the alias of another endpoint.
func (k *Kernel) foreign(v model.Veth, l rtnl.Link) bool {
	if id, want := idIn(l.Alias), idIn(v.Alias); id != "" && want != "" && id != want {
		return true
	}
	return l.Group != k.group && l.Group != rtnl.DyingGroup && (v.Alias == "" || l.Alias != v.Alias)
}

// disown takes links of somebody else that have names of ours out of those of the host.
func (k *Kernel) disown(links map[string]rtnl.Link, want []model.Object) {
	for _, o := range want {
		if v, ok := o.(model.Veth); ok && k.foreign(v, links[v.Host]) {
			delete(links, v.Host)
		}
	}
}

// isOurs fails where a link of somebody else has the name of a veth.
func (k *Kernel) isOurs(ctx context.Context, v model.Veth) error {
	l, err := k.rt.Link(ctx, v.Host)
	if err == nil && k.foreign(v, l) {
		return types.ForbiddenErrorf("link %s is somebody else's, or another container's: it has to go, or to be renamed, before the container whose link has this name can be connected again", v.Host)
	}
	return nil // that there is none is told where it is missed
}

// meant fails where a veth would become a port of a bridge of somebody else that has
// the name of ours.
func (k *Kernel) meant(ctx context.Context, v model.Veth) error {
	if v.Adopted || v.Bridge == "" {
		return nil
	}
	l, err := k.rt.Link(ctx, v.Bridge)
	if err == nil && l.Group != k.group {
		return notOurs(v.Bridge, unix.EEXIST)
	}
	return nil // that there is none is told where it is missed
}

func notOurs(bridge string, err error) error {
	return types.ForbiddenErrorf("bridge %s exists already and is somebody else's, or has lost the link group by which it was known as ours: it has to go, or to be renamed, before the network can have its own: %w", bridge, err)
}

// repairPort makes the host's end of a pair, which is l, what it shall be at its bridge, and
// says whether it was not.
func (k *Kernel) repairPort(ctx context.Context, v model.Veth, l, bridge rtnl.Link) (differs bool, err error) {
	if !attached(l, bridge) {
		if err := k.putVeth(ctx, v); err != nil {
			return true, err
		}
		differs = true
		if l, err = k.rt.Link(ctx, v.Host); err != nil {
			return true, err
		}
	}
	if !k.unsetPort(v, l, bridge) {
		return differs, nil
	}
	return true, k.rt.SetPort(ctx, v, l, bridge)
}

// settled are the keys of veths that have their place at their bridges, and were furnished.
func (k *Kernel) settled(links map[string]rtnl.Link, want []model.Object) map[string]bool {
	list := make(map[string]bool)
	for _, o := range want {
		if v, ok := o.(model.Veth); ok && attached(links[v.Host], links[v.Bridge]) && !k.isHalf(v) {
			list[v.Key()] = true
		}
	}
	return list
}

// attached says whether a veth is a port of its bridge, and up.
func attached(veth, bridge rtnl.Link) bool {
	return veth.Master != 0 && veth.Master == bridge.Index && veth.Up
}

// putVeth makes a veth a port of its bridge again. Where that cannot be, it is a port of
// none: ours may have another name by now, which no rule knows. One of a bridge that has the
// name, by which the rules know it, is left there.
func (k *Kernel) putVeth(ctx context.Context, v model.Veth) error {
	if err := k.meant(ctx, v); err != nil {
		if l, lookErr := k.rt.Link(ctx, v.Host); lookErr == nil && l.Master != 0 && l.Up && k.nameOf(ctx, l.Master) == v.Bridge {
			return err
		}
		return errors.Join(err, k.rt.DetachVeth(ctx, v.Host))
	}
	return k.rt.PutVeth(ctx, v)
}

func (k *Kernel) createVeth(ctx context.Context, v model.Veth) error {
	if err := k.ruled(ctx); err != nil {
		return err
	}
	ns, err := k.space(v.Netns)
	if err != nil {
		return err
	}
	inside, err := ns.Rtnl()
	if err != nil {
		return err
	}
	if k.reaper.has(v.Host) {
		// The reaper goes by names: it must not take the new link for the old one.
		if _, err := k.reaper.drain(true); err != nil {
			return err
		}
	}
	if err := k.meant(ctx, v); err != nil {
		return err
	}
	k.announce.send(k.rt, v)
	err = k.rt.CreateVeth(ctx, inside, ns.FD(), v)
	if errors.Is(err, unix.EEXIST) {
		// An interface of that name may be about to be deleted.
		some, drainErr := k.reaper.drain(true)
		if drainErr != nil {
			return errors.Join(err, drainErr)
		}
		if some {
			err = k.rt.CreateVeth(ctx, inside, ns.FD(), v)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		return types.ForbiddenErrorf("the sandbox has an interface %s already: %w", v.Name, err)
	}
	if errors.Is(err, unix.EXFULL) {
		return types.NoServiceErrorf("bridge %s is full: Linux lets a bridge have 1023 ports, so no further container can join its network: %w", v.Bridge, err)
	}
	if err != nil {
		if _, there, lookErr := k.Link(ctx, v.Bridge); lookErr == nil && !there {
			return types.InternalErrorf("bridge %s has been removed by somebody else, and is about to be made again: %w", v.Bridge, err)
		}
		return err
	}
	// The container's first packets shall not be lost to a bridge that does not know
	// yet that its port is up. That it cannot be asked is no reason to fail.
	if err := k.rt.SyncCarrier(ctx, v.Host, v.Bridge); err != nil {
		k.log.Warn("read the carrier of a bridge", "bridge", v.Bridge, "err", err)
	}
	// Nor shall those that others send to it.
	if found, err := inside.AwaitSolicited(ctx, v.Name, v.Addrs); err != nil || !found {
		k.log.Debug("wait until neighbours find a container", "link", v.Host, "err", err)
	}
	return nil
}

// remakeVeth makes a pair again of which the host has lost its end. Somebody may have moved
// that to another namespace: then the other end is still inside, and goes with it.
func (k *Kernel) remakeVeth(ctx context.Context, v model.Veth) error {
	if err := cmp.Or(k.isOurs(ctx, v), k.meant(ctx, v)); err != nil {
		return err
	}
	err := k.createVeth(ctx, v)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	ns, nsErr := k.space(v.Netns)
	if nsErr != nil {
		return errors.Join(err, nsErr)
	}
	inside, nsErr := ns.Rtnl()
	if nsErr != nil {
		return errors.Join(err, nsErr)
	}
	if ours, lookErr := isEnd(ctx, inside, v); lookErr != nil || !ours {
		return errors.Join(err, lookErr)
	}
	k.log.Warn("the host's end of a container's link is in another namespace: the link is made anew", "link", v.Host, "inside", v.Name)
	if err := inside.DeleteLinks(ctx, v.Name); err != nil {
		return err
	}
	return k.createVeth(ctx, v)
}

// isEnd says whether what has the name of a veth's end inside is that.
func isEnd(ctx context.Context, inside *rtnl.Socket, v model.Veth) (bool, error) {
	l, err := inside.Link(ctx, v.Name)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return err == nil && l.Kind == "veth" && l.MAC.String() == v.MAC, err
}

// deleteVeth takes the pair off its bridge: from then on nobody reaches the
// addresses behind it. The link itself, which takes the kernel long to delete, is
// left to the reaper, if it does not go with its namespace before.
func (k *Kernel) deleteVeth(ctx context.Context, v model.Veth) error {
	k.noteHalf(v, false)
	if err := k.isOurs(ctx, v); err != nil {
		k.log.Warn("a container's link is deleted by its end inside", "err", err)
		return k.inside(v.Netns, func(ns *netns.Namespace) error {
			rt, err := ns.Rtnl()
			if err != nil {
				return err
			}
			if ours, err := isEnd(ctx, rt, v); err != nil || !ours {
				return err
			}
			return rt.DeleteLinks(ctx, v.Name)
		})
	}
	if err := k.rt.DetachVeth(ctx, v.Host); err != nil {
		return err
	}
	addrs := make([]netip.Addr, 0, len(v.Addrs))
	for _, p := range v.Addrs {
		addrs = append(addrs, p.Addr())
	}
	if err := k.rt.FlushNeighbour(ctx, v.Bridge, addrs...); err != nil {
		k.log.Warn("forget neighbour", "bridge", v.Bridge, "err", err)
	}
	if v.EndsWithNetns {
		k.reaper.add(v.Host, late)
		return nil
	}
	// Until the link is gone its subnets would be looked for behind it, where
	// nobody is, though there may be another way to them.
	err := k.inside(v.Netns, func(ns *netns.Namespace) error {
		rt, err := ns.Rtnl()
		if err != nil {
			return err
		}
		return rt.DeleteAddresses(ctx, v.Name, v.Addrs...)
	})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		k.log.Warn("delete addresses", "link", v.Name, "netns", v.Netns, "err", err)
	}
	k.reaper.add(v.Host, soon)
	return nil
}
