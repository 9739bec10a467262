package dns

import (
	"regexp"
	"testing"
)

func TestIsLocalhost(t *testing.T) {
	ipv4 := regexp.MustCompile(`^` + IPv4Localhost + `$`)
	either := regexp.MustCompile(`^` + IPLocalhost + `$`)
	tests := []struct {
		name           string
		in             string
		want, v4, both bool
	}{
		{"usual address", "127.0.0.1", true, true, true},
		{"stub resolver", "127.0.0.53", true, true, true},
		{"end of the block", "127.255.255.254", true, true, true},
		{"IPv6", "::1", true, false, true},
		{"IPv6 written out", "0:0:0:0:0:0:0:1", true, false, false},
		{"mapped", "::ffff:127.0.0.1", true, false, false},
		{"no loopback", "128.0.0.1", false, false, false},
		{"IPv6 that ends alike", "2001:db8::1", false, false, false},
		{"IPv6 that starts alike", "::12", false, false, false},
		{"too short", "127.0.1", false, false, false},
		{"name", "localhost", false, false, false},
		{"empty", "", false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := IsLocalhost(tt.in); got != tt.want {
				t.Errorf("IsLocalhost(%q) = %v, want %v", tt.in, got, tt.want)
			}
			if got := ipv4.MatchString(tt.in); got != tt.v4 {
				t.Errorf("IPv4Localhost matches %q: %v, want %v", tt.in, got, tt.v4)
			}
			if got := either.MatchString(tt.in); got != tt.both {
				t.Errorf("IPLocalhost matches %q: %v, want %v", tt.in, got, tt.both)
			}
		})
	}
}
