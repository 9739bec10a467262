package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/libnetwork/libnetwork/internal/apply"
	"github.com/libnetwork/libnetwork/internal/drivers/outside"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// loaded is what the store held, in the order in which it can be taken up.
type loaded struct {
	networks  []*model.Network
	endpoints []*model.Endpoint
	sandboxes []*model.Sandbox
	// dead are sandboxes whose boot is over.
	dead map[string]bool
	// unowned says that an earlier start has found objects of records that were
	// lost, and left them alone.
	unowned bool
	// ops forget what is over, and set aside what cannot be used.
	ops []store.Op
}

// setAside reports a record that cannot be used, and has it kept where damaged
// ones are.
func (e *Engine) setAside(l *loaded, kind, id string, err error) {
	e.log.Error("damaged record has been set aside", "kind", kind, "id", id, "err", err)
	l.ops = append(l.ops, store.Op{Kind: kind, ID: id, SetAside: true})
}

// recordUnowned is the id of the record that says so.
const recordUnowned = "unowned"

// recover takes up the records and brings the kernel to what they say. A record
// or object that fails is reported and keeps nothing else from coming up.
func (e *Engine) recover(ctx context.Context) error {
	l := e.load()
	for _, n := range l.networks {
		if n.Deleting {
			// Its driver is told when it is there, if it has not been.
			p := pending{Driver: n.Driver, Network: n.ID}
			e.pending[p.id()] = p
			l.ops = append(l.ops, store.Op{Kind: kindNetwork, ID: n.ID, Durable: true}, p.put())
			continue
		}
		e.restoreNetwork(&l, n)
	}
	ended := e.restoreEndpoints(&l)
	ops := append(l.ops, e.endSandboxes(&l, ended)...)
	if err := e.commit(ctx, ops...); err != nil {
		return err
	}
	e.removeEnded(ctx, &l, ended)
	keep := (l.unowned || e.store.Lost()) && !e.cfg.RemoveUnowned
	if !keep {
		e.sweepFiles()
	}
	// The namespace was not recorded always.
	if f := e.forwarding; f.Boot != "" && f.Boot != e.boot && !strings.HasPrefix(e.boot, f.Boot+" ") {
		// Whoever has turned it on since is its owner, be it us again.
		e.logErr("forget forwarding", recordForwarding, e.commitForwarding(ctx, forwarding{}))
	}
	if (l.unowned || e.store.Lost()) && e.cfg.RemoveUnowned && !e.forwarding.on() {
		e.findForwarding(ctx)
	}
	if f := e.forwarding; f.on() {
		_, err := e.guard(ctx, f)
		e.logErr("guard forwarding", recordForwarding, err)
	}
	var want []model.Object
	for _, n := range e.Networks() {
		want = append(want, n.drv.Network(n.Record())...)
	}
	for _, s := range e.Sandboxes() {
		want = append(want, e.linked(*s.View()).Objects()...)
	}
	want = slices.DeleteFunc(want, func(o model.Object) bool { return isFile(o.Order()) || isDriver(o.Order()) })
	found, err := e.kernel.Recover(ctx, want, keep)
	e.logErr("recover", "kernel", err)
	if err != nil {
		e.healer.tell("", false) // tries again
	}
	// What has ended with the earlier process had its rules until now.
	found.Rules = found.Rules && len(ops) == 0
	e.noteRecovery(found)
	if err := e.recordUnowned(ctx, l.unowned, found.Kept); err != nil {
		return err
	}
	e.resumeAll(ctx)
	e.settleGateways(ctx)
	e.startForwarding(ctx)
	e.relaxForwarding(ctx, 0)
	e.relaxForwarding(ctx, settling) // bridges of others may have come
	return nil
}

