package kernel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/rtnl"
)

// watch is something that hears of changes until a context ends.
type watch interface {
	Run(ctx context.Context) error
}

// Watch hears from now on of what somebody else does to what is ours on the host.
// The function returned tells of it until its context ends: it calls lost with the
// name of a link of ours that is gone or has lost something, with the empty name when
// it may be any, or with that of a bridge of others that has come or gone; forwarding
// when the host forwards no packets of a family any more, rules when the firewall may
// have been changed, and foreign of what was done to firewalld: "repair" when something
// was put back, "configure" when its permanent configuration was changed, "warn" when it
// is in the way.
func (k *Kernel) Watch(lost func(link string, others bool), rules, forwarding func(), foreign func(action, object string)) (run func(context.Context) error, err error) {
	k.mu.Lock()
	k.lookAtRules = rules
	k.mu.Unlock()
	all := []watch{k.zone.watch(rules, foreign)}
	err = k.host.Do(func() error {
		links, err := rtnl.OpenWatch([]uint32{k.group}, lost, forwarding)
		if err != nil {
			return err
		}
		all = append(all, links)
		firewall, err := k.watchRules(rules)
		all = append(all, firewall...)
		return err
	})
	run = func(ctx context.Context) error {
		// When one cannot go on, the others end as well.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var wg sync.WaitGroup
		errs := make([]error, len(all))
		for i, w := range all {
			wg.Go(func() {
				defer cancel()
				errs[i] = w.Run(ctx)
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	}
	if err != nil {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		return nil, fmt.Errorf("watch the host's links and rules: %w", errors.Join(err, run(over))) // closes those that are open
	}
	return run, nil
}

func (k *Kernel) watchRules(changed func()) ([]watch, error) {
	if f, ok := k.firewall.(*ipt.Firewall); ok {
		w, err := f.Watch(changed)
		if err != nil {
			return nil, err
		}
		if k.backend == IPTablesNFT {
			return []watch{w, &legacyWatch{k.host, Table(k.cfg.DataDir), changed}}, nil
		}
		return []watch{w}, nil
	}
	w, err := k.firewall.(*nft.Firewall).Watch(changed)
	if err != nil {
		return nil, err
	}
	return []watch{w, &legacyWatch{k.host, Table(k.cfg.DataDir), changed}}, nil
}

// legacyWatch looks every few seconds whether the legacy backend of iptables, which tells
// nobody of changes, has a chain for users without our rule: a Docker may have come.
type legacyWatch struct {
	host    *netns.Namespace
	table   string
	changed func()
}

// How often is looked, and how seldom where that changes nothing.
const (
	legacyPeriod  = 5 * time.Second
	legacyLongest = time.Minute
)

// Run looks until ctx ends.
func (w *legacyWatch) Run(ctx context.Context) error {
	period := legacyPeriod
	for lacked := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(period):
		}
		lacks := false
		_ = w.host.Do(func() error { // fails with the kernel's other work, which says so
			lacks = nft.LegacyLacksAccept(ctx, w.table)
			return nil
		})
		if lacks && ctx.Err() == nil {
			w.changed()
		}
		if lacks && lacked {
			period = min(2*period, legacyLongest)
		} else {
			period = legacyPeriod
		}
		lacked = lacks
	}
}
