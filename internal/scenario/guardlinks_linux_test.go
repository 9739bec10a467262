package scenario_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/engine"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// lines runs programs one after the other.
func (h *host) lines(list ...string) {
	h.t.Helper()
	for _, line := range list {
		h.sh(strings.Fields(line)...)
	}
}

// TestGuardSwitches has a bridge that was there before, of which br_netfilter shows the frames to
// the rules of IP: what its ports send each other is not forwarded by the host.
func TestGuardSwitches(t *testing.T) {
	onEach(t, "the ports of a bridge of others reach each other on a host that is guarded", func(t *testing.T, on backend) {
		nstest.Require(t, nstest.BrNetfilter)
		h := noRouter(t, on)
		h.frames(true)
		m3, m4 := h.anotherMachine("m3", 3), h.anotherMachine("m4", 4)
		h.lines("ip link add lan0 type bridge", "ip link set lan0 up")
		defer h.sh("ip", "link", "del", "lan0")
		for i, link := range []string{"eth3", "eth4"} {
			h.lines("ip addr flush dev "+link, "ip link set "+link+" master lan0")
			ns := []string{m3.Path(), m4.Path()}[i]
			h.in(ns, "ip", "addr", "add", fmt.Sprintf("192.0.5.%d/24", 3+i), "dev", "eth0")
			h.in(ns, "ip", "addr", "add", fmt.Sprintf("2001:db8:5::%d/64", 3+i), "dev", "eth0", "nodad")
		}
		if err := carries("", "lan0"); err != nil {
			t.Fatal(err)
		}
		s, err := serve(m4, "m4", port)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		list := []visit{{"m3", m3, at("192.0.5.4", port), "m4", ""}, {"m3", m3, at("2001:db8:5::4", port), "m4", ""}}
		h.visit(list...)
		h.start()
		h.network(1)
		h.visit(list...)
		// One that comes later, and has hardware.
		h.lines("ip link add far type vxlan id 7 local "+hostV4+" dstport 0", "ip link set far master lan0")
		defer h.sh("ip", "link", "del", "far")
		h.visit(list...)
		h.lines("ip link set lan0 down", "ip link set lan0 name lan1", "ip link set lan1 up")
		eventually(t, "the ports of a bridge with another name do not reach each other", func() bool {
			_, err := ask(m3, "tcp", list[0].to, impatience)
			return err == nil
		})
		h.visit(list...)
		h.lines("ip link set lan1 down", "ip link set lan1 name lan0")
	})
}

