package exposure_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/drivers/single"
	"github.com/libnetwork/libnetwork/internal/exposure"
	"github.com/libnetwork/libnetwork/internal/model"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Protocols.
const (
	tcp  = 6
	udp  = 17
	sctp = 132
)

// world is a host that is put together from records.
type world struct {
	host   exposure.Host
	driver bridge.Driver
	num    int
}

// network adds network number num on bridge brN, with 10.0.N.0/24 and fd00:N::/64.
func (w *world) network(change ...func(*model.Network)) *model.Network {
	w.num++
	pool := func(format, gw string) []model.Pool {
		p := netip.MustParsePrefix(fmt.Sprintf(format, w.num))
		return []model.Pool{{Prefix: p, Gateway: netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf(gw, w.num)), p.Bits())}}
	}
	n := &model.Network{
		ID: fmt.Sprintf("%012x%052x", w.num, w.num), Name: fmt.Sprintf("net%d", w.num), Driver: bridge.Type, IPv6: true,
		IPAM:   model.IPAM{Pools4: pool("10.0.%d.0/24", "10.0.%d.1"), Pools6: pool("fd00:%d::/64", "fd00:%d::1")},
		Bridge: &model.BridgeNetwork{Link: fmt.Sprintf("br%d", w.num), ICC: true, Masquerade: true},
	}
	for _, c := range change {
		c(n)
	}
	for _, p := range n.IPAM.Pools4 {
		n.Bridge.Gateway4 = p.Gateway.Addr()
		if !n.Bridge.InhibitIPv4 {
			n.Bridge.Addrs = append(n.Bridge.Addrs, p.Gateway)
		}
	}
	for _, p := range n.IPAM.Pools6 {
		n.Bridge.Gateway6 = p.Gateway.Addr()
		n.Bridge.Addrs = append(n.Bridge.Addrs, p.Gateway)
	}
	w.host.Networks = append(w.host.Networks, exposure.Network{ID: n.ID, Name: n.Name, Objects: w.driver.Network(n)})
	return n
}

// at is an endpoint with the address number host of a network.
func at(n *model.Network, name string, host int) *model.Endpoint {
	ep := &model.Endpoint{
		ID: name + "-" + n.Name, Name: name, Network: n.ID,
		Attached: &model.Attached{Host: "v" + name + n.Name, Name: "eth0"},
	}
	addr := func(pools []model.Pool) netip.Prefix {
		if len(pools) == 0 {
			return netip.Prefix{}
		}
		a := pools[0].Prefix.Addr()
		for range host {
			a = a.Next()
		}
		return netip.PrefixFrom(a, pools[0].Prefix.Bits())
	}
	ep.V4, ep.V6 = addr(n.IPAM.Pools4), addr(n.IPAM.Pools6)
	return ep
}

// container adds a container; what it publishes is complete but for its owner.
func (w *world) container(sb *model.Sandbox, states []exposure.PortState, attached ...model.Attachment) {
	sb.ID, sb.ContainerID, sb.Key = sb.Name, sb.Name, "/run/"+sb.Name
	for i := range attached {
		if attached[i].Driver == nil {
			attached[i].Driver = w.driver
		}
		attached[i].Endpoint.Attached.Sandbox = sb.ID
	}
	v := model.NewView(sb, attached)
	c := exposure.Container{Name: sb.Name, Host: sb.Host, Objects: v.Objects(), Ports: states}
	if sb.Host {
		c.HostNetwork = attached[0].Network.Name
	}
	w.host.Containers = append(w.host.Containers, c)
}

// joined adds a container on one network, with its address number host.
func (w *world) joined(name string, host int, n *model.Network, publish ...string) {
	ep := at(n, name, host)
	sb := &model.Sandbox{Name: name}
	for _, text := range publish {
		for _, p := range published(text, ep) {
			sb.Published.Add(p)
		}
	}
	var states []exposure.PortState
	for p := range sb.Published.All() {
		single := p.First == p.Last && p.Proto != sctp
		states = append(states, exposure.PortState{Proto: p.Proto, Host: p.Host, First: p.First, Held: single})
	}
	w.container(sb, states, model.Attachment{Network: n, Endpoint: ep})
}

