package nft_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// TestForeignDNATWays has rules of others test the port and leave it to other chains to translate.
func TestForeignDNATWays(t *testing.T) {
	const (
		mine = "add table ip mine; add chain ip mine pre { type nat hook prerouting priority -100; }; add chain ip mine u; add chain ip mine v; "
		u    = mine + "add rule ip mine u meta l4proto tcp redirect to :99; "
		svc  = "*nat\n:NP - [0:0]\n:SVC - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j NP\n-A SVC -p tcp -j DNAT --to-destination 192.0.2.1:99\n"
	)
	for _, tt := range []struct {
		name, rules, want string // of each rule that is found, the chain, and what it is about
	}{
		{"a jump", u + "add rule ip mine pre tcp dport 8080 jump u", "pre 8080"},
		{"a goto", u + "add rule ip mine pre tcp dport 8080 goto u", "pre 8080"},
		{"by a second chain", u + "add rule ip mine v ip saddr 192.0.2.7 jump u; add rule ip mine pre tcp dport 8080 jump v", "pre 8080"},
		{"by a map without ports", u + "add rule ip mine v numgen random mod 1 vmap { 0 : goto u }; add rule ip mine pre tcp dport 8080 jump v", "pre 8080"},
		{"in a chain that a map leads to", u + "add rule ip mine v tcp dport 8080 goto u; add rule ip mine pre ip saddr vmap { 192.0.2.7 : jump v }", "v 8080"},
		{"of another port", u + "add rule ip mine pre tcp dport 8081 jump u", ""},
		{"of another protocol", u + "add rule ip mine pre udp dport 8080 jump u", ""},
		{"of all ports but it", u + "add rule ip mine pre tcp dport != 8080 jump u", ""},
		{"to what does not translate", mine + "add rule ip mine u counter; add rule ip mine pre tcp dport 8080 jump u", ""},
		{"to what is elsewhere", u + "add table ip other; add chain ip other pre { type nat hook prerouting priority -90; }; add chain ip other u; add rule ip other pre tcp dport 8080 jump u", ""},
		{"a set of ports", u + "add rule ip mine pre tcp dport { 8000-8080, 9000 } jump u", "pre more"},
		{"a map", u + "add rule ip mine pre tcp dport vmap { 8080 : goto u }", "pre 8080"},
		{"a map of which others are accepted", u + "add rule ip mine pre tcp dport vmap { 8079 : accept, 8080 : goto u, 8081 : jump v }", "pre 8080"},
		{"a map of which it is accepted", u + "add rule ip mine pre tcp dport vmap { 8080 : accept, 8081 : jump u }", ""},
		{"a map of ranges", u + "add rule ip mine pre tcp dport vmap { 8000-8079 : accept, 8080 : goto u, 8081-8090 : jump v }", "pre 8080"},
		{"a map of more ports", u + "add rule ip mine pre tcp dport vmap { 8080 : goto u, 8081 : jump u }", "pre more"},
		{"a map with a name", u + "add map ip mine m { type inet_service : verdict; elements = { 8080 : goto u, 8081 : jump v }; }; add rule ip mine pre tcp dport vmap @m", "pre 8080"},
		{"a map of addresses and ports", u + "add rule ip mine pre ip daddr . tcp dport vmap { 192.0.2.1 . 8080 : goto u }", "pre more"},
		{"of an address", u + "add rule ip mine pre ip daddr 192.0.2.1 tcp dport 8080 goto u", "pre more"},
		{"all ports", u + "add rule ip mine pre jump u", "u more"},
		{"all ports, by a second chain", u + "add rule ip mine v goto u; add rule ip mine pre counter jump v", "u more"},
		{"all ports of one link", u + "add rule ip mine pre iifname lo jump u", ""},
		{"all ports of the host itself", u + "add chain ip mine out { type nat hook output priority -100; }; add rule ip mine out jump u", ""},
		{"nothing leads there", u, ""},
		{"iptables", svc + "-A NP -p tcp -m tcp --dport 8080 -j SVC", "NP 8080"},
		{"iptables, a goto", svc + "-A NP -p tcp -m tcp --dport 8080 -g SVC", "NP 8080"},
		{"iptables, several ports", svc + "-A NP -p tcp -m multiport --dports 8079,8080 -j SVC", "NP more"},
		{"iptables, another port", svc + "-A NP -p tcp -m tcp --dport 8081 -j SVC", ""},
		{"iptables, all ports", svc + "-A PREROUTING -j SVC", "SVC more"},
		{"iptables, to a chain of ours", svc + ":LIBNETWORK-1-X - [0:0]\n-A LIBNETWORK-1-X -p tcp -j REDIRECT --to-ports 99\n-A NP -p tcp -m tcp --dport 8080 -j LIBNETWORK-1-X\n-A PREROUTING -j LIBNETWORK-1-X", ""},
		{"iptables, from a chain of ours", svc + ":LIBNETWORK-1-X - [0:0]\n-A LIBNETWORK-1-X -p tcp -m tcp --dport 8080 -j SVC\n-A PREROUTING -j LIBNETWORK-1-X", ""},
	} {
		t.Run("a rule that leads a port to a chain that translates counts as one that does: "+tt.name, func(t *testing.T) {
			nstest.Run(t, func() {
				f := open(t, nft.Config{})
				if strings.HasPrefix(tt.rules, "*") {
					nstest.Command(t, "sh", "-c", "iptables-nft-restore <<'EOF'\n"+tt.rules+"\nCOMMIT\nEOF")
				} else {
					nstest.Command(t, "nft", tt.rules)
				}
				found, err := f.ForeignDNAT(t.Context(), fwtest.Both("0.0.0.0", 8080, 8080, "172.20.1.2", 80)[:1])
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, x := range found {
					about := "more"
					if x.Exact {
						about = "8080"
					}
					_, chain, _ := strings.Cut(x.Rule, "chain ")
					got = append(got, chain+" "+about)
				}
				if s := strings.Join(got, ", "); s != tt.want {
					t.Errorf("got %q, want %q", s, tt.want)
				}
			})
		})
	}
}

