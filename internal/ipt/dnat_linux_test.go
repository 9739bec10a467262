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
			rules := func(chain string) []dnatRule {
				if r, ok := parseDNAT(chain, tt.rule); ok {
					return leading([]dnatRule{r})
				}
				return nil
			}
			for _, r := range rules("PREROUTING") {
				hit, exact = r.hits(tt.port)
			}
			for _, r := range rules("OUTPUT") {
				if r.ports[0] == [2]uint16{0, 65535} {
					t.Error("in OUTPUT it is about all ports from outside")
				}
			}
			if hit != tt.hit || exact != tt.exact {
				t.Errorf("hit %t, exact %t; want %t, %t", hit, exact, tt.hit, tt.exact)
			}
		})
	}
}

// TestForeignDNATWays has rules of others test the port and leave it to other chains to translate.
func TestForeignDNATWays(t *testing.T) {
	const chains = ":PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:LIBNETWORK-1-ANY - [0:0]\n:LIBNETWORK-ANY - [0:0]\n:NP - [0:0]\n:SVC - [0:0]\n:X - [0:0]\n" +
		"-A PREROUTING -m addrtype --dst-type LOCAL -j NP\n"
	const svc = "-A SVC -p tcp -j DNAT --to-destination 192.0.2.1:99\n"
	for _, tt := range []struct{ name, rules, want string }{
		{"a jump", "-A NP -p tcp -m tcp --dport 8080 -j SVC\n" + svc, "NP 8080"},
		{"a goto", "-A NP -p tcp -m tcp --dport 8080 -g SVC\n" + svc, "NP 8080"},
		{"a second chain", "-A NP -p tcp -m tcp --dport 8080 -j X\n" + svc + "-A X -p udp -j X\n-A X -m statistic --mode random --probability 0.5 -j SVC\n", "NP 8080"},
		{"whatever translates there", "-A NP -p tcp -m tcp --dport 8080 -j SVC\n-A SVC ! -s 192.0.2.7/32 -j REDIRECT --to-ports 99\n", "NP 8080"},
		{"a comment", "-A NP -p tcp -m comment --comment \"a -j X\" -m tcp --dport 8080 -j SVC\n" + svc, "NP 8080"},
		{"more ports", "-A NP -p tcp -m multiport --dports 8080,8090:8099 -j SVC\n" + svc, "NP more"},
		{"an address", "-A NP -d 192.0.2.1/32 -p tcp -m tcp --dport 8080 -j SVC\n" + svc, "NP more"},
		{"another port", "-A NP -p tcp -m tcp --dport 8081 -j SVC\n" + svc, ""},
		{"all ports but it", "-A NP -p tcp -m tcp ! --dport 8080 -j SVC\n" + svc, ""},
		{"another protocol", "-A NP -p udp -m udp --dport 8080 -j SVC\n" + svc, ""},
		{"no translation there", "-A NP -p tcp -m tcp --dport 8080 -j X\n" + svc, ""},
		{"no chain", "-A NP -p tcp -m tcp --dport 8080 -j MASQUERADE\n" + svc, ""},
		{"a loop", "-A NP -p tcp -m tcp --dport 8080 -j X\n-A X -j NP\n-A PREROUTING -j X\n-A X -j X\n", ""},
		{"all ports", "-A PREROUTING -m comment --comment \"all of it\" -j SVC\n" + svc, "SVC more"},
		{"all ports, by a second chain", "-A X -g SVC\n-A PREROUTING -j X\n" + svc, "SVC more"},
		{"all ports of one link", "-A PREROUTING -i lo -j SVC\n" + svc, ""},
		{"all ports of the host itself", "-A OUTPUT -j SVC\n" + svc, ""},
		{"a chain of ours", "-A NP -p tcp -m tcp --dport 8080 -j LIBNETWORK-ANY\n-A LIBNETWORK-ANY -p tcp -j DNAT --to-destination 192.0.2.1:99\n", ""},
		{"a chain of another data directory", "-A NP -p tcp -m tcp --dport 8080 -j LIBNETWORK-1-ANY\n-A PREROUTING -j LIBNETWORK-1-ANY\n-A LIBNETWORK-1-ANY -p tcp -j DNAT --to-destination 192.0.2.1:99\n", ""},
		{"from a chain of another data directory", "-A LIBNETWORK-1-ANY -p tcp -m tcp --dport 8080 -j SVC\n" + svc, ""},
	} {
		t.Run("a rule that leads a port to a chain that translates counts as one that does: "+tt.name, func(t *testing.T) {
			l := familyOf(DefaultName, false).parse([]byte("*nat\n" + chains + tt.rules + "COMMIT\n"))
			port := &model.Port{Proto: 6, Host: netip.IPv4Unspecified(), First: 8080, Last: 8080}
			got := ""
			for _, r := range l.dnat {
				if hit, exact := r.hits(port); exact {
					got += r.chain + " 8080"
				} else if hit {
					got += r.chain + " more"
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
