package osl

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/types"
)

// iface is an interface in a sandbox.
type iface struct {
	nwIface
	sb *sandbox
}

func (i *iface) SrcName() string              { return i.srcName }
func (i *iface) DstName() string              { return i.dstName }
func (i *iface) Address() *net.IPNet          { return types.GetIPNetCopy(i.address) }
func (i *iface) AddressIPv6() *net.IPNet      { return types.GetIPNetCopy(i.addressIPv6) }
func (i *iface) Bridge() bool                 { return i.bridge }
func (i *iface) Master() string               { return i.master }
func (i *iface) MacAddress() net.HardwareAddr { return types.GetMacCopy(i.mac) }
func (i *iface) Routes() []*net.IPNet         { return copyNets(i.routes) }

func (i *iface) Statistics() (*types.InterfaceStatistics, error) {
	st, err := i.sb.rt.Stats(context.Background(), i.dstName)
	return st, i.sb.wrap("counters in", err)
}

func (s *sandbox) AddInterface(srcName, dstPrefix string, options ...IfaceOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := &iface{nwIface: nwIface{srcName: srcName, dstName: dstPrefix + strconv.Itoa(s.next)}, sb: s}
	if s.host {
		i.dstName = srcName
	}
	for _, o := range options {
		if o != nil {
			o(&i.nwIface)
		}
	}
	if err := s.addInterface(context.Background(), i); err != nil {
		return s.wrap("add interface "+srcName+" to", err)
	}
	s.next++
	s.ifaces = append(s.ifaces, i)
	return nil
}

func (s *sandbox) addInterface(ctx context.Context, i *iface) error {
	addrs, err := i.addresses()
	if err != nil {
		return err
	}
	master := ""
	if i.master != "" {
		at := slices.IndexFunc(s.ifaces, func(m *iface) bool { return m.bridge && m.srcName == i.master })
		if at < 0 {
			return types.NotFoundErrorf("no bridge %s was added before", i.master)
		}
		master = s.ifaces[at].dstName
	}
	undo, err := s.bringIn(ctx, i)
	if err != nil {
		return err
	}
	if err := s.configure(ctx, i, addrs, master); err != nil {
		return errors.Join(err, undo())
	}
	return nil
}

// bringIn makes the link be in the sandbox under its name there, and returns
// how to take that back.
func (s *sandbox) bringIn(ctx context.Context, i *iface) (undo func() error, err error) {
	if i.bridge {
		err := s.rt.CreateBridge(ctx, model.Bridge{Name: i.dstName, MAC: i.mac.String(), IPv6: i.addressIPv6 != nil})
		return func() error { return s.rt.DeleteLinks(ctx, i.dstName) }, err
	}
	if s.host {
		l, err := s.rt.Link(ctx, i.srcName)
		if err != nil {
			return nil, err
		}
		return func() error { return s.restore(ctx, s.rt, i, l) }, nil
	}
	var before rtnl.Link
	err = caller(func(home *netns.Namespace, rt *rtnl.Socket) error {
		if before, err = rt.Link(ctx, i.srcName); err != nil {
			return err
		}
		if err := rt.ChangeLink(ctx, i.srcName, rtnl.LinkChange{NetnsFD: s.ns.FD(), Down: true}); err != nil {
			return err
		}
		if err := s.rt.ChangeLink(ctx, i.srcName, rtnl.LinkChange{Rename: i.dstName, Down: true}); err != nil {
			back := s.rt.ChangeLink(ctx, i.srcName, rtnl.LinkChange{NetnsFD: home.FD()})
			if back == nil && before.Up {
				back = rt.SetLinkUp(ctx, i.srcName)
			}
			return errors.Join(err, back)
		}
		return nil
	})
	return func() error {
		return caller(func(home *netns.Namespace, rt *rtnl.Socket) error {
			return errors.Join(s.takeOut(ctx, i, home), s.restore(ctx, rt, i, before))
		})
	}, err
}

