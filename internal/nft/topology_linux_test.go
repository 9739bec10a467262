package nft_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// A topology is a host with two networks, three containers and two LANs:
//
//	c1a 172.20.1.2 --- br1 172.20.1.1 +------+ eth0 192.0.2.1 --- lan  192.0.2.9
//	c1b 172.20.1.3 --/                | host |
//	c2  172.20.2.2 --- br2 172.20.2.1 +------+ eth1 192.0.3.1 --- lan2 192.0.3.9
//
// IPv6 is the same with fd00:N::/64 and 2001:db8:N::/64. The machines on the
// LANs have routes to the networks by the host, as an attacker would.
type topology struct {
	t                             testing.TB
	host, c1a, c1b, c2, lan, lan2 *nstest.NS
}

func newTopology(t testing.TB) *topology {
	t.Helper()
	nstest.Require(t, nstest.Bridge)
	nstest.Require(t, nstest.Veth)
	nstest.Require(t, nstest.NFTables)
	p := &topology{
		t: t, host: nstest.New(t), c1a: nstest.New(t), c1b: nstest.New(t),
		c2: nstest.New(t), lan: nstest.New(t), lan2: nstest.New(t),
	}
	for _, ns := range []*nstest.NS{p.host, p.c1a, p.c1b, p.c2, p.lan, p.lan2} {
		// A router without a link-local address looks for nobody, and it would get its own
		// after a search for duplicates.
		p.sysctl(ns, "ipv6/conf/default/dad_transmits", "0")
	}
	p.sysctl(p.host, "ipv4/ip_forward", "1")
	p.sysctl(p.host, "ipv6/conf/all/forwarding", "1")
	p.frames("0")
	for i := 1; i <= 2; i++ {
		br := fmt.Sprintf("br%d", i)
		p.run(p.host, "ip", "link", "add", br, "type", "bridge")
		p.sysctl(p.host, "ipv4/conf/"+br+"/route_localnet", "1")
		p.address(p.host, br, fmt.Sprintf("172.20.%d.1/24", i), fmt.Sprintf("fd00:%d::1/64", i))
	}
	p.container(p.c1a, "v1a", "br1", 1, 2)
	p.container(p.c1b, "v1b", "br1", 1, 3)
	p.container(p.c2, "v2", "br2", 2, 2)
	for i, ns := range []*nstest.NS{p.lan, p.lan2} {
		eth := fmt.Sprintf("eth%d", i)
		p.veth(eth, ns)
		p.address(p.host, eth, fmt.Sprintf("192.0.%d.1/24", i+2), fmt.Sprintf("2001:db8:%d::1/64", i+2))
		p.address(ns, "eth0", fmt.Sprintf("192.0.%d.9/24", i+2), fmt.Sprintf("2001:db8:%d::9/64", i+2))
		p.run(ns, "ip", "route", "add", "default", "via", fmt.Sprintf("192.0.%d.1", i+2))
		p.run(ns, "ip", "route", "add", "default", "via", fmt.Sprintf("2001:db8:%d::1", i+2))
	}
	return p
}

// frames says whether frames that stay on a bridge pass the rules too.
func (p *topology) frames(value string) {
	p.t.Helper()
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		return
	}
	p.sysctl(p.host, "bridge/bridge-nf-call-iptables", value)
	p.sysctl(p.host, "bridge/bridge-nf-call-ip6tables", value)
}

func (p *topology) veth(host string, ns *nstest.NS) {
	p.t.Helper()
	// The name of the other namespace: a file that ip can open.
	p.run(p.host, "ip", "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", ns.Path())
}

