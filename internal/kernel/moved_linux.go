package kernel

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/types"
)

// createMoved brings the link of an outside driver into a sandbox: moved and
// renamed in one message, then furnished. What fails half-way is taken back.
func (k *Kernel) createMoved(ctx context.Context, l model.MovedLink) error {
	ns, err := k.space(l.Netns)
	if err != nil {
		return err
	}
	inside, err := ns.Rtnl()
	if err != nil {
		return err
	}
	if l.Netns != "" {
		// A link that is down when it moves is seen by nobody under its old name.
		err := k.rt.ChangeLink(ctx, l.Host, rtnl.LinkChange{NetnsFD: ns.FD(), Rename: l.Name, Down: true})
		switch {
		case errors.Is(err, unix.ENODEV):
			return types.NotFoundErrorf("link %s, which the network driver has named, is not there: %w", l.Host, err)
		case errors.Is(err, unix.EEXIST):
			return types.ForbiddenErrorf("the sandbox has an interface %s already: %w", l.Name, err)
		case err != nil:
			return err
		}
	}
	if err := furnishMoved(ctx, inside, l); err != nil {
		return errors.Join(err, k.deleteMoved(context.WithoutCancel(ctx), l))
	}
	return nil
}

func furnishMoved(ctx context.Context, rt *rtnl.Socket, l model.MovedLink) error {
	var c rtnl.LinkChange
	if l.MAC != "" {
		mac, err := net.ParseMAC(l.MAC)
		if err != nil {
			return types.BadRequestErrorf("link %s: MAC address %q: %w", l.Host, l.MAC, err)
		}
		c.MAC = mac
		if err := rt.ChangeLink(ctx, l.Name, c); err != nil {
			return err
		}
	}
	if err := rt.AddAddresses(ctx, l.Name, l.Addrs...); err != nil {
		return err
	}
	if err := rt.SetLinkUp(ctx, l.Name); err != nil {
		return err
	}
	for _, r := range l.Routes {
		if err := rt.AddRoute(ctx, l.Name, r); err != nil {
			return err
		}
	}
	return nil
}

// deleteMoved gives the link back under its name. Its driver may have deleted it
// already.
func (k *Kernel) deleteMoved(ctx context.Context, l model.MovedLink) error {
	return k.inside(l.Netns, func(ns *netns.Namespace) error {
		rt, err := ns.Rtnl()
		if err != nil {
			return err
		}
		if l.Netns == "" {
			err = errors.Join(rt.DeleteAddresses(ctx, l.Name, l.Addrs...), rt.SetLinkDown(ctx, l.Name))
		} else {
			err = rt.ChangeLink(ctx, l.Name, rtnl.LinkChange{NetnsFD: k.host.FD(), Rename: l.Host, Down: true})
		}
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		return err
	})
}

// repairMoved brings those links in again that are not in the namespace.
func (k *Kernel) repairMoved(ctx context.Context, rt *rtnl.Socket, links []model.MovedLink) error {
	var errs []error
	for _, l := range links {
		if _, err := rt.Link(ctx, l.Name); errors.Is(err, unix.ENODEV) {
			k.log.Info("missing in the kernel, brought in again", "object", l.Key())
			errs = append(errs, k.createMoved(ctx, l))
		} else if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// createStatic and deleteStatic keep a route inside a sandbox.
func (k *Kernel) createStatic(ctx context.Context, r model.StaticRoute) error {
	ns, err := k.space(r.Netns)
	if err != nil {
		return err
	}
	rt, err := ns.Rtnl()
	if err != nil {
		return err
	}
	err = rt.AddRoute(ctx, "", r.Route)
	if errors.Is(err, unix.EEXIST) {
		return nil // an undo makes again what may not have gone
	}
	return err
}

func (k *Kernel) deleteStatic(ctx context.Context, r model.StaticRoute) error {
	return k.inside(r.Netns, func(ns *netns.Namespace) error {
		rt, err := ns.Rtnl()
		if err != nil {
			return err
		}
		err = rt.DeleteRoute(ctx, "", r.Route)
		if errors.Is(err, unix.ESRCH) {
			return nil // it went with its link
		}
		return err
	})
}

// repairStatic adds the routes that are missing.
func (k *Kernel) repairStatic(ctx context.Context, rt *rtnl.Socket, routes []model.StaticRoute) error {
	if len(routes) == 0 {
		return nil
	}
	there, err := rt.Routes(ctx)
	if err != nil {
		return err
	}
	have := make(map[[2]string]bool, len(there))
	for _, r := range there {
		have[[2]string{r.Dst.String(), viaText(r.Via)}] = true
	}
	var errs []error
	for _, r := range routes {
		if !have[[2]string{r.Route.Dst.String(), viaText(r.Route.Via)}] {
			k.log.Info("missing in the kernel, made again", "object", r.Key())
			errs = append(errs, k.createStatic(ctx, r))
		}
	}
	return errors.Join(errs...)
}

func viaText(a netip.Addr) string { return a.Unmap().String() }
