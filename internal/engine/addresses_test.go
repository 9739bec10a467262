package engine_test

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/ipam"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
	"github.com/libnetwork/libnetwork/ipamapi"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// TestRebuiltFromRecords is about an address manager that keeps no record.
func TestRebuiltFromRecords(t *testing.T) {
	data, run := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run")
	e, m := openLedger(t, data, run, slog.DiscardHandler)
	webNetwork(t, e)
	wide := need(e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: bridge.Type, Name: "wide", IPv6: true,
		IPAM: model.IPAM{Conf6: []model.IPAMConf{{Pool: "fd00:2::/32", Sub: "fd00:2:8000:0:8000::1:0/112"}}},
	}))(t)
	ep := need(wide.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "far", V6: netip.MustParseAddr("fd00:2:ffff:ffff:ffff:ffff:ffff:ffff")}))(t)
	before, pools := e.Pools(), m.Pools()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e, m = openLedger(t, data, run, slog.DiscardHandler)
	t.Run("IP-41 after a restart every pool and address is held again by what the records say", func(t *testing.T) {
		if diff := cmp.Diff(before, e.Pools(), looseAddr()); diff != "" {
			t.Errorf("usage (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(pools, m.Pools(), looseAddr()); diff != "" {
			t.Errorf("pools (-before +after):\n%s", diff)
		}
	})
	t.Run("IP-42 after a restart the audit finds nothing", func(t *testing.T) {
		if a := audit(t, e); len(a.Findings) > 0 || a.Addresses == 0 {
			t.Errorf("audit %+v", a)
		}
	})
	t.Run("IP-43 addresses above 2^64 survive a restart bit by bit", func(t *testing.T) {
		n := need(e.NetworkByName("wide"))(t)
		if got := need(n.EndpointByName("far"))(t).Record().V6; got != ep.Record().V6 {
			t.Errorf("got %s, want %s", got, ep.Record().V6)
		}
		if _, err := m.RequestAddress(n.Record().IPAM.Pools6[0].ID, ep.Record().V6.Addr(), nil); err == nil {
			t.Error("the address is free")
		}
		next := need(n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "next"}))(t)
		if got, want := next.Record().V6.Addr(), netip.MustParseAddr("fd00:2:8000:0:8000::1:1"); got != want {
			t.Errorf("the sub pool goes on at %s, want %s", got, want)
		}
	})
}

// TestHalfRestored has records that cannot be restored as a whole: nothing of
// them is kept.
func TestHalfRestored(t *testing.T) {
	t.Run("a network that cannot be restored keeps none of its addresses", func(t *testing.T) {
		data, run := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run")
		web, spare, _ := stored(t, data, run)
		// Its second pool is one of the first network.
		bad := *spare
		bad.IPAM.Pools4 = append([]model.Pool{}, spare.IPAM.Pools4[0], web.IPAM.Pools4[0])
		bad.ID, bad.Name = strings.Repeat("f", 64), "zz"
		put(t, data, run, store.Op{Kind: "network", ID: spare.ID}, store.Op{Kind: "network", ID: bad.ID, Value: model.Encode(&bad), Durable: true})
		e, m := openLedger(t, data, run, slog.DiscardHandler)
		if _, err := e.NetworkByName("zz"); err == nil {
			t.Fatal("the network is there")
		}
		if a := audit(t, e); len(a.Findings) > 0 || len(m.Pools()) != 1 {
			t.Errorf("audit %+v, pools %v", a, m.Pools())
		}
	})
}

// asked is an address manager that remembers the options of the last request of
// an address.
type asked struct {
	ipamapi.Ipam
	spaces error
	opts   map[string]string
}

func (a *asked) GetDefaultAddressSpaces() (local, global string, err error) {
	if a.spaces != nil {
		return "", "", a.spaces
	}
	return a.Ipam.GetDefaultAddressSpaces()
}

func (a *asked) RequestAddress(id string, ip net.IP, opts map[string]string) (*net.IPNet, map[string]string, error) {
	a.opts = opts
	return a.Ipam.RequestAddress(id, ip, opts)
}

