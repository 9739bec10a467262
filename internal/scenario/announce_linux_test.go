package scenario_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/netlabel"
)

// neighbour is what a namespace knows of an address, as the ip program says it.
func (h *host) neighbour(key string, dev string, addr netip.Addr) string {
	h.t.Helper()
	return strings.TrimSpace(h.in(key, "ip", "neigh", "show", addr.String(), "dev", dev))
}

// TestAnnouncement gives the address of a container to another one with another MAC
// address, while neighbours still know the first one.
func TestAnnouncement(t *testing.T) {
	onEachBesideDocker(t, "case 27 neighbours know a container's address from its join on, and the host until it leaves", testAnnouncement)
}

func testAnnouncement(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	sibling, old := h.container("sibling", nil, n), h.container("old", nil, n)
	v4, v6 := old.v4, old.v6
	h.visit(append(to("sibling", sibling.ns, old, "old"), to("host", h.own, old, "old")...)...)
	for _, a := range []netip.Addr{v4, v6} {
		if got := h.neighbour("/proc/self/ns/net", "br1", a); !strings.Contains(got, "lladdr 02:42:") {
			t.Fatalf("the host knows %q of %s, so the test shows nothing", got, a)
		}
	}
	h.remove(old)
	t.Run("27 the host forgets a container that has left", func(t *testing.T) {
		for _, a := range []netip.Addr{v4, v6} {
			if got := h.neighbour("/proc/self/ns/net", "br1", a); strings.Contains(got, "lladdr") {
				t.Errorf("the host knows of %s: %s", a, got)
			}
		}
	})
	const mac = "02:11:22:33:44:55"
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	ep, err := n.CreateEndpoint("new", libnetwork.CreateOptionIpam(v4.AsSlice(), v6.AsSlice(), nil),
		libnetwork.EndpointOptionGeneric(map[string]any{netlabel.MacAddress: hw}))
	if err != nil {
		t.Fatal(err)
	}
	sb, err := h.ctl.NewSandbox("new")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("27 neighbours know a new MAC address once the container has joined", func(t *testing.T) {
		for _, a := range []netip.Addr{v4, v6} {
			if got := h.neighbour(sibling.sb.Key(), "eth0", a); !strings.Contains(got, "lladdr 02:42:") {
				t.Fatalf("the sibling knows %q of %s, so the test shows nothing", got, a)
			}
		}
		if err := ep.Join(sb); err != nil {
			t.Fatal(err)
		}
		for _, a := range []netip.Addr{v4, v6} {
			if got := h.neighbour(sibling.sb.Key(), "eth0", a); !strings.Contains(got, "lladdr "+mac) {
				t.Errorf("the sibling knows of %s: %s", a, got)
			}
		}
	})
	if err := ep.Delete(true); err != nil {
		t.Error(err)
	}
}
