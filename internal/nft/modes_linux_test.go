package nft_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

func TestModesAreReconciled(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		want, none := fwtest.Modes(), nft.Change{}
		apply := func(add, del nft.Change) {
			t.Helper()
			if err := f.Apply(t.Context(), add, del); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range fwtest.Pieces(want) {
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
		left := fwtest.Modes()
		left.Links, left.LinkedPorts = left.Links[1:], left.LinkedPorts[1:]
		reconcile(t, f, left, nft.Guard{}, false)
		plain := nft.Change{Networks: []model.FirewallNetwork{fwtest.Network(2), fwtest.Network(3)}}
		apply(plain, nft.Change{Networks: want.Networks[1:3]})
		left.Networks[1], left.Networks[2] = plain.Networks[0], plain.Networks[1]
		reconcile(t, f, left, nft.Guard{}, false)
		for _, p := range fwtest.Pieces(left) {
			if len(p.Networks) == 0 {
				apply(none, p)
			}
		}
		if text := nstest.Command(t, "nft", "list", "ruleset"); strings.Contains(text, "table bridge") || strings.Contains(text, "172.20.3.2") {
			t.Errorf("a table of links without links:\n%s", text)
		}
		apply(none, nft.Change{Networks: left.Networks})
		if text := nstest.Command(t, "nft", "list", "ruleset"); text != "" {
			t.Errorf("left behind:\n%s", text)
		}
	})
}

func TestModesAreRepaired(t *testing.T) {
	for _, tamper := range []string{
		"delete table bridge libnetwork",
		"delete element bridge libnetwork linked { \"v3a\" }",
		"insert rule bridge libnetwork between accept",
		"delete element ip libnetwork isolated { \"br2\" }",
		"add element ip libnetwork open { 172.20.1.2 . tcp . 443 }",
		"flush set ip libnetwork links",
		"flush chain ip libnetwork input",
	} {
		t.Run(tamper, func(t *testing.T) {
			nstest.Run(t, func() {
				f := open(t, nft.Config{NoOwner: true})
				reconcile(t, f, fwtest.Modes(), nft.Guard{}, true)
				nstest.Command(t, "nft", tamper)
				reconcile(t, f, fwtest.Modes(), nft.Guard{}, true)
				reconcile(t, f, fwtest.Modes(), nft.Guard{}, false)
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
			c := fwtest.Modes()
			spoil(&c)
			if _, err := nft.Render("libnetwork", c, nft.Guard{}); err == nil {
				t.Error("accepted")
			}
		})
	}
}
