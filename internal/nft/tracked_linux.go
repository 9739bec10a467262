package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// Untrack ends the counting for addresses, in one transaction, and returns those
// of which the kernel may remember connections: their first packet has been seen
// since the address was tracked, or nobody can tell. It is meant for addresses
// that nothing leads to any more: a port that still did could begin a connection
// behind its back. An address that is not tracked is returned as one that nobody
// can tell of.
func (f *Firewall) Untrack(ctx context.Context, list []model.Tracked) (used []netip.Addr, err error) {
	if err := check(Change{Tracked: list}); err != nil {
		return nil, types.BadRequestErrorf("firewall %s: %w", f.table, err)
	}
	for _, t := range list {
		used = append(used, t.Addr)
	}
	if err := f.acquire(ctx); err != nil {
		return used, fmt.Errorf("changing firewall %s: %w", f.table, err)
	}
	defer f.release()
	if err := f.load(ctx); err != nil {
		return used, err
	}
	b := f.c.newBatch()
	empty := len(b.buf)
	b.echo = true
	for i, fam := range f.fams {
		if f.have[i] {
			f.elems(b, unix.NFT_MSG_DELSETELEM, fam, Change{Tracked: list})
		}
	}
	if len(b.buf) == empty {
		return used, nil
	}
	idle := map[netip.Addr]bool{}
	err = f.commitEcho(b, "untrack", func(m message) {
		for _, item := range attrs(m.attrs().get(unix.NFTA_SET_ELEM_LIST_ELEMENTS)).all {
			a, known := netip.AddrFromSlice([]byte(parseElem(setTracked, item).key))
			packets, ok := counted(item)
			if known && ok && packets == 0 {
				idle[a] = true
			}
		}
	})
	if err != nil {
		return used, fmt.Errorf("changing firewall %s: %w", f.table, err)
	}
	return slices.DeleteFunc(used, func(a netip.Addr) bool { return idle[a] }), nil
}

// Tracked returns the addresses whose connections the kernel counts.
func (f *Firewall) Tracked(ctx context.Context) ([]model.Tracked, error) {
	if err := f.acquire(ctx); err != nil {
		return nil, fmt.Errorf("reading firewall %s: %w", f.table, err)
	}
	defer f.release()
	var list []model.Tracked
	for _, fam := range f.fams {
		if fam.bridge() {
			continue
		}
		var elems []elem
		err := retry(func() (err error) {
			elems, err = f.c.elems(ctx, fam.num, f.table, setTracked)
			return err
		})
		if errors.Is(err, unix.ENOENT) {
			continue // no table, or one of an earlier release
		}
		if err != nil {
			return nil, fmt.Errorf("reading table %s %s: %w", fam.keyword, f.table, err)
		}
		for _, e := range elems {
			if a, ok := netip.AddrFromSlice([]byte(e.key)); ok {
				list = append(list, model.Tracked{Addr: a, Owner: e.comment})
			}
		}
	}
	return list, nil
}
