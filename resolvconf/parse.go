package resolvconf

import (
	"bytes"
	"iter"
	"net/netip"
	"strings"
)

// Address families for [GetNameservers].
const (
	IP   = iota // IPv4 and IPv6
	IPv4        // IPv4 only
	IPv6        // IPv6 only
)

// GetNameservers returns the addresses of the nameserver lines, as written and
// in file order. kind is [IP], [IPv4] or [IPv6]. Lines without a valid address
// are skipped; a zone (fe80::1%eth0) is part of the address.
func GetNameservers(resolvConf []byte, kind int) []string {
	servers := []string{}
	for _, fields := range directives(resolvConf) {
		addr, ok := nameserver(fields)
		if !ok || kind == IPv4 && !addr.Is4() || kind == IPv6 && addr.Is4() {
			continue
		}
		servers = append(servers, fields[1])
	}
	return servers
}

// GetNameserversAsCIDR returns the addresses of all nameserver lines with /32
// behind each, for IPv6 too, which is what callers of this function have always
// been given. A zone is dropped, as a prefix cannot carry one.
func GetNameserversAsCIDR(resolvConf []byte) []string {
	servers := GetNameservers(resolvConf, IP)
	for i, s := range servers {
		addr, _, _ := strings.Cut(s, "%")
		servers[i] = addr + "/32"
	}
	return servers
}

// GetSearchDomains returns the domains of the last search line. A file that has
// only the older domain directive gives that one domain (resolv.conf(5)).
func GetSearchDomains(resolvConf []byte) []string {
	search, domain := []string{}, []string{}
	found := false
	for _, fields := range directives(resolvConf) {
		switch {
		case fields[0] == "search":
			search, found = fields[1:], true
		case fields[0] == "domain" && len(fields) > 1:
			domain = fields[1:2]
		}
	}
	if !found {
		return domain
	}
	return search
}

// GetOptions returns the words of the last options line.
func GetOptions(resolvConf []byte) []string {
	options := []string{}
	for _, fields := range directives(resolvConf) {
		if fields[0] == "options" {
			options = fields[1:]
		}
	}
	return options
}

// FilterResolvDNS returns resolvConf without the nameserver lines a container
// cannot use: loopback addresses and, unless ipv6Enabled, every IPv6 address.
// All other lines stay byte for byte, comments included.
//
// No public server is put in place of what was removed: the result may name no
// server at all. The error is always nil.
func FilterResolvDNS(resolvConf []byte, ipv6Enabled bool) (*File, error) {
	kept := make([]byte, 0, len(resolvConf))
	for line, fields := range lines(resolvConf) {
		addr, ok := nameserver(fields)
		if ok && (addr.Unmap().IsLoopback() || !ipv6Enabled && !addr.Is4()) {
			continue
		}
		kept = append(kept, line...)
	}
	return newFile(kept), nil
}

// nameserver returns the address of a nameserver directive. Like libc, it reads
// one address a line.
func nameserver(fields []string) (netip.Addr, bool) {
	if len(fields) < 2 || fields[0] != "nameserver" {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(fields[1])
	return addr, err == nil
}

// directives yields the lines that say something, without comments.
func directives(resolvConf []byte) iter.Seq2[[]byte, []string] {
	return func(yield func([]byte, []string) bool) {
		for line, fields := range lines(resolvConf) {
			if len(fields) > 0 && !yield(line, fields) {
				return
			}
		}
	}
}

// lines yields each line, with its LF, and its words up to the comment. A #
// starts a comment anywhere, a ; only where the first word would be.
func lines(resolvConf []byte) iter.Seq2[[]byte, []string] {
	return func(yield func([]byte, []string) bool) {
		for line := range bytes.Lines(resolvConf) {
			text, _, _ := bytes.Cut(line, []byte("#"))
			fields := strings.Fields(string(text))
			if len(fields) > 0 && fields[0][0] == ';' {
				fields = nil
			}
			if !yield(line, fields) {
				return
			}
		}
	}
}
