// Package firewalldtest is a bus for tests, and on it a firewalld that has no rules:
// it keeps zones and policies as the real one does, and can be what the real one of
// this machine is not, such as newer, or strict.
package firewalldtest

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

const (
	name   = "org.fedoraproject.FirewallD1"
	path   = dbus.ObjectPath("/org/fedoraproject/FirewallD1")
	config = path + "/config"
)

// settings are those of a zone or policy.
type settings = map[string]dbus.Variant

// Firewalld is the peer. Its fields are set before Serve.
type Firewalld struct {
	// Properties are those of the configuration.
	Properties map[string]string
	// Deaf says that a reload does not read the configuration.
	Deaf bool

	mu                  sync.Mutex // guards the following
	conn                *dbus.Conn
	zones, policies     map[string]settings // the permanent ones
	running, runningPol map[string]bool
	members             map[string]string // zone by interface
	elsewhere           map[string]string // permanent zone by interface, of zones that are not made
	calls               []string
	hold                <-chan struct{}
	readOnly            bool
}

// Bus starts a bus and makes it that of the system for the test. It is skipped where
// there is no dbus-daemon.
func Bus(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "bus") //nolint:usetesting // the name of the test would make it too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := "unix:path=" + filepath.Join(dir, "bus")
	cmd := exec.CommandContext(context.Background(), "dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address", "--address", address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the bus says %q: %v", line, err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
}

// Serve puts the peer on the bus until the test or the function returned ends.
func (f *Firewalld) Serve(t *testing.T) (stop func()) {
	t.Helper()
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	f.mu.Lock()
	f.conn = conn
	if f.zones == nil {
		f.zones, f.policies = make(map[string]settings), make(map[string]settings)
	}
	f.load()
	f.mu.Unlock()
	for _, e := range []struct {
		at      dbus.ObjectPath
		iface   string
		methods map[string]any
	}{
		{path, name, map[string]any{"getDefaultZone": func() (string, *dbus.Error) { return "public", nil }, "reload": f.reload}},
		{path, name + ".zone", map[string]any{
			"getZones": func() ([]string, *dbus.Error) { return f.names(&f.running), nil }, "getInterfaces": f.interfaces,
			"getZoneOfInterface": f.zoneOf, "addInterface": f.addInterface, "removeInterface": f.removeInterface,
		}},
		{path, name + ".policy", map[string]any{"getPolicies": func() ([]string, *dbus.Error) { return f.names(&f.runningPol), nil }}},
		{config, name + ".config", map[string]any{
			"getZoneNames": func() ([]string, *dbus.Error) { return f.Zones(), nil }, "addZone2": f.adder("zone"), "getZoneByName": f.finder("zone"),
			"getPolicyNames": func() ([]string, *dbus.Error) { return f.Policies(), nil }, "addPolicy": f.adder("policy"), "getPolicyByName": f.finder("policy"),
			"getZoneOfInterface": f.permanentZoneOf,
		}},
		{config, "org.freedesktop.DBus.Properties", map[string]any{"Get": f.property}},
	} {
		if err := conn.ExportMethodTable(e.methods, e.at, e.iface); err != nil {
			t.Fatal(err)
		}
	}
	if reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	return func() { _ = conn.Close() }
}

func (f *Firewalld) load() {
	f.running, f.runningPol, f.members = map[string]bool{"public": true, "internal": true}, make(map[string]bool), make(map[string]string)
	maps.Copy(f.members, f.elsewhere)
	for z, s := range f.zones {
		f.running[z] = true
		for _, link := range interfaces(s) {
			f.members[link] = z
		}
	}
	for p := range f.policies {
		f.runningPol[p] = true
	}
}

// Zones and Policies are the names in the permanent configuration.
func (f *Firewalld) Zones() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.zones))
}

// Policies are the names in the permanent configuration.
func (f *Firewalld) Policies() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.policies))
}

// Edit changes a setting of a zone in the permanent configuration.
func (f *Firewalld) Edit(zone, key string, value any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.zones[zone][key] = dbus.MakeVariant(value)
}

// Setting is one of a zone in the permanent configuration.
func (f *Firewalld) Setting(zone, key string) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.zones[zone][key].Value()
}

// Delete removes a zone from the permanent configuration.
func (f *Firewalld) Delete(zone string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.zones, zone)
}

// Members are the interfaces of a zone.
func (f *Firewalld) Members(zone string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for link, z := range f.members {
		if z == zone {
			out = append(out, link)
		}
	}
	slices.Sort(out)
	return out
}

// Put puts an interface into a zone as an administrator does.
func (f *Firewalld) Put(zone, link string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members[link] = zone
}

// Assign puts an interface into a zone, which was not made by us, in the permanent
// configuration.
func (f *Firewalld) Assign(zone, link string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.elsewhere == nil {
		f.elsewhere = make(map[string]string)
	}
	f.elsewhere[link] = zone
}

// Hold has updates of zones wait until the function returned is called.
func (f *Firewalld) Hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hold := make(chan struct{})
	f.hold = hold
	return func() { close(hold) }
}

// ReadOnly says whether updates of zones fail.
func (f *Firewalld) ReadOnly(is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readOnly = is
}

// Kept are the interfaces of a zone in the permanent configuration.
func (f *Firewalld) Kept(zone string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(slices.Values(interfaces(f.zones[zone])))
}

