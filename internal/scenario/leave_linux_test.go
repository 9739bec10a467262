package scenario_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
)

// Addresses that nobody but members of closed networks ever asks for: the other
// machine has the quiet ones, and nobody the void ones. A frame that names one of
// them, or a member, or holds secret, has left such a network or is the host's doing on
// behalf of one that has.
const (
	quietV4, quietV6 = "192.0.2.201", "2001:db8:2::201"
	voidV4, voidV6   = "192.0.2.202", "2001:db8:2::202"
	secret           = "not for you"
)

// Addresses that the host has for a time; then a route leads there, by the default.
const passingV4, passingV6 = "198.51.100.203", "2001:db8:7::203"

// TestNothingLeaves has members of an internal and of an isolated network try all
// that a container can to get a frame out, also while their networks come and go, the
// controller restarts and the rules are flushed.
func TestNothingLeaves(t *testing.T) {
	onEachBesideDocker(t, "scenario 5 not one packet of an internal or isolated network leaves", testNothingLeaves)
}

func testNothingLeaves(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	for _, a := range []string{quietV4 + "/24", quietV6 + "/64"} {
		h.in(h.lan.Path(), "ip", "addr", "add", a, "dev", "eth0", "nodad")
		t.Cleanup(func() { h.in(h.lan.Path(), "ip", "addr", "del", a, "dev", "eth0") })
	}
	// Answers to anybody find a way, also those to the unspecified address.
	for _, gateway := range []string{lanV4, lanV6} {
		h.sh("ip", "route", "add", "default", "via", gateway)
		t.Cleanup(func() { h.sh("ip", "route", "del", "default", "via", gateway) })
	}
	foreign, _ := h.foreignPair("virbr8")
	open := h.container("open", nil, h.network(9))
	words := [][]byte{[]byte(secret)}
	for _, a := range []string{quietV4, quietV6, voidV4, voidV6, passingV4, passingV6} {
		words = append(words, netip.MustParseAddr(a).AsSlice())
	}
	closed := []*closedNetwork{
		{num: 1, opts: []netOption{inside}},
		{num: 2, opts: []netOption{inside, mode("isolated")}},
		{num: 4, opts: []netOption{inside, label(labelIPv4, "false"), func(c *netConfig) { c.v4 = nil }}},
		{num: 5, opts: []netOption{inside, label(labelInhibit, "true")}},
		{num: 6, opts: []netOption{inside, only4}},
		{num: 7, opts: []netOption{inside, label(labelICC, "false")}},
		{num: 8, opts: []netOption{inside, label(labelMode4, "isolated")}},
	}
	for _, c := range closed {
		words = append(words, netip.MustParsePrefix(fmt.Sprintf("fd99:0:0:%d::/64", c.num)).Addr().AsSlice()[:8])
		for last := 2; last < 5; last++ {
			words = append(words, []byte{10, 99, byte(c.num), byte(last)})
		}
	}
	const known = "for everybody"
	words = append(words, []byte(known))
	var spies []*spy
	for _, at := range []struct {
		where string
		ns    *netns.Namespace
		link  string
	}{
		{"the host's link", h.own, "eth0"},
		{"lan", h.lan, "eth0"},
		{"the bridge of another network", h.own, "br9"},
		{"a container of another network", open.ns, "eth0"},
		{"a foreign bridge", h.own, "virbr8"},
		{"a machine on a foreign bridge", foreign, "eth0"},
	} {
		spies = append(spies, h.spy(at.where, at.ns, at.link, words...))
	}
	targets := []netip.Addr{open.v4, open.v6, netip.MustParseAddr("10.88.0.2"), netip.MustParseAddr("fd88::2")}
	passing := func(op string) {
		for _, a := range []string{passingV4 + "/32", passingV6 + "/128"} {
			h.sh("ip", "addr", op, a, "dev", "lo")
		}
	}
	passing("add")
	t.Cleanup(func() { passing("del") })
	n := newNoise(t, targets)
	for _, c := range closed {
		c.create(h, n)
	}
	n.rounds(t, 2)
	useSockets(h, closed[:2], targets)
	passing("del")
	n.rounds(t, 1)
	passing("add")
	// A router for multicast is no way out either.
	for _, group := range []string{"239.9.9.9", "ff0e::9"} {
		g := netip.MustParseAddr(group)
		source := closed[0].member.v4
		if g.Is6() {
			source = closed[0].member.v6
		}
		end := h.routeMulticast("br1", "eth0", source, g)
		n.rounds(t, 1)
		end()
	}
	for _, c := range closed {
		c.remove(h)
	}
	for _, c := range closed {
		c.create(h, n)
	}
	n.rounds(t, 1)
	h.ctl.Stop()
	n.rounds(t, 1)
	for _, c := range h.running {
		c.close()
	}
	h.running = nil
	h.start()
	open = h.container("open", nil, h.netByName("net9"))
	for _, c := range closed {
		c.net = h.netByName(fmt.Sprint("net", c.num))
		c.join(h, n)
	}
	n.rounds(t, 1)
	if on == nftables {
		// The kernel protects our tables from the first change after a start on: this
		// takes but others away. Nothing protects rules of iptables, and until their
		// repair the host's routes lead anywhere.
		h.network(3)
		_, err := run("nft", "flush", "ruleset")
		t.Log("nft flush ruleset:", err)
		n.rounds(t, 2)
		if err := standardTables(); err != nil {
			t.Fatal(err)
		}
	}
	n.end()
	// What comes last comes by the same ways, and is seen: so what is not seen has not left.
	for _, a := range []string{lanV4, open.v4.String(), "10.88.0.2"} {
		c, err := h.own.Dial(t.Context(), "udp", at(a, port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(known)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range spies {
		if s.where == "a container of another network" {
			continue // its link has gone with the restart
		}
		s.sees(t, []byte(known))
	}
	for _, s := range spies {
		for _, f := range s.end(t) {
			if string(f[len(f)-len(known):]) != known {
				t.Errorf("%s has seen %x", s.where, f)
				break
			}
		}
	}
	t.Logf("%d frames sent", n.sent.Load())
}

// A closedNetwork is a network that nothing leaves, and its one noisy member.
type closedNetwork struct {
	num    int
	opts   []netOption
	net    libnetwork.Network
	member *container
}

func (c *closedNetwork) create(h *host, n *noise) {
	h.t.Helper()
	c.net = h.network(c.num, c.opts...)
	// What the host answers to noise from that address shall leave. What waits for a neighbour
	// that is not there takes, of all namespaces, the buffer of the kernel's own ICMPv6 socket,
	// and tests that run beside this one would not be told of closed ports.
	bridge := fmt.Sprint("br", c.num)
	if off, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + bridge + "/disable_ipv6"); err == nil && string(off) == "0\n" {
		h.sh("ip", "neigh", "replace", "fe80::2", "lladdr", noisyMAC(c.num).String(), "dev", bridge, "nud", "permanent")
	}
	c.join(h, n)
}

// join makes the member, which is noisy from the first moment on.
func (c *closedNetwork) join(h *host, n *noise) {
	h.t.Helper()
	name := fmt.Sprint("member", c.num)
	sb, err := h.ctl.NewSandbox(name, libnetwork.OptionDNS(quietV4))
	if err != nil {
		h.t.Fatal(err)
	}
	ns, err := netns.Open(nil, sb.Key())
	if err != nil {
		h.t.Fatal(err)
	}
	c.member = &container{name: name, sb: sb, ns: ns}
	h.running = append(h.running, c.member)
	n.from(c, ns)
	if _, err := c.member.join(c.net); err != nil {
		h.t.Fatal(err)
	}
}

func (c *closedNetwork) remove(h *host) {
	h.t.Helper()
	h.remove(c.member)
	h.drop(c.net)
}

// noise is what members send, over and over.
type noise struct {
	targets []netip.Addr
	bridges []netip.Addr // those of the targets that are closed networks' own, while these are there
	sent    atomic.Int64
	round   map[int]*atomic.Int64 // of the last member, by the number of its network
	stop    chan struct{}
	wg      sync.WaitGroup
}

func newNoise(t *testing.T, targets []netip.Addr) *noise {
	t.Helper()
	for _, a := range []string{
		quietV4, quietV6, voidV4, voidV6, "255.255.255.255", "192.0.2.255", "10.99.9.255", "224.0.0.251", "239.9.9.9",
		"ff02::1", "ff02::fb", "ff05::9", "ff0e::9",
	} {
		targets = append(targets, netip.MustParseAddr(a))
	}
	// The host itself, which would answer to whom it is told that it came from.
	n := &noise{round: make(map[int]*atomic.Int64), stop: make(chan struct{})}
	for _, a := range []string{
		"10.99.1.1", "10.99.2.1", "10.99.6.1", "10.99.7.1", "fd99:0:0:1::1", "fd99:0:0:2::1", "fd99:0:0:7::1", "fd99:0:0:8::1",
	} {
		n.bridges = append(n.bridges, netip.MustParseAddr(a))
	}
	n.targets = append(append(targets, netip.MustParseAddr(hostV4), netip.MustParseAddr(hostV6)), n.bridges...)
	t.Cleanup(n.end)
	return n
}

func (n *noise) end() {
	select {
	case <-n.stop:
	default:
		close(n.stop)
	}
	n.wg.Wait()
}

// rounds waits until every member has sent every frame so often.
func (n *noise) rounds(t *testing.T, count int64) {
	t.Helper()
	for num, r := range n.round {
		// Those that are being sent have begun before.
		defer func(want int64) {
			eventually(t, fmt.Sprintf("member%d sends nothing", num), func() bool { return r.Load() >= want })
		}(r.Load() + count + 1)
	}
}

// from has a namespace send as soon as it has a link, and as long as it has one.
func (n *noise) from(c *closedNetwork, ns *netns.Namespace) {
	own, err := netns.Open(nil, ns.Path()) // it stays when the container is closed
	if err != nil {
		return
	}
	round := new(atomic.Int64)
	n.round[c.num] = round
	n.wg.Go(func() {
		defer own.Close()
		tick := time.NewTicker(time.Millisecond) // leaves something of the machine to others
		defer tick.Stop()
		var s sender
		for {
			select {
			case <-n.stop:
				return
			case <-tick.C:
			}
			var err error
			if s, err = newSender(own, "eth0"); err == nil {
				break
			}
		}
		defer s.close()
		tick.Reset(30 * time.Millisecond)
		for list := n.frames(c.num); ; round.Add(1) {
			for _, f := range list {
				if err := s.send(f); err == nil {
					n.sent.Add(1)
				} else if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
					return // the link is gone
				}
			}
			select {
			case <-n.stop:
				return
			case <-tick.C:
			}
		}
	})
}

// noisyMAC is what the member of a network has for its own.
func noisyMAC(num int) net.HardwareAddr { return net.HardwareAddr{2, 0x42, 10, 99, byte(num), 2} }

// frames are all that a member of a network sends in one round.
func (n *noise) frames(num int) [][]byte {
	mac := noisyMAC(num)
	bridge := broadcastMAC
	if l, err := net.InterfaceByName(fmt.Sprint("br", num)); err == nil {
		bridge = l.HardwareAddr
	}
	own := map[bool]netip.Addr{
		false: netip.MustParseAddr(fmt.Sprintf("10.99.%d.2", num)),
		true:  netip.MustParseAddr(fmt.Sprintf("fd99:0:0:%d::2", num)),
	}
	none := map[bool]netip.Addr{false: netip.IPv4Unspecified(), true: netip.IPv6Unspecified()}
	var list [][]byte
	for _, dst := range n.targets {
		v6 := dst.Is6()
		sources := []string{hostV4, lanV4, "10.99.9.2", "10.99.9.1", "10.88.0.3", "127.0.0.1", "0.0.0.0"}
		if v6 {
			sources = []string{hostV6, lanV6, "fd99:0:0:9::2", "fd99:0:0:9::1", "fd88::3", "::1", "::", "fe80::2"}
		}
		to := []net.HardwareAddr{bridge, broadcastMAC, portMAC}
		if dst.IsMulticast() {
			to = append(to, groupMAC(dst))
		}
		for _, mac2 := range to {
			mine := carried(mac, mac2, netip.AddrPortFrom(own[v6], 4000), netip.AddrPortFrom(dst, port), secret)
			list = append(list, mine, dying(mine))
			for _, src := range sources {
				list = append(list, carried(mac, mac2, netip.AddrPortFrom(netip.MustParseAddr(src), 4000), netip.AddrPortFrom(dst, port), secret))
				// The host answers a link-local address. If its network goes before that is
				// found at the link, the host tells the sender of the answer: itself, at the
				// address that it had there, which now leads anywhere.
				if src != "fe80::2" || !slices.Contains(n.bridges, dst) {
					list = append(list, echoRequest(mac, mac2, netip.MustParseAddr(src), dst, secret))
				}
			}
		}
	}
	// The host answers, so that connection tracking takes these for established.
	for _, dst := range []string{hostV4, hostV6, passingV4, passingV6} {
		a := netip.MustParseAddr(dst)
		list = append(list, echoRequest(mac, bridge, own[a.Is6()], a, secret))
		for _, src := range []netip.Addr{own[a.Is6()], none[a.Is6()]} {
			list = append(list, opening(mac, bridge, netip.AddrPortFrom(src, 4001), netip.AddrPortFrom(a, port)))
		}
	}
	for _, ask := range []string{quietV4, voidV4} {
		for _, as := range []string{own[false].String(), lanV4, "10.99.9.2"} {
			list = append(list, arpRequest(mac, netip.MustParseAddr(as), netip.MustParseAddr(ask)))
		}
	}
	for _, ask := range []string{quietV6, voidV6} {
		for _, as := range []netip.Addr{own[true], netip.MustParseAddr(lanV6)} {
			list = append(list, solicitation(mac, as, netip.MustParseAddr(ask)))
		}
	}
	const tagged, experimental = 0x8100, 0x88b5
	list = append(list,
		ethernet(mac, bridge, experimental, []byte(secret)),
		ethernet(mac, broadcastMAC, experimental, []byte(secret)),
		ethernet(mac, net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0}, experimental, []byte(secret)), // of the bridge group
		ethernet(mac, bridge, tagged, append([]byte{0, 9, 8, 0}, datagram(
			netip.AddrPortFrom(own[false], 4000), netip.AddrPortFrom(netip.MustParseAddr(quietV4), port), secret)...)),
	)
	return list
}

