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

// Forwarding says whether the host forwards packets of a family, and which links
// will have accept_ra raised if it is to.
func (k *Kernel) Forwarding(_ context.Context, v6 bool) (on bool, raise []string, err error) {
	value, err := sysctl.Read(forwarding(v6)...)
	if v6 {
		err = withoutIPv6(err)
	}
	if err != nil || value != "0" || !v6 {
		return value != "0", nil, err
	}
	raise, err = sysctl.AcceptingRA()
	return false, raise, err
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

// Forward turns forwarding of a family on, or off, with accept_ra lowered again on
// the links given.
func (k *Kernel) Forward(_ context.Context, v6, on bool, lower []string) error {
	if on {
		_, err := sysctl.EnableForwarding(k.cfg.Steps, v6)
		return err
	}
	err := sysctl.Write(k.cfg.Steps, "0", forwarding(v6)...)
	return errors.Join(err, sysctl.RestoreRA(k.cfg.Steps, lower))
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