// TestForeignDNATMany has as many ports in a map of verdicts, and as many chains.
func TestForeignDNATMany(t *testing.T) {
	nstest.Run(t, func() {
		const many = 5000
		f := open(t, nft.Config{})
		var b strings.Builder
		b.WriteString("table ip mine {\n")
		for i := range many {
			fmt.Fprintf(&b, "chain c%d { meta l4proto tcp redirect to :99; }\n", i)
		}
		b.WriteString("map m { type inet_service : verdict; elements = { ")
		for i := range many {
			fmt.Fprintf(&b, "%d : goto c%d, ", 10000+i, i)
		}
		b.WriteString("} }\nchain pre { type nat hook prerouting priority -100; tcp dport vmap @m; }\n}\n")
		file := filepath.Join(t.TempDir(), "rules")
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		nstest.Command(t, "nft", "-f", file)
		for port, want := range map[uint16]int{9999: 0, 10000: 1, 10000 + many - 1: 1, 10000 + many: 0} {
			found, err := f.ForeignDNAT(t.Context(), fwtest.Both("0.0.0.0", port, port, "172.20.1.2", 80)[:1])
			if err != nil || len(found) != want {
				t.Errorf("port %d: %d rules, %v; want %d", port, len(found), err, want)
			}
		}
	})
}

// What a listing says may be wrong: no loop of it goes on without end.
func TestReach(t *testing.T) {
	steps := map[string][]string{"a": {"b", "a"}, "b": {"c", "a"}, "c": {"b"}, "d": {"a"}}
	got := nft.Reach([]string{"b"}, steps)
	if len(got) != 3 || !got["a"] || !got["b"] || !got["c"] {
		t.Errorf("got %v, want a, b and c", got)
	}
}
