package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/conntrack"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/internal/sysctl"
	"github.com/libnetwork/libnetwork/types"
)

// Create makes objects of one kind, all or none.
func (k *Kernel) Create(ctx context.Context, objs []model.Object) error {
	if c, ok := change(objs); ok {
		return k.changeFirewall(ctx, c, model.FirewallChange{})
	}
	for i, o := range objs {
		if err := k.createOne(ctx, o); err != nil {
			return errors.Join(err, k.Delete(context.WithoutCancel(ctx), objs[:i]))
		}
	}
	return nil
}

// Delete removes objects of one kind. It goes on after a failure; what is gone
// already is none.
func (k *Kernel) Delete(ctx context.Context, objs []model.Object) error {
	if c, ok := change(objs); ok {
		if len(c.Tracked) > 0 {
			return k.untrack(ctx, c.Tracked)
		}
		return k.changeFirewall(ctx, model.FirewallChange{}, c)
	}
	var errs []error
	for _, o := range objs {
		errs = append(errs, k.deleteOne(ctx, o))
	}
	return errors.Join(errs...)
}

// change picks what the firewall makes in one transaction.
func change(objs []model.Object) (c model.FirewallChange, ok bool) {
	for _, o := range objs {
		switch o := o.(type) {
		case model.FirewallNetwork:
			c.Networks = append(c.Networks, o)
		case model.Port:
			c.Ports = append(c.Ports, o)
		case model.OpenPort:
			c.OpenPorts = append(c.OpenPorts, o)
		case model.KeptPort:
			c.Kept = append(c.Kept, o)
		case model.Link:
			c.Links = append(c.Links, o)
		case model.LinkedPort:
			c.LinkedPorts = append(c.LinkedPorts, o)
		case model.Tracked:
			c.Tracked = append(c.Tracked, o)
		default:
			return c, false
		}
	}
	return c, len(objs) > 0
}

func (k *Kernel) changeFirewall(ctx context.Context, add, del model.FirewallChange) error {
	if err := k.hasFamilies(add.Networks); err != nil {
		return err
	}
	if err := k.rewrite(ctx, add, del); err != nil {
		return err
	}
	if err := k.tracked.Flush(ctx, stale(add)); err != nil {
		k.log.Warn("forget connections of published ports", "err", err)
	}
	k.warnForeign(ctx, add.Ports)
	k.mu.Lock()
	networks := len(k.networks)
	k.mu.Unlock()
	switch {
	case len(add.Networks) > 0:
		k.acceptedByOthers(ctx, true)
		if networks == len(add.Networks) {
			k.warnDrops(ctx)
		}
	case len(del.Networks) > 0 && networks == 0:
		k.acceptedByOthers(ctx, false)
	}
	if len(add.Networks)+len(del.Networks) > 0 {
		k.zone.set(ctx)
	}
	return nil
}

// rewrite changes the rules and the books. These come first: if the firewall has to be
// repaired, they say what it shall hold.
func (k *Kernel) rewrite(ctx context.Context, add, del model.FirewallChange) error {
	done, err := k.rule(ctx)
	if err != nil {
		return err
	}
	defer done()
	had := k.keptPorts()
	k.book(add, del)
	come, gone, has := add, del, k.keptPorts()
	come.Kept, gone.Kept = without(has, had), without(had, has)
	if k.isRuled() {
		err = k.repaired(ctx, k.firewall.Apply(ctx, come, gone))
	} else {
		want, g := k.wanted()
		_, err = k.reconcile(ctx, want, g)
	}
	if err != nil {
		k.book(del, add)
	}
	return err
}

// keptPorts are those that the rules know: they are of IPv6, which has rules as long as
// it has networks.
func (k *Kernel) keptPorts() map[string]model.KeptPort {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.kept) > 0 {
		for _, n := range k.networks {
			if n.V6 != nil {
				return maps.Clone(k.kept)
			}
		}
	}
	return nil
}

func without(ports, others map[string]model.KeptPort) (list []model.KeptPort) {
	for key, p := range ports {
		if _, ok := others[key]; !ok {
			list = append(list, p)
		}
	}
	return list
}

// hasFamilies refuses networks of IPv6 where the kernel has none: each backend would
// say that in other words, and late.
func (k *Kernel) hasFamilies(networks []model.FirewallNetwork) error {
	for _, n := range networks {
		if n.V6 == nil {
			continue
		}
		_, err := sysctl.ReadIn(k.host, forwarding(true)...)
		return withoutIPv6(err)
	}
	return nil
}

