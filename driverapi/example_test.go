package driverapi_test

import (
	"fmt"
	"sync"

	"github.com/libnetwork/libnetwork/discoverapi"
	"github.com/libnetwork/libnetwork/driverapi"
)

// noted is a driver that makes nothing. It shows what each method has to keep.
type noted struct {
	mu       sync.Mutex
	networks map[string]map[string]bool // endpoints by network
}

func (d *noted) Type() string { return "noted" }

func (d *noted) CreateNetwork(nid string, _ map[string]interface{}, ipV4Data, _ []driverapi.IPAMData) error {
	for i := range ipV4Data {
		if err := ipV4Data[i].Validate(); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.networks[nid] = map[string]bool{}
	return nil
}

func (d *noted) DeleteNetwork(nid string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.networks[nid]; !ok {
		return driverapi.ErrNoNetwork(nid)
	}
	delete(d.networks, nid)
	return nil
}

func (d *noted) CreateEndpoint(nid, eid string, _ driverapi.InterfaceInfo, _ map[string]interface{}) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	endpoints, ok := d.networks[nid]
	if !ok {
		return driverapi.ErrNoNetwork(nid)
	}
	if endpoints[eid] {
		return driverapi.ErrEndpointExists(eid)
	}
	endpoints[eid] = true
	return nil
}

func (d *noted) DeleteEndpoint(nid, eid string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.networks[nid][eid] {
		return driverapi.ErrNoEndpoint(eid)
	}
	delete(d.networks[nid], eid)
	return nil
}

func (d *noted) EndpointOperInfo(string, string) (map[string]interface{}, error) {
	return map[string]interface{}{}, nil
}

func (d *noted) Join(_, eid, _ string, jinfo driverapi.JoinInfo, _ map[string]interface{}) error {
	return jinfo.InterfaceName().SetNames("note"+eid, "eth")
}

func (d *noted) Leave(string, string) error { return nil }

func (d *noted) ProgramExternalConnectivity(string, string, map[string]interface{}) error {
	return driverapi.ErrNotImplemented{}
}

func (d *noted) RevokeExternalConnectivity(string, string) error {
	return driverapi.ErrNotImplemented{}
}

func (d *noted) DiscoverNew(discoverapi.DiscoveryType, interface{}) error { return nil }

func (d *noted) DiscoverDelete(discoverapi.DiscoveryType, interface{}) error { return nil }

// registry stands for the core.
type registry map[string]driverapi.Driver

func (r registry) RegisterDriver(name string, d driverapi.Driver, c driverapi.Capability) error {
	if _, ok := r[name]; ok {
		return driverapi.ErrActiveRegistration(name)
	}
	r[name] = d
	fmt.Println(name, "makes networks of scope", c.DataScope)
	return nil
}

// A driver registers itself, and is then called by the core.
func Example() {
	var callback driverapi.DriverCallback = registry{}
	driver := &noted{networks: map[string]map[string]bool{}}
	capability := driverapi.Capability{DataScope: "local"}

	fmt.Println(callback.RegisterDriver(driver.Type(), driver, capability))
	fmt.Println(callback.RegisterDriver(driver.Type(), driver, capability))

	fmt.Println(driver.CreateNetwork("n1", nil, []driverapi.IPAMData{{}}, nil))
	fmt.Println(driver.CreateNetwork("n1", nil, nil, nil))
	fmt.Println(driver.DeleteEndpoint("n1", "e1"))
	// Output:
	// noted makes networks of scope local
	// <nil>
	// network type noted: a driver is already registered
	// address data: no pool
	// <nil>
	// endpoint e1: unknown to the driver
}
