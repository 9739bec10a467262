package ipt_test

import (
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// TestFindings tells what an operation that was cut short has left from what somebody else
// has done.
func TestFindings(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		f := open(t, ipt.Config{Variant: v, NoOwner: true})
		fwtest.Findings(t, false, func(want model.FirewallChange) (model.Finding, error) {
			return f.Reconcile(t.Context(), want, model.FirewallGuard{})
		})
		want := fwtest.Modes()
		iptables := "iptables-" + string(v) + " -w "
		for _, command := range []string{
			iptables + "-A LIBNETWORK-MEMBER -j ACCEPT",
			iptables + "-A LIBNETWORK-MEMBER -m comment --comment foreign -j ACCEPT",
			iptables + "-I LIBNETWORK-FORWARD -j ACCEPT",
			iptables + "-N LIBNETWORK-MINE",
			iptables + "-D LIBNETWORK-FORWARD 1",
			iptables + "-F LIBNETWORK-MEMBER",
			iptables + "-t nat -F POSTROUTING",
			"ip6tables-" + string(v) + " -w -F FORWARD",
			"nft delete table bridge libnetwork-iptables-" + string(v),
		} {
			reconcile(t, f, want, model.FirewallGuard{}, true)
			nstest.Command(t, "sh", "-c", command)
			if found, err := f.Reconcile(t.Context(), want, model.FirewallGuard{}); found != model.FoundWrong || err != nil {
				t.Errorf("after %s: found %v, %v", command, found, err)
			}
			if _, err := f.Reconcile(t.Context(), model.FirewallChange{}, model.FirewallGuard{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
