package kernel_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

func TestFullBridge(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.Bridge, nstest.Veth, nstest.Dummy)
	nstest.Run(t, func() {
		cfg := kernel.Config{DataDir: t.TempDir(), RunDir: "/run/full"}
		k, err := kernel.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		})
		group := kernel.Group(cfg.DataDir)
		ns := model.Namespace{Path: filepath.Join(cfg.RunDir, "netns", "c1")}
		for _, o := range []model.Object{model.Bridge{Name: "full0", Group: group}, ns} {
			if err := k.Create(t.Context(), []model.Object{o}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := k.Delete(t.Context(), []model.Object{o}); err != nil {
					t.Error(err)
				}
			})
		}
		const ports = 1023
		var script strings.Builder
		for i := range ports {
			fmt.Fprintf(&script, "link add d%d master full0 type dummy\n", i)
		}
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(script.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		veth := []model.Object{model.Veth{
			Host: "veth1", Netns: ns.Path, Name: "eth0", Bridge: "full0", Group: group,
			Addrs: []netip.Prefix{netip.MustParsePrefix("172.20.0.2/24")},
		}}
		t.Run("the 1024th port of a bridge is refused in words", func(t *testing.T) {
			err := k.Create(t.Context(), veth)
			if !errors.As(err, new(types.NoServiceError)) {
				t.Errorf("%T %v is not of class NoService", err, err)
			}
			if err == nil || !strings.Contains(err.Error(), "bridge full0 is full") || !strings.Contains(err.Error(), "1023") {
				t.Errorf("%v does not name the bridge and the limit", err)
			}
			if out, err := exec.Command("ip", "link", "show", "veth1").CombinedOutput(); err == nil {
				t.Errorf("left behind: %s", out)
			}
		})
		t.Run("with one port less there is room again", func(t *testing.T) {
			if out, err := exec.Command("ip", "link", "del", "d0").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if err := k.Create(t.Context(), veth); err != nil {
				t.Fatal(err)
			}
			if err := k.Delete(t.Context(), veth); err != nil {
				t.Error(err)
			}
		})
	})
}
