package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	// ops forget what cannot be used.
	ops []store.Op
}

// recordUnowned is the id of the record that says so.
const recordUnowned = "unowned"

// recover takes up the records and brings the kernel to what they say. A record
// or object that fails is reported and keeps nothing else from coming up.
func (e *Engine) recover(ctx context.Context) error {
	l := e.load()
	for _, n := range l.networks {
		e.restoreNetwork(n)
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
	if f := e.forwarding; f.on() {
		e.restoreForwarding(ctx, f)
	}
	var want []model.Object
	for _, n := range e.Networks() {
		want = append(want, n.drv.Network(n.Record())...)
	}
	for _, s := range e.Sandboxes() {
		want = append(want, e.linked(*s.View()).Objects()...)
	}
	want = slices.DeleteFunc(want, func(o model.Object) bool { return isFile(o.Order()) })
	kept, err := e.kernel.Recover(ctx, want, keep)
	e.logErr("recover", "kernel", err)
	if err := e.recordUnowned(ctx, l.unowned, kept); err != nil {
		return err
	}
	for _, s := range e.Sandboxes() {
		e.repairFiles(s)
		e.resume(ctx, s)
	}
	e.relaxForwarding(ctx)
	return nil
}

// recordUnowned remembers for the next start that there are objects of ours that
// no record names, since all records were lost: they may be the network of running
// containers, and are not removed unless somebody says so.
func (e *Engine) recordUnowned(ctx context.Context, was bool, kept []string) error {
	if len(kept) > 0 {
		e.log.Error("all records were lost, but links or namespaces made from them are still there: they are left alone, with their rules; to be rid of them start once with --remove-unowned",
			"objects", strings.Join(kept, " "))
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

// load reads and decodes the store's records. A damaged one is reported and
// forgotten.
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
			err = decodeInto(&l.networks, r.Value)
		case kindEndpoint:
			err = decodeInto(&l.endpoints, r.Value)
		case kindSandbox:
			if err = decodeInto(&l.sandboxes, r.Value); err == nil && r.Stale {
				l.dead[r.ID] = true
			}
		case kindHost:
			if r.ID == recordUnowned {
				l.unowned = true
			} else {
				err = json.Unmarshal(r.Value, &e.forwarding)
			}
		}
		if err != nil {
			e.log.Error("damaged record is forgotten", "kind", r.Kind, "id", r.ID, "err", err)
			l.ops = append(l.ops, store.Op{Kind: r.Kind, ID: r.ID, Durable: r.Durable})
		}
	}
	return l
}

func decodeInto[T model.Network | model.Endpoint | model.Sandbox](list *[]*T, data []byte) error {
	v, err := model.Decode[T](data)
	if err == nil {
		*list = append(*list, v)
	}
	return err
}

// restoreNetwork makes a recorded network known again. One whose driver or
// addresses are not to be had stays in the store, out of sight, and is tried
// again by the next start.
func (e *Engine) restoreNetwork(rec *model.Network) {
	drv, err := e.driver(rec.Driver)
	if err == nil && drv.Traits().Addresses {
		err = e.reclaim(rec)
	}
	if err == nil && e.byName[nameKey(rec)] != nil {
		err = NetworkNameError(rec.Name)
	}
	if err != nil {
		e.log.Error("network cannot be restored", "network", rec.Name, "id", rec.ID, "err", err)
		return
	}
	n := e.newNetwork(drv, rec)
	e.networks[rec.ID] = n
	e.byName[nameKey(rec)] = n
}

// reclaim asks the address manager again for what the network's record says it
// has: an address manager of ours keeps no record of its own.
func (e *Engine) reclaim(rec *model.Network) error {
	im, err := e.addressManager(rec.IPAM.Driver)
	if err != nil {
		return err
	}
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
			if id != p.ID {
				return types.InternalErrorf("pool %s is now called %s", p.ID, id)
			}
			gw := map[string]string{ipamapi.RequestAddressType: netlabel.Gateway}
			if p.Gateway.IsValid() {
				if _, _, err := im.RequestAddress(id, p.Gateway.Addr().AsSlice(), gw); err != nil {
					return err
				}
			}
			for _, a := range p.Aux {
				if _, _, err := im.RequestAddress(id, a.Addr().AsSlice(), nil); err != nil && !errors.Is(err, ipamapi.ErrIPOutOfRange) {
					return err
				}
			}
		}
	}
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
		gone := n == nil || !e.cfg.KeepAlive || rec.Attached != nil && !known[rec.Attached.Sandbox]
		if !gone {
			gone = !e.reclaimEndpoint(n, rec)
		}
		if gone {
			l.ops = append(l.ops, store.Op{Kind: kindEndpoint, ID: rec.ID})
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
		s := &Sandbox{e: e}
		view := model.NewView(sb, attached[sb.ID])
		s.view.Store(&view)
		e.sandboxes[sb.ID] = s
		e.byContainer[sb.ContainerID] = s
		e.noteLinks(s)
	}
	return ended
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
	case (!sb.External || sb.Path != "") && !e.kernel.NamespaceAlive(sb.Key):
		return "its network namespace is gone"
	default:
		return ""
	}
}

func (e *Engine) reclaimEndpoint(n *Network, rec *model.Endpoint) bool {
	im, err := e.addressManager(n.Record().IPAM.Driver)
	if err != nil {
		return true // a driver without addresses
	}
	for _, a := range []struct {
		pool string
		addr netip.Prefix
	}{{rec.Pool4, rec.V4}, {rec.Pool6, rec.V6}} {
		if !a.addr.IsValid() || a.pool == "" {
			continue
		}
		if _, _, err := im.RequestAddress(a.pool, a.addr.Addr().AsSlice(), nil); err != nil {
			e.log.Error("endpoint cannot be restored", "endpoint", rec.Name, "id", rec.ID, "err", err)
			return false
		}
	}
	return true
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

func (e *Engine) restoreForwarding(ctx context.Context, f forwarding) {
	e.logErr("guard forwarding", recordForwarding, e.kernel.Guard(ctx, f.V4, f.V6))
	for _, x := range []struct{ v6, on bool }{{false, f.V4}, {true, f.V6}} {
		if x.on {
			e.logErr("turn on forwarding", recordForwarding, e.kernel.Forward(ctx, x.v6, true, nil))
		}
	}
}

// resume takes up what a sandbox needs of this process: its host ports and its
// DNS server.
func (e *Engine) resume(ctx context.Context, s *Sandbox) {
	rec := s.Record()
	e.logErr("hold ports of container "+rec.ContainerID, rec.ID, e.ports.restore(ctx, e.kernel, rec))
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
