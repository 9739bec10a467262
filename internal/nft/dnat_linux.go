package nft

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// dnatRule is a rule of somebody else that leads ports of the host elsewhere.
type dnatRule struct {
	family string
	table  string
	chain  string
	v4, v6 bool
	proto  uint8       // 0: any
	host   netip.Addr  // invalid: any
	ports  [][2]uint16 // ranges
	set    string      // that has the ports, if not empty
	// more says that the set asks for more than ports, which is not looked at: the rule
	// may be about other packets.
	more bool
	// all says that it names no port and is about all, part that only a part of what has been
	// loaded is compared next.
	all, part bool
	// dnat says that it translates destinations itself. Else it leads to a chain, or by a map to
	// several, without any condition if it is bare.
	dnat, bare bool
	to, vmap   string
}

// hits says whether the rule and a publication ask for the same packets, and whether it
// is about ports of the publication alone.
func (r *dnatRule) hits(p *model.Port) (hit, exact bool) {
	family := r.v4
	if p.Host.Is6() {
		family = r.v6
	}
	if !family || r.proto != 0 && r.proto != p.Proto || r.host.IsValid() && !p.Host.IsUnspecified() && r.host != p.Host {
		return false, false
	}
	hit, exact = p.Among(r.ports)
	// Who leads to a chain what is for an address may have a service there, and no host.
	elsewhere := !r.dnat && r.host.IsValid() && p.Host.IsUnspecified()
	return hit, exact && !r.more && !elsewhere
}

