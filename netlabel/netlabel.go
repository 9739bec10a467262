// Package netlabel names the labels that clients, the core and the drivers put
// into option maps, and takes labels of the form key=value apart.
//
// It is a leaf without state; the eight store labels are variables only because
// the published API has them so, and nothing may assign to them.
package netlabel

import "strings"

// The published labels.
const (
	// Prefix begins every label.
	Prefix = "com.docker.network"

	// DriverPrefix begins the labels of drivers.
	DriverPrefix = Prefix + ".driver"

	// DriverPrivatePrefix begins the labels between the core and a driver, which no
	// user may set.
	DriverPrivatePrefix = DriverPrefix + ".private"

	// GenericData holds the driver's own options: a map[string]string, an
	// options.Generic, or the driver's own type.
	GenericData = Prefix + ".generic"

	// PortMap holds the published ports, a []types.PortBinding.
	PortMap = Prefix + ".portmap"

	// MacAddress holds the hardware address of the endpoint, a net.HardwareAddr.
	MacAddress = Prefix + ".endpoint.macaddress"

	// ExposedPorts holds the exposed ports, a []types.TransportPort.
	ExposedPorts = Prefix + ".endpoint.exposedports"

	// EnableIPv6 says whether the network has IPv6, a bool.
	EnableIPv6 = Prefix + ".enable_ipv6"

	// DriverMTU is the MTU of the network in bytes, a decimal string.
	DriverMTU = DriverPrefix + ".mtu"

	// OverlayBindInterface is the name of the interface that tunnels leave through.
	OverlayBindInterface = DriverPrefix + ".overlay.bind_interface"

	// OverlayNeighborIP is the address of another node of the overlay.
	OverlayNeighborIP = DriverPrefix + ".overlay.neighbor_ip"

	// Gateway is the address of the gateway, a string.
	Gateway = Prefix + ".gateway"

	// Internal says whether the network has no way out, a bool.
	Internal = Prefix + ".internal"
)

// The labels of the stores of the scopes global and local. Treat them as
// constants.
var (
	// GlobalKVProvider is the provider of the global store.
	GlobalKVProvider = MakeKVProvider("global")

	// GlobalKVProviderURL is the address of the global store.
	GlobalKVProviderURL = MakeKVProviderURL("global")

	// GlobalKVProviderConfig is the configuration of the global store.
	GlobalKVProviderConfig = MakeKVProviderConfig("global")

	// GlobalKVClient is the client of the global store.
	GlobalKVClient = MakeKVClient("global")

	// LocalKVProvider is the provider of the local store.
	LocalKVProvider = MakeKVProvider("local")

	// LocalKVProviderURL is the address of the local store.
	LocalKVProviderURL = MakeKVProviderURL("local")

	// LocalKVProviderConfig is the configuration of the local store.
	LocalKVProviderConfig = MakeKVProviderConfig("local")

	// LocalKVClient is the client of the local store.
	LocalKVClient = MakeKVClient("local")
)

// MakeKVProvider returns the label of the scope's store provider.
func MakeKVProvider(scope string) string {
	return DriverPrivatePrefix + scope + "kv_provider"
}

// MakeKVProviderURL returns the label of the scope's store address.
func MakeKVProviderURL(scope string) string {
	return DriverPrivatePrefix + scope + "kv_provider_url"
}

// MakeKVProviderConfig returns the label of the scope's store configuration.
func MakeKVProviderConfig(scope string) string {
	return DriverPrivatePrefix + scope + "kv_provider_config"
}

// MakeKVClient returns the label of the scope's store client.
func MakeKVClient(scope string) string {
	return DriverPrivatePrefix + scope + "kv_client"
}

// Key returns what stands before the first = of the label, or all of it.
func Key(label string) string {
	key, _ := KeyValue(label)
	return key
}

// Value returns what stands behind the first = of the label, or "".
func Value(label string) string {
	_, value := KeyValue(label)
	return value
}

// KeyValue returns both Key and Value of the label.
func KeyValue(label string) (key, value string) {
	key, value, _ = strings.Cut(label, "=")
	return key, value
}
