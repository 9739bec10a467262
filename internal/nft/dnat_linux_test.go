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
		{"nft, redirect in inet", "nft 'add table inet mine; add chain inet mine pre { type nat hook prerouting priority -100; }; add rule inet mine pre tcp dport 8000-9000 redirect to :80'", "table inet mine, chain pre"},
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
