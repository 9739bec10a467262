package scenario_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/types"
)

// The access paths that no rule of the kernel serves, beside those that it does,
// with the userland proxy on and off.
func TestScenario13Forwarded(t *testing.T) {
	onEachBesideDocker(t, "scenario 13 ports that no rule serves are reached, and closed with their container", testScenario13Forwarded)
}

func testScenario13Forwarded(t *testing.T, on backend) {
	for name, settings := range map[string][]string{"proxy off": nil, "proxy on": {"EnableUserlandProxy"}} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, on.option(settings...))
			four, dual := h.network(1, only4), h.network(2)
			sibling, stranger := h.container("sibling", nil, four), h.container("stranger", nil, dual)
			other := h.container("other", nil, h.network(4))
			inner := h.container("inner", nil, h.network(5, inside))
			t.Run("an IPv4 container on all addresses of the host", func(*testing.T) {
				c := h.container("c1", both(nil, 7001, 0), four)
				h.visit(
					visit{who: "host", from: h.own, to: at("127.0.0.1", 7001), want: "c1"},
					visit{who: "host", from: h.own, to: at(hostV4, 7001), want: "c1"},
					visit{"lan", h.lan, at(hostV4, 7001), "c1", lanV4}, // the rule keeps the source
					visit{who: "sibling", from: sibling.ns, to: at(hostV4, 7001), want: "c1"},
					visit{who: "itself", from: c.ns, to: at(hostV4, 7001), want: "c1"},
					visit{who: "stranger", from: stranger.ns, to: at(hostV4, 7001), want: "c1"},
					// The container sees the bridge's address where the port is forwarded.
					visit{"host", h.own, at("::1", 7001), "c1", "10.99.1.1"},
					visit{"host", h.own, at(hostV6, 7001), "c1", "10.99.1.1"},
					visit{"lan", h.lan, at(hostV6, 7001), "c1", "10.99.1.1"},
					visit{"stranger", stranger.ns, at(hostV6, 7001), "c1", "10.99.1.1"},
					// Members of internal networks reach nobody by way of the process.
					visit{who: "inner", from: inner.ns, to: at("fd99:0:0:5::1", 7001)},
					visit{who: "inner", from: inner.ns, to: at("10.99.5.1", 7001)},
				)
				h.remove(c)
				h.visit(visit{who: "lan", from: h.lan, to: at(hostV6, 7001)})
				listenable(t, "tcp", "[::]:7001")
				listenable(t, "udp", "[::]:7001")
			})
			t.Run("a container of both families by ::1", func(t *testing.T) {
				c := h.container("c2", both(nil, 7002, 0), dual)
				h.toAll(inner, 7002)
				list := []visit{
					{"host", h.own, at("::1", 7002), "c2", "fd99:0:0:2::1"},
					{"host", h.own, at("fe80::1%eth0", 7002), "c2", "fd99:0:0:2::1"},
					{"lan", h.lan, at("fe80::1%eth0", 7002), "c2", "fd99:0:0:2::1"},
					{who: "host", from: h.own, to: at("127.0.0.1", 7002), want: "c2"},
				}
				// A rule leads there, proxy or not.
				for host, f := range map[string]struct{ lan, gateway string }{hostV4: {lanV4, "10.99.2.1"}, hostV6: {lanV6, "fd99:0:0:2::1"}} {
					list = append(
						list,
						visit{"lan", h.lan, at(host, 7002), "c2", f.lan},
						visit{"host", h.own, at(host, 7002), "c2", host},
						visit{"sibling", stranger.ns, at(host, 7002), "c2", f.gateway},
						visit{"sibling by the bridge", stranger.ns, at(f.gateway, 7002), "c2", f.gateway},
						visit{"itself", c.ns, at(host, 7002), "c2", f.gateway},
						visit{"container of another network", other.ns, at(host, 7002), "c2", f.gateway},
					)
				}
				h.visit(list...)
				if c.srv.has(secret) {
					t.Error("c2 has got what a member of an internal network has sent to all")
				}
				h.remove(c)
			})
			for _, tt := range []struct{ name, host, asked, other string }{
				{"an IPv4 container on ::1 alone", "::1", "::1", hostV6},
				{"an IPv4 container on one IPv6 address", hostV6, hostV6, "::1"},
				{"an IPv4 container on the address of an internal network's bridge", "fd99:0:0:5::1", "fd99:0:0:5::1", hostV6},
			} {
				t.Run(tt.name, func(*testing.T) {
					c := h.container("c3", both(net.ParseIP(tt.host), 7003, 0), four)
					h.visit(
						visit{who: "host", from: h.own, to: at(tt.asked, 7003), want: "c3"},
						visit{who: "host", from: h.own, to: at(tt.other, 7003)},
						visit{who: "host", from: h.own, to: at(hostV4, 7003)},
						visit{who: "inner", from: inner.ns, to: at("fd99:0:0:5::1", 7003)},
					)
					h.remove(c)
				})
			}
			t.Run("a container of both families on ::1 alone", func(*testing.T) {
				c := h.container("c4", both(net.IPv6loopback, 7004, 0), dual)
				h.visit(
					visit{who: "host", from: h.own, to: at("::1", 7004), want: "c4"},
					visit{who: "lan", from: h.lan, to: at(hostV6, 7004)},
				)
				h.remove(c)
			})
			t.Run("a network bound to an IPv4 address stays closed on IPv6", func(*testing.T) {
				bound := h.network(3, only4, label(labelHostIP, hostV4))
				c := h.container("c5", both(nil, 7005, 0), bound)
				h.visit(
					visit{who: "lan", from: h.lan, to: at(hostV4, 7005), want: "c5"},
					visit{who: "lan", from: h.lan, to: at(hostV6, 7005)},
				)
				h.remove(c)
				h.drop(bound)
			})
		})
	}
}

