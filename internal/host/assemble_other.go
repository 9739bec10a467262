//go:build !linux

package host

import (
	"context"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/types"
)

func assemble(context.Context, Options) (*engine.Engine, error) {
	return nil, types.NotImplementedErrorf("container networks need Linux")
}
