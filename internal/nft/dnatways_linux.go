package nft

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A place is a chain, or a set: one of verdicts leads to chains too.
type place struct {
	family, table, name string
	set                 bool
}

func (r *dnatRule) at() place { return place{r.family, r.table, r.chain, false} }

// next is what a rule leads to.
func (r *dnatRule) next() (list []place) {
	if r.to != "" {
		list = append(list, place{r.family, r.table, r.to, false})
	}
	if r.vmap != "" {
		list = append(list, place{r.family, r.table, r.vmap, true})
	}
	return list
}

// Reach returns what is reached from some, by steps of which each leads from one to others.
func Reach[K comparable](from []K, steps map[K][]K) map[K]bool {
	reached := make(map[K]bool)
	for todo := slices.Clone(from); len(todo) > 0; {
		k := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !reached[k] {
			reached[k] = true
			todo = append(todo, steps[k]...)
		}
	}
	return reached
}

// IsOurs says whether a chain of iptables is that of a firewall of ours, of whatever data
// directory.
func IsOurs(chain string) bool { return strings.HasPrefix(chain, strings.ToUpper(DefaultTable)+"-") }

// A dnatReader reads the rules of others that translate destinations.
type dnatReader struct {
	*conn
	families map[string]byte
	// found are the rules that translate themselves, ways those that lead to other chains.
	found, ways []dnatRule
	// base are the chains with a hook, true where packets from other machines come to them.
	base map[place]bool
	sets map[place]*portSet
}

// dnatRules reads the rules of all tables but those to skip that translate a destination
// and name ports, or are about all, also by the chains that they lead to.
func (c *conn) dnatRules(ctx context.Context, skip func(family, table string) bool) ([]dnatRule, error) {
	d := dnatReader{conn: c, families: make(map[string]byte), sets: make(map[place]*portSet)}
	if err := d.rules(ctx, skip); err != nil {
		return nil, err
	}
	if len(d.ways) > 0 || slices.ContainsFunc(d.found, func(r dnatRule) bool { return r.all }) {
		if err := d.hooks(ctx); err != nil {
			return nil, err
		}
	}
	from := d.fromOutside()
	for i := range d.found {
		switch r := &d.found[i]; {
		case r.set != "":
			s, err := d.set(ctx, place{r.family, r.table, r.set, true})
			if err != nil {
				return nil, err
			}
			r.ports, r.more = s.ports(nil), s.more
		case r.all && from[r.at()]:
			r.ports = [][2]uint16{{0, 65535}}
		}
	}
	list, err := d.leading(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range d.found {
		if len(r.ports) > 0 {
			list = append(list, r)
		}
	}
	return list, nil
}

// rules reads the rules. Those that lead to chains are of use where their table translates: none
// leads into another.
func (d *dnatReader) rules(ctx context.Context, skip func(family, table string) bool) error {
	tables := make(map[[2]string]bool)
	err := d.request(ctx, unix.NFT_MSG_GETRULE, unix.NFPROTO_UNSPEC, nil, func(m message) error {
		a := m.attrs()
		r := dnatRule{table: cstring(a.get(unix.NFTA_RULE_TABLE)), chain: cstring(a.get(unix.NFTA_RULE_CHAIN))}
		switch m.family() {
		case unix.NFPROTO_IPV4:
			r.family, r.v4 = "ip", true
		case unix.NFPROTO_IPV6:
			r.family, r.v6 = "ip6", true
		case unix.NFPROTO_INET:
			r.family, r.v4, r.v6 = "inet", true, true
		default:
			return nil
		}
		d.families[r.family] = m.family()
		switch {
		case isFirewall(r.table) || skip(r.family, r.table) || !r.read(attrs(a.get(unix.NFTA_RULE_EXPRESSIONS))):
		case r.dnat:
			d.found = append(d.found, r)
			tables[[2]string{r.family, r.table}] = true
		case !IsOurs(r.chain) && !IsOurs(r.to):
			d.ways = append(d.ways, r)
		}
		return nil
	})
	d.ways = slices.DeleteFunc(d.ways, func(r dnatRule) bool { return !tables[[2]string{r.family, r.table}] })
	return err
}

// hooks reads which chains have one.
func (d *dnatReader) hooks(ctx context.Context) error {
	families := map[byte]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_INET: "inet"}
	d.base = make(map[place]bool)
	return d.request(ctx, unix.NFT_MSG_GETCHAIN, unix.NFPROTO_UNSPEC, nil, func(m message) error {
		a := m.attrs()
		hook := attrs(a.get(unix.NFTA_CHAIN_HOOK))
		if num := hook.get(unix.NFTA_HOOK_HOOKNUM); len(num) == 4 {
			at := place{families[m.family()], cstring(a.get(unix.NFTA_CHAIN_TABLE)), cstring(a.get(unix.NFTA_CHAIN_NAME)), false}
			d.base[at] = be32(num) == unix.NF_INET_PRE_ROUTING
		}
		return nil
	})
}

