package model

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/libnetwork/libnetwork/types"
)

// Version is the version of the records that this package writes. A record of
// another version is not read.
const Version = 1

// Network is the record of a network.
type Network struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Driver  string    `json:"driver"`
	Scope   string    `json:"scope"`
	Created time.Time `json:"created"`

	IPv6     bool `json:"ipv6,omitempty"`
	NoIPv4   bool `json:"noIPv4,omitempty"`
	Internal bool `json:"internal,omitempty"`
	// DeferIPv6 asks for the IPv6 addresses of endpoints to be made from their
	// MAC addresses.
	DeferIPv6 bool `json:"deferIPv6,omitempty"`
	// Transient networks and their endpoints live in memory alone.
	Transient bool `json:"transient,omitempty"`
	// Deleting says that the deletion has begun and only its driver is to agree: a
	// start finishes it.
	Deleting bool `json:"deleting,omitempty"`

	// Options are the driver's options as the user gave them.
	Options map[string]string `json:"options,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	// Generic are further options by label, for an outside driver.
	Generic map[string]any `json:"generic,omitempty"`

	IPAM IPAM `json:"ipam"`

	// Bridge is what the bridge driver made of Options; nil for other drivers.
	Bridge *BridgeNetwork `json:"bridge,omitempty"`
}

// IPAM is the address management of a network: what was asked for and what was
// given.
type IPAM struct {
	Driver  string            `json:"driver,omitempty"`
	Space   string            `json:"space,omitempty"`
	Options map[string]string `json:"options,omitempty"`
	Conf4   []IPAMConf        `json:"conf4,omitempty"`
	Conf6   []IPAMConf        `json:"conf6,omitempty"`
	Pools4  []Pool            `json:"pools4,omitempty"`
	Pools6  []Pool            `json:"pools6,omitempty"`
}

// IPAMConf is one wish for addresses, as text: CIDRs and IP addresses.
type IPAMConf struct {
	Pool    string            `json:"pool,omitempty"`
	Sub     string            `json:"sub,omitempty"`
	Gateway string            `json:"gateway,omitempty"`
	Aux     map[string]string `json:"aux,omitempty"`
}

// Pool is one pool of addresses that a network holds.
type Pool struct {
	ID     string       `json:"id"`
	Space  string       `json:"space,omitempty"`
	Prefix netip.Prefix `json:"prefix"`
	// Gateway has the length of Prefix; it is invalid when there is none.
	Gateway netip.Prefix            `json:"gateway,omitzero"`
	Aux     map[string]netip.Prefix `json:"aux,omitempty"`
	Meta    map[string]string       `json:"meta,omitempty"`
}

// BridgeNetwork is a network's configuration in the bridge driver.
type BridgeNetwork struct {
	// Link is the name of the bridge.
	Link string `json:"link"`
	// Adopted says that the bridge is somebody else's.
	Adopted    bool `json:"adopted,omitempty"`
	ICC        bool `json:"icc"`
	Masquerade bool `json:"masquerade"`
	MTU        int  `json:"mtu,omitempty"`
	// HostIP and HostIP6 are the host's addresses that ports are published on when
	// none is named; invalid for all. HostIP may be of either family.
	HostIP  netip.Addr `json:"hostIP,omitzero"`
	HostIP6 netip.Addr `json:"hostIP6,omitzero"`
	// Mode4 and Mode6 are how packets come in and go out.
	Mode4 GatewayMode `json:"mode4,omitzero"`
	Mode6 GatewayMode `json:"mode6,omitzero"`
	// Source4 and Source6 are the addresses that packets leave with when they are
	// masqueraded; invalid for that of the link.
	Source4     netip.Addr `json:"source4,omitzero"`
	Source6     netip.Addr `json:"source6,omitzero"`
	Trusted     []string   `json:"trusted,omitempty"`
	TrustedMark Mark       `json:"trustedMark,omitzero"`
	// InhibitIPv4 leaves the bridge without its IPv4 address, which somebody else
	// provides.
	InhibitIPv4 bool `json:"inhibitIPv4,omitempty"`
	// IfPrefix is what interfaces in containers are called by, with a number.
	IfPrefix string `json:"ifPrefix,omitempty"`
	// Gateway4 and Gateway6 are what containers use for their default route.
	Gateway4 netip.Addr `json:"gateway4,omitzero"`
	Gateway6 netip.Addr `json:"gateway6,omitzero"`
	// Addrs are the addresses of the bridge itself.
	Addrs []netip.Prefix `json:"addrs,omitempty"`
}

// Binding is the host's address that the network's ports are published on in a
// family when none is named. It is not ok where the network is not open on that
// family, since it is bound to an address of the other one.
func (n *Network) Binding(v6 bool) (host netip.Addr, ok bool) {
	host = netip.IPv4Unspecified()
	if v6 {
		host = netip.IPv6Unspecified()
	}
	if n.Bridge == nil {
		return host, true
	}
	ok = true
	for _, a := range []netip.Addr{n.Bridge.HostIP, n.Bridge.HostIP6} {
		switch {
		case !a.IsValid():
		case a.Is6() == v6:
			return a, true
		default:
			ok = false
		}
	}
	return host, ok
}

// Mode is how packets of a family come into the network and leave it.
func (n *Network) Mode(v6 bool) GatewayMode {
	switch {
	case n.Bridge == nil:
		return ModeNAT
	case v6:
		return n.Bridge.Mode6
	default:
		return n.Bridge.Mode4
	}
}

// InterfacePrefix is what interfaces in containers are called by, with a number.
func (n *Network) InterfacePrefix() string {
	if n.Bridge == nil || n.Bridge.IfPrefix == "" {
		return "eth"
	}
	return n.Bridge.IfPrefix
}

// Endpoint is the record of an endpoint.
type Endpoint struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Network string    `json:"network"`
	Created time.Time `json:"created"`

	MAC string `json:"mac,omitempty"`
	// V4 and V6 are the addresses with the lengths of their pools; invalid when
	// there is none.
	V4     netip.Prefix `json:"v4,omitzero"`
	V6     netip.Prefix `json:"v6,omitzero"`
	Pool4  string       `json:"pool4,omitempty"`
	Pool6  string       `json:"pool6,omitempty"`
	IfName string       `json:"ifName,omitempty"`
	// Sysctls are set inside for the interface.
	Sysctls []Sysctl `json:"sysctls,omitempty"`

	Anonymous    bool     `json:"anonymous,omitempty"`
	NoResolution bool     `json:"noResolution,omitempty"`
	Aliases      []string `json:"aliases,omitempty"`
	Exposed      []Expose `json:"exposed,omitempty"`
	// Gateway says that the endpoint is the engine's own: it gives its sandbox, which
	// has none otherwise, a way out.
	Gateway bool `json:"gateway,omitempty"`

	// Attached is set while the endpoint is joined to a sandbox.
	Attached *Attached `json:"attached,omitempty"`
}

// Sysctl is a setting of one interface.
type Sysctl struct {
	// Path is the name below /proc/sys, in parts; InterfaceName stands for the
	// interface.
	Path  []string `json:"path"`
	Value string   `json:"value"`
}

// CheckSysctls refuses settings that would take an address from the endpoint.
func (ep *Endpoint) CheckSysctls() error {
	for _, x := range ep.Sysctls {
		if !slices.Equal(x.Path, []string{"net", "ipv6", "conf", InterfaceName, "disable_ipv6"}) || !ep.V6.IsValid() {
			continue
		}
		if v, err := strconv.ParseInt(strings.TrimSpace(x.Value), 0, 64); err != nil || v != 0 {
			return types.BadRequestErrorf("endpoint %s: sysctl %s=%s would take its address %s away: leave it out, or use a network without IPv6",
				ep.Name, strings.Join(x.Path, "."), x.Value, ep.V6.Addr())
		}
	}
	return nil
}

// InterfaceName stands for the name of an interface in a [Sysctl].
const InterfaceName = "IFNAME"

// Attached says how an endpoint is joined to a sandbox.
type Attached struct {
	Sandbox  string `json:"sandbox"`
	Priority int    `json:"priority,omitempty"`
	// Aliases are names by which this sandbox alone knows endpoints of the
	// network: alias to name.
	Aliases map[string]string `json:"aliases,omitempty"`
	// Host and Name are the names of the link on the host and in the sandbox.
	Host string `json:"host,omitempty"`
	Name string `json:"name,omitempty"`
	// Outside is what an outside driver has said when the endpoint joined; nil for
	// other drivers.
	Outside *Outside `json:"outside,omitempty"`
}

// Outside is what an outside driver says of an endpoint that joins a sandbox.
type Outside struct {
	// Link is the link of the host that moves into the sandbox, and Prefix what its
	// name there begins with; empty if there is none.
	Link   string `json:"link,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	// Gateway4 and Gateway6 are the endpoint's gateways; invalid for none.
	Gateway4 netip.Addr `json:"gateway4,omitzero"`
	Gateway6 netip.Addr `json:"gateway6,omitzero"`
	// Routes are those by the link itself, Static those through a gateway that may be
	// behind any link.
	Routes []Route `json:"routes,omitempty"`
	Static []Route `json:"static,omitempty"`
	// NoGateway says that the endpoint does without the default-gateway network.
	NoGateway bool `json:"noGateway,omitempty"`
}

