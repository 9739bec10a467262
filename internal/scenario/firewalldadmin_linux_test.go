package scenario_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// keeps waits until exactly these bridges are in our zone in the permanent
// configuration.
func (w *wall) keeps(bridges ...string) {
	w.h.t.Helper()
	var got []string
	eventually(w.h.t, "the permanent zone is not what it shall be", func() bool {
		links, ours, err := w.c.Kept(context.Background(), w.zone.Name)
		got = slices.Sorted(slices.Values(links))
		return err == nil && slices.Equal(got, bridges) && slices.Equal(ours, bridges)
	})
	if !slices.Equal(got, bridges) {
		w.h.t.Errorf("the permanent zone %s has %v, want %v", w.zone.Name, got, bridges)
	}
}

// TestFirewalldAdministrator is about what an administrator does with our zone in
// firewalld's permanent configuration.
func TestFirewalldAdministrator(t *testing.T) {
	nstest.Require(t, nstest.Firewalld)
	anew(t)
	h := newHost(t)
	w := h.newWall(t, "nftables")
	n1, n2 := h.network(1), h.network(2)
	w.has("br1", "br2")
	w.keeps("br1", "br2")
	events, cancel := h.ctl.(libnetwork.EventSource).Subscribe()
	defer cancel()
	// told waits for what is told of an object.
	told := func(t *testing.T, action, object string) {
		t.Helper()
		eventually(t, "nobody tells of "+object, func() bool {
			for len(events) > 0 {
				if ev := <-events; ev.Action == action && ev.Attributes["object"] == object {
					return true
				}
			}
			return false
		})
	}
	permanent := func() []string {
		return strings.Fields(w.cmd("--permanent", "--zone", w.zone.Name, "--list-interfaces"))
	}
	t.Run("what is saved from what is in use is ours, and goes with its network", func(t *testing.T) {
		n3 := h.network(3)
		w.keeps("br1", "br2", "br3")
		w.cmd("--runtime-to-permanent")
		h.drop(n3)
		eventually(t, "it stays", func() bool { return !slices.Contains(permanent(), "br3") })
		w.cmd("--reload")
		w.has("br1", "br2")
	})
	t.Run("an interface that is put into our zone stays there", func(t *testing.T) {
		w.cmd("--permanent", "--zone", w.zone.Name, "--add-interface", "tun0")
		w.cmd("--reload")
		w.has("br1", "br2", "tun0")
		n3 := h.network(3)
		eventually(t, "br3 does not come", func() bool { return slices.Contains(permanent(), "br3") })
		h.drop(n3)
		eventually(t, "br3 stays", func() bool { return !slices.Contains(permanent(), "br3") })
		w.has("br1", "br2", "tun0")
		w.cmd("--permanent", "--zone", w.zone.Name, "--remove-interface", "tun0")
		w.cmd("--reload")
		w.has("br1", "br2")
	})
	t.Run("a bridge that is put into another zone stays there, and is told of", func(t *testing.T) {
		w.cmd("--permanent", "--zone", "internal", "--add-interface", "br4")
		n4 := h.network(4) // made before that is in use
		told(t, "warn", "firewalld zone internal has the bridge br4")
		w.cmd("--permanent", "--zone", "internal", "--change-interface", "br2")
		w.cmd("--reload")
		told(t, "warn", "firewalld zone internal has the bridge br2")
		w.has("br1")
		w.keeps("br1")
		if got := strings.Fields(w.cmd("--zone", "internal", "--list-interfaces")); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"br2", "br4"}) {
			t.Errorf("internal has %v", got)
		}
		h.drop(n4)
	})
	t.Run("a configuration that is read-only costs the gap alone", func(t *testing.T) {
		zones := filepath.Join(w.etc, "zones")
		h.sh("mount", "--bind", zones, zones)
		defer func() { _, _ = run("umount", zones) }()
		h.sh("mount", "-o", "remount,ro,bind", zones)
		n5 := h.network(5)
		w.has("br1", "br5")
		w.cmd("--reload")
		told(t, "repair", "firewalld zone "+w.zone.Name+" interface br5")
		w.has("br1", "br5")
		h.sh("umount", zones)
		w.keeps("br1", "br5")
		h.drop(n5)
	})
	h.drop(n1, n2)
	eventually(t, "the permanent configuration has our zone", func() bool {
		return !strings.Contains(strings.Join(w.permanent(), " "), w.zone.Name)
	})
	h.clear()
	w.end()
	anew(t)
}
