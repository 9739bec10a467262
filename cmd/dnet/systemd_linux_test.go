package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// sockets keeps none, and says whether it was asked to.
type sockets struct{ kept bool }

func (*sockets) Kept(string) (int, bool) { return 0, false }

func (s *sockets) Keep(string, int) error {
	s.kept = true
	return nil
}

// TestSystemd runs our unit below a real systemd, which keeps the socket that owns our
// tables of nftables from one daemon to the next.
func TestSystemd(t *testing.T) {
	nstest.Require(t, nstest.Root, nstest.Bridge, nstest.NFTables, nstest.IPv6, nstest.Systemd)
	var s sockets
	f, err := nft.Open(t.Context(), nft.Config{Sockets: &s})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if !s.kept {
		t.Skip("this kernel has no table flags owner and persist")
	}
	dir := t.TempDir()
	dnet := filepath.Join(dir, "dnet")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dnet, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Read here, so that a change of either has the test run again.
	script, err := os.ReadFile("testdata/systemd.sh")
	if err != nil {
		t.Fatal(err)
	}
	unit, err := os.ReadFile("../../contrib/dnet.service")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "dnet.service")
	if err := os.WriteFile(copied, unit, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", string(script), "sh", copied, dnet, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP}
	cmd.Env = append(os.Environ(), "LIBNETWORK_CFG="+os.DevNull)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "done\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
