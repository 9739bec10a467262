package fwtest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/model"
)

// A Case is what a firewall shall hold.
type Case struct {
	Name  string
	Want  model.FirewallChange
	Guard model.FirewallGuard
}

// Cases are those of which the whole rules are written down. What the settings of a
// network mean, in every combination, is written down by [GoldenSettings].
func Cases() []Case {
	v4, v6 := Network(1), Network(1)
	v4.V6, v6.V4 = nil, nil
	links := Networks(Network(4, NoICC))
	links.Links, links.LinkedPorts = Some().Links, Some().LinkedPorts
	ports := Networks(Network(1))
	ports.Ports, ports.Kept, ports.Tracked = Ports(), Some().Kept, Some().Tracked
	return []Case{
		{Name: "nothing"},
		{Name: "ipv4", Want: Networks(v4)},
		{Name: "ipv6", Want: Networks(v6)},
		{Name: "guarded_beside_others", Want: Networks(Network(1)), Guard: model.FirewallGuard{
			V4: true, V6: true,
			Passes4: model.GuardPasses{Bridges: "docker0 virbr0", Switches: "br-lan", Routers: "wg0"},
			Passes6: model.GuardPasses{Bridges: "docker0", Switches: "br-lan virbr0"},
		}},
		{Name: "guarded", Want: Networks(Network(1)), Guard: model.FirewallGuard{V4: true, V6: true}},
		{Name: "guard_alone", Guard: model.FirewallGuard{V4: true}},
		{Name: "ports", Want: ports},
		{Name: "links", Want: links},
		{Name: "modes", Want: Modes()},
	}
}

// A Setting is one way to set a network up, for one family.
type Setting struct {
	Mode               model.GatewayMode
	Internal, ICC      bool
	Masquerade, Source bool // Source: with a source address of its own
	Trusted, Marked    bool
}

// Settings are all that there are.
func Settings() []Setting {
	all := []Setting{{}}
	each := func(change func(s Setting) []Setting) {
		var more []Setting
		for _, s := range all {
			more = append(more, change(s)...)
		}
		all = more
	}
	flag := func(set func(*Setting)) {
		each(func(s Setting) []Setting {
			t := s
			set(&t)
			return []Setting{s, t}
		})
	}
	each(func(s Setting) (out []Setting) {
		for m := model.ModeNAT; m <= model.ModeIsolated; m++ {
			s.Mode, s.Internal = m, m == model.ModeIsolated
			out = append(out, s)
		}
		return out
	})
	flag(func(s *Setting) { s.Internal = true })
	flag(func(s *Setting) { s.ICC = true })
	each(func(s Setting) []Setting {
		masq, to := s, s
		masq.Masquerade = true
		to.Masquerade, to.Source = true, true
		return []Setting{s, masq, to}
	})
	flag(func(s *Setting) { s.Trusted = true })
	flag(func(s *Setting) { s.Marked = true })
	return all
}

// Apply sets a family up.
func (s Setting) Apply(f *model.FirewallFamily) {
	f.Mode, f.Internal, f.ICC, f.Masquerade = s.Mode, s.Internal, s.ICC, s.Masquerade
	if s.Source {
		f.MasqueradeTo = netip.MustParseAddr("192.0.2.7")
		if f.Subnets[0].Addr().Is6() {
			f.MasqueradeTo = netip.MustParseAddr("2001:db8:2::7")
		}
	}
	if s.Trusted {
		f.Trusted = []string{"eth1"}
	}
	if s.Marked {
		f.TrustedMark = model.Mark{Value: 0x10, Mask: 0xf0}
	}
}

// A Kind is one of the things that a firewall makes for a network, and the settings
// that it depends on.
type Kind struct {
	Name, Says string
	Depends    func(Setting) string
}

// What a kind may depend on.

// Members are the settings for what goes between members, and out of a network.
func Members(s Setting) string { return words(ICC(s), Inside(s)) }

// ICC is the setting for what goes between members alone.
func ICC(s Setting) string { return name("icc", s.ICC) }

// Outsiders are those for what comes in from outside.
func Outsiders(s Setting) string {
	if s.Internal {
		return "internal"
	}
	return words(s.Mode.String(), name("trusted interface", s.Trusted), name("trusted mark", s.Marked))
}

// Sources are those for the source address of what leaves.
func Sources(s Setting) string {
	switch {
	case s.Mode == model.ModeRouted:
		return "routed"
	case s.Source:
		return "masqueraded, with a source address"
	}
	return is("masqueraded", s.Masquerade)
}

// Hidden tells networks whose addresses do not leave from others.
func Hidden(s Setting) string {
	if s.Internal {
		return "internal"
	}
	return is("masqueraded", s.Masquerade && s.Mode != model.ModeRouted)
}

// NotRouted tells routed networks from others.
func NotRouted(s Setting) string { return is("routed", s.Mode == model.ModeRouted) }

// Inside tells internal networks from others.
func Inside(s Setting) string { return is("internal", s.Internal) }

// Isolated tells isolated networks from others.
func Isolated(s Setting) string { return is("isolated", s.Mode == model.ModeIsolated) }

// Always is for what depends on no setting.
func Always(Setting) string { return "always" }

// All joins what a kind depends on.
func All(list ...func(Setting) string) func(Setting) string {
	return func(s Setting) string {
		var texts []string
		for _, f := range list {
			texts = append(texts, f(s))
		}
		return words(texts...)
	}
}

func name(word string, on bool) string {
	if on {
		return word
	}
	return "no " + word
}

func is(word string, on bool) string {
	if on {
		return word
	}
	return "not " + word
}

func words(list ...string) string { return strings.Join(list, ", ") }

// GoldenSettings goes through all combinations of a network's settings. The golden
// file has each kind once for each combination of the settings that it depends on;
// the test makes sure that it depends on no other. parts returns what is made for a
// network, by the name of the kind.
func GoldenSettings(t *testing.T, file string, kinds []Kind, parts func(model.FirewallNetwork) map[string]string) {
	t.Helper()
	made := make(map[string]string) // kind and settings: text
	var order []string
	for _, s := range Settings() {
		got := parts(Network(1, s.Apply))
		for _, k := range kinds {
			key := k.Name + " (" + k.Says + "): " + k.Depends(s)
			text, ok := made[key]
			if !ok {
				made[key] = got[k.Name]
				order = append(order, key)
			} else if text != got[k.Name] {
				t.Errorf("%s: with %+v it is\n%s\nand with others\n%s", key, s, got[k.Name], text)
			}
			delete(got, k.Name)
		}
		if len(got) > 0 {
			t.Fatalf("with %+v there is more than the kinds that are known: %v", s, got)
		}
	}
	var text strings.Builder
	text.WriteString("# What is made for a network \"br1\", 172.20.1.0/24 and fd00:1::/64, for every combination of its settings.\n")
	for _, k := range kinds {
		for _, key := range order {
			if strings.HasPrefix(key, k.Name+" (") {
				fmt.Fprintf(&text, "\n# %s\n%s", key, made[key])
			}
		}
	}
	Golden(t, file, text.String())
}