// recordUnowned remembers for the next start that there are objects of ours that
// no record names, since all records were lost: they may be the network of running
// containers, and are not removed unless somebody says so.
func (e *Engine) recordUnowned(ctx context.Context, was bool, kept []string) error {
	if e.unowned = strings.Join(kept, " "); e.unowned != "" {
		e.log.Error("all records were lost, but links or namespaces made from them are still there: they are left alone, with their rules, and no network can be made beside them; to be rid of them start once with --remove-unowned",
			"objects", e.unowned)
	}
	op := store.Op{Kind: kindHost, ID: recordUnowned, Durable: true}
	switch {
	case len(kept) > 0 && !was:
		op.Value = []byte("{}")
	case len(kept) == 0 && was:
	default:
		return nil
	}
	return e.commit(ctx, op)
}

// load reads and decodes the store's records.
func (e *Engine) load() loaded {
	records, problems := e.store.Records()
	for _, p := range problems {
		e.log.Error("damaged state has been set aside", "problem", p.String())
	}
	l := loaded{dead: make(map[string]bool)}
	for _, r := range records {
		var err error
		switch r.Kind {
		case kindNetwork:
			err = decodeInto(&l.networks, r, func(n *model.Network) string { return n.ID })
		case kindEndpoint:
			err = decodeInto(&l.endpoints, r, func(ep *model.Endpoint) string { return ep.ID })
		case kindSandbox:
			err = decodeInto(&l.sandboxes, r, func(sb *model.Sandbox) string { return sb.ID })
			if err == nil && r.Stale {
				l.dead[r.ID] = true
			}
		case kindPending:
			var p pending
			if err = json.Unmarshal(r.Value, &p); err == nil {
				e.pending[p.id()] = p
			}
		case kindHost:
			if r.ID == recordUnowned {
				l.unowned = true
			} else {
				var f forwarding
				if err = json.Unmarshal(r.Value, &f); err == nil {
					e.forwarding = f
				}
			}
		}
		if err != nil {
			e.setAside(&l, r.Kind, r.ID, err)
		}
	}
	return l
}

func decodeInto[T model.Network | model.Endpoint | model.Sandbox](list *[]*T, r store.Record, id func(*T) string) error {
	v, err := model.Decode[T](r.Value)
	if err != nil {
		return err
	}
	if id(v) != r.ID {
		return types.InternalErrorf("the record calls itself %s", id(v))
	}
	*list = append(*list, v)
	return nil
}

// sound derives something from a record, and says why that cannot be done: JSON
// of the right version can still say what no driver understands.
func sound(derive func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = types.InternalErrorf("nothing can be derived from the record: %v", r)
		}
	}()
	derive()
	return nil
}

// restoreNetwork makes a recorded network known again. One whose addresses are not
// to be had stays in the store, out of sight, until its address manager is there or
// the next start.
//
// The driver may be one that is registered later: until then nothing can be done
// with its networks but look at them.
func (e *Engine) restoreNetwork(l *loaded, rec *model.Network) *Network {
	drv, err := e.driver(rec.Driver)
	if err != nil {
		drv, err = outside.Absent(rec.Driver, rec.Scope), nil
	}
	if err := sound(func() { drv.Network(rec) }); err != nil {
		e.setAside(l, kindNetwork, rec.ID, err)
		return nil
	}
	e.mu.RLock()
	if e.byName[nameKey(rec)] != nil {
		err = NetworkNameError(rec.Name)
	}
	e.mu.RUnlock()
	if err == nil && drv.Traits().Addresses {
		if _, err := e.addressManager(rec.IPAM.Driver); err != nil {
			e.log.Warn("network waits for its address manager", "network", rec.Name, "id", rec.ID, "manager", rec.IPAM.Driver)
			e.waiting = append(e.waiting, rec)
			return nil
		}
		err = e.reclaim(rec)
	}
	if err != nil {
		e.log.Error("network cannot be restored", "network", rec.Name, "id", rec.ID, "err", err)
		return nil
	}
	n := e.newNetwork(drv, rec)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.networks[rec.ID] = n
	e.byName[nameKey(rec)] = n
	return n
}

