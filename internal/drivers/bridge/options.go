package bridge

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// LabelIPv4 is the option that makes a network of IPv6 alone, if false.
const LabelIPv4 = netlabel.Prefix + ".enable_ipv4"

// Labels of a bridge network's options.
const (
	labelPrefix     = netlabel.Prefix + ".bridge."
	labelName       = labelPrefix + "name"
	labelDefault    = labelPrefix + "default_bridge"
	labelICC        = labelPrefix + "enable_icc"
	labelMasquerade = labelPrefix + "enable_ip_masquerade"
	labelBinding4   = labelPrefix + "host_binding_ipv4"
	labelBinding6   = labelPrefix + "host_binding_ipv6"
	labelMode4      = labelPrefix + "gateway_mode_ipv4"
	labelMode6      = labelPrefix + "gateway_mode_ipv6"
	labelInhibit    = labelPrefix + "inhibit_ipv4"
	labelTrusted    = labelPrefix + "trusted_host_interfaces"
	labelMark       = labelPrefix + "accept_fwmark"
	labelSource4    = netlabel.Prefix + ".host_ipv4"
	labelSource6    = netlabel.Prefix + ".host_ipv6"
	labelIfPrefix   = netlabel.Prefix + ".container_iface_prefix"
)

// ifPrefixMax leaves room for a number.
const ifPrefixMax = 10

// parseOptions reads the options of a network. Labels that it does not know
// are for others.
func parseOptions(n *model.Network) (*model.BridgeNetwork, error) {
	p := parser{net: n.Name, opts: n.Options}
	b := &model.BridgeNetwork{
		Link:        n.Options[labelName],
		ICC:         p.boolean(labelICC, true),
		Masquerade:  p.boolean(labelMasquerade, true),
		MTU:         p.mtu(netlabel.DriverMTU),
		HostIP:      p.binding(labelBinding4, anyFamily),
		HostIP6:     p.binding(labelBinding6, ipv6),
		Mode4:       p.mode(labelMode4),
		Mode6:       p.mode(labelMode6),
		Source4:     p.source(labelSource4, ipv4),
		Source6:     p.source(labelSource6, ipv6),
		Trusted:     p.links(labelTrusted),
		TrustedMark: p.mark(labelMark),
		IfPrefix:    p.ifPrefix(labelIfPrefix),
		InhibitIPv4: p.boolean(labelInhibit, false),
	}
	isDefault := p.boolean(labelDefault, false)
	if p.boolean(netlabel.EnableIPv6, false) {
		n.IPv6 = true
	}
	if !p.boolean(LabelIPv4, true) {
		n.NoIPv4 = true
	}
	p.together(n, b)
	if p.err != nil {
		return nil, p.err
	}
	if b.Link == "" {
		b.Link = "br-" + n.ID[:min(12, len(n.ID))]
		if isDefault {
			b.Link = defaultLink
		}
	}
	if isDefault {
		n.Transient = true
	}
	if err := model.CheckLinkName(b.Link); err != nil {
		return nil, types.BadRequestErrorf("network %s: bridge name %q is not a name that a link can have: %w", n.Name, b.Link, err)
	}
	return b, nil
}

// together refuses options that exclude each other.
func (p *parser) together(n *model.Network, b *model.BridgeNetwork) {
	if n.IPv6 && b.MTU != 0 && b.MTU < mtuMinIPv6 {
		p.fail(netlabel.DriverMTU, p.opts[netlabel.DriverMTU], "an MTU for IPv6, which needs at least 1280 (RFC 8200)")
	}
	if n.NoIPv4 && !n.IPv6 {
		p.fail(LabelIPv4, "false", "possible without IPv6: a network needs at least one address family")
	}
	if n.NoIPv4 && len(n.IPAM.Conf4) > 0 {
		p.fail(LabelIPv4, "false", "possible with an IPv4 subnet")
	}
	for label, mode := range map[string]model.GatewayMode{labelMode4: b.Mode4, labelMode6: b.Mode6} {
		if mode == model.ModeIsolated && !n.Internal {
			p.fail(label, mode.String(), "possible for a network that is not internal")
		}
	}
	if b.HostIP.IsValid() && b.HostIP.Is6() && b.HostIP6.IsValid() && b.HostIP != b.HostIP6 {
		p.fail(labelBinding4, b.HostIP.String(), "the same IPv6 address as "+labelBinding6)
	}
}

func isDefault(n *model.Network) bool {
	v, _ := strconv.ParseBool(n.Options[labelDefault])
	return v
}

// parser reads labels and keeps the first error.
type parser struct {
	net  string
	opts map[string]string
	err  error
}

func (p *parser) fail(label, value, want string) {
	if p.err == nil {
		p.err = types.BadRequestErrorf("network %s: option %s=%q is not %s", p.net, label, value, want)
	}
}

func (p *parser) boolean(label string, def bool) bool {
	s, ok := p.opts[label]
	if !ok {
		return def
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		p.fail(label, s, "true or false")
	}
	return v
}

// mtuMin and mtuMax are what the kernel accepts of an Ethernet link. An MTU of
// mtuDefault is what it gives by itself.
const (
	mtuMin     = 68
	mtuMinIPv6 = 1280 // below it the kernel turns IPv6 off for the link
	mtuDefault = 1500
	mtuMax     = 65535
)

