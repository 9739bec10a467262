package ipamutils

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/rtnl"
)

// bridges makes a bridge with each list of addresses in the namespace of the
// calling thread.
func bridges(t *testing.T, addrs map[string][]string) {
	t.Helper()
	s, err := rtnl.Open(rtnl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, list := range addrs {
		if err := s.CreateBridge(t.Context(), model.Bridge{Name: name, MAC: fmt.Sprintf("02:00:00:00:00:%02x", len(name))}); err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			if err := s.AddAddresses(t.Context(), name, netip.MustParsePrefix(a)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestElectInterfaceAddresses(t *testing.T) {
	nstest.Require(t, nstest.Bridge, nstest.IPv6)
	for _, c := range []struct {
		name, link string
		have       map[string][]string
		v4         string
		v6         []string
	}{
		{name: "IP-22 without an interface the first broad network is elected", link: "br", v4: "172.17.0.0/16"},
		{
			name: "IP-24 the network of another interface is not elected", link: "br",
			have: map[string][]string{"other": {"172.17.5.1/24"}}, v4: "172.18.0.0/16",
		},
		{
			name: "addresses of the interface, the first IPv4 one alone", link: "br",
			have: map[string][]string{"br": {"10.9.0.1/24", "10.8.0.1/24", "fd00:9::1/64"}, "other": {"10.7.0.1/24"}},
			v4:   "10.9.0.1/24", v6: []string{"fd00:9::1/64"},
		},
		{
			name: "an interface with IPv6 alone", link: "br",
			have: map[string][]string{"br": {"fd00:9::1/64"}}, v4: "172.17.0.0/16", v6: []string{"fd00:9::1/64"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			nstest.Run(t, func() {
				bridges(t, c.have)
				v4, v6, err := ElectInterfaceAddresses(c.link)
				if err != nil {
					t.Fatal(err)
				}
				if v4.String() != c.v4 {
					t.Errorf("IPv4: got %s, want %s", v4, c.v4)
				}
				var got []string
				for _, n := range v6 {
					if !n.IP.IsLinkLocalUnicast() {
						got = append(got, n.String())
					}
				}
				if diff := cmp.Diff(c.v6, got); diff != "" {
					t.Errorf("IPv6 (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestFindAvailableNetwork(t *testing.T) {
	nstest.Require(t, nstest.Bridge)
	t.Run("IP-26 an address that was added a moment ago is seen", func(t *testing.T) {
		nstest.Run(t, func() {
			list := []*net.IPNet{network(10, 1, 0, 24), network(10, 1, 1, 24)}
			for i, want := range []string{"10.1.0.0/24", "10.1.1.0/24"} {
				got, err := FindAvailableNetwork(list)
				if err != nil || got.String() != want {
					t.Errorf("got %v, %v, want %s", got, err, want)
				}
				bridges(t, map[string][]string{[]string{"a", "bb"}[i]: {strings.Replace(want, ".0/", ".9/", 1)}})
			}
			if got, err := FindAvailableNetwork(list); err == nil {
				t.Errorf("got %s, want an error: all are taken", got)
			}
		})
	})
}
