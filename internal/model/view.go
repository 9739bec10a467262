package model

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// hostNamespace is the network namespace of the process itself.
const hostNamespace = "/proc/self/ns/net"

// View is a sandbox with the endpoints that are joined to it, in the order that
// decides which of them answers first and provides the default routes.
type View struct {
	Sandbox  *Sandbox
	Attached []Attachment
	// Labels are the sandbox's options by label, for outside drivers. They live in
	// memory alone.
	Labels map[string]any
}

// Attachment is an endpoint joined to a sandbox, with its network and the
// network's driver.
type Attachment struct {
	Network  *Network
	Endpoint *Endpoint
	Driver   Driver
	// Peers are the other ends of its links that are joined to sandboxes. They are
	// state of those, so they are looked up whenever objects are derived.
	Peers []Peer
}

// Peer is the other end of a link.
type Peer struct {
	Endpoint *Endpoint
	Sandbox  *Sandbox
	// Client says that the peer is the one who may reach this end.
	Client bool
}

// Linkable says whether links make a difference: its network's members do not
// reach each other, nor are they there for the default gateway alone.
func (a Attachment) Linkable() bool {
	return !a.Endpoint.Gateway && a.Network.Bridge != nil && !a.Network.Bridge.ICC && a.Driver.Traits().Ports
}

// NewView sorts the attachments of a sandbox: networks that lead outside before
// internal ones, then higher priority first, then by the network's name and the
// endpoint's id. The engine's own endpoint, on the default-gateway network, is
// always last.
func NewView(sb *Sandbox, attached []Attachment) View {
	slices.SortFunc(attached, func(a, b Attachment) int {
		return cmp.Or(
			compareBool(a.Endpoint.Gateway, b.Endpoint.Gateway),
			compareBool(a.Network.Internal, b.Network.Internal),
			cmp.Compare(b.Endpoint.Attached.Priority, a.Endpoint.Attached.Priority),
			strings.Compare(a.Network.Name, b.Network.Name),
			strings.Compare(a.Endpoint.ID, b.Endpoint.ID),
		)
	})
	return View{Sandbox: sb, Attached: attached}
}

// Provider returns the attachment whose network gives the sandbox its default
// route and its published ports in one family, or nil.
func (v View) Provider(v6 bool) *Attachment {
	for i := range v.Attached {
		a := &v.Attached[i]
		if !a.Network.Internal && a.Gateway(v6).IsValid() {
			return a
		}
	}
	return nil
}

// Gateway returns the default gateway that the attachment offers in a family, or
// the zero value.
func (a Attachment) Gateway(v6 bool) netip.Addr {
	if !a.addr(v6).IsValid() {
		return netip.Addr{}
	}
	return a.Driver.Gateway(a.Network, a.Endpoint, v6)
}

// NeedsGateway says whether the sandbox has no way out of the kind that its
// networks could give it, so that it is to be joined to the default-gateway
// network. That has IPv4 alone: a sandbox that has only IPv6 does without. The
// engine's own endpoint, internal networks, those without an interface and
// endpoints that a driver has excused do not count.
func (v View) NeedsGateway() bool {
	if v.Sandbox.Host {
		return false
	}
	needs := false
	for _, a := range v.Attached {
		ep := a.Endpoint
		if ep.Gateway || a.Network.Internal || !a.Driver.Traits().Addresses {
			continue
		}
		if o := ep.Attached.Outside; o != nil && o.NoGateway {
			continue
		}
		if a.Gateway(false).IsValid() || ep.Attached.Outside.leadsOut() {
			return false
		}
		needs = needs || ep.V4.IsValid() || !ep.V6.IsValid()
	}
	return needs
}

// leadsOut says whether an outside driver gave a default route for IPv4 that is
// not called a gateway.
func (o *Outside) leadsOut() bool {
	if o == nil {
		return false
	}
	out := func(r Route) bool { return r.Dst.Addr().Is4() && r.Dst.Bits() == 0 }
	return slices.ContainsFunc(o.Routes, out) || slices.ContainsFunc(o.Static, out)
}

// Resolution says whether the sandbox wants the embedded DNS server.
func (v View) Resolution() bool {
	return !v.Sandbox.Host && slices.ContainsFunc(v.Attached, func(a Attachment) bool {
		return !a.Endpoint.NoResolution && a.Driver.Traits().Addresses
	})
}

// Teardown returns the objects that have to be removed when the sandbox goes as a
// whole. What is inside a namespace of its own goes with that, as do the lines of
// its files; the links go too, once they are off their bridge.
func (v View) Teardown() []Object {
	objs := v.Objects()
	if sb := v.Sandbox; sb == nil || sb.Host || sb.External {
		return objs
	}
	out := objs[:0]
	for _, o := range objs {
		switch o := o.(type) {
		case Redirect, DefaultRoute, StaticRoute, HostsEntry, ResolverConf:
		case Veth:
			o.EndsWithNetns = true
			out = append(out, o)
		default:
			out = append(out, o)
		}
	}
	return out
}

