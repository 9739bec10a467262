package nft_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// setting is one way to set a network up, for one family.
type setting struct {
	mode            model.GatewayMode
	internal, icc   bool
	masq, to        bool
	trusted, marked bool
	clamp           bool
}

// settings are all that there are.
func settings() []setting {
	all := []setting{{}}
	each := func(change func(s setting) []setting) {
		var more []setting
		for _, s := range all {
			more = append(more, change(s)...)
		}
		all = more
	}
	flag := func(set func(*setting)) {
		each(func(s setting) []setting {
			t := s
			set(&t)
			return []setting{s, t}
		})
	}
	each(func(s setting) (out []setting) {
		for m := model.ModeNAT; m <= model.ModeIsolated; m++ {
			s.mode, s.internal = m, m == model.ModeIsolated
			out = append(out, s)
		}
		return out
	})
	flag(func(s *setting) { s.internal = true })
	flag(func(s *setting) { s.icc = true })
	each(func(s setting) []setting {
		masq, to := s, s
		masq.masq = true
		to.masq, to.to = true, true
		return []setting{s, masq, to}
	})
	flag(func(s *setting) { s.trusted = true })
	flag(func(s *setting) { s.marked = true })
	flag(func(s *setting) { s.clamp = true })
	return all
}

func (s setting) apply(f *model.FirewallFamily) {
	f.Mode, f.Internal, f.ICC, f.Masquerade, f.ClampMSS = s.mode, s.internal, s.icc, s.masq, s.clamp
	if s.to {
		f.MasqueradeTo = netip.MustParseAddr("192.0.2.7")
		if f.Subnets[0].Addr().Is6() {
			f.MasqueradeTo = netip.MustParseAddr("2001:db8:2::7")
		}
	}
	if s.trusted {
		f.Trusted = []string{"eth1"}
	}
	if s.marked {
		f.TrustedMark = model.Mark{Value: 0x10, Mask: 0xf0}
	}
}

// kinds of what is made for a network, and the settings that each depends on.
var kinds = []struct {
	name, says string
	depends    func(setting) string
}{
	{"in", "what a member sends to others", func(s setting) string {
		return words(name("icc", s.icc), name("internal", s.internal))
	}},
	{"out", "what comes to a member", func(s setting) string {
		if s.internal {
			return "internal"
		}
		return words(s.mode.String(), name("trusted interface", s.trusted), name("trusted mark", s.marked))
	}},
	{"post", "the source address of what a member sends outside", func(s setting) string {
		switch {
		case s.mode == model.ModeRouted:
			return "routed"
		case s.to:
			return "masqueraded, with a source address"
		}
		return name("masqueraded", s.masq)
	}},
	{"hairpin", "the source address of what a member sends to a published port of the network", func(s setting) string {
		if s.mode == model.ModeRouted {
			return "routed"
		}
		return "not routed"
	}},
	{"sets", "the sets that the bridge is in", func(s setting) string {
		return words(name("isolated", s.mode == model.ModeIsolated), name("clamped MSS", s.clamp))
	}},
}

func name(word string, on bool) string {
	if on {
		return word
	}
	return "no " + word
}

func words(list ...string) string { return strings.Join(list, ", ") }

// parts cuts what belongs to the network out of its tables, by kind.
func parts(tables string) map[string]string {
	out := make(map[string]string)
	for _, kind := range []string{"in", "out", "post", "hairpin"} {
		rest := tables
		for {
			_, after, ok := strings.Cut(rest, "\tchain "+kind+"_000000000001 {\n")
			if !ok {
				break
			}
			body, after, _ := strings.Cut(after, "\t}\n")
			out[kind] += "\tchain " + kind + " {\n" + body + "\t}\n"
			rest = after
		}
	}
	for _, set := range []string{"isolated", "clamp"} {
		if strings.Contains(tables, "\tset "+set+" {\n\t\ttype ifname\n\t\t\"br1\"") {
			out["sets"] += "\t" + set + "\n"
		}
	}
	return out
}

