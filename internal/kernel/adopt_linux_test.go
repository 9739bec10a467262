package kernel_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestAdoptNamespace(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.Bridge)
	var log bytes.Buffer
	dirs := kernel.Config{DataDir: t.TempDir(), RunDir: "/run/adopt", Logger: slog.New(slog.NewTextHandler(&log, nil))}
	k, err := kernel.New(t.Context(), dirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	path := func(name string) string { return filepath.Join(dirs.RunDir, "netns", name) }
	t.Run("loopback is raised", func(t *testing.T) {
		ns := nstest.New(t)
		inside := func(args ...string) string {
			var out []byte
			if err := ns.Do(func() (err error) {
				out, err = exec.Command("ip", args...).CombinedOutput()
				return err
			}); err != nil {
				t.Fatalf("ip %v: %v: %s", args, err, out)
			}
			return string(out)
		}
		inside("link", "set", "lo", "down")
		given := []model.Object{model.Namespace{Path: path("given"), From: ns.Path()}}
		if err := k.Create(t.Context(), given); err != nil {
			t.Fatal(err)
		}
		if out := inside("link", "show", "lo"); !strings.Contains(out, ",UP") {
			t.Errorf("lo is down: %s", out)
		}
		if err := k.Delete(t.Context(), given); err != nil {
			t.Fatal(err)
		}
		// Default routes that are there already are told of.
		const told = "has a default route of its own"
		if strings.Contains(log.String(), told) {
			t.Errorf("told without cause: %s", &log)
		}
		inside("link", "add", "up0", "type", "bridge")
		inside("addr", "add", "10.9.8.1/24", "dev", "up0")
		inside("addr", "add", "fd98::1/64", "dev", "up0", "nodad")
		inside("link", "set", "up0", "up")
		inside("route", "add", "default", "via", "10.9.8.2")
		inside("route", "add", "default", "via", "fd98::2")
		if err := errors.Join(k.Create(t.Context(), given), k.Delete(t.Context(), given)); err != nil {
			t.Fatal(err)
		}
		if strings.Count(log.String(), told) != 2 || !strings.Contains(log.String(), "via=10.9.8.2 link=up0") || !strings.Contains(log.String(), "via=fd98::2 link=up0") {
			t.Errorf("told: %s", &log)
		}
	})
	t.Run("the host's own is refused", func(t *testing.T) {
		err := k.Create(t.Context(), []model.Object{model.Namespace{Path: path("own"), From: "/proc/self/ns/net"}})
		if !errors.As(err, new(types.ForbiddenError)) {
			t.Errorf("got %v, want a ForbiddenError", err)
		}
		if _, err := os.Lstat(path("own")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its file is left: %v", err)
		}
	})
	t.Run("recovery leaves the tables of the host", func(t *testing.T) {
		host := model.Namespace{Path: path("host"), From: "/proc/self/ns/net", Host: true}
		if err := k.Create(t.Context(), []model.Object{host}); err != nil {
			t.Fatal(err)
		}
		// A table of the name that a sandbox has; it is anybody's here.
		if out, err := exec.Command("nft", "add", "table", "ip", "libnetwork_dns").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, want := range [][]model.Object{{host}, nil} { // and when nobody wants it any more
			if _, err := k.Recover(t.Context(), want, false); err != nil {
				t.Error(err)
			}
			if out, err := exec.Command("nft", "list", "table", "ip", "libnetwork_dns").CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
		if _, err := os.Lstat(path("host")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its file is left: %v", err)
		}
	})
}
