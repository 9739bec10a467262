package scenario_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/netns"
)

// The first datagram to a container arrives, though nobody sends it again, also
// when its network and links have been made in this very moment.
func TestFirstDatagram(t *testing.T) {
	c, err := libnetwork.New(config.OptionDataDir(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	for i := range 40 {
		n, err := c.NewNetwork("bridge", fmt.Sprint("first", i), libnetwork.NetworkOptionEnableIPv6(true),
			libnetwork.NetworkOptionIpam("", "", nil, []*libnetwork.IpamConf{{PreferredPool: "fd99:0:0:1::/64"}}, nil))
		if err != nil {
			t.Fatal(err)
		}
		ep, err := n.CreateEndpoint("ep")
		if err != nil {
			t.Fatal(err)
		}
		sb, err := c.NewSandbox(fmt.Sprint("first", i))
		if err != nil {
			t.Fatal(err)
		}
		if err := ep.Join(sb); err != nil {
			t.Fatal(err)
		}
		for _, addr := range []*net.IPNet{ep.Info().Iface().Address(), ep.Info().Iface().AddressIPv6()} {
			if err := oneDatagram(sb.Key(), addr.IP); err != nil {
				t.Errorf("round %d: %v", i, err)
			}
		}
		if err := sb.Delete(); err != nil {
			t.Error(err)
		}
		if err := n.Delete(); err != nil {
			t.Error(err)
		}
	}
}

func oneDatagram(key string, ip net.IP) error {
	ns, err := netns.Open(nil, key)
	if err != nil {
		return err
	}
	defer ns.Close()
	a, _ := netip.AddrFromSlice(ip)
	to := netip.AddrPortFrom(a.Unmap(), 9999)
	server, err := ns.ListenUDP(to)
	if err != nil {
		return err
	}
	defer server.Close()
	client, err := net.Dial("udp", to.String())
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := client.Write([]byte("once")); err != nil {
		return err
	}
	// Where an address is not found at once, it is asked for again after a second.
	if err := server.SetReadDeadline(time.Now().Add(900 * time.Millisecond)); err != nil {
		return err
	}
	_, _, err = server.ReadFrom(make([]byte, 16))
	return err
}
