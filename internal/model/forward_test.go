package model

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPortObjects(t *testing.T) {
	for _, tt := range []struct {
		name, host, addr string
		proto            uint8
		last             uint16
		proxy, noRule    bool
		want             []string
	}{
		{"IPv4", "0.0.0.0", "10.0.0.2", 6, 80, false, false, []string{"port/6/0.0.0.0:80-80"}},
		{"IPv4 with a proxy", "0.0.0.0", "10.0.0.2", 6, 80, true, false, []string{"port/6/0.0.0.0:80-80", "forward/6/0.0.0.0:80"}},
		{"one IPv6 address", "fd00::1", "fd00::2", 6, 80, false, false, []string{"port/6/[fd00::1]:80-80"}},
		{"all of IPv6, for the sake of ::1", "::", "fd00::2", 17, 80, false, false, []string{"port/17/[::]:80-80", "forward/17/[::]:80"}},
		{"::1", "::1", "fd00::2", 6, 80, false, false, []string{"forward/6/[::1]:80"}},
		{"IPv6 to IPv4", "::", "10.0.0.2", 6, 80, false, false, []string{"kept/6/[::]:80", "forward/6/[::]:80"}},
		{"one IPv6 address to IPv4", "fd00::1", "10.0.0.2", 6, 80, false, false, []string{"kept/6/[fd00::1]:80", "forward/6/[fd00::1]:80"}},
		{"one of a link to IPv4", "fe80::1%eth0", "10.0.0.2", 6, 80, false, false, []string{"kept/6/[fe80::1]:80", "forward/6/[fe80::1%eth0]:80"}},
		{"IPv4 without rules", "0.0.0.0", "10.0.0.2", 6, 80, true, true, []string{"forward/6/0.0.0.0:80"}},
		{"all of IPv6 without rules", "::", "fd00::2", 17, 80, true, true, []string{"forward/17/[::]:80"}},
		{"one IPv6 address to IPv4 without rules", "fd00::1", "10.0.0.2", 6, 80, true, true, []string{"forward/6/[fd00::1]:80"}},
		{"a range has its rule alone", "::", "fd00::2", 6, 90, true, false, []string{"port/6/[::]:80-90"}},
		{"SCTP has its rule alone", "::", "fd00::2", 132, 80, true, false, []string{"port/132/[::]:80-80"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Port{
				Proto: tt.proto, Host: netip.MustParseAddr(tt.host), First: 80, Last: tt.last,
				Addr: netip.MustParseAddr(tt.addr), Port: 8080, Owner: "x", Proxy: tt.proxy, NoRule: tt.noRule,
			}
			var got []string
			for _, o := range p.objects("br1") {
				got = append(got, o.Key())
				if f, ok := o.(Forward); ok && (f.Target != netip.AddrPortFrom(p.Addr, 8080) || f.Beside == p.Forwarded()) {
					t.Errorf("%+v", f)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
