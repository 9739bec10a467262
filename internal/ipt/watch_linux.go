package ipt

import (
	"context"
	"time"

	"github.com/libnetwork/libnetwork/internal/nft"
)

// pollPeriod is how often the rules are looked at where nothing tells of changes:
// legacy iptables has no notifications.
const pollPeriod = 2 * time.Second

// A Watch hears of changes of the rules.
type Watch struct {
	tables  *nft.TableWatch // nil: nothing tells
	changed func()
}

// Watch opens a watch that calls changed whenever somebody may have changed the
// rules. Those of the variant nft are in tables that all programs share, so that
// every change there calls it, our own included; those of the legacy variant are to
// be looked at every two seconds.
func (f *Firewall) Watch(changed func()) (*Watch, error) {
	w := &Watch{changed: changed}
	if f.Variant() != NFT {
		return w, nil
	}
	var err error
	w.tables, err = nft.WatchTables(func(ev nft.TableEvent) {
		switch ev.Table {
		case "", "filter", "nat", "raw", "mangle":
			changed()
		}
	})
	return w, err
}

// Run calls the watch's function until ctx ends; then the watch is closed.
func (w *Watch) Run(ctx context.Context) error {
	if w.tables != nil {
		return w.tables.Run(ctx)
	}
	tick := time.NewTicker(pollPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			w.changed()
		}
	}
}