func TestAddressManagers(t *testing.T) {
	e, m := newLedger(t)
	for _, name := range []string{"", " \t"} {
		t.Run("IP-1 the blank name "+strconv.Quote(name)+" of an address manager is refused", func(t *testing.T) {
			if err := e.RegisterIPAM(name, ipam.Default{Manager: m}, false); !errors.As(err, new(engine.ErrInvalidName)) {
				t.Errorf("got %v, want ErrInvalidName", err)
			}
		})
	}
	t.Run("IP-1 the name of an address manager that is taken is refused", func(t *testing.T) {
		if _, ok := e.RegisterIPAM("default", ipam.Default{Manager: m}, false).(types.ForbiddenError); !ok {
			t.Error("it is not forbidden")
		}
	})
	t.Run("IP-1 an address manager that does not say its address spaces is refused", func(t *testing.T) {
		down := errors.New("down")
		err := e.RegisterIPAM("mute", &asked{spaces: down}, false)
		if _, ok := err.(types.InternalError); !ok || !errors.Is(err, down) {
			t.Errorf("got %v, want an internal error of the cause", err)
		}
	})
	for _, c := range []struct {
		name     string
		needsMAC bool
		mac      net.HardwareAddr
	}{
		{"IP-3 an address manager that needs MAC addresses is given a random one", true, nil},
		{"IP-3 an address manager that needs MAC addresses is given that of the endpoint", true, net.HardwareAddr{2, 0, 0, 0, 0, 9}},
		{"IP-3 an address manager that needs no MAC address is given none", false, net.HardwareAddr{2, 0, 0, 0, 0, 9}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, m := newLedger(t)
			a := &asked{Ipam: ipam.Default{Manager: m}}
			if err := e.RegisterIPAM("asked", a, c.needsMAC); err != nil {
				t.Fatal(err)
			}
			n := need(e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "n", IPAM: model.IPAM{Driver: "asked"}}))(t)
			ep := need(n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "a", MAC: c.mac, IPAMOptions: map[string]string{"own": "x"}}))(t)
			want := map[string]string{"own": "x"}
			if c.needsMAC {
				want[netlabel.MacAddress] = ep.Record().MAC
			}
			if diff := cmp.Diff(want, a.opts); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			if c.mac != nil && ep.Record().MAC != c.mac.String() {
				t.Errorf("the endpoint has %s", ep.Record().MAC)
			}
		})
	}
	t.Run("IP-2 the address manager of a network is default unless it names another", func(t *testing.T) {
		_, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "n", IPAM: model.IPAM{Driver: "nobody"}})
		if _, ok := err.(types.BadRequestError); !ok {
			t.Errorf("an unknown one: %v", err)
		}
		n := need(e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "n"}))(t)
		if got := n.Record().IPAM; got.Driver != "default" || got.Space != "LocalDefault" {
			t.Errorf("the default is %s in %s", got.Driver, got.Space)
		}
	})
}

// TestWholeAddressSpace: what an address manager may have is nothing for a
// network of this host.
func TestWholeAddressSpace(t *testing.T) {
	e, m := newLedger(t)
	for _, conf := range []model.IPAM{
		{Conf4: []model.IPAMConf{{Pool: "0.0.0.0/0"}}},
		{Conf6: []model.IPAMConf{{Pool: "::/0"}}},
	} {
		_, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "n", IPv6: true, IPAM: conf})
		if _, ok := err.(types.BadRequestError); !ok {
			t.Errorf("%+v: %v, want a bad request", conf, err)
		}
	}
	if p := m.Pools(); len(p) > 0 {
		t.Errorf("left: %v", p)
	}
}

// is says whether a type assertion finds the class of an error.
func is[T any](err error) bool {
	_, ok := err.(T)
	return ok
}