// fromOutside are the chains that all packets from other machines come to.
func (d *dnatReader) fromOutside() map[place]bool {
	var from []place
	for at, outside := range d.base {
		if outside {
			from = append(from, at)
		}
	}
	steps := make(map[place][]place)
	for _, r := range d.ways {
		if r.bare {
			steps[r.at()] = append(steps[r.at()], r.next()...)
		}
	}
	return Reach(from, steps)
}

// leading returns the rules that lead ports to chains from which, whatever else is asked on the
// way, one that translates is reached, with these ports.
func (d *dnatReader) leading(ctx context.Context) (list []dnatRule, err error) {
	if len(d.ways) == 0 {
		return nil, nil
	}
	var ends []place
	for _, r := range d.found {
		if _, is := d.base[r.at()]; !is && !IsOurs(r.chain) { // to base chains nothing leads
			ends = append(ends, r.at())
		}
	}
	if len(ends) == 0 {
		return nil, nil
	}
	back := make(map[place][]place)
	for _, r := range d.ways {
		for _, to := range r.next() {
			back[to] = append(back[to], r.at())
			if _, known := d.sets[to]; !to.set || known {
				continue
			}
			s, err := d.set(ctx, to)
			if err != nil {
				return nil, err
			}
			for chain := range s.chains {
				at := place{to.family, to.table, chain, false}
				back[at] = append(back[at], to)
			}
		}
	}
	leads := Reach(ends, back)
	for _, r := range d.ways {
		if !slices.ContainsFunc(r.next(), func(to place) bool { return leads[to] }) {
			continue
		}
		if r.set != "" {
			s, err := d.set(ctx, place{r.family, r.table, r.set, true})
			if err != nil {
				return nil, err
			}
			var of func(chain string) bool
			if r.set == r.vmap {
				of = func(chain string) bool { return leads[place{r.family, r.table, chain, false}] }
			}
			r.ports, r.more = s.ports(of), s.more
		}
		if len(r.ports) > 0 {
			list = append(list, r)
		}
	}
	return list, nil
}

// A portSet is a set, or a map, of which ports are the keys or the last part of the keys.
type portSet struct {
	bounds []portBound
	// intervals says that each bound begins one.
	intervals bool
	more      bool            // parts of the keys
	chains    map[string]bool // of verdicts
}

type portBound struct {
	port  uint16
	end   bool   // the first port that is not in it
	chain string // of a verdict
}

// set reads a set, once.
func (d *dnatReader) set(ctx context.Context, at place) (*portSet, error) {
	const intervalEnd = 1 // NFT_SET_ELEM_INTERVAL_END
	if s := d.sets[at]; s != nil {
		return s, nil
	}
	s := &portSet{chains: make(map[string]bool)}
	err := d.request(ctx, unix.NFT_MSG_GETSETELEM, d.families[at.family], func(b *batch) {
		b.str(unix.NFTA_SET_ELEM_LIST_TABLE, at.table)
		b.str(unix.NFTA_SET_ELEM_LIST_SET, at.name)
	}, func(m message) error {
		for _, item := range attrs(m.attrs().get(unix.NFTA_SET_ELEM_LIST_ELEMENTS)).all {
			a := attrs(item)
			v := attrs(attrs(a.get(unix.NFTA_SET_ELEM_DATA)).get(unix.NFTA_DATA_VERDICT))
			chain := cstring(v.get(unix.NFTA_VERDICT_CHAIN))
			if chain != "" && !IsOurs(chain) {
				s.chains[chain] = true
			}
			key := attrs(a.get(unix.NFTA_SET_ELEM_KEY)).get(unix.NFTA_DATA_VALUE)
			if len(key) >= 8 && len(key)%4 == 0 { // a concatenation, of parts of four bytes
				key, s.more = key[len(key)-4:][:2], true
			}
			if len(key) != 2 {
				continue
			}
			end := false
			if flags := a.get(unix.NFTA_SET_ELEM_FLAGS); len(flags) == 4 {
				end = be32(flags)&intervalEnd != 0
			}
			s.intervals = s.intervals || end
			s.bounds = append(s.bounds, portBound{portNumber(string(key)), end, chain})
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		s, err = &portSet{}, nil // it has just gone
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(s.bounds, func(a, b portBound) int {
		if a.port == b.port && a.end {
			return -1
		}
		return int(a.port) - int(b.port)
	})
	d.sets[at] = s
	return s, nil
}

// ports returns the ports in it, of a map those of the verdicts that lead to some chains.
func (s *portSet) ports(of func(chain string) bool) (ports [][2]uint16) {
	for i, b := range s.bounds {
		last := b.port
		switch {
		case b.end || of != nil && !of(b.chain):
			continue
		case s.intervals && i+1 < len(s.bounds):
			last = s.bounds[i+1].port - 1
		case s.intervals:
			last = 65535
		}
		ports = append(ports, [2]uint16{b.port, last})
	}
	return ports
}