// restoreLate restores a network after the start.
func (e *Engine) restoreLate(rec *model.Network) {
	var l loaded
	if n := e.restoreNetwork(&l, rec); n != nil && !isOutside(n.drv) {
		_, err := apply.Apply(e.ctx, e.kernel, nil, n.drv.Network(rec))
		e.logErr("restore network "+rec.Name, rec.ID, err)
	}
	e.logErr("set aside network "+rec.Name, rec.ID, e.commit(e.ctx, l.ops...))
}

// reclaim asks the address manager again for what the network's record says it
// has: the built-in one keeps no record of its own. Others remember. On failure what
// was obtained is given back.
func (e *Engine) reclaim(rec *model.Network) (err error) {
	if rec.IPAM.Driver != ipamapi.DefaultIPAM {
		return nil
	}
	im, err := e.addressManager(rec.IPAM.Driver)
	if err != nil {
		return err
	}
	var undo undoList
	defer func() {
		if err != nil {
			undo.run()
		}
	}()
	for i, pools := range [][]model.Pool{rec.IPAM.Pools4, rec.IPAM.Pools6} {
		conf := [][]model.IPAMConf{rec.IPAM.Conf4, rec.IPAM.Conf6}[i]
		for j, p := range pools {
			sub := ""
			if j < len(conf) {
				sub = conf[j].Sub
			}
			id, _, _, err := im.RequestPool(p.Space, p.Prefix.String(), sub, rec.IPAM.Options, i == 1)
			if err != nil {
				return err
			}
			undo.add(func() { e.logErr("release pool", id, im.ReleasePool(id)) })
			if id != p.ID {
				return types.InternalErrorf("pool %s is now called %s", p.ID, id)
			}
			gw := map[string]string{ipamapi.RequestAddressType: netlabel.Gateway}
			if err := e.reclaimAddress(im, id, p.Gateway, gw, &undo); err != nil {
				return err
			}
			for _, a := range p.Aux {
				if err := e.reclaimAddress(im, id, a, nil, &undo); err != nil && !errors.Is(err, ipamapi.ErrIPOutOfRange) {
					return err
				}
			}
		}
	}
	return nil
}

// reclaimAddress takes one address again; one that is not valid is none.
func (e *Engine) reclaimAddress(im ipamEntry, pool string, a netip.Prefix, opts map[string]string, undo *undoList) error {
	if !a.IsValid() {
		return nil
	}
	ip := a.Addr().AsSlice()
	if _, _, err := im.RequestAddress(pool, ip, opts); err != nil {
		return err
	}
	undo.add(func() { e.logErr("release address", pool, im.ReleaseAddress(pool, ip)) })
	return nil
}

// restoreEndpoints makes recorded endpoints known again, with the sandboxes that
// go on. It returns the sandboxes that do not.
func (e *Engine) restoreEndpoints(l *loaded) (ended map[string]bool) {
	ended = make(map[string]bool)
	attached := make(map[string][]model.Attachment)
	for _, sb := range l.sandboxes {
		if why := e.over(sb, l.dead[sb.ID]); why != "" {
			e.log.Info("sandbox is removed", "container", sb.ContainerID, "id", sb.ID, "reason", why)
			ended[sb.ID] = true
		}
	}
	known := make(map[string]bool, len(l.sandboxes))
	for _, sb := range l.sandboxes {
		known[sb.ID] = !ended[sb.ID]
	}
	for _, rec := range l.endpoints {
		n := e.networks[rec.Network]
		if !e.cfg.KeepAlive || rec.Attached != nil && !known[rec.Attached.Sandbox] {
			l.ops = append(l.ops, store.Op{Kind: kindEndpoint, ID: rec.ID})
			e.forgotten(l, n, rec)
			continue
		}
		if err := e.restorable(n, rec); err != nil {
			e.setAside(l, kindEndpoint, rec.ID, err)
			e.forgotten(l, n, rec)
			continue
		}
		ep := &Endpoint{e: e, net: n}
		ep.rec.Store(rec)
		e.endpoints[rec.ID] = ep
		n.endpoints[rec.Name] = ep
		n.zone.add(rec)
		if rec.Attached != nil {
			id := rec.Attached.Sandbox
			attached[id] = append(attached[id], model.Attachment{Network: n.Record(), Endpoint: rec, Driver: n.drv})
		}
	}
	for _, sb := range l.sandboxes {
		if ended[sb.ID] {
			continue
		}
		sb = e.dropPorts(l, sb, attached[sb.ID])
		s := &Sandbox{e: e}
		view := s.newView(sb, attached[sb.ID])
		s.view.Store(&view)
		e.sandboxes[sb.ID] = s
		e.byContainer[sb.ContainerID] = s
		e.noteLinks(s)
	}
	return ended
}

