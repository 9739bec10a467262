package dnsserver

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// rrs returns the records as text, sorted, as their order is random.
func rrs(list []dns.RR) []string {
	var out []string
	for _, rr := range list {
		out = append(out, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	slices.Sort(out)
	return out
}

const ip6Name = "4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa."

func TestAnswers(t *testing.T) {
	up := startUpstream(t, func(q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeNotZone) })
	_, udp, tcp := start(t, Config{Upstreams: []Upstream{up.Upstream()}})
	tests := []struct {
		name  string
		q     *dns.Msg
		want  []string
		rcode int
	}{
		{name: "DNS-13 A of a known name has one record for each IPv4 address", q: question("web.", dns.TypeA), want: []string{"web. 5 IN A 10.0.0.2"}},
		{name: "DNS-13 A of an unknown name is forwarded", q: question("other.", dns.TypeA), rcode: dns.RcodeNotZone},
		{name: "DNS-13 AAAA of a known name has one record for each IPv6 address", q: question("dual.", dns.TypeAAAA), want: []string{"dual. 5 IN AAAA fd00::3"}},
		{name: "DNS-13 AAAA of a name without IPv6 is NOERROR without records and not forwarded", q: question("web.", dns.TypeAAAA)},
		{name: "DNS-7b A of an IPv6-only name is NOERROR without records and not forwarded", q: question("six.", dns.TypeA)},
		{name: "DNS-13 AAAA of an unknown name is forwarded", q: question("other.", dns.TypeAAAA), rcode: dns.RcodeNotZone},
		{name: "DNS-13 PTR of a known IPv4 address is name.network", q: question("2.0.0.10.in-addr.arpa.", dns.TypePTR), want: []string{"2.0.0.10.in-addr.arpa. 5 IN PTR web.front."}},
		{name: "DNS-13 PTR of a known IPv6 address is name.network", q: question(ip6Name, dns.TypePTR), want: []string{ip6Name + " 5 IN PTR six.back."}},
		{name: "DNS-13 PTR of an unknown address is forwarded", q: question("3.0.0.10.in-addr.arpa.", dns.TypePTR), rcode: dns.RcodeNotZone},
		{name: "DNS-13 PTR of what is no whole address is forwarded", q: question("0.0.10.in-addr.arpa.", dns.TypePTR), rcode: dns.RcodeNotZone},
		{name: "DNS-13 PTR outside the reverse zones is forwarded", q: question("web.", dns.TypePTR), rcode: dns.RcodeNotZone},
		{name: "DNS-13 PTR to what is no domain name is SERVFAIL", q: question("9.0.0.10.in-addr.arpa.", dns.TypePTR), rcode: dns.RcodeServerFailure},
		{name: "DNS-13 another type of a known name is NOERROR without records", q: question("web.", dns.TypeMX)},
		{name: "DNS-13 another type of an IPv6-only name is NOERROR without records", q: question("six.", dns.TypeTXT)},
		{name: "DNS-13 another type of an unknown name is forwarded", q: question("other.", dns.TypeMX), rcode: dns.RcodeNotZone},
		{name: "DNS-13 queries for the root are forwarded", q: question(".", dns.TypeNS), rcode: dns.RcodeNotZone},
		{name: "DNS-13 only the first question counts", q: &dns.Msg{Question: []dns.Question{{Name: "web.", Qtype: dns.TypeA, Qclass: dns.ClassINET}, {Name: "other.", Qtype: dns.TypeA, Qclass: dns.ClassINET}}}, want: []string{"web. 5 IN A 10.0.0.2"}},
		{name: "other class", q: &dns.Msg{Question: []dns.Question{{Name: "web.", Qtype: dns.TypeA, Qclass: dns.ClassCHAOS}}}, rcode: dns.RcodeNotZone},
		{name: "other opcode", q: &dns.Msg{MsgHdr: dns.MsgHdr{Opcode: dns.OpcodeNotify}, Question: question("web.", dns.TypeA).Question}, rcode: dns.RcodeNotZone},
		{name: "DNS-7d the answer repeats the spelling of the question", q: question("WeB.FronT.", dns.TypeA), want: []string{"WeB.FronT. 5 IN A 10.0.0.2"}},
		{name: "name with odd bytes", q: question(`A\.b.`, dns.TypeA), want: []string{`A\.b. 5 IN A 10.0.0.9`}},
		{name: "name with - and _", q: question("under_s-1c.", dns.TypeA), want: []string{"under_s-1c. 5 IN A 10.0.0.8"}},
		{name: "DNS-14 a local reply echoes id and question, copies RD, sets RA, clears AA", q: question("three.", dns.TypeA), want: []string{"three. 5 IN A 10.0.0.5", "three. 5 IN A 10.0.0.6", "three. 5 IN A 10.0.0.7"}},
		{name: "EDNS", q: question("web.", dns.TypeA).SetEdns0(4096, true), want: []string{"web. 5 IN A 10.0.0.2"}},
		{name: "EDNS version", q: badVersion(), rcode: dns.RcodeBadVers},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for network, addr := range map[string]string{"udp": udp, "tcp": tcp} {
				for _, rd := range []bool{false, true} {
					q := tt.q.Copy()
					q.Id, q.RecursionDesired = dns.Id(), rd
					before := up.count.Load()
					r := ask(t, network, addr, q)
					if diff := cmp.Diff(tt.want, rrs(r.Answer)); diff != "" {
						t.Errorf("%s (-want +got):\n%s", network, diff)
					}
					if r.Rcode != tt.rcode {
						t.Errorf("%s rcode %d, want %d", network, r.Rcode, tt.rcode)
					}
					forwarded := up.count.Load() != before
					if forwarded != (tt.rcode == dns.RcodeNotZone) {
						t.Errorf("%s forwarded: %v", network, forwarded)
					}
					if diff := cmp.Diff(q.Question[:1], r.Question); diff != "" {
						t.Errorf("%s question (-want +got):\n%s", network, diff)
					}
					if forwarded {
						continue
					}
					want := dns.MsgHdr{Id: q.Id, Response: true, RecursionDesired: rd, RecursionAvailable: true, Rcode: tt.rcode}
					if diff := cmp.Diff(want, r.MsgHdr); diff != "" {
						t.Errorf("DNS-14 %s header (-want +got):\n%s", network, diff)
					}
					if opt := r.IsEdns0(); (opt != nil) != (q.IsEdns0() != nil) || opt != nil && opt.Do() != q.IsEdns0().Do() {
						t.Errorf("RFC 6891: %s OPT record %v", network, opt)
					}
				}
			}
		})
	}
}

