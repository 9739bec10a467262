//go:build !(linux || darwin || freebsd)

package store

import (
	"os"

	"github.com/libnetwork/libnetwork/types"
)

func lockDir(dir string) (*os.File, error) {
	return nil, types.NotImplementedErrorf("directory %s: the store does not run on this system", dir)
}

func syncDir(string) error { return nil }
