//go:build !linux

package osl

import (
	"runtime"

	"github.com/libnetwork/libnetwork/types"
)

func missing() error { return types.NotImplementedErrorf("sandboxes: not on %s", runtime.GOOS) }

// NewSandbox fails on this system.
func NewSandbox(_ string, _ bool) (Sandbox, error) { return nil, missing() }

// GetSandboxForExternalKey fails on this system.
func GetSandboxForExternalKey(_, _ string) (Sandbox, error) { return nil, missing() }

// GC does nothing on this system.
func GC() {}
