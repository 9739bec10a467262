package kernel_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

func TestBackendNames(t *testing.T) {
	for _, name := range []string{"", "auto", "nftables", "iptables", "iptables-nft", "iptables-legacy"} {
		if _, err := kernel.ParseBackend(name); err != nil {
			t.Error(err)
		}
	}
	_, err := kernel.ParseBackend("ipfw")
	if !errors.As(err, new(types.BadRequestError)) || !strings.Contains(err.Error(), "ipfw") || !strings.Contains(err.Error(), "iptables-legacy") {
		t.Errorf("got %v", err)
	}
}

// The programs are found without PATH, as that of a daemon may lack their directory.
func TestProgramsBesidePath(t *testing.T) {
	nstest.Require(t, nstest.IPTablesNFT)
	if _, err := os.Stat("/usr/sbin/iptables-restore"); err != nil {
		t.Skip(err)
	}
	t.Setenv("PATH", t.TempDir())
	k, err := kernel.New(t.Context(), kernel.Config{DataDir: t.TempDir(), RunDir: "/run/programs", Firewall: kernel.IPTables})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