// Sandbox is the record of a sandbox.
type Sandbox struct {
	Version     int       `json:"version"`
	ID          string    `json:"id"`
	ContainerID string    `json:"containerID"`
	Name        string    `json:"name,omitempty"`
	Created     time.Time `json:"created"`

	// Key is the file that pins the sandbox's network namespace.
	Key string `json:"key"`
	// Host sandboxes use the host's namespace.
	Host bool `json:"host,omitempty"`
	// External sandboxes get their namespace later. Path is where it came from.
	External bool   `json:"external,omitempty"`
	Path     string `json:"path,omitempty"`
	// Moves counts how often the sandbox has been given another namespace.
	Moves int `json:"moves,omitempty"`

	Files Files `json:"files"`

	Publish []Publish `json:"publish,omitempty"`
	Exposed []Expose  `json:"exposed,omitempty"`
	// Links are nil without any.
	Links *Links `json:"links,omitempty"`
	// Published is what Publish has come to.
	Published Ports `json:"published,omitzero"`

	// NextIf is the number of the next interface; numbers are not reused.
	NextIf int `json:"nextIf,omitempty"`
	// Resolver is the port of the embedded DNS server, 0 while there is none.
	Resolver uint16 `json:"resolver,omitempty"`
	// Upstreams are the servers that it asks because the user has written them into
	// the sandbox's file; with none, those that the file was made from.
	Upstreams []netip.AddrPort `json:"upstreams,omitempty"`

	// Owner is the process that the sandbox lives and dies with, if any.
	Owner *Process `json:"owner,omitempty"`
}

