package ipt

import (
	"net/netip"
	"testing"

	"github.com/libnetwork/libnetwork/internal/model"
)

func TestForeignDNAT(t *testing.T) {
	port := func(proto uint8, host string, first, last uint16) *model.Port {
		return &model.Port{Proto: proto, Host: netip.MustParseAddr(host), First: first, Last: last}
	}
	any8080 := port(6, "0.0.0.0", 8080, 8080)
	for _, tt := range []struct {
		rule       string
		port       *model.Port
		hit, exact bool
	}{
		{"! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80", any8080, true, true},
		{"-p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 80", any8080, true, true},
		{"-p udp -m udp --dport 8080 -j DNAT --to-destination 172.17.0.2:80", any8080, false, false},
		{"-p tcp -m tcp --dport 8000:9000 -j DNAT --to-destination 172.17.0.2", any8080, true, false},
		{"-p tcp -m multiport --dports 22,8080 -j DNAT --to-destination 172.17.0.2", any8080, true, false},
		{"-p tcp -m multiport --dports 8080,8081:8082 -j DNAT --to-destination 172.17.0.2", port(6, "0.0.0.0", 8080, 8082), true, true},
		{"-p tcp -m tcp ! --dport 8080 -j DNAT --to-destination 172.17.0.2", any8080, false, false},
		{"-d 192.0.2.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80", any8080, true, true},
		{"-d 192.0.2.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80", port(6, "192.0.2.1", 8080, 8080), true, true},
		{"-d 192.0.2.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80", port(6, "192.0.2.2", 8080, 8080), false, false},
		{"-d fd00::/64 -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd01::2]:80", port(6, "fd00::1", 8080, 8080), true, true},
		{`-p tcp -m comment --comment "a -j DNAT --dport 8080" -m tcp --dport 22 -j ACCEPT`, any8080, false, false},
		{`-p tcp -m comment --comment "not \" -j" -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2`, any8080, true, true},
		{"-p tcp -j DNAT --to-destination 172.17.0.2", any8080, true, false},
		{"-p gre -j DNAT --to-destination 172.17.0.2", any8080, false, false},
		{"-p udp -j DNAT --to-destination 10.9.9.9", any8080, false, false},
		{"-d 192.0.2.1/32 -j DNAT --to-destination 10.9.9.9", any8080, true, false},
		{"-d 192.0.2.1/32 -j DNAT --to-destination 10.9.9.9", port(6, "192.0.2.2", 8080, 8080), false, false},
		{"! -d 192.0.2.1/32 -j DNAT --to-destination 10.9.9.9", any8080, false, false},
		{`! -i docker0 -p tcp -m comment --comment "all of it" -j REDIRECT --to-ports 3128 --random`, any8080, true, false},
		{"-i lo -p tcp -j REDIRECT --to-ports 3128", any8080, false, false},
		{"-p tcp -m tcp ! --dport 22 -j REDIRECT --to-ports 3128", any8080, false, false},
		{"-m set --match-set x src -j REDIRECT --to-ports 3128", any8080, false, false},
		{"-p tcp", any8080, false, false},
	} {
		t.Run("a foreign rule for a port: "+tt.rule, func(t *testing.T) {
			hit, exact := false, false
			if r, ok := parseDNAT("PREROUTING", tt.rule); ok {
				hit, exact = r.hits(tt.port)
			}
			if r, ok := parseDNAT("OUTPUT", tt.rule); ok && r.ports[0] == [2]uint16{0, 65535} {
				t.Error("in OUTPUT it is about all ports from outside")
			}
			if hit != tt.hit || exact != tt.exact {
				t.Errorf("hit %t, exact %t; want %t, %t", hit, exact, tt.hit, tt.exact)
			}
		})
	}
}
