package scenario_test

import (
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

// TestLegacyDockerComes has a Docker come that keeps its rules with legacy iptables, which
// tells nobody of changes, beside containers whose rules are kept otherwise.
func TestLegacyDockerComes(t *testing.T) {
	for _, on := range []backend{nftables, iptablesNFT} {
		t.Run(string(on), func(t *testing.T) {
			nstest.Require(t, nstest.IPTablesNFT, nstest.IPTablesLegacy)
			h := newHost(t, on.option())
			c := h.container("c1", both(nil, 7001, 0), h.network(1))
			visits := []visit{{"lan", h.lan, at(hostV4, 7001), c.name, lanV4}, {"lan", h.lan, at(hostV6, 7001), c.name, lanV6}}
			h.visit(visits...)
			iptables := func(lines ...string) {
				for _, program := range []string{"iptables-legacy -w ", "ip6tables-legacy -w "} {
					for _, l := range lines {
						h.sh(strings.Fields(program + l)...)
					}
				}
			}
			t.Cleanup(func() {
				iptables("-P FORWARD ACCEPT", "-D FORWARD -j DOCKER-USER")
				h.noUserChain("iptables-legacy")
				h.noUserChain("ip6tables-legacy")
			})
			iptables("-N DOCKER-USER", "-P FORWARD DROP", "-A FORWARD -j DOCKER-USER")
			accepted := func() bool {
				for _, program := range []string{"iptables-legacy", "ip6tables-legacy"} {
					if !strings.Contains(h.sh(program, "-w", "-S", "DOCKER-USER"), "-j ACCEPT") {
						return false
					}
				}
				return true
			}
			eventually(t, "no rule of ours comes to the chain of Docker", accepted)
			if on == nftables { // of two backends of iptables the younger table is asked first, see TestMarkedDropsAreTold
				h.visit(visits...)
			}
			h.sh("ip6tables-legacy", "-w", "-F", "DOCKER-USER")
			h.sh("iptables-legacy", "-w", "-A", "DOCKER-USER", "-p", "tcp", "--dport", "80", "-j", "DROP")
			eventually(t, "our rule does not come back, and behind that of an administrator", func() bool {
				return accepted() && strings.HasSuffix(strings.TrimSpace(h.sh("iptables-legacy", "-w", "-S", "DOCKER-USER")), "-j ACCEPT")
			})
			h.remove(c)
		})
	}
}
