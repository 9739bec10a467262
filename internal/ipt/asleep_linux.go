package ipt

import (
	"context"
	"strings"

	"github.com/libnetwork/libnetwork/internal/nft"
)

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
	now := make(map[string]bool)
	for _, t := range tables {
		now[asleep+t] = true
		if !f.told[asleep+t] {
			f.log.Warn("a table of iptables is dormant, so nothing in it is closed, open, masqueraded or translated: wake it with `nft add table "+t+"`", "table", t)
		}
	}
	for key := range f.told {
		if strings.HasPrefix(key, asleep) {
			delete(f.told, key)
		}
	}
	for key := range now {
		f.told[key] = true
	}
	return nil
}
