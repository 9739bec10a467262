// Package outsidetest is a network driver of somebody else, for tests: it
// remembers what it is told and does what the test says.
//
// It may be used from many goroutines. It makes nothing in the kernel: a test that
// wants links makes them in its hooks.
package outsidetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/libnetwork/libnetwork/discoverapi"
	"github.com/libnetwork/libnetwork/driverapi"
)

// Driver is a driver that keeps a contract of its own: what is told twice, or of
// something unknown, is a violation.
type Driver struct {
	// Name is the network type.
	Name string
	// Fail is asked at the beginning of each call; nil never fails.
	Fail func(method, id string) error
	// OnCreate and OnJoin do the driver's part of CreateEndpoint and Join.
	OnCreate func(eid string, i driverapi.InterfaceInfo, options map[string]interface{}) error
	OnJoin   func(eid, key string, j driverapi.JoinInfo, options map[string]interface{}) error
	// Info is what EndpointOperInfo returns.
	Info map[string]interface{}

	mu         sync.Mutex // guards the following
	calls      []string
	violations []error
	networks   map[string]bool
	endpoints  map[string]string // network by endpoint
	joined     map[string]string // key by endpoint
	programmed map[string]bool
	options    map[string]map[string]interface{}
}

// call enters a call, and asks whether it fails.
func (d *Driver) call(method, id string, check func() error) error {
	d.mu.Lock()
	d.calls = append(d.calls, method+" "+short(id))
	d.mu.Unlock()
	if d.Fail != nil {
		if err := d.Fail(method, id); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.networks == nil {
		d.networks, d.endpoints = make(map[string]bool), make(map[string]string)
		d.joined, d.programmed = make(map[string]string), make(map[string]bool)
		d.options = make(map[string]map[string]interface{})
	}
	if err := check(); err != nil {
		d.violations = append(d.violations, fmt.Errorf("%s %s: %w", method, short(id), err))
	}
	return nil
}

func short(id string) string { return id[:min(8, len(id))] }

var (
	errKnown   = errors.New("known already")
	errUnknown = errors.New("not known")
	errUsed    = errors.New("still in use")
)

// CreateNetwork remembers a network.
func (d *Driver) CreateNetwork(nid string, options map[string]interface{}, _, _ []driverapi.IPAMData) error {
	return d.call("CreateNetwork", nid, func() error {
		if d.networks[nid] {
			return errKnown
		}
		d.networks[nid], d.options[nid] = true, options
		return nil
	})
}

// DeleteNetwork forgets a network.
func (d *Driver) DeleteNetwork(nid string) error {
	return d.call("DeleteNetwork", nid, func() error {
		if !d.networks[nid] {
			return errUnknown
		}
		delete(d.networks, nid)
		for _, n := range d.endpoints {
			if n == nid {
				return errUsed
			}
		}
		return nil
	})
}

// CreateEndpoint remembers an endpoint.
func (d *Driver) CreateEndpoint(nid, eid string, i driverapi.InterfaceInfo, options map[string]interface{}) error {
	err := d.call("CreateEndpoint", eid, func() error {
		if _, ok := d.endpoints[eid]; ok {
			return errKnown
		}
		d.endpoints[eid], d.options[eid] = nid, options
		if !d.networks[nid] {
			return errUnknown
		}
		return nil
	})
	if err == nil && d.OnCreate != nil {
		if err = d.OnCreate(eid, i, options); err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(d.endpoints, eid)
		}
	}
	return err
}

// DeleteEndpoint forgets an endpoint.
func (d *Driver) DeleteEndpoint(_, eid string) error {
	return d.call("DeleteEndpoint", eid, func() error {
		_, known := d.endpoints[eid]
		_, joined := d.joined[eid]
		delete(d.endpoints, eid)
		switch {
		case !known:
			return errUnknown
		case joined:
			return errUsed
		}
		return nil
	})
}

// EndpointOperInfo returns Info.
func (d *Driver) EndpointOperInfo(_, _ string) (map[string]interface{}, error) { return d.Info, nil }

// Join remembers that an endpoint has joined.
func (d *Driver) Join(_, eid string, key string, j driverapi.JoinInfo, options map[string]interface{}) error {
	err := d.call("Join", eid, func() error {
		_, joined := d.joined[eid]
		d.joined[eid], d.options[key] = key, options
		if joined {
			return errKnown
		}
		if _, ok := d.endpoints[eid]; !ok {
			return errUnknown
		}
		return nil
	})
	if err == nil && d.OnJoin != nil {
		if err = d.OnJoin(eid, key, j, options); err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			delete(d.joined, eid)
		}
	}
	return err
}

// Leave remembers that an endpoint has left.
func (d *Driver) Leave(_, eid string) error {
	return d.call("Leave", eid, func() error {
		_, joined := d.joined[eid]
		delete(d.joined, eid)
		switch {
		case !joined:
			return errUnknown
		case d.programmed[eid]:
			return errUsed
		}
		return nil
	})
}

// ProgramExternalConnectivity remembers that the way to an endpoint is open.
func (d *Driver) ProgramExternalConnectivity(_, eid string, _ map[string]interface{}) error {
	return d.call("Program", eid, func() error {
		known := d.programmed[eid]
		d.programmed[eid] = true
		if known {
			return errKnown
		}
		if _, ok := d.joined[eid]; !ok {
			return errUnknown
		}
		return nil
	})
}

// RevokeExternalConnectivity remembers that the way to an endpoint is closed.
func (d *Driver) RevokeExternalConnectivity(_, eid string) error {
	return d.call("Revoke", eid, func() error {
		known := d.programmed[eid]
		delete(d.programmed, eid)
		if !known {
			return errUnknown
		}
		return nil
	})
}

// Type returns the name of the network type.
func (d *Driver) Type() string { return d.Name }

// DiscoverNew takes no notice.
func (d *Driver) DiscoverNew(discoverapi.DiscoveryType, interface{}) error { return nil }

// DiscoverDelete takes no notice.
func (d *Driver) DiscoverDelete(discoverapi.DiscoveryType, interface{}) error { return nil }

// Calls returns the calls since the last time that it was asked: the method and
// the first 8 digits of the id.
func (d *Driver) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	return calls
}

// Options returns the options that came with an id: of a network, an endpoint, or
// the key of a sandbox.
func (d *Driver) Options(id string) map[string]interface{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.options[id]
}

// Violations returns what was against the contract so far.
func (d *Driver) Violations() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.violations...)
}

// Known lists what the driver knows: networks, endpoints, joined and programmed
// ones, sorted.
func (d *Driver) Known() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for id := range d.networks {
		out = append(out, "network "+short(id))
	}
	for id := range d.endpoints {
		out = append(out, "endpoint "+short(id))
	}
	for id := range d.joined {
		out = append(out, "joined "+short(id))
	}
	for id := range d.programmed {
		out = append(out, "programmed "+short(id))
	}
	slices.Sort(out)
	return out
}