// ForeignDNAT returns each publication that a rule of somebody else translates
// too, with its table and chain: which of the two a packet meets first
// is not ours to say. Firewalls of other data directories are none of somebody else: they
// hold their ports, and may have tens of thousands. It knows rules of nftables and of the nf_tables backend of
// iptables that name ports, also by a set, or are about all in prerouting, and those that lead
// such packets to chains that translate them; it does not know the legacy backend. The rules
// are read once, and again when somebody else has changed one.
func (f *Firewall) ForeignDNAT(ctx context.Context, ports []model.Port) ([]model.ForeignDNAT, error) {
	if err := f.acquire(ctx); err != nil {
		return nil, fmt.Errorf("reading foreign rules: %w", err)
	}
	defer f.release()
	gen, err := f.c.generation(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading foreign rules: %w", err)
	}
	if others := gen - f.commits; !f.foreignRead || others != f.foreignGen {
		err := retry(func() (err error) {
			f.foreignDNAT, err = f.c.dnatRules(ctx, func(_, table string) bool { return table == f.table })
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading foreign rules: %w", err)
		}
		f.foreignRead, f.foreignGen = true, others
	}
	return found(f.foreignDNAT, ports), nil
}

// ReadForeignDNAT is [Firewall.ForeignDNAT] for who has his own rules elsewhere: in the
// namespace of the calling thread, without what skip says of a table.
func ReadForeignDNAT(ctx context.Context, ports []model.Port, skip func(family, table string) bool) ([]model.ForeignDNAT, error) {
	c, err := dial()
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading foreign rules: %w", err)
	}
	defer c.Close()
	var rules []dnatRule
	err = retry(func() (err error) {
		rules, err = c.dnatRules(ctx, skip)
		return err
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // there are no nftables
	}
	if err != nil {
		return nil, fmt.Errorf("reading foreign rules: %w", err)
	}
	return found(rules, ports), nil
}

func found(rules []dnatRule, ports []model.Port) (list []model.ForeignDNAT) {
	for _, r := range rules {
		for _, p := range ports {
			if hit, exact := r.hits(&p); hit {
				list = append(list, model.ForeignDNAT{
					Port: p, Rule: fmt.Sprintf("table %s %s, chain %s", r.family, r.table, r.chain), Ports: r.ports, Exact: exact,
				})
			}
		}
	}
	return list
}

// generation is the number of transactions of the namespace.
func (c *conn) generation(ctx context.Context) (gen uint32, err error) {
	b := &batch{seq: c.seq}
	b.begin(unix.NFT_MSG_GETGEN, 0, 0)
	b.end()
	err = c.dump(ctx, b, func(m message) error {
		gen = be32(m.attrs().get(unix.NFTA_GEN_ID))
		return nil
	})
	return gen, err
}

// isFirewall says whether a table is that of a firewall of ours, of whatever data directory.
func isFirewall(table string) bool {
	return table == DefaultTable || strings.HasPrefix(table, DefaultTable+"-")
}

// read takes what matters from a rule's expressions. It says whether the rule
// translates destinations, or leads to a chain: it is known to be about all if it has no
// conditions but a protocol, a destination, and a link that packets do not come from.
func (r *dnatRule) read(exprs attrs) bool {
	var loaded attrs // the payload or meta expression before
	var meta, named bool
	plain, bare := true, true
	for _, item := range exprs.all {
		data := attrs(attrs(item).get(unix.NFTA_EXPR_DATA))
		switch cstring(attrs(item).get(unix.NFTA_EXPR_NAME)) {
		case "payload":
			loaded, meta = data, false
		case "meta":
			loaded, meta = data, true
		case "ct", "exthdr", "fib", "hash", "numgen", "osf", "rt", "socket", "tunnel", "xfrm":
			loaded, meta, plain = nil, false, false
		case "lookup":
			inverse := false
			plain = false
			if dreg := data.get(unix.NFTA_LOOKUP_DREG); len(dreg) == 4 && be32(dreg) == unix.NFT_REG_VERDICT {
				r.vmap = cstring(data.get(unix.NFTA_LOOKUP_SET))
			}
			if flags := data.get(unix.NFTA_LOOKUP_FLAGS); len(flags) == 4 {
				inverse = be32(flags)&1 != 0 // NFT_LOOKUP_F_INV
			}
			if !meta && !inverse && isPort(loaded) {
				r.set, named = cstring(data.get(unix.NFTA_LOOKUP_SET)), true
			}
		case "cmp":
			v := attrs(data.get(unix.NFTA_CMP_DATA)).get(unix.NFTA_DATA_VALUE)
			plain, bare = plain && isPlain(loaded, meta, be32(data.get(unix.NFTA_CMP_OP))), false
			switch be32(data.get(unix.NFTA_CMP_OP)) {
			case unix.NFT_CMP_EQ:
				named = r.compare(loaded, meta, v, v) || named
			case unix.NFT_CMP_GTE: // of a range, before its end
				named = r.compare(loaded, meta, v, []byte{0xff, 0xff}) || named
			case unix.NFT_CMP_LTE:
				named = r.compare(loaded, meta, []byte(port(r.low())), v) || named
			}
		case "range":
			from := attrs(data.get(unix.NFTA_RANGE_FROM_DATA)).get(unix.NFTA_DATA_VALUE)
			to := attrs(data.get(unix.NFTA_RANGE_TO_DATA)).get(unix.NFTA_DATA_VALUE)
			named, plain = r.compare(loaded, meta, from, to) || named, false
		case "match":
			name := cstring(data.get(unix.NFTA_MATCH_NAME))
			named = r.match(name, data.get(unix.NFTA_MATCH_INFO)) || named
			plain = plain && name == "comment"
		case "bitwise":
			r.part = true
		case "counter":
		case "immediate":
			v := attrs(attrs(data.get(unix.NFTA_IMMEDIATE_DATA)).get(unix.NFTA_DATA_VERDICT))
			if to := cstring(v.get(unix.NFTA_VERDICT_CHAIN)); to != "" {
				r.to = to
			}
		case "nat":
			r.dnat = r.dnat || be32(data.get(unix.NFTA_NAT_TYPE)) == unix.NFT_NAT_DNAT
		case "redir":
			r.dnat = true
		case "target":
			name := data.get(unix.NFTA_TARGET_NAME)
			r.dnat = r.dnat || bytes.HasPrefix(name, []byte("DNAT")) || bytes.HasPrefix(name, []byte("REDIRECT"))
		default:
			plain = false
		}
	}
	r.all, r.bare = plain && !named, plain && bare
	if !named {
		r.ports = nil // a match may have had all
	}
	return r.dnat || r.to != "" || r.vmap != ""
}

// isPlain says whether a comparison is one with a protocol, a destination, or a link that packets
// do not come from.
func isPlain(loaded attrs, meta bool, op uint32) bool {
	if meta {
		switch be32(loaded.get(unix.NFTA_META_KEY)) {
		case unix.NFT_META_L4PROTO, unix.NFT_META_NFPROTO:
			return op == unix.NFT_CMP_EQ
		case unix.NFT_META_IIFNAME:
			return op == unix.NFT_CMP_NEQ
		}
		return false
	}
	base, offset := loaded.get(unix.NFTA_PAYLOAD_BASE), loaded.get(unix.NFTA_PAYLOAD_OFFSET)
	return len(base) == 4 && be32(base) == unix.NFT_PAYLOAD_NETWORK_HEADER && len(offset) == 4 &&
		slices.Contains([]uint32{6, 9, 16, 24}, be32(offset)) && op == unix.NFT_CMP_EQ
}

// compare reads a comparison with what was loaded, and says whether that is the
// destination port.
func (r *dnatRule) compare(loaded attrs, meta bool, from, to []byte) bool {
	part := r.part
	r.part = false
	if meta {
		switch key := be32(loaded.get(unix.NFTA_META_KEY)); {
		case len(from) == 0:
		case key == unix.NFT_META_L4PROTO:
			r.proto = from[0]
		case key == unix.NFT_META_NFPROTO:
			r.v4, r.v6 = r.v4 && from[0] == unix.NFPROTO_IPV4, r.v6 && from[0] == unix.NFPROTO_IPV6
		}
		return false
	}
	base, offset := be32(loaded.get(unix.NFTA_PAYLOAD_BASE)), be32(loaded.get(unix.NFTA_PAYLOAD_OFFSET))
	switch {
	case isPort(loaded) && len(from) == 2 && len(to) == 2:
		r.ports = [][2]uint16{{portNumber(string(from)), portNumber(string(to))}}
		return true
	case base != unix.NFT_PAYLOAD_NETWORK_HEADER, part: // of many addresses
	case r.v4 && !r.v6 && offset == 9 && len(from) == 1, r.v6 && !r.v4 && offset == 6 && len(from) == 1:
		r.proto = from[0]
	case r.v4 && !r.v6 && offset == 16 && len(from) == 4, r.v6 && !r.v4 && offset == 24 && len(from) == 16:
		r.host, _ = netip.AddrFromSlice(from)
	}
	return false
}

// low is the lowest port, of a range before its end.
func (r *dnatRule) low() uint16 {
	if len(r.ports) == 0 {
		return 0
	}
	return r.ports[0][0]
}

// isPort says whether a payload expression loads the destination port.
func isPort(loaded attrs) bool {
	base, offset := loaded.get(unix.NFTA_PAYLOAD_BASE), loaded.get(unix.NFTA_PAYLOAD_OFFSET)
	return len(base) == 4 && be32(base) == unix.NFT_PAYLOAD_TRANSPORT_HEADER && len(offset) == 4 && be32(offset) == 2
}

// match reads the ports of a match of iptables, struct xt_tcp, xt_udp or
// xt_multiport_v1, that is not inverted.
func (r *dnatRule) match(name string, info []byte) bool {
	if name == "multiport" {
		return r.multiport(info)
	}
	inverse := map[string]int{"tcp": 11, "udp": 8}[name]
	if inverse == 0 || len(info) <= inverse || info[inverse]&2 != 0 {
		return false
	}
	first, last := binary.NativeEndian.Uint16(info[4:]), binary.NativeEndian.Uint16(info[6:])
	r.ports = [][2]uint16{{first, last}}
	return first > 0 || last < 65535
}

// multiport reads struct xt_multiport_v1.
func (r *dnatRule) multiport(info []byte) bool {
	const (
		source = 0  // XT_MULTIPORT_SOURCE
		most   = 15 // XT_MULTI_PORTS
		ports  = 2
		ranged = ports + 2*most // of each port, whether it begins a range
		invert = ranged + most
	)
	if len(info) <= invert || info[0] == source || info[invert] != 0 {
		return false
	}
	r.ports = nil
	at := func(i int) uint16 { return binary.NativeEndian.Uint16(info[ports+2*i:]) }
	for i, n := 0, min(int(info[1]), most); i < n; i++ {
		first, last := at(i), at(i)
		if info[ranged+i] != 0 && i+1 < n {
			i++
			last = at(i)
		}
		r.ports = append(r.ports, [2]uint16{first, last})
	}
	return len(r.ports) > 0
}
