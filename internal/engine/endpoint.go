package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// Endpoint is the one object of an endpoint.
type Endpoint struct {
	e   *Engine
	net *Network
	rec atomic.Pointer[model.Endpoint]
}

// EndpointRequest says what a new endpoint shall be.
type EndpointRequest struct {
	Name string
	// V4 and V6 are wanted addresses; invalid for any.
	V4, V6                  netip.Addr
	IPAMOptions             map[string]string
	MAC                     net.HardwareAddr
	IfName                  string
	Sysctls                 []model.Sysctl
	Anonymous, NoResolution bool
	Aliases                 []string
	Exposed                 []model.Expose
	// Generic are further options by label, for outside drivers.
	Generic map[string]any
	// gateway makes it the engine's own endpoint on the default-gateway network.
	gateway bool
}

// Record returns the endpoint's record, which is not to be changed.
func (ep *Endpoint) Record() *model.Endpoint { return ep.rec.Load() }

// ID returns the endpoint's id.
func (ep *Endpoint) ID() string { return ep.Record().ID }

// Name returns the endpoint's name.
func (ep *Endpoint) Name() string { return ep.Record().Name }

// Network returns the endpoint's network.
func (ep *Endpoint) Network() *Network { return ep.net }

// Alive says whether the endpoint and its network still exist.
func (ep *Endpoint) Alive() bool {
	ep.e.mu.RLock()
	defer ep.e.mu.RUnlock()
	return ep.e.endpoints[ep.ID()] == ep && ep.e.networks[ep.net.ID()] == ep.net
}

// Sandbox returns the sandbox that the endpoint is joined to, or nil.
func (ep *Endpoint) Sandbox() *Sandbox {
	a := ep.Record().Attached
	if a == nil {
		return nil
	}
	ep.e.mu.RLock()
	defer ep.e.mu.RUnlock()
	return ep.e.sandboxes[a.Sandbox]
}

// CreateEndpoint makes an endpoint: a name and addresses, kept until it is
// deleted. The kernel holds nothing of it before it joins a sandbox.
func (n *Network) CreateEndpoint(ctx context.Context, req EndpointRequest) (*Endpoint, error) {
	if strings.TrimSpace(req.Name) == "" {
		return nil, ErrInvalidName(req.Name)
	}
	e := n.e
	done, err := e.turns.take(ctx, shared("network", n.ID()), exclusive("name", n.ID()+"/"+req.Name))
	if err != nil {
		return nil, err
	}
	defer done()
	var undo undoList
	rec, err := e.planEndpoint(ctx, n, req, &undo)
	if err != nil {
		undo.run()
		return nil, err
	}
	ep := &Endpoint{e: e, net: n}
	ep.rec.Store(rec)
	if err := e.commit(ctx, ep.put(rec)...); err != nil {
		undo.run()
		return nil, opError("create endpoint", rec.Name, rec.ID, err)
	}
	e.publishEndpoint(ep)
	return ep, nil
}

// planEndpoint settles the addresses of a new endpoint. The caller has the turn
// of its name.
func (e *Engine) planEndpoint(ctx context.Context, n *Network, req EndpointRequest, undo *undoList) (*model.Endpoint, error) {
	nrec := n.Record()
	if n.gone.Load() || e.network(nrec.ID) != n {
		return nil, types.NotFoundErrorf("endpoint %s: network %s (%s) does not exist any more", req.Name, nrec.Name, short(nrec.ID))
	}
	if _, err := n.EndpointByName(req.Name); err == nil {
		return nil, types.ForbiddenErrorf("endpoint %s exists already on network %s", req.Name, nrec.Name)
	}
	if err := checkMAC(req.Name, req.MAC); err != nil {
		return nil, err
	}
	rec := &model.Endpoint{
		Version: model.Version, ID: newID(), Name: req.Name, Network: nrec.ID, Created: time.Now().UTC(),
		IfName: req.IfName, Sysctls: req.Sysctls, Anonymous: req.Anonymous, NoResolution: req.NoResolution,
		Aliases: req.Aliases, Exposed: req.Exposed, Gateway: req.gateway, MAC: req.MAC.String(),
	}
	if !n.drv.Traits().Addresses {
		return rec, nil
	}
	im, err := e.addressManager(nrec.IPAM.Driver)
	if err != nil {
		return nil, err
	}
	opts := macOption(im, rec, req.IPAMOptions)
	if isOutside(n.drv) {
		return e.planOutside(ctx, n, rec, req, im, opts, undo)
	}
	return rec, e.addressEndpoint(im, nrec, rec, req, opts, undo)
}

