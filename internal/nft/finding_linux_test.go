package nft_test

import (
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// TestFindings tells what an operation that was cut short has left from what somebody else
// has done.
func TestFindings(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{NoOwner: true})
		fwtest.Findings(t, true, func(want model.FirewallChange) (model.Finding, error) {
			return f.Reconcile(t.Context(), want, nft.Guard{})
		})
		want := fwtest.Modes()
		for _, command := range []string{
			"add element ip libnetwork bridges { foreign }",
			"add element ip libnetwork bridges { foreign comment foreign }",
			"add element ip6 libnetwork subnets { fd00:99::/64 }",
			"add rule ip libnetwork forward accept",
			"add chain ip libnetwork mine",
			"add set ip libnetwork mine { type ipv4_addr; }",
			"delete element ip libnetwork bridges { br1 }",
			"flush chain ip6 libnetwork enter",
			"add table ip libnetwork { flags dormant; }",
			"delete table ip6 libnetwork",
			"delete table bridge libnetwork",
		} {
			reconcile(t, f, want, nft.Guard{}, true)
			nstest.Command(t, "sh", "-c", "nft '"+command+"'")
			if found, err := f.Reconcile(t.Context(), want, nft.Guard{}); found != model.FoundWrong || err != nil {
				t.Errorf("after %s: found %v, %v", command, found, err)
			}
			if _, err := f.Reconcile(t.Context(), model.FirewallChange{}, nft.Guard{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