// warnForeign tells of rules of others for the same ports: the container may never
// see a packet.
func (k *Kernel) warnForeign(ctx context.Context, ports []model.Port) {
	if len(ports) == 0 {
		return
	}
	found, err := k.firewall.ForeignDNAT(ctx, ports)
	if err != nil {
		k.log.Warn("look for foreign rules for published ports", "err", err)
	}
	for _, f := range found {
		k.log.Warn("published port has a foreign rule", "rule", f.String())
	}
	if k.zone.isStrict() {
		k.log.Warn("published ports are rejected by firewalld, which has StrictForwardPorts=yes", "ports", len(ports))
	}
}

// stale names the connections that ports leave with somebody else when they are
// published: a connection keeps the end that it began with, whatever the rules say
// now. Nobody had a TCP connection to such a port, since nobody listened there;
// datagrams may have been coming all the time.
func stale(add model.FirewallChange) (filter conntrack.Filter) {
	for _, p := range add.Ports {
		if p.Proto != unix.IPPROTO_TCP {
			filter.Ports = append(filter.Ports, p)
		}
	}
	for _, p := range add.Kept {
		if p.Proto != unix.IPPROTO_TCP {
			filter.Ports = append(filter.Ports, model.Port{Proto: p.Proto, Host: p.Host.Addr(), First: p.Host.Port(), Last: p.Host.Port()})
		}
	}
	return filter
}

// untrack forgets the connections of addresses that are dead. Their ports are gone,
// and so are their links from the bridges: the kernel waits, when it takes a link
// off its bridge, for all packets that are on their way at that moment. What they
// began has been counted by now, and nothing begins any more.
func (k *Kernel) untrack(ctx context.Context, list []model.Tracked) error {
	used, err := k.uncount(ctx, list)
	if err != nil {
		return err
	}
	if err := k.tracked.Flush(ctx, conntrack.Filter{Addrs: used}); err != nil {
		k.log.Warn("forget connections of a container", "addresses", used, "err", err)
	}
	return nil
}

