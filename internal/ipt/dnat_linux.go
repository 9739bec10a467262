package ipt

import (
	"context"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
)

// dnatRule is a rule of somebody else that leads ports of the host elsewhere.
type dnatRule struct {
	chain string
	proto uint8        // 0: any
	host  netip.Prefix // invalid: any
	ports [][2]uint16  // ranges
}

// hits says whether the rule and a publication ask for the same packets, and whether
// it is about ports of the publication alone.
func (r *dnatRule) hits(p *model.Port) (hit, exact bool) {
	if r.proto != 0 && r.proto != p.Proto || r.host.IsValid() && !p.Host.IsUnspecified() && !r.host.Contains(p.Host) {
		return false, false
	}
	return p.Among(r.ports)
}

// quoted is an argument in which anything may stand.
var quoted = regexp.MustCompile(`"(\\.|[^"\\])*"`)

// parseDNAT reads a rule of the table nat. ok says that it translates the destination
// of ports that it names, or of all ports.
func parseDNAT(chain, text string) (r dnatRule, ok bool) {
	r.chain = chain
	words := strings.Fields(quoted.ReplaceAllString(text, "quoted"))
	not, translates := false, false
	for i := 0; i+1 < len(words); i++ {
		arg := words[i+1]
		switch words[i] {
		case "!":
			not = true
			continue
		case "-j":
			translates = arg == "DNAT" || arg == "REDIRECT"
		case "-p":
			if r.proto = protocol(arg); not || r.proto == 0 {
				return r, false
			}
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
	if len(r.ports) == 0 && chain == "PREROUTING" && isPlain(words) {
		r.ports = [][2]uint16{{0, 65535}}
	}
	return r, translates && len(r.ports) > 0
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
		case "-p", "-d", "-j", "--comment", "--to-destination", "--to-ports":
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
// rules of the same variant of iptables that name ports, or are about all in PREROUTING, as they
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
