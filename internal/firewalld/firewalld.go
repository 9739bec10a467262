// Package firewalld speaks with firewalld over the system bus: zones, policies and
// what it tells of itself.
//
// It knows the protocol alone (firewalld 0.9 and newer, where policies are); what a
// zone is for is the business of those who ask. No call starts firewalld, and each
// ends with its context. A Client is safe for concurrent use; its one goroutine ends
// with it.
package firewalld

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/libnetwork/libnetwork/types"
)

// Names on the bus.
const (
	name       = "org.fedoraproject.FirewallD1"
	path       = dbus.ObjectPath("/org/fedoraproject/FirewallD1")
	configPath = path + "/config"
	bus        = "org.freedesktop.DBus"
)

// helloTime is how long a bus may take to answer to a new connection. One that does
// not is as good as none.
const helloTime = 2 * time.Second

// A Signal is what firewalld, or the bus for it, tells.
type Signal int

// The signals.
const (
	// Reloaded: it has made all its rules anew, and forgotten what was changed at run
	// time alone.
	Reloaded Signal = iota
	// Started: it is on the bus, perhaps not yet with its rules.
	Started
	// Stopped: it is not on the bus any more.
	Stopped
)

// A Client is a connection to the system bus.
type Client struct {
	conn   *dbus.Conn
	cancel context.CancelFunc
}

// Dial connects to the system bus, that of the environment variable
// DBUS_SYSTEM_BUS_ADDRESS if it is set. From then on each is called for all that
// firewalld tells, one call at a time; it must not wait for anything.
func Dial(ctx context.Context, each func(Signal)) (*Client, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &Client{cancel: cancel}
	late := time.AfterFunc(helloTime, cancel)
	var err error
	c.conn, err = dbus.SystemBusPrivate(dbus.WithContext(ctx), dbus.WithSignalHandler(handler(each)))
	if err != nil {
		cancel()
		return nil, types.NoServiceErrorf("connect to the system bus: %w", err)
	}
	err = c.conn.Auth(nil)
	if err == nil {
		err = c.conn.Hello()
	}
	if err == nil {
		err = c.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(name), dbus.WithMatchInterface(name), dbus.WithMatchMember("Reloaded"))
	}
	if err == nil {
		err = c.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(bus), dbus.WithMatchInterface(bus),
			dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, name))
	}
	if !late.Stop() {
		err = errors.Join(context.DeadlineExceeded, err)
	}
	if err != nil {
		_ = c.Close()
		return nil, types.NoServiceErrorf("speak with the system bus: %w", err)
	}
	return c, nil
}

// Close ends the connection.
func (c *Client) Close() error {
	c.cancel()
	return c.conn.Close()
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.conn.Context().Done() }

// handler hands on the signals that are of interest.
type handler func(Signal)

// DeliverSignal is called by the connection's goroutine.
func (h handler) DeliverSignal(iface, member string, s *dbus.Signal) {
	switch {
	case iface == name && member == "Reloaded":
		h(Reloaded)
	case iface == bus && member == "NameOwnerChanged" && len(s.Body) == 3 && s.Body[0] == name:
		if s.Body[2] == "" {
			h(Stopped)
		} else {
			h(Started)
		}
	}
}

// call calls a method and stores what it returns. Its error has the class NoService if
// there is no bus any more, Timeout if the context has ended before the answer came.
func (c *Client) call(ctx context.Context, at dbus.ObjectPath, method string, results []any, args ...any) error {
	dest := name
	if at == "" {
		dest, at = bus, "/org/freedesktop/DBus"
	}
	call := c.conn.Object(dest, at).CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
	err := call.Err
	if len(results) > 0 {
		err = call.Store(results...)
	}
	switch {
	case err == nil:
		return nil
	case !c.conn.Connected() || errors.Is(err, dbus.ErrClosed) || errors.As(err, new(*net.OpError)):
		return types.NoServiceErrorf("firewalld: the bus is gone: %w", err)
	case ctx.Err() != nil:
		return types.TimeoutErrorf("firewalld: no answer to %s%v: %w", method, args, err)
	default:
		return types.InternalErrorf("firewalld: %s%v: %w", method, args, err)
	}
}

