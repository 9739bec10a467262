package kernel

import (
	"context"
	"errors"
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
func (k *Kernel) Recover(ctx context.Context, want []model.Object, keep bool) (kept []string, err error) {
	k.mu.Lock()
	k.recovered = true
	k.mu.Unlock()
	links, err := k.rt.Links(ctx)
	if err != nil {
		return nil, err
	}
	strays, paths, err := k.strays(links, want)
	errs := []error{err}
	if keep {
		kept = append(strays, paths...)
	}
	if len(kept) == 0 {
		errs = append(errs, k.recoverFirewall(ctx, want), k.removeStrays(ctx, strays, paths))
	} else {
		errs = append(errs, k.addRules(ctx, want))
	}
	byName := make(map[string]rtnl.Link, len(links))
	for _, l := range links {
		byName[l.Name] = l
	}
	missing := slices.DeleteFunc(slices.Clone(want), func(o model.Object) bool {
		switch o := o.(type) {
		case model.Bridge:
			_, ok := byName[o.Name]
			return ok
		case model.Veth:
			_, ok := byName[o.Host]
			return ok
		case model.Namespace:
			return netns.IsNamespace(o.Path)
		default:
			// Rules are done; the inside of namespaces comes last.
			return true
		}
	})
	slices.SortStableFunc(missing, func(a, b model.Object) int { return int(a.Order()) - int(b.Order()) })
	for _, o := range missing {
		k.log.Info("missing in the kernel, made again", "object", o.Key())
		errs = append(errs, k.createOne(ctx, o))
	}
	errs = append(errs, k.reattach(ctx, byName, want), k.repairInside(ctx, want))
	return kept, errors.Join(errs...)
}

func (k *Kernel) recoverFirewall(ctx context.Context, want []model.Object) error {
	k.book(rules(want), model.FirewallChange{})
	all, g := k.wanted()
	changed, err := k.firewall.Reconcile(ctx, all, g)
	if err != nil {
		return err
	}
	if changed && len(all.Networks) > 0 {
		k.log.Info("firewall tables were not as wanted and have been replaced")
	}
	k.acceptedByOthers(ctx, len(all.Networks) > 0)
	return k.retireOthers(ctx)
}

// rules picks what the firewall holds.
func rules(want []model.Object) model.FirewallChange {
	c, _ := change(slices.DeleteFunc(slices.Clone(want), func(o model.Object) bool {
		return o.Order() != model.OrderFirewall && o.Order() != model.OrderPort
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
	if c := rules(want); len(c.Networks)+len(c.Ports) > 0 {
		k.book(c, model.FirewallChange{})
		errs = append(errs, k.firewall.Apply(ctx, c, model.FirewallChange{}))
	}
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
		errs = append(errs, netns.Remove(k.cfg.Steps, p))
	}
	return errors.Join(errs...)
}

// reattach puts veths back to a bridge that had to be made again.
func (k *Kernel) reattach(ctx context.Context, had map[string]rtnl.Link, want []model.Object) error {
	var errs []error
	for _, o := range want {
		v, ok := o.(model.Veth)
		if !ok {
			continue
		}
		l, ok := had[v.Host]
		if !ok || l.Master != 0 && l.Up {
			continue
		}
		errs = append(errs, k.rt.PutVeth(ctx, v))
	}
	return errors.Join(errs...)
}
