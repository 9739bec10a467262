package kernel

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/rtnl"
)

func TestAnnouncementFrames(t *testing.T) {
	mac := net.HardwareAddr{0x02, 0x42, 0x0a, 0x63, 0x01, 0x02}
	for _, tt := range []struct{ name, addr, want string }{
		{
			"ARP announcement", "10.99.1.2",
			"ffffffffffff02420a6301020806" + "0001080006040001" + "02420a630102" + "0a630102" + "000000000000" + "0a630102",
		},
		{
			"neighbour advertisement", "fd99::2",
			"33330000000102420a63010286dd" + "6000000000203aff" +
				"fd990000000000000000000000000002" + "ff020000000000000000000000000001" +
				"88004dc120000000" + "fd990000000000000000000000000002" + "020102420a630102",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := announcement(mac, netip.MustParseAddr(tt.addr))
			if hex.EncodeToString(got) != tt.want {
				t.Errorf("got  %x\nwant %s", got, tt.want)
			}
			if len(got) > 14+40 && checksum(got[22:54], []byte{0, 0, 0, 32, 0, 0, 0, 58}, got[54:]) != 0 {
				t.Error("the checksum does not add up")
			}
		})
	}
}

// BenchmarkAnnounce is what the announcement of an address of each family costs on
// a bridge without other ports.
func BenchmarkAnnounce(b *testing.B) {
	nstest.Require(b, nstest.Bridge)
	nstest.Run(b, func() {
		rt, err := rtnl.Open(rtnl.Config{})
		if err != nil {
			b.Fatal(err)
		}
		defer rt.Close()
		if err := rt.CreateBridge(b.Context(), model.Bridge{Name: "br0"}); err != nil {
			b.Fatal(err)
		}
		var a announcer
		defer a.close()
		v := model.Veth{MAC: "02:42:0a:63:01:02", Bridge: "br0", Addrs: []netip.Prefix{
			netip.MustParsePrefix("10.99.1.2/24"), netip.MustParsePrefix("fd99::2/64"),
		}}
		b.ReportAllocs()
		for b.Loop() {
			a.send(rt, v)
		}
	})
}
