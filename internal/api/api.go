// Package api is the language that the daemon and its clients speak: the bodies
// of HTTP requests and answers under /v2/, the rules for what a request may say,
// and how errors travel.
//
// It is pure, but for [PIDNamespace]: values, their checks and nothing else, so everything in it may be
// used from many goroutines as long as nobody changes a value meanwhile. Text
// that a user typed stays text in requests, so that an error can name it.
package api

import (
	"net/netip"
	"os"
	"time"
)

// Prefix is the path below which everything but PingPath and MetricsPath lies.
const Prefix = "/v2"

// PingPath answers OK as plain text while the daemon serves.
const PingPath = "/_ping"

// MetricsPath answers with the metrics of Prometheus. It lies below Prefix too.
const MetricsPath = "/metrics"

// MaxBody is the largest request body in bytes that the daemon reads.
const MaxBody = 1 << 20

// The networks that containers can name without making them first: the daemon
// makes them when they are first used.
const (
	// DefaultNetwork is a bridge network, used when no network is named.
	DefaultNetwork = "default"
	// HostNetwork stands for the host's own namespace.
	HostNetwork = "host"
	// NoNetwork stands for a namespace with a loopback alone.
	NoNetwork = "none"
)

// DefaultBridge is the bridge of the default network.
const DefaultBridge = "dnet0"

// The drivers of the daemon.
const (
	BridgeDriver = "bridge"
	HostDriver   = "host"
	NullDriver   = "null"
)

// NetworkCreate asks for a network.
type NetworkCreate struct {
	Name string `json:"name"`
	// Driver is empty for bridge.
	Driver   string `json:"driver,omitempty"`
	Internal bool   `json:"internal,omitempty"`
	// IPv6 gives the network addresses of both families. A subnet of IPv6 does so
	// too.
	IPv6 bool `json:"ipv6,omitempty"`
	// NoIPv4 makes a network of IPv6 alone.
	NoIPv4  bool              `json:"no_ipv4,omitempty"`
	Subnets []Subnet          `json:"subnets,omitempty"`
	IPAM    IPAM              `json:"ipam,omitzero"`
	Options map[string]string `json:"options,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// Subnet is a subnet of a network with what is taken from it: CIDRs and IP
// addresses as text. In a request only Subnet must be there.
type Subnet struct {
	Subnet  string `json:"subnet"`
	Gateway string `json:"gateway,omitempty"`
	// IPRange is the part of the subnet that containers get addresses from.
	IPRange string `json:"ip_range,omitempty"`
	// Aux are addresses that no container gets, by a name for each.
	Aux map[string]string `json:"aux_addresses,omitempty"`
}

// IPAM names an address manager, "default" if empty, and options for it.
type IPAM struct {
	Driver  string            `json:"driver,omitempty"`
	Options map[string]string `json:"options,omitempty"`
}

// Network is a network as the daemon shows it.
type Network struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Driver   string            `json:"driver"`
	Scope    string            `json:"scope"`
	Created  time.Time         `json:"created"`
	Internal bool              `json:"internal"`
	IPv6     bool              `json:"ipv6"`
	Bridge   string            `json:"bridge,omitempty"`
	Subnets  []Subnet          `json:"subnets"`
	IPAM     IPAM              `json:"ipam,omitzero"`
	Options  map[string]string `json:"options,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	// Endpoints are in the order of their creation.
	Endpoints []Endpoint `json:"endpoints"`
}

// Endpoint is a container's place on a network.
type Endpoint struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Network string `json:"network"`
	// NetworkID is the network's id.
	NetworkID string `json:"network_id"`
	// Container is the container that is connected by it; empty for none.
	Container string       `json:"container,omitempty"`
	IPv4      netip.Prefix `json:"ipv4,omitzero"`
	IPv6      netip.Prefix `json:"ipv6,omitzero"`
	Gateway4  netip.Addr   `json:"gateway4,omitzero"`
	Gateway6  netip.Addr   `json:"gateway6,omitzero"`
	MAC       string       `json:"mac,omitempty"`
	// Interface is the name inside the container, HostInterface on the host.
	Interface     string   `json:"interface,omitempty"`
	HostInterface string   `json:"host_interface,omitempty"`
	Priority      int      `json:"priority,omitempty"`
	Aliases       []string `json:"aliases,omitempty"`
}

// Attachment asks for a container to be connected to a network.
type Attachment struct {
	// Network is a name, an id or the beginning of one.
	Network string `json:"network"`
	// IPv4, IPv6 and MAC are addresses as text, empty for any.
	IPv4    string   `json:"ipv4,omitempty"`
	IPv6    string   `json:"ipv6,omitempty"`
	MAC     string   `json:"mac,omitempty"`
	Aliases []string `json:"aliases,omitempty"`
	// Priority decides which network gives the default route: the highest.
	Priority int `json:"priority,omitempty"`
	// Interface is the name of the interface inside, empty for eth0, eth1, ...
	Interface string `json:"interface,omitempty"`
}

// ContainerCreate asks for the network of a container.
type ContainerCreate struct {
	// ID is the container's name, or the id of 64 hex digits that a container engine
	// has given it.
	ID string `json:"id"`
	// Networks is empty for the network "default".
	Networks []Attachment `json:"networks,omitempty"`
	Publish  []Publish    `json:"publish,omitempty"`
	// Hostname is empty for the container's name, or the first 12 digits of its id.
	Hostname   string      `json:"hostname,omitempty"`
	Domainname string      `json:"domainname,omitempty"`
	DNS        []string    `json:"dns,omitempty"`
	DNSSearch  []string    `json:"dns_search,omitempty"`
	DNSOptions []string    `json:"dns_options,omitempty"`
	ExtraHosts []ExtraHost `json:"extra_hosts,omitempty"`
	// Netns is the path of a network namespace to use; empty for a new one.
	Netns string `json:"netns,omitempty"`
	// OwnerPID is a process whose end is the end of the container; 0 for none.
	OwnerPID int `json:"owner_pid,omitempty"`
	// OwnerPIDNamespace says in which PID namespace OwnerPID is the number of the
	// process: what its /proc/self/ns/pid links to. Empty for that of the daemon.
	OwnerPIDNamespace string `json:"owner_pid_namespace,omitempty"`
}

