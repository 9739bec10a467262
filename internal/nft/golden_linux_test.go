package nft_test

import (
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
)

func render(t *testing.T, want nft.Change, g nft.Guard) string {
	t.Helper()
	text, err := nft.Render("libnetwork", want, g)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRenderGolden(t *testing.T) {
	for _, c := range fwtest.Cases() {
		t.Run(c.Name, func(t *testing.T) { fwtest.Golden(t, c.Name+".nft", render(t, c.Want, c.Guard)) })
	}
	t.Run("redirect", func(t *testing.T) { fwtest.Golden(t, "redirect.nft", nft.RenderRedirect(10053)) })
}

func TestGoldenSettings(t *testing.T) {
	kinds := []fwtest.Kind{
		{Name: "in", Says: "what a member sends to others", Depends: fwtest.Members},
		{Name: "out", Says: "what comes to a member", Depends: fwtest.Outsiders},
		{Name: "post", Says: "the source address of what a member sends outside", Depends: fwtest.Sources},
		{
			Name: "hairpin", Says: "the source address of what a member sends to a published port of the network",
			Depends: fwtest.NotRouted,
		},
		{Name: "source", Says: "the addresses that a member may send from", Depends: fwtest.Inside},
		{Name: "sets", Says: "the sets that the bridge is in", Depends: fwtest.All(fwtest.Isolated, fwtest.Inside, fwtest.Clamped)},
	}
	fwtest.GoldenSettings(t, "settings.nft", kinds, func(n model.FirewallNetwork) map[string]string {
		return parts(render(t, fwtest.Networks(n), nft.Guard{}))
	})
}

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
