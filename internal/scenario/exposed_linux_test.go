package scenario_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/exposure"
	hosts "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// TestExposed asks who reaches what, and tries all of it: every outsider at every
// address and port that could lead to a container. An answer that differs from what
// the kernel does is a failure, whichever way.
func TestExposed(t *testing.T) {
	onEachBesideDocker(t, "the list of what is exposed is what probes of every outsider find", func(t *testing.T, on backend) {
		testExposed(t, on.option())
	})
	t.Run("the list of what is exposed is what probes find with the userland proxy", func(t *testing.T) {
		testExposed(t, nftables.option("EnableUserlandProxy"))
	})
	onEach(t, "the list of what is exposed is what probes find with direct routing", func(t *testing.T, on backend) {
		testExposed(t, on.option("AllowDirectRouting"))
	})
}

func testExposed(t *testing.T, opt config.Option) {
	t.Helper()
	m := newMatrix(t, opt)
	rows := m.exposed()
	m.checkRules(rows)
	for _, r := range rows {
		if by := droppedBy(r); by != nil { // Docker's chain accepts what ours does
			m.t.Errorf("what is open to %s at %s is dropped by %q", r.From, r.Addr, by)
		}
	}
	m.tcp(m.cells(rows, uint8(types.TCP)))
	m.udp(m.cells(rows, uint8(types.UDP)))
}

// matrix is a host with a network of each kind, and all who may want in.
type matrix struct {
	*host
	t         *testing.T
	targets   []target
	outsiders []outsider
	dials     []netip.Addr // addresses of the host that everybody tries

	mu       sync.Mutex     // guards the following
	accepted map[string]int // connections by server
	heard    map[int]string // who got the datagram of a cell
}

// target is a container, or its place on a further network.
type target struct {
	c      *container
	v4, v6 netip.Addr
}

// outsider is somebody who tries to reach containers.
type outsider struct {
	name     string
	ns       *netns.Namespace
	v4, v6   netip.Addr // own address; of containers alone
	network  string     // of containers
	link     string     // of other machines, the link of the host that leads to them
	internal bool
	isolated bool
	// near ones try their own network alone: others of that network try all.
	near bool
}

// the kinds of networks, by number.
func matrixNetworks() [][]netOption {
	return [][]netOption{
		nil,
		{label(labelICC, "false")},
		{mode("nat-unprotected")},
		{mode("routed")},
		{inside},
		{inside, mode("isolated")},
		{label(labelTrusted, "eth3:br1"), label(labelMark, "0x8/0xc")},
		{only4},
		{label(labelMode6, "routed"), label(labelHostIP, hostV4)},
		{label(labelICC, "false"), mode("nat-unprotected"), label(labelTrusted, "eth3")},
		{label(labelIPv4, "false"), func(c *netConfig) { c.v4 = nil }},
	}
}

// bound are the ports of the host with what is published on them, by number of the
// network: each of these ways leads to port of the container there.
func bound(num int) []types.PortBinding {
	var list []types.PortBinding
	add := func(ip string, first uint16) {
		for _, proto := range []types.Protocol{types.TCP, types.UDP} {
			list = append(list, types.PortBinding{Proto: proto, Port: port, HostIP: net.ParseIP(ip), HostPort: first})
		}
	}
	for i, ip := range []string{"", "0.0.0.0", "::", "127.0.0.1", "::1", hostV4, hostV6} {
		add(ip, uint16(7000+100*num+i))
	}
	return list
}

// ranges keep their numbers, or shift them.
func ranges() []types.PortBinding {
	var list []types.PortBinding
	for i := range 2 {
		for _, first := range []int{port, 6000} {
			list = append(list, types.PortBinding{Proto: types.TCP, Port: uint16(port + i), HostPort: uint16(first + i)})
		}
	}
	return list
}

