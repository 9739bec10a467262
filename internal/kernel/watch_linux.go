package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/rtnl"
)

// watch is something that hears of changes until a context ends.
type watch interface {
	Run(ctx context.Context) error
}

// Watch hears from now on of what somebody else does to what is ours on the host.
// The function returned tells of it until its context ends: it calls lost with the
// name of a link of ours that is gone or has lost something, with the empty name when
// it may be any, or with that of a bridge of others that has come or gone; forwarding
// when the host forwards no packets of a family any more, rules when the firewall may
// have been changed, and foreign of what was done to firewalld: "repair" when something
// was put back, "configure" when its permanent configuration was changed, "warn" when it
// is in the way.
func (k *Kernel) Watch(lost func(link string, others bool), rules, forwarding func(), foreign func(action, object string)) (run func(context.Context) error, err error) {
	k.mu.Lock()
	k.lookAtRules = rules
	k.mu.Unlock()
	all := []watch{k.zone.watch(rules, foreign)}
	err = k.host.Do(func() error {
		links, err := rtnl.OpenWatch([]uint32{k.group}, lost, forwarding)
		if err != nil {
			return err
		}
		all = append(all, links)
		firewall, err := k.watchRules(rules)
		all = append(all, firewall...)
		return err
	})
	run = func(ctx context.Context) error {
		// When one cannot go on, the others end as well.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var wg sync.WaitGroup
		errs := make([]error, len(all))
		for i, w := range all {
			wg.Go(func() {
				defer cancel()
				errs[i] = w.Run(ctx)
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	}
	if err != nil {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		return nil, fmt.Errorf("watch the host's links and rules: %w", errors.Join(err, run(over))) // closes those that are open
	}
	return run, nil
}

func (k *Kernel) watchRules(changed func()) ([]watch, error) {
	if f, ok := k.firewall.(*ipt.Firewall); ok {
		w, err := f.Watch(changed)
		if err != nil {
			return nil, err
		}
		if k.backend == IPTablesNFT {
			return []watch{w, &legacyWatch{k.host, Table(k.cfg.DataDir), changed}}, nil
		}
		return []watch{w}, nil
	}
	w, err := k.firewall.(*nft.Firewall).Watch(changed)
	if err != nil {
		return nil, err
	}
	return []watch{w, &legacyWatch{k.host, Table(k.cfg.DataDir), changed}}, nil
}

// legacyWatch looks every few seconds whether the legacy backend of iptables, which tells
// nobody of changes, has a chain for users without our rule: a Docker may have come.
type legacyWatch struct {
	host    *netns.Namespace
	table   string
	changed func()
}

// How often is looked, and how seldom where that changes nothing.
const (
	legacyPeriod  = 5 * time.Second
	legacyLongest = time.Minute
)

// Run looks until ctx ends.
func (w *legacyWatch) Run(ctx context.Context) error {
	period := legacyPeriod
	for lacked := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(period):
		}
		lacks := false
		_ = w.host.Do(func() error { // fails with the kernel's other work, which says so
			lacks = nft.LegacyLacksAccept(ctx, w.table)
			return nil
		})
		if lacks && ctx.Err() == nil {
			w.changed()
		}
		if lacks && lacked {
			period = min(2*period, legacyLongest)
		} else {
			period = legacyPeriod
		}
		lacked = lacks
	}
}

// RepairRules makes the firewall what it shall be. It says whether it was not.
func (k *Kernel) RepairRules(ctx context.Context) (repaired bool, err error) {
	k.zone.idle(ctx)
	// What a change is about to make is not undone by what was wanted before it.
	done, err := k.rule(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	want, g := k.wanted()
	late := !k.isRuled()
	if !late && idle(want, g) && len(k.others) == 0 {
		return k.takeRepaired(), nil
	}
	found, err := k.reconcile(ctx, want, g)
	if err == nil {
		repaired = k.takeRepaired() || found != model.FoundRight
	}
	if err == nil && len(want.Networks) > 0 {
		repaired = k.acceptedByOthers(ctx, true) || repaired
		k.warnDrops(ctx)
	}
	if err == nil {
		stuck := k.retireOthers(ctx)
		if late {
			return repaired, stuck
		}
		// Our own are right. Survey has it tried again, and it is said once.
		if stuck != nil && stuck.Error() != k.stuck {
			k.stuck = stuck.Error()
			k.log.Error("rules of another firewall backend are still there", "err", stuck)
		}
	}
	return repaired, err
}

// RepairLinks makes bridges and veths of the host what they shall be, with the
// addresses of the bridges and what veths have inside. It returns the keys of those
// that were not and are now. What is right is not touched; what else is among the objects helps
// to furnish a link that had to be made again.
func (k *Kernel) RepairLinks(ctx context.Context, want []model.Object) (repaired []string, err error) {
	if err := k.ruled(ctx); err != nil {
		return nil, err
	}
	links, err := k.linksOf(ctx, want)
	if err != nil {
		return nil, err
	}
	var addrs []rtnl.Address
	if slices.ContainsFunc(want, isBridge) {
		if addrs, err = k.rt.Addresses(ctx); err != nil {
			return nil, err
		}
	}
	reclaimed := k.reclaim(ctx, links, want)
	byName := make(map[string]rtnl.Link, len(links))
	for _, l := range links {
		byName[l.Name] = l
	}
	k.disown(byName, want)
	want = slices.Clone(want)
	slices.SortStableFunc(want, func(a, b model.Object) int { return int(a.Order()) - int(b.Order()) })
	var errs []error
	fix := func(o model.Object, err error) {
		if err == nil {
			repaired = append(repaired, o.Key())
		}
		errs = append(errs, err)
	}
	var made []model.Veth // and those made earlier of which not all was right inside
	for _, o := range want {
		switch o := o.(type) {
		case model.Bridge:
			if o.Adopted {
				continue
			}
			if l, ok := byName[o.Name]; ok && k.whole(o, l) {
				if differs, err := k.repairBridge(ctx, o, l, addrs); differs || err != nil || reclaimed[o.Name] {
					fix(o, err)
				}
				continue
			}
			fix(o, k.createBridge(ctx, o))
			delete(byName, o.Name)
			if l, err := k.rt.Link(ctx, o.Name); err == nil && k.whole(o, l) {
				byName[o.Name] = l
			}
		case model.Veth:
			l, ok := byName[o.Host]
			if !ok {
				err := k.remakeVeth(ctx, o)
				if err == nil {
					made = append(made, o)
				}
				errs = append(errs, err)
				continue
			}
			if differs, err := k.repairPort(ctx, o, l, byName[o.Bridge]); differs || err != nil || reclaimed[o.Host] {
				fix(o, err)
			}
			if k.isHalf(o) {
				made = append(made, o)
			}
		}
	}
	if len(made) > 0 {
		errs = append(errs, k.repairInside(ctx, want))
	}
	for _, v := range made {
		if !k.isHalf(v) && !slices.Contains(repaired, v.Key()) {
			repaired = append(repaired, v.Key())
		}
	}
	return repaired, errors.Join(errs...)
}

func isBridge(o model.Object) bool {
	_, ok := o.(model.Bridge)
	return ok
}

// linksOf returns the links that are wanted, with the bridges that they are for; all links
// of the host if one is missing, for it may have another name. A host may have thousands,
// and this is asked for each container.
func (k *Kernel) linksOf(ctx context.Context, want []model.Object) ([]rtnl.Link, error) {
	var links []rtnl.Link
	seen := make(map[string]bool)
	for _, o := range want {
		var names []string
		switch o := o.(type) {
		case model.Bridge:
			names = []string{o.Name}
		case model.Veth:
			names = []string{o.Host, o.Bridge}
		}
		for _, name := range names {
			if name == "" || seen[name] {
				continue
			}
			seen[name] = true
			l, err := k.rt.Link(ctx, name)
			if errors.Is(err, unix.ENODEV) {
				return k.rt.Links(ctx)
			}
			if err != nil {
				return nil, err
			}
			links = append(links, l)
		}
	}
	return links, nil
}

// repairBridge gives a bridge of ours the addresses that it has not, the routes to their
// subnets, and its settings, and puts it up. It says whether anything was to be done.
func (k *Kernel) repairBridge(ctx context.Context, b model.Bridge, l rtnl.Link, addrs []rtnl.Address) (differs bool, err error) {
	if b.Adopted {
		return false, nil
	}
	mtu, err := k.mtuOf(ctx, b, l)
	if err != nil {
		return false, err
	}
	if mtu != l.MTU {
		differs = true
		if err := k.rt.ChangeLink(ctx, b.Name, rtnl.LinkChange{MTU: mtu}); err != nil {
			return differs, err
		}
		if l, err = k.rt.Link(ctx, b.Name); err != nil { // which may have got IPv6 back
			return differs, err
		}
	}
	if b.IPv6 && l.LinkLocal {
		differs = true
		err = k.rt.NoLinkLocal(ctx, l)
	}
	lacks := lacking(b, l, addrs)
	if len(lacks) > 0 {
		err = errors.Join(err, k.rt.AddAddresses(ctx, b.Name, lacks...))
	}
	if !l.Up || l.NoARP {
		err = errors.Join(err, k.rt.SetLinkUp(ctx, b.Name))
	}
	unset, setErr := k.setBridge(b, l)
	err = errors.Join(err, setErr)
	differs = differs || unset || len(lacks) > 0 || !l.Up || l.NoARP
	if err != nil || l.Master != 0 { // a VRF has its own routes
		return differs, err
	}
	for _, a := range rtnl.BridgeAddresses(b) {
		missed, err := k.rt.AddConnected(ctx, l, a)
		if err != nil {
			return differs, err
		}
		differs = differs || missed
	}
	return differs, nil
}

// mtuOf is the MTU that a bridge should have. As long as nobody has given it one the kernel
// gives it the least of those of its ports, which may be others' too, and without any its
// default.
func (k *Kernel) mtuOf(ctx context.Context, b model.Bridge, l rtnl.Link) (int, error) {
	want := rtnl.MTU(b.MTU)
	if l.MTU == want || l.MTU == rtnl.MTU(0) && !l.Carrier {
		return l.MTU, nil
	}
	links, err := k.rt.Links(ctx)
	for _, port := range links {
		if port.Master == l.Index {
			want = min(want, port.MTU)
		}
	}
	return want, err
}

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

// lacking are the addresses that a bridge shall have and has not.
func lacking(b model.Bridge, l rtnl.Link, addrs []rtnl.Address) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(rtnl.BridgeAddresses(b)), func(p netip.Prefix) bool {
		return slices.Contains(addrs, rtnl.Address{Index: l.Index, Prefix: p})
	})
}
