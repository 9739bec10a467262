package nft

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/types"
)

// Probe says why the kernel has no nftables for IPv4, nil if it has or cannot tell.
// The error is of class NotImplemented.
func Probe() error { return probe(unix.NFPROTO_IPV4) }

// ProbeBridge says why the kernel has none for frames that a bridge forwards.
func ProbeBridge() error { return probe(unix.NFPROTO_BRIDGE) }

// probe asks for a family by a transaction that cannot succeed because of its second
// message: a kernel may have nftables without the family.
func probe(fam byte) error {
	c, err := dial()
	if err != nil {
		return lacking(err)
	}
	defer c.Close()
	b := &batch{seq: c.seq}
	b.begin(unix.NFT_MSG_GETGEN, 0, 0)
	b.end()
	if err := c.dump(context.Background(), b, func(message) error { return nil }); err != nil {
		return lacking(err)
	}
	if err := c.tryTable(fam, DefaultTable, 0); errors.Is(err, unix.EOPNOTSUPP) {
		return lacking(err)
	}
	return nil
}

// lacking is the error of a kernel without nftables.
func lacking(err error) error {
	return types.NotImplementedErrorf("the kernel has no nftables: %w", err)
}

// tryTable makes a table with flags, in a transaction that fails with ENOENT if it can
// be made.
func (c *conn) tryTable(fam byte, table string, flags uint32) error {
	b := c.newBatch()
	table += "-probe"
	b.newTable(fam, table, flags, unix.NLM_F_EXCL)
	b.begin(unix.NFT_MSG_DELCHAIN, 0, fam)
	b.str(unix.NFTA_CHAIN_TABLE, table)
	b.str(unix.NFTA_CHAIN_NAME, "none")
	b.end()
	err := c.commit(b)
	if err == nil {
		err = errors.New("the probe succeeded")
	}
	return err
}

// TableExists says whether there is a table of that name for IPv4 or IPv6. Where
// there is no nftables there is none.
func TableExists(ctx context.Context, table string) (bool, error) {
	return exists(func(c *conn, fam byte) (bool, error) {
		_, ok, err := c.tableFlags(ctx, fam, table)
		return ok, err
	})
}

func exists(ask func(*conn, byte) (bool, error)) (bool, error) {
	c, err := dial()
	if err != nil {
		return false, nil //nolint:nilerr // the kernel has no nftables
	}
	defer c.Close()
	for _, fam := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		if ok, err := ask(c, fam); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}
