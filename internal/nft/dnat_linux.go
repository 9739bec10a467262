package nft

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// dnatRule is a rule of somebody else that leads ports of the host elsewhere.
type dnatRule struct {
	family      string
	table       string
	chain       string
	v4, v6      bool
	proto       uint8      // 0: any
	host        netip.Addr // invalid: any
	first, last uint16
}

// hits says whether the rule and a publication ask for the same packets.
func (r *dnatRule) hits(p *model.Port) bool {
	family := r.v4
	if p.Host.Is6() {
		family = r.v6
	}
	return family && (r.proto == 0 || r.proto == p.Proto) && r.first <= p.Last && p.First <= r.last &&
		(!r.host.IsValid() || p.Host.IsUnspecified() || r.host == p.Host)
}

// ForeignDNAT returns each publication that a rule of somebody else translates
// too, with its table and chain: which of the two a packet meets first
// is not ours to say. It knows rules of nftables and of the nf_tables backend of
// iptables that name ports; it does not know sets and the legacy backend. The rules
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
			f.foreignDNAT, err = f.c.dnatRules(ctx, f.table)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading foreign rules: %w", err)
		}
		f.foreignRead, f.foreignGen = true, others
	}
	var found []model.ForeignDNAT
	for i := range f.foreignDNAT {
		for j := range ports {
			r := &f.foreignDNAT[i]
			if r.hits(&ports[j]) {
				found = append(found, model.ForeignDNAT{
					Port: ports[j], Rule: fmt.Sprintf("table %s %s, chain %s", r.family, r.table, r.chain),
					Ports: [][2]uint16{{r.first, r.last}}, Exact: r.first >= ports[j].First && r.last <= ports[j].Last,
				})
			}
		}
	}
	return found, nil
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

// dnatRules reads the rules of all tables but own that translate a destination and
// name ports.
func (c *conn) dnatRules(ctx context.Context, own string) (list []dnatRule, err error) {
	err = c.request(ctx, unix.NFT_MSG_GETRULE, unix.NFPROTO_UNSPEC, nil, func(m message) error {
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
		if r.table != own && r.read(attrs(a.get(unix.NFTA_RULE_EXPRESSIONS))) {
			list = append(list, r)
		}
		return nil
	})
	return list, err
}

// read takes what matters from a rule's expressions. It says whether the rule
// translates the destination of a port.
func (r *dnatRule) read(exprs attrs) bool {
	var loaded attrs // the payload or meta expression before
	var meta, dnat, named bool
	for _, item := range exprs.all {
		data := attrs(attrs(item).get(unix.NFTA_EXPR_DATA))
		switch cstring(attrs(item).get(unix.NFTA_EXPR_NAME)) {
		case "payload":
			loaded, meta = data, false
		case "meta":
			loaded, meta = data, true
		case "cmp":
			v := attrs(data.get(unix.NFTA_CMP_DATA)).get(unix.NFTA_DATA_VALUE)
			switch be32(data.get(unix.NFTA_CMP_OP)) {
			case unix.NFT_CMP_EQ:
				named = r.compare(loaded, meta, v, v) || named
			case unix.NFT_CMP_GTE: // of a range, before its end
				named = r.compare(loaded, meta, v, []byte{0xff, 0xff}) || named
			case unix.NFT_CMP_LTE:
				named = r.compare(loaded, meta, []byte(port(r.first)), v) || named
			}
		case "range":
			from := attrs(data.get(unix.NFTA_RANGE_FROM_DATA)).get(unix.NFTA_DATA_VALUE)
			to := attrs(data.get(unix.NFTA_RANGE_TO_DATA)).get(unix.NFTA_DATA_VALUE)
			named = r.compare(loaded, meta, from, to) || named
		case "match":
			named = r.match(cstring(data.get(unix.NFTA_MATCH_NAME)), data.get(unix.NFTA_MATCH_INFO)) || named
		case "nat":
			dnat = dnat || be32(data.get(unix.NFTA_NAT_TYPE)) == unix.NFT_NAT_DNAT
		case "redir":
			dnat = true
		case "target":
			name := data.get(unix.NFTA_TARGET_NAME)
			dnat = dnat || bytes.HasPrefix(name, []byte("DNAT")) || bytes.HasPrefix(name, []byte("REDIRECT"))
		}
	}
	return dnat && named
}

// compare reads a comparison with what was loaded, and says whether that is the
// destination port.
func (r *dnatRule) compare(loaded attrs, meta bool, from, to []byte) bool {
	if meta {
		if be32(loaded.get(unix.NFTA_META_KEY)) == unix.NFT_META_L4PROTO && len(from) > 0 {
			r.proto = from[0]
		}
		return false
	}
	base, offset := be32(loaded.get(unix.NFTA_PAYLOAD_BASE)), be32(loaded.get(unix.NFTA_PAYLOAD_OFFSET))
	switch {
	case base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && offset == 2 && len(from) == 2 && len(to) == 2:
		r.first, r.last = portNumber(string(from)), portNumber(string(to))
		return true
	case base != unix.NFT_PAYLOAD_NETWORK_HEADER:
	case r.v4 && !r.v6 && offset == 9 && len(from) == 1, r.v6 && !r.v4 && offset == 6 && len(from) == 1:
		r.proto = from[0]
	case r.v4 && !r.v6 && offset == 16 && len(from) == 4, r.v6 && !r.v4 && offset == 24 && len(from) == 16:
		r.host, _ = netip.AddrFromSlice(from)
	}
	return false
}

// match reads the ports of a match of iptables, struct xt_tcp or xt_udp, that is
// not inverted.
func (r *dnatRule) match(name string, info []byte) bool {
	inverse := map[string]int{"tcp": 11, "udp": 8}[name]
	if inverse == 0 || len(info) <= inverse || info[inverse]&2 != 0 {
		return false
	}
	r.first, r.last = binary.NativeEndian.Uint16(info[4:]), binary.NativeEndian.Uint16(info[6:])
	return r.first > 0 || r.last < 65535
}
