package nft_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

func twoNetworks(change ...func(*model.FirewallFamily)) []model.FirewallNetwork {
	return []model.FirewallNetwork{fwtest.Network(1, change...), fwtest.Network(2)}
}

func TestPublishedPorts(t *testing.T) {
	p := newTopology(t)
	f := p.firewall(nft.Config{})
	p.apply(f, nft.Change{Networks: twoNetworks(), Ports: slices.Concat(
		fwtest.Both("0.0.0.0", 8080, 8080, "172.20.1.2", 80), fwtest.Both("::", 8080, 8080, "fd00:1::2", 80),
		fwtest.Both("0.0.0.0", 9000, 9009, "172.20.1.2", 9000), fwtest.Both("::", 9000, 9009, "fd00:1::2", 9000),
		fwtest.Both("0.0.0.0", 9100, 9110, "172.20.1.2", 70), fwtest.Both("::", 9100, 9110, "fd00:1::2", 70),
		fwtest.Both("192.0.2.1", 8443, 8443, "172.20.1.2", 80), fwtest.Both("2001:db8:2::1", 8443, 8443, "fd00:1::2", 80),
	)}, nft.Change{})
	for _, proto := range []string{"tcp", "udp"} {
		p.serve(p.c1a, proto, ":80")
		p.serve(p.c1a, proto, ":9005")
	}
	for _, frames := range []string{"0", "1"} {
		if frames == "1" {
			nstest.Require(t, nstest.BrNetfilter)
			p.t = t
			p.frames("1")
			// A frame to itself leaves by the port that it came in.
			p.run(p.host, "bridge", "link", "set", "dev", "v1a", "hairpin", "on")
		}
		for _, proto := range []string{"tcp", "udp"} {
			t.Run("13 six ways ipv4 "+proto+" br_netfilter="+frames, func(t *testing.T) {
				p.t = t
				p.sixWays(proto, "192.0.2.1", "192.0.2.9", "172.20.1.1")
				for _, port := range []string{":8080", ":9005", ":9110"} {
					p.open(p.host, proto, "127.0.0.1"+port, "172.20.1.1")
				}
			})
			t.Run("13 six ways ipv6 "+proto+" br_netfilter="+frames, func(t *testing.T) {
				p.t = t
				p.sixWays(proto, "[2001:db8:2::1]", "2001:db8:2::9", "fd00:1::1")
			})
		}
	}
}

// sixWays asks for published ports by the host's address from everywhere.
func (p *topology) sixWays(proto, host, lan, gateway string) {
	p.t.Helper()
	for _, port := range []string{":8080", ":9005", ":9110", ":8443"} {
		p.open(p.host, proto, host+port, "")
		p.open(p.lan, proto, host+port, lan)
		p.open(p.c1b, proto, host+port, gateway)
		p.open(p.c1a, proto, host+port, gateway)
		p.open(p.c2, proto, host+port, "")
	}
}

