package rtnl_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/rtnl"
)

// A bridge forwards as soon as its first port is up, however many links have
// changed just before.
func TestSyncCarrier(t *testing.T) {
	nstest.Require(t, nstest.Root, nstest.Bridge, nstest.Veth)
	inside := nstest.New(t)
	nstest.Run(t, func() {
		rt, err := rtnl.Open(rtnl.Config{})
		if err != nil {
			t.Error(err)
			return
		}
		defer rt.Close()
		var other *rtnl.Socket
		if err := inside.Do(func() (err error) { other, err = rtnl.Open(rtnl.Config{Enter: inside.Do}); return err }); err != nil {
			t.Error(err)
			return
		}
		defer other.Close()
		for range 20 {
			b := model.Bridge{Name: "br7", Group: 7, Addrs: []netip.Prefix{netip.MustParsePrefix("10.7.0.1/24")}}
			v := model.Veth{Host: "v7", Name: "eth7", Bridge: "br7", Group: 7, Addrs: []netip.Prefix{netip.MustParsePrefix("10.7.0.2/24")}}
			if err := rt.CreateBridge(t.Context(), b); err != nil {
				t.Error(err)
				return
			}
			if err := rt.CreateVeth(t.Context(), other, inside.FD(), v); err != nil {
				t.Error(err)
				return
			}
			if err := rt.SyncCarrier(t.Context(), v.Host, b.Name, "nosuchlink"); err != nil {
				t.Error(err)
			}
			i, err := net.InterfaceByName(b.Name)
			if err != nil || i.Flags&net.FlagRunning == 0 {
				t.Errorf("the bridge is not running: %v, %v", i, err)
			}
			if err := rt.DeleteGroup(t.Context(), 7); err != nil {
				t.Error(err)
				return
			}
		}
	})
}
