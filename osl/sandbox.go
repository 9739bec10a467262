// Package osl is the network stack of a container as an object: a namespace
// that is pinned to a file, with interfaces, routes and neighbours.
//
// The interfaces that a caller made in its own namespace are moved in. For
// links that come into being inside, the library has a faster way of its own,
// which this package does not show.
//
// A [Sandbox] is safe for concurrent use: its operations take turns. No
// goroutine is left running, and every thread stays in its namespace. All of it
// works on Linux alone; elsewhere the constructors fail with an error of class
// NotImplemented.
package osl

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/libnetwork/libnetwork/types"
)

const (
	// runDir is the default directory of what does not outlive a boot.
	runDir = "/run/libnetwork"
	// runDirEnv is the environment variable that names another one.
	runDirEnv = "LIBNETWORK_RUN_DIR"
	// keyLength is how much of a container's id is in its key.
	keyLength = 12
)

// Sandbox is a network stack with what was configured in it.
type Sandbox interface {
	// Key returns the path of the file that the namespace is pinned to.
	Key() string
	// AddInterface moves the link SrcName of the caller's namespace into the
	// sandbox and configures and raises it there. Its name inside is DstPrefix
	// and a number that is not used twice. If it fails the link is back. In a
	// sandbox of the host's namespace it is neither moved nor renamed.
	AddInterface(SrcName, DstPrefix string, options ...IfaceOption) error
	// SetGateway makes an address that a link reaches directly the IPv4 default
	// gateway, in place of another one. An empty address changes nothing.
	SetGateway(gw net.IP) error
	// SetGatewayIPv6 is SetGateway for IPv6.
	SetGatewayIPv6(gw net.IP) error
	// UnsetGateway deletes the IPv4 default route that SetGateway made, if any.
	UnsetGateway() error
	// UnsetGatewayIPv6 is UnsetGateway for IPv6.
	UnsetGatewayIPv6() error
	// AddStaticRoute adds a route by the link that reaches its next hop.
	AddStaticRoute(*types.StaticRoute) error
	// RemoveStaticRoute deletes such a route.
	RemoveStaticRoute(*types.StaticRoute) error
	// AddNeighbor adds a permanent neighbour entry; done twice it changes
	// nothing.
	AddNeighbor(dstIP net.IP, dstMac net.HardwareAddr, option ...NeighOption) error
	// DeleteNeighbor deletes an entry that AddNeighbor made. The error is of
	// class NotFound where there is none.
	DeleteNeighbor(dstIP net.IP, dstMac net.HardwareAddr) error
	// NeighborOptions returns the options of AddNeighbor.
	NeighborOptions() NeighborOptionSetter
	// InterfaceOptions returns the options of AddInterface.
	InterfaceOptions() IfaceOptionSetter
	// InvokeFunc runs f on a thread inside the namespace and waits for it.
	// Goroutines that f starts are not inside.
	InvokeFunc(f func()) error
	// Info returns what the sandbox holds.
	Info() Info
	// Destroy unpins the namespace, which goes when no process is in it. A
	// second call is an error.
	Destroy() error
}

// NeighborOptionSetter makes the options of AddNeighbor.
type NeighborOptionSetter interface {
	// LinkName chooses the link, by the name it had before it was added. By
	// default it is the one that reaches the address.
	LinkName(string) NeighOption
	// Family chooses the address family; AF_BRIDGE (7) stands for the
	// forwarding database of the link.
	Family(int) NeighOption
}

// IfaceOptionSetter makes the options of AddInterface.
type IfaceOptionSetter interface {
	// Bridge has a bridge made in the sandbox instead of a link moved there.
	Bridge(bool) IfaceOption
	// Address sets the IPv4 address with its prefix.
	Address(*net.IPNet) IfaceOption
	// AddressIPv6 sets the IPv6 address with its prefix.
	AddressIPv6(*net.IPNet) IfaceOption
	// Master makes the link a port of a bridge, which is named by its SrcName
	// and was added before.
	Master(string) IfaceOption
	// MacAddress sets the hardware address.
	MacAddress(net.HardwareAddr) IfaceOption
	// Routes are networks that are reached on the link itself.
	Routes([]*net.IPNet) IfaceOption
}

// Info tells what a sandbox holds. All values are copies.
type Info interface {
	// Interfaces returns the added interfaces in the order of their addition.
	Interfaces() []Interface
	// Gateway returns the IPv4 gateway that was set, or nil.
	Gateway() net.IP
	// GatewayIPv6 returns the IPv6 gateway that was set, or nil.
	GatewayIPv6() net.IP
	// StaticRoutes returns the added routes.
	StaticRoutes() []*types.StaticRoute
}

// Interface is an interface of a sandbox.
type Interface interface {
	// SrcName is the name before it was added.
	SrcName() string
	// DstName is the name inside.
	DstName() string
	// Address is the IPv4 address, or nil.
	Address() *net.IPNet
	// AddressIPv6 is the IPv6 address, or nil.
	AddressIPv6() *net.IPNet
	// Bridge says whether it is a bridge made in the sandbox.
	Bridge() bool
	// Master is the SrcName of the bridge that it is a port of, or empty.
	Master() string
	// MacAddress is the hardware address that was set, or nil.
	MacAddress() net.HardwareAddr
	// Routes are the networks reached on the link.
	Routes() []*net.IPNet
	// Remove takes the interface out, back into the caller's namespace under
	// its former name. A bridge is deleted.
	Remove() error
	// Statistics returns the counters of the interface.
	Statistics() (*types.InterfaceStatistics, error)
}

// IfaceOption sets something of an interface that is being added.
type IfaceOption func(i *nwIface)

// NeighOption sets something of a neighbour entry that is being added.
type NeighOption func(nh *neigh)

// GenerateKey returns the key of a container's sandbox: a path in the netns
// directory of /run/libnetwork, or of $LIBNETWORK_RUN_DIR, that ends with the
// first 12 bytes of the id.
func GenerateKey(containerID string) string {
	name := strings.ReplaceAll(containerID[:min(len(containerID), keyLength)], "/", "-")
	if strings.Trim(name, ".") == "" {
		name = "-" + name
	}
	return filepath.Join(keyDir(), name)
}

func keyDir() string {
	if dir := os.Getenv(runDirEnv); dir != "" {
		return filepath.Join(dir, "netns")
	}
	return filepath.Join(runDir, "netns")
}

// InitOSContext locks the goroutine to its thread and returns the function that
// unlocks it. The thread is in the initial namespace, like every thread that
// the caller did not move itself.
func InitOSContext() func() {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}