// Calls are those that have changed something.
func (f *Firewalld) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Count is how many of these calls begin so.
func (f *Firewalld) Count(prefix string) (n int) {
	for _, call := range f.Calls() {
		if strings.HasPrefix(call, prefix) {
			n++
		}
	}
	return n
}

func (f *Firewalld) names(of *map[string]bool) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(*of))
}

func failure(code, text string) *dbus.Error {
	return dbus.NewError(name+".Exception", []any{code + ": " + text})
}

// Reload is what an administrator does.
func (f *Firewalld) Reload() { f.renew() }

func (f *Firewalld) reload() *dbus.Error {
	f.mu.Lock()
	f.calls = append(f.calls, "reload")
	f.mu.Unlock()
	f.renew()
	return nil
}

func (f *Firewalld) renew() {
	f.mu.Lock()
	if !f.Deaf {
		f.load()
	}
	conn := f.conn
	f.mu.Unlock()
	_ = conn.Emit(path, name+".Reloaded")
}

func (f *Firewalld) interfaces(zone string) ([]string, *dbus.Error) {
	f.mu.Lock()
	known := f.running[zone]
	f.mu.Unlock()
	if !known {
		return nil, failure("INVALID_ZONE", zone)
	}
	return append([]string{}, f.Members(zone)...), nil
}

func (f *Firewalld) zoneOf(link string) (string, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members[link], nil
}

func (f *Firewalld) addInterface(zone, link string) (string, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch at := f.members[link]; {
	case !f.running[zone]:
		return "", failure("INVALID_ZONE", zone)
	case at == zone:
		return "", failure("ZONE_ALREADY_SET", link)
	case at != "":
		return "", failure("ZONE_CONFLICT", link)
	}
	f.members[link] = zone
	f.calls = append(f.calls, "add "+link)
	return zone, nil
}

func (f *Firewalld) removeInterface(zone, link string) (string, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.members[link] != zone {
		return "", failure("UNKNOWN_INTERFACE", link)
	}
	delete(f.members, link)
	f.calls = append(f.calls, "remove "+link)
	return zone, nil
}

func (f *Firewalld) of(kind string) map[string]settings {
	if kind == "zone" {
		return f.zones
	}
	return f.policies
}

func (f *Firewalld) adder(kind string) func(string, settings) (dbus.ObjectPath, *dbus.Error) {
	return func(what string, s settings) (dbus.ObjectPath, *dbus.Error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(what) > 17 {
			return "", failure("INVALID_NAME", what+" is too long")
		}
		if _, ok := f.of(kind)[what]; ok {
			return "", failure("NAME_CONFLICT", what)
		}
		// As the real one, it tells of more than it was told.
		s = maps.Clone(s)
		s["masquerade"] = dbus.MakeVariant(false)
		s["services"] = dbus.MakeVariant([]string{})
		f.of(kind)[what] = s
		f.calls = append(f.calls, "make "+kind+" "+what)
		return f.export(kind, what), nil
	}
}

func (f *Firewalld) finder(kind string) func(string) (dbus.ObjectPath, *dbus.Error) {
	return func(what string) (dbus.ObjectPath, *dbus.Error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if _, ok := f.of(kind)[what]; !ok {
			return "", failure("INVALID_"+strings.ToUpper(kind), what)
		}
		return f.export(kind, what), nil
	}
}

// export makes an object of a zone or policy of the permanent configuration.
func (f *Firewalld) export(kind, what string) dbus.ObjectPath {
	number := slices.Index(slices.Sorted(maps.Keys(f.of(kind))), what)
	at := dbus.ObjectPath(fmt.Sprintf("%s/%s/%d", config, kind, number))
	get := func() (settings, *dbus.Error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return maps.Clone(f.of(kind)[what]), nil
	}
	remove := func() *dbus.Error {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.of(kind), what)
		f.calls = append(f.calls, "remove "+kind+" "+what)
		return nil
	}
	update := func(s settings) *dbus.Error { return f.update(what, s) }
	_ = f.conn.ExportMethodTable(map[string]any{"getSettings": get, "getSettings2": get, "update2": update, "remove": remove}, at, name+".config."+kind)
	return at
}

func interfaces(s settings) []string {
	links, _ := s["interfaces"].Value().([]string)
	return links
}

// update changes some settings of a zone.
func (f *Firewalld) update(zone string, s settings) *dbus.Error {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		<-hold
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readOnly {
		return dbus.NewError("org.freedesktop.DBus.Error.Failed", []any{"[Errno 30] Read-only file system"})
	}
	for _, link := range interfaces(s) {
		if f.elsewhere[link] != "" {
			return failure("ZONE_CONFLICT", link)
		}
	}
	f.zones[zone] = maps.Clone(f.zones[zone])
	maps.Copy(f.zones[zone], s)
	f.calls = append(f.calls, "keep "+strings.Join(interfaces(s), " "))
	return nil
}

func (f *Firewalld) permanentZoneOf(link string) (string, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for z, s := range f.zones {
		if slices.Contains(interfaces(s), link) {
			return z, nil
		}
	}
	return f.elsewhere[link], nil
}

func (f *Firewalld) property(_, property string) (dbus.Variant, *dbus.Error) {
	v, ok := f.Properties[property]
	if !ok {
		return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Python.dbus.exceptions.DBusException",
			[]any{"org.freedesktop.DBus.Error.InvalidArgs: Property '" + property + "' does not exist"})
	}
	return dbus.MakeVariant(v), nil
}
