package engine

import (
	"net/netip"
	"testing"

	"github.com/libnetwork/libnetwork/internal/model"
)

// Members of a network do not get one MAC address because the ends of their addresses are alike.
func TestMACOfAddress(t *testing.T) {
	seen := make(map[string]string)
	for _, tt := range []struct{ addr, want string }{
		{"10.99.1.2/24", "02:42:0a:63:01:02"},
		{"fd18::5/64", "02:42:00:00:00:05"},
		{"fd18::2:0:5/64", ""},
		{"fd18::1:0:0:5/64", ""},
		{"fd18::ffff:0:5/64", ""},
		{"fd18:0:0:1::7/48", ""},
		{"fd18::7/48", "02:42:00:00:00:07"},
		{"fd18::1:0:8/96", "02:42:00:00:00:08"},
	} {
		p := netip.MustParsePrefix(tt.addr)
		rec := &model.Endpoint{V6: p}
		if p.Addr().Is4() {
			rec = &model.Endpoint{V4: p}
		}
		setMAC(rec)
		if tt.want != "" && rec.MAC != tt.want || seen[rec.MAC] != "" {
			t.Errorf("MAC address for %s: %s, want %q; has it as well: %q", tt.addr, rec.MAC, tt.want, seen[rec.MAC])
		}
		seen[rec.MAC] = tt.addr
	}
}