// dropPorts returns the record of a sandbox without the published ports that lead to an
// address of none of its endpoints, since the endpoint could not be restored: somebody
// else may have that address next. They come back, at another address, when the sandbox
// joins a network.
func (e *Engine) dropPorts(l *loaded, sb *model.Sandbox, attached []model.Attachment) *model.Sandbox {
	left := sb.Published.Without(func(p model.Port) bool {
		return !slices.ContainsFunc(attached, func(a model.Attachment) bool {
			return p.Addr == a.Endpoint.V4.Addr() || p.Addr == a.Endpoint.V6.Addr()
		})
	})
	if left.Len() == sb.Published.Len() {
		return sb
	}
	e.log.Error("published ports are dropped: their endpoint is lost",
		"container", sb.ContainerID, "id", sb.ID, "ports", sb.Published.Len()-left.Len())
	sb = clone(sb)
	sb.Published = left
	l.ops = append(l.ops, store.Op{Kind: kindSandbox, ID: sb.ID, Value: model.Encode(sb)})
	return sb
}

// forgotten makes those who remember an endpoint that does not go on forget it: its
// address manager, and its driver when that is there.
func (e *Engine) forgotten(l *loaded, n *Network, rec *model.Endpoint) {
	if n == nil {
		return
	}
	if n.Record().IPAM.Driver != ipamapi.DefaultIPAM {
		e.releaseEndpoint(n.Record(), rec)
	}
	if isOutside(n.drv) {
		p := pending{Driver: n.Record().Driver, Network: rec.Network, Endpoint: rec.ID}
		e.pending[p.id()] = p
		l.ops = append(l.ops, p.put())
	}
}

// over says why a sandbox cannot go on, or the empty string.
func (e *Engine) over(sb *model.Sandbox, dead bool) string {
	switch {
	case !e.cfg.KeepAlive:
		return "the controller was started anew"
	case dead:
		return "the machine was started anew"
	case sb.Owner != nil && !alive(*sb.Owner):
		return "its process has ended"
	case (!sb.External || sb.Path != "") && !e.kernel.NamespaceAlive(sb.Key) && !e.kernel.NamespaceAlive(sb.Spare()):
		return "its network namespace is gone"
	default:
		return ""
	}
}

// restorable takes the addresses of a recorded endpoint again, and says why the
// endpoint cannot go on. Nothing is taken then.
func (e *Engine) restorable(n *Network, rec *model.Endpoint) error {
	if n == nil {
		return types.NotFoundErrorf("endpoint %s: its network %s has not been restored", rec.Name, rec.Network)
	}
	if other := n.endpoints[rec.Name]; other != nil {
		return types.ForbiddenErrorf("endpoint %s: network %s has another one of this name, %s", rec.Name, n.Name(), other.ID())
	}
	im, err := e.addressManager(n.Record().IPAM.Driver)
	if err != nil || n.Record().IPAM.Driver != ipamapi.DefaultIPAM {
		return nil //nolint:nilerr // a driver without addresses, or a manager that remembers
	}
	var undo undoList
	for _, a := range []struct {
		pool string
		addr netip.Prefix
	}{{rec.Pool4, rec.V4}, {rec.Pool6, rec.V6}} {
		if a.pool == "" {
			continue
		}
		if err := e.reclaimAddress(im, a.pool, a.addr, nil, &undo); err != nil {
			undo.run()
			return types.InternalErrorf("endpoint %s: address %s: %w", rec.Name, a.addr, err)
		}
	}
	return nil
}

