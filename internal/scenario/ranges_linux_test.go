package scenario_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/engine"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
)

// wideNetwork makes network number num on a host with an engine.
func (h *host) wideNetwork(e *hostEngine, num int) *engine.Network {
	h.t.Helper()
	n, err := e.CreateNetwork(h.t.Context(), engine.NetworkRequest{
		Driver: "bridge", Name: fmt.Sprint("net", num), IPv6: true, IPAM: model.IPAM{
			Conf4: []model.IPAMConf{{Pool: fmt.Sprintf("10.99.%d.0/24", num)}}, Conf6: []model.IPAMConf{{Pool: fmt.Sprintf("fd99:0:0:%d::/64", num)}},
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// wide makes a container that serves at all of these ports, each with a name of its own.
func (h *host) wide(e *hostEngine, n *engine.Network, name string, serves []uint16, wishes ...model.Publish) (*engine.Sandbox, *netns.Namespace) {
	h.t.Helper()
	s, err := h.tryWide(e, n, name, wishes...)
	if err != nil {
		h.t.Fatal(err)
	}
	ns, err := netns.Open(nil, s.Record().Key)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = ns.Close() })
	for _, p := range serves {
		srv, err := serve(ns, fmt.Sprintf("%s:%d", name, p), p)
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(srv.close)
	}
	return s, ns
}

func (h *host) tryWide(e *hostEngine, n *engine.Network, name string, wishes ...model.Publish) (*engine.Sandbox, error) {
	return e.CreateContainer(h.t.Context(), engine.SandboxRequest{ContainerID: name, Publish: wishes},
		[]engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: name}}})
}

// rangeOf is a wish for TCP and one for UDP, of three ports of the container from inner
// on.
func rangeOf(host string, first, inner uint16) []model.Publish {
	var list []model.Publish
	for _, proto := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		p := model.Publish{Proto: proto, First: first, Last: first + 2, Port: inner, PortLast: inner + 2}
		if host != "" {
			p.Host = netip.MustParseAddr(host)
		}
		list = append(list, p)
	}
	return list
}

func TestPublishedRanges(t *testing.T) {
	onEachBesideDocker(t, "case 28 ranges of ports are reached from where they shall be, and the ports beside them are not", testPublishedRanges)
}

