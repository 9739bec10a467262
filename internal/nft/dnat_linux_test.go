package nft_test

import (
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

func TestForeignDNAT(t *testing.T) {
	const docker = "iptables-nft -t nat -N DOCKER; iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER; "
	for _, tt := range []struct {
		name, rules, want string
	}{
		{"none", "true", ""},
		{"iptables", docker + "iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80", "tcp port 0.0.0.0:8080 is translated by a rule of table ip nat, chain DOCKER, too"},
		{"iptables, a range", docker + "iptables-nft -t nat -A DOCKER -p tcp --dport 8000:8100 -j DNAT --to-destination 172.17.0.2", "table ip nat, chain DOCKER"},
		{"iptables, another port", docker + "iptables-nft -t nat -A DOCKER -p tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80", ""},
		{"iptables, another protocol", docker + "iptables-nft -t nat -A DOCKER -p udp --dport 8080 -j DNAT --to-destination 172.17.0.2:80", ""},
		{"iptables, all ports but it", docker + "iptables-nft -t nat -A DOCKER -p tcp ! --dport 8080 -j DNAT --to-destination 172.17.0.2:80", ""},
		{"iptables, no translation", "iptables-nft -A INPUT -p tcp --dport 8080 -j ACCEPT", ""},
		{"iptables, of the source", "iptables-nft -t nat -A POSTROUTING -p tcp --dport 8080 -j SNAT --to-source 192.0.2.1", ""},
		{"ip6tables", "ip6tables-nft -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination [fd00::2]:80", ""},
		{"nft", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre tcp dport 8080 dnat to 172.17.0.2:80'", "table ip mine, chain pre"},
		{"nft, one address", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre ip daddr 192.0.2.1 tcp dport 8080 dnat to 172.17.0.2:80'", "table ip mine, chain pre"},
		{"nft, one of a set", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre tcp dport { 8079, 8080 } redirect to :80'", "table ip mine, chain pre"},
		{"nft, a set without it", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre tcp dport { 8079, 8081 } redirect to :80'", ""},
		{"nft, a range of a set", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre tcp dport { 1-79, 8000-8080, 9000 } redirect to :80'", "table ip mine, chain pre"},
		{"nft, between the ranges of a set", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre tcp dport { 8000-8079, 8081-65535 } redirect to :80'", ""},
		{"nft, all but a set", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre tcp dport != { 8080, 8081 } redirect to :80'", ""},
		{"nft, a set with a name", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add set ip mine web { type inet_service; elements = { 80, 8080 }; }; add rule ip mine pre tcp dport @web dnat to 172.17.0.2:80'", "table ip mine, chain pre"},
		{"nft, a map", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre dnat to tcp dport map { 8080 : 172.17.0.2, 8081 : 172.17.0.3 }'", "table ip mine, chain pre"},
		{"nft, a map of another number", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre tcp dport 8081 dnat to numgen random mod 2 map { 0 : 172.17.0.2, 1 : 172.17.0.3 }'", ""},
		{"nft, addresses and ports", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre ip daddr . tcp dport { 192.0.2.1 . 8080, 192.0.2.2 . 80 } dnat to 172.17.0.2:80'", "table ip mine, chain pre"},
		{"iptables, several ports", "iptables-nft -t nat -A PREROUTING -p tcp -m multiport --dports 8000,8080 -j REDIRECT --to-ports 80", "table ip nat, chain PREROUTING"},
		{"iptables, several ranges", "iptables-nft -t nat -A PREROUTING -p tcp -m multiport --dports 80,8000:8100,9000 -j REDIRECT --to-ports 80", "table ip nat, chain PREROUTING"},
		{"iptables, several others", "iptables-nft -t nat -A PREROUTING -p tcp -m multiport --dports 8000:8079,8081 -j REDIRECT --to-ports 80", ""},
		{"iptables, all but several", "iptables-nft -t nat -A PREROUTING -p tcp -m multiport ! --dports 8080,8081 -j REDIRECT --to-ports 80", ""},
		{"iptables, several of the source", "iptables-nft -t nat -A PREROUTING -p tcp -m multiport --sports 8080,8081 -j REDIRECT --to-ports 80", ""},
		{"nft, redirect in inet", "nft 'add table inet mine; add chain inet mine pre { type nat hook prerouting priority -100; }; add rule inet mine pre tcp dport 8000-9000 redirect to :80'", "table inet mine, chain pre"},
		{"nft, all ports", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre meta l4proto tcp redirect to :3128'", "table ip mine, chain pre"},
		{"nft, all of an address", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre ip daddr 192.0.2.1 dnat to 172.17.0.2'", "table ip mine, chain pre"},
		{"nft, all of a subnet", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre ip daddr 192.0.2.0/24 dnat to 172.17.0.2'", "table ip mine, chain pre"},
		{"nft, all of another protocol", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre meta l4proto udp redirect to :3128'", ""},
		{"nft, all of another family", "nft 'add table inet mine; add chain inet mine pre { type nat hook prerouting priority -100; }; add rule inet mine pre meta nfproto ipv6 meta l4proto tcp redirect to :3128'", ""},
		{"nft, all of the host itself", "nft 'add table ip mine; add chain ip mine pre { type nat hook output priority -100; }; add rule ip mine pre meta l4proto tcp redirect to :3128'", ""},
		{"nft, all from one link", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre iifname lo meta l4proto tcp redirect to :3128'", ""},
		{"nft, all of one sender", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre ip saddr 203.0.113.1 meta l4proto tcp redirect to :3128'", ""},
		{"nft, all of a mark", "nft 'add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add rule ip mine pre meta mark 1 meta l4proto tcp redirect to :3128'", ""},
		{"iptables, all of an address", "iptables-nft -t nat -A PREROUTING -d 192.0.2.1 -j DNAT --to-destination 172.17.0.2", "table ip nat, chain PREROUTING"},
		{"iptables, all in a chain of somebody", docker + "iptables-nft -t nat -A DOCKER -p tcp -j DNAT --to-destination 172.17.0.2", ""},
	} {
		t.Run("a foreign rule for the same port is named by table and chain: "+tt.name, func(t *testing.T) {
			nstest.Run(t, func() {
				f := open(t, nft.Config{})
				port := fwtest.Both("0.0.0.0", 8080, 8080, "172.20.1.2", 80)[:1]
				find := func() string {
					t.Helper()
					found, err := f.ForeignDNAT(t.Context(), port)
					if err != nil {
						t.Fatal(err)
					}
					var lines []string
					for _, x := range found {
						lines = append(lines, x.String())
					}
					return strings.Join(lines, "\n")
				}
				if err := f.Apply(t.Context(), nft.Change{Networks: []model.FirewallNetwork{fwtest.Network(1)}}, nft.Change{}); err != nil {
					t.Fatal(err)
				}
				if got := find(); got != "" {
					t.Errorf("with our own rules alone: %q", got)
				}
				nstest.Command(t, "sh", "-c", tt.rules)
				for _, after := range []string{"somebody else's change", "our change"} {
					got := find()
					if tt.want == "" && got != "" || !strings.Contains(got, tt.want) || strings.Contains(got, "\n") {
						t.Errorf("after %s: got %q, want %q", after, got, tt.want)
					}
					if err := f.Apply(t.Context(), nft.Change{Ports: port}, nft.Change{}); err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	}
}

// A firewall of another data directory is none of somebody else, and a set that asks for
// more than ports may be about other packets.
func TestForeignDNATOfOthers(t *testing.T) {
	nstest.Run(t, func() {
		f, other := open(t, nft.Config{}), open(t, nft.Config{Table: nft.DefaultTable + "-1"})
		port := fwtest.Both("192.0.2.2", 8080, 8080, "172.20.1.2", 80)[:1]
		theirs := fwtest.Both("192.0.2.1", 8080, 8080, "172.20.1.3", 80)[:1]
		if err := other.Apply(t.Context(), nft.Change{Networks: []model.FirewallNetwork{fwtest.Network(1)}, Ports: theirs}, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		if found, err := f.ForeignDNAT(t.Context(), port); err != nil || len(found) > 0 {
			t.Errorf("another firewall of ours: %v, %v", found, err)
		}
		nstest.Command(t, "nft", "add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; "+
			"add rule ip mine pre ip daddr . tcp dport { 192.0.2.1 . 8080 } dnat to 172.17.0.2:80")
		found, err := f.ForeignDNAT(t.Context(), port)
		if err != nil || len(found) != 1 || found[0].Exact {
			t.Errorf("a set of addresses and ports: %v, %v, want one that is not about the port alone", found, err)
		}
	})
}