// published reads "tcp HOST FIRST LAST PORT" and leads it to the endpoint.
func published(text string, ep *model.Endpoint) []model.Port {
	var proto, ip string
	var p model.Port
	if _, err := fmt.Sscanf(text, "%s %s %d %d %d", &proto, &ip, &p.First, &p.Last, &p.Port); err != nil {
		panic(err)
	}
	p.Proto = map[string]uint8{"tcp": tcp, "udp": udp, "sctp": sctp}[proto]
	p.Host = netip.MustParseAddr(ip)
	p.Addr = ep.V4.Addr()
	if p.Host.Is6() && ep.V6.IsValid() {
		p.Addr = ep.V6.Addr()
	}
	return []model.Port{p}
}

func mode(m model.GatewayMode) func(*model.Network) {
	return func(n *model.Network) { n.Bridge.Mode4, n.Bridge.Mode6 = m, m }
}

func only4(n *model.Network) { n.IPv6, n.IPAM.Pools6 = false, nil }

func internal(n *model.Network) { n.Internal = true }

func noICC(n *model.Network) { n.Bridge.ICC = false }

func trusted(links ...string) func(*model.Network) {
	return func(n *model.Network) { n.Bridge.Trusted = links }
}

func public6(n *model.Network) {
	n.IPAM.Pools6[0].Prefix = netip.MustParsePrefix("2a00:1450:4001::/64")
	n.IPAM.Pools6[0].Gateway = netip.MustParsePrefix("2a00:1450:4001::1/64")
}

// linked has two containers on a network without ICC of which one may reach the
// other's port 80, which is published.
func linked(w *world) {
	n := w.network(noICC, only4)
	server, client := at(n, "server", 2), at(n, "client", 3)
	ssb := &model.Sandbox{Name: "server", Exposed: []model.Expose{{Proto: tcp, Port: 80}}, Links: &model.Links{Parents: []string{client.ID}}}
	ssb.Published = model.PortsOf(published("tcp 0.0.0.0 8079 8081 79", server)...)
	csb := &model.Sandbox{Name: "client", Links: &model.Links{Children: []string{server.ID}}}
	w.container(ssb, nil, model.Attachment{Network: n, Endpoint: server, Peers: []model.Peer{{Endpoint: client, Sandbox: csb, Client: true}}})
	w.container(csb, nil, model.Attachment{Network: n, Endpoint: client, Peers: []model.Peer{{Endpoint: server, Sandbox: ssb}}})
}

