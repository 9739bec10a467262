package firewalld_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/firewalld"
	"github.com/libnetwork/libnetwork/internal/firewalld/firewalldtest"
	"github.com/libnetwork/libnetwork/types"
)

var zone = firewalld.Zone{Name: "z", Policy: "p", Description: "ours"}

// dial connects to the bus of the test, and takes down what is told.
func dial(t *testing.T) (*firewalld.Client, <-chan firewalld.Signal) {
	t.Helper()
	heard := make(chan firewalld.Signal, 10)
	c, err := firewalld.Dial(t.Context(), func(s firewalld.Signal) { heard <- s })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, heard
}

func TestSignals(t *testing.T) {
	firewalldtest.Bus(t)
	c, heard := dial(t)
	if pid, err := c.Process(t.Context()); pid != 0 || err != nil {
		t.Errorf("firewalld is process %d (%v) where there is none", pid, err)
	}
	var f firewalldtest.Firewalld
	stop := f.Serve(t)
	if s := <-heard; s != firewalld.Started {
		t.Errorf("its start is signal %d", s)
	}
	if pid, err := c.Process(t.Context()); int(pid) != os.Getpid() || err != nil {
		t.Errorf("firewalld is process %d (%v), want %d", pid, err, os.Getpid())
	}
	f.Reload()
	if s := <-heard; s != firewalld.Reloaded {
		t.Errorf("its reload is signal %d", s)
	}
	stop()
	if s := <-heard; s != firewalld.Stopped {
		t.Errorf("its end is signal %d", s)
	}
	if err := c.Idle(t.Context()); err == nil {
		t.Error("one that is not there answers")
	}
}

func TestZone(t *testing.T) {
	firewalldtest.Bus(t)
	var f firewalldtest.Firewalld
	f.Serve(t)
	c, _ := dial(t)
	ctx := t.Context()
	all := []string{"zone z", "policy p"}
	check := func(what string, got, want any, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	made, err := c.Make(ctx, zone)
	check("made", made, all, err)
	made, err = c.Make(ctx, zone)
	check("made again", made, []string(nil), err)
	loaded, err := c.Loaded(ctx, zone)
	check("loaded before the reload", loaded, false, err)
	members, err := c.Members(ctx, "z")
	check("members before the reload", members, []string(nil), err)
	check("reload", nil, nil, c.Reload(ctx))
	loaded, err = c.Loaded(ctx, zone)
	check("loaded", loaded, true, err)

	for range 2 {
		at, err := c.Add(ctx, "z", "br1")
		check("added to", at, "z", err)
	}
	f.Put("internal", "br2")
	at, err := c.Add(ctx, "z", "br2")
	check("somebody else's is in", at, "internal", err)
	members, err = c.Members(ctx, "z")
	check("members", members, []string{"br1"}, err)
	for range 2 {
		check("drop", nil, nil, c.Drop(ctx, "z", "br1"))
	}

	f.Edit("z", "services", []string{"ssh"})
	removed, left, err := c.Remove(ctx, zone)
	check("removed", removed, []string{"policy p"}, err)
	check("left, since it was changed", left, []string{"zone z"}, err)
	f.Edit("z", "services", []string{})
	removed, left, err = c.Remove(ctx, zone)
	check("removed", removed, []string{"zone z"}, err)
	check("left", left, []string(nil), err)
	removed, _, err = c.Remove(ctx, zone)
	check("removed again", removed, []string(nil), err)
}

func TestKeep(t *testing.T) {
	firewalldtest.Bus(t)
	var f firewalldtest.Firewalld
	f.Serve(t)
	c, _ := dial(t)
	ctx := t.Context()
	listed := func(_ string, listed bool) bool { return listed }
	keep := func(want map[string]string, links ...string) {
		t.Helper()
		elsewhere, err := c.Keep(ctx, "z", links, listed)
		if diff := cmp.Diff(want, elsewhere); diff != "" || err != nil {
			t.Errorf("keep %v: %v (-want +got):\n%s", links, err, diff)
		}
	}
	has := func(what string, links []string, description string) {
		t.Helper()
		if diff := cmp.Diff(links, f.Kept("z")); diff != "" || f.Setting("z", "description") != description {
			t.Errorf("%s: description %q, links (-want +got):\n%s", what, f.Setting("z", "description"), diff)
		}
	}
	if _, err := c.Keep(ctx, "z", []string{"br1"}, listed); !errors.As(err, new(types.NotFoundError)) {
		t.Errorf("in a zone that is not there: %T %v", err, err)
	}
	if _, err := c.Make(ctx, zone); err != nil {
		t.Fatal(err)
	}
	keep(nil, "br1", "br2")
	has("kept", []string{"br1", "br2"}, "ours Members: br1 br2")
	keep(nil, "br2", "br1")
	if got := f.Count("keep"); got != 1 {
		t.Errorf("%d updates, though nothing was to be done", got-1)
	}
	f.Edit("z", "interfaces", []string{"br1", "theirs", "br2"})
	keep(nil, "br1", "br3")
	has("with one of somebody else", []string{"br1", "br3", "theirs"}, "ours Members: br1 br3")
	f.Assign("internal", "br4")
	keep(map[string]string{"br4": "internal"}, "br1", "br4", "br5")
	has("with one that is elsewhere", []string{"br1", "br5", "theirs"}, "ours Members: br1 br5")
	_, left, err := c.Remove(ctx, zone)
	if diff := cmp.Diff([]string{"zone z"}, left); diff != "" || err != nil {
		t.Errorf("left with one of somebody else: %v (-want +got):\n%s", err, diff)
	}
	f.Edit("z", "interfaces", []string{"br1", "br5"})
	removed, left, err := c.Remove(ctx, zone)
	if diff := cmp.Diff([]string{"zone z"}, removed); diff != "" || len(left) > 0 || err != nil {
		t.Errorf("removed with ours: left %v, %v (-want +got):\n%s", left, err, diff)
	}
	f.ReadOnly(true)
	if _, err := c.Make(ctx, zone); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Keep(ctx, "z", []string{"br1"}, listed); err == nil {
		t.Error("one that is read-only has taken a member")
	}
}

func TestStrictForwardPorts(t *testing.T) {
	for _, tt := range []struct {
		name       string
		properties map[string]string
		want       bool
	}{
		{"an older one", nil, false},
		{"off", map[string]string{"StrictForwardPorts": "no"}, false},
		{"on", map[string]string{"StrictForwardPorts": "yes"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			firewalldtest.Bus(t)
			f := firewalldtest.Firewalld{Properties: tt.properties}
			f.Serve(t)
			c, _ := dial(t)
			if got, err := c.StrictForwardPorts(t.Context()); got != tt.want || err != nil {
				t.Errorf("%t, %v; want %t", got, err, tt.want)
			}
		})
	}
}

func TestNoBus(t *testing.T) {
	dir := t.TempDir()
	silent := filepath.Join(dir, "silent")
	l, err := net.Listen("unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for name, address := range map[string]string{
		"absent": "unix:path=" + filepath.Join(dir, "none"), "silent": "unix:path=" + silent, "nonsense": "nonsense",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
			c, err := firewalld.Dial(t.Context(), nil)
			if err == nil {
				t.Fatal("connected", c.Close())
			}
			if !errors.As(err, new(types.NoServiceError)) {
				t.Errorf("%T %v", err, err)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	firewalldtest.Bus(t)
	var f firewalldtest.Firewalld
	f.Serve(t)
	c, _ := dial(t)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if err := c.Idle(ctx); !errors.As(err, new(types.TimeoutError)) {
		t.Errorf("%T %v", err, err)
	}
}
