package nft

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// Probe says why the kernel has no nftables for this process, nil if it has.
func Probe() error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.Close()
	b := &batch{seq: c.seq}
	b.begin(unix.NFT_MSG_GETGEN, 0, 0)
	b.end()
	return c.dump(context.Background(), b, func(message) error { return nil })
}

// TableExists says whether there is a table of that name for IPv4 or IPv6. Where
// there is no nftables there is none.
func TableExists(ctx context.Context, table string) (bool, error) {
	return exists(func(c *conn, fam byte) (bool, error) {
		_, ok, err := c.tableFlags(ctx, fam, table)
		return ok, err
	})
}

// ChainExists says whether a table has a chain, for IPv4 or IPv6.
func ChainExists(ctx context.Context, table, chain string) (bool, error) {
	return exists(func(c *conn, fam byte) (bool, error) {
		b := &batch{seq: c.seq}
		b.begin(unix.NFT_MSG_GETCHAIN, 0, fam)
		b.str(unix.NFTA_CHAIN_TABLE, table)
		b.str(unix.NFTA_CHAIN_NAME, chain)
		b.end()
		err := c.dump(ctx, b, func(message) error { return nil })
		if errors.Is(err, unix.ENOENT) {
			return false, nil
		}
		return err == nil, err
	})
}

func exists(ask func(*conn, byte) (bool, error)) (bool, error) {
	if Probe() != nil {
		return false, nil
	}
	c, err := dial()
	if err != nil {
		return false, err
	}
	defer c.Close()
	for _, fam := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		if ok, err := ask(c, fam); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}