// macOption makes the MAC address known to an address manager that wants it.
func macOption(im ipamEntry, rec *model.Endpoint, opts map[string]string) map[string]string {
	if !im.needsMAC {
		return opts
	}
	if rec.MAC == "" {
		rec.MAC = randomMAC().String()
	}
	with := make(map[string]string, len(opts)+1)
	maps.Copy(with, opts)
	with[netlabel.MacAddress] = rec.MAC
	return with
}

// planOutside settles the addresses of an endpoint whose driver may choose what
// the address manager leaves open: the MAC address, the addresses of a network
// without pools, and the IPv6 address of a network that defers it.
func (e *Engine) planOutside(ctx context.Context, n *Network, rec *model.Endpoint, req EndpointRequest, im ipamEntry, opts map[string]string, undo *undoList) (_ *model.Endpoint, err error) {
	nrec := n.Record()
	if rec.V4, rec.Pool4, err = e.endpointAddress(im, nrec, false, req.V4, opts, undo); err != nil {
		return nil, err
	}
	deferred := nrec.DeferIPv6 && !req.V6.IsValid()
	if !deferred {
		if rec.V6, rec.Pool6, err = e.endpointAddress(im, nrec, true, req.V6, opts, undo); err != nil {
			return nil, err
		}
	}
	rec, err = e.createOutside(ctx, n, rec, req, undo)
	if err != nil || !deferred {
		return rec, err
	}
	got, pool, err := e.endpointAddress(im, nrec, true, addrOf(rec.V6), opts, undo)
	if got.IsValid() {
		rec.V6, rec.Pool6 = got, pool
	}
	return rec, err
}

func (e *Engine) addressEndpoint(im ipamEntry, n *model.Network, rec *model.Endpoint, req EndpointRequest, opts map[string]string, undo *undoList) (err error) {
	if rec.V4, rec.Pool4, err = e.endpointAddress(im, n, false, req.V4, opts, undo); err != nil {
		return err
	}
	if n.DeferIPv6 && !req.V6.IsValid() && len(n.IPAM.Pools6) > 0 {
		// The address is made from the MAC, which is made from the IPv4 address.
		if setMAC(rec); rec.MAC == "" {
			rec.MAC = randomMAC().String()
		}
		if req.V6, err = macAddress6(n, rec); err != nil {
			return err
		}
	}
	if rec.V6, rec.Pool6, err = e.endpointAddress(im, n, true, req.V6, opts, undo); err != nil {
		return err
	}
	setMAC(rec)
	return rec.CheckSysctls()
}

// checkMAC refuses what an interface cannot have.
func checkMAC(endpoint string, mac net.HardwareAddr) error {
	switch {
	case mac == nil:
		return nil
	case len(mac) != 6:
		return types.BadRequestErrorf("endpoint %s: MAC address %s is not of 6 bytes", endpoint, mac)
	case mac[0]&1 != 0:
		return types.BadRequestErrorf("endpoint %s: MAC address %s is a multicast address", endpoint, mac)
	case mac.String() == "00:00:00:00:00:00":
		return types.BadRequestErrorf("endpoint %s: MAC address %s is all zero", endpoint, mac)
	}
	return nil
}

