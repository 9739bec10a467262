package scenario_test

import (
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/engine"
	hosts "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// withoutFirewall is the configuration without rules, with other settings turned on.
func withoutFirewall(on ...string) config.Option {
	generic := map[string]any{"EnableIPTables": false}
	for _, setting := range on {
		generic[setting] = true
	}
	return config.OptionDriverConfig("bridge", map[string]any{netlabel.GenericData: generic})
}

// TestNoFirewallProxy has the process alone serve what is published.
func TestNoFirewallProxy(t *testing.T) {
	h := newHost(t, withoutFirewall("EnableUserlandProxy"))
	dual, four := h.network(1), h.network(2, only4)
	t.Run("without a firewall the userland proxy serves published ports, and closes them with their container", func(t *testing.T) {
		defer h.within(t)()
		c, sibling, stranger := h.container("c1", both(nil, 7001, 0), dual), h.container("c2", nil, dual), h.container("c3", nil, four)
		single := h.container("c4", both(nil, 7002, 0), four)
		local := h.container("c5", both(net.ParseIP("127.0.0.1"), 7003, 0), dual)
		h.visit(
			visit{"host", h.own, at("127.0.0.1", 7001), "c1", "10.99.1.1"},
			visit{"host", h.own, at("::1", 7001), "c1", "fd99:0:0:1::1"},
			visit{"lan", h.lan, at(hostV4, 7001), "c1", "10.99.1.1"},
			visit{"lan", h.lan, at(hostV6, 7001), "c1", "fd99:0:0:1::1"},
			visit{who: "sibling", from: sibling.ns, to: at(hostV4, 7001), want: "c1"},
			visit{who: "itself", from: c.ns, to: at(hostV4, 7001), want: "c1"},
			visit{who: "stranger", from: stranger.ns, to: at(hostV4, 7001), want: "c1"},
			visit{"lan", h.lan, at(hostV4, 7002), "c4", "10.99.2.1"},
			visit{"lan", h.lan, at(hostV6, 7002), "c4", "10.99.2.1"},
			visit{who: "host", from: h.own, to: at("127.0.0.1", 7003), want: "c5"},
			visit{who: "lan", from: h.lan, to: at(hostV4, 7003)},
		)
		if got := c.bindings(t); len(got) != 4 { // each protocol on both families
			t.Errorf("bindings are %v", got)
		}
		if list := h.sh("nft", "list", "tables"); strings.Contains(list, kernel.Table(h.data)) {
			t.Errorf("there are tables of ours: %s", list)
		}
		for _, x := range []*container{c, single, local} {
			h.remove(x)
		}
		h.visit(visit{who: "lan", from: h.lan, to: at(hostV4, 7001)}, visit{who: "host", from: h.own, to: at("127.0.0.1", 7003)})
		listenable(t, "tcp", "[::]:7001")
		listenable(t, "udp", "0.0.0.0:7001")
	})
	t.Run("without a firewall ranges and SCTP are refused in words", func(t *testing.T) {
		_, err := h.tryContainer("c1", publish(types.PortBinding{Proto: types.SCTP, Port: 7, HostPort: 7001}), dual)
		failed(t, err, "NotImplemented", "c1", "7/sctp", "EnableIPTables")
		e, release, err := hosts.Open(t.Context(), hosts.Options{DataDir: h.data})
		if err != nil {
			t.Fatal(err)
		}
		n, err := e.NetworkByID(dual.ID())
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.CreateContainer(t.Context(), engine.SandboxRequest{ContainerID: "c1", Publish: []model.Publish{
			{Proto: unix.IPPROTO_TCP, First: 7001, Last: 7003, Port: 80, PortLast: 82},
		}}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: "c1"}}})
		failed(t, err, "NotImplemented", "c1", "80-82/tcp", "EnableIPTables")
		if err := release(); err != nil {
			t.Error(err)
		}
	})
}

// TestNoFirewall has nobody who could serve what is published.
func TestNoFirewall(t *testing.T) {
	h := newHost(t, withoutFirewall())
	n := h.network(1)
	t.Run("without a firewall and the userland proxy a wish to publish is refused in words", func(t *testing.T) {
		for _, ip := range []net.IP{nil, net.ParseIP("127.0.0.1"), net.IPv6loopback} {
			_, err := h.tryContainer("c1", both(ip, 7001, 0), n)
			failed(t, err, "NotImplemented", "c1", "8080/tcp", "EnableUserlandProxy", "EnableIPTables")
		}
		c := h.container("c1", nil, n)
		h.visit(to("host", h.own, c, "c1")...)
	})
	t.Run("without a firewall a routed network has its ports open as they are", func(t *testing.T) {
		defer h.within(t)()
		c := h.container("c2", both(nil, 7001, 0), h.network(2, mode("routed")))
		h.visit(to("lan", h.lan, c, "c2")...)
	})
}

// TestNoFirewallForwarding has us make the host a router, which no rule guards: it
// would drop what containers send.
func TestNoFirewallForwarding(t *testing.T) {
	h := bareHost(t, withoutFirewall("EnableIPForwarding"))
	h.sysctl("ipv4/ip_forward", "0")
	h.sysctl("ipv6/conf/all/forwarding", "0")
	h.start()
	h.lanServer()
	t.Run("without a firewall containers reach others where we have turned forwarding on", func(t *testing.T) {
		defer h.within(t)()
		n := h.network(1)
		check := func(name string) {
			c := h.container(name, nil, n)
			h.visit(
				visit{"c1", c.ns, at(lanV4, port), "lan", c.v4.String()},
				visit{"c1", c.ns, at(lanV6, port), "lan", c.v6.String()})
		}
		check("c1")
		h.restart()
		n = h.netByName("net1")
		check("c1")
	})
}
