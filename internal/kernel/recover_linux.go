package kernel

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/rtnl"
)

// Recover brings the kernel to the wanted objects: rules first, in one
// transaction, then what is ours and not wanted goes, then what is missing comes.
// What is right is not touched.
//
// With keep, what is ours and not wanted stays, links, namespaces and rules, if
// there are any of the former two: it is listed.
func (k *Kernel) Recover(ctx context.Context, want []model.Object, keep bool) (r model.Recovery, err error) {
	k.mu.Lock()
	k.recovered = true
	k.mu.Unlock()
	errs := []error{k.findOthers(ctx), k.undoMoves(ctx, want)}
	links, err := k.rt.Links(ctx)
	if err != nil {
		return r, errors.Join(append(errs, err)...)
	}
	reclaimed := k.reclaim(ctx, links, want)
	strays, paths, err := k.strays(links, want)
	errs = append(errs, err)
	if keep {
		r.Kept = append(strays, paths...)
	}
	if len(r.Kept) == 0 {
		dead, err := k.strayAddresses(ctx, want)
		errs = append(errs, err)
		r.Rules, err = k.recoverFirewall(ctx, want, dead)
		errs = append(errs, err, k.removeStrays(ctx, strays, paths))
		if len(dead) > 0 {
			errs = append(errs, k.untrack(ctx, dead))
		}
	} else {
		errs = append(errs, k.addRules(ctx, want))
	}
	byName := make(map[string]rtnl.Link, len(links))
	for _, l := range links {
		byName[l.Name] = l
	}
	for _, o := range want {
		if b, ok := o.(model.Bridge); ok && !k.whole(b, byName[b.Name]) {
			delete(byName, b.Name) // half made, or somebody else's
		}
	}
	k.disown(byName, want)
	ruled := k.isRuled()
	missing := slices.DeleteFunc(slices.Clone(want), func(o model.Object) bool {
		switch o := o.(type) {
		case model.Bridge:
			_, ok := byName[o.Name]
			return ok || !ruled
		case model.Veth:
			_, ok := byName[o.Host]
			return ok || !ruled
		case model.Namespace:
			return netns.IsNamespace(o.Path)
		default:
			// Rules are done; the inside of namespaces comes last.
			return true
		}
	})
	slices.SortStableFunc(missing, func(a, b model.Object) int { return int(a.Order()) - int(b.Order()) })
	for _, o := range missing {
		var err error
		if v, ok := o.(model.Veth); ok {
			err = k.remakeVeth(ctx, v)
		} else {
			err = k.createOne(ctx, o)
		}
		if err == nil {
			k.log.Info("missing in the kernel, made again", "object", o.Key())
			if _, ns := o.(model.Namespace); !ns {
				r.Links = append(r.Links, o.Key())
			}
		}
		errs = append(errs, err)
	}
	settled := k.settled(byName, want)
	if ruled {
		put, err := k.reattach(ctx, byName, reclaimed, want)
		r.Links = append(r.Links, put...)
		errs = append(errs, err)
	}
	errs = append(errs, k.repairInside(ctx, want, settled))
	if ruled && len(r.Kept) == 0 {
		errs = append(errs, k.retireOthers(ctx))
	}
	return r, errors.Join(errs...)
}

// undoMoves puts namespaces back to their files that were kept aside while another
// one was to take their place: that has been cut short. In the other one nothing of
// ours is left; links are looked after later.
func (k *Kernel) undoMoves(ctx context.Context, want []model.Object) error {
	var errs []error
	for _, o := range want {
		n, ok := o.(model.Namespace)
		if !ok || n.Spare == "" || !netns.IsNamespace(n.Spare) || sameNamespace(n.Path, n.Spare) {
			continue
		}
		k.log.Info("a move to another network namespace was cut short: the sandbox stays where it was", "path", n.Path)
		errs = append(errs, k.deleteOne(ctx, model.Redirect{Netns: n.Path}), k.deleteOne(ctx, n), k.createOne(ctx, n))
	}
	return errors.Join(errs...)
}

// sameNamespace says whether two files pin one namespace.
func sameNamespace(a, b string) bool {
	x, err := netns.Open(nil, a)
	if err != nil {
		return false
	}
	defer x.Close()
	y, err := netns.Open(nil, b)
	if err != nil {
		return false
	}
	defer y.Close()
	return netns.Same(x, y)
}

// strayAddresses returns the addresses that an earlier process did not come to
// untrack.
func (k *Kernel) strayAddresses(ctx context.Context, want []model.Object) ([]model.Tracked, error) {
	wanted := make(map[string]bool)
	for _, t := range rules(want).Tracked {
		wanted[t.Key()] = true
	}
	list, err := k.firewall.Tracked(ctx)
	return slices.DeleteFunc(list, func(t model.Tracked) bool { return wanted[t.Key()] }), err
}

