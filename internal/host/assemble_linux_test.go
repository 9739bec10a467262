package host

import (
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork/resolvconf"
)

func TestNameServers(t *testing.T) {
	t.Run("IP-26 a resolver configuration that is absent or unreadable blocks no pool", func(t *testing.T) {
		for _, err := range []error{os.ErrNotExist, os.ErrPermission} {
			if got := nameServers(func() (*resolvconf.File, error) { return nil, err }); got != nil {
				t.Errorf("%v: %v", err, got)
			}
		}
	})
	t.Run("IP-24 name servers of both families block their pools", func(t *testing.T) {
		got := nameServers(func() (*resolvconf.File, error) {
			return &resolvconf.File{Content: []byte("nameserver 172.17.0.53\nnameserver fd00::53\nnameserver fe80::1%eth0\nsearch example.org\n")}, nil
		})
		want := []netip.Prefix{netip.MustParsePrefix("172.17.0.53/32"), netip.MustParsePrefix("fd00::53/128"), netip.MustParsePrefix("fe80::1/128")}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("blocked (-want +got):\n%s", diff)
		}
	})
}
