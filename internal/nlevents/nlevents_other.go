//go:build !linux

package nlevents

import (
	"context"
	"errors"
)

// Socket exists only on Linux.
type Socket struct{}

// Open fails on this system.
func Open(int, ...int) (*Socket, error) { return nil, errors.ErrUnsupported }

// Read fails on this system.
func (*Socket) Read(context.Context, func(Message), func()) error { return errors.ErrUnsupported }

// Close does nothing.
func (*Socket) Close() error { return nil }
