package kernel_test

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/firewalld/firewalldtest"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// walled is a kernel that hears of firewalld.
type walled struct {
	t    *testing.T
	k    *kernel.Kernel
	zone string

	mu   sync.Mutex // guards told
	told []string
	log  strings.Builder
}

// Write takes a line of the log.
func (w *walled) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

// said returns what was told, and forgets it.
func (w *walled) said() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.told
	w.told = nil
	return told
}

func newWalled(t *testing.T, dataDir string, keep bool) *walled {
	t.Helper()
	w := &walled{t: t, zone: kernel.Zone(dataDir).Name}
	var err error
	if w.k, err = kernel.New(t.Context(), kernel.Config{
		DataDir: dataDir, RunDir: "/run/" + w.zone, Firewall: kernel.NFTables, Logger: slog.New(slog.NewTextHandler(w, nil)),
	}); err != nil {
		t.Fatal(err)
	}
	run, err := w.k.Watch(func(string) {}, func() {}, func(action, object string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, action+" "+strings.ReplaceAll(object, w.zone, "ZONE"))
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := w.k.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	if _, err := w.k.Recover(t.Context(), nil, keep); err != nil {
		t.Fatal(err)
	}
	return w
}

func network(number string) []model.Object {
	return []model.Object{model.FirewallNetwork{
		ID: "n" + number, Bridge: "br" + number,
		V4: &model.FirewallFamily{Subnets: []netip.Prefix{netip.MustParsePrefix("10.99." + number + ".0/24")}, ICC: true},
	}}
}

func (w *walled) create(number string) {
	w.t.Helper()
	if err := w.k.Create(w.t.Context(), network(number)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *walled) delete(number string) {
	w.t.Helper()
	if err := w.k.Delete(w.t.Context(), network(number)); err != nil {
		w.t.Fatal(err)
	}
}

// until waits for what comes by itself.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestFirewalldZone(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.Firewalld)
	firewalldtest.Bus(t)
	var f firewalldtest.Firewalld
	all := t
	stop := f.Serve(all)
	w := newWalled(t, t.TempDir(), false)
	t.Run("a network's bridge is a member, and its zone was made", func(t *testing.T) {
		w.create("1")
		w.create("2")
		equal(t, "members", f.Members(w.zone), []string{"br1", "br2"})
		equal(t, "told", w.said(), []string{
			"configure firewalld zone ZONE added", "configure firewalld policy ZONE-fwd added", "configure firewalld reloaded",
		})
	})
	t.Run("it leaves the zone with the network", func(t *testing.T) {
		w.delete("2")
		equal(t, "members", f.Members(w.zone), []string{"br1"})
		equal(t, "told", w.said(), nil)
	})
	t.Run("what a reload has forgotten is put back, and told", func(t *testing.T) {
		f.Reload()
		until(t, "br1 does not come back", func() bool { return len(f.Members(w.zone)) == 1 })
		var told []string
		until(t, "nothing is told", func() bool { told = append(told, w.said()...); return len(told) > 0 })
		equal(t, "told", told, []string{"repair firewalld zone ZONE interface br1"})
	})
	t.Run("what a restart has forgotten, too, and what has been made meanwhile", func(t *testing.T) {
		stop()
		w.create("2")
		w.create("3")
		w.delete("3")
		stop = f.Serve(all)
		until(t, "the bridges do not come back", func() bool { return len(f.Members(w.zone)) == 2 })
		var told []string
		until(t, "nothing is told", func() bool { told = append(told, w.said()...); return len(told) > 0 })
		equal(t, "told", told, []string{"repair firewalld zone ZONE interface br1"})
	})
	t.Run("who has put a bridge elsewhere is obeyed", func(t *testing.T) {
		f.Put("internal", "br4")
		w.create("4")
		equal(t, "members", f.Members("internal"), []string{"br4"})
		equal(t, "told", w.said(), []string{"warn firewalld zone internal has the bridge br4"})
		w.delete("4")
		equal(t, "members", f.Members("internal"), []string{"br4"})
	})
	t.Run("a member of somebody else stays", func(t *testing.T) {
		f.Put(w.zone, "lo")
		w.delete("2")
		equal(t, "members", f.Members(w.zone), []string{"br1", "lo"})
	})
	t.Run("what was made goes with the last network, without a reload", func(t *testing.T) {
		reloads := strings.Count(strings.Join(f.Calls(), "\n"), "reload")
		w.delete("1")
		equal(t, "zones", f.Zones(), nil)
		equal(t, "policies", f.Policies(), nil)
		w.create("1")
		equal(t, "zones", f.Zones(), []string{w.zone})
		equal(t, "members", f.Members(w.zone), []string{"br1", "lo"})
		if got := strings.Count(strings.Join(f.Calls(), "\n"), "reload"); got != reloads {
			t.Errorf("%d reloads more", got-reloads)
		}
	})
	t.Run("a zone that somebody has changed stays", func(t *testing.T) {
		f.Edit(w.zone, "services", []string{"ssh"})
		w.delete("1")
		equal(t, "zones", f.Zones(), []string{w.zone})
		equal(t, "policies", f.Policies(), nil)
	})
}

func TestFirewalldLeftovers(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.Firewalld)
	firewalldtest.Bus(t)
	var f firewalldtest.Firewalld
	f.Serve(t)
	dir := t.TempDir()
	t.Run("", func(t *testing.T) { newWalled(t, dir, false).create("1") })
	t.Run("a start removes what a killed one has left", func(t *testing.T) {
		w := newWalled(t, dir, false)
		until(t, "the zone stays", func() bool { return len(f.Zones())+len(f.Policies())+len(f.Members(w.zone)) == 0 })
	})
}

func TestFirewalldStrict(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.Firewalld)
	t.Run("case 46 the strict-forward option of firewalld is reported", func(t *testing.T) {
		firewalldtest.Bus(t)
		f := firewalldtest.Firewalld{Properties: map[string]string{"StrictForwardPorts": "yes"}}
		f.Serve(t)
		w := newWalled(t, t.TempDir(), false)
		w.create("1")
		f.Reload()
		var told []string
		until(t, "no repair", func() bool {
			told = append(told, w.said()...)
			return strings.Contains(strings.Join(told, "\n"), "repair")
		})
		equal(t, "told", told, []string{
			"configure firewalld zone ZONE added", "configure firewalld policy ZONE-fwd added", "configure firewalld reloaded",
			"warn firewalld StrictForwardPorts=yes rejects what comes to published ports", "repair firewalld zone ZONE interface br1",
		})
		w.create("2") // all that was to be said has been said
		port := model.Port{Proto: 6, Host: netip.IPv4Unspecified(), First: 7001, Last: 7001, Addr: netip.MustParseAddr("10.99.1.2"), Port: 80, Owner: "e1"}
		if err := w.k.Create(t.Context(), []model.Object{port}); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		log := w.log.String()
		w.mu.Unlock()
		for text, times := range map[string]int{"rejects what comes to ports that are published": 1, "published ports are rejected by firewalld": 1} {
			if got := strings.Count(log, text); got != times {
				t.Errorf("%q is in the log %d times, want %d:\n%s", text, got, times, log)
			}
		}
	})
}

func TestFirewalldDeaf(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.Firewalld)
	firewalldtest.Bus(t)
	f := firewalldtest.Firewalld{Deaf: true}
	f.Serve(t)
	w := newWalled(t, t.TempDir(), false)
	w.create("1")
	w.create("2")
	if got := strings.Count(strings.Join(f.Calls(), "\n"), "reload"); got != 1 {
		t.Errorf("it was reloaded %d times, each time in vain", got)
	}
}
