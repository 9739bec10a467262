package libnetwork

import (
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// NetworkOption sets a part of a network to be made.
type NetworkOption func(n *network)

// NetworkOptionGeneric sets options by label: netlabel.EnableIPv6 and
// netlabel.Internal, which are bools, and netlabel.GenericData, the options for
// the driver as a map: of text by label, or of typed values by label or by the names
// of the fields of the driver's configuration (BridgeName, EnableICC, ...). Another type makes NewNetwork fail with BadRequest. All
// other labels are for drivers that register themselves.
func NetworkOptionGeneric(generic map[string]interface{}) NetworkOption {
	return func(n *network) {
		for label, v := range generic {
			n.setGeneric(label, v)
		}
	}
}

func (n *network) setGeneric(label string, v any) {
	var ok bool
	switch label {
	case netlabel.EnableIPv6:
		n.req.IPv6, ok = v.(bool)
		n.wins(label)
	case bridge.LabelIPv4:
		var v4 bool
		v4, ok = v.(bool)
		n.req.NoIPv4 = !v4
		n.wins(label)
	case netlabel.Internal:
		n.req.Internal, ok = v.(bool)
	case netlabel.GenericData:
		n.req.Options, ok = driverOptions(v)
		n.typed, _ = generic(v)
		if n.typed != nil && len(n.typed) != len(n.req.Options) {
			n.keep(label, v)
		}
	default:
		ok = true
		n.keep(label, v)
	}
	if !ok && n.err == nil {
		n.err = types.BadRequestErrorf("network %s: option %s cannot be a %T", n.req.Name, label, v)
	}
}

// wins takes down that a label was given as an option of the network, which says more
// than the same label among the options of the bridge driver.
func (n *network) wins(label string) { n.given = append(n.given, label) }

// keep keeps an option for a driver that registers itself.
func (n *network) keep(label string, v any) {
	if n.req.Generic == nil {
		n.req.Generic = make(map[string]any)
	}
	n.req.Generic[label] = v
}

// readBridge has the bridge driver read options that did not come as text, and drops
// those that the network's own options overrule.
func (n *network) readBridge() error {
	if n.req.Driver != bridge.Type {
		return nil
	}
	if n.typed != nil {
		opts, internal, err := bridge.Typed(n.req.Name, n.typed)
		if err != nil {
			return err
		}
		n.req.Options = opts
		n.req.Internal = n.req.Internal || internal
		delete(n.req.Generic, netlabel.GenericData)
	}
	for _, label := range n.given {
		if v, ok := n.req.Options[label]; ok {
			if _, err := strconv.ParseBool(v); err != nil {
				return types.BadRequestErrorf("network %s: option %s cannot be %q: true or false", n.req.Name, label, v)
			}
			delete(n.req.Options, label)
		}
	}
	return nil
}

// driverOptions reads a driver's options from the kinds of maps that callers
// use. Of a map of any values, those that are no strings are for other drivers.
func driverOptions(v any) (map[string]string, bool) {
	if m, ok := v.(map[string]string); ok {
		return maps.Clone(m), true
	}
	m, ok := generic(v)
	out := make(map[string]string, len(m))
	for label, v := range m {
		if s, ok := v.(string); ok {
			out[label] = s
		}
	}
	return out, ok
}

// NetworkOptionPersist says whether the network outlives the controller; true
// unless it is set.
func NetworkOptionPersist(persist bool) NetworkOption {
	return func(n *network) { n.req.Transient = !persist }
}

// NetworkOptionEnableIPv6 says whether endpoints get IPv6 addresses.
func NetworkOptionEnableIPv6(enableIPv6 bool) NetworkOption {
	return func(n *network) { n.setGeneric(netlabel.EnableIPv6, enableIPv6) }
}

// NetworkOptionInternalNetwork makes a network that leads nowhere but to its
// members.
func NetworkOptionInternalNetwork() NetworkOption {
	return func(n *network) { n.req.Internal = true }
}

// NetworkOptionIpam sets the address manager, its address space and options, and
// what is asked of it for IPv4 and IPv6. An empty ipamDriver keeps the default.
func NetworkOptionIpam(ipamDriver string, addrSpace string, ipV4 []*IpamConf, ipV6 []*IpamConf, opts map[string]string) NetworkOption {
	return func(n *network) {
		if ipamDriver != "" {
			n.req.IPAM.Driver = ipamDriver
		}
		n.req.IPAM.Space = addrSpace
		n.req.IPAM.Conf4, n.req.IPAM.Conf6 = recordConfs(ipV4), recordConfs(ipV6)
		n.req.IPAM.Options = maps.Clone(opts)
	}
}

func recordConfs(confs []*IpamConf) []model.IPAMConf {
	var out []model.IPAMConf
	for _, c := range confs {
		if c != nil {
			out = append(out, model.IPAMConf{
				Pool: c.PreferredPool, Sub: c.SubPool, Gateway: c.Gateway, Aux: maps.Clone(c.AuxAddresses),
			})
		}
	}
	return out
}

// NetworkOptionDriverOpts sets the options for the driver.
func NetworkOptionDriverOpts(opts map[string]string) NetworkOption {
	return func(n *network) {
		n.req.Options, n.typed = maps.Clone(opts), nil
		if n.req.Options == nil {
			n.req.Options = map[string]string{}
		}
	}
}

// NetworkOptionLabels sets the user's labels.
func NetworkOptionLabels(labels map[string]string) NetworkOption {
	return func(n *network) { n.req.Labels = maps.Clone(labels) }
}

// NetworkOptionDeferIPv6Alloc makes the IPv6 addresses of endpoints from their
// MAC addresses.
func NetworkOptionDeferIPv6Alloc(enable bool) NetworkOption {
	return func(n *network) { n.req.DeferIPv6 = enable }
}

// EndpointOption sets a part of an endpoint to be made, or of a join.
type EndpointOption func(ep *endpoint)

// EndpointOptionGeneric sets options by label: netlabel.MacAddress, a
// net.HardwareAddr, netlabel.ExposedPorts, a []types.TransportPort,
// com.docker.network.endpoint.ifname, the name of the interface inside, and
// com.docker.network.endpoint.sysctls, settings of that interface such as
// "net.ipv4.conf.IFNAME.log_martians=1" with commas between them, in which IFNAME
// stands for its name. Another type makes CreateEndpoint fail with BadRequest, but for
// the MAC address, where it stands for none. All of them are handed to drivers that
// register themselves.
func EndpointOptionGeneric(generic map[string]interface{}) EndpointOption {
	return func(ep *endpoint) {
		ep.keep(generic)
		if mac, ok := generic[netlabel.MacAddress].(net.HardwareAddr); ok {
			ep.req.MAC = slices.Clone(mac)
		}
		if exposed, ok := endpointOption[[]types.TransportPort](ep, generic, netlabel.ExposedPorts); ok {
			ep.exposed = slices.Clone(exposed)
		}
		if name, ok := endpointOption[string](ep, generic, bridge.LabelIfName); ok {
			ep.req.IfName = name
		}
		if list, ok := endpointOption[string](ep, generic, bridge.LabelSysctls); ok {
			ep.sysctls = list
		}
	}
}

// endpointOption returns an option that is given. One of another type is an error of
// the request.
func endpointOption[T any](ep *endpoint, generic map[string]any, label string) (v T, ok bool) {
	raw := generic[label]
	if raw == nil {
		return v, false
	}
	if v, ok = raw.(T); !ok && ep.err == nil {
		ep.err = types.BadRequestErrorf("option %s cannot be a %T, only a %T", label, raw, v)
	}
	return v, ok
}

// keep keeps options for a driver that registers itself.
func (ep *endpoint) keep(options map[string]any) {
	if ep.generic == nil {
		ep.generic = make(map[string]any, len(options))
	}
	maps.Copy(ep.generic, options)
}

// CreateOptionIpam sets the addresses that the endpoint shall have, nil for any,
// and options for the address manager.
func CreateOptionIpam(ipV4, ipV6 net.IP, ipamOptions map[string]string) EndpointOption {
	v4, v6 := addr(ipV4), addr(ipV6)
	return func(ep *endpoint) {
		for _, i := range []net.IP{ipV4, ipV6} {
			if len(i) > 0 && !addr(i).IsValid() && ep.err == nil {
				ep.err = types.BadRequestErrorf("wanted address %v is no IP address: it has %d bytes", i, len(i))
			}
		}
		ep.req.V4, ep.req.V6, ep.req.IPAMOptions = v4, v6, maps.Clone(ipamOptions)
	}
}

// CreateOptionExposedPorts sets the ports that the container listens on.
func CreateOptionExposedPorts(exposedPorts []types.TransportPort) EndpointOption {
	exposedPorts = slices.Clone(exposedPorts)
	return func(ep *endpoint) {
		ep.exposed = exposedPorts
		ep.keep(map[string]any{netlabel.ExposedPorts: exposedPorts})
	}
}

// CreateOptionPortMapping is for drivers that publish ports by endpoint and
// register themselves. The bridge driver does so by sandbox: see
// OptionPortMapping.
func CreateOptionPortMapping(portBindings []types.PortBinding) EndpointOption {
	portBindings = slices.Clone(portBindings)
	return func(ep *endpoint) { ep.keep(map[string]any{netlabel.PortMap: portBindings}) }
}

// CreateOptionAnonymous keeps the endpoint's own name out of name resolution.
func CreateOptionAnonymous() EndpointOption {
	return func(ep *endpoint) { ep.req.Anonymous = true }
}

// CreateOptionDisableResolution makes a sandbox do without the embedded name
// server for the sake of this endpoint.
func CreateOptionDisableResolution() EndpointOption {
	return func(ep *endpoint) { ep.req.NoResolution = true }
}

// CreateOptionAlias is an option of Join: inside the sandbox, alias stands for
// name on this network.
func CreateOptionAlias(name string, alias string) EndpointOption {
	return func(ep *endpoint) {
		if ep.join.Aliases == nil {
			ep.join.Aliases = make(map[string]string)
		}
		ep.join.Aliases[alias] = name
	}
}

// CreateOptionMyAlias gives the endpoint one more name.
func CreateOptionMyAlias(alias string) EndpointOption {
	return func(ep *endpoint) { ep.req.Aliases = append(ep.req.Aliases, alias) }
}

// JoinOptionPriority is an option of Join: of several networks, the one with the
// highest priority provides default route and published ports. It applies to the
// endpoint that joins, whatever the first argument is.
func JoinOptionPriority(_ Endpoint, prio int) EndpointOption {
	return func(ep *endpoint) { ep.join.Priority = prio }
}

// SandboxOption sets a part of a sandbox to be made.
type SandboxOption func(sb *sandbox)

// OptionHostname sets the container's host name.
func OptionHostname(name string) SandboxOption {
	return func(sb *sandbox) { sb.req.Files.Hostname = name }
}

// OptionDomainname sets the container's domain name.
func OptionDomainname(name string) SandboxOption {
	return func(sb *sandbox) { sb.req.Files.Domainname = name }
}

// OptionHostsPath sets where the container's hosts file is to be.
func OptionHostsPath(path string) SandboxOption {
	return func(sb *sandbox) { sb.req.Files.Hosts = path }
}

// OptionOriginHostsPath makes the hosts file a copy of another file.
func OptionOriginHostsPath(path string) SandboxOption {
	return func(sb *sandbox) { sb.req.Files.OriginHosts = path }
}

// OptionExtraHost adds a line to the hosts file.
func OptionExtraHost(name string, IP string) SandboxOption {
	return func(sb *sandbox) {
		sb.req.Files.Extra = append(sb.req.Files.Extra, model.ExtraHost{Name: name, Addr: IP})
	}
}

// OptionParentUpdate changes the address of a name in the hosts file of another
// container.
func OptionParentUpdate(cid string, name, ip string) SandboxOption {
	return func(sb *sandbox) { sb.parents = append(sb.parents, parentUpdate{cid, name, ip}) }
}

// OptionResolvConfPath sets where the container's resolv.conf file is to be.
func OptionResolvConfPath(path string) SandboxOption {
	return func(sb *sandbox) { sb.req.Files.ResolvConf = path }
}

// OptionOriginResolvConfPath makes the resolv.conf file a copy of another file.
func OptionOriginResolvConfPath(path string) SandboxOption {
	return func(sb *sandbox) { sb.req.Files.OriginResolvConf = path }
}

// OptionDNS adds a name server.
func OptionDNS(dns string) SandboxOption {
	return func(sb *sandbox) { sb.req.Files.DNS = append(sb.req.Files.DNS, dns) }
}

// OptionDNSSearch adds a search domain.
func OptionDNSSearch(search string) SandboxOption {
	return func(sb *sandbox) { sb.req.Files.Search = append(sb.req.Files.Search, search) }
}

// OptionDNSOptions adds a resolver option.
func OptionDNSOptions(options string) SandboxOption {
	return func(sb *sandbox) { sb.req.Files.Options = append(sb.req.Files.Options, options) }
}

// OptionUseDefaultSandbox makes a sandbox of the host's own namespace.
func OptionUseDefaultSandbox() SandboxOption {
	return func(sb *sandbox) { sb.req.Host = true }
}

// OptionUseExternalKey makes a sandbox without a namespace, which comes by
// SetKey.
func OptionUseExternalKey() SandboxOption {
	return func(sb *sandbox) { sb.req.External = true }
}

// OptionGeneric sets options by label, among them netlabel.PortMap, a
// []types.PortBinding, and netlabel.ExposedPorts, a []types.TransportPort. In a map
// under netlabel.GenericData, ParentEndpoints and ChildEndpoints are []string, the
// ids of endpoints that the sandbox is linked with: on networks whose members do
// not reach each other, the former reach the ports that this sandbox exposes, and
// this one reaches those of the latter.
func OptionGeneric(generic map[string]interface{}) SandboxOption {
	return func(sb *sandbox) { maps.Copy(sb.req.Labels, generic) }
}

// OptionExposedPorts sets the ports that the container listens on.
func OptionExposedPorts(exposedPorts []types.TransportPort) SandboxOption {
	exposedPorts = slices.Clone(exposedPorts)
	return func(sb *sandbox) { sb.req.Labels[netlabel.ExposedPorts] = exposedPorts }
}

// OptionPortMapping sets the ports that are published on the host.
func OptionPortMapping(portBindings []types.PortBinding) SandboxOption {
	portBindings = slices.Clone(portBindings)
	return func(sb *sandbox) { sb.req.Labels[netlabel.PortMap] = portBindings }
}
