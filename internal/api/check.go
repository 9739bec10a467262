package api

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// maxName is the longest name in bytes: that of a label in the DNS (RFC 1035
// section 2.3.4).
const maxName = 63

// CheckName refuses what cannot be the name of a network, a container or an
// alias: what names the kind of it in the error.
func CheckName(what, name string) error {
	ok := name != "" && len(name) <= maxName && alphanumeric(name[0])
	for i := 1; ok && i < len(name); i++ {
		ok = alphanumeric(name[i]) || strings.IndexByte("_.-", name[i]) >= 0
	}
	if !ok {
		return types.BadRequestErrorf("%s %q is not a name: use 1 to %d letters, digits, '_', '.' and '-', a letter or digit first",
			what, name, maxName)
	}
	return nil
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// Check refuses a request that can never be met. Its error is a BadRequest that
// names the value.
func (r *NetworkCreate) Check() error {
	if err := CheckName("network", r.Name); err != nil {
		return err
	}
	if driver, ok := Reserved(r.Name); ok && r.Driver != driver {
		return types.BadRequestErrorf("network %s: the name is kept for the network of driver %s", r.Name, driver)
	}
	for _, name := range []string{HostNetwork, NoNetwork} {
		if driver, _ := Reserved(name); r.Driver == driver && r.Name != name {
			return types.BadRequestErrorf("network %s: driver %s has one network, and it is called %s", r.Name, driver, name)
		}
	}
	for _, s := range r.Subnets {
		if err := s.check(r.Name); err != nil {
			return err
		}
	}
	if err := distinct(r.Name, r.Subnets); err != nil {
		return err
	}
	if r.driver() == BridgeDriver {
		return checkBridgeOptions(r.Name, r.Options)
	}
	return nil
}

func (r *NetworkCreate) driver() string {
	if r.Driver == "" {
		return BridgeDriver
	}
	return r.Driver
}

// Reserved returns the driver of a name that only the network of that driver can
// have.
func Reserved(name string) (driver string, ok bool) {
	switch name {
	case HostNetwork:
		return HostDriver, true
	case NoNetwork:
		return NullDriver, true
	}
	return "", false
}

func (s Subnet) check(network string) error {
	bad := func(format string, args ...any) error {
		return types.BadRequestErrorf("network %s: "+format, append([]any{network}, args...)...)
	}
	p, err := ParseSubnet(s.Subnet)
	if err != nil {
		return bad("%w", err)
	}
	if s.IPRange != "" {
		r, err := netip.ParsePrefix(s.IPRange)
		switch {
		case err != nil:
			return bad("address range %q is not a subnet in CIDR notation", s.IPRange)
		case !p.Contains(r.Addr()) || r.Bits() < p.Bits():
			return bad("address range %s is not within the subnet %s", s.IPRange, p)
		}
	}
	if s.Gateway != "" {
		if err := usable(p, "gateway", s.Gateway); err != nil {
			return bad("%w", err)
		}
	}
	names := map[string]string{} // of the auxiliary addresses
	for _, name := range slices.Sorted(maps.Keys(s.Aux)) {
		a := s.Aux[name]
		if name == "" {
			return bad("auxiliary address %s has no name", a)
		}
		if err := usable(p, "auxiliary address "+name, a); err != nil {
			return bad("%w", err)
		}
		if a == s.Gateway {
			return bad("auxiliary address %s=%s is the gateway", name, a)
		}
		if other, twice := names[a]; twice {
			return bad("auxiliary address %s=%s is %s's already", name, a, other)
		}
		names[a] = name
	}
	return nil
}

// ParseSubnet reads a subnet in CIDR notation. Bits after the prefix are refused:
// they are a mistake as often as not.
func ParseSubnet(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return p, types.BadRequestErrorf("%q is not a subnet in CIDR notation such as 10.1.0.0/24", s)
	case p != p.Masked():
		return p, types.BadRequestErrorf("subnet %s has bits set after its prefix: do you mean %s?", s, p.Masked())
	case p.Bits() == 0:
		return p, types.BadRequestErrorf("subnet %s is the whole address space", s)
	case p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().IsUnspecified():
		return p, types.BadRequestErrorf("subnet %s has no addresses that an interface can have", s)
	}
	return p, nil
}

// usable refuses an address that no host can have in the subnet.
func usable(p netip.Prefix, what, s string) error {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Zone() != "":
		return types.BadRequestErrorf("%s %q is not an IP address", what, s)
	case !p.Contains(a):
		return types.BadRequestErrorf("%s %s is outside the subnet %s", what, a, p)
	case a.BitLen()-p.Bits() < 2:
		return nil // RFC 3021: both addresses of a /31 are a host's
	case a == p.Addr():
		return types.BadRequestErrorf("%s %s is the address of the subnet %s itself", what, a, p)
	case a.Is4() && !p.Contains(a.Next()):
		return types.BadRequestErrorf("%s %s is the broadcast address of the subnet %s", what, a, p)
	}
	return nil
}

