package engine

import (
	"cmp"
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
)

// PublishedPort is a published port and how it is kept from other programs.
type PublishedPort struct {
	Port model.Port
	How  hostport.How
}

// Published returns the ports that are published for the sandbox.
func (s *Sandbox) Published() []PublishedPort {
	type place struct {
		proto uint8
		host  netip.Addr
		first uint16
	}
	how := make(map[place]hostport.How)
	for _, g := range s.e.ports.of(s.ID()) {
		for _, x := range g.hosts {
			at := place{g.proto, x.host, g.first}
			how[at] = x.how()
		}
	}
	ports := s.Record().Published
	out := make([]PublishedPort, ports.Len())
	for i := range out {
		p := ports.At(i)
		h := cmp.Or(how[place{p.Proto, p.Host, p.First}], hostport.Checked)
		if p.Forwarded() && h == hostport.Held {
			h = hostport.Forwarded
		}
		out[i] = PublishedPort{p, h}
	}
	return out
}