// endSandboxes returns the operations that forget sandboxes. What the kernel
// holds of them carries our mark and is not wanted any more: Recover removes it.
func (e *Engine) endSandboxes(l *loaded, ended map[string]bool) []store.Op {
	var ops []store.Op
	for _, sb := range l.sandboxes {
		if ended[sb.ID] {
			ops = append(ops, store.Op{Kind: kindSandbox, ID: sb.ID})
		}
	}
	return ops
}

// sweepFiles removes the directories of sandboxes that are not known: their
// creation was cut short.
func (e *Engine) sweepFiles() {
	dir := filepath.Join(e.cfg.DataDir, "network", "files")
	entries, err := os.ReadDir(dir)
	if err != nil {
		e.logErr("sweep", dir, ignoreMissing(err))
		return
	}
	for _, d := range entries {
		if e.sandboxes[d.Name()] == nil && len(d.Name()) == 64 {
			e.logErr("sweep", d.Name(), os.RemoveAll(filepath.Join(dir, d.Name())))
		}
	}
}

// resumeForwards serves the ports that this process carries itself; it holds them
// by now. One that fails keeps no other from coming up.
func (e *Engine) resumeForwards(ctx context.Context, s *Sandbox) error {
	var errs []error
	for _, o := range s.View().Objects() {
		if o.Order() == model.OrderForward {
			errs = append(errs, e.kernel.Create(ctx, []model.Object{o}))
		}
	}
	return errors.Join(errs...)
}

// resumeAll takes up what all sandboxes need of this process: the host ports that it
// serves, and then all else.
func (e *Engine) resumeAll(ctx context.Context) {
	all := e.Sandboxes()
	rest := make([]func() error, len(all))
	eachAtOnce(all, func(i int, s *Sandbox) {
		var err error
		rest[i], err = e.ports.restore(ctx, e.kernel, *s.View())
		e.logErr("hold ports of container "+s.ContainerID(), s.ID(), err)
	})
	eachAtOnce(all, func(i int, s *Sandbox) {
		e.logErr("hold ports of container "+s.ContainerID(), s.ID(), rest[i]())
		e.repairFiles(s)
		e.resume(ctx, s)
	})
}

// eachAtOnce does something for all sandboxes, as many at a time as there are
// processors: they do not know of each other.
func eachAtOnce(all []*Sandbox, do func(int, *Sandbox)) {
	var wg sync.WaitGroup
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, s := range all {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			do(i, s)
		})
	}
	wg.Wait()
}

// resume takes up what a sandbox needs of this process: the forwards of its host
// ports, which are held, and its DNS server.
func (e *Engine) resume(ctx context.Context, s *Sandbox) {
	rec := s.Record()
	e.logErr("forward ports of container "+rec.ContainerID, rec.ID, e.resumeForwards(ctx, s))
	if rec.Resolver == 0 || rec.Host {
		return
	}
	r, err := s.openResolver(rec.Key, rec.Resolver)
	if err != nil {
		e.logErr("restart DNS server of container "+rec.ContainerID, rec.ID, err)
		return
	}
	if r.port != rec.Resolver {
		// Somebody in the container has taken the port while no server was there.
		moved := *s.View()
		moved.Sandbox = clone(rec)
		moved.Sandbox.Resolver = r.port
		redirect := []model.Object{model.Redirect{Netns: rec.Key, Port: r.port}}
		err := errors.Join(e.kernel.Create(ctx, redirect),
			e.commit(ctx, store.Op{Kind: kindSandbox, ID: rec.ID, Value: model.Encode(moved.Sandbox)}))
		e.logErr("move DNS server of container "+rec.ContainerID, rec.ID, err)
		s.view.Store(&moved)
	}
	s.startResolver(r)
}
