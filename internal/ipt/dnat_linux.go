package ipt

import (
	"context"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
)

// dnatRule is a rule of somebody else that leads ports of the host elsewhere.
type dnatRule struct {
	chain string
	proto uint8        // 0: any
	host  netip.Prefix // invalid: any
	ports [][2]uint16  // ranges
	// dnat says that it translates destinations itself. Else it leads to a chain, without any
	// condition if it is bare.
	dnat, bare bool
	to         string
	all        bool // it names no port and is about all
}

// hits says whether the rule and a publication ask for the same packets, and whether
// it is about ports of the publication alone.
func (r *dnatRule) hits(p *model.Port) (hit, exact bool) {
	if r.proto != 0 && r.proto != p.Proto || r.host.IsValid() && !p.Host.IsUnspecified() && !r.host.Contains(p.Host) {
		return false, false
	}
	hit, exact = p.Among(r.ports)
	// Who leads to a chain what is for an address may have a service there, and no host.
	elsewhere := !r.dnat && r.host.IsValid() && p.Host.IsUnspecified()
	return hit, exact && !elsewhere
}

// quoted is an argument in which anything may stand.
var quoted = regexp.MustCompile(`"(\\.|[^"\\])*"`)

// parseDNAT reads a rule of the table nat. ok says that it translates the destination, or leads
// to another chain.
func parseDNAT(chain, text string) (r dnatRule, ok bool) {
	r.chain = chain
	words := strings.Fields(quoted.ReplaceAllString(text, "quoted"))
	not, portless := false, false
	for i := 0; i+1 < len(words); i++ {
		arg := words[i+1]
		switch words[i] {
		case "!":
			not = true
			continue
		case "-j", "-g":
			if r.dnat = arg == "DNAT" || arg == "REDIRECT"; !r.dnat {
				r.to = arg
			}
		case "-p":
			r.proto = protocol(arg)
			portless = not || r.proto == 0
		case "-d":
			if p, err := netip.ParsePrefix(arg); err == nil && !not {
				r.host = p
			}
		case "--dport", "--dports":
			if !not {
				r.ports = portRanges(arg)
			}
		}
		not = false
	}
	if portless {
		r.ports = nil
	}
	r.all = !portless && len(r.ports) == 0 && isPlain(words)
	r.bare = r.all && r.proto == 0 && !slices.Contains(words, "-d") && !slices.Contains(words, "!")
	return r, r.dnat || r.to != ""
}

// leading returns the rules of others in the table nat that translate ports that they name, or
// that lead them to chains from which, whatever else is asked on the way, a rule that
// translates is reached, and those that translate all ports from outside: in PREROUTING, and in
// chains that it leads to without any condition.
func leading(rules []dnatRule) []dnatRule {
	on, back := make(map[string][]string), make(map[string][]string)
	for i := range rules {
		r := &rules[i]
		if r.dnat {
			continue
		}
		back[r.to] = append(back[r.to], r.chain)
		if r.bare {
			on[r.chain] = append(on[r.chain], r.to)
		}
	}
	var ends []string
	for i := range rules {
		if r := &rules[i]; len(back) > 0 && r.dnat && len(back[r.chain]) > 0 {
			ends = append(ends, r.chain)
		}
	}
	from, leads := nft.Reach([]string{"PREROUTING"}, on), nft.Reach(ends, back)
	list := rules[:0]
	for i := range rules {
		r := &rules[i]
		if r.dnat && r.all && from[r.chain] {
			r.ports = [][2]uint16{{0, 65535}}
		}
		if len(r.ports) > 0 && (r.dnat || leads[r.to]) {
			list = append(list, *r)
		}
	}
	return list
}

// isPlain says whether a rule has no conditions but a protocol, a destination, and a link that it
// does not come from: only of such a rule is it known that it is about all ports, and may
// meet packets from outside.
func isPlain(words []string) bool {
	for i := 0; i < len(words); i++ {
		switch words[i] {
		case "!":
			if i++; i == len(words) || words[i] != "-i" {
				return false
			}
			i++
		case "-m":
			if i++; i == len(words) || words[i] != "comment" && protocol(words[i]) == 0 {
				return false
			}
		case "-p", "-d", "-j", "-g", "--comment", "--to-destination", "--to-ports":
			i++
		case "--random", "--persistent":
		default:
			return false
		}
	}
	return true
}

// protocol is the number of a protocol that has ports, 0 of any other.
func protocol(name string) uint8 {
	switch name {
	case "tcp", "6":
		return unix.IPPROTO_TCP
	case "udp", "17":
		return unix.IPPROTO_UDP
	case "sctp", "132":
		return unix.IPPROTO_SCTP
	}
	return 0
}

// portRanges reads ports and ranges with commas in between.
func portRanges(list string) (out [][2]uint16) {
	for s := range strings.SplitSeq(list, ",") {
		from, to, ranged := strings.Cut(s, ":")
		if !ranged {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if err1 == nil && err2 == nil {
			out = append(out, [2]uint16{uint16(first), uint16(last)})
		}
	}
	return out
}

// ForeignDNAT returns each publication that a rule of somebody else translates too,
// with its chain: which of the two a packet meets first is not ours to say. It knows
// rules of the same variant of iptables that name ports, or are about all in PREROUTING, and
// those that lead such packets to chains that translate them, as they
// were when the rules were last read: at the beginning, and after each change by somebody else.
func (f *Firewall) ForeignDNAT(ctx context.Context, ports []model.Port) (found []model.ForeignDNAT, err error) {
	err = f.do(ctx, "reading", func() error {
		f.stale = f.stale || f.changed(0) || f.changed(1)
		if f.stale {
			f.loaded = false
		}
		if err := f.load(ctx); err != nil {
			return err
		}
		for _, p := range ports {
			i := 0
			if p.Host.Is6() {
				i = 1
			}
			for _, r := range f.have[i].dnat {
				if hit, exact := r.hits(&p); hit {
					found = append(found, model.ForeignDNAT{Port: p, Rule: f.fams[i].String() + ", table nat, chain " + r.chain, Ports: r.ports, Exact: exact})
				}
			}
		}
		return nil
	})
	return found, err
}
