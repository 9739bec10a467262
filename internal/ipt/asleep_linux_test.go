package ipt_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// A table that somebody has made dormant is told of, once, until it is awake.
func TestAsleep(t *testing.T) {
	nstest.Require(t, nstest.IPTablesNFT)
	nstest.Run(t, func() {
		var log bytes.Buffer
		f := open(t, ipt.Config{Variant: ipt.NFT, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		apply(t, f, fwtest.Some(), model.FirewallChange{})
		told := func(want int) {
			t.Helper()
			reconcile(t, f, fwtest.Some(), model.FirewallGuard{}, false)
			if got := strings.Count(log.String(), "dormant"); got != want {
				t.Errorf("told %d times, want %d:\n%s", got, want, &log)
			}
		}
		told(0)
		nstest.Command(t, "nft", "add table ip nat { flags dormant; }")
		told(1)
		told(1)
		nstest.Command(t, "nft", "add table ip nat")
		told(1)
		nstest.Command(t, "nft", "add table ip nat { flags dormant; }")
		told(2)
		nstest.Command(t, "nft", "add table ip nat")
		apply(t, f, model.FirewallChange{}, fwtest.Some())
	})
}
