package scenario_test

import (
	"os"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/config"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// noRouter makes a host that forwards nothing, and may be made to.
func noRouter(t *testing.T, on backend) *host {
	t.Helper()
	h := bareHost(t, on.option("EnableIPForwarding"))
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		h.sysctl(name, "0")
	}
	for _, name := range []string{"all", "default", "eth0", "lo"} {
		h.sysctl("ipv6/conf/"+name+"/accept_ra", "0")
	}
	h.lanServer()
	return h
}

// forwards says whether the host becomes, or stays, a router.
func (h *host) forwards(when, want string) {
	h.t.Helper()
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		eventually(h.t, name+" is not "+want+" "+when, func() bool { return h.readSysctl(name) == want })
	}
}

// behindBridge is a container of somebody else, as Docker makes them.
func (h *host) behindBridge(bridge string) visit {
	h.t.Helper()
	ns := h.anotherMachine("theirs", 4)
	for _, line := range []string{
		"ip link add " + bridge + " type bridge",
		"ip addr flush dev eth4", "ip link set eth4 master " + bridge,
		"ip addr add 192.0.4.1/24 dev " + bridge, "ip link set " + bridge + " up",
	} {
		h.sh(strings.Fields(line)...)
	}
	if err := carries("", bridge); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _, _ = run("ip", "link", "del", bridge) })
	return visit{who: "theirs", from: ns, to: at(lanV4, port)}
}