// restore gives a link in the caller's namespace the state it had.
func (s *sandbox) restore(ctx context.Context, rt *rtnl.Socket, i *iface, l rtnl.Link) error {
	c := rtnl.LinkChange{Up: l.Up, Down: !l.Up}
	if i.mac != nil {
		c.MAC = l.MAC
	}
	if i.master != "" && s.host {
		c.NoMaster = true
	}
	err := rt.ChangeLink(ctx, i.srcName, c)
	if s.host {
		addrs, _ := i.addresses()
		err = errors.Join(err, rt.DeleteAddresses(ctx, i.srcName, addrs...))
	}
	return err
}

// configure sets up and raises a link that is in the sandbox.
func (s *sandbox) configure(ctx context.Context, i *iface, addrs []netip.Prefix, master string) error {
	if !i.bridge && i.mac != nil {
		if err := s.rt.ChangeLink(ctx, i.dstName, rtnl.LinkChange{MAC: i.mac}); err != nil {
			return err
		}
	}
	if err := s.rt.AddAddresses(ctx, i.dstName, addrs...); err != nil {
		return err
	}
	if err := s.rt.ChangeLink(ctx, i.dstName, rtnl.LinkChange{Master: master, Up: true}); err != nil {
		return err
	}
	for _, n := range i.routes {
		dst, err := prefix(n)
		if err != nil {
			return err
		}
		if err := s.rt.AddRoute(ctx, i.dstName, model.Route{Dst: dst.Masked()}); err != nil {
			return err
		}
	}
	return nil
}

// takeOut moves a link into another namespace under its former name.
func (s *sandbox) takeOut(ctx context.Context, i *iface, to *netns.Namespace) error {
	err := s.rt.ChangeLink(ctx, i.dstName, rtnl.LinkChange{Down: true, NoMaster: i.master != ""})
	if err == nil && i.dstName != i.srcName {
		err = s.rt.ChangeLink(ctx, i.dstName, rtnl.LinkChange{Rename: i.srcName})
	}
	if err == nil {
		err = s.rt.ChangeLink(ctx, i.srcName, rtnl.LinkChange{NetnsFD: to.FD()})
		if err != nil && i.dstName != i.srcName {
			// It stays, under the name that it is known by.
			err = errors.Join(err, s.rt.ChangeLink(ctx, i.srcName, rtnl.LinkChange{Rename: i.dstName}))
		}
	}
	return err
}

func (i *iface) Remove() error {
	s, ctx := i.sb, context.Background()
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.ifaces, i)
	if at < 0 {
		return types.NotFoundErrorf("remove interface %s from sandbox %s: it is not there", i.srcName, s.key)
	}
	var err error
	switch {
	case i.bridge:
		err = s.rt.DeleteLinks(ctx, i.dstName)
	case s.host:
		err = s.rt.SetLinkDown(ctx, i.dstName)
	default:
		err = caller(func(home *netns.Namespace, _ *rtnl.Socket) error { return s.takeOut(ctx, i, home) })
	}
	if err != nil {
		return s.wrap("remove interface "+i.srcName+" from", err)
	}
	s.ifaces = slices.Delete(s.ifaces, at, at+1)
	return nil
}

// caller runs fn with the namespace of the calling thread.
func caller(fn func(*netns.Namespace, *rtnl.Socket) error) error {
	home, err := netns.OpenSelf(nil)
	if err != nil {
		return err
	}
	defer home.Close()
	rt, err := home.Rtnl()
	if err != nil {
		return err
	}
	return fn(home, rt)
}

// addresses are those of both families.
func (i *iface) addresses() ([]netip.Prefix, error) {
	var list []netip.Prefix
	for n, v6 := range map[*net.IPNet]bool{i.address: false, i.addressIPv6: true} {
		if n == nil {
			continue
		}
		p, err := prefix(n)
		if err != nil {
			return nil, err
		}
		if p.Addr().Is6() != v6 {
			return nil, types.BadRequestErrorf("address %s is of the wrong family", n)
		}
		list = append(list, p)
	}
	return list, nil
}

// prefix converts a network with its host bits.
func prefix(n *net.IPNet) (netip.Prefix, error) {
	n = types.GetMinimalIPNet(n)
	if n == nil {
		return netip.Prefix{}, types.BadRequestErrorf("no network")
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits != a.BitLen() {
		return netip.Prefix{}, types.BadRequestErrorf("%s is not an address with a prefix length", n)
	}
	return netip.PrefixFrom(a, ones), nil
}
