package model

import (
	"cmp"
	"net/netip"
	"slices"
)

// links appends what lets an endpoint and its peers reach each other. Whoever asked
// for a link, and both ends if they did, come to the same objects.
func (a Attachment) links(sb *Sandbox, objs []Object) []Object {
	for _, p := range a.Peers {
		client, target, exposed := a.Endpoint, p.Endpoint, slices.Concat(p.Sandbox.Exposed, p.Endpoint.Exposed)
		if p.Client {
			client, target, exposed = p.Endpoint, a.Endpoint, slices.Concat(sb.Exposed, a.Endpoint.Exposed)
		}
		slices.SortFunc(exposed, compareExposed)
		for _, x := range slices.Compact(exposed) {
			for _, ends := range [][2]netip.Prefix{{client.V4, target.V4}, {client.V6, target.V6}} {
				if !ends[0].IsValid() || !ends[1].IsValid() {
					continue
				}
				l := Link{
					Bridge: a.Network.Bridge.Link, Proto: x.Proto, Port: x.Port,
					Client: ends[0].Addr(), Target: ends[1].Addr(),
					ClientHost: client.Attached.Host, TargetHost: target.Attached.Host, Owner: client.ID,
				}
				// Both may have asked for it.
				if !slices.Contains(objs, Object(l)) {
					objs = append(objs, l)
				}
			}
		}
	}
	return objs
}

func compareExposed(a, b Expose) int {
	return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port))
}

// OpenPorts are the ports to be opened, in the families in which the sandbox's way out
// is a routed network, or one of mode nat whose driver allows direct routing. A port of
// one certain address of the host opens nothing: it is for less than everybody.
func (v View) OpenPorts() []OpenPort {
	var all []OpenPort
	for _, v6 := range []bool{false, true} {
		a := v.Provider(v6)
		if a == nil || !a.Driver.Traits().Ports {
			continue
		}
		switch mode := a.Network.Mode(v6); {
		case mode == ModeRouted:
			all = append(all, merge(v.wished(a.addr(v6).Addr()))...)
		case mode == ModeNAT && a.Driver.Traits().DirectRouting:
			all = append(all, merge(v.published(a.addr(v6).Addr()))...)
		}
	}
	return all
}

// wished are the ports of a container's address that shall be published.
func (v View) wished(addr netip.Addr) (open []OpenPort) {
	for _, p := range v.Sandbox.Publish {
		if p.Host.IsValid() && (p.Host.Is6() != addr.Is6() || !p.Host.IsUnspecified()) {
			continue
		}
		open = append(open, OpenPort{Proto: p.Proto, Addr: addr, First: p.Port, Last: p.PortLast, Owner: v.Sandbox.ID})
	}
	return open
}

// published are the ports of a container's address that all addresses of the host lead
// to.
func (v View) published(addr netip.Addr) (open []OpenPort) {
	for p := range v.Sandbox.Published.All() {
		if p.Addr == addr && p.Host.IsUnspecified() && !p.Forwarded() {
			open = append(open, OpenPort{Proto: p.Proto, Addr: addr, First: p.Port, Last: p.Port + (p.Last - p.First), Owner: v.Sandbox.ID})
		}
	}
	return open
}

// merge sorts ranges of ports and joins those that overlap.
func merge(list []OpenPort) []OpenPort {
	slices.SortFunc(list, func(a, b OpenPort) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.First, b.First))
	})
	var out []OpenPort
	for _, p := range list {
		if n := len(out) - 1; n >= 0 && out[n].Proto == p.Proto && p.First <= out[n].Last {
			out[n].Last = max(out[n].Last, p.Last)
			continue
		}
		out = append(out, p)
	}
	return out
}
