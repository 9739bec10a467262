package scenario_test

import (
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

// docker makes what Docker makes of the forward chain, with one of the programs.
func (h *host) docker(t *testing.T, kind string) {
	t.Helper()
	nstest.Require(t, backends()[backend("iptables-"+kind)])
	for _, prog := range []string{"iptables-" + kind, "ip6tables-" + kind} {
		h.sh(prog, "-w", "-N", "DOCKER-USER")
		h.sh(prog, "-w", "-A", "DOCKER-USER", "-j", "RETURN")
		h.sh(prog, "-w", "-A", "FORWARD", "-j", "DOCKER-USER")
		h.sh(prog, "-w", "-P", "FORWARD", "DROP")
		h.t.Cleanup(func() {
			h.sh(prog, "-w", "-P", "FORWARD", "ACCEPT")
			// A test may have flushed the rules: what is left is found at its end.
			_, _ = run(prog, "-w", "-D", "FORWARD", "-j", "DOCKER-USER")
			h.noUserChain(prog)
		})
	}
}

// noUserChain removes the chain at once: between two steps a running controller would put a rule
// into it.
func (h *host) noUserChain(prog string) {
	h.t.Helper()
	h.sh("sh", "-c", `printf '*filter\n:DOCKER-USER - [0:0]\n-X DOCKER-USER\nCOMMIT\n' | `+prog+"-restore -w --noflush")
}

func TestNeighbourDocker(t *testing.T) {
	onEach(t, "case 43 with Docker's policy DROP and DOCKER-USER all that shall work works, and Docker's rules stay", testNeighbourDocker)
}

func testNeighbourDocker(t *testing.T, on backend) {
	for _, kind := range []string{"nft", "legacy"} {
		if on == iptablesNFT && kind != "nft" || on == iptablesLegacy && kind != "legacy" {
			continue // see TestIPTablesFollowsDocker
		}
		for _, frames := range []string{"0", "1"} {
			t.Run(kind+" bridge-nf-call-iptables="+frames, func(t *testing.T) {
				h := newHost(t, on.option())
				h.frames(frames == "1")
				h.lanServer()
				h.docker(t, kind)
				before := machine(t)
				n1, n2 := h.network(1), h.network(2)
				c1, c2 := h.container("c1", both(nil, 7001, 0), n1), h.container("c2", nil, n1)
				c3 := h.container("c3", nil, n2)
				list := append(to("c2", c2.ns, c1, "c1"), to("c1", c1.ns, c2, "c2")...)
				list = append(list, to("c3", c3.ns, c1, "")...)
				for host, other := range map[string]string{hostV4: lanV4, hostV6: lanV6} {
					list = append(
						list,
						visit{"c1", c1.ns, at(other, port), "lan", host},
						visit{"lan", h.lan, at(host, 7001), "c1", other},
						visit{who: "c2", from: c2.ns, to: at(host, 7001), want: "c1"},
						visit{who: "c1", from: c1.ns, to: at(host, 7001), want: "c1"},
						visit{who: "c3", from: c3.ns, to: at(host, 7001), want: "c1"},
					)
				}
				h.visit(append(list, to("lan", h.lan, c2, "")...)...)
				for _, c := range []*container{c1, c2, c3} {
					h.remove(c)
				}
				h.drop(n1, n2)
				same(t, "the machine without networks", before, func() string { return machine(t) })
			})
		}
	}
}

// What an administrator has put into DOCKER-USER is asked before we accept anything,
// whether Docker is there or not, and whoever came first.
func TestUserRulesComeFirst(t *testing.T) {
	type way struct {
		on   backend
		kind string // of the program that has DOCKER-USER
	}
	for _, w := range []way{{iptablesNFT, "nft"}, {iptablesLegacy, "legacy"}, {nftables, "nft"}, {nftables, "legacy"}} {
		on, kind := w.on, w.kind
		for name, prepare := range map[string]func(h *host, prog string) (after func()){
			"Docker is absent": func(h *host, prog string) func() {
				h.sh(prog, "-w", "-N", "DOCKER-USER")
				h.sh(prog, "-w", "-A", "FORWARD", "-j", "DOCKER-USER")
				return nil
			},
			"Docker was there first": func(h *host, prog string) func() {
				h.sh(prog, "-w", "-N", "DOCKER-USER")
				h.sh(prog, "-w", "-A", "FORWARD", "-j", "DOCKER-USER")
				h.sh(prog, "-w", "-N", "DOCKER-FORWARD")
				h.sh(prog, "-w", "-A", "DOCKER-FORWARD", "-i", "docker0", "-j", "ACCEPT")
				h.sh(prog, "-w", "-A", "FORWARD", "-j", "DOCKER-FORWARD")
				h.sh(prog, "-w", "-P", "FORWARD", "DROP")
				return nil
			},
			"Docker comes later": func(h *host, prog string) func() {
				return func() {
					h.sh(prog, "-w", "-P", "FORWARD", "DROP")
					h.sh(prog, "-w", "-N", "DOCKER-USER")
					h.sh(prog, "-w", "-I", "FORWARD", "-j", "DOCKER-USER")
				}
			},
		} {
			t.Run("case 43 rules in DOCKER-USER come before ours: "+name+" ("+string(on)+" beside iptables-"+kind+")", func(t *testing.T) {
				nstest.Require(t, backends()[on], backends()[backend("iptables-"+kind)])
				testUserRules(t, on, kind, prepare)
			})
		}
	}
}

func testUserRules(t *testing.T, on backend, kind string, prepare func(h *host, prog string) (after func())) {
	t.Helper()
	h := bareHost(t, on.option())
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	h.lanServer()
	programs := []string{"iptables-" + kind, "ip6tables-" + kind}
	var later []func()
	for _, prog := range programs {
		if after := prepare(h, prog); after != nil {
			later = append(later, after)
		}
		t.Cleanup(func() {
			h.sh(prog, "-w", "-P", "FORWARD", "ACCEPT")
			h.sh(prog, "-w", "-F", "FORWARD")
			for _, chain := range []string{"DOCKER-USER", "DOCKER-FORWARD"} {
				if _, err := run(prog, "-w", "-F", chain); err == nil {
					h.sh(prog, "-w", "-X", chain)
				}
			}
		})
	}
	h.start()
	n := h.network(1)
	c1, c2 := h.container("c1", both(nil, 7001, 0), n), h.container("c2", nil, n)
	for _, after := range later {
		after()
	}
	check := func(lan string) {
		t.Helper()
		var list []visit
		for host, other := range map[string]string{hostV4: lanV4, hostV6: lanV6} {
			list = append(
				list,
				visit{who: "lan", from: h.lan, to: at(host, 7001), want: lan},
				visit{who: "c2", from: c2.ns, to: at(host, 7001), want: "c1"},
				visit{"c2", c2.ns, at(other, port), "lan", host},
			)
		}
		h.visit(append(list, to("c2", c2.ns, c1, "c1")...)...)
	}
	if on == nftables && len(later) > 0 {
		eventually(t, "nothing of ours is in DOCKER-USER", func() bool {
			return strings.Count(h.sh(programs[0], "-w", "-S", "DOCKER-USER")+h.sh(programs[1], "-w", "-S", "DOCKER-USER"), "ACCEPT") == 2
		})
	}
	check("c1")
	for _, prog := range programs {
		h.sh(prog, "-w", "-I", "DOCKER-USER", "-i", "eth0", "-m", "conntrack", "--ctstate", "DNAT", "-j", "DROP")
	}
	check("")
	h.remove(c2)
	c2 = h.container("c2", nil, n)
	check("")
	h.remove(c1)
	h.remove(c2)
	h.drop(n)
	n = h.network(1)
	c1, c2 = h.container("c1", both(nil, 7001, 0), n), h.container("c2", nil, n)
	check("")
	for _, prog := range programs {
		h.sh(prog, "-w", "-D", "DOCKER-USER", "-i", "eth0", "-m", "conntrack", "--ctstate", "DNAT", "-j", "DROP")
	}
	check("c1")
	h.remove(c1)
	h.remove(c2)
	h.drop(n)
}

// Where it is free to choose, the backend iptables takes the variant that Docker
// uses: only there can its chain come first.
func TestIPTablesFollowsDocker(t *testing.T) {
	nstest.Require(t, nstest.IPTablesNFT, nstest.IPTablesLegacy)
	for _, kind := range []string{"nft", "legacy"} {
		t.Run(kind, func(t *testing.T) {
			h := bareHost(t, backend("iptables").option())
			h.sysctl("ipv4/ip_forward", "1")
			h.sysctl("ipv6/conf/all/forwarding", "1")
			h.docker(t, kind)
			h.start()
			n := h.network(1)
			c1, c2 := h.container("c1", both(nil, 7001, 0), n), h.container("c2", nil, n)
			h.visit(append(to("c2", c2.ns, c1, "c1"),
				visit{"lan", h.lan, at(hostV4, 7001), "c1", lanV4}, visit{"lan", h.lan, at(hostV6, 7001), "c1", lanV6})...)
			if out := h.sh("iptables-"+kind+"-save", "-t", "filter"); !strings.Contains(out, "-A FORWARD -j DOCKER-USER\n-A FORWARD -m comment --comment") {
				t.Errorf("DOCKER-USER is not followed by our chain:\n%s", out)
			}
		})
	}
}

func TestForwardingTurnedOn(t *testing.T) {
	onEach(t, "forwarding that is turned on makes no router of the host", testForwardingTurnedOn)
}

func testForwardingTurnedOn(t *testing.T, on backend) {
	h := bareHost(t, on.option("EnableIPForwarding"))
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		h.sysctl(name, "0")
	}
	for _, name := range []string{"all", "default", "eth0"} {
		h.sysctl("ipv6/conf/"+name+"/accept_ra", "1")
	}
	h.sysctl("ipv6/conf/lo/accept_ra", "0")
	h.lanServer()
	other := h.anotherMachine("other", 3)
	srv, err := serve(other, "other", port)
	if err != nil {
		t.Fatal(err)
	}
	defer srv.close()
	if _, err := ask(other, "tcp", at("2001:db8:3::1", 9), patience); err == nil {
		t.Fatal("somebody serves port 9")
	}
	h.start()
	before := rules(t)
	n := h.network(1)
	check := func() {
		t.Helper()
		for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if v := h.readSysctl(name); v != "1" {
				t.Errorf("%s is %s", name, v)
			}
			h.sysctl("ipv6/conf/lo/accept_ra", "1")
			h.sysctl(name, "0") // as a program does that writes all settings anew
			eventually(t, name+" stays off", func() bool { return h.readSysctl(name) == "1" })
		}
		for _, name := range []string{"eth0", "default", "lo"} {
			if v := h.readSysctl("ipv6/conf/" + name + "/accept_ra"); v != "2" {
				t.Errorf("accept_ra of %s is %s: the host would lose its own routers", name, v)
			}
		}
		c := h.container("c1", both(nil, 7001, 0), n)
		h.visit(
			visit{"c1", c.ns, at(lanV4, port), "lan", hostV4},
			visit{"c1", c.ns, at(lanV6, port), "lan", hostV6},
			visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: "c1"},
			visit{who: "other", from: other, to: at(hostV6, 7001), want: "c1"},
			// The host was no router, and is none for others.
			visit{who: "other", from: other, to: at(lanV4, port)},
			visit{who: "other", from: other, to: at(lanV6, port)},
			visit{who: "lan", from: h.lan, to: at("192.0.3.9", port)},
			visit{who: "lan", from: h.lan, to: at("2001:db8:3::9", port)},
		)
	}
	check()
	h.restart()
	n = h.netByName("net1")
	check()
	h.killed()
	n = h.netByName("net1")
	check()
	for len(h.running) > 0 {
		h.remove(h.running[0])
	}
	h.drop(n)
	same(t, "the rules without networks", before, func() string { return rules(t) })
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if v := h.readSysctl(name); v != "0" {
			t.Errorf("%s is %s when the last network is deleted", name, v)
		}
	}
	for _, name := range []string{"eth0", "default", "lo"} {
		if v := h.readSysctl("ipv6/conf/" + name + "/accept_ra"); v != "1" {
			t.Errorf("accept_ra of %s is %s when the last network is deleted", name, v)
		}
	}
}