func testPublishedRanges(t *testing.T, on backend) {
	h := bareHost(t, on.option())
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	e := h.engine(assemble.Options{Firewall: kernel.Backend(on.alone())})
	n1, n2 := h.wideNetwork(e, 1), h.wideNetwork(e, 2)
	// The container serves also beside its ranges: what is closed is closed by us.
	var wishes []model.Publish
	var serves []uint16
	ranges := []struct {
		host         string
		first, inner uint16
	}{
		{"", 8080, 8080},
		{"", 7100, 8080},
		{hostV4, 8180, 8180},
		{hostV4, 7200, 8080},
		{hostV6, 8280, 8280},
		{hostV6, 7300, 8080},
		{"127.0.0.1", 8380, 8380},
		{"127.0.0.1", 7400, 8080},
	}
	for _, r := range ranges {
		wishes = append(wishes, rangeOf(r.host, r.first, r.inner)...)
		for p := r.inner - 1; r.first == r.inner && p <= r.inner+3; p++ {
			serves = append(serves, p)
		}
	}
	_, sibling := h.wide(e, n1, "sibling", nil)
	_, stranger := h.wide(e, n2, "stranger", nil)
	empty := h.ours(on.alone())
	c, itself := h.wide(e, n1, "c1", serves, wishes...)
	var open, shut []visit
	for _, r := range ranges {
		for _, who := range []visit{
			{who: "lan", from: h.lan},
			{who: "host", from: h.own},
			{who: "sibling", from: sibling},
			{who: "itself", from: itself},
			{who: "stranger", from: stranger},
		} {
			addrs := []string{hostV4, hostV6}
			if who.who == "host" {
				addrs = append(addrs, "127.0.0.1")
			}
			for _, a := range addrs {
				leads := r.host == a || r.host == ""
				for i := -1; i <= 3; i++ {
					v := who
					v.to = at(a, uint16(int(r.first)+i))
					if leads && i >= 0 && i < 3 {
						v.want = fmt.Sprintf("c1:%d", int(r.inner)+i)
						v.sees = map[string]string{"lan" + hostV4: lanV4, "lan" + hostV6: lanV6}[v.who+a]
						open = append(open, v)
					} else if i != 1 { // the ends and what is beside them
						shut = append(shut, v)
					}
				}
			}
		}
	}
	h.visit(append(open, shut...)...)

	t.Run("case 33 a range that holds a port which is taken is refused, and nothing remains", func(t *testing.T) {
		defer h.within(t)()
		foreign, err := serve(h.own, "foreign", 7501)
		if err != nil {
			t.Fatal(err)
		}
		defer foreign.close()
		before := machine(t)
		for _, tt := range []struct {
			host         string
			first, inner uint16
			text         []string
		}{
			{"", 7102, 8080, []string{"710", "c1"}},
			{"", 8082, 8082, []string{"808", "c1"}},
			{hostV4, 7198, 8080, []string{hostV4, "c1"}},
			{"127.0.0.1", 7402, 8080, []string{"127.0.0.1", "c1"}},
			{"", 7500, 8080, []string{"7501", "pid " + strconv.Itoa(os.Getpid())}},
			{hostV6, 7499, 7499, []string{"7501", "pid " + strconv.Itoa(os.Getpid())}},
		} {
			for _, w := range rangeOf(tt.host, tt.first, tt.inner) {
				_, err := h.tryWide(e, n1, "c2", w)
				failed(t, err, "Forbidden", append(tt.text, "c2")...)
			}
		}
		same(t, "the machine", before, func() string { return machine(t) })
	})
	single := func(host string, p uint16) []model.Publish {
		list := rangeOf(host, p, port)
		for i := range list {
			list[i].Last, list[i].PortLast = p, port
		}
		return list
	}
	lan := func(p uint16, want string) []visit {
		return []visit{{who: "lan", from: h.lan, to: at(hostV4, p), want: want}, {who: "lan", from: h.lan, to: at(hostV6, p), want: want}}
	}
	t.Run("case 32 single ports beside a range, and a range, go without each other", func(t *testing.T) {
		defer h.within(t)()
		var beside []model.Publish
		for _, p := range []uint16{7099, 7103, 8079, 8083} {
			beside = append(beside, single("", p)...)
		}
		// One address goes before all.
		beside = append(beside, single(hostV4, 7101)...)
		b, _ := h.wide(e, n1, "beside", []uint16{port}, beside...)
		mine := fmt.Sprint("beside:", port)
		list := append(lan(7099, mine), lan(7103, mine)...)
		list = append(append(list, lan(8079, mine)...), lan(8083, mine)...)
		h.visit(append(append(list, lan(7102, "c1:8082")...),
			visit{who: "lan", from: h.lan, to: at(hostV4, 7101), want: mine}, visit{who: "lan", from: h.lan, to: at(hostV6, 7101), want: "c1:8081"},
			visit{who: "host", from: h.own, to: at("127.0.0.1", 7101), want: "c1:8081"})...)
		if err := b.Delete(context.Background()); err != nil {
			t.Fatal(err)
		}
		var after []visit
		for _, v := range open {
			if v.who == "lan" {
				after = append(after, v)
			}
		}
		h.visit(append(append(after, lan(7099, "")...), lan(8083, "")...)...)
	})
	if err := c.Delete(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i := range open {
		open[i].want = ""
		if open[i].who == "itself" {
			open[i].who, open[i].from = "sibling", sibling
		}
	}
	h.visit(open...)
	for proto := range protocols {
		for _, r := range ranges {
			listenable(t, proto, at(r.host, r.first+2)) // no host is all addresses
		}
	}
	same(t, "the rules without the ranges", empty, func() string { return h.ours(on.alone()) })
}