func (p *topology) container(ns *nstest.NS, host, br string, net, num int) {
	p.t.Helper()
	p.veth(host, ns)
	p.run(p.host, "ip", "link", "set", host, "master", br, "up")
	p.address(ns, "eth0", fmt.Sprintf("172.20.%d.%d/24", net, num), fmt.Sprintf("fd00:%d::%d/64", net, num))
	p.run(ns, "ip", "route", "add", "default", "via", fmt.Sprintf("172.20.%d.1", net))
	p.run(ns, "ip", "route", "add", "default", "via", fmt.Sprintf("fd00:%d::1", net))
}

func (p *topology) address(ns *nstest.NS, link string, addrs ...string) {
	p.t.Helper()
	for _, a := range addrs {
		args := []string{"ip", "addr", "add", a, "dev", link}
		if strings.Contains(a, ":") {
			args = append(args, "nodad")
		}
		p.run(ns, args...)
	}
	p.run(ns, "ip", "link", "set", link, "up")
}

func (p *topology) run(ns *nstest.NS, args ...string) string {
	p.t.Helper()
	var out []byte
	err := ns.Do(func() (err error) {
		out, err = exec.Command(args[0], args[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (p *topology) sysctl(ns *nstest.NS, name, value string) {
	p.t.Helper()
	err := ns.Do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644) })
	if err != nil {
		p.t.Fatal(err)
	}
}

// firewall opens the host's firewall.
func (p *topology) firewall(cfg nft.Config) *nft.Firewall {
	p.t.Helper()
	var f *nft.Firewall
	err := p.host.Do(func() (err error) {
		f, err = nft.Open(p.t.Context(), cfg)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = f.Close() })
	return f
}

func (p *topology) apply(f *nft.Firewall, add, del nft.Change) {
	p.t.Helper()
	if err := f.Apply(p.t.Context(), add, del); err != nil {
		p.t.Fatal(err)
	}
}

// serve answers every connection or datagram with the address of the client,
// until the test ends.
func (p *topology) serve(ns *nstest.NS, proto, addr string) {
	p.t.Helper()
	var l net.Listener
	var c net.PacketConn
	err := ns.Do(func() (err error) {
		if proto == "udp" {
			c, err = net.ListenPacket("udp", addr)
		} else {
			l, err = net.Listen("tcp", addr)
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	var wg sync.WaitGroup
	p.t.Cleanup(func() {
		if l != nil {
			_ = l.Close()
		} else {
			_ = c.Close()
		}
		wg.Wait()
	})
	wg.Go(func() {
		if l != nil {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte(conn.RemoteAddr().String()))
				_ = conn.Close()
			}
		}
		buf := make([]byte, 100)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(from.String()), from)
		}
	})
}

const (
	patience   = 5 * time.Second        // for what must work
	impatience = 250 * time.Millisecond // for what must not
)

// ask returns the client's address as the server sees it.
func (p *topology) ask(ns *nstest.NS, proto, addr string, wait time.Duration) (netip.AddrPort, error) {
	var seen netip.AddrPort
	err := ns.Do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		var d net.Dialer
		c, err := d.DialContext(ctx, proto, addr)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(wait))
		if proto == "udp" {
			if _, err := c.Write([]byte("x")); err != nil {
				return err
			}
		}
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		seen, err = netip.ParseAddrPort(string(buf[:n]))
		return err
	})
	return seen, err
}

// open checks that an address answers, and which client address it sees.
func (p *topology) open(ns *nstest.NS, proto, addr, client string) {
	p.t.Helper()
	seen, err := p.ask(ns, proto, addr, patience)
	if err != nil {
		p.t.Errorf("%s %s: %v, want an answer", proto, addr, err)
		return
	}
	if client != "" && seen.Addr().Unmap().String() != client {
		p.t.Errorf("%s %s: the server sees %s, want %s", proto, addr, seen.Addr(), client)
	}
}

// closed checks that an address does not answer.
func (p *topology) closed(ns *nstest.NS, proto, addr string) {
	p.t.Helper()
	if _, err := p.ask(ns, proto, addr, impatience); err == nil {
		p.t.Errorf("%s %s answers, want it closed", proto, addr)
	}
}
