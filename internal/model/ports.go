package model

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"slices"
)

// Ports is a list of ports of one owner. There may be tens of thousands of them,
// so it takes 16 bytes for each, where a [Port] takes 96, and addresses once. The
// zero value is empty. It is not changed once it is in a record.
type Ports struct {
	owner string
	addrs []netip.Addr
	list  []packedPort
}

// packedPort is a Port with addresses by their place.
type packedPort struct {
	host, addr        uint32
	first, last, port uint16
	proto             uint8
	flags             uint8 // of the following
}

const (
	flagProxy = 1 << iota
	flagNoRule
)

// PortsOf returns a list of ports, which all have the owner of the first one.
func PortsOf(list ...Port) Ports {
	var p Ports
	p.Grow(len(list))
	for _, x := range list {
		p.Add(x)
	}
	return p
}

// Grow makes room for n more ports.
func (p *Ports) Grow(n int) { p.list = slices.Grow(p.list, n) }

// Add puts a port at the end. It has the owner of those that are there.
func (p *Ports) Add(x Port) {
	p.owner = x.Owner
	var flags uint8
	if x.Proxy {
		flags |= flagProxy
	}
	if x.NoRule {
		flags |= flagNoRule
	}
	p.list = append(p.list, packedPort{
		host: p.place(x.Host), addr: p.place(x.Addr), first: x.First, last: x.Last, port: x.Port, proto: x.Proto, flags: flags,
	})
}

// place finds an address, which was most likely the last one added.
func (p *Ports) place(a netip.Addr) uint32 {
	for i, b := range slices.Backward(p.addrs) {
		if a == b {
			return uint32(i)
		}
	}
	p.addrs = append(p.addrs, a)
	return uint32(len(p.addrs) - 1)
}

// Len is how many there are.
func (p Ports) Len() int { return len(p.list) }

// At returns the port at a place from 0 to Len-1.
func (p Ports) At(i int) Port {
	x := p.list[i]
	return Port{
		Proto: x.proto, Host: p.addrs[x.host], First: x.first, Last: x.last, Addr: p.addrs[x.addr], Port: x.port,
		Owner: p.owner, Proxy: x.flags&flagProxy != 0, NoRule: x.flags&flagNoRule != 0,
	}
}

// All are the ports in their order.
func (p Ports) All() iter.Seq[Port] {
	return func(yield func(Port) bool) {
		for i := range p.list {
			if !yield(p.At(i)) {
				return
			}
		}
	}
}

// Without returns the list without those for which drop is true.
func (p Ports) Without(drop func(Port) bool) Ports {
	var left Ports
	for x := range p.All() {
		if !drop(x) {
			left.Add(x)
		}
	}
	return left
}

// Equal says whether both lists hold the same ports in the same order.
func (p Ports) Equal(q Ports) bool {
	return slices.Equal(slices.Collect(p.All()), slices.Collect(q.All()))
}

// IsZero says whether the list is empty.
func (p Ports) IsZero() bool { return len(p.list) == 0 }

// MarshalJSON writes the list as that of its ports.
func (p Ports) MarshalJSON() ([]byte, error) { return json.Marshal(slices.Collect(p.All())) }

// UnmarshalJSON reads what MarshalJSON has written.
func (p *Ports) UnmarshalJSON(data []byte) error {
	var list []Port
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	for _, x := range list {
		if x.Owner != list[0].Owner {
			return fmt.Errorf("ports of two owners, %q and %q", list[0].Owner, x.Owner)
		}
	}
	*p = PortsOf(list...)
	return nil
}