func TestClosedWays(t *testing.T) {
	p := newTopology(t)
	f := p.firewall(nft.Config{})
	p.apply(f, nft.Change{Networks: twoNetworks(), Ports: slices.Concat(
		fwtest.Both("0.0.0.0", 8080, 8080, "172.20.1.2", 80), fwtest.Both("::", 8080, 8080, "fd00:1::2", 80),
		fwtest.Both("127.0.0.1", 8081, 8081, "172.20.1.2", 80),
		fwtest.Both("192.0.3.1", 8082, 8082, "172.20.1.2", 80),
	)}, nft.Change{})
	for _, proto := range []string{"tcp", "udp"} {
		for _, ns := range []*nstest.NS{p.c1a, p.lan} {
			p.serve(ns, proto, ":80")
			p.serve(ns, proto, ":81")
		}
		t.Run("14 direct route "+proto, func(t *testing.T) {
			p.t = t
			for _, addr := range []string{"172.20.1.2", "[fd00:1::2]"} {
				p.closed(p.lan, proto, addr+":80")
				p.closed(p.lan, proto, addr+":81")
			}
		})
		t.Run("4 other networks "+proto, func(t *testing.T) {
			p.t = t
			for _, addr := range []string{"172.20.1.2", "[fd00:1::2]"} {
				p.closed(p.c2, proto, addr+":80")
				p.open(p.c1b, proto, addr+":81", "")
				p.open(p.host, proto, addr+":81", "")
			}
		})
		t.Run("outward is masqueraded "+proto, func(t *testing.T) {
			p.t = t
			p.open(p.c1a, proto, "192.0.2.9:80", "192.0.2.1")
			p.open(p.c1a, proto, "[2001:db8:2::9]:80", "2001:db8:2::1")
		})
		t.Run("one host address is not another "+proto, func(t *testing.T) {
			p.t = t
			p.closed(p.lan, proto, "192.0.2.1:8082")
			p.open(p.lan, proto, "192.0.3.1:8082", "")
			p.closed(p.lan, proto, "192.0.2.1:8081")
			p.open(p.host, proto, "127.0.0.1:8081", "172.20.1.1")
		})
	}
	// The attacker's own loopback addresses become routable, and go by the host.
	for _, a := range []struct {
		name string
		ns   *nstest.NS
		via  string
	}{{"lan", p.lan, "192.0.2.1"}, {"container", p.c1b, "172.20.1.1"}, {"other network", p.c2, "172.20.2.1"}} {
		p.t = t
		p.sysctl(a.ns, "ipv4/conf/eth0/route_localnet", "1")
		p.run(a.ns, "ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
		p.run(a.ns, "ip", "route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local")
		src := strings.Fields(p.run(a.ns, "ip", "-4", "-o", "addr", "show", "eth0"))[3]
		src, _, _ = strings.Cut(src, "/")
		p.run(a.ns, "ip", "route", "add", "127.0.0.1", "via", a.via, "src", src)
		for _, localnet := range []string{"0", "1"} {
			t.Run("14 forged loopback from "+a.name+" route_localnet="+localnet, func(t *testing.T) {
				p.t = t
				p.sysctl(p.host, "ipv4/conf/eth0/route_localnet", localnet)
				for _, proto := range []string{"tcp", "udp"} {
					p.closed(a.ns, proto, "127.0.0.1:8081")
					p.closed(a.ns, proto, "127.0.0.1:8080")
				}
			})
		}
	}
}

func TestInternal(t *testing.T) {
	p := newTopology(t)
	f := p.firewall(nft.Config{NoOwner: true})
	want := nft.Change{Networks: twoNetworks(fwtest.Internal), Ports: fwtest.Both("0.0.0.0", 8080, 8080, "172.20.2.2", 80)}
	p.apply(f, want, nft.Change{})
	for _, proto := range []string{"tcp", "udp"} {
		for _, ns := range []*nstest.NS{p.c1a, p.c2, p.lan} {
			p.serve(ns, proto, ":80")
		}
	}
	check := func(t *testing.T) {
		p.t = t
		for _, proto := range []string{"tcp", "udp"} {
			p.open(p.c1b, proto, "172.20.1.2:80", "172.20.1.3")
			p.open(p.c1b, proto, "[fd00:1::2]:80", "fd00:1::3")
			p.open(p.host, proto, "172.20.1.2:80", "")
			for _, out := range []string{"192.0.2.9", "[2001:db8:2::9]", "172.20.2.2"} {
				p.closed(p.c1a, proto, out+":80")
			}
			p.closed(p.c1a, proto, "192.0.2.1:8080") // another network's published port
			p.closed(p.lan, proto, "172.20.1.2:80")
			p.closed(p.lan, proto, "[fd00:1::2]:80")
			p.closed(p.c2, proto, "172.20.1.2:80")
		}
	}
	t.Run("5 internal", check)
	t.Run("5 internal after a flush", func(t *testing.T) {
		p.t = t
		p.run(p.host, "nft", "flush", "ruleset")
		p.open(p.lan, "tcp", "172.20.1.2:80", "") // so the rules do matter
		if found, err := f.Reconcile(t.Context(), want, nft.Guard{}); err != nil || found != model.FoundWrong {
			t.Fatalf("Reconcile = %v, %v", found, err)
		}
		check(t)
	})
}

func TestICC(t *testing.T) {
	nstest.Require(t, nstest.BrNetfilter)
	p := newTopology(t)
	f := p.firewall(nft.Config{})
	on, off := twoNetworks(), twoNetworks(fwtest.NoICC)
	p.serve(p.c1a, "tcp", ":80")
	// With these, frames between ports of a bridge pass the forward chain too.
	p.frames("1")
	for _, tt := range []struct {
		name string
		nets []model.FirewallNetwork
		open bool
	}{{"on", on, true}, {"6 off", off, false}, {"on again", on, true}} {
		t.Run(tt.name, func(t *testing.T) {
			p.t = t
			p.apply(f, nft.Change{Networks: tt.nets}, nft.Change{})
			for _, addr := range []string{"172.20.1.2:80", "[fd00:1::2]:80"} {
				if tt.open {
					p.open(p.c1b, "tcp", addr, "")
				} else {
					p.closed(p.c1b, "tcp", addr)
				}
			}
		})
	}
	t.Run("6 off, by the gateway", func(t *testing.T) {
		p.t = t
		p.frames("0")
		p.run(p.c1b, "ip", "route", "add", "172.20.1.2", "via", "172.20.1.1")
		p.run(p.c1a, "ip", "route", "add", "172.20.1.3", "via", "172.20.1.1")
		p.run(p.host, "bridge", "link", "set", "dev", "v1a", "isolated", "on")
		p.run(p.host, "bridge", "link", "set", "dev", "v1b", "isolated", "on")
		p.open(p.c1b, "tcp", "172.20.1.2:80", "")
		p.apply(f, nft.Change{Networks: off}, nft.Change{})
		p.closed(p.c1b, "tcp", "172.20.1.2:80")
	})
}

func TestGuard(t *testing.T) {
	p := newTopology(t)
	f := p.firewall(nft.Config{})
	ports := slices.Concat(fwtest.Both("0.0.0.0", 8080, 8080, "172.20.1.2", 80), fwtest.Both("::", 8080, 8080, "fd00:1::2", 80))
	for _, ns := range []*nstest.NS{p.lan2, p.c1a} {
		p.serve(ns, "tcp", ":80")
	}
	through := func(t *testing.T, v4, v6 bool) {
		t.Helper()
		p.t = t
		for addr, open := range map[string]bool{"192.0.3.9:80": v4, "[2001:db8:3::9]:80": v6} {
			if open {
				p.open(p.lan, "tcp", addr, "")
			} else {
				p.closed(p.lan, "tcp", addr)
			}
		}
	}
	change := nft.Change{Networks: twoNetworks(), Ports: ports}
	for _, tt := range []struct {
		name string
		do   func() error
		v4   bool
		v6   bool
	}{
		{"networks alone", func() error { return f.Apply(t.Context(), change, nft.Change{}) }, true, true},
		{"both", func() error { return f.SetGuard(t.Context(), nft.Guard{V4: true, V6: true}) }, false, false},
		{"one family", func() error { return f.SetGuard(t.Context(), nft.Guard{V4: true}) }, false, true},
		{"no network left", func() error { return f.Apply(t.Context(), nft.Change{}, change) }, false, true},
		{"networks again", func() error { return f.Apply(t.Context(), change, nft.Change{}) }, false, true},
		{"off", func() error { return f.SetGuard(t.Context(), nft.Guard{}) }, true, true},
	} {
		t.Run("D21 "+tt.name, func(t *testing.T) {
			if err := tt.do(); err != nil {
				t.Fatal(err)
			}
			through(t, tt.v4, tt.v6)
			if tt.name != "no network left" {
				p.open(p.lan, "tcp", "192.0.2.1:8080", "192.0.2.9")
				p.open(p.lan, "tcp", "[2001:db8:2::1]:8080", "")
				p.open(p.c1a, "tcp", "192.0.3.9:80", "192.0.3.1")
			}
		})
	}
}

func TestForeignAccept(t *testing.T) {
	for _, backend := range []string{"nft", "legacy"} {
		t.Run("D22 "+backend, func(t *testing.T) {
			nstest.Require(t, nstest.BrNetfilter)
			p := newTopology(t)
			f := p.firewall(nft.Config{})
			p.apply(f, nft.Change{Networks: twoNetworks(), Ports: fwtest.Both("0.0.0.0", 8080, 8080, "172.20.1.2", 80)}, nft.Change{})
			p.serve(p.c1a, "tcp", ":80")
			p.serve(p.lan2, "tcp", ":80")
			p.frames("1")
			for _, tool := range []string{"iptables-" + backend, "ip6tables-" + backend} {
				for _, args := range []string{"-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-A FORWARD -j DOCKER-USER"} {
					p.run(p.host, append([]string{tool}, strings.Fields(args)...)...)
				}
			}
			save := func() string {
				return p.run(p.host, "iptables-"+backend, "-S") + p.run(p.host, "ip6tables-"+backend, "-S")
			}
			before := save()
			p.closed(p.lan, "tcp", "192.0.2.1:8080")
			p.closed(p.c1b, "tcp", "172.20.1.2:80")
			do := func(fn func() ([]string, error), want int) {
				t.Helper()
				var lines []string
				err := p.host.Do(func() (err error) { lines, err = fn(); return err })
				if err != nil || len(lines) != want {
					t.Fatalf("got %q, %v, want %d lines", lines, err, want)
				}
			}
			ensure := func() ([]string, error) { return f.EnsureForeignAccept(t.Context()) }
			remove := func() ([]string, error) { return f.RemoveForeignAccept(t.Context()) }
			do(ensure, 2)
			do(ensure, 0)
			if !strings.Contains(save(), "-A DOCKER-USER -m mark --mark 0x2000000/0x2000000 -m comment --comment libnetwork -j ACCEPT\n-A DOCKER-USER -j RETURN") {
				t.Errorf("the rule is not at the top as iptables writes it:\n%s", save())
			}
			p.open(p.lan, "tcp", "192.0.2.1:8080", "192.0.2.9")
			p.open(p.c1b, "tcp", "172.20.1.2:80", "")
			p.open(p.c1a, "tcp", "192.0.3.9:80", "")
			p.closed(p.lan, "tcp", "192.0.3.9:80")
			p.closed(p.lan, "tcp", "172.20.1.2:80")
			// What the administrator drops is dropped, also where he has said so later. What
			// is behind a RETURN counts for nothing, nor does the rule of another directory.
			iptables := func(args string) {
				p.run(p.host, append([]string{"iptables-" + backend, "-w"}, strings.Fields(args)...)...)
			}
			const another = "DOCKER-USER -m mark --mark 0x2000000/0x2000000 -m comment --comment libnetwork-2 -j ACCEPT"
			const nowhere = "DOCKER-USER -s 203.0.113.7 -j DROP"
			const drops = "DOCKER-USER -d 172.20.1.2 -p tcp --dport 80 -j DROP"
			iptables("-A " + nowhere)
			do(ensure, 0)
			iptables("-D DOCKER-USER -j RETURN")
			do(ensure, 2)
			iptables("-A " + another)
			do(ensure, 0)
			iptables("-A " + drops)
			do(ensure, 2)
			do(ensure, 0)
			iptables("-D " + another) // it accepts as well
			do(ensure, 0)
			p.closed(p.lan, "tcp", "192.0.2.1:8080")
			for _, rule := range []string{nowhere, drops} {
				iptables("-D " + rule)
			}
			do(ensure, 0)
			iptables("-I DOCKER-USER -j RETURN")
			do(ensure, 2) // ours was not asked any more
			do(ensure, 0)
			p.open(p.lan, "tcp", "192.0.2.1:8080", "192.0.2.9")
			do(remove, 2)
			do(remove, 0)
			if after := save(); after != before {
				t.Errorf("got\n%s\nwant\n%s", after, before)
			}
		})
	}
}

func TestPortsMove(t *testing.T) {
	p := newTopology(t)
	f := p.firewall(nft.Config{})
	old, moved := fwtest.Both("0.0.0.0", 8080, 8080, "172.20.1.2", 80), fwtest.Both("0.0.0.0", 8080, 8080, "172.20.1.3", 80)
	p.serve(p.c1a, "tcp", ":80")
	p.serve(p.c1b, "tcp", ":80")
	p.apply(f, nft.Change{Networks: twoNetworks(), Ports: old}, nft.Change{})
	p.open(p.lan, "tcp", "192.0.2.1:8080", "")
	p.apply(f, nft.Change{Ports: moved}, nft.Change{Ports: old})
	p.open(p.lan, "tcp", "192.0.2.1:8080", "")
	p.apply(f, nft.Change{}, nft.Change{Ports: moved})
	p.closed(p.lan, "tcp", "192.0.2.1:8080")
}
