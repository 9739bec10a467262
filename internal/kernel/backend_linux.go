package kernel

import (
	"context"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
)

// A firewall keeps the rules of one data directory in the kernel. All
// implementations do the same for the same objects; they are safe for concurrent
// use.
type firewall interface {
	// Apply removes del and adds add: all of it, or nothing. Its error wraps
	// [model.ErrFirewallTampered] when the rules are not as they were left.
	Apply(ctx context.Context, add, del model.FirewallChange) error
	// Reconcile makes the rules exactly those that are wanted, and writes nothing if
	// they are. It says whether it has written.
	Reconcile(ctx context.Context, want model.FirewallChange, g model.FirewallGuard) (changed bool, err error)
	// SetGuard changes for which families the host passes nothing through.
	SetGuard(ctx context.Context, g model.FirewallGuard) error
	// EnsureForeignAccept makes a foreign forward chain accept what ours accepts,
	// where it has a place for such a rule. It returns a line for each rule added.
	EnsureForeignAccept(ctx context.Context) ([]string, error)
	// RemoveForeignAccept takes those rules away again.
	RemoveForeignAccept(ctx context.Context) ([]string, error)
	// Close ends the use of the firewall. The rules stay.
	Close() error
}

// A redirector leads port 53 of 127.0.0.11 inside namespaces to the DNS server.
type redirector interface {
	// Set leads it to a port of that address; what is as wanted is not written.
	Set(ctx context.Context, nsFD int, port uint16) error
	// Remove takes the redirect away; there being none is no error.
	Remove(ctx context.Context, nsFD int) error
}

// openFirewall opens the backend of a configuration. It changes nothing.
func openFirewall(ctx context.Context, cfg Config) (firewall, redirector, error) {
	f, err := nft.Open(ctx, nft.Config{Table: Table(cfg.DataDir), Steps: cfg.Steps, Logger: cfg.Logger})
	if err != nil {
		return nil, nil, err
	}
	return f, new(nft.Redirector), nil
}