// recoverFirewall makes the firewall hold what is wanted, and the dead addresses
// until their links are removed. It says whether networks had not the rules that they
// should, other than those of another backend.
func (k *Kernel) recoverFirewall(ctx context.Context, want []model.Object, dead []model.Tracked) (differed bool, err error) {
	k.book(rules(want), model.FirewallChange{})
	k.book(model.FirewallChange{Tracked: dead}, model.FirewallChange{})
	all, g := k.wanted()
	found, err := k.reconcile(ctx, all, g)
	if err != nil {
		return false, fmt.Errorf("the firewall does not hold the rules of all networks, so no link is made: %w", err)
	}
	there := len(all.Networks) > 0
	switch {
	case found == model.FoundRight || !there:
	case found == model.FoundLeftover:
		k.log.Info("rules of what is not there any more have been removed: an operation was cut short")
	case found == model.FoundMoved:
		k.log.Info("others have put rules beside those of networks: they stand where they belong again")
	case k.switched:
		k.log.Info("the rules of networks are kept with another firewall backend from now on", "backend", k.backend)
	default:
		k.log.Info("firewall tables were not as wanted and have been replaced")
	}
	differed = found == model.FoundWrong
	k.acceptedByOthers(ctx, there)
	if there {
		k.warnDrops(ctx)
	}
	k.zone.ask(false)
	return differed && there && !k.switched, nil
}

// rules picks what the firewall holds.
func rules(want []model.Object) model.FirewallChange {
	c, _ := change(slices.DeleteFunc(slices.Clone(want), func(o model.Object) bool {
		switch o.Order() {
		case model.OrderFirewall, model.OrderTracked, model.OrderLink, model.OrderPort:
			return false
		}
		return true
	}))
	return c
}

// addRules adds the wanted rules to those that are there.
func (k *Kernel) addRules(ctx context.Context, want []model.Object) error {
	k.mu.Lock()
	g := k.guard
	k.mu.Unlock()
	var errs []error
	if g != (model.FirewallGuard{}) {
		errs = append(errs, k.firewall.SetGuard(ctx, g))
	}
	if c := rules(want); len(c.Networks)+len(c.Ports)+len(c.Tracked)+len(c.LinkedPorts) > 0 {
		k.book(c, model.FirewallChange{})
		errs = append(errs, k.firewall.Apply(ctx, c, model.FirewallChange{}))
	}
	k.zone.ask(true)
	return errors.Join(errs...)
}

// strays finds the links and the files of namespaces that carry our mark and that
// nobody wants.
func (k *Kernel) strays(links []rtnl.Link, want []model.Object) (names, paths []string, err error) {
	wanted := make(map[string]bool, len(want))
	for _, o := range want {
		switch o := o.(type) {
		case model.Bridge:
			wanted[o.Name] = true
		case model.Veth:
			wanted[o.Host] = true
			if o.Netns == "" {
				wanted[o.Name] = true
			}
		case model.Namespace:
			wanted[o.Path] = true
		}
	}
	for _, l := range links {
		if (l.Group == k.group || l.Group == rtnl.DyingGroup) && !wanted[l.Name] && (l.Kind == "bridge" || l.Kind == "veth") {
			names = append(names, l.Name)
		}
	}
	paths, err = filepath.Glob(filepath.Join(k.dir, "*"))
	return names, slices.DeleteFunc(paths, func(p string) bool { return wanted[p] }), err
}

// removeStrays removes what strays found.
func (k *Kernel) removeStrays(ctx context.Context, names, paths []string) error {
	var errs []error
	if len(names) > 0 {
		k.log.Info("links of an earlier process are removed", "links", strings.Join(names, " "))
		errs = append(errs, k.rt.DeleteLinks(ctx, names...))
	}
	for _, p := range paths {
		k.log.Info("network namespace of an earlier process is removed", "path", p)
		// It may be somebody else's, who goes on with it.
		if !k.isHost(p) {
			errs = append(errs, k.deleteOne(ctx, model.Redirect{Netns: p}))
		}
		errs = append(errs, k.deleteOne(ctx, model.Namespace{Path: p}))
	}
	return errors.Join(errs...)
}

// isHost says whether a file pins the host's own namespace.
func (k *Kernel) isHost(path string) bool {
	ns, err := netns.Open(nil, path)
	if err != nil {
		return false
	}
	defer ns.Close()
	return netns.Same(ns, k.host)
}

// reattach gives bridges and veths that were there what somebody else has taken from
// them: addresses, the veth's place at its bridge, which may have been made again, and
// that they are up; and what earlier versions did not give them. It returns the keys of
// those that lacked something, or had another name or mark.
func (k *Kernel) reattach(ctx context.Context, had map[string]rtnl.Link, reclaimed map[string]bool, want []model.Object) (put []string, err error) {
	addrs, err := k.rt.Addresses(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, o := range want {
		var err error
		differs := false
		switch o := o.(type) {
		case model.Bridge:
			if l, ok := had[o.Name]; ok {
				differs, err = k.repairBridge(ctx, o, l, addrs)
				differs = differs || reclaimed[o.Name]
			}
		case model.Veth:
			if l, ok := had[o.Host]; ok {
				differs, err = k.repairPort(ctx, o, l, had[o.Bridge])
				differs = differs || reclaimed[o.Host]
			}
		}
		if differs && err == nil {
			put = append(put, o.Key())
		}
		errs = append(errs, err)
	}
	return put, errors.Join(errs...)
}