// TestGuardNeighbours has another program, as Docker, start when we have made the host a
// router, which it finds as it needs it.
func TestGuardNeighbours(t *testing.T) {
	onEach(t, "who makes a bridge for containers on a host that we made a router gets through", func(t *testing.T, on backend) {
		h := noRouter(t, on)
		e := h.engine(assemble.Options{Firewall: kernel.Backend(on), Forwarding: true})
		n := h.wideNetwork(e, 1)
		theirs := h.behindBridge("theirs0")
		theirs.want = "lan"
		eventually(t, "they do not get through", func() bool { _, err := ask(theirs.from, "tcp", theirs.to, impatience); return err == nil })
		e.close()
		h.visit(theirs)
		e.open()
		h.visit(theirs)
		if got := e.Repairs()["firewall"]; got > 0 {
			t.Errorf("the start has counted %d repairs", got)
		}
		n, err := e.NetworkByName(n.Name())
		if err == nil {
			err = n.Delete(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		h.forwards("while they need it", "1")
		h.visit(theirs)
		h.sh("ip", "link", "del", "theirs0")
		h.forwards("when they have gone", "0")
		eventually(t, "the guard is left", func() bool { return !strings.Contains(strings.ToLower(machine(t)), kernel.Table(h.data)) })
	})
	onEach(t, "a bridge that was there before, or has hardware, is no reason to let others through", func(t *testing.T, on backend) {
		h := noRouter(t, on)
		before := h.behindBridge("theirs0")
		h.start()
		h.network(1)
		h.visit(before)
		h.sh("ip", "link", "add", "hard", "type", "bridge")
		defer h.sh("ip", "link", "del", "hard")
		h.sh("ip", "link", "add", "far", "type", "vxlan", "id", "7", "local", hostV4, "dstport", "0")
		defer h.sh("ip", "link", "del", "far")
		h.sh("ip", "link", "set", "far", "master", "hard")
		h.restart()
		h.visit(before)
		h.drop(h.netByName("net1"))
		h.forwards("when the last network has gone", "0")
	})
}

// TestGuardAdopted has another data directory with a network on a bridge of somebody else.
func TestGuardAdopted(t *testing.T) {
	onEach(t, "a host stays a router for a network of another data directory on a bridge that was there before", func(t *testing.T, on backend) {
		h := noRouter(t, on)
		for _, line := range []string{"ip link add br2 type bridge", "ip addr add 10.99.2.1/24 dev br2", "ip link set br2 up"} {
			h.sh(strings.Fields(line)...)
		}
		t.Cleanup(func() { h.sh("ip", "link", "del", "br2") })
		h.start()
		n := h.network(1)
		o := &host{t: t, data: h.data + "2", run: h.run + "2", opts: []config.Option{on.option()}, own: h.own, lan: h.lan}
		t.Cleanup(o.clear)
		o.start()
		theirs := o.network(2, only4, func(c *netConfig) { c.v4.Gateway = "10.99.2.1" })
		c := o.container("c2", both(nil, 7002, 0), theirs)
		h.drop(n)
		h.forwards("while they need it", "1")
		h.visit(visit{"c2", c.ns, at(lanV4, port), "lan", hostV4}, visit{"lan", h.lan, at(hostV4, 7002), "c2", lanV4})
		o.remove(c)
		h.drop(h.network(1))
		h.forwards("when their container has gone", "0")
	})
}

// TestGuardRouters has links that forward by themselves, on a host that does not.
func TestGuardRouters(t *testing.T) {
	onEach(t, "links that forwarded go on, and do at the end", func(t *testing.T, on backend) {
		t.Run("IPv4", func(t *testing.T) { testGuardRouters(t, on) })
		if _, err := os.Stat("/proc/sys/net/ipv6/conf/lo/force_forwarding"); err == nil { // Linux 6.17
			t.Run("both families", func(t *testing.T) {
				testGuardRouters(t, on, "ipv6/conf/eth0/force_forwarding", "ipv6/conf/eth3/force_forwarding")
			})
		}
	})
}

func testGuardRouters(t *testing.T, on backend, forced ...string) {
	t.Helper()
	h := noRouter(t, on)
	other := h.anotherMachine("other", 3)
	// The last says what a link is to its neighbours, and nothing is forwarded by that.
	routers := append(forced, "ipv4/conf/eth0/forwarding", "ipv4/conf/eth3/forwarding", "ipv6/conf/eth3/forwarding")
	for _, name := range routers {
		h.sysctl(name, "1")
	}
	through := []visit{
		{"other", other, at(lanV4, port), "lan", "192.0.3.9"},
		{"other", other, at(lanV6, port), "", ""},
	}
	if len(forced) > 0 {
		through[1].want, through[1].sees = "lan", "2001:db8:3::9"
	}
	h.visit(through...)
	h.start()
	h.network(1)
	h.visit(through...)
	h.restart()
	h.visit(through...)
	h.drop(h.netByName("net1"))
	h.forwards("when the last network has gone", "0")
	for _, name := range routers {
		if v := h.readSysctl(name); v != "1" {
			t.Errorf("%s is %s when the last network has gone", name, v)
		}
	}
	h.visit(through...)
}

// TestGuardBesideVariants has two data directories of which each uses another variant of
// iptables: the one that is asked first does not know what the other accepts.
func TestGuardBesideVariants(t *testing.T) {
	for _, pair := range [][2]backend{{iptablesNFT, iptablesLegacy}, {iptablesLegacy, iptablesNFT}} {
		t.Run(string(pair[0])+" has the guard beside "+string(pair[1]), func(t *testing.T) {
			nstest.Require(t, backends()[pair[0]], backends()[pair[1]])
			h := noRouter(t, pair[0])
			// The younger tables are asked first.
			for _, family := range []string{"ip", "ip6"} {
				h.sh("nft", "delete", "table", family, "filter")
			}
			if err := standardTables(); err != nil {
				t.Fatal(err)
			}
			h.start()
			o := &host{t: t, data: h.data + "2", run: h.run + "2", opts: []config.Option{pair[1].option()}, own: h.own, lan: h.lan}
			t.Cleanup(o.clear)
			o.start()
			n, theirs := h.network(1), o.network(2)
			for _, c := range []*container{h.container("c1", both(nil, 7001, 0), n), o.container("c2", both(nil, 7002, 0), theirs)} {
				number := map[string]uint16{"c1": 7001, "c2": 7002}[c.name]
				for hostAddr, lanAddr := range map[string]string{hostV4: lanV4, hostV6: lanV6} {
					open := visit{"lan", h.lan, at(hostAddr, number), c.name, lanAddr}
					eventually(t, c.name+" is not reached", func() bool { _, err := ask(open.from, "tcp", open.to, impatience); return err == nil })
					h.visit(open, visit{c.name, c.ns, at(lanAddr, port), "lan", hostAddr})
				}
			}
		})
	}
}
