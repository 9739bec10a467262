package model_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork/internal/model"
)

// outlet is a driver with a gateway in each family.
type outlet struct {
	model.Driver
	traits model.Traits
}

func (d outlet) Traits() model.Traits                                                { return d.traits }
func (outlet) Attach(*model.Network, *model.Endpoint, *model.Sandbox) []model.Object { return nil }
func (outlet) Gateway(_ *model.Network, _ *model.Endpoint, v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr("fd00::1")
	}
	return netip.MustParseAddr("10.0.0.1")
}

func joinedTo(id string, v4, v6 string, b *model.BridgeNetwork) model.Attachment {
	return model.Attachment{
		Network: &model.Network{ID: "n1", Name: "n1", Bridge: b}, Driver: outlet{traits: model.Traits{Addresses: true, Ports: true}},
		Endpoint: &model.Endpoint{
			ID: id, V4: netip.MustParsePrefix(v4), V6: netip.MustParsePrefix(v6), Attached: &model.Attached{Name: "eth0", Host: "veth-" + id},
		},
	}
}

// reach are the objects of a sandbox that say who reaches it.
func reach(v model.View) []model.Object {
	var out []model.Object
	for _, o := range v.Objects() {
		switch o.(type) {
		case model.OpenPort, model.Link:
			out = append(out, o)
		}
	}
	return out
}

var byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func TestOpenPorts(t *testing.T) {
	wish := func(host string, first, last uint16) model.Publish {
		p := model.Publish{Proto: 6, Port: first, PortLast: last}
		if host != "" {
			p.Host = netip.MustParseAddr(host)
		}
		return p
	}
	open := func(addr string, first, last uint16) model.Object {
		return model.OpenPort{Proto: 6, Addr: netip.MustParseAddr(addr), First: first, Last: last, Owner: "s1"}
	}
	for _, tt := range []struct {
		name   string
		v4, v6 model.GatewayMode
		wishes []model.Publish
		want   []model.Object
	}{
		{name: "nat opens nothing", wishes: []model.Publish{wish("", 80, 80)}},
		{
			name: "routed opens on both families", v4: model.ModeRouted, v6: model.ModeRouted, wishes: []model.Publish{wish("", 80, 80)},
			want: []model.Object{open("10.0.0.2", 80, 80), open("fd00::2", 80, 80)},
		},
		{
			name: "one family", v6: model.ModeRouted, wishes: []model.Publish{wish("", 80, 80)},
			want: []model.Object{open("fd00::2", 80, 80)},
		},
		{
			name: "wishes for one family", v4: model.ModeRouted, v6: model.ModeRouted,
			wishes: []model.Publish{wish("0.0.0.0", 80, 80), wish("::", 81, 81)},
			want:   []model.Object{open("10.0.0.2", 80, 80), open("fd00::2", 81, 81)},
		},
		{
			name: "a wish for one address of the host opens nothing", v4: model.ModeRouted, v6: model.ModeRouted,
			wishes: []model.Publish{wish("127.0.0.1", 80, 80), wish("2001:db8::1", 80, 80)},
		},
		{
			name: "ranges that overlap are one", v4: model.ModeRouted,
			wishes: []model.Publish{wish("", 85, 95), wish("", 80, 90), wish("", 80, 80), wish("", 97, 97)},
			want:   []model.Object{open("10.0.0.2", 80, 95), open("10.0.0.2", 97, 97)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &model.BridgeNetwork{ICC: true, Mode4: tt.v4, Mode6: tt.v6}
			v := model.NewView(&model.Sandbox{ID: "s1", Publish: tt.wishes}, []model.Attachment{joinedTo("e1", "10.0.0.2/24", "fd00::2/64", b)})
			if diff := cmp.Diff(tt.want, reach(v), byValue); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestLinks: both ends come to the same objects.
func TestLinks(t *testing.T) {
	b := &model.BridgeNetwork{Link: "br1"}
	server := &model.Sandbox{ID: "s1", Exposed: []model.Expose{{Proto: 6, Port: 80}, {Proto: 6, Port: 80}}}
	client := &model.Sandbox{ID: "s2", Exposed: []model.Expose{{Proto: 6, Port: 22}}}
	at, from := joinedTo("e1", "10.0.0.2/24", "fd00::2/64", b), joinedTo("e2", "10.0.0.3/24", "fd00::3/64", b)
	at.Endpoint.Exposed = []model.Expose{{Proto: 17, Port: 53}, {Proto: 6, Port: 80}}
	var want []model.Object
	for _, x := range []model.Expose{{Proto: 6, Port: 80}, {Proto: 17, Port: 53}} {
		for _, ends := range [][2]string{{"10.0.0.3", "10.0.0.2"}, {"fd00::3", "fd00::2"}} {
			want = append(want, model.Link{
				Bridge: "br1", Proto: x.Proto, Port: x.Port, Owner: "e2",
				Client: netip.MustParseAddr(ends[0]), Target: netip.MustParseAddr(ends[1]),
				ClientHost: "veth-e2", TargetHost: "veth-e1",
			})
		}
	}
	atPeers := []model.Peer{{Endpoint: from.Endpoint, Sandbox: client, Client: true}}
	fromPeers := []model.Peer{{Endpoint: at.Endpoint, Sandbox: server}, {Endpoint: at.Endpoint, Sandbox: server}}
	at.Peers, from.Peers = atPeers, fromPeers
	for name, v := range map[string]model.View{
		"the end that is reached":               model.NewView(server, []model.Attachment{at}),
		"the end that reaches, asked for twice": model.NewView(client, []model.Attachment{from}),
	} {
		t.Run("6 "+name, func(t *testing.T) {
			if diff := cmp.Diff(want, reach(v), byValue); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestDirectRouting: where the driver allows it, published ports of a network of mode
// nat are open at the container's own addresses.
func TestDirectRouting(t *testing.T) {
	port := func(host string, first, last uint16, addr string, to uint16) model.Port {
		return model.Port{Proto: 6, Host: netip.MustParseAddr(host), First: first, Last: last, Addr: netip.MustParseAddr(addr), Port: to, Owner: "s1"}
	}
	open := func(addr string, first, last uint16) model.Object {
		return model.OpenPort{Proto: 6, Addr: netip.MustParseAddr(addr), First: first, Last: last, Owner: "s1"}
	}
	yes := model.Traits{Addresses: true, Ports: true, DirectRouting: true}
	everywhere := []model.Port{port("0.0.0.0", 8080, 8080, "10.0.0.2", 80), port("::", 8080, 8080, "fd00::2", 80)}
	for _, tt := range []struct {
		name   string
		traits model.Traits
		mode   model.GatewayMode
		ports  []model.Port
		want   []model.Object
	}{
		{name: "not allowed", traits: model.Traits{Addresses: true, Ports: true}, ports: everywhere},
		{name: "allowed", traits: yes, ports: everywhere, want: []model.Object{open("10.0.0.2", 80, 80), open("fd00::2", 80, 80)}},
		{name: "nat-unprotected is open without", traits: yes, mode: model.ModeNATUnprotected, ports: everywhere},
		{
			name: "a port of one address of the host opens nothing", traits: yes,
			ports: []model.Port{port("127.0.0.1", 8080, 8080, "10.0.0.2", 80), port("2001:db8::1", 8080, 8080, "fd00::2", 80)},
		},
		{name: "nor does one that crosses the families", traits: yes, ports: []model.Port{port("::", 8080, 8080, "10.0.0.2", 80)}},
		{
			name: "ranges, and one port twice", traits: yes, want: []model.Object{open("10.0.0.2", 80, 89)},
			ports: []model.Port{port("0.0.0.0", 9000, 9009, "10.0.0.2", 80), port("0.0.0.0", 8080, 8080, "10.0.0.2", 80)},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := joinedTo("e1", "10.0.0.2/24", "fd00::2/64", &model.BridgeNetwork{ICC: true, Mode4: tt.mode, Mode6: tt.mode})
			a.Driver = outlet{traits: tt.traits}
			v := model.NewView(&model.Sandbox{ID: "s1", Published: model.PortsOf(tt.ports...)}, []model.Attachment{a})
			if diff := cmp.Diff(tt.want, reach(v), byValue); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestGatewayModeText(t *testing.T) {
	for m := model.ModeNAT; m <= model.ModeIsolated; m++ {
		if got, err := model.ParseGatewayMode(m.String()); err != nil || got != m {
			t.Errorf("%v is read as %v (%v)", m, got, err)
		}
	}
	for _, s := range []string{"", "NAT", "mode 9"} {
		if m, err := model.ParseGatewayMode(s); err == nil {
			t.Errorf("%q is read as %v", s, m)
		}
	}
}