// TestGuardIndexes has links get other names, and other links theirs, while the host is guarded.
func TestGuardIndexes(t *testing.T) {
	onEach(t, "a bridge that was there before passes nothing, by whatever name", func(t *testing.T, on backend) {
		h := noRouter(t, on)
		theirs := h.behindBridge("theirs0")
		h.lines("ip link add far type vxlan id 7 local "+hostV4+" dstport 0", "ip link set far master theirs0")
		defer h.sh("ip", "link", "del", "far")
		e := h.engine(assemble.Options{Firewall: kernel.Backend(on), Forwarding: true})
		n := h.wideNetwork(e, 1)
		h.visit(theirs)
		h.lines("ip link set far nomaster", "ip link set theirs0 down", "ip link set theirs0 name theirs1", "ip link set theirs1 up")
		e.close()
		e.open() // looks at once
		h.visit(theirs)
		// Made anew it is another one.
		h.lines("ip link set eth4 nomaster", "ip link del theirs1", "ip link add theirs0 type bridge", "ip link set eth4 master theirs0",
			"ip addr add 192.0.4.1/24 dev theirs0", "ip link set theirs0 up")
		h.in(theirs.from.Path(), "ip", "neigh", "flush", "all") // it may have another address
		theirs.want = "lan"
		eventually(t, "who makes a bridge anew does not get through", func() bool {
			_, err := ask(theirs.from, "tcp", theirs.to, impatience)
			return err == nil
		})
		n, err := e.NetworkByName(n.Name())
		if err == nil {
			err = n.Delete(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		h.sh("ip", "link", "del", "theirs0")
		h.forwards("when all have gone", "0")
		e.close() // ends what it has begun
		if strings.Contains(strings.ToLower(machine(t)), kernel.Table(h.data)) {
			t.Error("the guard is left")
		}
		e.open()
	})
	onEach(t, "links that forwarded go on by another name, and none that has theirs", func(t *testing.T, on backend) {
		h := noRouter(t, on)
		other, third := h.anotherMachine("other", 3), h.anotherMachine("third", 4)
		for _, link := range []string{"eth0", "eth3"} {
			h.sysctl("ipv4/conf/"+link+"/forwarding", "1")
		}
		through := visit{"other", other, at(lanV4, port), "lan", "192.0.3.9"}
		never := visit{"third", third, at(lanV4, port), "", ""}
		h.visit(through, never)
		h.start()
		h.network(1)
		h.visit(through, never)
		h.lines("ip link set eth3 name eth7", "ip link set eth4 name eth3")
		defer h.lines("ip link set eth3 name eth4", "ip link set eth7 name eth3")
		eventually(t, "a link with another name forwards no more", func() bool {
			_, err := ask(through.from, "tcp", through.to, impatience)
			return err == nil
		})
		h.visit(through, never)
		h.sysctl("ipv4/conf/eth0/forwarding", "0") // by the administrator
		h.drop(h.netByName("net1"))
		h.forwards("when the last network has gone", "0")
		for name, want := range map[string]string{"eth0": "0", "eth7": "1", "eth3": "0"} {
			if got := h.readSysctl("ipv4/conf/" + name + "/forwarding"); got != want {
				t.Errorf("%s forwards: %s, want %s", name, got, want)
			}
		}
	})
}

// TestGuardSecondFamily has a bridge of somebody else come between the first network of one family
// and that of the other: it has found a router of the first one only.
func TestGuardSecondFamily(t *testing.T) {
	onEach(t, "a bridge passes in the family in which it has found a router", func(t *testing.T, on backend) {
		h := noRouter(t, on)
		h.start()
		h.network(1, only4)
		theirs := h.behindBridge("theirs0")
		h.sh("ip", "addr", "add", "2001:db8:4::1/64", "dev", "theirs0", "nodad")
		theirs.want = "lan"
		eventually(t, "it does not pass", func() bool { _, err := ask(theirs.from, "tcp", theirs.to, impatience); return err == nil })
		h.network(2)
		h.visit(theirs, visit{"theirs", theirs.from, at(lanV6, port), "", ""})
	})
}

// TestForwardingSettings looks at settings that the kernel changes with forwarding.
func TestForwardingSettings(t *testing.T) {
	for _, value := range []string{"0", "1"} {
		t.Run("redirects are taken as before: "+value, func(t *testing.T) {
			h := noRouter(t, nftables)
			const redirects, ra = "ipv4/conf/all/accept_redirects", "ipv6/conf/eth0/accept_ra"
			h.sysctl(redirects, value)
			h.sysctl(ra, "1")
			h.sysctl("ipv6/conf/eth0/forwarding", value) // it forwards, and listens to no router
			h.start()
			h.network(1)
			if got, want := h.readSysctl(ra), map[string]string{"0": "2", "1": "1"}[value]; got != want {
				t.Errorf("with a network accept_ra is %s, want %s", got, want)
			}
			h.drop(h.netByName("net1"))
			h.forwards("when the last network has gone", "0")
			for name, want := range map[string]string{redirects: value, ra: "1", "ipv6/conf/eth0/forwarding": value} {
				if got := h.readSysctl(name); got != want {
					t.Errorf("%s is %s at the end, was %s", name, got, want)
				}
			}
		})
	}
}

// TestForwardingUnrecorded loses all records and has what they were about removed: the host is no
// router then.
func TestForwardingUnrecorded(t *testing.T) {
	onEach(t, "a host whose records were lost is a router no more when all has been removed", func(t *testing.T, on backend) {
		h := noRouter(t, on)
		opts := assemble.Options{Firewall: kernel.Backend(on), Forwarding: true}
		e := h.engine(opts)
		n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{
			Driver: "bridge", Name: "lost", IPv6: true, IPAM: model.IPAM{Conf6: []model.IPAMConf{{Pool: "fd99:0:0:1::/64"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		link := n.Record().Bridge.Link
		e.close()
		for _, dir := range []string{h.data, h.run} {
			files, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if !f.IsDir() {
					if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		e.open()
		if _, err := run("ip", "link", "show", link); err != nil {
			t.Errorf("what no record names has gone at once: %v", err)
		}
		h.forwards("as long as the bridge is there", "1")
		e.close()
		e.opts.RemoveUnowned = true
		e.open()
		h.forwards("when all has been removed", "0")
		eventually(t, "the guard is left", func() bool { return !strings.Contains(strings.ToLower(machine(t)), kernel.Table(h.data)) })
	})
}