// toAll sends a datagram to all machines on a container's link, the host among them.
func (h *host) toAll(c *container, port uint16) {
	h.t.Helper()
	s, err := newSender(c.ns, "eth0")
	if err != nil {
		h.t.Fatal(err)
	}
	defer s.close()
	all := netip.MustParseAddrPort(at("ff02::1", port))
	if err := s.send(carried(net.HardwareAddr{2, 0x42, 1, 2, 3, 4}, groupMAC(all.Addr()), netip.AddrPortFrom(c.v6, 4000), all, secret)); err != nil {
		h.t.Fatal(err)
	}
}

// A port that somebody else has on IPv6 is refused as one on IPv4 is, and a free one
// is found instead where it is ours to choose.
func TestScenario11ForwardedConflict(t *testing.T) {
	onEachBesideDocker(t, "scenario 11 a port that is taken on IPv6 alone is refused, and another one found", testScenario11ForwardedConflict)
}

func testScenario11ForwardedConflict(t *testing.T, on backend) {
	h := newHost(t, on.option())
	four := h.network(1, only4)
	l, err := net.Listen("tcp6", "[::1]:7001")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = h.tryContainer("c1", publish(types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001}), four)
	failed(t, err, "Forbidden", "[::]:7001")
	if free, err := net.Listen("tcp4", "0.0.0.0:7001"); err != nil {
		t.Error(err)
	} else {
		_ = free.Close()
	}
	c := h.container("c1", publish(types.PortBinding{Proto: types.TCP, Port: port, HostPort: 7001, HostPortEnd: 7002}), four)
	h.visitBy([]string{"tcp"},
		visit{who: "lan", from: h.lan, to: at(hostV4, 7002), want: "c1"},
		visit{who: "lan", from: h.lan, to: at(hostV6, 7002), want: "c1"})
	h.remove(c)
}

// What the daemon itself carries to containers pauses with it: connections end, and
// the next daemon carries again.
func TestForwardsRestart(t *testing.T) {
	onEachBesideDocker(t, "scenario 13 ports that no rule serves work again after a restart and a kill", testForwardsRestart)
}

