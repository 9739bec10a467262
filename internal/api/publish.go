package api

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/libnetwork/libnetwork/types"
)

// ParsePublish reads [HOSTIP:][HOSTPORT[-END]:]PORT[-END][/PROTO], with IPv6
// addresses in brackets. HOSTIP::PORT is HOSTIP:PORT: a free port of that
// address.
func ParsePublish(s string) (Publish, error) {
	bad := func(format string, args ...any) (Publish, error) {
		return Publish{}, types.BadRequestErrorf("publish %q: "+format, append([]any{s}, args...)...)
	}
	const want = "want [HOSTIP:][HOSTPORT[-END]:]PORT[-END][/PROTO]"
	var p Publish
	rest, proto, found := strings.Cut(s, "/")
	if p.Protocol = strings.ToLower(proto); found && p.Protocol == "" {
		return bad("no protocol after the slash")
	}
	rest, ok := cutHostIP(rest, &p)
	if !ok {
		return bad("%s", want)
	}
	if p.HostIP != "" {
		if a, err := netip.ParseAddr(p.HostIP); err != nil || a.Zone() != "" {
			return bad("%q is not an IP address", p.HostIP)
		}
	}
	host, port, found := strings.Cut(rest, ":")
	if !found {
		host, port = "", rest
	}
	var err error
	switch {
	case strings.Contains(port, ":"):
		return bad("%s, an IPv6 address in brackets", want)
	case found && host == "" && p.HostIP == "":
		return bad("%s", want)
	case host != "":
		if p.HostPort, p.HostPortEnd, err = parsePorts(host); err != nil {
			return bad("%w", err)
		}
	}
	if p.Port, p.PortEnd, err = parsePorts(port); err != nil {
		return bad("%w", err)
	}
	return p, p.Check()
}

// cutHostIP takes the host's address off the front. What has a bracket or a dot
// before the first colon is one.
func cutHostIP(s string, p *Publish) (rest string, ok bool) {
	if after, found := strings.CutPrefix(s, "["); found {
		ip, rest, found := strings.Cut(after, "]:")
		p.HostIP = ip
		return rest, found && strings.Contains(ip, ":")
	}
	first, after, found := strings.Cut(s, ":")
	if found && (strings.Contains(first, ".") || strings.Count(s, ":") == 2) {
		p.HostIP = first
		return after, first != ""
	}
	return s, true
}

// parsePorts reads PORT or PORT-END. The end of a single port is 0.
func parsePorts(s string) (first, last uint16, err error) {
	a, b, isRange := strings.Cut(s, "-")
	if first, err = parsePort(a); err != nil || !isRange {
		return first, 0, err
	}
	if last, err = parsePort(b); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, types.BadRequestErrorf("the range %s is reversed", s)
	}
	return first, last, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, types.BadRequestErrorf("%q is not a port: ports are 1 to 65535", s)
	}
	return uint16(n), nil
}

// String is the form that ParsePublish reads.
func (p Publish) String() string {
	var b strings.Builder
	if p.HostIP != "" {
		if strings.Contains(p.HostIP, ":") {
			b.WriteString("[" + p.HostIP + "]:")
		} else {
			b.WriteString(p.HostIP + ":")
		}
	}
	if p.HostPort != 0 {
		b.WriteString(Ports(p.HostPort, p.HostPortEnd) + ":")
	}
	b.WriteString(Ports(p.Port, p.PortEnd))
	if p.Protocol != "" {
		b.WriteString("/" + p.Protocol)
	}
	return b.String()
}

// Ports writes a range as FIRST-LAST, and a single port, which may have 0 for its
// end, as a number.
func Ports(first, last uint16) string {
	s := strconv.Itoa(int(first))
	if last != 0 && last != first {
		s += "-" + strconv.Itoa(int(last))
	}
	return s
}

// ParseAttachment reads
// NET[:ip=..,ip6=..,mac=..,alias=..,priority=..,ifname=..]. Only alias may be
// there more than once.
func ParseAttachment(s string) (Attachment, error) {
	name, opts, found := strings.Cut(s, ":")
	a := Attachment{Network: name}
	bad := func(format string, args ...any) (Attachment, error) {
		return Attachment{}, types.BadRequestErrorf("network %q: "+format, append([]any{s}, args...)...)
	}
	if name == "" {
		return bad("no name")
	}
	if found && opts == "" {
		return bad("nothing after the colon")
	}
	seen := map[string]bool{}
	for found && opts != "" {
		var opt string
		opt, opts, found = strings.Cut(opts, ",")
		key, value, given := strings.Cut(opt, "=")
		if !given {
			return bad("%q is not KEY=VALUE", opt)
		}
		if value == "" {
			return bad("%s has no value", key)
		}
		if seen[key] && key != "alias" {
			return bad("%s is given twice", key)
		}
		seen[key] = true
		if err := a.set(key, value); err != nil {
			return bad("%w", err)
		}
	}
	if found {
		return bad("it ends with a comma")
	}
	return a, a.Check()
}

func (a *Attachment) set(key, value string) (err error) {
	switch key {
	case "ip":
		a.IPv4 = value
	case "ip6":
		a.IPv6 = value
	case "mac":
		a.MAC = value
	case "alias":
		a.Aliases = append(a.Aliases, value)
	case "ifname":
		a.Interface = value
	case "priority":
		if a.Priority, err = strconv.Atoi(value); err != nil {
			return types.BadRequestErrorf("priority %q is not a number", value)
		}
	default:
		return types.BadRequestErrorf("option %q is not known: there are ip, ip6, mac, alias, priority and ifname", key)
	}
	return nil
}
