package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/internal/sysctl"
)

// Survey looks for what the kernel tells nobody of: settings of bridges and of their ports
// that somebody else has changed, and routes to subnets that have gone after they had been
// replaced. It returns the names of links for RepairLinks, the empty one while rules of a former
// backend are left for RepairRules. What is somebody else's it tells of once, as long as it is
// so: a route that leads to such a subnet, a bridge of his or a way out that forwards nothing.
func (k *Kernel) Survey(ctx context.Context, want []model.Object) (lost []string, err error) {
	k.mu.Lock()
	told, found := k.told, make(map[string]bool)
	k.told = found
	k.mu.Unlock()
	warn := func(text string, args ...any) {
		what := fmt.Sprint(append(args, text)...)
		if found[what] = true; !told[what] {
			k.log.Warn(text, args...)
		}
	}
	if k.left.Load() {
		lost = append(lost, "")
	}
	var errs []error
	for _, o := range want {
		var err error
		var name string
		differs := false
		switch o := o.(type) {
		case model.Bridge:
			name = o.Name
			differs, err = k.surveyBridge(ctx, o, warn)
		case model.Veth:
			name = o.Host
			var l rtnl.Link
			if l, err = k.rt.Link(ctx, o.Host); err == nil && !k.foreign(o, l) {
				// The state of a port is told of: its bridge need not be asked.
				differs = k.unsetPort(o, l, rtnl.Link{})
			}
		default:
			continue
		}
		if errors.Is(err, unix.ENODEV) {
			continue // which is told of
		}
		errs = append(errs, err)
		if differs {
			lost = append(lost, name)
		}
	}
	if slices.ContainsFunc(want, isBridge) {
		errs = append(errs, k.surveyEgress(ctx, warn))
	}
	return lost, errors.Join(errs...)
}

// surveyEgress warns of a way out whose answers come to no container. Of IPv6, packets are
// forwarded from all links or none.
func (k *Kernel) surveyEgress(ctx context.Context, warn func(string, ...any)) error {
	l, err := k.rt.Egress(ctx, false)
	if err != nil || !l.StopsV4 {
		return err
	}
	if value, err := sysctl.Read(forwarding(false)...); err == nil && value != "0" {
		warn("the link of the host's default route forwards no IPv4 packets: containers get no answers from outside until that is turned on",
			"link", l.Name, "setting", "net.ipv4.conf."+l.Name+".forwarding")
	}
	return err
}

// surveyBridge says whether a bridge of ours lacks settings or routes.
func (k *Kernel) surveyBridge(ctx context.Context, b model.Bridge, warn func(string, ...any)) (lacks bool, err error) {
	l, err := k.rt.Link(ctx, b.Name)
	if err != nil {
		return false, err
	}
	if b.Adopted {
		for _, v6 := range []bool{false, true} {
			if !forwards(b, l, v6) {
				warn("a bridge of somebody else forwards nothing: containers reach nobody outside by it", "bridge", b.Name, "ipv6", v6)
			}
		}
		return false, nil
	}
	lacks, err = k.strayed(ctx, b, l, warn)
	mtu, mtuErr := k.mtuOf(ctx, b, l)
	return lacks || len(unset(b, l)) > 0 || b.IPv6 && l.LinkLocal || mtuErr == nil && mtu != l.MTU, errors.Join(err, mtuErr)
}

// strayed says whether a bridge lacks a route to one of its subnets, and warns of those of
// somebody else that are in the place of ours.
func (k *Kernel) strayed(ctx context.Context, b model.Bridge, l rtnl.Link, warn func(string, ...any)) (lacks bool, err error) {
	var errs []error
	for _, a := range b.Addrs {
		if a.IsSingleIP() || a.Addr().IsLinkLocalUnicast() || l.Master != 0 || !l.Up || !l.Carrier {
			continue // there is no route, or one of many, or none of the host's, or none now
		}
		const elsewhere = "a route of somebody else leads what is for a network elsewhere: the host does not reach its containers until that has gone"
		by, refused, err := k.rt.Connected(ctx, a)
		switch {
		case err != nil:
			errs = append(errs, err)
		case refused:
			// It may be of a wider subnet, and ours have gone.
			lacks = true
			warn("a route or rule of somebody else refuses or drops what is for a network: the host does not reach its containers until that has gone",
				"bridge", b.Name, "subnet", a.Masked())
		case by.Index == l.Index:
		case by.Table != 0 && by.Table != unix.RT_TABLE_MAIN:
			warn(elsewhere, "bridge", b.Name, "subnet", a.Masked(), "table", by.Table, "link", k.nameOf(ctx, by.Index))
		case by.Dst.IsValid() && by.Dst.Bits() >= a.Bits():
			warn(elsewhere, "bridge", b.Name, "subnet", a.Masked(), "route", by.Dst, "link", k.nameOf(ctx, by.Index))
		default:
			lacks = true
		}
	}
	return lacks, errors.Join(errs...)
}

// nameOf is the name of a link for people; a route may have several, or none.
func (k *Kernel) nameOf(ctx context.Context, index int) string {
	if index == 0 {
		return ""
	}
	name, err := k.rt.Name(ctx, uint32(index))
	if err != nil {
		return fmt.Sprint("link ", index)
	}
	return name
}
