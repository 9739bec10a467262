package kernel

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/rtnl"
)

// inside is what a sandbox's namespace shall hold.
type inside struct {
	path     string
	veths    []model.Veth
	moved    []model.MovedLink
	static   []model.StaticRoute
	routes   []model.DefaultRoute
	redirect *model.Redirect
}

// far is an address that nothing but a default route leads to (RFC 5737, RFC
// 3849).
func far(v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1})
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, 1})
}

// repairInside puts right what an operation that was cut short has left or taken
// inside of namespaces. Other routes and links of the container stay, and so does what it has
// done to ends of ours whose other ends are settled: none was cut short there.
func (k *Kernel) repairInside(ctx context.Context, want []model.Object, settled map[string]bool) error {
	spaces := make(map[string]*inside)
	for _, o := range want {
		if n, ok := o.(model.Namespace); ok && !n.Host {
			spaces[n.Path] = &inside{path: n.Path}
		}
	}
	for _, o := range want {
		switch o := o.(type) {
		case model.Veth:
			if in := spaces[o.Netns]; in != nil {
				in.veths = append(in.veths, o)
			}
		case model.MovedLink:
			if in := spaces[o.Netns]; in != nil {
				in.moved = append(in.moved, o)
			}
		case model.StaticRoute:
			if in := spaces[o.Netns]; in != nil {
				in.static = append(in.static, o)
			}
		case model.DefaultRoute:
			if in := spaces[o.Netns]; in != nil {
				in.routes = append(in.routes, o)
			}
		case model.Redirect:
			if in := spaces[o.Netns]; in != nil {
				in.redirect = &o
			}
		}
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards errs
		errs []error
	)
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, in := range spaces {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			err := k.repairOne(ctx, in, settled)
			for _, v := range in.veths {
				k.noteHalf(v, err != nil) // the next repair looks again
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// noteHalf remembers whether something is left to do about an object, inside of its
// namespace.
func (k *Kernel) noteHalf(o model.Object, half bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if half {
		k.half[o.Key()] = true
	} else {
		delete(k.half, o.Key())
	}
}

func (k *Kernel) isHalf(o model.Object) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.half[o.Key()]
}

func (k *Kernel) repairOne(ctx context.Context, in *inside, settled map[string]bool) error {
	ns, err := k.space(in.path)
	if err != nil {
		return err
	}
	rt, err := ns.Rtnl()
	if err != nil {
		return err
	}
	errs := []error{k.repairVeths(ctx, rt, in.veths, settled), k.repairMoved(ctx, rt, in.moved), k.repairStatic(ctx, rt, in.static)}
	if in.redirect != nil {
		errs = append(errs, k.createOne(ctx, *in.redirect))
	} else {
		errs = append(errs, k.deleteOne(ctx, model.Redirect{Netns: in.path}))
	}
	for _, r := range in.routes {
		// A route that is there may be the container's own.
		if rt.Routed(ctx, far(r.Via.Is6())) == nil {
			continue
		}
		switch err := rt.ReplaceDefaultRoute(ctx, r); {
		case err == nil:
			k.log.Info("missing in the kernel, made again", "object", r.Key())
		case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.EHOSTUNREACH):
			k.log.Warn("a container has taken its link down, or an address from it: there is no way to the gateway of its network", "netns", in.path, "err", err)
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// repairVeths makes those links again that are not in the namespace or lack an
// address, unless the container has taken that away.
func (k *Kernel) repairVeths(ctx context.Context, rt *rtnl.Socket, veths []model.Veth, settled map[string]bool) error {
	if len(veths) == 0 {
		return nil
	}
	links, err := rt.Links(ctx)
	if err != nil {
		return err
	}
	addrs, err := rt.Addresses(ctx)
	if err != nil {
		return err
	}
	byName := make(map[string]rtnl.Link, len(links))
	for _, l := range links {
		byName[l.Name] = l
	}
	right := func(v model.Veth) bool {
		l, ok := byName[v.Name]
		if !ok {
			return false
		}
		has := 0
		for _, p := range v.Addrs {
			if slices.Contains(addrs, rtnl.Address{Index: l.Index, Prefix: p}) {
				has++
			}
		}
		// One that was never furnished is down and has none.
		return has == len(v.Addrs) || settled[v.Key()] && (l.Up || has > 0)
	}
	var errs []error
	for _, v := range veths {
		if !right(v) {
			if err := k.isOurs(ctx, v); err != nil {
				errs = append(errs, err)
				continue
			}
			k.log.Info("incomplete in the kernel, made again", "object", v.Key())
			errs = append(errs, k.rt.DeleteLinks(ctx, v.Host), k.createVeth(ctx, v))
		}
	}
	return errors.Join(errs...)
}