func badVersion() *dns.Msg {
	m := question("web.", dns.TypeA).SetEdns0(1232, false)
	m.IsEdns0().SetVersion(1)
	return m
}

func TestNoReply(t *testing.T) {
	a := answerer{s: newServer(t, Config{})}
	ok := pack(t, question("web.", dns.TypeA))
	response := slices.Clone(ok)
	response[2] |= bitQR
	none := slices.Clone(ok[:headerLen])
	none[5] = 0
	for name, msg := range map[string][]byte{"DNS-13 without a question there is no reply": none, "a response": response, "empty": nil, "half a header": ok[:headerLen-1]} {
		t.Run(name, func(t *testing.T) {
			if reply, forward := a.handle(nil, msg, true); len(reply)+len(forward) > 0 {
				t.Errorf("reply %x, forward %x", reply, forward)
			}
		})
	}
	t.Run("what cannot be read is answered FORMERR", func(t *testing.T) {
		reply, _ := a.handle(nil, ok[:len(ok)-1], true)
		if r := unpack(t, reply); r.Rcode != dns.RcodeFormatError || r.Id != binary.BigEndian.Uint16(ok) {
			t.Errorf("reply %v", r)
		}
	})
}

func TestOrder(t *testing.T) {
	t.Run("DNS-14 addresses come in random order, and the name table is not touched", func(t *testing.T) {
		a := answerer{s: newServer(t, Config{})}
		query := pack(t, question("three.", dns.TypeA))
		before := slices.Clone(testNames.forward["three"])
		seen := make(map[string]bool)
		for range 1000 { // each of 6 orders is missed with probability 10^-79
			reply, _ := a.handle(nil, query, true)
			seen[string(reply[len(query):])] = true
		}
		if len(seen) != 6 {
			t.Errorf("%d orders, want 6", len(seen))
		}
		if diff := cmp.Diff(before, testNames.forward["three"], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("backend's slice (-before +after):\n%s", diff)
		}
	})
}