// rules are those of all firewalls.
func rules(t *testing.T) string {
	t.Helper()
	out, err := run("nft", "-s", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestForwardingLeftAlone(t *testing.T) {
	h := bareHost(t)
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		h.sysctl(name, "0")
	}
	h.start()
	h.container("c1", nil, h.network(1))
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if v := h.readSysctl(name); v != "0" {
			t.Errorf("%s is %s: nobody has asked for it", name, v)
		}
	}
}

func TestForwardingOnBefore(t *testing.T) {
	onEach(t, "a router stays one", testForwardingOnBefore)
}

func testForwardingOnBefore(t *testing.T, on backend) {
	h := newHost(t, on.option("EnableIPForwarding"))
	h.lanServer()
	other := h.anotherMachine("other", 3)
	n := h.network(1)
	// The host was a router, and stays one.
	h.visit(
		visit{"other", other, at(lanV4, port), "lan", "192.0.3.9"},
		visit{"other", other, at(lanV6, port), "lan", "2001:db8:3::9"},
	)
	// Who turned it on may turn it off: a bridge is looked at after what was told before it.
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		h.sysctl(name, "0")
		h.sh("ip", "link", "set", "br1", "down")
		eventually(t, "the bridge stays down", func() bool { return strings.Contains(h.sh("ip", "link", "show", "br1"), ",UP") })
		if v := h.readSysctl(name); v != "0" {
			t.Errorf("%s is %s: it was not turned on by us", name, v)
		}
		h.sysctl(name, "1")
	}
	h.drop(n)
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if v := h.readSysctl(name); v != "1" {
			t.Errorf("%s is %s when the last network is deleted", name, v)
		}
	}
}