// distinct refuses subnets of one network that overlap. They have been checked.
func distinct(network string, subnets []Subnet) error {
	var seen []netip.Prefix
	for _, s := range subnets {
		p := netip.MustParsePrefix(s.Subnet)
		if i := slices.IndexFunc(seen, p.Overlaps); i >= 0 {
			return types.BadRequestErrorf("network %s: the subnets %s and %s overlap", network, seen[i], p)
		}
		seen = append(seen, p)
	}
	return nil
}

// bridgePrefix is the name space of the bridge driver's options.
const bridgePrefix = "com.docker.network.bridge."

var bridgeOptions = []string{
	"accept_fwmark", "default_bridge", "enable_icc", "enable_ip_masquerade", "gateway_mode_ipv4", "gateway_mode_ipv6",
	"host_binding_ipv4", "host_binding_ipv6", "inhibit_ipv4", "name", "trusted_host_interfaces",
}

// plainOptions are those of its options that are under no name space of its own.
var plainOptions = []string{"container_iface_prefix", "driver.mtu", "host_ipv4", "host_ipv6"}

// networkFields are labels that a request has fields for, with their flags: among the
// driver's options they would be read too late, or not at all.
var networkFields = map[string]string{
	netlabel.EnableIPv6: "ipv6 (--ipv6)", netlabel.Prefix + ".enable_ipv4": "no_ipv4 (--ipv4=false)", netlabel.Internal: "internal (--internal)",
}

// checkBridgeOptions refuses options in the name space of the bridge driver that
// it does not know: a mistyped enable_icc must not leave a network open. Their
// values are checked by the driver.
func checkBridgeOptions(network string, options map[string]string) error {
	for key := range options {
		if flag := networkFields[key]; flag != "" {
			return types.BadRequestErrorf("network %s: %s is no option of the driver: use the network's own %s", network, key, flag)
		}
		name, ok := strings.CutPrefix(key, bridgePrefix)
		if ok && !slices.Contains(bridgeOptions, name) {
			return types.BadRequestErrorf("network %s: option %s is not known to the bridge driver, which has %s{%s} and %s.{%s}",
				network, key, bridgePrefix, strings.Join(bridgeOptions, ","), netlabel.Prefix, strings.Join(plainOptions, ","))
		}
	}
	return nil
}

// Check refuses a request that can never be met. Its error is a BadRequest that
// names the value.
func (r *ContainerCreate) Check() error {
	if err := CheckName("container", r.ID); err != nil && !model.IsID(r.ID) {
		return err
	}
	bad := func(format string, args ...any) error {
		return types.BadRequestErrorf("container %s: "+format, append([]any{r.ID}, args...)...)
	}
	if err := r.checkNetworks(); err != nil {
		return bad("%w", err)
	}
	for _, p := range r.Publish {
		if err := p.Check(); err != nil {
			return bad("%w", err)
		}
	}
	if err := r.checkNames(); err != nil {
		return bad("%w", err)
	}
	if r.OwnerPID < 0 {
		return bad("owner %d is not a process", r.OwnerPID)
	}
	if r.Netns != "" && (!strings.HasPrefix(r.Netns, "/") || strings.ContainsRune(r.Netns, 0)) {
		return bad("network namespace %q is not an absolute path", r.Netns)
	}
	return nil
}

func (r *ContainerCreate) checkNetworks() error {
	for _, a := range r.Networks {
		if a.Network == "" {
			return types.BadRequestErrorf("a network without a name")
		}
		if _, ok := Reserved(a.Network); ok && len(r.Networks) > 1 {
			return types.BadRequestErrorf("network %s cannot be combined with other networks", a.Network)
		}
		if _, ok := Reserved(a.Network); ok && len(r.Publish) > 0 {
			return types.BadRequestErrorf("publish %s: a container on network %s has no ports to publish", r.Publish[0], a.Network)
		}
		if a.Network == HostNetwork && r.Netns != "" {
			return types.BadRequestErrorf("network %s is a namespace of its own: it cannot be combined with %s", a.Network, r.Netns)
		}
		if err := a.Check(); err != nil {
			return err
		}
	}
	return nil
}

func (r *ContainerCreate) checkNames() error {
	if r.Hostname != "" {
		if err := checkHostname("host name", r.Hostname); err != nil {
			return err
		}
	}
	if r.Domainname != "" {
		if err := checkHostname("domain name", r.Domainname); err != nil {
			return err
		}
	}
	for _, s := range r.DNS {
		if a, err := netip.ParseAddr(s); err != nil || a.IsUnspecified() {
			return types.BadRequestErrorf("name server %q is not an IP address", s)
		}
	}
	for _, s := range r.DNSSearch {
		if s == "." { // resolv.conf(5): no search list at all
			continue
		}
		if err := checkHostname("search domain", s); err != nil {
			return err
		}
	}
	for _, s := range r.DNSOptions {
		if s == "" || strings.ContainsAny(s, " \t\r\n\x00") {
			return types.BadRequestErrorf("resolver option %q is empty or has blanks", s)
		}
	}
	for _, h := range r.ExtraHosts {
		if err := checkHostname("host", h.Name); err != nil {
			return err
		}
		if a, err := netip.ParseAddr(h.Address); err != nil || a.Zone() != "" {
			return types.BadRequestErrorf("host %s: %q is not an IP address", h.Name, h.Address)
		}
	}
	return nil
}