// setMAC makes the MAC address from the IPv4 address, else from the IPv6 one: an
// address that is used again keeps its MAC, so that no neighbour is left with a
// wrong entry. Of IPv6 addresses that their last four bytes do not tell apart in their
// subnet, it is made from all bytes.
func setMAC(rec *model.Endpoint) {
	switch {
	case rec.MAC != "":
	case rec.V4.IsValid():
		b := rec.V4.Addr().As4()
		rec.MAC = net.HardwareAddr{0x02, 0x42, b[0], b[1], b[2], b[3]}.String()
	case rec.V6.IsValid():
		b := rec.V6.Addr().As16()
		if first, _ := netip.AddrFrom16(b).Prefix(96); rec.V6.Bits() < 96 && first.Addr() != rec.V6.Masked().Addr() {
			h := fnv.New32a()
			h.Write(b[:])
			binary.BigEndian.PutUint32(b[12:], h.Sum32())
		}
		rec.MAC = net.HardwareAddr{0x02, 0x42, b[12], b[13], b[14], b[15]}.String()
	}
}

func randomMAC() net.HardwareAddr {
	mac := net.HardwareAddr{0x02, 0x42, 0, 0, 0, 0}
	_, _ = rand.Read(mac[2:]) // never fails
	return mac
}

// macAddress6 puts the MAC address into the last six bytes of the network's
// IPv6 prefix.
func macAddress6(n *model.Network, rec *model.Endpoint) (netip.Addr, error) {
	p := n.IPAM.Pools6[0].Prefix
	if p.Bits() > 80 {
		return netip.Addr{}, types.ForbiddenErrorf("endpoint %s: the IPv6 subnet %s of network %s has no room for a MAC address, which takes a prefix of at most 80 bits",
			rec.Name, p, n.Name)
	}
	mac, err := net.ParseMAC(rec.MAC)
	if err != nil || len(mac) != 6 {
		return netip.Addr{}, types.InternalErrorf("endpoint %s: MAC address %q: %w", rec.Name, rec.MAC, err)
	}
	b := p.Addr().As16()
	copy(b[10:], mac)
	return netip.AddrFrom16(b), nil
}

// publishEndpoint makes a committed endpoint visible, its names first.
func (e *Engine) publishEndpoint(ep *Endpoint) {
	rec := ep.Record()
	ep.net.zone.add(rec)
	e.mu.Lock()
	e.endpoints[rec.ID] = ep
	ep.net.endpoints[rec.Name] = ep
	e.mu.Unlock()
	ep.emit("create", nil)
}

// forgetEndpoint is the reverse of publishEndpoint. The addresses are given back
// unless left says that something in the kernel may still answer at them: then
// nobody gets them before the next start.
func (e *Engine) forgetEndpoint(ep *Endpoint, left bool) {
	rec := ep.Record()
	e.mu.Lock()
	delete(e.endpoints, rec.ID)
	delete(ep.net.endpoints, rec.Name)
	e.mu.Unlock()
	ep.net.zone.remove(rec)
	if !left {
		e.releaseEndpoint(ep.net.Record(), rec)
	}
	ep.emit("destroy", nil)
}

// Delete removes the endpoint; with force, also one that is joined to a sandbox,
// which it leaves first.
func (ep *Endpoint) Delete(ctx context.Context, force bool) error {
	for {
		if again, err := ep.tryDelete(ctx, force); !again {
			return err
		}
	}
}

