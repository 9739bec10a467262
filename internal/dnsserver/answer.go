package dnsserver

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// answerer handles the queries of one socket or connection. It belongs to one
// goroutine.
type answerer struct {
	s     *Server
	p     parser
	order []int // scratch
}

// handle decides about one message: reply is what to send back, appended to
// out; else forward is what to ask upstream servers; else there is nothing to do.
// forward shares memory with msg.
func (a *answerer) handle(out, msg []byte, udp bool) (reply, forward []byte) {
	switch {
	case len(msg) < headerLen || msg[2]&bitQR != 0 || binary.BigEndian.Uint16(msg[4:]) == 0:
		return nil, nil // a reply to garbage or to a reply could go round for ever
	case !a.p.parseFast(msg) && !a.p.parseSlow(msg):
		return appendFormatError(out, msg), nil
	}
	q := &a.p.q
	if q.edns && q.version != 0 {
		return a.encode(out, udp, answer{rcode: dns.RcodeBadVers}), nil
	}
	if q.opcode() == dns.OpcodeQuery && q.qclass == dns.ClassINET {
		if ans, known := a.lookup(); known {
			a.s.stats.local.Add(1)
			return a.encode(out, udp, ans), nil
		}
	}
	if _, ok := firstQuestion(msg); !ok {
		return appendFormatError(out, msg), nil
	}
	if binary.BigEndian.Uint16(msg[4:]) > 1 {
		return nil, a.onlyFirst(msg)
	}
	return nil, msg
}

// answer is what a reply says besides repeating the question.
type answer struct {
	rcode int
	addrs []netip.Addr // for A and AAAA
	name  string       // for PTR, without dot at the end
}

func (a *answerer) lookup() (ans answer, known bool) {
	q, b := &a.p.q, a.s.cfg.Backend
	if q.name == "" {
		return ans, false
	}
	switch q.qtype {
	case dns.TypeA, dns.TypeAAAA:
		ans.addrs, known = b.ResolveName(q.name, q.qtype == dns.TypeAAAA)
		return ans, known
	case dns.TypePTR:
		addr, ok := ReverseAddr(q.name)
		if !ok {
			return ans, false
		}
		ans.name = b.ResolveIP(addr)
		return ans, ans.name != ""
	default:
		if _, known = b.ResolveName(q.name, false); !known {
			_, known = b.ResolveName(q.name, true)
		}
		return ans, known
	}
}

// encode appends the reply to the query in a.p.q. Addresses come in random
// order; as many are left out as do not fit.
func (a *answerer) encode(out []byte, udp bool, ans answer) []byte {
	q := &a.p.q
	start := len(out)
	out = binary.BigEndian.AppendUint16(out, q.id)
	out = append(out,
		bitQR|q.flags[0]&(maskOp|bitRD), bitRA|q.flags[1]&bitCD|byte(ans.rcode)&maskRcode,
		0, 1, 0, 0, 0, 0, 0, 0)
	out = append(out, q.question...)
	room := q.limit(udp) - (len(out) - start)
	if q.edns {
		room -= optLen
	}
	count, cut := 0, false
	switch {
	case ans.name != "":
		var ok bool
		before := len(out)
		if out, ok = a.appendName(out, ans.name); !ok {
			out[start+3] |= dns.RcodeServerFailure
		} else if len(out)-before > room {
			out, cut = out[:before], true
		} else {
			count = 1
		}
	case len(ans.addrs) > 0:
		out, count, cut = a.appendAddrs(out, ans.addrs, room)
	}
	if cut && udp {
		out[start+2] |= bitTC
	}
	binary.BigEndian.PutUint16(out[start+6:], uint16(count))
	if q.edns {
		out[start+11] = 1
		out = append(out, 0, 0, byte(dns.TypeOPT), ourUDP>>8, ourUDP&0xff, byte(ans.rcode>>4), 0, 0, 0, 0, 0)
		if q.do {
			out[len(out)-4] = 0x80 // RFC 3225 section 3
		}
	}
	return out
}

