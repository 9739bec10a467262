package exposure

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/libnetwork/libnetwork/internal/model"
)

// words are the firewall's rules as one who lists them finds them. Tests hold them
// against what packages nft and ipt make.
type words struct{ backend, table string }

func (w words) nft() bool { return !strings.HasPrefix(w.backend, "iptables") }

// list is a rule of nftables; what is chain, map or set.
func (w words) list(v6 bool, what, name, text string) Rule {
	family := "ip"
	if v6 {
		family = "ip6"
	}
	return Rule{"nft list " + what + " " + family + " " + w.table + " " + name, text}
}

// iptables is a rule of iptables.
func (w words) iptables(v6 bool, table, chain, text string) Rule {
	program := w.backend
	if v6 {
		program = "ip6" + strings.TrimPrefix(w.backend, "ip")
	}
	return Rule{program + " -t " + table + " -S " + w.chain(chain), text}
}

// chain is the name of a chain of iptables.
func (w words) chain(name string) string { return strings.ToUpper(w.table) + "-" + name }

func short(id string) string { return id[:min(12, len(id))] }

// link writes the name of a link as nftables does.
func link(name string) string { return strconv.Quote(name) }

// enter is a rule of iptables for what comes into a network; in and match are its
// conditions.
func (w words) enter(v6 bool, n *network, in, match string) Rule {
	return w.iptables(v6, "filter", "ENTER", in+"-o "+n.bridge+match+" -g "+w.chain("TAKE"))
}

// translated lets in what a published port led to the network.
func (w words) translated(v6 bool, n *network) Rule {
	if w.nft() {
		return w.list(v6, "chain", "enter", "ct status dnat goto pass")
	}
	return w.enter(v6, n, "", " -m conntrack --ctstate DNAT")
}

// last lets everything in.
func (w words) last(v6 bool, n *network) Rule {
	if w.nft() {
		return w.list(v6, "set", "unprotected", link(n.bridge))
	}
	return w.enter(v6, n, "", "")
}

func (w words) trusted(v6 bool, n *network, from string) Rule {
	if w.nft() {
		return w.list(v6, "set", "trusted", link(from)+" . "+link(n.bridge))
	}
	return w.enter(v6, n, "-i "+from+" ", "")
}

func (w words) mark(v6 bool, n *network, m model.Mark) Rule {
	if w.nft() {
		return w.list(v6, "chain", "marked_"+short(n.ID), fmt.Sprintf("meta mark & %#08x == %#08x goto pass", m.Mask, m.Value))
	}
	return w.enter(v6, n, "", fmt.Sprintf(" -m mark --mark %#x/%#x", m.Value, m.Mask))
}

// members lets containers of the network reach each other. Packets meet it where
// they come by way of the host.
func (w words) members(v6 bool, n *network) Rule {
	if w.nft() {
		return w.list(v6, "set", "icc", link(n.bridge))
	}
	return w.iptables(v6, "filter", "MEMBER", "-i "+n.bridge+" -o "+n.bridge+" -g "+w.chain("PASS"))
}

// port is what leads a port of the host to the container; of many that are apart, the
// first.
func (w words) port(p model.Port) Rule {
	v6, proto := p.Host.Is6(), protoWord(p.Proto)
	first, all := strconv.Itoa(int(p.First)), p.Host.IsUnspecified()
	whole := p.Last > p.First && p.Port == p.First // one interval
	switch {
	case w.nft() && all && whole && proto != "sctp":
		return w.list(v6, "map", "range_"+proto, first+"-"+strconv.Itoa(int(p.Last)))
	case w.nft() && all:
		return w.list(v6, "map", "port_any", proto+" . "+first)
	case w.nft():
		return w.list(v6, "map", "port_addr", p.Host.String()+" . "+proto+" . "+first)
	}
	chain, host, to := "ANY", "", netip.AddrPortFrom(p.Addr, p.Port).String()
	if whole {
		first, to = first+":"+strconv.Itoa(int(p.Last)), p.Addr.String()
	}
	if !all {
		chain, host = "ADDRESS", "-d "+netip.PrefixFrom(p.Host, p.Host.BitLen()).String()+" "
	}
	return w.iptables(v6, "nat", chain, host+w.proto(p.Proto, "dport", first)+" -j DNAT --to-destination "+to)
}

func (w words) proto(p uint8, option, ports string) string {
	name := protoWord(p)
	return "-p " + name + " -m " + name + " --" + option + " " + ports
}

// open is a port of a container that is open at its own address; of many, the first.
func (w words) open(p model.OpenPort) Rule {
	v6, first := p.Addr.Is6(), strconv.Itoa(int(p.First))
	if w.nft() {
		return w.list(v6, "set", "open", p.Addr.String()+" . "+protoWord(p.Proto)+" . "+first)
	}
	if p.Last > p.First {
		first += ":" + strconv.Itoa(int(p.Last))
	}
	return w.iptables(v6, "filter", "OPEN", "-d "+netip.PrefixFrom(p.Addr, p.Addr.BitLen()).String()+" "+
		w.proto(p.Proto, "dport", first)+" -g "+w.chain("TAKE"))
}

// link is what lets pass what goes by way of the host from a client to its target,
// or back.
func (w words) link(l model.Link, forth bool) Rule {
	if w.nft() {
		return w.list(l.Target.Is6(), "set", "links", linkText(l))
	}
	return w.linkRule(l, forth, "-m conntrack --ctstate DNAT")
}

func (w words) linkRule(l model.Link, forth bool, match string) Rule {
	from, to, option := l.Client, l.Target, "dport"
	if !forth {
		from, to, option = l.Target, l.Client, "sport"
	}
	prefix := func(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }
	return w.iptables(l.Target.Is6(), "filter", "LINK", "-s "+prefix(from)+" -d "+prefix(to)+" -i "+l.Bridge+" -o "+l.Bridge+" "+
		strings.Replace(w.proto(l.Proto, option, strconv.Itoa(int(l.Port))), " -m ", " "+match+" -m ", 1)+" -g "+w.chain("PASS"))
}

// linkFrames is what lets pass the frames that the bridge forwards.
func (w words) linkFrames(l model.Link, forth bool) Rule {
	if !w.nft() {
		return w.linkRule(l, forth, fmt.Sprintf("-m mark --mark %#x/%#x", model.FirewallMark, model.FirewallMark))
	}
	set := "client_ip"
	if l.Target.Is6() {
		set = "client_ip6"
	}
	return Rule{"nft list set bridge " + w.table + " " + set, strconv.Quote(l.ClientHost) + " . " + linkText(l)}
}

func linkText(l model.Link) string {
	return l.Client.String() + " . " + l.Target.String() + " . " + protoWord(l.Proto) + " . " + strconv.Itoa(int(l.Port))
}

func protoWord(p uint8) string {
	switch p {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 132:
		return "sctp"
	default:
		return strconv.Itoa(int(p))
	}
}
