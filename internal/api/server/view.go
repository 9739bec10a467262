package server

import (
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

func viewNetwork(n *engine.Network) api.Network {
	rec := n.Record()
	v := api.Network{
		ID: rec.ID, Name: rec.Name, Driver: rec.Driver, Scope: rec.Scope, Created: rec.Created,
		Internal: rec.Internal, IPv6: rec.IPv6, Options: rec.Options, Labels: rec.Labels,
		Subnets: []api.Subnet{}, Endpoints: []api.Endpoint{},
	}
	if rec.Bridge != nil {
		v.Bridge = rec.Bridge.Link
	}
	for i, pools := range [][]model.Pool{rec.IPAM.Pools4, rec.IPAM.Pools6} {
		conf := [][]model.IPAMConf{rec.IPAM.Conf4, rec.IPAM.Conf6}[i]
		for j, p := range pools {
			sub := api.Subnet{Subnet: p.Prefix.String()}
			if p.Gateway.IsValid() {
				sub.Gateway = p.Gateway.Addr().String()
			}
			if j < len(conf) {
				sub.IPRange = conf[j].Sub
			}
			for name, a := range p.Aux {
				if sub.Aux == nil {
					sub.Aux = make(map[string]string)
				}
				sub.Aux[name] = a.Addr().String()
			}
			v.Subnets = append(v.Subnets, sub)
		}
	}
	if len(v.Subnets) > 0 {
		v.IPAM = api.IPAM{Driver: rec.IPAM.Driver, Options: rec.IPAM.Options}
	}
	for _, ep := range n.Endpoints() {
		v.Endpoints = append(v.Endpoints, viewEndpoint(ep))
	}
	return v
}

func viewEndpoint(ep *engine.Endpoint) api.Endpoint {
	rec, n := ep.Record(), ep.Network().Record()
	v := api.Endpoint{
		ID: rec.ID, Name: rec.Name, Network: n.Name, NetworkID: n.ID,
		IPv4: rec.V4, IPv6: rec.V6, MAC: rec.MAC, Aliases: rec.Aliases,
	}
	if sb := ep.Sandbox(); sb != nil {
		v.Container = sb.ContainerID()
	}
	if a := rec.Attached; a != nil {
		v.Interface, v.HostInterface, v.Priority = a.Name, a.Host, a.Priority
	}
	if b := n.Bridge; b != nil && !n.Internal {
		v.Gateway4, v.Gateway6 = gatewayFor(rec.V4, b.Gateway4), gatewayFor(rec.V6, b.Gateway6)
	}
	return v
}

// gatewayFor drops the gateway of a family in which the endpoint has no address.
func gatewayFor(addr netip.Prefix, gateway netip.Addr) netip.Addr {
	if !addr.IsValid() {
		return netip.Addr{}
	}
	return gateway
}

func viewContainer(sb *engine.Sandbox) api.Container {
	rec := sb.Record()
	v := api.Container{
		ID: rec.ContainerID, SandboxID: rec.ID, Created: rec.Created, Netns: rec.Key, Host: rec.Host,
		Hostname: rec.Files.Hostname, HostsPath: rec.Files.Hosts, ResolvConfPath: rec.Files.ResolvConf,
		Endpoints: []api.Endpoint{}, Ports: []api.Port{},
	}
	if rec.Host {
		v.Netns = ""
	}
	if rec.Owner != nil {
		v.OwnerPID, v.OwnerStart = rec.Owner.PID, rec.Owner.Start
	}
	for _, ep := range sb.Endpoints() {
		v.Endpoints = append(v.Endpoints, viewEndpoint(ep))
	}
	for _, q := range sb.Published() {
		p := q.Port
		v.Ports = append(v.Ports, api.Port{
			Protocol: types.Protocol(p.Proto).String(),
			HostIP:   p.Host, HostPort: p.First, HostPortEnd: p.Last,
			IP: p.Addr, Port: p.Port, PortEnd: p.Port + (p.Last - p.First), Kept: string(q.How),
		})
	}
	for _, p := range sb.View().OpenPorts() {
		v.Open = append(v.Open, api.OpenPort{Protocol: types.Protocol(p.Proto).String(), IP: p.Addr, Port: p.First, PortEnd: p.Last})
	}
	return v
}