func (p *parser) mtu(label string) int {
	s, ok := p.opts[label]
	if !ok {
		return 0
	}
	v, err := strconv.Atoi(s)
	if err != nil || v != 0 && (v < mtuMin || v > mtuMax) {
		p.fail(label, s, "an MTU: 0 for the default, or 68 to 65535")
	}
	return v
}

// Families that an address may have to be of.
type addrFamily int

const (
	anyFamily addrFamily = iota
	ipv4
	ipv6
)

func (p *parser) addr(label string, fam addrFamily) netip.Addr {
	s, ok := p.opts[label]
	if !ok || s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	a = a.Unmap()
	switch {
	case err != nil || a.Zone() != "":
		p.fail(label, s, "an IP address")
	case fam == ipv4 && !a.Is4():
		p.fail(label, s, "an IPv4 address")
	case fam == ipv6 && !a.Is6():
		p.fail(label, s, "an IPv6 address")
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		p.fail(label, s, "an address that a host can have")
	case a.Is6() && a.IsLinkLocalUnicast():
		p.fail(label, s, "possible: a link-local address stands for one of every link: use another address of the host")
	}
	return a
}

// binding reads a default binding address. 0.0.0.0 stands for all addresses of
// both families, as in the option's absence.
func (p *parser) binding(label string, fam addrFamily) netip.Addr {
	a := p.addr(label, fam)
	if a == netip.IPv4Unspecified() {
		return netip.Addr{}
	}
	return a
}

// source reads an address that packets leave with.
func (p *parser) source(label string, fam addrFamily) netip.Addr {
	a := p.addr(label, fam)
	if a.IsUnspecified() || a.IsLoopback() {
		p.fail(label, p.opts[label], "an address that others can answer to")
	}
	return a
}

func (p *parser) mode(label string) model.GatewayMode {
	s, ok := p.opts[label]
	if !ok || s == "" {
		return model.ModeNAT
	}
	m, err := model.ParseGatewayMode(s)
	if err != nil {
		p.fail(label, s, "one of nat, nat-unprotected, routed and isolated")
	}
	return m
}

// links reads names of links, with colons between them.
func (p *parser) links(label string) []string {
	s, ok := p.opts[label]
	if !ok || s == "" {
		return nil
	}
	names := strings.Split(s, ":")
	for _, name := range names {
		if err := model.CheckLinkName(name); err != nil {
			p.fail(label, s, fmt.Sprintf("a list of names of links with colons between them: %q: %s", name, err))
		}
	}
	return names
}

// mark reads VALUE or VALUE/MASK.
func (p *parser) mark(label string) model.Mark {
	s, ok := p.opts[label]
	if !ok || s == "" {
		return model.Mark{}
	}
	value, mask, masked := strings.Cut(s, "/")
	v, err := strconv.ParseUint(value, 0, 32)
	m := uint64(1<<32 - 1)
	if err == nil && masked {
		m, err = strconv.ParseUint(mask, 0, 32)
	}
	if err != nil || v == 0 || v&^m != 0 {
		p.fail(label, s, "a packet mark: VALUE or VALUE/MASK with VALUE inside of MASK, and not 0, which packets without a mark have")
	}
	if v&model.FirewallMark != 0 {
		p.fail(label, s, fmt.Sprintf("a packet mark without %#x, which what the firewall has accepted carries", model.FirewallMark))
	}
	return model.Mark{Value: uint32(v), Mask: uint32(m)}
}

func (p *parser) ifPrefix(label string) string {
	s, ok := p.opts[label]
	if !ok || s == "" {
		return ""
	}
	if len(s) > ifPrefixMax || model.CheckLinkName(s+"0") != nil {
		p.fail(label, s, "the beginning of a link's name, of at most "+strconv.Itoa(ifPrefixMax)+" bytes")
	}
	return s
}

// Labels of an endpoint's options.
const (
	LabelIfName  = netlabel.Prefix + ".endpoint.ifname"
	LabelSysctls = netlabel.Prefix + ".endpoint.sysctls"
)

// ParseSysctls reads settings of an endpoint's interface: with commas between them,
// names as the sysctl program takes them, with IFNAME for that of the interface, an
// equals sign, and a value.
func ParseSysctls(endpoint, list string) ([]model.Sysctl, error) {
	if list == "" {
		return nil, nil
	}
	var out []model.Sysctl
	for text := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(text, "=")
		path := strings.Split(name, ".")
		// Of the namespace alone, and of this interface alone.
		ok = ok && len(path) == 5 && path[0] == "net" && path[3] == model.InterfaceName
		for _, part := range path {
			ok = ok && part != "" && part != ".." && !strings.ContainsAny(part, "/ \t\n\x00")
		}
		if !ok || value == "" || strings.ContainsAny(value, "\n\x00") {
			return nil, types.BadRequestErrorf("endpoint %s: option %s=%q: %q is not a setting like net.ipv4.conf.%s.NAME=VALUE",
				endpoint, LabelSysctls, list, text, model.InterfaceName)
		}
		out = append(out, model.Sysctl{Path: path, Value: value})
	}
	return out, nil
}

// CheckIfName refuses a name that the interface of an endpoint cannot have.
func CheckIfName(endpoint, name string) error {
	if name == "" {
		return nil
	}
	if err := model.CheckInterfaceName(name); err != nil {
		return types.BadRequestErrorf("endpoint %s: option %s=%q is not a name that an interface can have: %w", endpoint, LabelIfName, name, err)
	}
	return nil
}
