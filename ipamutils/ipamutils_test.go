package ipamutils

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/types"
)

func TestInitNetworks(t *testing.T) {
	InitNetworks()
	InitNetworks() // the second call adds nothing
	for _, c := range []struct {
		name        string
		list        []*net.IPNet
		count       int
		first, last string
		seam        map[int]string
	}{
		{"IP-22 the broad networks are 15 of /16 and 16 of /20, in order", PredefinedBroadNetworks, 31, "172.17.0.0/16", "192.168.240.0/20", map[int]string{14: "172.31.0.0/16", 15: "192.168.0.0/20", 16: "192.168.16.0/20"}},
		{"IP-22 the granular networks are the 65536 of /24 in 10.0.0.0/8, in order", PredefinedGranularNetworks, 65536, "10.0.0.0/24", "10.255.255.0/24", map[int]string{1: "10.0.1.0/24", 256: "10.1.0.0/24"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if len(c.list) != c.count {
				t.Fatalf("got %d networks, want %d", len(c.list), c.count)
			}
			c.seam[0], c.seam[c.count-1] = c.first, c.last
			got := map[int]string{}
			for i := range c.seam {
				got[i] = c.list[i].String()
			}
			if diff := cmp.Diff(c.seam, got); diff != "" {
				t.Errorf("networks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFirstFree(t *testing.T) {
	_, mapped, _ := net.ParseCIDR("10.3.0.0/16")
	mapped.IP = mapped.IP.To16()
	list := []*net.IPNet{nil, network(10, 1, 0, 16), network(10, 2, 0, 16), mapped}
	for _, c := range []struct {
		name  string
		taken []string
		want  string
	}{
		{"nothing taken", nil, "10.1.0.0/16"},
		{"IP-24 a network with a smaller one of the host in it is passed over", []string{"10.1.255.0/24"}, "10.2.0.0/16"},
		{"IP-24 networks inside wider ones of the host are passed over", []string{"10.1.0.0/16", "10.2.0.0/15"}, ""},
		{"IP-24 default routes take no network", []string{"0.0.0.0/0", "::/0"}, "10.1.0.0/16"},
		{"IP-24 networks of name servers are passed over", []string{"10.1.0.53/32", "10.2.0.53/32"}, "10.3.0.0/16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h host
			for _, s := range c.taken {
				h.taken = append(h.taken, netip.MustParsePrefix(s))
			}
			got, err := h.firstFree(list)
			if c.want == "" {
				if _, ok := err.(types.NotFoundError); !ok {
					t.Errorf("got %v, %v, want NotFound", got, err)
				}
				return
			}
			if err != nil || got.String() != c.want {
				t.Errorf("got %v, %v, want %s", got, err, c.want)
			}
			for _, n := range list {
				if got == n {
					t.Error("the result is the caller's own network, not a copy")
				}
			}
		})
	}
}
