package ipt

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/nft"
)

// asleep is how keys of what has been told begin that are about such tables.
const asleep = "asleep "

// warnAsleep tells once of tables that somebody has made dormant: their rules, be they ours, are
// asked for nothing. They are not ours to wake.
func (f *Firewall) warnAsleep(ctx context.Context) error {
	if f.variant != NFT {
		return nil
	}
	tables, err := nft.AsleepIPTables(ctx)
	if err != nil {
		return err
	}
	maps.DeleteFunc(f.told, func(key string, _ bool) bool {
		t, ok := strings.CutPrefix(key, asleep)
		return ok && !slices.Contains(tables, t) // it is awake
	})
	for _, t := range tables {
		if key := asleep + t; !f.told[key] {
			f.told[key] = true
			f.log.Warn("a table of iptables is dormant, so nothing in it is closed, open, masqueraded or translated: wake it with `nft add table "+t+"`", "table", t)
		}
	}
	return nil
}
