package dnsserver

import (
	"encoding/binary"
	"strings"

	"github.com/miekg/dns"
)

// Layout of a message, RFC 1035 section 4.1.
const (
	headerLen = 12
	optLen    = 11 // an OPT record without options, RFC 6891 section 6.1.2

	maxName = 255
	minUDP  = 512
	maxUDP  = 65507
	maxTCP  = 65534

	// ourUDP is the size of queries that we promise to take. It is what fits
	// into any path without fragments.
	ourUDP = 1232
)

const (
	bitQR     = 0x80 // first flag byte
	bitTC     = 0x02
	bitRD     = 0x01
	bitRA     = 0x80 // second flag byte
	bitCD     = 0x10
	maskOp    = 0x78
	maskRcode = 0x0f
)

// query is what counts of a query message.
type query struct {
	id       uint16
	flags    [2]byte
	question []byte // first question in wire form, without compression
	qtype    uint16
	qclass   uint16
	name     string // in lower case, without its last dot; odd bytes escaped
	edns     bool   // the rest is only set if there is an OPT record
	version  uint8
	do       bool // DNSSEC OK
	size     int  // of a UDP reply that the client can take
}

func (q *query) opcode() int { return int(q.flags[0]&maskOp) >> 3 }

// limit is the greatest size of a reply.
func (q *query) limit(udp bool) int {
	switch {
	case !udp:
		return maxTCP
	case q.edns:
		return min(max(minUDP, q.size), maxUDP)
	default:
		return minUDP
	}
}

// parser reads queries. It belongs to one goroutine.
type parser struct {
	q     query
	name  [maxName]byte
	names [16]string // names seen lately, so that most queries make no new string
}

// parseFast reads the queries that make up nearly all of the traffic: one
// question with a plain host name and at most an OPT record without options. It
// returns false for all others, well formed or not. p.q is valid until the next
// call, p.q.question shares memory with msg.
func (p *parser) parseFast(msg []byte) bool {
	if len(msg) < headerLen+1+4 || msg[2]&(bitQR|maskOp|bitTC) != 0 || msg[3]&maskRcode != 0 {
		return false
	}
	// One question, no answer, no authority, at most one additional record.
	if binary.BigEndian.Uint64(msg[4:]) & ^uint64(1) != 1<<48 {
		return false
	}
	end, ok := p.scanName(msg)
	if !ok || end+4 > len(msg) {
		return false
	}
	q := &p.q
	*q = query{
		id:       binary.BigEndian.Uint16(msg),
		flags:    [2]byte{msg[2], msg[3]},
		question: msg[headerLen : end+4],
		qtype:    binary.BigEndian.Uint16(msg[end:]),
		qclass:   binary.BigEndian.Uint16(msg[end+2:]),
	}
	rest := msg[end+4:]
	if msg[11] == 1 {
		// Root name, type OPT, size, extended rcode, version, flags, no data.
		if len(rest) != optLen || rest[0] != 0 || rest[1] != 0 || rest[2] != 41 || rest[5] != 0 || rest[9] != 0 || rest[10] != 0 {
			return false
		}
		q.edns, q.version, q.do = true, rest[6], rest[7]&0x80 != 0
		q.size = int(binary.BigEndian.Uint16(rest[3:]))
	} else if len(rest) != 0 {
		return false
	}
	q.name = p.intern(p.name[:end-headerLen-2])
	return true
}

// scanName puts the first question's name into p.name, in lower case and with a
// dot behind each label, and returns the offset behind it. It fails for the
// root, for pointers, and for bytes other than letters, digits, - and _.
func (p *parser) scanName(msg []byte) (end int, ok bool) {
	i, n := headerLen, 0
	for {
		if i >= len(msg) {
			return 0, false
		}
		size := int(msg[i])
		i++
		if size == 0 {
			return i, n > 0
		}
		// What we have, this label with its length byte, and the root.
		if size > 63 || i+size > len(msg) || n+size+2 > maxName {
			return 0, false
		}
		for _, c := range msg[i : i+size] {
			switch {
			case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			case 'A' <= c && c <= 'Z':
				c += 'a' - 'A'
			default:
				return 0, false
			}
			p.name[n] = c
			n++
		}
		p.name[n] = '.'
		n++
		i += size
	}
}

func (p *parser) intern(name []byte) string {
	h := uint(len(name))
	for _, c := range name {
		h = h*31 + uint(c)
	}
	slot := &p.names[h%uint(len(p.names))]
	if *slot != string(name) { // the compiler makes no string for this
		*slot = string(name)
	}
	return *slot
}

// parseSlow reads any well-formed message with at least one question.
func (p *parser) parseSlow(msg []byte) bool {
	var m dns.Msg
	if err := m.Unpack(msg); err != nil || len(m.Question) == 0 {
		return false
	}
	first := m.Question[0]
	question := make([]byte, maxName+4)
	end, err := dns.PackDomainName(first.Name, question, 0, nil, false)
	if err != nil {
		return false
	}
	binary.BigEndian.PutUint16(question[end:], first.Qtype)
	binary.BigEndian.PutUint16(question[end+2:], first.Qclass)
	p.q = query{
		id:       m.Id,
		flags:    [2]byte{msg[2], msg[3]},
		question: question[:end+4],
		qtype:    first.Qtype,
		qclass:   first.Qclass,
		name:     strings.ToLower(strings.TrimSuffix(first.Name, ".")),
	}
	if opt := m.IsEdns0(); opt != nil {
		p.q.edns, p.q.version, p.q.do, p.q.size = true, opt.Version(), opt.Do(), int(opt.UDPSize())
	}
	return true
}

// firstQuestion returns the wire form of the first question. It fails if that is
// cut off or its name has a pointer, which could only lead into the header.
func firstQuestion(msg []byte) ([]byte, bool) {
	if len(msg) < headerLen || binary.BigEndian.Uint16(msg[4:]) == 0 {
		return nil, false
	}
	for i := headerLen; i < len(msg); {
		size := int(msg[i])
		i++
		switch {
		case size > 63:
			return nil, false
		case size > 0:
			i += size
		case i+4 > len(msg):
			return nil, false
		default:
			return msg[headerLen : i+4], true
		}
	}
	return nil, false
}
