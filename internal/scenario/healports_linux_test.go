package scenario_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/engine"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/model"
)

// TestHealPorts has somebody else cut a container off by what a bridge and its port have
// besides addresses, while we run and while nobody of us does.
func TestHealPorts(t *testing.T) {
	for name, ask := range map[string]engine.NetworkRequest{
		"both families": {
			Driver: "bridge", Name: "web", IPv6: true,
			IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.99.1.0/24"}}, Conf6: []model.IPAMConf{{Pool: "fd99:0:0:1::/64"}}},
		},
		"IPv4, and an MTU": {
			Driver: "bridge", Name: "web", IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.99.1.0/24"}}},
			Options: map[string]string{"com.docker.network.driver.mtu": "1400"},
		},
	} {
		t.Run(name, func(t *testing.T) { testHealPorts(t, ask) })
	}
}

func testHealPorts(t *testing.T, wish engine.NetworkRequest) {
	t.Helper()
	h := bareHost(t)
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	e := h.engine(assemble.Options{})
	n, err := e.CreateNetwork(t.Context(), wish)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := h.wide(e, n, "c1", []uint16{port})
	named := strings.NewReplacer("BR", n.Record().Bridge.Link, "VETH", s.View().Attached[0].Endpoint.Attached.Host)
	state := func() string {
		return h.sh("sh", "-c", named.Replace(`
for l in BR VETH; do
	ip -d -o link show $l | grep -o "<.*>\|mtu [^ ]*\|group [^ ]*\|master [^ ]*\|bridge_slave state [^ ]*\|learning o[^ ]*\|flood o[^ ]*\|locked o[^ ]*\|hairpin o[^ ]*\|isolated o[^ ]*\|proxy_arp o[^ ]*"
	(cd /proc/sys/net/ipv6/conf/$l && grep . disable_ipv6 accept_ra forwarding)
	ip -o addr show dev $l
done | sed 's/valid_lft.*//'`))
	}
	reached := []string{at("10.99.1.2", port)}
	if wish.IPv6 {
		reached = append(reached, at("fd99:0:0:1::2", port))
	}
	before := state()
	whole := func(when string) {
		t.Helper()
		eventually(t, "put right after "+when, func() bool { return state() == before })
		if diff := cmp.Diff(before, state()); diff != "" {
			t.Fatalf("after %s (-want +got):\n%s", when, diff)
		}
		for _, addr := range reached {
			if _, err := ask(h.own, "tcp", addr, patience); err != nil {
				t.Errorf("the host does not reach %s after %s: %v", addr, when, err)
			}
		}
	}
	whole("nothing")
	for _, command := range []string{
		"bridge link set dev VETH state 0",
		"bridge link set dev VETH learning off",
		"bridge link set dev VETH flood off mcast_flood off bcast_flood off",
		"bridge link set dev VETH locked on",
		"bridge link set dev VETH isolated on",
		"bridge link set dev VETH hairpin off",
		"ip link set dev VETH type bridge_slave proxy_arp on",
		"ip link set VETH mtu 1399",
		"ip link set VETH mtu 1000",
		"ip link set BR mtu 1399",
		"ip link set BR mtu 1000",
		"ip link set BR arp off",
		"ip link set BR group 7",
		"ip link set VETH group 7",
	} {
		begun := time.Now()
		h.sh("sh", "-c", named.Replace(command))
		whole(command)
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("%s: put right after %v", command, took)
		}
		eventually(t, "told", func() bool { return e.Repairs()["link"] > 0 })
		e.close()
		h.sh("sh", "-c", named.Replace(command))
		e.open()
		whole(command + ", while nobody was there")
		if e.Repairs()["link"] == 0 {
			t.Errorf("%s: the start tells of no repair", command)
		}
		e.close()
		if e.open(); e.Repairs()["link"] != 0 {
			t.Errorf("%s: the next start tells of repairs: %v", command, e.Repairs())
		}
	}
}
