package kernel

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

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

// BeforeForwarding returns what is to be known of the host before it is made to forward packets
// of a family, if it does not. The kernel lets links forward on a host that does not, and sets all
// of them to what is written for the host.
func (k *Kernel) BeforeForwarding(ctx context.Context, v6 bool) (b model.BeforeForwarding, off bool, err error) {
	// Another data directory may be about to turn it on or off: of what is half done links would
	// be taken for routers that never were.
	unlock, err := sysctl.LockForwarding()
	if err != nil {
		return b, false, err
	}
	defer unlock()
	if on, err := k.Forwarding(ctx, v6); on || err != nil {
		return b, false, err
	}
	links, err := k.rt.Links(ctx)
	if err != nil {
		return b, false, err
	}
	for _, l := range links {
		if l.Kind == "bridge" && !isGroup(l.Group) {
			b.Bridges = append(b.Bridges, l.Index)
		}
	}
	having := func(setting string) (list []int) {
		for index, value := range values(links, v6, setting) {
			if value != "0" {
				list = append(list, index)
			}
		}
		slices.Sort(list)
		return list
	}
	b.Set = having("forwarding")
	b.Routers = b.Set
	if v6 {
		b.Routers = having(forceForwarding)
		for index, value := range values(links, v6, "accept_ra") {
			if value == "1" && !slices.Contains(b.Set, index) {
				b.Raised = append(b.Raised, index)
			}
		}
		slices.Sort(b.Raised)
	} else {
		value, err := sysctl.Read(redirects()...)
		if err != nil {
			return b, false, err
		}
		b.NoRedirects = value == "0"
	}
	// Somebody else, who takes no lock, writes that of the host before those of links.
	on, err := k.Forwarding(ctx, v6)
	return b, !on, err
}

// values returns a setting of each link that is not of a network, and of those to come, by index,
// where the kernel has it.
func values(links []rtnl.Link, v6 bool, setting string) map[int]string {
	out := make(map[int]string)
	for _, l := range append(slices.Clip(links), rtnl.Link{Name: "default"}) {
		if isGroup(l.Group) {
			continue
		}
		if value, err := sysctl.Read("net", settingsOf(v6), "conf", l.Name, setting); err == nil {
			out[l.Index] = value
		}
	}
	return out
}

func redirects() []string { return []string{"net", "ipv4", "conf", "all", "accept_redirects"} }

// Neighbours returns what of the packets of others the host is to forward that was made a router.
// These are those by bridges of other data directories, by bridges that have come since, as other
// programs make them for their containers and machines, and what was forwarded before; with
// hardware among its ports a bridge is the host's own way to a network. needed says whether
// anybody else's packets are to be forwarded.
func (k *Kernel) Neighbours(ctx context.Context, before4, before6 model.BeforeForwarding) (g model.FirewallGuard, needed bool, err error) {
	links, err := k.rt.Links(ctx)
	hardware := make(map[int]bool)
	for _, l := range links {
		if l.Master != 0 && l.Hardware() {
			hardware[l.Master] = true
		}
	}
	for _, family := range []struct {
		before model.BeforeForwarding
		passes *model.GuardPasses
	}{{before4, &g.Passes4}, {before6, &g.Passes6}} {
		var bridges, switches, routers []string
		for _, l := range links {
			other := isGroup(l.Group) && l.Group != k.group
			switch bridge := l.Kind == "bridge" && l.Group != k.group; {
			case other && !bridge:
				needed = needed || l.Master != 0 // of somebody else's bridge; without any it is about to go
			case other, bridge && !hardware[l.Index] && !slices.Contains(family.before.Bridges, l.Index):
				needed = true
				bridges = append(bridges, l.Name)
			default:
				if bridge {
					switches = append(switches, l.Name)
				}
				if slices.Contains(family.before.Routers, l.Index) {
					routers = append(routers, l.Name)
				}
			}
		}
		*family.passes = model.GuardPasses{Bridges: guardNames(bridges), Switches: guardNames(switches), Routers: guardNames(routers)}
	}
	return g, needed, err
}

// guardNames are those of the names that stand for one link in any rule.
func guardNames(names []string) string {
	names = slices.DeleteFunc(names, func(name string) bool { return model.CheckLinkName(name) != nil })
	slices.Sort(names)
	return strings.Join(names, " ")
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

// Forward turns forwarding of a family on, or off, with what that has changed as it was before.
// What somebody has turned off meanwhile stays off; but where all is off already, an earlier process
// may have ended before it could put back the rest.
func (k *Kernel) Forward(ctx context.Context, v6, on bool, before model.BeforeForwarding) error {
	if on {
		_, err := sysctl.EnableForwarding(k.cfg.Steps, v6)
		return err
	}
	unlock, err := sysctl.LockForwarding()
	if err != nil {
		return err
	}
	defer unlock()
	links, err := k.rt.Links(ctx)
	if err != nil {
		return err
	}
	was, err := k.Forwarding(ctx, v6)
	if err != nil {
		return err
	}
	names := map[int]string{0: "default"}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var errs []error
	write := func(value, link, setting string) {
		err := sysctl.Write(k.cfg.Steps, value, "net", settingsOf(v6), "conf", link, setting)
		if !errors.As(err, new(types.NotFoundError)) { // it has gone
			errs = append(errs, err)
		}
	}
	var again []func()
	restore := func(list []int, setting string, now ...string) {
		has := values(links, v6, setting)
		for _, index := range list {
			if slices.Contains(now, has[index]) {
				again = append(again, func() { write("1", names[index], setting) })
			}
		}
	}
	now := []string{"1"}
	if !was {
		now = append(now, "0")
	}
	restore(before.Set, "forwarding", now...)
	if v6 {
		restore(before.Routers, forceForwarding, now...) // which goes with the host's
		restore(before.Raised, "accept_ra", "2")
	}
	errs = append(errs, sysctl.Write(k.cfg.Steps, "0", forwarding(v6)...))
	for _, f := range again {
		f()
	}
	if !v6 && before.NoRedirects {
		errs = append(errs, sysctl.Write(k.cfg.Steps, "0", redirects()...))
	}
	return errors.Join(errs...)
}

// Guarded says for which families the firewall guards the host, as it is found.
func (k *Kernel) Guarded(ctx context.Context) (v4, v6 bool, err error) {
	return k.firewall.Guarded(ctx)
}

// Namespace tells the host's network namespace from others of this run of the machine; it is empty
// where the kernel cannot (before Linux 5.14).
func (k *Kernel) Namespace() (cookie string) {
	_ = k.host.Do(func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if n, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err == nil {
			cookie = strconv.FormatUint(n, 16)
		}
		return nil
	})
	return cookie
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
