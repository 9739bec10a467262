package engine

import (
	"net/netip"
	"slices"

	"github.com/libnetwork/libnetwork/internal/hostport"
	"github.com/libnetwork/libnetwork/internal/model"
)

// packedGrips is a list of grips as the book keeps it: there may be tens of
// thousands, and a port takes 16 bytes so, where a grip takes 112. It is not changed
// once it is made.
type packedGrips struct {
	// wishes are those of the sandbox's record.
	wishes []model.Publish
	// list has one element for each host of each wish, and one for each wish that has
	// numbers and no host.
	list  []packedGrip
	hosts []netip.Addr
	hows  []hostport.How
	// kept are the sockets, by their place in list.
	kept map[int]hostport.Kept
}

type packedGrip struct {
	wish, host  uint32 // their places
	first, last uint16
	how         uint8 // its place
}

// noHost stands for the host of a wish that has none.
const noHost = ^uint32(0)

// noted is a port that no socket keeps.
type noted hostport.How

func (noted) Close() error        { return nil }
func (n noted) How() hostport.How { return hostport.How(n) }

// pack packs the grips of wishes, one of each.
func pack(wishes []model.Publish, grips []grip) packedGrips {
	p := packedGrips{wishes: wishes, list: make([]packedGrip, 0, len(grips))}
	for i, g := range grips {
		x := packedGrip{wish: uint32(i), host: noHost, first: g.first, last: g.last}
		if len(g.hosts) == 0 && g.first != 0 {
			p.list = append(p.list, x)
		}
		for _, h := range g.hosts {
			how := h.how()
			x.host, x.how = uint32(place(&p.hosts, h.host)), uint8(place(&p.hows, how))
			if how == hostport.Held {
				if p.kept == nil {
					p.kept = make(map[int]hostport.Kept)
				}
				p.kept[len(p.list)] = h.kept
			}
			p.list = append(p.list, x)
		}
	}
	p.list = slices.Clip(p.list)
	return p
}

// place finds something in a short list, in which it is put if it is missing.
func place[T comparable](list *[]T, x T) int {
	for i, y := range slices.Backward(*list) {
		if x == y {
			return i
		}
	}
	*list = append(*list, x)
	return len(*list) - 1
}

// grips returns what was packed.
func (p packedGrips) grips() []grip {
	if len(p.wishes) == 0 {
		return nil
	}
	out := make([]grip, len(p.wishes))
	for i, w := range p.wishes {
		out[i] = grip{wish: w, proto: w.Proto}
	}
	for i, x := range p.list {
		g := &out[x.wish]
		g.first, g.last = x.first, x.last
		if x.host == noHost {
			continue
		}
		h := held{host: p.hosts[x.host], kept: p.kept[i]}
		if how := p.hows[x.how]; how != hostport.Held && how != hostport.Taken {
			h.kept = noted(how)
		}
		g.hosts = append(g.hosts, h)
	}
	return out
}
