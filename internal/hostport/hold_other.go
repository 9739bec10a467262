//go:build !linux

package hostport

import (
	"context"
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// A Holder holds ports only on Linux.
type Holder struct {
	// Steps is not used.
	Steps *step.Counter
	// Limit is not used.
	Limit int
}

// A Hold exists only on Linux.
type Hold struct{}

// Reserve returns an error of class NotImplemented.
func (h *Holder) Reserve(context.Context, uint8, netip.Addr, uint16, uint16) (*Hold, error) {
	return nil, types.NotImplementedErrorf("holding host ports needs Linux")
}

// Busy returns an error of class NotImplemented.
func (h *Holder) Busy(context.Context, uint8, []netip.Addr) (map[uint16]bool, error) {
	return nil, types.NotImplementedErrorf("listing sockets needs Linux")
}

// Resume returns an error of class NotImplemented.
func (h *Holder) Resume(context.Context, uint8, netip.Addr, uint16, uint16, bool) (*Hold, error) {
	return nil, types.NotImplementedErrorf("holding host ports needs Linux")
}

// Close does nothing.
func (o *Hold) Close() error { return nil }

// How is Checked.
func (o *Hold) How() How { return Checked }

// EphemeralRange returns DefaultLow and DefaultHigh.
func EphemeralRange() (low, high uint16) { return DefaultLow, DefaultHigh }