// checkHostname refuses what would break a line of a hosts file or of
// resolv.conf. Underscores are in wide use although RFC 952 has none.
func checkHostname(what, s string) error {
	const maxHostname = 253 // RFC 1035 section 2.3.4, as text
	ok := s != "" && len(s) <= maxHostname
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		ok = ok && label != "" && len(label) <= maxName && label[0] != '-'
		for i := 0; ok && i < len(label); i++ {
			ok = alphanumeric(label[i]) || label[i] == '-' || label[i] == '_'
		}
	}
	if !ok {
		return types.BadRequestErrorf("%s %q is not a host name: use letters, digits, '-' and '_' between dots", what, s)
	}
	return nil
}

// Check refuses an attachment that can never be made.
func (a *Attachment) Check() error {
	bad := func(format string, args ...any) error {
		return types.BadRequestErrorf("network %s: "+format, append([]any{a.Network}, args...)...)
	}
	if _, ok := Reserved(a.Network); ok && !a.plain() {
		return bad("takes no addresses, aliases or names")
	}
	if a.IPv4 != "" {
		if ip, err := netip.ParseAddr(a.IPv4); err != nil || !ip.Is4() || !unicast(ip) {
			return bad("%q is not an IPv4 address that an interface can have", a.IPv4)
		}
	}
	if a.IPv6 != "" {
		if ip, err := netip.ParseAddr(a.IPv6); err != nil || !ip.Is6() || ip.Is4In6() || ip.Zone() != "" || !unicast(ip) {
			return bad("%q is not an IPv6 address that an interface can have", a.IPv6)
		}
	}
	if a.MAC != "" {
		if _, err := ParseMAC(a.MAC); err != nil {
			return bad("%w", err)
		}
	}
	for _, alias := range a.Aliases {
		if err := CheckName("alias", alias); err != nil {
			return bad("%w", err)
		}
	}
	if a.Interface != "" {
		if err := model.CheckInterfaceName(a.Interface); err != nil {
			return bad("interface name %q is not one that a link can have: %w", a.Interface, err)
		}
	}
	return nil
}

func (a *Attachment) plain() bool {
	return a.IPv4 == "" && a.IPv6 == "" && a.MAC == "" && len(a.Aliases) == 0 && a.Interface == ""
}

func unicast(ip netip.Addr) bool {
	return !ip.IsMulticast() && !ip.IsUnspecified() && !ip.IsLoopback()
}

// ParseMAC reads the MAC address of an interface: six bytes, no multicast
// address and not all zero.
func ParseMAC(s string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	switch {
	case err != nil || len(mac) != 6:
		return nil, types.BadRequestErrorf("%q is not a MAC address such as 02:42:ac:11:00:02", s)
	case mac[0]&1 != 0:
		return nil, types.BadRequestErrorf("MAC address %s is a multicast address", s)
	case slices.Equal(mac, make([]byte, 6)):
		return nil, types.BadRequestErrorf("MAC address %s is all zero", s)
	}
	return mac, nil
}

// Check refuses a publication that can never be made.
func (p *Publish) Check() error {
	bad := func(format string, args ...any) error {
		return types.BadRequestErrorf("publish %s: "+format, append([]any{p}, args...)...)
	}
	if p.HostIP != "" {
		a, err := netip.ParseAddr(p.HostIP)
		if err != nil || a.Zone() != "" || a.IsMulticast() || a.Unmap() == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return bad("%q is not an IP address of the host", p.HostIP)
		}
		if a.Is6() && a.IsLinkLocalUnicast() {
			return bad("%s is a link-local address, which stands for one of every link: use another address of the host", a)
		}
	}
	switch p.Protocol {
	case "", "tcp", "udp", "sctp":
	default:
		return bad("unknown protocol %q: use tcp, udp or sctp", p.Protocol)
	}
	switch {
	case p.Port == 0:
		return bad("the container's port is 0: ports are 1 to 65535")
	case p.PortEnd != 0 && p.PortEnd < p.Port:
		return bad("the container's range %d-%d is reversed", p.Port, p.PortEnd)
	case p.HostPort == 0 && p.HostPortEnd != 0:
		return bad("the host's port is 0: ports are 1 to 65535")
	case p.HostPortEnd != 0 && p.HostPortEnd < p.HostPort:
		return bad("the host's range %d-%d is reversed", p.HostPort, p.HostPortEnd)
	}
	inside, outside := span(p.Port, p.PortEnd), span(p.HostPort, p.HostPortEnd)
	if p.HostPort != 0 && inside > 1 && inside != outside {
		return bad("%d ports of the container do not fit %d ports of the host", inside, outside)
	}
	return nil
}

func span(first, last uint16) int {
	if last == 0 {
		return 1
	}
	return int(last) - int(first) + 1
}
