package ipt_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// TestDoubledListing lets the program list each rule twice while somebody else makes a change: what
// is there once is right.
func TestDoubledListing(t *testing.T) {
	nstest.Require(t, nstest.IPTablesNFT)
	program, err := exec.LookPath("iptables-nft-save")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	busy := filepath.Join(dir, "busy")
	script := fmt.Sprintf("#!/bin/sh\nrm %s 2>/dev/null && exec %s \"$@\" | sed '/^-A /p'\nexec %s \"$@\"\n", busy, program, program)
	if err := os.WriteFile(filepath.Join(dir, "iptables-nft-save"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	nstest.Require(t, variants()[ipt.NFT])
	nstest.Run(t, func() {
		f := open(t, ipt.Config{Variant: ipt.NFT, NoOwner: true})
		want := fwtest.Modes()
		reconcile(t, f, want, model.FirewallGuard{}, true)
		if err := os.WriteFile(busy, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		reconcile(t, f, want, model.FirewallGuard{}, false)
		if _, err := os.Stat(busy); err == nil {
			t.Error("the listing was not a doubled one")
		}
	})
}

// TestDoubledRules repairs rules that somebody has really doubled.
func TestDoubledRules(t *testing.T) {
	onEach(t, func(t *testing.T, v ipt.Variant) {
		f := open(t, ipt.Config{Variant: v, NoOwner: true})
		want := fwtest.Modes()
		reconcile(t, f, want, model.FirewallGuard{}, true)
		right := saved(t, v)
		nstest.Command(t, "sh", "-c", fmt.Sprintf(
			"iptables-%s-save -t filter | sed -n '/^\\*/p;/^-A LIBNETWORK-MEMBER /p;/^COMMIT/p' | iptables-%s-restore --noflush", v, v))
		if saved(t, v) == right {
			t.Fatal("no rule is doubled")
		}
		reconcile(t, f, want, model.FirewallGuard{}, true)
		if got := saved(t, v); got != right {
			t.Errorf("after the repair:\n%s\nwant\n%s", got, right)
		}
	})
}
