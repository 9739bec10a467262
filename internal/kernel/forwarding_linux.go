package kernel

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/internal/sysctl"
	"github.com/libnetwork/libnetwork/types"
)

// forceForwarding is the setting by which what comes in by a link is forwarded on a host that does
// not forward IPv6 (Linux 6.17).
const forceForwarding = "force_forwarding"

// Forwarding says whether the host forwards packets of a family.
func (k *Kernel) Forwarding(_ context.Context, v6 bool) (on bool, err error) {
	value, err := sysctl.Read(forwarding(v6)...)
	if v6 {
		err = withoutIPv6(err)
	}
	return value != "0", err
}

// LinkForwarding says what of links is changed when the host is made to forward packets of a
// family. The kernel lets links forward on a host that does not, and sets all of them to what is
// written for the host.
func (k *Kernel) LinkForwarding(ctx context.Context, v6 bool) (links model.LinkForwarding, err error) {
	if links.Set, err = sysctl.Forwarders(settingsOf(v6), "forwarding"); err != nil {
		return links, err
	}
	if len(links.Set) > 0 {
		all, err := k.rt.Links(ctx)
		if err != nil {
			return links, err
		}
		links.Set = slices.DeleteFunc(links.Set, func(name string) bool { // bridges of networks
			return slices.ContainsFunc(all, func(l rtnl.Link) bool { return l.Name == name && isGroup(l.Group) })
		})
	}
	links.Routers = links.Set
	if v6 {
		if links.Routers, err = sysctl.Forwarders(settingsOf(v6), forceForwarding); err != nil {
			return links, err
		}
	}
	if v6 {
		links.Raised, err = sysctl.AcceptingRA()
	}
	return links, err
}

// Neighbours returns the bridges of others for whose packets it is to forward: those of other
// data directories, and those that have come since it was made a router, before says which were
// there, as other programs make them for their containers and machines; with hardware among its
// ports a bridge is the host's own way to a network. needed says whether anybody else's packets
// are to be forwarded.
func (k *Kernel) Neighbours(ctx context.Context, before []string) (bridges []string, needed bool, err error) {
	links, err := k.rt.Links(ctx)
	hardware := make(map[int]bool)
	for _, l := range links {
		if l.Master != 0 && l.Kind != "veth" && l.Kind != "tun" && l.Kind != "dummy" {
			hardware[l.Master] = true
		}
	}
	for _, l := range links {
		switch other := isGroup(l.Group) && l.Group != k.group; {
		case other && l.Kind != "bridge":
			needed = needed || l.Master != 0 // of somebody else's bridge; without any it is about to go
		case other, l.Kind == "bridge" && l.Group != k.group && !hardware[l.Index] && !slices.Contains(before, l.Name):
			bridges = append(bridges, l.Name)
		}
	}
	slices.Sort(bridges)
	return bridges, needed || len(bridges) > 0, err
}

// StopsAt returns the names of the host's links that forward no IPv4 packets that come in by
// them, though the host does. IPv6 is forwarded by all or none.
func (k *Kernel) StopsAt(ctx context.Context) (names []string, err error) {
	if value, err := sysctl.Read(forwarding(false)...); err != nil || value == "0" {
		return nil, err
	}
	links, err := k.rt.Links(ctx)
	for _, l := range links {
		if l.StopsV4 && l.Up && l.Group != k.group && l.Name != "lo" {
			names = append(names, l.Name)
		}
	}
	return names, err
}

// Forward turns forwarding of a family on, or off, with what was changed of links as it was.
func (k *Kernel) Forward(_ context.Context, v6, on bool, links model.LinkForwarding) error {
	if on {
		_, err := sysctl.EnableForwarding(k.cfg.Steps, v6)
		return err
	}
	errs := []error{sysctl.Write(k.cfg.Steps, "0", forwarding(v6)...), sysctl.RestoreRA(k.cfg.Steps, links.Raised)}
	again := func(names []string, setting string) {
		for _, name := range names {
			err := sysctl.Write(k.cfg.Steps, "1", "net", settingsOf(v6), "conf", name, setting)
			if !errors.As(err, new(types.NotFoundError)) { // it has gone
				errs = append(errs, err)
			}
		}
	}
	again(links.Set, "forwarding")
	if v6 {
		again(links.Routers, forceForwarding) // which has gone with the host's
	}
	return errors.Join(errs...)
}

// settingsOf is where the settings of a family are below /proc/sys/net.
func settingsOf(v6 bool) string {
	if v6 {
		return "ipv6"
	}
	return "ipv4"
}

func forwarding(v6 bool) []string {
	if v6 {
		return []string{"net", "ipv6", "conf", "all", "forwarding"}
	}
	return []string{"net", "ipv4", "ip_forward"}
}

// forwards says whether a bridge forwards packets of a family if its network needs it, and
// the host does.
func forwards(b model.Bridge, l rtnl.Link, v6 bool) bool {
	stops, needs := l.StopsV4, b.RouteLocalnet // also where the bridge has its address from somebody else
	if v6 {
		stops, needs = l.StopsV6, b.IPv6
	}
	needs = needs || slices.ContainsFunc(b.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() == v6 })
	if !stops || b.StrictSource || !needs {
		return true
	}
	value, err := sysctl.Read(forwarding(v6)...)
	return err != nil || value == "0"
}

// withoutIPv6 gives the lack of a setting of IPv6 its reason.
func withoutIPv6(err error) error {
	if errors.As(err, new(types.NotFoundError)) {
		return types.NotImplementedErrorf("this kernel has no IPv6: %w", err)
	}
	return err
}

// EgressMTU is the MTU of the host's default route, IPv4 first.
func (k *Kernel) EgressMTU(ctx context.Context) (int, error) {
	for _, v6 := range []bool{false, true} {
		if l, err := k.rt.Egress(ctx, v6); err != nil || l.MTU != 0 {
			return l.MTU, err
		}
	}
	return 0, nil
}
