//go:build !linux

package conntrack

import (
	"context"

	"github.com/libnetwork/libnetwork/internal/step"
)

// A Flusher has nothing to do except on Linux.
type Flusher struct {
	// Steps is not used.
	Steps *step.Counter
}

// Flush does nothing: there is no connection tracking.
func (f *Flusher) Flush(context.Context, Filter) error { return nil }

// Close does nothing.
func (f *Flusher) Close() error { return nil }