func TestReport(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		make       func(*world)
	}{
		{"nat with published ports", "nat", func(w *world) {
			w.network()
			w.joined("c1", 2, w.network(), "tcp 0.0.0.0 8080 8080 80", "udp 192.0.2.1 53 53 5353", "tcp :: 8080 8080 80")
		}},
		{"the same with iptables", "iptables", func(w *world) {
			w.host.Backend = "iptables-legacy"
			w.joined("c1", 2, w.network(), "tcp 0.0.0.0 8080 8080 80", "udp 192.0.2.1 53 53 5353", "tcp :: 8080 8080 80", "tcp 0.0.0.0 9000 9009 9000")
			w.joined("c2", 2, w.network(mode(model.ModeNATUnprotected)))
			w.joined("c3", 2, w.network(trusted("eth1")))
		}},
		{"ICC off", "no_icc", func(w *world) { w.joined("c1", 2, w.network(noICC), "tcp 0.0.0.0 8080 8080 80") }},
		{"links with ICC off", "links", linked},
		{"nat-unprotected, with a public address", "nat_unprotected", func(w *world) {
			w.joined("c1", 2, w.network(mode(model.ModeNATUnprotected), public6), "tcp 127.0.0.1 8080 8080 80")
		}},
		{"routed", "routed", func(w *world) {
			n := w.network(mode(model.ModeRouted), public6)
			sb := &model.Sandbox{Name: "c1", Publish: []model.Publish{
				{Proto: tcp, Port: 80, PortLast: 82}, {Proto: udp, Port: 53, PortLast: 53}, {Proto: tcp, Host: netip.MustParseAddr("127.0.0.1"), Port: 90, PortLast: 90},
			}}
			w.container(sb, nil, model.Attachment{Network: n, Endpoint: at(n, "c1", 2)})
		}},
		{"nat with direct routing", "direct_routing", func(w *world) {
			w.driver.DirectRouting = true
			w.network()
			w.joined("c1", 2, w.network(public6), "tcp 0.0.0.0 8080 8080 80", "tcp :: 8080 8080 80")
			w.joined("c2", 2, w.network(only4), "tcp 127.0.0.1 8081 8081 80")
		}},
		{"a bridge without an IPv4 address", "inhibited", func(w *world) {
			n := w.network(func(n *model.Network) { n.Bridge.InhibitIPv4 = true })
			w.joined("c1", 2, n, "tcp 0.0.0.0 8080 8080 80", "tcp :: 8080 8080 80")
			w.joined("c2", 2, w.network(only4, func(n *model.Network) { n.Bridge.InhibitIPv4 = true }), "tcp ::1 8081 8081 80")
			routed := w.network(only4, mode(model.ModeRouted), func(n *model.Network) { n.Bridge.InhibitIPv4 = true })
			sb := &model.Sandbox{Name: "c3", Publish: []model.Publish{{Proto: tcp, Port: 80, PortLast: 80}}}
			w.container(sb, nil, model.Attachment{Network: routed, Endpoint: at(routed, "c3", 2)})
		}},
		{"internal", "internal", func(w *world) { w.joined("c1", 2, w.network(internal)) }},
		{"isolated", "isolated", func(w *world) { w.joined("c1", 2, w.network(internal, mode(model.ModeIsolated))) }},
		{"trusted links of the host, bridges among them, and a trusted mark", "trusted", func(w *world) {
			w.network()
			w.network(internal)
			w.joined("c1", 2, w.network(only4, trusted("eth1", "br1", "br2", "br3"), func(n *model.Network) { n.Bridge.TrustedMark = model.Mark{Value: 8, Mask: 12} }))
		}},
		{"loopback addresses", "loopback", func(w *world) {
			w.joined("c1", 2, w.network(), "tcp 127.0.0.1 8080 8080 80", "tcp ::1 8080 8080 80")
		}},
		{"one address of a port goes before all of them", "special", func(w *world) {
			n, four := w.network(), w.network(only4)
			w.joined("all", 2, n, "tcp 0.0.0.0 8080 8080 80", "tcp :: 8080 8080 80", "tcp 0.0.0.0 9000 9009 9000")
			w.joined("one", 3, n, "tcp 192.0.2.1 8080 8080 80", "tcp 192.0.2.1 9005 9005 80")
			w.joined("loop", 2, four, "tcp ::1 8080 8080 80")
			w.joined("one6", 3, four, "tcp 2001:db8::1 8080 8080 80")
		}},
		{"ranges and SCTP", "ranges", func(w *world) {
			w.joined("c1", 2, w.network(only4), "tcp 0.0.0.0 9000 9009 9000", "udp 0.0.0.0 9000 9009 80", "sctp 0.0.0.0 7 8 7", "tcp 192.0.2.1 9100 9109 9100")
		}},
		{"a container of IPv4 alone is reached from IPv6 by a forward", "forwarded", func(w *world) {
			n := w.network(only4)
			w.joined("c1", 2, n, "tcp :: 8080 8080 80", "tcp 2001:db8::1 8081 8081 80")
			ep := at(n, "c2", 3)
			// Another program has its port: there is no socket to serve.
			w.container(&model.Sandbox{Name: "c2", Published: model.PortsOf(published("tcp :: 8082 8082 80", ep)...)},
				[]exposure.PortState{{Proto: tcp, Host: netip.IPv6Unspecified(), First: 8082, Taken: true}}, model.Attachment{Network: n, Endpoint: ep})
		}},
		{"with a userland proxy", "proxy", func(w *world) {
			n := w.network()
			ep := at(n, "c1", 2)
			sb := &model.Sandbox{Name: "c1"}
			for _, p := range []string{"tcp 0.0.0.0 8080 8080 80", "tcp :: 8080 8080 80", "tcp 127.0.0.1 8081 8081 80", "tcp 2001:db8::1 8082 8082 80"} {
				for _, p := range published(p, ep) {
					p.Proxy = true
					sb.Published.Add(p)
				}
			}
			w.container(sb, nil, model.Attachment{Network: n, Endpoint: ep})
		}},
		{"chains of others that drop what they do not accept", "drops", drops},
		{"chains of others that drop what they do not accept, and are shown frames of IPv4", "drops_frames", func(w *world) {
			drops(w)
			w.host.Frames = []bool{false}
		}},
		{"a bridge of somebody else", "adopted", func(w *world) {
			adopted := func(n *model.Network) { n.Bridge.Adopted = true }
			w.joined("c1", 2, w.network(adopted), "tcp 0.0.0.0 8080 8080 80")
			w.joined("c2", 2, w.network(adopted, internal, func(n *model.Network) { n.Bridge.ICC = false }))
		}},
		{"a host that does not forward one family", "no_forwarding", func(w *world) {
			w.network()
			w.joined("c1", 2, w.network(), "tcp 0.0.0.0 8080 8080 80", "tcp :: 8080 8080 80")
			w.joined("c2", 2, w.network(only4), "tcp :: 8081 8081 80")
			w.host.Stops = []bool{false}
		}},
		{"links of the host that forward nothing", "no_forwarding_link", func(w *world) {
			w.network()
			w.joined("c1", 2, w.network(), "tcp 0.0.0.0 8080 8080 80", "tcp :: 8080 8080 80")
			w.host.StopsAt = []string{"eth0", "eth1"}
		}},
		{"what is wrong with a port is told", "warnings", func(w *world) {
			n := w.network(only4)
			ep := at(n, "c1", 2)
			sb := &model.Sandbox{Name: "c1"}
			sb.Published = model.PortsOf(append(append(published("tcp 0.0.0.0 8080 8080 80", ep), published("tcp 127.0.0.1 8081 8081 80", ep)...),
				published("tcp 192.0.2.9 8082 8082 80", ep)...)...)
			w.container(sb, []exposure.PortState{
				{Proto: tcp, Host: netip.IPv4Unspecified(), First: 8080, Held: true, Foreign: []string{"table ip nat, chain DOCKER"}},
				{Proto: tcp, Host: netip.MustParseAddr("127.0.0.1"), First: 8081, Taken: true},
				{Proto: tcp, Host: netip.MustParseAddr("192.0.2.9"), First: 8082, Held: true, Away: true},
			}, model.Attachment{Network: n, Endpoint: ep})
		}},
		{"without a firewall", "no_firewall", func(w *world) {
			w.driver.NoFirewall = true
			w.joined("c1", 2, w.network(only4))
			w.joined("c2", 2, w.network(only4, noICC))
		}},
		{"without a firewall, with a userland proxy", "no_firewall_proxy", func(w *world) {
			w.driver.NoFirewall = true
			n := w.network()
			ep := at(n, "c1", 2)
			sb := &model.Sandbox{Name: "c1"}
			for _, p := range []string{"tcp 0.0.0.0 8080 8080 80", "tcp :: 8080 8080 80", "tcp 127.0.0.1 8081 8081 80"} {
				for _, p := range published(p, ep) {
					p.Proxy, p.NoRule = true, true
					sb.Published.Add(p)
				}
			}
			w.container(sb, nil, model.Attachment{Network: n, Endpoint: ep})
		}},
		{"the host's own namespace, and none", "host", func(w *world) {
			for _, d := range []model.Driver{single.Host(), single.Null()} {
				n := &model.Network{ID: d.Type(), Name: d.Type(), Driver: d.Type()}
				ep := &model.Endpoint{ID: "e" + d.Type(), Network: n.ID, Attached: &model.Attached{}}
				w.container(&model.Sandbox{Name: "c-" + d.Type(), Host: d.Type() == "host"}, nil, model.Attachment{Network: n, Endpoint: ep, Driver: d})
			}
		}},
		{"two networks, of which the first has the published ports", "two", func(w *world) {
			a, b := w.network(only4), w.network(only4, mode(model.ModeNATUnprotected))
			ep := at(a, "c1", 2)
			w.container(&model.Sandbox{Name: "c1", Published: model.PortsOf(published("tcp 0.0.0.0 8080 8080 80", ep)...)},
				[]exposure.PortState{{Proto: tcp, Host: netip.IPv4Unspecified(), First: 8080, Held: true}},
				model.Attachment{Network: a, Endpoint: ep}, model.Attachment{Network: b, Endpoint: at(b, "c1", 2)})
		}},
	} {
		t.Run("who reaches a container, and by which rule: "+tt.name, func(t *testing.T) {
			w := &world{host: exposure.Host{Backend: "nftables", Table: "libnetwork"}}
			tt.make(w)
			golden(t, tt.file, text(exposure.Report(w.host)))
		})
	}
}

