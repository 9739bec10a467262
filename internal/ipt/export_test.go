//go:build linux

package ipt

import "github.com/libnetwork/libnetwork/internal/nft"

// WatchEvents opens a watch that tells of all events, and whether they are taken for
// changes by somebody else.
func (f *Firewall) WatchEvents(each func(ev nft.TableEvent, foreign bool)) (*nft.TableWatch, error) {
	foreign, err := f.foreignEvents()
	if err != nil {
		return nil, err
	}
	return nft.WatchTables(func(ev nft.TableEvent) { each(ev, foreign(ev)) })
}