func testForwardsRestart(t *testing.T, on backend) {
	for _, tt := range []struct {
		name, env    string
		host, others []string // whom the daemon serves: the host, and lan
	}{
		{"a container of both families", "", []string{"::1"}, nil},
		{"a container of IPv4 alone", daemonEnv + "_FOUR=1", []string{"::1", hostV6}, []string{hostV6}},
	} {
		if tt.env == "" && on != nftables {
			continue // the same but for the address, which neither backend nor Docker has to do with
		}
		t.Run(tt.name, func(t *testing.T) {
			h := bareHost(t, on.option())
			d := h.daemon(on, tt.env)
			ns, err := netns.Open(nil, d.key)
			if err != nil {
				t.Fatal(err)
			}
			stop := echo(t, ns)
			each := func(do func(from *netns.Namespace, proto, to string)) {
				var wg sync.WaitGroup
				defer wg.Wait()
				for proto := range protocols {
					for _, a := range tt.host {
						wg.Go(func() { do(h.own, proto, at(a, 8080)) })
					}
					for _, a := range tt.others {
						wg.Go(func() { do(h.lan, proto, at(a, 8080)) })
					}
				}
			}
			served := func(when string) {
				t.Helper()
				each(func(from *netns.Namespace, proto, to string) {
					if err := echoed(from, proto, to); err != nil {
						t.Errorf("%s: %s %s: %v", when, proto, to, err)
					}
				})
			}
			served("first")
			for _, kind := range []struct {
				name string
				end  func(*aDaemon, *testing.T)
			}{{"a stop", (*aDaemon).stop}, {"a kill", (*aDaemon).kill}} {
				open := talking(t, h.own, at("::1", 8080))
				kind.end(d, t)
				if n, err := open.Read(make([]byte, 1)); err == nil {
					t.Errorf("after %s a connection says %d bytes more", kind.name, n)
				}
				_ = open.Close()
				each(func(from *netns.Namespace, proto, to string) {
					// Over and over: the kernel limits the ICMP errors of all namespaces together.
					if _, err := ask(from, proto, to, patience); !errors.Is(err, unix.ECONNREFUSED) {
						t.Errorf("after %s %s %s is not refused: %v", kind.name, proto, to, err)
					}
				})
				d = h.daemon(on)
				served("after " + kind.name)
			}
			d.stop(t)
			stop()
			if err := ns.Close(); err != nil {
				t.Error(err)
			}
			h.clean(on)
		})
	}
}

// talking is a connection that has been answered.
func talking(t *testing.T, from *netns.Namespace, to string) net.Conn {
	t.Helper()
	c, err := from.Dial(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(c); err != nil {
		t.Fatal(err)
	}
	return c
}

// echoed says whether a server answers with what it is told.
func echoed(from *netns.Namespace, proto, to string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := from.Dial(ctx, proto, to)
	if err != nil {
		return err
	}
	defer c.Close()
	return exchange(c)
}

func exchange(c net.Conn) error {
	var b [4]byte
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "echo"); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, b[:]); err != nil || string(b[:]) != "echo" {
		return fmt.Errorf("answer %q: %w", b, err)
	}
	return nil
}

// TestLoopbackStaysLocal has a host that takes packets for loopback addresses from
// anywhere.
func TestLoopbackStaysLocal(t *testing.T) {
	onEachBesideDocker(t, "scenario 14 a port on 127.0.0.1 that the process serves is not reached from outside", func(t *testing.T, on backend) {
		h := newHost(t, on.option("EnableUserlandProxy"))
		n := h.network(1)
		h.container("loop", both(net.IPv4(127, 0, 0, 1), 7001, 0), n)
		h.container("open", both(nil, 7002, 0), n)
		evil := h.anotherMachine("evil", 3)
		for _, l := range []string{
			"ip addr del 127.0.0.1/8 dev lo",
			"sysctl -q -w net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.eth0.route_localnet=1",
			"ip route add 127.0.0.0/8 via 192.0.3.1",
		} {
			h.in(evil.Path(), strings.Fields(l)...)
		}
		h.sh("sysctl", "-q", "-w", "net.ipv4.conf.all.route_localnet=1")
		t.Cleanup(func() { h.sh("sysctl", "-q", "-w", "net.ipv4.conf.all.route_localnet=0") })
		h.visit(
			visit{who: "evil", from: evil, to: at("192.0.3.1", 7002), want: "open"},
			visit{who: "evil", from: evil, to: at("127.0.0.1", 7001)},
			visit{who: "host", from: h.own, to: at("127.0.0.1", 7001), want: "loop"},
		)
	})
}