// drops has chains of others of each kind.
func drops(w *world) {
	w.network()
	w.joined("c1", 2, w.network(only4), "tcp 0.0.0.0 8080 8080 80", "tcp :: 8080 8080 80")
	w.joined("c2", 2, w.network(internal))
	w.host.Containers = append(w.host.Containers, exposure.Container{Name: "own", Host: true, HostNetwork: "host"})
	w.host.Drops = []model.ForeignDrop{
		{Family: "inet", Table: "strict", Chain: "in", Input: true},
		{Family: "ip", Table: "filter", Chain: "FORWARD", Forward: true},
		{Family: "ip", Table: "filter (legacy)", Chain: "FORWARD", Forward: true, Marked: true},
		{Family: "ip6", Table: "filter", Chain: "FORWARD", Forward: true},
		{Family: "ip", Table: "raw", Chain: "PREROUTING", Forward: true, Input: true},
		{Family: "inet", Table: "early", Chain: "all", Forward: true, Input: true},
		{Family: "bridge", Table: "frames", Chain: "between", Forward: true},
	}
}

// text is a list for people, one way a paragraph.
func text(rows []exposure.Row) string {
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%s on %s, from %s", r.Container, r.Network, r.From)
		if len(r.Only) > 0 {
			fmt.Fprintf(&b, " (only %s)", strings.Join(r.Only, ", "))
		}
		if r.Internal {
			b.WriteString(" (internal ones too)")
		}
		fmt.Fprintf(&b, ": protocol %d, %s", r.Proto, netip.AddrPortFrom(r.Addr, r.First))
		if r.Last > r.First {
			fmt.Fprintf(&b, "-%d", r.Last)
		}
		if r.SourcePort != 0 {
			fmt.Fprintf(&b, " from port %d", r.SourcePort)
		}
		if len(r.Except) > 0 {
			fmt.Fprintf(&b, " but %v", r.Except)
		}
		fmt.Fprintf(&b, " -> %s\n\twhy: %s\n", netip.AddrPortFrom(r.Target, r.Port), r.Why)
		if r.Forwarded {
			b.WriteString("\tby a process\n")
		}
		for _, x := range r.Rules {
			fmt.Fprintf(&b, "\trule: %s: %s\n", x.Show, x.Text)
		}
		for _, x := range r.Warnings {
			fmt.Fprintf(&b, "\twarning: %s\n", x)
		}
	}
	return b.String()
}

// golden compares a text with the file that it is written down in.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("ways (-want +got):\n%s", diff)
	}
}