func newMatrix(t *testing.T, opt config.Option) *matrix {
	t.Helper()
	h := newHost(t, opt)
	other := h.anotherMachine("other", 3)
	m := &matrix{
		host: h, t: t, accepted: make(map[string]int), heard: make(map[int]string),
		outsiders: []outsider{{name: "host", ns: h.own}, {name: "lan", ns: h.lan, link: "eth0"}, {name: "other", ns: other, link: "eth3"}},
		dials: []netip.Addr{
			netip.MustParseAddr(hostV4), netip.MustParseAddr(hostV6), netip.MustParseAddr("10.99.1.1"), netip.MustParseAddr("fd99:0:0:1::1"),
			netip.MustParseAddr("10.99.5.1"), netip.MustParseAddr("fd99:0:0:5::1"), // of an internal network
		},
	}
	var nets []libnetwork.Network
	for i, opts := range matrixNetworks() {
		n := h.network(i+1, opts...)
		nets = append(nets, n)
		opts := append(publish(bound(i+1)...), exposes()...)
		a := m.add(fmt.Sprintf("a%d", i+1), opts, n)
		m.add(fmt.Sprintf("n%d", i+1), nil, n)
		m.outsiders[len(m.outsiders)-1].near = true
		if i == 1 {
			m.add("linked", append(publish(bound(21)...), links(nil, []string{a.eps[0].ID()})...), n)
			m.outsiders[len(m.outsiders)-1].near = true
		}
	}
	all := m.outsiders // the others are where some are already
	m.add("ranges", publish(ranges()...), nets[0])
	// On two networks: what is published leads to the first, the second is open.
	two := m.add("two", publish(bound(20)...), nets[0], nets[2])
	iface := two.eps[1].Info().Iface()
	m.targets = append(m.targets, target{two, toAddr(iface.Address()), toAddr(iface.AddressIPv6())})
	// On an internal network too, by which it could answer.
	inner := m.add("inner", publish(bound(22)...), nets[0], nets[4])
	iface = inner.eps[1].Info().Iface()
	m.targets = append(m.targets, target{inner, toAddr(iface.Address()), toAddr(iface.AddressIPv6())})
	// One address of a port that another container has all the others of.
	m.add("special", publish(
		types.PortBinding{Proto: types.TCP, Port: port, HostIP: net.ParseIP(hostV4), HostPort: 7100},
		types.PortBinding{Proto: types.UDP, Port: port, HostIP: net.ParseIP(hostV4), HostPort: 7100},
		types.PortBinding{Proto: types.TCP, Port: port, HostIP: net.ParseIP(hostV6), HostPort: 7300},
	), nets[0])
	m.add("special4", publish(
		types.PortBinding{Proto: types.TCP, Port: port, HostIP: net.ParseIP(hostV6), HostPort: 7200},
		types.PortBinding{Proto: types.TCP, Port: port, HostIP: net.IPv6loopback, HostPort: 7300},
		types.PortBinding{Proto: types.TCP, Port: port, HostIP: net.ParseIP("fd99:0:0:1::1"), HostPort: 7800},
	), nets[7])
	m.outsiders = all
	m.addHost()
	return m
}

// hostPort is where the container that has no namespace of its own serves.
const hostPort = 8095

// addHost makes a container in the host's namespace. It serves at each address, so
// that answers come from those.
func (m *matrix) addHost() {
	m.t.Helper()
	n, err := m.ctl.NewNetwork("host", "host")
	if err != nil {
		m.t.Fatal(err)
	}
	addrs := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.5"), netip.IPv6Loopback()}
	addrs = append(addrs, m.dials...)
	for _, o := range m.outsiders {
		for _, a := range []netip.Addr{o.v4, o.v6} {
			if a.IsValid() && !o.isolated && !slices.Contains(addrs, gateway(a)) {
				addrs = append(addrs, gateway(a))
			}
		}
	}
	_, err = m.containerWith(func(c *container) error {
		m.serve(c.ns, "hostly", hostPort, addrs)
		return nil
	}, "hostly", []libnetwork.SandboxOption{libnetwork.OptionUseDefaultSandbox()}, n)
	if err != nil {
		m.t.Fatal(err)
	}
}

