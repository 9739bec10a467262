package ipt

import (
	"context"
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
	p := g.Passes(f.v6)
	for name := range strings.FieldsSeq(p.Bridges) {
		list = append(list, f.rule(chainGuard, "", "-i "+name, "-j RETURN"), f.rule(chainGuard, "", "-o "+name, "-j RETURN"))
	}
	for name := range strings.FieldsSeq(p.Switches) {
		list = append(list, f.rule(chainGuard, "", "-i "+name+" -o "+name, "-j RETURN"))
	}
	for name := range strings.FieldsSeq(p.Routers) {
		list = append(list, f.rule(chainGuard, "", "-i "+name, "-j RETURN"))
	}
	return append(list, f.rule(chainGuard, "", "-m mark ! --mark "+mark, drop))
}

// guardOf is what the rules of a listing say.
func (f *family) guardOf(rs rules) (on bool, p model.GuardPasses) {
	var in, out, switches []string
	for _, e := range rs[tableFilter].chains[f.chain(chainGuard)][""] {
		words := strings.Fields(e.text)
		switch {
		case targetOf(e.text) == "DROP":
			on = true
		case len(words) < 4:
		case words[0] == "-o":
			out = append(out, words[1])
		case words[0] == "-i" && words[2] == "-o":
			switches = append(switches, words[1])
		case words[0] == "-i":
			in = append(in, words[1])
		}
	}
	in = slices.DeleteFunc(in, func(name string) bool { return slices.Contains(out, name) })
	list := func(names []string) string { return strings.Join(names, " ") }
	return on, model.GuardPasses{Bridges: list(out), Switches: list(switches), Routers: list(in)}
}

// Guarded says which families drop what neither enters nor leaves one of our bridges.
func (f *Firewall) Guarded(ctx context.Context) (v4, v6 bool, err error) {
	err = f.do(ctx, "reading", func() error {
		err := f.load(ctx)
		g := f.guard()
		v4, v6 = g.V4, g.V6
		return err
	})
	return v4, v6, err
}

// guard is what the rules say.
func (f *Firewall) guard() (g model.FirewallGuard) {
	g.V4, g.Passes4 = f.fams[0].guardOf(f.have[0].rules)
	g.V6, g.Passes6 = f.fams[1].guardOf(f.have[1].rules)
	return g
}
