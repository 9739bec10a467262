// Package dns tells loopback addresses apart, for readers of resolv.conf.
//
// It is a leaf without state; everything in it is safe for concurrent use.
// It knows addresses only as text: neither host names nor ports are understood.
package dns

import "net/netip"

const (
	// IPv4Localhost is a regular expression for an address in 127.0.0.0/8, in dotted form.
	// It is not anchored and does not check that each number is below 256.
	IPv4Localhost = `127(?:\.[0-9]{1,3}){3}`
	// IPLocalhost is a regular expression for an IPv4 loopback address or ::1. It is not anchored.
	IPLocalhost = `(?:` + IPv4Localhost + `|::1\b)`
)

// IsLocalhost reports whether ip is the text of a loopback address: one in
// 127.0.0.0/8, ::1, or the IPv6 form of the former. Text that is not an
// address is not a loopback address.
func IsLocalhost(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	return err == nil && addr.Unmap().IsLoopback()
}