// Spare is the file that pins the sandbox's namespace beside Key while the sandbox
// moves to another one. It is the record's own: a move that was cut short is taken
// back by the record before it and finished by the one after it.
func (s *Sandbox) Spare() string { return s.Key + "~" + strconv.Itoa(s.Moves) }

// Process identifies a process for as long as the machine runs.
type Process struct {
	PID int `json:"pid"`
	// Start is the start time in clock ticks after boot, field 22 of
	// /proc/PID/stat.
	Start uint64 `json:"start"`
}

// Files says what a sandbox's hosts and resolv.conf files are made from.
type Files struct {
	// Dir is the directory that the engine made for them; empty when both paths
	// were given.
	Dir              string      `json:"dir,omitempty"`
	Hosts            string      `json:"hosts"`
	ResolvConf       string      `json:"resolvConf"`
	OriginHosts      string      `json:"originHosts,omitempty"`
	OriginResolvConf string      `json:"originResolvConf,omitempty"`
	Hostname         string      `json:"hostname,omitempty"`
	Domainname       string      `json:"domainname,omitempty"`
	Extra            []ExtraHost `json:"extra,omitempty"`
	DNS              []string    `json:"dns,omitempty"`
	Search           []string    `json:"search,omitempty"`
	Options          []string    `json:"options,omitempty"`
}

// ExtraHost is a line of the hosts file that the user asked for.
type ExtraHost struct {
	Name string `json:"name"`
	Addr string `json:"addr"`
}

// Expose is a port of a container.
type Expose struct {
	Proto uint8  `json:"proto"`
	Port  uint16 `json:"port"`
}

// Links are the ids of the endpoints that a sandbox is linked with, on networks
// whose members do not reach each other.
type Links struct {
	// Parents may reach this sandbox, Children are reached by it, at the ports that
	// they expose.
	Parents  []string `json:"parents,omitempty"`
	Children []string `json:"children,omitempty"`
}

// Publish is a wish for a container's port, or a range of them, to be reached
// through the host.
type Publish struct {
	Proto uint8 `json:"proto"`
	// Host is the host's address; invalid for any address of both families.
	Host netip.Addr `json:"host,omitzero"`
	// First and Last are the host's ports; 0 for a free one. When there are more
	// of them than of the container's, a free one of them is taken.
	First uint16 `json:"first,omitempty"`
	Last  uint16 `json:"last,omitempty"`
	// Port and PortLast are the container's, inclusive.
	Port     uint16 `json:"port"`
	PortLast uint16 `json:"portLast"`
}

// Decode reads a record of type T as Encode wrote it. Its error says what is
// wrong; it never panics, whatever data holds.
func Decode[T Network | Endpoint | Sandbox](data []byte) (*T, error) {
	var head struct {
		Version int    `json:"version"`
		ID      string `json:"id"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	if head.Version != Version {
		return nil, fmt.Errorf("decode record: version %d is not known, want %d", head.Version, Version)
	}
	if head.ID == "" {
		return nil, fmt.Errorf("decode record: no id")
	}
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("decode record %s: %w", head.ID, err)
	}
	return v, nil
}

// Encode writes a record.
func Encode[T Network | Endpoint | Sandbox](v *T) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		// The records hold nothing that JSON cannot.
		panic("model: encode record: " + err.Error())
	}
	return data
}