// PIDNamespace is the PID namespace of this process, empty where there are none.
func PIDNamespace() string {
	link, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return link
}

// ExtraHost is a line for the hosts file.
type ExtraHost struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// Publish asks for ports of a container to be reached through the host.
type Publish struct {
	// Protocol is tcp, udp or sctp; empty for tcp.
	Protocol string `json:"protocol,omitempty"`
	// HostIP is empty for all addresses of the host.
	HostIP string `json:"host_ip,omitempty"`
	// HostPort and HostPortEnd are 0 for a free port. When they span more ports than
	// the container's, a free one of them is taken.
	HostPort    uint16 `json:"host_port,omitempty"`
	HostPortEnd uint16 `json:"host_port_end,omitempty"`
	Port        uint16 `json:"port"`
	// PortEnd is the last of a range, 0 for a single port.
	PortEnd uint16 `json:"port_end,omitempty"`
}

// Port is a published port, or a range of them, as it came out.
type Port struct {
	Protocol    string     `json:"protocol"`
	HostIP      netip.Addr `json:"host_ip"`
	HostPort    uint16     `json:"host_port"`
	HostPortEnd uint16     `json:"host_port_end"`
	IP          netip.Addr `json:"ip"`
	Port        uint16     `json:"port"`
	PortEnd     uint16     `json:"port_end"`
	// Kept says how the host's port is kept from other programs: "held" by a socket,
	// "forwarded" where the daemon itself serves that socket,
	// "checked" to be free when it was published, "rule" where the kernel has no
	// sockets of the protocol, "taken" by another program while the daemon was down.
	Kept string `json:"kept"`
}

// Container is a container's network as the daemon shows it.
type Container struct {
	// ID is the container's name, SandboxID the daemon's own id for its network.
	ID        string    `json:"id"`
	SandboxID string    `json:"sandbox_id"`
	Created   time.Time `json:"created"`
	// Netns is a file that stands for the network namespace.
	Netns string `json:"netns"`
	// Host says that it is the host's own namespace.
	Host           bool   `json:"host,omitempty"`
	Hostname       string `json:"hostname,omitempty"`
	HostsPath      string `json:"hosts_path,omitempty"`
	ResolvConfPath string `json:"resolv_conf_path,omitempty"`
	OwnerPID       int    `json:"owner_pid,omitempty"`
	// OwnerStart is the owner's start time in clock ticks after boot, field 22 of
	// /proc/PID/stat.
	OwnerStart uint64 `json:"owner_start,omitempty"`
	// Endpoints are in the order that decides which of them gives the default route.
	Endpoints []Endpoint `json:"endpoints"`
	Ports     []Port     `json:"ports"`
	// Open are the ports that others reach at the container's own addresses, on routed
	// networks and, with direct routing, on those of mode nat.
	Open []OpenPort `json:"open,omitempty"`
}

// OpenPort is a port, or a range of ports, of a container at its own address.
type OpenPort struct {
	Protocol string     `json:"protocol"`
	IP       netip.Addr `json:"ip"`
	Port     uint16     `json:"port"`
	PortEnd  uint16     `json:"port_end"`
}

// NetworkConnect connects a container to the network of the path.
type NetworkConnect struct {
	Container string `json:"container"`
	// Attachment says how; its Network is not needed.
	Attachment Attachment `json:"attachment,omitzero"`
}

// NetworkDisconnect takes a container off the network of the path.
type NetworkDisconnect struct {
	Container string `json:"container"`
}

// ContainerDisconnect takes the container of the path off a network.
type ContainerDisconnect struct {
	Network string `json:"network"`
}

// Pruned are the networks that were removed because nothing used them.
type Pruned struct {
	Networks []NetworkRef `json:"networks"`
}

// NetworkRef names a network.
type NetworkRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Event tells of a change. The shape is the one that container engines use.
type Event struct {
	// Version is the version of this shape, 1.
	Version int `json:"version"`
	// Type is network, endpoint or container; Action is create, destroy, connect,
	// disconnect, rename, refresh or setkey.
	Type   string `json:"Type"`
	Action string `json:"Action"`
	Actor  Actor  `json:"Actor"`
	Scope  string `json:"scope"`
	// Time and TimeNano are seconds and nanoseconds since 1970.
	Time     int64 `json:"time"`
	TimeNano int64 `json:"timeNano"`
}

// Actor is what an event is about.
type Actor struct {
	ID string `json:"ID"`
	// Attributes hold the name and what belongs to the action: type is the driver of
	// a network, network the one of an endpoint, container and endpoint who connects,
	// old and new are names.
	Attributes map[string]string `json:"Attributes"`
}

// Version tells what a program is.
type Version struct {
	Version   string `json:"version"`
	GoVersion string `json:"go_version"`
	OS        string `json:"os"`
	Arch      string `json:"arch"`
	// API is the newest prefix that is spoken, without slashes.
	API string `json:"api"`
	// Controller is the id by which OCI hooks find the daemon.
	Controller string `json:"controller,omitempty"`
}

// Health is the answer of a daemon that works.
type Health struct {
	Status     string `json:"status"`
	Networks   int    `json:"networks"`
	Containers int    `json:"containers"`
}
