package ipt_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
)

func render(t *testing.T, want model.FirewallChange, g model.FirewallGuard) string {
	t.Helper()
	text, err := ipt.Render("libnetwork", want, g)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRenderGolden(t *testing.T) {
	for _, c := range fwtest.Cases() {
		t.Run(c.Name, func(t *testing.T) { fwtest.Golden(t, c.Name+".rules", render(t, c.Want, c.Guard)) })
	}
	t.Run("redirect", func(t *testing.T) { fwtest.Golden(t, "redirect.rules", ipt.RenderRedirect(10053)) })
}

func TestGoldenSettings(t *testing.T) {
	kinds := []fwtest.Kind{
		{Name: "CLOSED", Says: "between the network and all else, or what comes from elsewhere as from a member", Depends: fwtest.Inside},
		{Name: "MSS", Says: "the size of segments", Depends: fwtest.Inside},
		{Name: "CT", Says: "established connections", Depends: fwtest.Always},
		{Name: "MEMBER", Says: "between members", Depends: fwtest.ICC},
		{Name: "ENTER", Says: "what comes from outside", Depends: fwtest.Outsiders},
		{Name: "LEAVE", Says: "what goes outside", Depends: fwtest.Hidden},
		{Name: "ACCEPT", Says: "what is accepted when all data directories have been asked", Depends: fwtest.Inside},
		{Name: "INPUT", Says: "what goes to the host", Depends: fwtest.All(fwtest.Isolated, fwtest.Inside)},
		{Name: "INSIDE", Says: "what other data directories know by its mark", Depends: fwtest.Inside},
		{Name: "OUTPUT", Says: "what the host has to say", Depends: fwtest.Isolated},
		{Name: "SCOPED", Says: "connections to link-local addresses of the host", Depends: fwtest.Always},
		{Name: "POST", Says: "the source address of what goes outside, or to a published port of the network", Depends: fwtest.Sources},
		{Name: "ASTRAY", Says: "what a published port leads elsewhere", Depends: fwtest.Inside},
		{Name: "RAW", Says: "loopback addresses", Depends: fwtest.Always},
		{Name: "TOALL", Says: "frames to everybody", Depends: fwtest.Always},
		{Name: "SOURCE", Says: "the addresses that a member may send from", Depends: fwtest.Inside},
	}
	fwtest.GoldenSettings(t, "settings.rules", kinds, func(n model.FirewallNetwork) map[string]string {
		return parts(render(t, fwtest.Networks(n), model.FirewallGuard{}))
	})
}

// ofNetwork finds the rules of a network: its chain, what comes before the comment
// and the target.
var ofNetwork = regexp.MustCompile(`^-A LIBNETWORK-(\w+) (.*)-m comment --comment [0-9a-f]{64}\.[0-9a-f]{8} (.*\n)`)

// parts cuts the rules of a network out of all, by chain.
func parts(rules string) map[string]string {
	out := make(map[string]string)
	program := ""
	for line := range strings.Lines(rules) {
		switch line {
		case "# IPv4\n":
			program = "iptables"
		case "# IPv6\n":
			program = "ip6tables"
		}
		if m := ofNetwork.FindStringSubmatch(line); m != nil {
			out[m[1]] += "\t" + program + " -A LIBNETWORK-" + m[1] + " " + m[2] + m[3]
		}
	}
	return out
}