func (a *answerer) appendAddrs(out []byte, addrs []netip.Addr, room int) (_ []byte, count int, cut bool) {
	size := 4
	if a.p.q.qtype == dns.TypeAAAA {
		size = 16
	}
	a.order = a.order[:0]
	for i, addr := range addrs {
		if addr.IsValid() && addr.Unmap().Is4() == (size == 4) {
			a.order = append(a.order, i)
		}
	}
	rand.Shuffle(len(a.order), func(i, j int) { a.order[i], a.order[j] = a.order[j], a.order[i] })
	n := len(a.order)
	if most := max(room, 0) / (12 + size); n > most {
		n, cut = most, true
	}
	for _, i := range a.order[:n] {
		out = a.appendRecord(out, size)
		if size == 4 {
			b := addrs[i].Unmap().As4()
			out = append(out, b[:]...)
		} else {
			b := addrs[i].As16()
			out = append(out, b[:]...)
		}
	}
	return out, n, cut
}

// appendName appends a record whose data is a domain name.
func (a *answerer) appendName(out []byte, name string) (_ []byte, ok bool) {
	var wire [maxName + 1]byte
	n, err := dns.PackDomainName(dns.Fqdn(name), wire[:], 0, nil, false)
	if err != nil {
		return out, false
	}
	return append(a.appendRecord(out, n), wire[:n]...), true
}

// appendRecord appends a record up to its data. Its owner is the question's name,
// as a pointer to where that stands in every reply.
func (a *answerer) appendRecord(out []byte, size int) []byte {
	out = append(out, 0xc0, headerLen)
	out = binary.BigEndian.AppendUint16(out, a.p.q.qtype)
	out = append(out, 0, dns.ClassINET)
	out = binary.BigEndian.AppendUint32(out, a.s.ttl)
	return binary.BigEndian.AppendUint16(out, uint16(size))
}

// onlyFirst returns msg with its first question alone: only that one counts.
func (a *answerer) onlyFirst(msg []byte) []byte {
	var m dns.Msg
	if err := m.Unpack(msg); err != nil || len(m.Question) == 0 {
		return nil
	}
	m.Question = m.Question[:1]
	one, err := m.Pack()
	if err != nil {
		return nil
	}
	return one
}

// failure returns a reply without records, for a query that was forwarded.
func (s *Server) failure(msg []byte, rcode int) []byte {
	a := answerer{s: s}
	if !a.p.parseFast(msg) && !a.p.parseSlow(msg) {
		return appendFormatError(nil, msg)
	}
	return a.encode(nil, true, answer{rcode: rcode})
}

// appendFormatError appends the reply to a message of which only the header
// could be read.
func appendFormatError(out, msg []byte) []byte {
	out = append(out, msg[0], msg[1], bitQR|msg[2]&(maskOp|bitRD), bitRA|dns.RcodeFormatError)
	return append(out, 0, 0, 0, 0, 0, 0, 0, 0)
}

// ReverseAddr reads a name under in-addr.arpa or ip6.arpa that stands for one
// address (RFC 1035 section 3.5, RFC 3596 section 2.5). name is in lower case.
func ReverseAddr(name string) (netip.Addr, bool) {
	if labels, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		var b [4]byte
		for i := range b {
			label, rest, more := strings.Cut(labels, ".")
			v, ok := octet(label)
			if !ok || more != (i < 3) {
				return netip.Addr{}, false
			}
			b[3-i], labels = v, rest
		}
		return netip.AddrFrom4(b), true
	}
	labels, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(labels) != 63 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i := range 32 {
		v := strings.IndexByte("0123456789abcdef", labels[2*i])
		if v < 0 || i < 31 && labels[2*i+1] != '.' {
			return netip.Addr{}, false
		}
		b[15-i/2] |= byte(v) << (i % 2 * 4)
	}
	return netip.AddrFrom16(b), true
}

func octet(s string) (byte, bool) {
	if s == "" || len(s) > 3 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	v := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		v = v*10 + int(s[i]-'0')
	}
	return byte(v), v <= 255
}