func TestSize(t *testing.T) {
	_, udp, tcp := start(t, Config{})
	tests := []struct {
		name, network string
		qname         string
		qtype         uint16
		edns          uint16
		count         int
		tc            bool
	}{
		{name: "DNS-15 over UDP without EDNS0 at most 512 bytes are sent, with TC", network: "udp", qname: "crowd.", qtype: dns.TypeA, count: (512 - 12 - 11) / 16, tc: true},
		{name: "DNS-15 an EDNS0 size below 512 counts as 512", network: "udp", qname: "crowd.", qtype: dns.TypeA, edns: 100, count: (512 - 12 - 11 - 11) / 16, tc: true},
		{name: "DNS-15 over UDP at most the EDNS0 size is sent, with TC", network: "udp", qname: "crowd.", qtype: dns.TypeA, edns: 1232, count: (1232 - 12 - 11 - 11) / 16, tc: true},
		{name: "DNS-15 what fits into the EDNS0 size is sent whole", network: "udp", qname: "crowd.", qtype: dns.TypeA, edns: 4096, count: 100},
		{name: "DNS-15 over TCP a reply of 100 records is whole", network: "tcp", qname: "crowd.", qtype: dns.TypeA, count: 100},
		{name: "DNS-15 over TCP at most 65534 bytes are sent, without TC", network: "tcp", qname: "crowd6.", qtype: dns.TypeAAAA, count: (65534 - 12 - 12) / 28},
		{name: "DNS-15 over UDP no reply is longer than a datagram", network: "udp", qname: "crowd6.", qtype: dns.TypeAAAA, edns: 65535, count: (65507 - 12 - 12 - 11) / 28, tc: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := question(tt.qname, tt.qtype)
			if tt.edns > 0 {
				q.SetEdns0(tt.edns, false)
			}
			r := ask(t, tt.network, map[string]string{"udp": udp, "tcp": tcp}[tt.network], q)
			if len(r.Answer) != tt.count || r.Truncated != tt.tc {
				t.Errorf("%d records, TC %v; want %d, %v", len(r.Answer), r.Truncated, tt.count, tt.tc)
			}
			if unique := slices.Compact(rrs(r.Answer)); len(unique) != tt.count {
				t.Errorf("%d different records, want %d", len(unique), tt.count)
			}
		})
	}
}

func TestTTL(t *testing.T) {
	for _, tt := range []struct {
		name string
		ttl  time.Duration
		want uint32
	}{
		{"DNS-16 the TTL is 5 s by default", 0, 5},
		{"DNS-16 the TTL is configurable", 10 * time.Minute, 600},
		{"DNS-16 parts of a second of the TTL are cut", 1900 * time.Millisecond, 1},
		{"DNS-16 the TTL may be 0", -1, 0},
		{"DNS-16 the TTL is never above the limit of RFC 2181", 1 << 62, 1<<31 - 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := answerer{s: newServer(t, Config{TTL: tt.ttl})}
			reply, _ := a.handle(nil, pack(t, question("web.", dns.TypeA)), true)
			if got := unpack(t, reply).Answer[0].Header().Ttl; got != tt.want {
				t.Errorf("TTL %d, want %d", got, tt.want)
			}
		})
	}
}

func TestReverseAddr(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"IPv4", "4.3.2.1.in-addr.arpa", "1.2.3.4"},
		{"IPv4 limits", "255.0.10.100.in-addr.arpa", "100.10.0.255"},
		{"too short", "3.2.1.in-addr.arpa", ""},
		{"too long", "5.4.3.2.1.in-addr.arpa", ""},
		{"no number", "x.3.2.1.in-addr.arpa", ""},
		{"too big", "256.3.2.1.in-addr.arpa", ""},
		{"leading zero", "04.3.2.1.in-addr.arpa", ""},
		{"empty label", "4..2.1.in-addr.arpa", ""},
		{"zone itself", "in-addr.arpa", ""},
		{"IPv6", strings.TrimSuffix(ip6Name, "."), "fd00::4"},
		{"IPv6 too short", strings.TrimSuffix(ip6Name, ".")[2:], ""},
		{"IPv6 no nibble", "g" + strings.TrimSuffix(ip6Name, ".")[1:], ""},
		{"elsewhere", "4.3.2.1.example", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := ReverseAddr(tt.in)
			if ok != (tt.want != "") || ok && got.String() != tt.want {
				t.Errorf("%v, %v; want %q", got, ok, tt.want)
			}
		})
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	a := answerer{s: newServer(t, Config{})}
	out := make([]byte, 0, 512)
	for _, q := range []*dns.Msg{question("web.front.", dns.TypeA), question("web.", dns.TypeAAAA), question("web.", dns.TypeA).SetEdns0(1232, true), question("three.", dns.TypeA)} {
		msg := pack(t, q)
		if n := testing.AllocsPerRun(100, func() { a.handle(out, msg, true) }); n != 0 {
			t.Errorf("%v: %v allocations, want 0", q.Question, n)
		}
	}
}

