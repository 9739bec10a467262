package nft

import (
	"log/slog"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/step"
)

// DefaultTable is the name of the tables of the default data directory.
const DefaultTable = "libnetwork"

// MarkBit is set in the mark of every packet that the forward chain accepts, until it
// has passed the forward chains of all others.
const MarkBit = model.FirewallMark

// ErrTampered is wrapped by errors of [Firewall.Apply] that say that the tables
// are not as this process left them: they are gone, or lack what was to be
// deleted, or hold something else in its place. Nothing has been changed.
// [Firewall.Reconcile] repairs them.
var ErrTampered = model.ErrFirewallTampered

// Config says whose firewall it is. The zero value is valid.
type Config struct {
	// Table names the tables, DefaultTable if empty.
	Table string
	// Steps counts transactions; nil counts nothing.
	Steps *step.Counter
	// Logger is slog.Default if nil.
	Logger *slog.Logger
	// NoOwner leaves the flags owner and persist out even where the kernel has
	// them, so that an administrator may edit the tables by hand.
	NoOwner bool
	// Sockets keeps the socket that owns the tables, so that others are kept from them
	// between two processes too; nil keeps none.
	Sockets model.SocketKeeper
}

// Change is a part of what the firewall shall hold, or all of it.
type Change = model.FirewallChange

// Guard says for which families the forward chain drops what neither enters nor
// leaves one of our bridges. A table stays as long as its family is guarded.
type Guard = model.FirewallGuard
