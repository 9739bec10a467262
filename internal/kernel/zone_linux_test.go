package kernel_test

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
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

// logged counts the lines of the log that have a text.
func (w *walled) logged(text string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.log.String(), text)
}

func newWalled(t *testing.T, dataDir string, keep bool, wanted ...model.Object) *walled {
	t.Helper()
	w := &walled{t: t, zone: kernel.Zone(dataDir).Name}
	var err error
	if w.k, err = kernel.New(t.Context(), kernel.Config{
		DataDir: dataDir, RunDir: "/run/" + w.zone, Firewall: kernel.NFTables, Logger: slog.New(slog.NewTextHandler(w, nil)),
	}); err != nil {
		t.Fatal(err)
	}
	run, err := w.k.Watch(func(string, bool) {}, func() {}, func() {}, func(action, object string) {
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
	if _, err := w.k.Recover(t.Context(), wanted, keep); err != nil {
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

// keeps waits until exactly these are in the zone in the permanent configuration.
func (w *walled) keeps(f *firewalldtest.Firewalld, bridges ...string) {
	w.t.Helper()
	var got []string
	until(w.t, "the permanent members are not "+strings.Join(bridges, " "), func() bool {
		got = f.Kept(w.zone)
		return cmp.Equal(got, bridges)
	})
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
	t.Run("a reload brings it back without us, and there is nothing to tell", func(t *testing.T) {
		w.keeps(&f, "br1")
		f.Reload()
		equal(t, "members", f.Members(w.zone), []string{"br1"})
		added := f.Count("add")
		w.create("5") // done after what the reload has to be answered with
		w.delete("5")
		equal(t, "told", w.said(), nil)
		if got := f.Count("add") - added; got != 1 {
			t.Errorf("%d members were added, want that which was made alone", got)
		}
	})
	t.Run("so does a restart, and what has been made meanwhile comes", func(t *testing.T) {
		w.create("4")
		w.keeps(&f, "br1", "br4")
		stop()
		w.create("2")
		w.delete("4")
		w.create("3")
		w.delete("3")
		stop = f.Serve(all)
		w.keeps(&f, "br1", "br2")
		equal(t, "members", f.Members(w.zone), []string{"br1", "br2"})
		equal(t, "told", w.said(), nil)
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
		reloads := f.Count("reload")
		w.delete("1")
		equal(t, "zones", f.Zones(), nil)
		equal(t, "policies", f.Policies(), nil)
		w.create("1")
		equal(t, "zones", f.Zones(), []string{w.zone})
		equal(t, "members", f.Members(w.zone), []string{"br1", "lo"})
		if got := f.Count("reload"); got != reloads {
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

// TestFirewalldKept is about members in the permanent configuration.
func TestFirewalldKept(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.Firewalld)
	begin := func(t *testing.T) (*firewalldtest.Firewalld, *walled) {
		firewalldtest.Bus(t)
		f := new(firewalldtest.Firewalld)
		f.Serve(t)
		w := newWalled(t, t.TempDir(), false)
		w.create("1")
		equal(t, "kept", f.Kept(w.zone), []string{"br1"}) // the reload was to come with them
		w.said()
		return f, w
	}
	t.Run("several changes are one update, for which nobody waits", func(t *testing.T) {
		f, w := begin(t)
		release := f.Hold()
		before := f.Count("keep")
		objects := slices.Concat(network("2"), network("3"), network("4"))
		if err := w.k.Create(t.Context(), objects); err != nil {
			t.Fatal(err)
		}
		equal(t, "members", f.Members(w.zone), []string{"br1", "br2", "br3", "br4"})
		equal(t, "kept", f.Kept(w.zone), []string{"br1"})
		release()
		w.keeps(f, "br1", "br2", "br3", "br4")
		if got := f.Count("keep") - before; got != 1 {
			t.Errorf("%d updates", got)
		}
		if w.logged("firewalld does not answer") > 0 {
			t.Error("the creation has waited in vain")
		}
	})
	t.Run("a configuration that is read-only is told of, and members are put back after a reload", func(t *testing.T) {
		f, w := begin(t)
		f.ReadOnly(true)
		w.create("2")
		until(t, "nothing is said", func() bool { return w.logged("cannot be written") > 0 })
		f.Reload()
		var told []string
		until(t, "nothing is told", func() bool { told = append(told, w.said()...); return len(told) > 0 })
		equal(t, "told", told, []string{"repair firewalld zone ZONE interface br2"})
		equal(t, "members", f.Members(w.zone), []string{"br1", "br2"})
		w.create("3") // what fails is tried again, with this
		f.ReadOnly(false)
		w.keeps(f, "br1", "br2", "br3")
		if got := w.logged("cannot be written"); got != 1 {
			t.Errorf("it is said %d times", got)
		}
	})
	t.Run("a bridge that another zone has permanently stays there, and keeps nobody else", func(t *testing.T) {
		f, w := begin(t)
		f.Assign("internal", "br2")
		if err := w.k.Create(t.Context(), append(network("2"), network("3")...)); err != nil {
			t.Fatal(err)
		}
		w.keeps(f, "br1", "br3")
		want := []string{"warn firewalld zone internal has the bridge br2"}
		var told []string
		until(t, "nothing is told", func() bool { told = append(told, w.said()...); return len(told) > 0 })
		equal(t, "told", told, want)
		f.Reload()
		w.create("4")
		w.keeps(f, "br1", "br3", "br4")
		equal(t, "members", f.Members("internal"), []string{"br2"})
		equal(t, "told again", w.said(), nil)
	})
	t.Run("what an administrator has added to the zone stays, and the zone with it", func(t *testing.T) {
		f, w := begin(t)
		f.Edit(w.zone, "interfaces", []string{"br1", "tun0"})
		f.Reload()
		w.create("2")
		w.keeps(f, "br1", "br2", "tun0")
		w.delete("2")
		w.keeps(f, "br1", "tun0")
		equal(t, "members", f.Members(w.zone), []string{"br1", "tun0"})
		w.delete("1")
		equal(t, "kept at last", f.Kept(w.zone), []string{"tun0"})
		equal(t, "members at last", f.Members(w.zone), []string{"tun0"})
		equal(t, "zones", f.Zones(), []string{w.zone})
		if w.logged("it stays") == 0 {
			t.Error("nobody was told")
		}
		f.Reload()
		w.create("3")
		w.keeps(f, "br3", "tun0")
	})
	t.Run("an administrator's own description stays", func(t *testing.T) {
		f, w := begin(t)
		f.Edit(w.zone, "description", "mine")
		w.create("2")
		w.keeps(f, "br1", "br2")
		w.delete("2")
		w.keeps(f, "br1")
		if got := f.Setting(w.zone, "description"); got != "mine Members: br1" {
			t.Errorf("description %q", got)
		}
	})
	t.Run("members that were saved from what is in use are ours", func(t *testing.T) {
		f, w := begin(t)
		inUse := f.Setting(w.zone, "description") // as firewall-cmd --runtime-to-permanent has it
		w.create("2")
		w.keeps(f, "br1", "br2")
		f.Edit(w.zone, "description", inUse)
		w.delete("2")
		w.keeps(f, "br1")
		w.create("2")
		w.keeps(f, "br1", "br2")
		f.Edit(w.zone, "description", inUse)
		for _, n := range []string{"2", "1"} {
			w.delete(n)
		}
		equal(t, "zones", f.Zones(), nil)
	})
	t.Run("a bridge that somebody has taken out of it comes back with a reload", func(t *testing.T) {
		f, w := begin(t)
		f.Edit(w.zone, "interfaces", []string{})
		f.Reload()
		w.keeps(f, "br1")
		equal(t, "members", f.Members(w.zone), []string{"br1"})
		equal(t, "told", w.said(), []string{"repair firewalld zone ZONE interface br1"})
	})
	t.Run("a zone that somebody has removed comes back", func(t *testing.T) {
		f, w := begin(t)
		f.Delete(w.zone)
		w.create("2")
		w.keeps(f, "br1", "br2")
	})
	t.Run("a start does the difference, and an end leaves none", func(t *testing.T) {
		firewalldtest.Bus(t)
		f := new(firewalldtest.Firewalld)
		f.Serve(t)
		dir := t.TempDir()
		zone := kernel.Zone(dir).Name
		t.Run("", func(t *testing.T) {
			w := newWalled(t, dir, false)
			for _, n := range []string{"1", "2", "3"} {
				w.create(n)
			}
			w.keeps(f, "br1", "br2", "br3")
			w.delete("3")
		})
		equal(t, "kept after the end", f.Kept(zone), []string{"br1", "br2"})
		f.Reload()
		t.Run("", func(t *testing.T) {
			w := newWalled(t, dir, false, network("1")...)
			w.keeps(f, "br1")
			until(t, "it is still a member", func() bool { return len(f.Members(zone)) == 1 })
			equal(t, "told", w.said(), nil)
			updates := f.Count("keep")
			f.Reload()
			w.create("2") // this is an update, the reload none
			w.keeps(f, "br1", "br2")
			if got := f.Count("keep") - updates; got != 1 {
				t.Errorf("%d updates", got)
			}
		})
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
		w.create("2") // all that was to be said has been said
		equal(t, "told", w.said(), []string{
			"configure firewalld zone ZONE added", "configure firewalld policy ZONE-fwd added", "configure firewalld reloaded",
			"warn firewalld StrictForwardPorts=yes rejects what comes to published ports",
		})
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
	if got := f.Count("reload"); got != 1 {
		t.Errorf("it was reloaded %d times, each time in vain", got)
	}
}