// is says whether an error is one of firewalld's, by its code.
func is(err error, code string) bool {
	var e dbus.Error
	if !errors.As(err, &e) || len(e.Body) == 0 {
		return false
	}
	text, _ := e.Body[0].(string)
	got, _, _ := strings.Cut(text, ":")
	return got == code
}

// Process returns the id of the process that is firewalld, 0 if there is none.
func (c *Client) Process(ctx context.Context) (pid uint32, err error) {
	err = c.call(ctx, "", bus+".GetConnectionUnixProcessID", []any{&pid}, name)
	if e := (dbus.Error{}); errors.As(err, &e) && e.Name == bus+".Error.NameHasNoOwner" {
		return 0, nil
	}
	return pid, err
}

// Idle waits until firewalld does nothing: it answers to nobody before it is done
// with its start, or with a reload.
func (c *Client) Idle(ctx context.Context) error {
	var zone string
	return c.call(ctx, path, name+".getDefaultZone", []any{&zone})
}

// Loaded says whether the zone and the policy are in use: what is made is so only
// after a reload.
func (c *Client) Loaded(ctx context.Context, z Zone) (bool, error) {
	var names, policies []string
	if err := c.call(ctx, path, name+".zone.getZones", []any{&names}); err != nil {
		return false, err
	}
	err := c.call(ctx, path, name+".policy.getPolicies", []any{&policies})
	return slices.Contains(names, z.Name) && slices.Contains(policies, z.Policy), err
}

// Reload makes firewalld read its permanent configuration. What was changed at run
// time alone is lost.
func (c *Client) Reload(ctx context.Context) error { return c.call(ctx, path, name+".reload", nil) }

// Members returns the interfaces of a zone; one that is not in use has none.
func (c *Client) Members(ctx context.Context, zone string) (links []string, err error) {
	err = c.call(ctx, path, name+".zone.getInterfaces", []any{&links}, zone)
	if is(err, "INVALID_ZONE") {
		return nil, nil
	}
	return links, err
}

// ZoneOf returns the zone that an interface was put into, the empty string if none.
func (c *Client) ZoneOf(ctx context.Context, link string) (zone string, err error) {
	err = c.call(ctx, path, name+".zone.getZoneOfInterface", []any{&zone}, link)
	return zone, err
}

// Add puts an interface into a zone until the next reload, unless it is in one
// already. It returns the zone that it is in.
func (c *Client) Add(ctx context.Context, zone, link string) (string, error) {
	err := c.call(ctx, path, name+".zone.addInterface", nil, zone, link)
	switch {
	case is(err, "ZONE_CONFLICT"):
		return c.ZoneOf(ctx, link)
	case is(err, "ZONE_ALREADY_SET"):
		err = nil
	}
	return zone, err
}

// Drop takes an interface out of a zone.
func (c *Client) Drop(ctx context.Context, zone, link string) error {
	err := c.call(ctx, path, name+".zone.removeInterface", nil, zone, link)
	if is(err, "UNKNOWN_INTERFACE") || is(err, "INVALID_ZONE") {
		return nil
	}
	return err
}

// StrictForwardPorts says whether firewalld (2.3 and newer) is configured to reject
// what others than itself translate to another destination.
func (c *Client) StrictForwardPorts(ctx context.Context) (bool, error) {
	var v dbus.Variant
	err := c.call(ctx, configPath, "org.freedesktop.DBus.Properties.Get", []any{&v}, name+".config", "StrictForwardPorts")
	if lacksProperty(err) {
		return false, nil
	}
	text := strings.ToLower(fmt.Sprint(v.Value()))
	return text == "yes" || text == "true", err
}

// lacksProperty recognises what an older firewalld says: its Python library puts the
// error's name into the text.
func lacksProperty(err error) bool {
	var e dbus.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range []string{bus + ".Error.InvalidArgs", bus + ".Error.UnknownProperty"} {
		if e.Name == code || is(err, code) {
			return true
		}
	}
	return false
}
