//go:build !linux

package ipt

import (
	"context"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// A Firewall exists only on Linux.
type Firewall struct{}

func notHere() error { return types.NotImplementedErrorf("a firewall needs Linux") }

// Open returns an error of class NotImplemented.
func Open(context.Context, Config) (*Firewall, error) { return nil, notHere() }

// Variant returns nothing.
func (f *Firewall) Variant() Variant { return Any }

// Close does nothing.
func (f *Firewall) Close() error { return nil }

// Apply returns an error of class NotImplemented.
func (f *Firewall) Apply(context.Context, model.FirewallChange, model.FirewallChange) error {
	return notHere()
}

// SetGuard returns an error of class NotImplemented.
func (f *Firewall) SetGuard(context.Context, model.FirewallGuard) error { return notHere() }

// Guarded returns an error of class NotImplemented.
func (f *Firewall) Guarded(context.Context) (v4, v6 bool, err error) { return false, false, notHere() }

// Reconcile returns an error of class NotImplemented.
func (f *Firewall) Reconcile(context.Context, model.FirewallChange, model.FirewallGuard) (model.Finding, error) {
	return 0, notHere()
}

// List returns an error of class NotImplemented.
func (f *Firewall) List(context.Context) (string, error) { return "", notHere() }

// EnsureForeignAccept returns an error of class NotImplemented.
func (f *Firewall) EnsureForeignAccept(context.Context) ([]string, error) { return nil, notHere() }

// RemoveForeignAccept returns an error of class NotImplemented.
func (f *Firewall) RemoveForeignAccept(context.Context) ([]string, error) { return nil, notHere() }

// Render returns an error of class NotImplemented.
func Render(string, model.FirewallChange, model.FirewallGuard) (string, error) { return "", notHere() }

// A Redirector exists only on Linux.
type Redirector struct{}

// NewRedirector returns an error of class NotImplemented.
func NewRedirector(Config) (*Redirector, error) { return nil, notHere() }

// Set returns an error of class NotImplemented.
func (r *Redirector) Set(context.Context, int, uint16) error { return notHere() }

// Remove returns an error of class NotImplemented.
func (r *Redirector) Remove(context.Context, int) error { return notHere() }

// RenderRedirect returns nothing.
func RenderRedirect(uint16) string { return "" }
