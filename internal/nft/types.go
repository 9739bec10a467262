package nft

import (
	"errors"
	"log/slog"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/step"
)

// DefaultTable is the name of the tables of the default data directory.
const DefaultTable = "libnetwork"

// MarkBit is set in the mark of every packet that the forward chain accepts.
// It lies outside of what Docker, Kubernetes (0x4000, 0x8000), netavark and the
// CNI port mapper (0x2000), Tailscale (0xff0000) and Cilium (0xf00) use.
const MarkBit = 0x02000000

// ErrTampered is wrapped by errors of [Firewall.Apply] that say that the tables
// are not as this process left them: they are gone, or lack what was to be
// deleted, or hold something else in its place. Nothing has been changed.
// [Firewall.Reconcile] repairs them.
var ErrTampered = errors.New("firewall tables were changed by somebody else")

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
}

// Change is a part of what the firewall shall hold, or all of it.
type Change struct {
	Networks []model.FirewallNetwork
	Ports    []model.Port
	// Tracked are addresses whose connections are counted, see
	// [Firewall.Untrack].
	Tracked     []model.Tracked
	OpenPorts   []model.OpenPort
	Links       []model.Link
	LinkedPorts []model.LinkedPort
}

// Guard says for which families the forward chain drops what neither enters nor
// leaves one of our bridges. A table stays as long as its family is guarded.
type Guard struct {
	V4, V6 bool
}

func (g Guard) of(v6 bool) bool {
	if v6 {
		return g.V6
	}
	return g.V4
}