// Objects returns all that the kernel and the sandbox's files shall hold for it.
func (v View) Objects() []Object {
	sb := v.Sandbox
	if sb == nil {
		return nil
	}
	var objs []Object
	if sb.Files.Dir != "" {
		objs = append(objs, SandboxDir{Path: sb.Files.Dir})
	}
	objs = append(objs, SandboxFiles{Sandbox: sb.ID, Files: sb.Files})
	wired := true
	switch {
	case sb.Host:
		objs = append(objs, Namespace{Path: sb.Key, From: hostNamespace, Host: true})
	case sb.External && sb.Path == "":
		wired = false
	case sb.External:
		objs = append(objs, Namespace{Path: sb.Key, From: sb.Path, Spare: sb.Spare()})
	default:
		objs = append(objs, Namespace{Path: sb.Key, Spare: sb.Spare()})
	}
	for _, a := range v.Attached {
		if wired {
			objs = append(objs, a.Driver.Attach(a.Network, a.Endpoint, sb)...)
		}
		if e, ok := a.entry(sb); ok {
			objs = append(objs, e)
		}
		if wired && len(sb.Publish) > 0 {
			objs = append(objs, a.tracked(sb)...)
		}
		objs = a.links(sb, objs)
	}
	if wired && sb.Resolver != 0 && !sb.Host {
		objs = append(objs, Redirect{Netns: sb.Key, Port: sb.Resolver})
	}
	if len(v.Attached) > 0 && !sb.Host {
		objs = append(objs, ResolverConf{Sandbox: sb.ID, Files: sb.Files, IPv6: v.hasIPv6(), Server: wired && sb.Resolver != 0})
	}
	for _, v6 := range []bool{false, true} {
		if a := v.Provider(v6); a != nil && wired && !sb.Host {
			objs = append(objs, DefaultRoute{
				Netns: sb.Key, Via: a.Gateway(v6), Dev: a.Endpoint.Attached.Name,
			})
		}
	}
	for p := range sb.Published.All() {
		objs = append(objs, p.objects(v.bridgeTo(p.Addr))...)
	}
	for _, p := range v.OpenPorts() {
		objs = append(objs, p)
	}
	if wired {
		objs = append(objs, v.connectivity()...)
	}
	return objs
}

// bridgeTo is the bridge by which the sandbox has an address, nothing if there is none.
func (v View) bridgeTo(addr netip.Addr) string {
	for _, a := range v.Attached {
		if a.addr(addr.Is6()).Addr() == addr && a.Network.Bridge != nil {
			return a.Network.Bridge.Link
		}
	}
	return ""
}

// connectivity is for those providers whose driver opens the way by itself.
func (v View) connectivity() []Object {
	var out []Object
	for _, v6 := range []bool{false, true} {
		a := v.Provider(v6)
		if a == nil || a.Endpoint.Attached.Outside == nil {
			continue
		}
		c := Connectivity{Driver: a.Network.Driver, Network: a.Network.ID, Endpoint: a.Endpoint.ID, Labels: v.Labels}
		if !slices.ContainsFunc(out, func(o Object) bool { return o.Key() == c.Key() }) {
			out = append(out, c)
		}
	}
	return out
}

func (v View) hasIPv6() bool {
	return slices.ContainsFunc(v.Attached, func(a Attachment) bool { return a.Endpoint.V6.IsValid() })
}

func (a Attachment) addr(v6 bool) netip.Prefix {
	if v6 {
		return a.Endpoint.V6
	}
	return a.Endpoint.V4
}

// tracked are the addresses of a sandbox with ports, whichever of them the ports
// lead to at present.
func (a Attachment) tracked(sb *Sandbox) []Object {
	if sb.Host || !a.Driver.Traits().Ports {
		return nil
	}
	var objs []Object
	for _, p := range []netip.Prefix{a.Endpoint.V4, a.Endpoint.V6} {
		if p.IsValid() {
			objs = append(objs, Tracked{Addr: p.Addr(), Owner: sb.ID})
		}
	}
	return objs
}

// entry is the line of the sandbox's hosts file for its own name on a network.
func (a Attachment) entry(sb *Sandbox) (HostsEntry, bool) {
	f := sb.Files
	if f.Hostname == "" || f.OriginHosts != "" {
		return HostsEntry{}, false
	}
	e := HostsEntry{Path: f.Hosts, Endpoint: a.Endpoint.ID, Hostname: f.Hostname, Domainname: f.Domainname}
	for _, p := range []netip.Prefix{a.Endpoint.V4, a.Endpoint.V6} {
		if p.IsValid() {
			e.Addrs = append(e.Addrs, p.Addr())
		}
	}
	return e, len(e.Addrs) > 0
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