// TestGoldenSettings goes through all combinations of a network's settings. The
// golden file has each kind of chain once for each combination of the settings
// that it depends on; the test makes sure that it depends on no other.
func TestGoldenSettings(t *testing.T) {
	made := make(map[string]string) // kind and settings: text
	var order []string
	for _, s := range settings() {
		n := network(1)
		s.apply(n.V4)
		s.apply(n.V6)
		tables, err := nft.Render("libnetwork", nft.Change{Networks: []model.FirewallNetwork{n}}, nft.Guard{})
		if err != nil {
			t.Fatal(err)
		}
		got := parts(tables)
		for _, k := range kinds {
			key := k.name + " (" + k.says + "): " + k.depends(s)
			text, ok := made[key]
			if !ok {
				made[key] = got[k.name]
				order = append(order, key)
			} else if text != got[k.name] {
				t.Errorf("%s: with %+v it is\n%s\nand with others\n%s", key, s, got[k.name], text)
			}
		}
	}
	var file strings.Builder
	file.WriteString("# What is made for a network \"br1\", 172.20.1.0/24 and fd00:1::/64, for every combination of its settings.\n")
	for _, k := range kinds {
		for _, key := range order {
			if strings.HasPrefix(key, k.name+" (") {
				fmt.Fprintf(&file, "\n# %s\n%s", key, made[key])
			}
		}
	}
	golden(t, "settings", file.String())
}

// link lets the second address reach TCP port 80 of the first.
func link(target, client string) model.Link {
	return model.Link{
		Bridge: "br1", Proto: 6, Client: netip.MustParseAddr(client), Target: netip.MustParseAddr(target), Port: 80, Owner: "e2",
	}
}

// modes is a change with every setting that needs an element or a table of its own.
func modes() nft.Change {
	var nets []model.FirewallNetwork
	for i, s := range []setting{
		{mode: model.ModeRouted, icc: true},
		{mode: model.ModeIsolated, internal: true, clamp: true},
		{masq: true, to: true, clamp: true, trusted: true, marked: true},
		{mode: model.ModeNATUnprotected, masq: true},
	} {
		n := network(i + 1)
		s.apply(n.V4)
		s.apply(n.V6)
		nets = append(nets, n)
	}
	return nft.Change{
		Networks: nets,
		OpenPorts: []model.OpenPort{
			{Proto: 6, Addr: netip.MustParseAddr("172.20.1.2"), First: 80, Last: 82, Owner: "e1"},
			{Proto: 17, Addr: netip.MustParseAddr("fd00:1::2"), First: 53, Last: 53, Owner: "e1"},
		},
		Links:       []model.Link{link("172.20.3.2", "172.20.3.3"), link("fd00:3::2", "fd00:3::3")},
		LinkedPorts: []model.LinkedPort{{Host: "v1a", Owner: "e1"}, {Host: "v1b", Owner: "e2"}},
	}
}

func TestGoldenModes(t *testing.T) {
	got, err := nft.Render("libnetwork", modes(), nft.Guard{})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "modes", got)
}

// pieces are the parts of a change, in an order in which they can be made.
func pieces(c nft.Change) []nft.Change {
	var list []nft.Change
	for i := range c.Networks {
		list = append(list, nft.Change{Networks: c.Networks[i : i+1]})
	}
	for i := range c.OpenPorts {
		list = append(list, nft.Change{OpenPorts: c.OpenPorts[i : i+1]})
	}
	for i := range c.LinkedPorts {
		list = append(list, nft.Change{LinkedPorts: c.LinkedPorts[i : i+1]})
	}
	for i := range c.Links {
		list = append(list, nft.Change{Links: c.Links[i : i+1]})
	}
	return list
}

