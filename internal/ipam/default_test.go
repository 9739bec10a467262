package ipam

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/netlabel"
)

func TestDefault(t *testing.T) {
	local, global := LibraryBases()
	var d ipamapi.Ipam = Default{newManager(t, Config{Local: append(local, Base{prefix("fd00::/48"), 64}), Global: global})}
	l, g, err := d.GetDefaultAddressSpaces()
	t.Run("IP-2 the address spaces are LocalDefault and GlobalDefault", func(t *testing.T) {
		if diff := cmp.Diff([]any{"LocalDefault", "GlobalDefault", nil}, []any{l, g, err}); diff != "" {
			t.Errorf("address spaces (-want +got):\n%s", diff)
		}
	})
	for _, c := range []struct {
		name, space, pool, sub string
		v6                     bool
		id, want               string
		is                     error
	}{
		{name: "IP-17 without a pool the first free one is chosen", space: l, id: "LocalDefault/172.17.0.0/16", want: "172.17.0.0/16"},
		{name: "IP-17 without a pool the first free IPv6 one is chosen if asked for", space: l, v6: true, id: "LocalDefault/fd00::/64", want: "fd00::/64"},
		{name: "IP-17 without a pool the first free global one is chosen in the global space", space: g, id: "GlobalDefault/10.0.0.0/24", want: "10.0.0.0/24"},
		{name: "IP-18 a length as text is the first free block of it", space: l, pool: "/24", id: "LocalDefault/172.18.0.0/24", want: "172.18.0.0/24"},
		{name: "IP-18 a length as text is an IPv6 block if asked for", space: l, pool: "/80", v6: true, id: "LocalDefault/fd00:0:0:1::/80", want: "fd00:0:0:1::/80"},
		{name: "IP-18 the unspecified address with a length is the next free block", space: l, pool: "0.0.0.0/24", id: "LocalDefault/172.18.1.0/24", want: "172.18.1.0/24"},
		{name: "IP-7 text with host bits makes no other id", space: l, pool: "10.5.5.5/16", sub: "10.5.9.9/24", id: "LocalDefault/10.5.0.0/16/10.5.9.0/24", want: "10.5.0.0/16"},
		{name: "IP-8 a request without an address space fails with ErrInvalidAddressSpace", is: ipamapi.ErrInvalidAddressSpace},
		{name: "IP-4 a pool that is no CIDR fails with ErrInvalidPool and its class", space: l, pool: "10.0.0.0", is: ipamapi.ErrInvalidPool},
		{name: "IP-4 a sub pool that is no CIDR fails with ErrInvalidSubPool and its class", space: l, pool: "10.0.0.0/8", sub: "x", is: ipamapi.ErrInvalidSubPool},
		{name: "IP-9 a sub pool alone fails with ErrInvalidSubPool", space: l, sub: "10.0.0.0/8", is: ipamapi.ErrInvalidSubPool},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, nw, _, err := d.RequestPool(c.space, c.pool, c.sub, nil, c.v6)
			if c.is != nil {
				wantErr(t, err, c.is, badRequest)
				if nw != nil || id != "" {
					t.Errorf("an error with a pool: %s, %v", id, nw)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{c.id, c.want}, []string{id, nw.String()}); diff != "" {
				t.Errorf("pool (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDefaultAddresses(t *testing.T) {
	d := Default{newManager(t, Config{})}
	id, _, _, err := d.RequestPool(LocalSpace, "172.28.0.0/16", "172.28.30.0/24", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	gateway := map[string]string{ipamapi.RequestAddressType: netlabel.Gateway}
	for _, c := range []struct {
		name string
		ip   net.IP
		want string
		is   error
	}{
		{name: "1.9 the gateway is the sub pool's first", want: "172.28.30.0/16"},
		{name: "IP-29 an address asked for in 4 bytes has the mask of the pool", ip: net.IPv4(172, 28, 0, 1).To4(), want: "172.28.0.1/16"},
		{name: "IP-29 an address asked for in 16 bytes has the mask of the pool", ip: net.IPv4(172, 28, 0, 2), want: "172.28.0.2/16"},
		{name: "outside", ip: net.IPv4(10, 0, 0, 1), is: ipamapi.ErrIPOutOfRange},
		{name: "not an address", ip: net.IP{1, 2, 3}, is: ipamapi.ErrInvalidRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, err := d.RequestAddress(id, c.ip, gateway)
			if c.is != nil {
				wantErr(t, err, c.is, badRequest)
				if got != nil {
					t.Errorf("an error with an address: %v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(got.IP) != net.IPv4len || got.String() != c.want {
				t.Errorf("got %v, want %s in 4 bytes", got, c.want)
			}
			if err := d.ReleaseAddress(id, got.IP); err != nil {
				t.Error(err)
			}
		})
	}
	wantErr(t, d.ReleaseAddress(id, nil), ipamapi.ErrInvalidRequest, badRequest)
	if err := d.ReleasePool(id); err != nil {
		t.Error(err)
	}
}