// FuzzParse: what the fast parser takes, the full one takes too, and both find
// the same in it.
func FuzzParse(f *testing.F) {
	for _, m := range []*dns.Msg{question("web.", dns.TypeA), question("a.B-c._d.", dns.TypePTR).SetEdns0(1232, true), badVersion(), question(".", dns.TypeNS), question(`a\.b.`, dns.TypeA), question(strings.Repeat("abcdefg.", 31)+"abcde.", dns.TypeAAAA), question(strings.Repeat("abcdefg.", 31)+"abcdef.", dns.TypeAAAA)} {
		if b, err := m.Pack(); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		var fast, slow parser
		if !fast.parseFast(msg) {
			return
		}
		if !slow.parseSlow(msg) {
			t.Fatalf("only the fast parser takes %x", msg)
		}
		if diff := cmp.Diff(slow.q, fast.q, cmp.AllowUnexported(query{})); diff != "" {
			t.Errorf("%x (-slow +fast):\n%s", msg, diff)
		}
	})
}

// FuzzHandle: a reply is always a well-formed message of the allowed size that
// belongs to the query, and what is forwarded has a question.
func FuzzHandle(f *testing.F) {
	for _, m := range []*dns.Msg{question("web.", dns.TypeA), question("crowd.", dns.TypeA).SetEdns0(600, true), question(ip6Name, dns.TypePTR), question("other.", dns.TypeMX), badVersion()} {
		b := pack(f, m)
		f.Add(b, true)
		f.Add(b, false)
		f.Add(b[:len(b)-3], true)
	}
	for _, garbage := range []string{"", "\x00", "garbage", strings.Repeat("\xff", 40), "\x00\x01\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xc0\x0c", "\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01", "\x00\x01\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01"} {
		f.Add([]byte(garbage), true)
	}
	a := answerer{s: newServer(f, Config{})}
	f.Fuzz(func(t *testing.T, msg []byte, udp bool) {
		before := bytes.Clone(msg)
		reply, forward := a.handle([]byte("ab"), msg, udp)
		if !bytes.Equal(before, msg) {
			t.Fatalf("the query was changed: %x", before)
		}
		if len(msg) >= headerLen && msg[2]&bitQR != 0 && len(reply)+len(forward) > 0 {
			t.Fatalf("reply %x to a reply, forward %x", reply, forward)
		}
		if len(forward) > 0 {
			if len(reply) > 0 {
				t.Fatalf("reply %x and forward %x", reply, forward)
			}
			if failed := unpack(t, a.s.failure(forward, dns.RcodeServerFailure)); failed.Rcode != dns.RcodeServerFailure {
				t.Errorf("failure reply %v", failed)
			}
			return
		}
		if len(reply) == 0 {
			return
		}
		reply = reply[2:]
		r := unpack(t, reply)
		if !r.Response || r.Id != binary.BigEndian.Uint16(msg) {
			t.Errorf("reply %v", r)
		}
		if r.Rcode == dns.RcodeFormatError {
			return
		}
		if len(reply) > a.p.q.limit(udp) {
			t.Errorf("%d bytes", len(reply))
		}
		var m dns.Msg
		if err := m.Unpack(msg); err != nil || len(m.Question) == 0 {
			t.Fatalf("reply %v to a bad message %x", r, msg)
		}
		if diff := cmp.Diff(m.Question[:1], r.Question); diff != "" {
			t.Errorf("question (-want +got):\n%s", diff)
		}
	})
}

// FuzzReverseAddr: a name that is read as an address is the reverse name of that
// very address, and every address is read from its reverse name.
func FuzzReverseAddr(f *testing.F) {
	for _, s := range []string{"4.3.2.1.in-addr.arpa", "04.3.2.1.in-addr.arpa", "256.3.2.1.in-addr.arpa", "1.in-addr.arpa", ".ip6.arpa", "ip6.arpa", strings.TrimSuffix(ip6Name, "."), strings.Repeat("f.", 31) + "f.ip6.arpa", strings.Repeat("f", 63) + ".ip6.arpa"} {
		f.Add(s, []byte(s))
	}
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		if addr, ok := ReverseAddr(name); ok {
			if want, err := dns.ReverseAddr(addr.String()); err != nil || want != name+"." && !addr.Is4In6() {
				t.Errorf("%q is read as %v, whose name is %q, %v", name, addr, want, err)
			}
		}
		for _, size := range []int{4, 16} {
			if len(b) < size {
				return
			}
			addr, _ := netip.AddrFromSlice(b[:size])
			reverse, err := dns.ReverseAddr(addr.String())
			if got, ok := ReverseAddr(strings.TrimSuffix(reverse, ".")); !addr.Is4In6() && (err != nil || !ok || got != addr) {
				t.Errorf("%v is read from %q as %v, %t, %v", addr, reverse, got, ok, err)
			}
		}
	})
}
