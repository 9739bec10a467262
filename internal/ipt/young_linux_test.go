package ipt_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// TestForeignDNATYoung asks for rules of others of which nothing has told yet, and that may have
// come while we changed ours.
func TestForeignDNATYoung(t *testing.T) {
	nstest.Require(t, nstest.IPTablesLegacy)
	nstest.Run(t, func() {
		f := open(t, ipt.Config{Variant: ipt.Legacy})
		port := model.Port{Proto: 6, Host: netip.MustParseAddr("0.0.0.0"), First: 9090, Last: 9090}
		port6 := model.Port{Proto: 6, Host: netip.MustParseAddr("::"), First: 9090, Last: 9090}
		found := func(when string, want int) {
			t.Helper()
			list, err := f.ForeignDNAT(t.Context(), []model.Port{port, port6})
			if err != nil || len(list) != want {
				t.Errorf("%s: %v, %v; want %d", when, list, err, want)
			}
		}
		rule := func(program, op string) {
			t.Helper()
			nstest.Command(t, program, "-w", "-t", "nat", op, "PREROUTING", "-p", "tcp", "--dport", "9090", "-j", "REDIRECT", "--to-ports", "9")
		}
		found("before all", 0)
		if names := nstest.Command(t, "cat", "/proc/net/ip_tables_names"); names != "" {
			t.Errorf("a question makes tables: %s", names)
		}
		rule("iptables-legacy", "-A")
		found("a rule has come", 1)
		apply(t, f, fwtest.Some(), model.FirewallChange{})
		found("we have made ours", 1)
		rule("ip6tables-legacy", "-A")
		apply(t, f, model.FirewallChange{}, fwtest.Some())
		found("a rule has come before a change of ours", 2)
		rule("iptables-legacy", "-D")
		found("a rule has gone", 1)
		rule("ip6tables-legacy", "-D")
		found("all have gone", 0)
	})
}

// TestForeignDNATChains has programs make rules that leave it to chains to translate.
func TestForeignDNATChains(t *testing.T) {
	for _, v := range []struct {
		variant ipt.Variant
		needs   nstest.Feature
		program string
	}{{ipt.NFT, nstest.IPTablesNFT, "iptables-nft"}, {ipt.Legacy, nstest.IPTablesLegacy, "iptables-legacy"}} {
		for _, way := range []string{"-j", "-g"} {
			t.Run("rules of chains that lead a port to one that translates are found: "+v.program+" "+way, func(t *testing.T) {
				nstest.Require(t, v.needs)
				nstest.Run(t, func() {
					do := func(rule string) {
						t.Helper()
						nstest.Command(t, strings.Fields(v.program+" -w -t nat "+rule)...)
					}
					found := func(when, want string, exact bool) {
						t.Helper()
						f := open(t, ipt.Config{Variant: v.variant}) // that has read nothing yet
						list, err := f.ForeignDNAT(t.Context(), []model.Port{{Proto: 6, Host: netip.IPv4Unspecified(), First: 3303, Last: 3303}})
						switch {
						case err != nil:
							t.Fatal(err)
						case want == "" && len(list) == 0:
						case len(list) != 1 || list[0].Exact != exact || !strings.HasSuffix(list[0].Rule, "chain "+want):
							t.Errorf("%s: got %v, want one of chain %q, exact %t", when, list, want, exact)
						}
					}
					do("-N SVC")
					do("-A SVC -p tcp -j DNAT --to-destination 192.0.2.1:99")
					do("-N NP")
					do("-A NP -p tcp --dport 3303 " + way + " SVC")
					do("-I PREROUTING -m addrtype --dst-type LOCAL " + way + " NP")
					found("a rule with the port", "NP", true)
					do("-R NP 1 -p tcp --dport 3300:3310 " + way + " SVC")
					found("a rule with more ports", "NP", false)
					do("-R NP 1 -p tcp --dport 3304 " + way + " SVC")
					found("a rule with another port", "", false)
					do("-I PREROUTING " + way + " SVC")
					found("a rule about all ports", "SVC", false)
				})
			})
		}
	}
}
