//go:build linux || darwin || freebsd

package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/types"
)

// TestLockOfADeadProcess has a lock that only a descriptor in another process keeps:
// one that its owner, which is dead, was just starting.
func TestLockOfADeadProcess(t *testing.T) {
	dir := t.TempDir()
	f, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	ended := exec.CommandContext(t.Context(), "true")
	if err := ended.Run(); err != nil {
		t.Skip(err)
	}
	if _, err := lockDir(dir); !errors.As(err, new(types.ForbiddenError)) {
		t.Errorf("locked by a living process: %v, want Forbidden", err)
	}
	text := fmt.Appendf(nil, "pid %d, gone\n", ended.Process.Pid)
	if err := os.WriteFile(filepath.Join(dir, "lock"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	const moment = 50 * time.Millisecond
	time.AfterFunc(moment, func() { _ = f.Close() })
	again, err := lockDir(dir)
	if err != nil {
		t.Fatalf("locked by a dead one: %v", err)
	}
	_ = again.Close()
}
