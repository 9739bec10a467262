// Package single holds the drivers host and null: types of one network that
// makes nothing in the kernel. A sandbox on host uses the host's own namespace,
// one on null has nothing but a loopback.
package single

import (
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/model"
)

// Driver is a driver whose one network needs nothing of the kernel.
type Driver struct{ name string }

// Host returns the driver host.
func Host() Driver { return Driver{"host"} }

// Null returns the driver null.
func Null() Driver { return Driver{"null"} }

// Type is the name of the driver.
func (d Driver) Type() string { return d.name }

// Traits are those of a driver with one network and no addresses.
func (Driver) Traits() model.Traits { return model.Traits{Scope: "local", Single: true} }

// Prepare accepts any option: none has a meaning here.
func (Driver) Prepare(*model.Network, model.Env) error { return nil }

// Plan has nothing to decide.
func (Driver) Plan(*model.Network, model.Env) error { return nil }

// Network wants nothing.
func (Driver) Network(*model.Network) []model.Object { return nil }

// Attach wants nothing.
func (Driver) Attach(*model.Network, *model.Endpoint, *model.Sandbox) []model.Object { return nil }

// Gateway offers none.
func (Driver) Gateway(*model.Network, *model.Endpoint, bool) netip.Addr { return netip.Addr{} }
