package scenario_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/engine"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// TestSharedHost has two data directories on a host that one of them made a router: it
// guards the host, and is in nobody's way.
func TestSharedHost(t *testing.T) {
	for _, pair := range [][2]backend{
		{nftables, nftables},
		{iptablesNFT, iptablesNFT},
		{iptablesLegacy, iptablesLegacy},
		{nftables, iptablesNFT},
		{iptablesLegacy, nftables},
		{nftables + "+docker", iptablesNFT},
		{iptablesNFT + "+docker", nftables},
		{iptablesLegacy + "+docker", nftables},
		{iptablesNFT + "+docker", iptablesNFT},
		{nftables + "+docker", nftables},
	} {
		t.Run("two data directories do not touch each other: "+string(pair[0])+" and "+string(pair[1]), func(t *testing.T) {
			nstest.Require(t, backends()[pair[0].alone()], backends()[pair[1]])
			if pair[0] != pair[0].alone() {
				nstest.Require(t, nstest.BrNetfilter)
			}
			testSharedHost(t, pair)
		})
	}
}

func testSharedHost(t *testing.T, pair [2]backend) {
	t.Helper()
	h := bareHost(t, pair[0].option("EnableIPForwarding"))
	families := []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"}
	for _, name := range families {
		h.sysctl(name, "0")
	}
	for _, name := range []string{"all", "default", "eth0", "lo"} {
		h.sysctl("ipv6/conf/"+name+"/accept_ra", "0")
	}
	forwards := func(want string) {
		t.Helper()
		for _, name := range families {
			if got := h.readSysctl(name); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
	}
	h.lanServer()
	h.start()
	o := &host{t: t, data: h.data + "2", run: h.run + "2", opts: []config.Option{pair[1].option()}, own: h.own, lan: h.lan}
	t.Cleanup(o.clear)
	o.start()
	n, theirs := h.network(1), o.network(2)
	c, other := h.container("c1", both(nil, 7001, 0), n), o.container("c2", both(nil, 7002, 0), theirs)
	reach := func(c *container, number uint16) {
		t.Helper()
		for _, f := range [][2]string{{hostV4, lanV4}, {hostV6, lanV6}} {
			h.visit(
				visit{who: "lan", from: h.lan, to: at(f[0], number), want: c.name},
				visit{c.name, c.ns, at(f[1], port), "lan", f[0]},
			)
		}
	}
	forwards("1")
	reach(c, 7001)
	reach(other, 7002)
	apart(t, h, o, c, other)
	h.remove(c)
	h.drop(n)
	forwards("1") // the other one needs it
	reach(other, 7002)
	o.remove(other)
	o.drop(theirs)
	h.drop(h.network(1))
	forwards("0")
}

// apart looks whether the networks of two data directories are as closed to each other as
// those of one are: what is published at the host's addresses is open to those of mode nat.
func apart(t *testing.T, h, o *host, c, other *container) {
	t.Helper()
	type side struct {
		*host
		nat, internal, routed *container
		four                  *container // by the process, where IPv6 is asked for
		port                  uint16
	}
	sides := []side{{host: h, nat: c, port: 7001}, {host: o, nat: other, port: 7002}}
	for i := range sides {
		s := &sides[i]
		first := 3 + 2*i
		closed, routed := s.network(first, inside), s.network(first+1, mode("routed"))
		s.internal = s.container("internal", nil, closed)
		s.routed = s.container("routed", both(nil, uint16(7000+first), 0), routed)
		four := s.network(7+i, only4)
		s.four = s.container("four", both(nil, uint16(7007+i), 0), four)
		defer s.drop(closed, routed, four)
		defer s.remove(s.four)
		defer s.remove(s.routed)
		defer s.remove(s.internal)
	}
	for i, s := range sides {
		far := sides[1-i]
		for _, v6 := range []bool{false, true} {
			published := at(hostV4, far.port)
			direct := func(c *container) string { return at(c.v4.String(), port) }
			if v6 {
				published = at(hostV6, far.port)
				direct = func(c *container) string { return at(c.v6.String(), port) }
			}
			s.visit(
				visit{"nat", s.nat.ns, direct(far.nat), "", ""},
				visit{"nat", s.nat.ns, direct(far.internal), "", ""},
				visit{"nat", s.nat.ns, direct(far.routed), "routed", ""},
				visit{"nat", s.nat.ns, published, far.nat.name, ""},
				visit{"routed", s.routed.ns, direct(far.nat), "", ""},
				visit{"routed", s.routed.ns, direct(far.internal), "", ""},
				visit{"routed", s.routed.ns, direct(far.routed), "routed", ""},
				visit{"routed", s.routed.ns, published, far.nat.name, ""},
				visit{"internal", s.internal.ns, direct(far.nat), "", ""},
				visit{"internal", s.internal.ns, direct(far.internal), "", ""},
				visit{"internal", s.internal.ns, direct(far.routed), "", ""},
				visit{"internal", s.internal.ns, published, "", ""},
			)
		}
		forwarded := func(to string) string { return at(to, uint16(7007+1-i)) }
		s.visit(
			visit{"nat", s.nat.ns, forwarded(hostV6), "four", ""},
			visit{"internal", s.internal.ns, forwarded(fmt.Sprintf("fd99:0:0:%d::1", 3+2*i)), "", ""},
			visit{"internal", s.internal.ns, forwarded(hostV6), "", ""},
		)
	}
}

// TestSharedHostAtPeace has another data directory make and lose its first network again and
// again, and Docker start again: nothing of ours is taken for damaged, and what is damaged then
// is put right at once.
func TestSharedHostAtPeace(t *testing.T) {
	for _, pair := range [][2]backend{
		{iptablesNFT, nftables},
		{iptablesNFT, iptablesNFT},
		{iptablesLegacy, nftables},
		{iptablesLegacy, iptablesLegacy},
		{nftables, iptablesNFT},
	} {
		t.Run(string(pair[0])+" and "+string(pair[1]), func(t *testing.T) {
			nstest.Require(t, backends()[pair[0]], backends()[pair[1]], nstest.BrNetfilter)
			testSharedHostAtPeace(t, pair)
		})
	}
}

func testSharedHostAtPeace(t *testing.T, pair [2]backend) {
	t.Helper()
	h := bareHost(t, (pair[0] + "+docker").option())
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	o := &host{t: t, data: h.data + "2", run: h.run + "2", own: h.own, lan: h.lan}
	e, other := h.engine(assemble.Options{Firewall: kernel.Backend(pair[0]), NoTableOwner: true}), o.engine(assemble.Options{Firewall: kernel.Backend(pair[1])})
	n, err := e.CreateNetwork(t.Context(), engine.NetworkRequest{
		Driver: "bridge", Name: "vault", Internal: true, IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.99.1.0/24"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.wide(e, n, "c1", []uint16{port})
	closed := func(when string) {
		t.Helper()
		_, ns := o.wide(other, o.wideNetwork(other, 2), "c2", nil)
		if _, err := ask(ns, "tcp", at("10.99.1.2", port), impatience); err == nil {
			t.Fatalf("%s: the other directory's container reaches an internal network", when)
		}
	}
	lose := func() {
		t.Helper()
		for _, s := range other.Sandboxes() {
			if err := s.Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range other.Networks() {
			if err := n.Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 8 {
		closed(fmt.Sprint("network ", i+1))
		if i < 7 {
			lose()
		}
	}
	kind, _ := strings.CutPrefix(string(pair[0].alone()), "iptables-")
	if pair[0] == nftables {
		kind = "nft"
	}
	docker := strings.ReplaceAll(`
iptables-KIND -w -D FORWARD -j DOCKER-USER
iptables-KIND -w -I FORWARD -j DOCKER-USER
ip6tables-KIND -w -D FORWARD -j DOCKER-USER
ip6tables-KIND -w -I FORWARD -j DOCKER-USER
iptables-KIND -w -N DOCKER-FORWARD 2> /dev/null || iptables-KIND -w -D FORWARD -j DOCKER-FORWARD
iptables-KIND -w -I FORWARD 2 -j DOCKER-FORWARD`, "KIND", kind)
	t.Cleanup(func() {
		h.sh("iptables-"+kind, "-w", "-D", "FORWARD", "-j", "DOCKER-FORWARD")
		h.sh("iptables-"+kind, "-w", "-X", "DOCKER-FORWARD")
	})
	for range 7 {
		h.sh("sh", "-e", "-c", docker)
		<-time.After(soon / 2)
	}
	limit := soon
	if pair[0] == iptablesLegacy {
		limit += poll
	}
	<-time.After(limit)
	for _, of := range []*hostEngine{e, other} {
		if got := of.Repairs()["firewall"]; got != 0 {
			t.Errorf("%s has counted %d repairs", of.opts.Firewall, got)
		}
	}
	if pair[0] == nftables {
		h.sh("nft", "delete table ip "+kernel.Table(h.data))
	} else {
		h.sh("iptables-"+kind, "-w", "-F", "LIBNETWORK-"+strings.ToUpper(strings.TrimPrefix(kernel.Table(h.data), "libnetwork-"))+"-CLOSED")
	}
	begun := time.Now()
	eventually(t, "what was damaged is put right", func() bool { return e.Repairs()["firewall"] == 1 })
	if took := time.Since(begun); took > limit {
		t.Errorf("what was damaged was put right after %v", took)
	}
	lose()
	closed("at the end")
	// Who does not run is asked all the same.
	e.close()
	refill := strings.ReplaceAll("iptables-KIND -w -F DOCKER-USER; iptables-KIND -w -A DOCKER-USER -s 203.0.113.1 -j DROP", "KIND", kind)
	for _, line := range []string{docker, refill, refill + "; iptables-" + kind + " -w -A DOCKER-USER -m comment --comment end -j RETURN"} {
		h.sh("sh", "-e", "-c", line)
		<-time.After(limit)
		lose()
		closed(line)
	}
	e.open()
	if got := e.Repairs()["firewall"]; got != 0 {
		t.Errorf("the start has counted %d repairs", got)
	}
}
