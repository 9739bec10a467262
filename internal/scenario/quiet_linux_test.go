package scenario_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// TestQuiet has somebody else change what is not ours, while the daemon runs. What the
// kernel tells of is that and no more.
func TestQuiet(t *testing.T) {
	onEach(t, "nothing is written when somebody else changes what is not ours", func(t *testing.T, on backend) {
		nstest.Require(t, nstest.BrNetfilter)
		testQuiet(t, on+"+docker") // whose chain we have a rule in
	})
}

func testQuiet(t *testing.T, on backend) {
	h := bareHost(t, on.option())
	runs := restores(t)
	d := h.daemon(on)
	ns, err := netns.Open(nil, d.key)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the kernel still makes up addresses", func() bool {
		const tentative = "ip -6 addr show tentative"
		return h.sh(strings.Fields(tentative)...)+h.in(d.key, strings.Fields(tentative)...) == ""
	})
	kind := "nft"
	if on.alone() == iptablesLegacy {
		kind = "legacy"
	}
	lines := []string{
		"nft 'add table ip theirs; add chain ip theirs forward { type filter hook forward priority 0; }; add rule ip theirs forward counter'",
		"nft delete table ip theirs",
		"ip link add theirs0 type bridge && ip link del theirs0",
		"ip addr add 192.0.2.50/24 dev eth0 && ip addr del 192.0.2.50/24 dev eth0",
		"ip route add 203.0.113.0/24 via " + lanV4 + " && ip route del 203.0.113.0/24",
		"ip rule add to 203.0.113.9 lookup 77 && ip rule del to 203.0.113.9 lookup 77",
	}
	for _, program := range []string{"iptables-" + kind + " -w ", "ip6tables-" + kind + " -w "} {
		for _, command := range []string{
			"-I DOCKER-USER -p tcp --dport 9 -j DROP", "-D DOCKER-USER -p tcp --dport 9 -j DROP",
			"-N THEIRS", "-A THEIRS -p tcp --dport 9 -j DROP", "-I FORWARD -j THEIRS",
			"-D FORWARD -j THEIRS", "-F THEIRS", "-X THEIRS",
		} {
			lines = append(lines, program+command)
		}
	}
	told := func(wait time.Duration) []string {
		t.Helper()
		count := changes(t, ns, runs)
		h.sh("sh", "-e", "-c", strings.Join(lines, "\n"))
		<-time.After(wait)
		seen := count()
		slices.Sort(seen)
		return seen
	}
	d.stop(t)
	want := told(impatience)
	d = h.daemon(on)
	// Nobody tells that he has looked and found nothing. By then all have: also who lets
	// others empty a chain of Docker and remove it.
	got := told(poll + soon)
	if diff := cmp.Diff(want, got); len(want) == 0 || diff != "" {
		t.Errorf("what the kernel tells of, with us and without (-without +with):\n%s", diff)
	}
	d.stop(t)
	if err := ns.Close(); err != nil {
		t.Error(err)
	}
	h.clean(on)
}
