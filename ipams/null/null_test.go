package null_test

import (
	"errors"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/ipams/null"
	"github.com/libnetwork/libnetwork/types"
)

// registry keeps what is registered.
type registry struct {
	drivers map[string]ipamapi.Ipam
	err     error
}

func (r *registry) RegisterIpamDriver(name string, d ipamapi.Ipam) error {
	if r.err == nil {
		r.drivers[name] = d
	}
	return r.err
}

func (r *registry) RegisterIpamDriverWithCapabilities(name string, d ipamapi.Ipam, _ *ipamapi.Capability) error {
	return r.RegisterIpamDriver(name, d)
}

func driver(t *testing.T) ipamapi.Ipam {
	t.Helper()
	r := &registry{drivers: map[string]ipamapi.Ipam{}}
	if err := null.Init(r, nil, nil); err != nil {
		t.Fatal(err)
	}
	d := r.drivers["null"]
	if d == nil {
		t.Fatalf("no driver called null, but %v", r.drivers)
	}
	return d
}

func TestInitFails(t *testing.T) {
	want := errors.New("taken")
	if err := null.Init(&registry{err: want}, nil, nil); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestRequestPool(t *testing.T) {
	d := driver(t)
	local, global, err := d.GetDefaultAddressSpaces()
	t.Run("IP-2 the driver null has the one address space null", func(t *testing.T) {
		if diff := cmp.Diff([]any{"null", "null", nil}, []any{local, global, err}); diff != "" {
			t.Errorf("address spaces (-want +got):\n%s", diff)
		}
	})
	for _, c := range []struct {
		name, space, pool, sub string
		v6                     bool
		is                     error
	}{
		{name: "IP-39 there is one pool, 0.0.0.0/0", space: "null"},
		{name: "IP-39 another address space is refused", space: "LocalDefault", is: ipamapi.ErrInvalidAddressSpace},
		{name: "IP-39 a request without an address space is refused", is: ipamapi.ErrInvalidAddressSpace},
		{name: "IP-39 a pool cannot be named", space: "null", pool: "10.0.0.0/8", is: ipamapi.ErrInvalidPool},
		{name: "IP-39 a sub pool cannot be named", space: "null", sub: "10.0.0.0/8", is: ipamapi.ErrInvalidSubPool},
		{name: "IP-39 there is no IPv6 pool", space: "null", v6: true, is: ipamapi.ErrInvalidRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, nw, _, err := d.RequestPool(c.space, c.pool, c.sub, nil, c.v6)
			if c.is != nil {
				if _, ok := err.(types.BadRequestError); !ok || !errors.Is(err, c.is) {
					t.Errorf("got %v, want %v, a bad request", err, c.is)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"null/0.0.0.0/0", "0.0.0.0/0"}, []string{id, nw.String()}); diff != "" {
				t.Errorf("pool (-want +got):\n%s", diff)
			}
			if err := d.ReleasePool(id); err != nil {
				t.Errorf("release: %v", err)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	d := driver(t)
	const id = "null/0.0.0.0/0"
	t.Run("IP-39 an address is none, and no error", func(t *testing.T) {
		for _, want := range []net.IP{nil, net.IPv4(10, 0, 0, 1)} {
			if a, _, err := d.RequestAddress(id, want, nil); a != nil || err != nil {
				t.Errorf("request of %v: got %v, %v, want no address", want, a, err)
			}
			if err := d.ReleaseAddress(id, want); err != nil {
				t.Errorf("release of %v: %v", want, err)
			}
		}
	})
	t.Run("IP-39 an address of an unknown pool is a bad request", func(t *testing.T) {
		_, _, reqErr := d.RequestAddress("null/other", nil, nil)
		for what, err := range map[string]error{"request": reqErr, "release": d.ReleaseAddress("null/other", nil)} {
			if _, ok := err.(types.BadRequestError); !ok || !errors.Is(err, ipamapi.ErrPoolNotFound) {
				t.Errorf("%s: got %v, want a bad request", what, err)
			}
		}
	})
	t.Run("IP-39 the release of any pool succeeds", func(t *testing.T) {
		if err := d.ReleasePool("null/other"); err != nil {
			t.Error(err)
		}
	})
}
