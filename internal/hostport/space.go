package hostport

import (
	"io"
	"net/netip"
	"strconv"
	"sync"

	"github.com/libnetwork/libnetwork/types"
)

// Bounds of the range for ports that the caller leaves open, where the system
// names none.
const (
	DefaultLow  = 49153
	DefaultHigh = 65535
)

// DefaultLimit is how many ports a Holder holds at most, one descriptor each.
const DefaultLimit = 1024

// How says how a port of the host is kept from other programs.
type How string

const (
	// Held ports are bound by a socket: no other program can have them.
	Held How = "held"
	// Checked ports were free when they were published. A program that binds one
	// later can do so, and gets nothing from outside.
	Checked How = "checked"
	// RuleOnly ports are of a protocol that this kernel has no sockets of.
	RuleOnly How = "rule"
	// Forwarded ports are held by a socket, and this process serves it.
	Forwarded How = "forwarded"
	// Taken ports were had by another program when this process came back to them.
	Taken How = "taken"
)

// Kept is a port, or a range, that is ours until it is closed. To close one that is
// not Held does nothing.
type Kept interface {
	io.Closer
	// How says how it is kept from other programs.
	How() How
}

// ErrPortAlreadyAllocated says that a port is taken by one of ours. Its class is
// Forbidden.
type ErrPortAlreadyAllocated struct {
	IP   netip.Addr
	Port uint16
	// Owner is who has it, as given to the Space.
	Owner string
}

func (e ErrPortAlreadyAllocated) Error() string {
	text := "Bind for " + netip.AddrPortFrom(e.IP, e.Port).String() + " failed: port is already allocated"
	if e.Owner != "" {
		text += " to " + e.Owner
	}
	return text
}

// Forbidden marks the class.
func (ErrPortAlreadyAllocated) Forbidden() {}

// ErrAllPortsAllocated says that a range has no port left, or not as many in a
// row as were asked for. Its class is NoService.
type ErrAllPortsAllocated struct {
	First, Last uint16
}

func (e ErrAllPortsAllocated) Error() string {
	return "all ports of " + strconv.Itoa(int(e.First)) + "-" + strconv.Itoa(int(e.Last)) + " are allocated"
}

// NoService marks the class.
func (ErrAllPortsAllocated) NoService() {}

// space names the ports of one address and protocol.
type space struct {
	proto uint8
	host  netip.Addr
}

// sequence names a range from which ports are given in turn.
type sequence struct {
	space
	first, last uint16
}

// A Space knows which ports are taken.
type Space struct {
	low, high uint16

	mu     sync.Mutex
	taken  map[space]map[uint16]uint32 // port: number of its owner, with a flag
	given  map[sequence]uint16         // the port given last
	owners owners
}

// Flags beside the number of an owner.
const (
	waived uint32 = 1 << 31 // he may take the port once more
	twice  uint32 = 1 << 30 // he has done so
	number        = twice - 1
)

// owners gives numbers to owners, of whom there are few beside their ports: a
// number makes an entry of a map less than half as large.
type owners struct {
	numbers map[string]uint32
	list    []owner
	free    []uint32 // numbers of nobody
}

type owner struct {
	name  string
	ports int
}

// number returns the number of an owner, who is about to have a port.
func (o *owners) number(name string) uint32 {
	i, ok := o.numbers[name]
	switch {
	case ok:
	case len(o.free) > 0:
		i, o.free = o.free[len(o.free)-1], o.free[:len(o.free)-1]
		o.list[i] = owner{name: name}
	default:
		i = uint32(len(o.list))
		o.list = append(o.list, owner{name: name})
	}
	if o.numbers == nil {
		o.numbers = make(map[string]uint32)
	}
	o.numbers[name] = i
	return i
}

// leave counts one port less.
func (o *owners) leave(i uint32) {
	if o.list[i].ports--; o.list[i].ports == 0 {
		delete(o.numbers, o.list[i].name)
		o.list[i] = owner{}
		o.free = append(o.free, i)
	}
}

// NewSpace returns a Space with nothing taken, that gives ports from low to high
// where the caller names no range. Without both it is DefaultLow to DefaultHigh.
func NewSpace(low, high uint16) *Space {
	if low == 0 || high < low {
		low, high = DefaultLow, DefaultHigh
	}
	return &Space{low: low, high: high, taken: map[space]map[uint16]uint32{}, given: map[sequence]uint16{}}
}

// Take takes all ports from first to last on all hosts, or none and returns an
// [ErrPortAlreadyAllocated].
func (s *Space) Take(proto uint8, hosts []netip.Addr, first, last uint16, owner string) error {
	if err := valid(proto, hosts, first, last); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range hosts {
		for p := int(first); p <= int(last); p++ {
			if who, free := s.freeLocked(space{proto, h.Unmap()}, uint16(p), owner); !free {
				return ErrPortAlreadyAllocated{IP: h.Unmap(), Port: uint16(p), Owner: who}
			}
		}
	}
	s.takeLocked(proto, hosts, first, last, owner)
	return nil
}

// Range returns the bounds of the range from which ports are given where the caller
// names none.
func (s *Space) Range() (low, high uint16) { return s.low, s.high }

