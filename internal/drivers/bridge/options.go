package bridge

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// Labels of a bridge network's options.
const (
	labelName       = "com.docker.network.bridge.name"
	labelDefault    = "com.docker.network.bridge.default_bridge"
	labelICC        = "com.docker.network.bridge.enable_icc"
	labelMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
	labelHostIP     = "com.docker.network.bridge.host_binding_ipv4"
)

// ifNameMax is the longest name of a link: IFNAMSIZ without the final zero.
const ifNameMax = 15

// parseOptions reads the options of a network. Labels that it does not know
// are for others.
func parseOptions(n *model.Network) (*model.BridgeNetwork, error) {
	p := parser{net: n.Name, opts: n.Options}
	b := &model.BridgeNetwork{
		Link:       n.Options[labelName],
		ICC:        p.boolean(labelICC, true),
		Masquerade: p.boolean(labelMasquerade, true),
		MTU:        p.mtu(netlabel.DriverMTU),
		HostIP:     p.addr(labelHostIP),
	}
	isDefault := p.boolean(labelDefault, false)
	if p.boolean(netlabel.EnableIPv6, false) {
		n.IPv6 = true
	}
	if n.IPv6 && b.MTU != 0 && b.MTU < mtuMinIPv6 {
		p.fail(netlabel.DriverMTU, n.Options[netlabel.DriverMTU], "an MTU for IPv6, which needs at least 1280 (RFC 8200)")
	}
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
	return b, checkLinkName(n.Name, b.Link)
}

func isDefault(n *model.Network) bool {
	v, _ := strconv.ParseBool(n.Options[labelDefault])
	return v
}

// checkLinkName refuses what the kernel would: a name that is too long, a path,
// or one with a blank or colon.
func checkLinkName(network, name string) error {
	switch {
	case len(name) > ifNameMax:
		return types.BadRequestErrorf("network %s: bridge name %q is longer than %d bytes", network, name, ifNameMax)
	case name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r%") || strings.ContainsRune(name, 0):
		return types.BadRequestErrorf("network %s: bridge name %q is not a name that a link can have", network, name)
	}
	return nil
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

// mtuMin and mtuMax are what the kernel accepts of an Ethernet link.
const (
	mtuMin     = 68
	mtuMinIPv6 = 1280 // below it the kernel turns IPv6 off for the link
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

func (p *parser) addr(label string) netip.Addr {
	s, ok := p.opts[label]
	if !ok || s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		p.fail(label, s, "an IP address")
	}
	return a.Unmap()
}
