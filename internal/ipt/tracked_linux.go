package ipt

import (
	"context"
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/model"
)

// Untrack returns all addresses: rules of iptables do not count by address, so
// nobody can tell which of them had connections.
func (f *Firewall) Untrack(_ context.Context, list []model.Tracked) (used []netip.Addr, err error) {
	for _, t := range list {
		used = append(used, t.Addr)
	}
	return used, nil
}

// Tracked returns nothing, since nothing is counted.
func (f *Firewall) Tracked(context.Context) ([]model.Tracked, error) { return nil, nil }