// Next takes n ports in a row, at the same numbers on all hosts, out of those
// from first to last, or out of the default range if both are 0, without those that
// others have. It looks behind
// the port that it gave last for the same range, so that a released port rests as
// long as possible, and wraps once. It returns the first port, or an
// [ErrAllPortsAllocated].
func (s *Space) Next(proto uint8, hosts []netip.Addr, first, last uint16, n int, others map[uint16]bool, owner string) (uint16, error) {
	if first == 0 && last == 0 {
		first, last = s.low, s.high
	}
	if err := valid(proto, hosts, first, last); err != nil {
		return 0, err
	}
	if n < 1 || n > int(last-first)+1 {
		return 0, types.BadRequestErrorf("invalid port range: %d ports out of %d-%d", n, first, last)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seq := sequence{space{proto, hosts[0].Unmap()}, first, last}
	begin := int(first)
	if g, ok := s.given[seq]; ok {
		begin = int(g) + 1
	}
	starts := int(last-first) + 2 - n // possible first ports
	at := begin - int(first)
	for tried := 0; tried < starts; {
		at %= starts
		start := first + uint16(at)
		if busy := s.busyLocked(proto, hosts, start, n, others, owner); busy >= 0 {
			// Nothing that holds the busy port can do.
			skip := min(busy+1, starts-at)
			tried += skip
			at += skip
			continue
		}
		end := start + uint16(n-1)
		s.takeLocked(proto, hosts, start, end, owner)
		s.given[seq] = end
		return start, nil
	}
	return 0, ErrAllPortsAllocated{First: first, Last: last}
}

// busyLocked returns the offset of the last taken port, -1 if all n are free.
func (s *Space) busyLocked(proto uint8, hosts []netip.Addr, start uint16, n int, others map[uint16]bool, owner string) int {
	for i := n - 1; i >= 0; i-- {
		if others[start+uint16(i)] {
			return i
		}
		for _, h := range hosts {
			if _, free := s.freeLocked(space{proto, h.Unmap()}, start+uint16(i), owner); !free {
				return i
			}
		}
	}
	return -1
}

// freeLocked says who has a port, and whether owner can take it.
func (s *Space) freeLocked(k space, port uint16, owner string) (who string, free bool) {
	o, ok := s.taken[k][port]
	if !ok {
		return "", true
	}
	who = s.owners.list[o&number].name
	return who, o&waived != 0 && who == owner
}

func (s *Space) takeLocked(proto uint8, hosts []netip.Addr, first, last uint16, owner string) {
	num := s.owners.number(owner)
	for _, h := range hosts {
		k := space{proto, h.Unmap()}
		if s.taken[k] == nil {
			s.taken[k] = make(map[uint16]uint32, int(last-first)+1)
		}
		for p := int(first); p <= int(last); p++ {
			switch o, ok := s.taken[k][uint16(p)]; {
			case !ok:
				s.taken[k][uint16(p)] = num
			case o&waived != 0:
				s.taken[k][uint16(p)] = num | twice
			default:
				continue // a host may be named twice
			}
			s.owners.list[num].ports++
		}
	}
}

// Waive says that the owner of ports is about to give them back: until then he, and
// nobody else, may take each once more, as a part of something else.
func (s *Space) Waive(proto uint8, host netip.Addr, first, last uint16) {
	s.flag(proto, host, first, last, func(o uint32) uint32 { return o | waived })
}

// Keep takes Waive back.
func (s *Space) Keep(proto uint8, host netip.Addr, first, last uint16) {
	s.flag(proto, host, first, last, func(o uint32) uint32 { return o &^ waived })
}

func (s *Space) flag(proto uint8, host netip.Addr, first, last uint16, as func(uint32) uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ports := s.taken[space{proto, host.Unmap()}]
	for p := int(first); p <= int(last); p++ {
		if o, ok := ports[uint16(p)]; ok {
			ports[uint16(p)] = as(o)
		}
	}
}

// Release gives ports back: what was taken twice, once. What is not taken is no error.
func (s *Space) Release(proto uint8, hosts []netip.Addr, first, last uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range hosts {
		k := space{proto, h.Unmap()}
		for p := int(first); p <= int(last); p++ {
			o, ok := s.taken[k][uint16(p)]
			if !ok {
				continue
			}
			s.owners.leave(o & number)
			if o&twice != 0 {
				s.taken[k][uint16(p)] = o & number
			} else {
				delete(s.taken[k], uint16(p))
			}
		}
		if len(s.taken[k]) == 0 {
			delete(s.taken, k)
		}
	}
}

// ReleaseAll gives all ports back and begins every sequence anew.
func (s *Space) ReleaseAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.taken)
	clear(s.given)
	s.owners = owners{}
}

// Owner returns who has a port, and whether anybody does.
func (s *Space) Owner(proto uint8, host netip.Addr, port uint16) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.taken[space{proto, host.Unmap()}][port]
	if !ok {
		return "", false
	}
	return s.owners.list[o&number].name, true
}

// valid says what is wrong with a request.
func valid(proto uint8, hosts []netip.Addr, first, last uint16) error {
	if protocol(proto) == "" {
		return types.BadRequestErrorf("unknown protocol %d", proto)
	}
	if len(hosts) == 0 {
		return types.BadRequestErrorf("%s ports without a host address", protocol(proto))
	}
	for _, h := range hosts {
		if !h.IsValid() {
			return types.BadRequestErrorf("%s ports of an invalid host address", protocol(proto))
		}
	}
	if first == 0 || last < first {
		return types.BadRequestErrorf("invalid port range: %d-%d", first, last)
	}
	return nil
}

// protocol is the name of a protocol that ports can be published for.
func protocol(proto uint8) string {
	switch proto {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 132:
		return "sctp"
	}
	return ""
}