// add makes a container that is a target and an outsider.
func (m *matrix) add(name string, opts []libnetwork.SandboxOption, nets ...libnetwork.Network) *container {
	m.t.Helper()
	c, err := m.containerWith(func(c *container) error {
		var addrs []netip.Addr
		for _, ep := range c.eps {
			addrs = append(addrs, toAddr(ep.Info().Iface().Address()), toAddr(ep.Info().Iface().AddressIPv6()))
		}
		addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() })
		m.serve(c.ns, name, port, addrs)
		m.serve(c.ns, name+"/"+strconv.Itoa(more), more, addrs)
		return nil
	}, name, opts, nets...)
	if err != nil {
		m.t.Fatal(err)
	}
	m.targets = append(m.targets, target{c, c.v4, c.v6})
	if len(nets) > 1 {
		return c // which of its networks it uses depends on whom it talks to
	}
	n := nets[0]
	o := outsider{name: name, ns: c.ns, v4: c.v4, v6: c.v6, network: n.Name(), internal: n.Info().Internal()}
	o.isolated = strings.Contains(fmt.Sprint(n.Info().DriverOptions()[labelMode4]), "isolated")
	m.outsiders = append(m.outsiders, o)
	if o.internal {
		m.wantsOut(c, o)
	}
	return c
}

// wantsOut gives a container of an internal network routes to all that is behind
// the host, as one does that may change its routes.
func (m *matrix) wantsOut(c *container, o outsider) {
	m.t.Helper()
	for _, gw := range []netip.Addr{gateway(o.v4), gateway(o.v6)} {
		m.in(c.sb.Key(), "ip", "route", "add", "default", "via", gw.String())
		if o.isolated {
			m.in(c.sb.Key(), "ip", "neigh", "add", gw.String(), "lladdr", m.macOf("br"+strings.TrimPrefix(o.network, "net")), "dev", "eth0")
		}
	}
}

// gateway is the address of the host on the network of a container.
func gateway(a netip.Addr) netip.Addr {
	bits := 24
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked().Addr().Next()
}

// exposed asks who reaches what.
func (h *host) exposed() []exposure.Row {
	h.t.Helper()
	rows, err := h.tryExposed()
	if err != nil {
		h.t.Fatal(err)
	}
	return rows
}

func (h *host) tryExposed() ([]exposure.Row, error) {
	h.t.Helper()
	e, release, err := hosts.Open(h.t.Context(), hosts.Options{DataDir: h.data})
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() {
		if err := release(); err != nil {
			h.t.Error(err)
		}
	}()
	return e.Exposed(h.t.Context())
}

// TestExposedAsleep has somebody make a table of iptables dormant: nothing in it is closed any
// more, so no list of what is open is right.
func TestExposedAsleep(t *testing.T) {
	nstest.Require(t, nstest.IPTablesNFT)
	h := newHost(t, iptablesNFT.option())
	h.container("c1", both(nil, 7001, 0), h.network(1))
	before := h.exposed()
	h.sh("nft", "add table ip filter { flags dormant; }")
	rows, err := h.tryExposed()
	h.sh("nft", "add table ip filter")
	failed(t, err, "NoService", "dormant", "ip filter")
	if len(rows) > 0 {
		t.Errorf("rows of a firewall that is asleep: %v", rows)
	}
	if after := h.exposed(); !reflect.DeepEqual(after, before) {
		t.Errorf("awake again: %v, before %v", after, before)
	}
}

// checkRules looks for each rule where its row says it is.
func (m *matrix) checkRules(rows []exposure.Row) {
	m.t.Helper()
	comment := regexp.MustCompile(` -m comment --comment \S+`)
	lists := make(map[string]string)
	for _, r := range rows {
		for _, rule := range r.Rules {
			list, ok := lists[rule.Show]
			if !ok {
				list = comment.ReplaceAllString(m.sh(strings.Fields(rule.Show)...), "")
				lists[rule.Show] = list
			}
			if !strings.Contains(list, rule.Text) {
				m.t.Errorf("%s does not show %q, which is for %+v:\n%s", rule.Show, rule.Text, r, list)
			}
		}
	}
}

// A cell is one outsider that dials one address and port.
type cell struct {
	id   int
	from *outsider
	to   netip.AddrPort
	src  uint16
	own  bool   // to is an address of the host
	want string // the server that answers; "" for nobody
}

func (c *cell) String() string { return fmt.Sprintf("%s to %s", c.from.name, c.to) }