func TestAuxiliaryAddresses(t *testing.T) {
	create := func(e *engine.Engine, name string, conf model.IPAMConf) (*engine.Network, error) {
		return e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: name, IPAM: model.IPAM{Conf4: []model.IPAMConf{conf}}})
	}
	t.Run("auxiliary addresses are given to no endpoint and free again with their network", func(t *testing.T) {
		e, m := newLedger(t)
		conf := model.IPAMConf{Pool: "10.1.0.0/29", Aux: map[string]string{"a": "10.1.0.2", "b": "10.1.0.4", "c": "10.1.0.6"}}
		for range 2 {
			n := need(create(e, "n", conf))(t)
			for _, want := range []string{"10.1.0.3/29", "10.1.0.5/29"} {
				ep := need(n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: want}))(t)
				if got := ep.Record().V4.String(); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
			if _, err := n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "full"}); !errors.As(err, new(types.NoServiceError)) {
				t.Errorf("a full network: %v", err)
			}
			if _, err := n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "aux", V4: netip.MustParseAddr("10.1.0.4")}); !errors.As(err, new(types.ForbiddenError)) {
				t.Errorf("an auxiliary address by name: %v", err)
			}
			for _, ep := range n.Endpoints() {
				if err := ep.Delete(t.Context(), false); err != nil {
					t.Fatal(err)
				}
			}
			if err := n.Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
			if p := m.Pools(); len(p) > 0 {
				t.Fatalf("left: %v", p)
			}
		}
	})
	for _, c := range []struct {
		name  string
		class func(error) bool
		conf  model.IPAMConf
	}{
		{"an auxiliary address that is none is refused", is[types.BadRequestError], model.IPAMConf{Pool: "10.1.0.0/24", Aux: map[string]string{"a": "x"}}},
		{"an auxiliary address of the other family is refused", is[types.BadRequestError], model.IPAMConf{Pool: "10.1.0.0/24", Aux: map[string]string{"a": "fd00::1"}}},
		{"an auxiliary address outside the subnet is forbidden", is[types.ForbiddenError], model.IPAMConf{Pool: "10.1.0.0/24", Aux: map[string]string{"a": "10.1.0.9", "b": "10.1.1.9"}}},
		{"an auxiliary address that is the gateway is an internal error", is[types.InternalError], model.IPAMConf{Pool: "10.1.0.0/24", Gateway: "10.1.0.9", Aux: map[string]string{"a": "10.1.0.8", "b": "10.1.0.9"}}},
	} {
		t.Run(c.name+" and leaves nothing", func(t *testing.T) {
			e, m := newLedger(t)
			_, err := create(e, "n", c.conf)
			if !c.class(err) {
				t.Errorf("got %v, want another class", err)
			}
			if p := m.Pools(); len(p) > 0 {
				t.Errorf("left: %v", p)
			}
		})
	}
}

// TestAnswersOfManagers is about answers that the engine tells apart.
func TestAnswersOfManagers(t *testing.T) {
	t.Run("IP-4 a pool without addresses has the next one tried, any other failure ends the call", func(t *testing.T) {
		e, m := newLedger(t)
		n := need(e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: "fake", Name: "n", IPAM: model.IPAM{
			Conf4: []model.IPAMConf{{Pool: "10.1.0.0/30"}, {Pool: "10.2.0.0/30"}},
		}}))(t)
		for _, want := range []string{"10.1.0.2/30", "10.2.0.2/30"} {
			if got := need(n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: want}))(t).Record().V4.String(); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		_, err := n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "full"})
		if _, ok := err.(types.NoServiceError); !ok || !strings.Contains(err.Error(), n.ID()[:12]) || !strings.Contains(err.Error(), "IPv4") {
			t.Errorf("all full: %v, want family, name and id of the network", err)
		}
		if err := m.ReleasePool("LocalDefault/10.1.0.0/30"); err != nil {
			t.Fatal(err)
		}
		_, err = n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "broken"})
		if !errors.Is(err, ipamapi.ErrPoolNotFound) {
			t.Errorf("got %v, want the failure of the first pool", err)
		}
	})
}
