//go:build !linux

package kernel

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// Config says whose objects they are.
type Config struct {
	DataDir, RunDir string
	Steps           *step.Counter
	Logger          *slog.Logger
}

// Kernel does not exist on this system.
type Kernel struct{ engine.Kernel }

// New returns an error of class NotImplemented.
func New(context.Context, Config) (*Kernel, error) {
	return nil, types.NotImplementedErrorf("container networks need Linux")
}

// Busy returns nothing.
func (*Kernel) Busy(context.Context) ([]netip.Prefix, error) { return nil, nil }