// cells are all of a protocol, with what the rows say of them.
func (m *matrix) cells(rows []exposure.Row, proto uint8) []*cell {
	m.t.Helper()
	var list []*cell
	open := make(map[exposure.From]int)
	add := func(o *outsider, a netip.Addr, p, src uint16) {
		own := o.v4
		if a.Is6() {
			own = o.v6
		}
		if a == own || o.network != "" && !own.IsValid() {
			return // it dials itself, or cannot dial
		}
		c := &cell{id: len(list), from: o, to: netip.AddrPortFrom(a, p), src: src, own: ofHost(a)}
		for i := range rows {
			r := &rows[i]
			if !leads(r, o, proto, c) {
				continue
			}
			got := r.Container
			switch inside := r.Port + (p - r.First); {
			case r.Network == "host" && inside != hostPort:
				continue // nobody serves there
			case r.Network != "host" && inside != port:
				got += "/" + strconv.Itoa(int(inside))
			}
			if c.want != "" && c.want != got {
				m.t.Errorf("two rows for %s, %d: %s and %s", c, proto, c.want, got)
			}
			if c.want = got; got != "" {
				open[r.From]++
			}
		}
		list = append(list, c)
	}
	for i := range m.outsiders {
		o := &m.outsiders[i]
		ports := []uint16{6000, 6001, port, more, hostPort}
		for _, num := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 20, 21} {
			for i := range 7 {
				if !o.near || o.network == fmt.Sprintf("net%d", num) {
					ports = append(ports, uint16(7000+100*num+i))
				}
			}
		}
		dials := slices.Clone(m.dials)
		switch {
		case o.network != "":
			for _, a := range []netip.Addr{o.v4, o.v6} {
				if a.IsValid() && !slices.Contains(dials, gateway(a)) {
					dials = append(dials, gateway(a))
				}
			}
		case o.link == "":
			dials = append(dials, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.5"), netip.IPv6Loopback())
		}
		for _, a := range dials {
			for _, p := range ports {
				add(o, a, p, 0)
				if proto == uint8(types.UDP) && o.name == "a2" {
					add(o, a, p, bulk) // links let pass what looks like an answer
				}
			}
		}
		for _, x := range m.targets {
			for _, a := range []netip.Addr{x.v4, x.v6} {
				if !a.IsValid() || o.near && gateway(a) != gateway(o.v4) && gateway(a) != gateway(o.v6) {
					continue
				}
				add(o, a, port, 0)
				add(o, a, more, 0)
				if proto == uint8(types.UDP) {
					add(o, a, more, bulk)
				}
			}
		}
	}
	if len(open) != len(exposure.Classes()) {
		m.t.Errorf("open cells are %v, want some of each class", open)
	}
	m.t.Logf("protocol %d: %d cells, open %v", proto, len(list), open)
	return list
}

// ofHost says whether an address is the host's: all but those of containers.
func ofHost(a netip.Addr) bool {
	text := a.String()
	return !strings.HasPrefix(text, "10.99.") && !strings.HasPrefix(text, "fd99:") || a == gateway(a)
}

// leads says whether a row is about a cell.
func leads(r *exposure.Row, o *outsider, proto uint8, c *cell) bool {
	if r.Proto != 0 && r.Proto != proto || r.SourcePort != 0 && r.SourcePort != c.src ||
		c.to.Port() < r.First || c.to.Port() > r.Last || slices.Contains(r.Except, c.to) {
		return false
	}
	a, own := c.to.Addr(), c.own
	if a.IsLoopback() {
		own = a.Is4() && r.From == exposure.ThisHost
	}
	if a != r.Addr && !(r.Addr.IsUnspecified() && own && r.Addr.Is4() == a.Is4()) {
		return false
	}
	only := func(name string) bool { return len(r.Only) == 0 || slices.Contains(r.Only, name) }
	switch r.From {
	case exposure.ThisHost:
		return o.network == "" && o.link == ""
	case exposure.Internet, exposure.LAN:
		return o.link != "" && only(o.link)
	case exposure.Neighbour:
		return o.network == r.Network && only(o.name)
	default:
		return o.network != "" && o.network != r.Network && !o.isolated && (!o.internal || r.Internal) && only(o.network)
	}
}