func TestModesAreReconciled(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		want, none := modes(), nft.Change{}
		apply := func(add, del nft.Change) {
			t.Helper()
			if err := f.Apply(t.Context(), add, del); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range pieces(want) {
			apply(p, none)
		}
		reconcile(t, f, want, nft.Guard{}, false)
		apply(want, none)
		apply(want, want)
		reconcile(t, f, want, nft.Guard{}, false)

		text, err := f.List(t.Context())
		if err != nil || strings.Contains(text, "unknown rule") || !strings.Contains(text, "table bridge libnetwork") {
			t.Errorf("List: %v\n%s", err, text)
		}
		// A new process knows what there is.
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f = open(t, nft.Config{})
		gone := nft.Change{Links: want.Links[:1], LinkedPorts: want.LinkedPorts[:1]}
		apply(none, gone)
		apply(none, gone) // the other end of the link takes it away as well
		left := modes()
		left.Links, left.LinkedPorts = left.Links[1:], left.LinkedPorts[1:]
		reconcile(t, f, left, nft.Guard{}, false)
		plain := nft.Change{Networks: []model.FirewallNetwork{network(2), network(3)}}
		apply(plain, nft.Change{Networks: want.Networks[1:3]})
		left.Networks[1], left.Networks[2] = plain.Networks[0], plain.Networks[1]
		reconcile(t, f, left, nft.Guard{}, false)
		for _, p := range pieces(left) {
			if len(p.Networks) == 0 {
				apply(none, p)
			}
		}
		if text := command(t, "nft", "list", "ruleset"); strings.Contains(text, "table bridge") || strings.Contains(text, "172.20.3.2") {
			t.Errorf("a table of links without links:\n%s", text)
		}
		apply(none, nft.Change{Networks: left.Networks})
		if text := command(t, "nft", "list", "ruleset"); text != "" {
			t.Errorf("left behind:\n%s", text)
		}
	})
}

func TestModesAreRepaired(t *testing.T) {
	for _, tamper := range []string{
		"delete table bridge libnetwork",
		"delete element bridge libnetwork linked { \"v1a\" }",
		"insert rule bridge libnetwork between accept",
		"delete element ip libnetwork isolated { \"br2\" }",
		"delete element ip6 libnetwork clamp { \"br3\" }",
		"add element ip libnetwork open { 172.20.1.2 . tcp . 443 }",
		"flush set ip libnetwork links",
		"flush chain ip libnetwork input",
	} {
		t.Run(tamper, func(t *testing.T) {
			nstest.Run(t, func() {
				f := open(t, nft.Config{NoOwner: true})
				reconcile(t, f, modes(), nft.Guard{}, true)
				command(t, "nft", tamper)
				reconcile(t, f, modes(), nft.Guard{}, true)
				reconcile(t, f, modes(), nft.Guard{}, false)
			})
		})
	}
}

func TestBadModes(t *testing.T) {
	addr := netip.MustParseAddr
	for name, spoil := range map[string]func(*nft.Change){
		"an isolated network that is not internal": func(c *nft.Change) { c.Networks[1].V4.Internal = false },
		"a mode that does not exist":               func(c *nft.Change) { c.Networks[0].V6.Mode = 9 },
		"a source address of the other family":     func(c *nft.Change) { c.Networks[0].V6.MasqueradeTo = addr("192.0.2.1") },
		"a trusted interface with a blank":         func(c *nft.Change) { c.Networks[0].V4.Trusted = []string{"a b"} },
		"a mark outside of its mask":               func(c *nft.Change) { c.Networks[0].V4.TrustedMark = model.Mark{Value: 3, Mask: 1} },
		"an open port 0":                           func(c *nft.Change) { c.OpenPorts[0].First = 0 },
		"an open port of no protocol":              func(c *nft.Change) { c.OpenPorts[0].Proto = 1 },
		"a link between families":                  func(c *nft.Change) { c.Links[0].Client = addr("fd00::1") },
		"a link to port 0":                         func(c *nft.Change) { c.Links[0].Port = 0 },
		"a linked port without a name":             func(c *nft.Change) { c.LinkedPorts[0].Host = "" },
	} {
		t.Run(name, func(t *testing.T) {
			c := modes()
			spoil(&c)
			if _, err := nft.Render("libnetwork", c, nft.Guard{}); err == nil {
				t.Error("accepted")
			}
		})
	}
}
