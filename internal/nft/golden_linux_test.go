package nft_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
		{Name: "every", Says: "what every network has", Depends: fwtest.Always},
		{Name: "members", Says: "what a member sends to others", Depends: fwtest.Members},
		{Name: "enter", Says: "what comes to a member", Depends: fwtest.Outsiders},
		{Name: "sources", Says: "the source address of what a member sends", Depends: fwtest.Sources},
		{Name: "rest", Says: "what it sends to the host", Depends: fwtest.Isolated},
	}
	fwtest.GoldenSettings(t, "settings.nft", kinds, func(n model.FirewallNetwork) map[string]string {
		return parts(t, render(t, fwtest.Networks(n), nft.Guard{}))
	})
}

// parts cuts what belongs to the network out of its tables, by kind.
func parts(t *testing.T, tables string) map[string]string {
	t.Helper()
	kindOf := map[string]string{
		"bridges": "every", "within": "every", "subnets": "every", "sources": "every",
		"icc": "members", "internal": "members",
		"routed": "enter", "unprotected": "enter", "trusted": "enter", "marked": "enter", "marked_000000000001": "enter",
		"masqueraded": "sources", "source_addr": "sources", "hairpin": "sources",
		"isolated": "rest",
	}
	out := make(map[string]string)
	var family, name string
	for line := range strings.Lines(tables) {
		f := strings.Fields(line)
		switch {
		case f[0] == "table":
			family = f[1]
		case f[0] == "set", f[0] == "map", f[0] == "chain":
			name = f[1]
		case strings.Contains(line, "comment"), strings.HasPrefix(name, "marked_") && f[0] != "}":
			kind, ok := kindOf[name]
			if !ok {
				t.Fatalf("%s has an element of a network", name)
			}
			text, _, _ := strings.Cut(strings.TrimSpace(line), " comment")
			out[kind] += "\t" + family + " " + name + ": " + text + "\n"
		}
	}
	return out
}

// TestDocs holds the table of hooks in the page for operators against the chains.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/bridge.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	var family, chain string
	for line := range strings.Lines(render(t, fwtest.Some(), nft.Guard{V4: true, V6: true})) {
		f := strings.Fields(line)
		switch {
		case f[0] == "table":
			family = f[1]
		case f[0] == "chain":
			chain = "`" + f[1] + "`"
			if family == "bridge" {
				chain += " (family bridge)"
			}
		case len(f) > 5 && f[2] == "hook":
			row := "| " + chain + " | " + f[3] + " | " + strings.TrimSuffix(f[5], ";") + " |"
			if !slices.Contains(want, row) {
				want = append(want, row)
			}
		}
	}
	got := regexp.MustCompile("(?m)^\\| `\\w+`[^|]* \\| \\w+ \\| -?\\d+ \\|").FindAllString(string(page), -1)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hooks in docs/bridge.md (-want +got)\n%s", diff)
	}
}