// serve answers connections and datagrams at some addresses of a container, and
// remembers them.
func (m *matrix) serve(ns *netns.Namespace, name string, port uint16, addrs []netip.Addr) {
	m.t.Helper()
	for _, a := range addrs {
		var wg sync.WaitGroup
		l, err := ns.ListenTCP(netip.AddrPortFrom(a, port))
		if err != nil {
			m.t.Fatal(err)
		}
		u, err := ns.ListenUDP(netip.AddrPortFrom(a, port))
		if err != nil {
			m.t.Fatal(err)
		}
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				m.mu.Lock()
				m.accepted[name]++
				m.mu.Unlock()
				_, _ = c.Write([]byte(name))
				_ = c.Close()
			}
		})
		wg.Go(func() {
			buf := make([]byte, 100)
			for {
				n, from, err := u.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				if id, err := strconv.Atoi(string(buf[:n])); err == nil {
					m.mu.Lock()
					m.heard[id] = name
					m.mu.Unlock()
				}
				_, _ = u.WriteToUDPAddrPort(buf[:n], from)
			}
		})
		m.t.Cleanup(func() {
			_, _ = l.Close(), u.Close()
			wg.Wait()
		})
	}
}

// tcp tries all cells. Where nobody shall answer it does not wait long; that nobody
// did, if late, is seen by the number of connections that servers got.
func (m *matrix) tcp(list []*cell) {
	const atOnce = 400
	tickets := make(chan struct{}, atOnce)
	want := make(map[string]int)
	var wg sync.WaitGroup
	for _, c := range list {
		wait := impatience
		if c.want != "" {
			wait = patience
			want[c.want]++
		}
		tickets <- struct{}{}
		wg.Go(func() {
			defer func() { <-tickets }()
			got, err := ask(c.from.ns, "tcp", c.to.String(), wait)
			if got != c.want {
				m.t.Errorf("%s by tcp: %q answers (%v), the list says %q", c, got, err, c.want)
			}
		})
	}
	wg.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !maps.Equal(want, m.accepted) && !m.t.Failed() {
		m.t.Errorf("connections accepted are %v, want %v", m.accepted, want)
	}
}

// udp sends the datagrams of all cells, and those again that shall be answered and
// are not yet. What nobody shall get is seen by the servers.
func (m *matrix) udp(list []*cell) {
	type socket struct {
		from *outsider
		v6   bool
		port uint16
	}
	socks := make(map[socket]*net.UDPConn)
	var mu sync.Mutex // guards answered
	answered := make(map[int]bool)
	var wg sync.WaitGroup
	defer func() {
		for _, u := range socks {
			_ = u.Close()
		}
		wg.Wait()
	}()
	send := func(c *cell) {
		at := socket{c.from, c.to.Addr().Is6(), c.src}
		u := socks[at]
		if u == nil {
			local := netip.AddrPortFrom(netip.IPv4Unspecified(), c.src)
			if at.v6 {
				local = netip.AddrPortFrom(netip.IPv6Unspecified(), c.src)
			}
			var err error
			if u, err = c.from.ns.ListenUDP(local); err != nil {
				m.t.Fatal(err)
			}
			socks[at] = u
			wg.Go(func() {
				buf := make([]byte, 100)
				for {
					n, from, err := u.ReadFromUDPAddrPort(buf)
					if err != nil {
						if strings.Contains(err.Error(), "closed") {
							return
						}
						continue // refused
					}
					id, _ := strconv.Atoi(string(buf[:n]))
					if netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) == list[id].to {
						mu.Lock()
						answered[id] = true
						mu.Unlock()
					}
				}
			})
		}
		_, _ = u.WriteToUDPAddrPort([]byte(strconv.Itoa(c.id)), c.to)
	}
	missing := list
	for end := time.Now().Add(patience); len(missing) > 0 && time.Now().Before(end); {
		for _, c := range missing {
			send(c)
		}
		ctx, cancel := context.WithTimeout(m.t.Context(), impatience)
		<-ctx.Done()
		cancel()
		mu.Lock()
		missing = slices.DeleteFunc(slices.Clone(missing), func(c *cell) bool { return c.want == "" || answered[c.id] })
		mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range list {
		if got := m.heard[c.id]; got != c.want {
			m.t.Errorf("%s from port %d by udp: %q hears it, the list says %q", c, c.src, got, c.want)
		}
	}
	for _, c := range missing {
		m.t.Errorf("%s by udp: no answer comes back", c)
	}
}