// portMAC is a group address of bridges (IEEE 802.1AB): what is for it comes to the host by
// the port alone.
var portMAC = net.HardwareAddr{1, 0x80, 0xc2, 0, 0, 0x0e}

// arpRequest asks who has an address (RFC 826).
func arpRequest(mac net.HardwareAddr, from, who netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	b = append(append(b, mac...), from.AsSlice()...)
	b = append(append(b, 0, 0, 0, 0, 0, 0), who.AsSlice()...)
	return ethernet(mac, broadcastMAC, unix.ETH_P_ARP, b)
}

// solicitation asks who has an address (RFC 4861).
func solicitation(mac net.HardwareAddr, from, who netip.Addr) []byte {
	body := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, who.AsSlice()...)
	body = append(append(body, 1, 1), mac...)
	w := who.As16()
	group := netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: w[13], 14: w[14], 15: w[15]})
	return icmp6(mac, groupMAC(group), from, group, body)
}

func icmp6(mac, to net.HardwareAddr, from, dst netip.Addr, body []byte) []byte {
	pseudo := append(from.AsSlice(), dst.AsSlice()...)
	pseudo = append(pseudo, 0, 0, 0, byte(len(body)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(body[2:], checksum(append(pseudo, body...)))
	ip := []byte{0x60, 0, 0, 0, 0, byte(len(body)), unix.IPPROTO_ICMPV6, 255}
	ip = append(append(ip, from.AsSlice()...), dst.AsSlice()...)
	return ethernet(mac, to, unix.ETH_P_IPV6, append(ip, body...))
}

// echoRequest is what everybody answers to whom it says that it comes from (RFC 792,
// RFC 4443).
func echoRequest(mac, to net.HardwareAddr, from, dst netip.Addr, text string) []byte {
	if dst.Is6() {
		return icmp6(mac, to, from, dst, append([]byte{128, 0, 0, 0, 0, 1, 0, 1}, text...))
	}
	body := append([]byte{8, 0, 0, 0, 0, 1, 0, 1}, text...)
	binary.BigEndian.PutUint16(body[2:], checksum(body))
	ip := []byte{0x45, 0, 0, byte(20 + len(body)), 0, 0, 0, 0, 64, unix.IPPROTO_ICMP, 0, 0}
	ip = append(append(ip, from.AsSlice()...), dst.AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return ethernet(mac, to, unix.ETH_P_IP, append(ip, body...))
}

// opening asks for a connection of TCP (RFC 9293). If only by a refusal, the host answers
// to whom it is told that it came from.
func opening(mac, to net.HardwareAddr, from, dst netip.AddrPort) []byte {
	frame := carried(mac, to, from, dst, "")
	const headers, udp, tcp = 14, 8, 20
	f := frame[:len(frame)-udp]
	body := binary.BigEndian.AppendUint16(nil, from.Port())
	body = binary.BigEndian.AppendUint16(body, dst.Port())
	body = append(body, 0, 0, 0, 1, 0, 0, 0, 0, tcp/4<<4, 2, 0xff, 0xff, 0, 0, 0, 0) // SYN
	pseudo := append(from.Addr().AsSlice(), dst.Addr().AsSlice()...)
	pseudo = append(pseudo, 0, unix.IPPROTO_TCP, 0, tcp)
	binary.BigEndian.PutUint16(body[16:], checksum(append(pseudo, body...)))
	ip := f[headers:]
	if dst.Addr().Is6() {
		ip[5], ip[6] = tcp, unix.IPPROTO_TCP
	} else {
		ip[3], ip[9], ip[10], ip[11] = 20+tcp, unix.IPPROTO_TCP, 0, 0
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	}
	return append(f, body...)
}

// useSockets has members with routes to everywhere do as programs do.
func useSockets(h *host, closed []*closedNetwork, targets []netip.Addr) {
	h.t.Helper()
	for _, a := range []string{quietV4, quietV6, voidV4, voidV6} {
		targets = append(targets, netip.MustParseAddr(a))
	}
	var list []visit
	for _, c := range closed {
		key, mac := c.member.sb.Key(), h.macOf(fmt.Sprint("br", c.num))
		for _, gw := range []string{fmt.Sprintf("10.99.%d.254", c.num), fmt.Sprintf("fd99:0:0:%d::fe", c.num)} {
			h.in(key, "ip", "neigh", "replace", gw, "lladdr", mac, "dev", "eth0")
			h.in(key, "ip", "route", "add", "default", "via", gw)
		}
		for _, a := range targets {
			list = append(list, visit{who: c.member.name, from: c.member.ns, to: at(a, port)})
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*impatience)
	defer cancel()
	for _, c := range closed {
		wg.Go(func() {
			if got, err := c.member.lookup(ctx, "ip", "example.com."); err == nil {
				h.t.Errorf("%s finds a name of outside at %v", c.member.name, got)
			}
		})
	}
	h.visit(list...)
	wg.Wait()
}
