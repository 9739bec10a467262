package types

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func cidr(t *testing.T, s string) *net.IPNet {
	t.Helper()
	n, err := ParseCIDR(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestProtocol(t *testing.T) {
	for _, tt := range []struct {
		text, printed string
		want          Protocol
	}{
		{"icmp", "icmp", 1},
		{"tcp", "tcp", 6},
		{"TCP", "tcp", 6},
		{"uDp", "udp", 17},
		{"sctp", "sctp", 132},
		{"17", "0", 0},
		{"", "0", 0},
		{"gre", "0", 0},
	} {
		t.Run(tt.text, func(t *testing.T) {
			got := ParseProtocol(tt.text)
			if got != tt.want || got.String() != tt.printed {
				t.Errorf("ParseProtocol = %d (%s), want %d (%s)", got, got, tt.want, tt.printed)
			}
		})
	}
	if got := Protocol(47).String(); got != "47" {
		t.Errorf("a protocol without name prints %q, want its number 47", got)
	}
}

func TestCopiesAreDeep(t *testing.T) {
	if GetIPCopy(nil) != nil || GetMacCopy(nil) != nil || GetIPNetCopy(nil) != nil || GetIPNetCanonical(nil) != nil {
		t.Error("a copy of nil is not nil")
	}

	ip, mac, nw := net.IP{10, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 1}, cidr(t, "10.0.0.1/8")
	route := &StaticRoute{Destination: nw, RouteType: CONNECTED, NextHop: ip}
	ipC, macC, nwC, canon, routeC := GetIPCopy(ip), GetMacCopy(mac), GetIPNetCopy(nw), GetIPNetCanonical(nw), route.GetCopy()
	if diff := cmp.Diff(route, routeC); diff != "" {
		t.Errorf("StaticRoute.GetCopy (-want +got):\n%s", diff)
	}

	for _, b := range [][]byte{ip, mac, nw.IP, nw.Mask} {
		b[len(b)-1] ^= 0xff
	}
	if diff := cmp.Diff("10.0.0.1 02:00:00:00:00:01 10.0.0.1/8 10.0.0.0/8 10.0.0.1/8 10.0.0.1",
		ipC.String()+" "+macC.String()+" "+nwC.String()+" "+canon.String()+" "+routeC.Destination.String()+" "+routeC.NextHop.String()); diff != "" {
		t.Errorf("the copies changed with what they were made from (-want +got):\n%s", diff)
	}
}

func TestCompareIPNet(t *testing.T) {
	v4 := &net.IPNet{IP: net.IP{10, 0, 0, 1}, Mask: net.CIDRMask(8, 32)}
	for _, tt := range []struct {
		name string
		a, b *net.IPNet
		want bool
	}{
		{"both nil", nil, nil, true},
		{"one nil", v4, nil, false},
		{"other nil", nil, v4, false},
		{"same in 16 bytes", v4, &net.IPNet{IP: net.IPv4(10, 0, 0, 1), Mask: net.CIDRMask(8, 32)}, true},
		{"other address", v4, &net.IPNet{IP: net.IP{10, 0, 0, 2}, Mask: net.CIDRMask(8, 32)}, false},
		{"other mask", v4, &net.IPNet{IP: net.IP{10, 0, 0, 1}, Mask: net.CIDRMask(9, 32)}, false},
		{"same mask in 16 bytes", v4, &net.IPNet{IP: net.IP{10, 0, 0, 1}, Mask: net.CIDRMask(104, 128)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := CompareIPNet(tt.a, tt.b); got != tt.want {
				t.Errorf("CompareIPNet = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestMinimal(t *testing.T) {
	if got := GetMinimalIP(net.IPv4(1, 2, 3, 4)); len(got) != 4 {
		t.Errorf("GetMinimalIP keeps %d bytes", len(got))
	}
	v6 := net.ParseIP("fe80::1")
	if got := GetMinimalIP(v6); !got.Equal(v6) || len(got) != 16 {
		t.Errorf("GetMinimalIP(%s) = %s", v6, got)
	}
	got := GetMinimalIPNet(&net.IPNet{IP: net.IPv4(1, 2, 3, 4), Mask: net.CIDRMask(120, 128)})
	if diff := cmp.Diff(&net.IPNet{IP: net.IP{1, 2, 3, 4}, Mask: net.IPMask{255, 255, 255, 0}}, got); diff != "" {
		t.Errorf("GetMinimalIPNet (-want +got):\n%s", diff)
	}
	six := cidr(t, "fd00::1/64")
	if GetMinimalIPNet(six) != six || GetMinimalIPNet(nil) != nil {
		t.Error("GetMinimalIPNet changes what is not IPv4")
	}
}

func TestHostPartAndBroadcast(t *testing.T) {
	for _, tt := range []struct {
		name            string
		ip              net.IP
		mask            net.IPMask
		host, broadcast string
		wantErr         bool
	}{
		{name: "4 bytes, 4", ip: net.IP{10, 1, 2, 3}, mask: net.CIDRMask(16, 32), host: "0.0.2.3", broadcast: "10.1.255.255"},
		{name: "16 bytes, 4", ip: net.IPv4(10, 1, 2, 3), mask: net.CIDRMask(16, 32), host: "0.0.2.3", broadcast: "10.1.255.255"},
		{name: "4 bytes, 16", ip: net.IP{10, 1, 2, 3}, mask: net.CIDRMask(112, 128), host: "0.0.2.3", broadcast: "10.1.255.255"},
		{name: "16 bytes, 16", ip: net.IPv4(10, 1, 2, 3), mask: net.CIDRMask(125, 128), host: "0.0.0.3", broadcast: "10.1.2.7"},
		{name: "IPv6", ip: net.ParseIP("fd00:1::2:3"), mask: net.CIDRMask(112, 128), host: "::3", broadcast: "fd00:1::2:ffff"},
		{name: "IPv4 with a wide mask", ip: net.IP{10, 1, 2, 3}, mask: net.CIDRMask(64, 128), wantErr: true},
		{name: "IPv6 with an IPv4 mask", ip: net.ParseIP("fd00::1"), mask: net.CIDRMask(16, 32), wantErr: true},
		{name: "no address", mask: net.CIDRMask(16, 32), wantErr: true},
		{name: "no mask", ip: net.IP{10, 1, 2, 3}, wantErr: true},
		{name: "odd mask", ip: net.IP{10, 1, 2, 3}, mask: net.IPMask{255}, wantErr: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.ip.String()
			for what, f := range map[string]func(net.IP, net.IPMask) (net.IP, error){tt.host: GetHostPartIP, tt.broadcast: GetBroadcastIP} {
				got, err := f(tt.ip, tt.mask)
				if tt.wantErr {
					if _, ok := err.(BadRequestError); !ok {
						t.Errorf("error %v, want a BadRequestError", err)
					}
					continue
				}
				if err != nil {
					t.Error(err)
				} else if got.String() != what || len(got) != len(tt.ip) {
					t.Errorf("got %s in %d bytes, want %s in %d", got, len(got), what, len(tt.ip))
				}
			}
			if tt.ip.String() != before {
				t.Errorf("the argument has become %s", tt.ip)
			}
		})
	}
}

func TestParseCIDR(t *testing.T) {
	for _, s := range []string{"10.1.2.3/16", "fd00::5/64", "0.0.0.0/0"} {
		if got := cidr(t, s).String(); got != s {
			t.Errorf("ParseCIDR(%s) = %s", s, got)
		}
	}
	if _, err := ParseCIDR("10.1.2.3"); err == nil {
		t.Error("an address without prefix length is accepted")
	} else if _, ok := err.(BadRequestError); !ok {
		t.Errorf("error %T, want a BadRequestError", err)
	}
}

func TestInterfaceStatistics(t *testing.T) {
	s := InterfaceStatistics{RxBytes: 1, RxPackets: 2, RxErrors: 3, RxDropped: 4, TxBytes: 5, TxPackets: 6, TxErrors: 7, TxDropped: 8}
	want := "rx: bytes 1, packets 2, errors 3, dropped 4\ntx: bytes 5, packets 6, errors 7, dropped 8"
	if diff := cmp.Diff(want, s.String()); diff != "" {
		t.Errorf("String (-want +got):\n%s", diff)
	}
}