// tryDelete asks to be called again when somebody else joined the endpoint to a
// sandbox while it waited for its turn.
func (ep *Endpoint) tryDelete(ctx context.Context, force bool) (again bool, _ error) {
	e, rec := ep.e, ep.Record()
	sb := ep.Sandbox()
	if sb != nil && !force {
		return false, &ActiveContainerError{rec.Name, rec.ID, sb.ContainerID()}
	}
	wanted := []turn{exclusive("endpoint", rec.ID), exclusive("name", rec.Network+"/"+rec.Name)}
	var done func()
	var err error
	if sb == nil {
		done, err = e.turns.take(ctx, append([]turn{shared("network", rec.Network)}, wanted...)...)
	} else {
		done, err = sb.takeOn(ctx, rec.Network, wanted...)
	}
	if err != nil {
		return false, err
	}
	defer done()
	if !ep.Alive() {
		return false, &UnknownEndpointError{rec.Name, rec.ID}
	}
	now := ep.Sandbox()
	switch {
	case now != nil && !force:
		return false, &ActiveContainerError{rec.Name, rec.ID, now.ContainerID()}
	case now != nil && now != sb:
		return true, nil
	case now != nil:
		return false, now.change(ctx, shrink{gone: []*Endpoint{ep}, delete: true})
	}
	if err := e.commit(ctx, ep.drop()...); err != nil {
		return false, opError("delete endpoint", rec.Name, rec.ID, err)
	}
	if err := ep.deletedOutside(ctx, force); err != nil {
		return false, err
	}
	e.forgetEndpoint(ep, false)
	return false, nil
}

// put and drop are the store operations that record and forget the endpoint. An
// outside driver knows as much as the record when it is put, and more than it when
// it is dropped.
func (ep *Endpoint) put(rec *model.Endpoint) []store.Op {
	var ops []store.Op
	if !ep.net.Record().Transient {
		ops = append(ops, store.Op{Kind: kindEndpoint, ID: rec.ID, Value: model.Encode(rec)})
	}
	if isOutside(ep.net.drv) {
		ops = append(ops, ep.pending().drop())
	}
	return ops
}

func (ep *Endpoint) drop() []store.Op {
	var ops []store.Op
	if !ep.net.Record().Transient {
		ops = append(ops, store.Op{Kind: kindEndpoint, ID: ep.ID()})
	}
	if isOutside(ep.net.drv) {
		ops = append(ops, ep.pending().put())
	}
	return ops
}

// deletedOutside tells an outside driver that an endpoint is deleted. If it
// forbids that and is not overruled by force, the record is written again.
func (ep *Endpoint) deletedOutside(ctx context.Context, force bool) error {
	if !isOutside(ep.net.drv) {
		return nil
	}
	e, rec := ep.e, ep.Record()
	ctx = context.WithoutCancel(ctx)
	d, p := e.outside(ep.net.Record().Driver), ep.pending()
	err := d.call("DeleteEndpoint", rec.ID, func() error { return d.DeleteEndpoint(rec.Network, rec.ID) })
	if !force && errors.As(err, new(types.ForbiddenError)) {
		if again := e.commit(ctx, ep.put(rec)...); again != nil {
			return opError("delete endpoint", rec.Name, rec.ID, err, again)
		}
		return err
	}
	d.logged("delete endpoint", rec.ID, err)
	if err != nil && d.Missing() {
		return nil // told when it is there
	}
	e.logErr("drop pending record", rec.ID, e.commit(ctx, p.drop()))
	return nil
}

// EndpointByName returns an endpoint of the network by its name.
func (n *Network) EndpointByName(name string) (*Endpoint, error) {
	if name == "" {
		return nil, ErrInvalidName(name)
	}
	n.e.mu.RLock()
	defer n.e.mu.RUnlock()
	if ep := n.endpoints[name]; ep != nil {
		return ep, nil
	}
	return nil, ErrNoSuchEndpoint(name)
}

// EndpointByID returns an endpoint of the network by its whole id.
func (n *Network) EndpointByID(id string) (*Endpoint, error) {
	if id == "" {
		return nil, ErrInvalidID(id)
	}
	n.e.mu.RLock()
	defer n.e.mu.RUnlock()
	if ep := n.e.endpoints[id]; ep != nil && ep.net == n {
		return ep, nil
	}
	return nil, ErrNoSuchEndpoint(id)
}

func (ep *Endpoint) String() string {
	return fmt.Sprintf("endpoint %s (%s) of network %s", ep.Name(), short(ep.ID()), ep.net.Name())
}
