package ipt_test

import (
	"net/netip"
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