// uncount takes addresses out of the rules and the books, and returns those of which
// the kernel may remember connections.
func (k *Kernel) uncount(ctx context.Context, list []model.Tracked) ([]netip.Addr, error) {
	done, err := k.rule(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	gone := model.FirewallChange{Tracked: list}
	k.book(model.FirewallChange{}, gone)
	used, err := k.firewall.Untrack(ctx, list)
	if err := k.repaired(ctx, err); err != nil {
		k.book(gone, model.FirewallChange{})
		return nil, err
	}
	return used, nil
}

// acceptedByOthers sees to it that a foreign forward chain lets through what ours has accepted,
// where that is wanted, and says how it was. That chain's users fill it anew as they like: it is
// no damage that our rule has gone.
func (k *Kernel) acceptedByOthers(ctx context.Context, want bool) (found model.Finding) {
	set := k.firewall.EnsureForeignAccept
	if !want {
		set = k.firewall.RemoveForeignAccept
	}
	var lines []string
	err := k.host.Do(func() (err error) { // programs are run, and they look where the thread is
		lines, err = set(ctx)
		return err
	})
	if err != nil {
		k.log.Warn("user hook of another firewall", "err", err)
	}
	for _, l := range lines {
		what := "added a rule to the user hook of another firewall"
		switch gone := strings.Contains(l, " -D "); {
		case gone && (strings.Contains(l, "; -A ") || strings.Contains(l, "; -I ")):
			what = "moved our rule behind those of others in the user hook of another firewall"
		case gone:
			what = "removed our rule from the user hook of another firewall"
		}
		k.log.Info(what, "rule", l)
		found = model.FoundMoved
	}
	return found
}

// warnDrops tells of chains of others in which what we accept is dropped, of each once.
func (k *Kernel) warnDrops(ctx context.Context) {
	list, err := k.ForeignDrops(ctx)
	if err != nil {
		k.log.Warn("look for chains of others that drop packets", "err", err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	told := k.dropping
	k.dropping = make(map[model.ForeignDrop]bool)
	for _, d := range list {
		k.dropping[d] = true
		switch {
		case told[d], d.Firewalld: // whose keeper tells what there is to be told
		case !d.Forward:
			k.log.Debug("a chain of somebody else drops what comes into the host and is not accepted there", "chain", d.String())
		case d.Marked:
			k.log.Warn("a chain of somebody else drops packets from and for containers if it is asked before our rules, as it is if its table, of the two of iptables-nft and iptables-legacy, was made last: choose the firewall backend that it has, or nftables",
				"chain", d.String(), "backend", k.backend)
		default:
			k.log.Warn("a chain of somebody else drops packets from and for containers that it does not accept", "chain", d.String())
		}
	}
}

func (k *Kernel) createOne(ctx context.Context, o model.Object) error {
	switch o := o.(type) {
	case model.Bridge:
		return k.createBridge(ctx, o)
	case model.Namespace:
		return k.createNamespace(ctx, o)
	case model.Redirect:
		ns, err := k.space(o.Netns)
		if err != nil {
			return err
		}
		if err := k.cfg.Steps.Next("firewall: redirect " + o.Netns); err != nil {
			return err
		}
		return k.setRedirect(ctx, ns, o.Port)
	case model.Veth:
		return k.createVeth(ctx, o)
	case model.MovedLink:
		return k.createMoved(ctx, o)
	case model.StaticRoute:
		return k.createStatic(ctx, o)
	case model.Forward:
		return k.createForward(o)
	case model.DefaultRoute:
		ns, err := k.space(o.Netns)
		if err != nil {
			return err
		}
		rt, err := ns.Rtnl()
		if err != nil {
			return err
		}
		return rt.ReplaceDefaultRoute(ctx, o)
	}
	return fmt.Errorf("%s is not for the kernel", o.Key())
}

func (k *Kernel) createBridge(ctx context.Context, b model.Bridge) error {
	if b.Adopted {
		if _, ok, err := k.Link(ctx, b.Name); err != nil || ok {
			return err
		}
		return types.NotFoundErrorf("bridge %s does not exist any more: it is not ours to make", b.Name)
	}
	k.warnTaken(ctx, b)
	err := k.rt.CreateBridge(ctx, b)
	if err == nil {
		return k.settle(ctx, b)
	}
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	l, ok, lookErr := k.Link(ctx, b.Name)
	if lookErr != nil || ok && l.Group != k.group {
		return notOurs(b.Name, err)
	}
	if l, err := k.rt.Link(ctx, b.Name); err == nil && isOfAnother(b, l) {
		return notOurs(b.Name, unix.EEXIST)
	}
	// Ours, and nobody's or half made: left by an operation that was cut short.
	if err := errors.Join(k.rt.DeleteLinks(ctx, b.Name), k.rt.CreateBridge(ctx, b)); err != nil {
		return err
	}
	return k.settle(ctx, b)
}

// warnTaken warns of subnets that the host reaches elsewhere already: by a link on which their
// addresses are, or by a route of their own. A part of what a gateway leads to is a network's
// for good reason.
func (k *Kernel) warnTaken(ctx context.Context, b model.Bridge) {
	for _, a := range b.Addrs {
		if a.IsSingleIP() || a.Addr().IsLinkLocalUnicast() {
			continue
		}
		by, _, err := k.rt.Connected(ctx, a)
		if err != nil || !by.Dst.IsValid() || by.Index == 0 || by.Via.IsValid() && by.Dst.Bits() < a.Bits() {
			continue
		}
		if link := k.nameOf(ctx, by.Index); link != b.Name { // which cannot be made, and that is told
			k.log.Warn("the host has a route to the subnet of a network already: one of the two is not reached, so choose another subnet",
				"bridge", b.Name, "subnet", a.Masked(), "route", by.Dst, "link", link)
		}
	}
}

// settle gives a new bridge what the host's settings for new links may not have given it:
// that it forwards.
func (k *Kernel) settle(ctx context.Context, b model.Bridge) error {
	l, err := k.rt.Link(ctx, b.Name)
	if err == nil {
		for _, s := range unset(b, l) {
			err = errors.Join(err, k.write(s))
		}
	}
	if err != nil {
		return errors.Join(err, k.rt.DeleteLinks(context.WithoutCancel(ctx), b.Name))
	}
	return nil
}

// aliasOfBridge is how the aliases of all our bridges begin, those of other data directories
// too.
const aliasOfBridge = "network "

// whole says whether a link is the bridge that is meant, with all that belongs to it: its
// alias and its addresses come together, and it is put up behind them. The alias of another
// network says that its bridge has got the name; other words are an administrator's.
func (k *Kernel) whole(b model.Bridge, l rtnl.Link) bool {
	switch {
	case b.Adopted:
		return true
	case l.Group != k.group:
		return false
	case l.Alias == "" || b.Alias == "":
		return b.Alias == "" || l.Up
	}
	return !strings.HasPrefix(l.Alias, aliasOfBridge) || strings.HasPrefix(b.Alias, l.Alias) // it may have been cut
}

func (k *Kernel) createNamespace(ctx context.Context, n model.Namespace) error {
	from := n.From
	if n.Spare != "" && netns.IsNamespace(n.Spare) {
		from = n.Spare
	}
	if from != "" {
		ns, err := netns.Open(k.cfg.Steps, from)
		if err != nil {
			return err
		}
		if from == n.From && !n.Host {
			k.warnRoutes(ctx, ns)
		}
		return errors.Join(k.adopt(ns, n), ns.Close())
	}
	ns, err := netns.Create(ctx, k.cfg.Steps, n.Path)
	if err != nil {
		return err
	}
	_, err = k.keep(n.Path, ns)
	return err
}

// warnRoutes warns of default routes that a namespace of somebody else has: a network with a
// gateway puts its own in their place, and takes that away again.
func (k *Kernel) warnRoutes(ctx context.Context, ns *netns.Namespace) {
	rt, err := ns.Rtnl()
	if err != nil {
		return // what follows needs it as well, and says so
	}
	// Documentation (RFC 5737, RFC 3849): nothing but a default route leads there.
	for _, to := range []string{"192.0.2.1/24", "2001:db8::1/32"} {
		by, _, err := rt.Connected(ctx, netip.MustParsePrefix(to))
		if err != nil || by.Index == 0 || by.Dst.IsValid() {
			continue
		}
		name, _ := rt.Name(ctx, uint32(by.Index))
		k.log.Warn("a container's network namespace has a default route of its own: a network with a gateway replaces it, and it does not come back by itself",
			"netns", ns.Path(), "via", by.Via, "link", name)
	}
}

// adopt pins a namespace of somebody else and raises its loopback, where the DNS
// server is to listen; tools that make namespaces leave it down.
func (k *Kernel) adopt(ns *netns.Namespace, n model.Namespace) error {
	if !n.Host {
		if netns.Same(ns, k.host) {
			return types.ForbiddenErrorf("%s is the host's own network namespace: a container cannot have it for itself", n.From)
		}
		rt, err := ns.Rtnl()
		if err != nil {
			return err
		}
		if err := rt.RaiseLoopback(); err != nil {
			return err
		}
	}
	return ns.Pin(n.Path)
}

func (k *Kernel) deleteOne(ctx context.Context, o model.Object) error {
	switch o := o.(type) {
	case model.Bridge:
		if o.Adopted {
			return nil
		}
		l, err := k.rt.Link(ctx, o.Name)
		if errors.Is(err, unix.ENODEV) || err == nil && (l.Group != k.group || isOfAnother(o, l)) {
			return k.deleteRenamed(ctx, o) // what has its name is somebody else's
		}
		if err != nil {
			return err
		}
		return k.rt.DeleteLinks(ctx, o.Name)
	case model.Namespace:
		var err error
		if r := (model.Redirect{Netns: o.Path}); k.isHalf(r) {
			// The namespace may be somebody else's, and is not found without its file.
			err = k.deleteOne(ctx, r)
			k.noteHalf(r, false)
		}
		return errors.Join(err, k.forget(o.Path), netns.Remove(k.cfg.Steps, o.Path))
	case model.Redirect:
		err := k.inside(o.Netns, func(ns *netns.Namespace) error {
			if err := k.cfg.Steps.Next("firewall: remove redirect " + o.Netns); err != nil {
				return err
			}
			return k.removeRedirect(ctx, ns)
		})
		k.noteHalf(o, err != nil)
		return err
	case model.Veth:
		return k.deleteVeth(ctx, o)
	case model.MovedLink:
		return k.deleteMoved(ctx, o)
	case model.StaticRoute:
		return k.deleteStatic(ctx, o)
	case model.Forward:
		return k.deleteForward(o)
	case model.DefaultRoute:
		return k.inside(o.Netns, func(ns *netns.Namespace) error {
			rt, err := ns.Rtnl()
			if err != nil {
				return err
			}
			return rt.DeleteDefaultRoute(ctx, o)
		})
	}
	return fmt.Errorf("%s is not for the kernel", o.Key())
}

// isOfAnother says whether a link of ours that has the name of a bridge is that of another
// network, by its alias.
func isOfAnother(b model.Bridge, l rtnl.Link) bool {
	id, want := idIn(l.Alias), idIn(b.Alias)
	return id != "" && want != "" && id != want
}

// deleteRenamed deletes a bridge of ours that has another name, if there is one: its
// address would lead what is for the next network of that subnet nowhere.
func (k *Kernel) deleteRenamed(ctx context.Context, b model.Bridge) error {
	links, err := k.rt.Links(ctx)
	for _, l := range links {
		if l.Kind == "bridge" && l.Group == k.group && idIn(l.Alias) != "" && idIn(l.Alias) == idIn(b.Alias) {
			k.log.Warn("the bridge of a network that is deleted has another name", "bridge", b.Name, "name", l.Name)
			return k.rt.DeleteLinks(ctx, l.Name)
		}
	}
	return err
}

// inside runs f for a namespace that is still there.
func (k *Kernel) inside(path string, f func(*netns.Namespace) error) error {
	ns, err := k.space(path)
	if errors.As(err, new(types.NotFoundError)) || err != nil && !netns.IsNamespace(path) {
		return nil
	}
	if err != nil {
		return err
	}
	return f(ns)
}
