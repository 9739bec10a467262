package scenario_test

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/netns"
)

// connections returns what the kernel tracks that names one of the addresses.
func (h *host) connections(addrs ...netip.Addr) []string {
	h.t.Helper()
	var list []string
	for _, family := range []string{"ipv4", "ipv6"} {
		out := h.sh("conntrack", "-L", "-f", family)
		for line := range strings.Lines(out) {
			for _, a := range addrs {
				if strings.Contains(line, "="+a.String()+" ") {
					list = append(list, strings.TrimSpace(line))
					break
				}
			}
		}
	}
	return list
}

func TestConnectionsEndWithTheContainer(t *testing.T) {
	onEachBesideDocker(t, "no connection outlives the container", testConnectionsEnd)
}

func testConnectionsEnd(t *testing.T, on backend) {
	h := newHost(t, on.option())
	h.lanServer()
	n, wide := h.network(1), h.network(2)
	ask := func(from *netns.Namespace, proto, to string) func() {
		return func() {
			t.Helper()
			c, err := from.Dial(t.Context(), proto, to)
			if err != nil {
				t.Fatal(err)
			}
			// It stays open: an established connection is what is remembered longest.
			t.Cleanup(func() { _ = c.Close() })
			if proto == "udp" {
				if _, err := c.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := bufio.NewReader(c).ReadByte(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for proto := range protocols {
		for _, tt := range []struct {
			name string
			do   func(c *container) func()
		}{
			{"through its port", func(*container) func() { return ask(h.lan, proto, at(hostV4, 7001)) }},
			{"through its port, ipv6", func(*container) func() { return ask(h.lan, proto, at(hostV6, 7001)) }},
			{"from the host, to its address", func(c *container) func() { return ask(h.own, proto, at(c.v4, port)) }},
			{"from the host, to its address, ipv6", func(c *container) func() { return ask(h.own, proto, at(c.v6, port)) }},
			{"to the outside", func(c *container) func() { return ask(c.ns, proto, at(lanV4, port)) }},
			{"to the outside, ipv6", func(c *container) func() { return ask(c.ns, proto, at(lanV6, port)) }},
		} {
			if proto == "tcp" && strings.HasPrefix(tt.name, "from the host") {
				continue // the host's own late acknowledgement would be tracked anew
			}
			t.Run(proto+" "+tt.name, func(t *testing.T) {
				h.t = t
				// Containers that publish nothing leave connections, and addresses are used again.
				h.sh("conntrack", "-F")
				c := h.container("c1", both(nil, 7001, 0), n, wide)
				second := toAddr(c.eps[1].Info().Iface().Address())
				if got := h.connections(c.v4, second); len(got) != 0 {
					t.Fatalf("before it began: %q", got)
				}
				tt.do(c)()
				if got := h.connections(c.v4, c.v6); len(got) == 0 {
					t.Fatal("the kernel remembers nothing of it, so this shows nothing")
				}
				h.remove(c)
				if got := h.connections(c.v4, c.v6, second); len(got) != 0 {
					t.Errorf("left: %q", got)
				}
			})
		}
	}
}

// Datagrams of ever new clients are on their way all the time.
func TestConnectionsEndUnderTraffic(t *testing.T) {
	onEachBesideDocker(t, "no connection outlives the container, whatever is on its way", testConnectionsEndUnderTraffic)
}

func testConnectionsEndUnderTraffic(t *testing.T, on backend) {
	h := newHost(t, on.option())
	n := h.network(1)
	stop, sent := make(chan struct{}), make(chan struct{}, 1)
	var wg sync.WaitGroup
	out, err := newSender(h.lan, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer out.close()
	link, err := net.ParseMAC(h.macOf("eth0"))
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			from := netip.AddrPortFrom(netip.MustParseAddr(lanV4), uint16(1024+i%60000))
			if err := out.send(carried(net.HardwareAddr{2, 0, 0, 0, 0, 9}, link, from, netip.MustParseAddrPort(at(hostV4, 7001)), "x")); err != nil {
				t.Error(err)
				return
			}
			select {
			case sent <- struct{}{}:
			default:
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	seen := 0
	for i := range 5 {
		c := h.container(fmt.Sprintf("c%d", i), both(nil, 7001, 0), n)
		for range 100 {
			<-sent
		}
		seen += len(h.connections(c.v4))
		h.remove(c)
		if got := h.connections(c.v4); len(got) != 0 {
			t.Errorf("left of %s: %d connections, as %q", c.v4, len(got), got[0])
		}
	}
	if seen == 0 {
		t.Error("no datagram came through")
	}
}
