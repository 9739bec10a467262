package kernel

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"sync"

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
// inside of namespaces. Other routes and links of the container stay.
func (k *Kernel) repairInside(ctx context.Context, want []model.Object) error {
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
			err := k.repairOne(ctx, in)
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

func (k *Kernel) repairOne(ctx context.Context, in *inside) error {
	ns, err := k.space(in.path)
	if err != nil {
		return err
	}
	rt, err := ns.Rtnl()
	if err != nil {
		return err
	}
	errs := []error{k.repairVeths(ctx, rt, in.veths), k.repairMoved(ctx, rt, in.moved), k.repairStatic(ctx, rt, in.static)}
	if in.redirect != nil {
		errs = append(errs, k.createOne(ctx, *in.redirect))
	} else {
		errs = append(errs, k.deleteOne(ctx, model.Redirect{Netns: in.path}))
	}
	for _, r := range in.routes {
		// A route that is there may be the container's own, as may be that there is none
		// since it has taken the link down.
		if rt.Routed(ctx, far(r.Via.Is6())) == nil {
			continue
		}
		if l, err := rt.Link(ctx, r.Dev); err == nil && !l.Up {
			k.log.Warn("a container has taken its link down: it has no default route by that", "netns", in.path, "link", r.Dev)
			continue
		}
		k.log.Info("missing in the kernel, made again", "object", r.Key())
		errs = append(errs, rt.ReplaceDefaultRoute(ctx, r))
	}
	return errors.Join(errs...)
}

// repairVeths makes those links again that are not in the namespace or lack an
// address.
func (k *Kernel) repairVeths(ctx context.Context, rt *rtnl.Socket, veths []model.Veth) error {
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
	index := make(map[string]int, len(links))
	for _, l := range links {
		index[l.Name] = l.Index
	}
	right := func(v model.Veth) bool {
		i, ok := index[v.Name]
		return ok && !slices.ContainsFunc(v.Addrs, func(p netip.Prefix) bool {
			return !slices.Contains(addrs, rtnl.Address{Index: i, Prefix: p})
		})
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
