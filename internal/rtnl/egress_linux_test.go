package rtnl_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/rtnl"
)

func TestEgress(t *testing.T) {
	nstest.Require(t, nstest.Veth)
	for _, tt := range []struct {
		name   string
		routes []string
		v4, v6 int
	}{
		{name: "no default route"},
		{"that of the link", []string{"route add default via 10.1.0.9"}, 1401, 0},
		{"IPv6", []string{"-6 route add default via fd01::9"}, 0, 1401},
		{"the lowest metric", []string{
			"route add default via 10.1.0.9 metric 200", "route add default via 10.2.0.9 metric 100", "route add default dev lo metric 300",
		}, 1402, 0},
		{"the route's own", []string{"route add default via 10.1.0.9 mtu 1350"}, 1350, 0},
		{"the first of several ways", []string{"route add default nexthop via 10.2.0.9 nexthop via 10.1.0.9"}, 1402, 0},
		{"not of another table", []string{"route add default via 10.1.0.9 table 7"}, 0, 0},
		{"the default route where another one leads to the address that is asked for", []string{
			"route add default via 10.1.0.9", "route add 192.0.2.0/24 via 10.2.0.9", "-6 route add default via fd01::9", "-6 route add 2001:db8::/32 via fd02::9",
		}, 1401, 1401},
		{"the main table's where a rule prefers another one", []string{
			"route add default via 10.1.0.9", "route add default via 10.2.0.9 table 7", "rule add table 7",
		}, 1401, 0},
		{"where nothing else is unreachable", []string{"route add default via 10.1.0.9 metric 5", "route add unreachable default metric 9"}, 1401, 0},
		{"no unreachable one", []string{"route add unreachable default", "-6 route add unreachable default"}, 0, 0},
	} {
		t.Run("25 "+tt.name, func(t *testing.T) {
			nstest.Run(t, func() {
				ip := func(line string) {
					t.Helper()
					if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
						t.Fatalf("ip %s: %v\n%s", line, err, out)
					}
				}
				ip("link set lo up")
				for _, num := range []string{"1", "2"} {
					ip("link add v" + num + " mtu 140" + num + " type veth peer name w" + num)
					ip("link set v" + num + " up")
					ip("link set w" + num + " up")
					ip("addr add 10." + num + ".0.1/24 dev v" + num)
					ip("addr add fd0" + num + "::1/64 nodad dev v" + num)
				}
				for _, r := range tt.routes {
					ip(r)
				}
				s, err := rtnl.Open(rtnl.Config{})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				for v6, want := range map[bool]int{false: tt.v4, true: tt.v6} {
					if got, err := s.Egress(t.Context(), v6); err != nil || got.MTU != want {
						t.Errorf("IPv6 %t: MTU %d (%v), want %d", v6, got.MTU, err, want)
					}
				}
			})
		})
	}
}
