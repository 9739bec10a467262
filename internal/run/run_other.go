//go:build !linux

package run

import (
	"context"
	"runtime"

	"github.com/libnetwork/libnetwork/types"
)

func missing() error {
	return types.NotImplementedErrorf("running a command in a container: not on %s", runtime.GOOS)
}

// Run fails on this system.
func Run(context.Context, Spec) (int, error) { return CodeFailed, missing() }

// Exec fails on this system.
func Exec(context.Context, ExecSpec) (int, error) { return CodeFailed, missing() }

// ChildMain returns on this system.
func ChildMain() {}
