//go:build !linux

package nft

import (
	"context"
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// A Firewall exists only on Linux.
type Firewall struct{}

func notHere() error { return types.NotImplementedErrorf("a firewall needs Linux") }

// Open returns an error of class NotImplemented.
func Open(context.Context, Config) (*Firewall, error) { return nil, notHere() }

// Close does nothing.
func (f *Firewall) Close() error { return nil }

// Apply returns an error of class NotImplemented.
func (f *Firewall) Apply(context.Context, Change, Change) error { return notHere() }

// Untrack returns an error of class NotImplemented.
func (f *Firewall) Untrack(context.Context, []model.Tracked) ([]netip.Addr, error) {
	return nil, notHere()
}

// Tracked returns an error of class NotImplemented.
func (f *Firewall) Tracked(context.Context) ([]model.Tracked, error) { return nil, notHere() }

// ForeignDNAT returns an error of class NotImplemented.
func (f *Firewall) ForeignDNAT(context.Context, []model.Port) ([]model.ForeignDNAT, error) {
	return nil, notHere()
}

// SetGuard returns an error of class NotImplemented.
func (f *Firewall) SetGuard(context.Context, Guard) error { return notHere() }

// Guarded returns an error of class NotImplemented.
func (f *Firewall) Guarded(context.Context) (v4, v6 bool, err error) { return false, false, notHere() }

// Reconcile returns an error of class NotImplemented.
func (f *Firewall) Reconcile(context.Context, Change, Guard) (model.Finding, error) {
	return 0, notHere()
}

// List returns an error of class NotImplemented.
func (f *Firewall) List(context.Context) (string, error) { return "", notHere() }

// EnsureForeignAccept returns an error of class NotImplemented.
func (f *Firewall) EnsureForeignAccept(context.Context) ([]string, error) { return nil, notHere() }

// RemoveForeignAccept returns an error of class NotImplemented.
func (f *Firewall) RemoveForeignAccept(context.Context) ([]string, error) { return nil, notHere() }

// Render returns an error of class NotImplemented.
func Render(string, Change, Guard) (string, error) { return "", notHere() }

// A Redirector exists only on Linux.
type Redirector struct{}

// Set returns an error of class NotImplemented.
func (r *Redirector) Set(context.Context, int, uint16) error { return notHere() }

// Remove returns an error of class NotImplemented.
func (r *Redirector) Remove(context.Context, int) error { return notHere() }

// RenderRedirect returns nothing.
func RenderRedirect(uint16) string { return "" }

// Drops returns an error of class NotImplemented.
func Drops(context.Context, string) ([]model.ForeignDrop, error) { return nil, notHere() }
