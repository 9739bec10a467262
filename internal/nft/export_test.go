//go:build linux

package nft

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// Cost returns the bytes, messages and elements of the transaction that Apply would
// send.
func (f *Firewall) Cost(ctx context.Context, add, del Change) (bytes, msgs, elems int, err error) {
	if err := f.acquire(ctx); err != nil {
		return 0, 0, 0, err
	}
	defer f.release()
	b := f.c.newBatch()
	for i := range f.fams {
		if err := f.change(b, i, add, del, f.guard); err != nil {
			return 0, 0, 0, err
		}
	}
	list := messages(b.buf)
	for _, m := range list {
		for range attrs(m.attrs().get(unix.NFTA_SET_ELEM_LIST_ELEMENTS)).all {
			elems++
		}
	}
	return len(b.buf), len(list), elems, nil
}

// HasOwner says whether the kernel knows the flags owner and persist.
func (f *Firewall) HasOwner() bool { return f.flags&flagOwner != 0 }

// Generation is the number of transactions of the namespace of f.
func (f *Firewall) Generation(ctx context.Context) (uint32, error) {
	if err := f.acquire(ctx); err != nil {
		return 0, err
	}
	defer f.release()
	return f.c.generation(ctx)
}

// Dormant has the rules of a table that waits for a new owner asked for nothing.
func Dormant(table string) error {
	c, err := dial()
	if err != nil {
		return err
	}
	b := c.newBatch()
	b.newTable(unix.NFPROTO_IPV4, table, flagPersist|unix.NFT_TABLE_F_DORMANT, 0)
	return errors.Join(c.commit(b), c.Close())
}
