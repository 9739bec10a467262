package ipt

import (
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/model"
)

// guardRules drop what is not for us at all, nor for others. What another backend has accepted
// for another data directory carries the mark.
func (f *family) guardRules(g model.FirewallGuard) (list []entry) {
	if !g.Of(f.v6) {
		return nil
	}
	bridges, routers := g.Passes(f.v6)
	for _, name := range bridges {
		list = append(list, f.rule(chainGuard, "", "-i "+name, "-j RETURN"), f.rule(chainGuard, "", "-o "+name, "-j RETURN"))
	}
	for _, name := range routers {
		list = append(list, f.rule(chainGuard, "", "-i "+name, "-j RETURN"))
	}
	return append(list, f.rule(chainGuard, "", "-m mark ! --mark "+mark, drop))
}

// guardOf is what the rules of a listing say.
func (f *family) guardOf(rs rules) (on bool, bridges, routers []string) {
	for _, e := range rs[tableFilter].chains[f.chain(chainGuard)][""] {
		words := strings.Fields(e.text)
		switch {
		case targetOf(e.text) == "DROP":
			on = true
		case len(words) < 2:
		case words[0] == "-i":
			routers = append(routers, words[1])
		case words[0] == "-o":
			routers = slices.DeleteFunc(routers, func(name string) bool { return name == words[1] })
			bridges = append(bridges, words[1])
		}
	}
	return on, bridges, routers
}

// guard is what the rules say.
func (f *Firewall) guard() (g model.FirewallGuard) {
	for i, fam := range f.fams {
		on, bridges, routers := fam.guardOf(f.have[i].rules)
		if len(bridges) > 0 {
			g.Bridges = strings.Join(bridges, " ")
		}
		if fam.v6 {
			g.V6, g.Routers6 = on, strings.Join(routers, " ")
		} else {
			g.V4, g.Routers4 = on, strings.Join(routers, " ")
		}
	}
	return g
}
