package nft_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/conntrack"
	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

func TestApplyConcurrently(t *testing.T) {
	nstest.Run(t, func() {
		f := open(t, nft.Config{})
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				c := nft.Change{
					Networks: []model.FirewallNetwork{fwtest.Network(i + 1)},
					Ports:    fwtest.Both("0.0.0.0", uint16(1000+i), uint16(1000+i), "172.20.1.2", 80),
				}
				for range 5 {
					if err := f.Apply(t.Context(), c, nft.Change{}); err != nil {
						t.Error(err)
					}
					if err := f.Apply(t.Context(), nft.Change{}, c); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		reconcile(t, f, nft.Change{}, nft.Guard{}, false)
		if left := nstest.Command(t, "nft", "list", "ruleset"); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
		for range 2 {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := f.Apply(t.Context(), nft.Change{}, nft.Change{}); err == nil {
			t.Error("a closed firewall works")
		}
	})
}

// A client that never stops is led to the new container once the connections of
// the old one are forgotten.
func TestReplacedContainer(t *testing.T) {
	nstest.Require(t, nstest.Conntrack)
	p := newTopology(t)
	f := p.firewall(nft.Config{})
	at := func(addr string) []model.Port { return fwtest.Both("0.0.0.0", 5300, 5300, addr, 53) }
	p.apply(f, nft.Change{Networks: twoNetworks(), Ports: at("172.20.1.2")}, nft.Change{})
	servers := map[string]net.PacketConn{}
	for addr, ns := range map[string]*nstest.NS{"172.20.1.2": p.c1a, "172.20.1.3": p.c1b} {
		err := ns.Do(func() error {
			c, err := net.ListenPacket("udp4", ":53")
			servers[addr] = c
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer servers[addr].Close()
	}
	var client net.Conn
	err := p.lan.Do(func() (err error) { client, err = net.Dial("udp4", "192.0.2.1:5300"); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	arrives := func(addr string) bool {
		t.Helper()
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_ = servers[addr].SetReadDeadline(time.Now().Add(patience))
		_, _, err := servers[addr].ReadFrom(make([]byte, 10))
		return err == nil
	}
	if !arrives("172.20.1.2") {
		t.Fatal("the first container gets nothing")
	}
	p.apply(f, nft.Change{Ports: at("172.20.1.3")}, nft.Change{Ports: at("172.20.1.2")})
	if !arrives("172.20.1.2") {
		t.Fatal("the kernel forgot by itself, so this test proves nothing")
	}
	var flusher conntrack.Flusher
	err = p.host.Do(func() error { return flusher.Flush(t.Context(), conntrack.Filter{Ports: at("172.20.1.2")}) })
	if err != nil {
		t.Fatal(err)
	}
	if !arrives("172.20.1.3") {
		t.Error("15 the new container gets nothing")
	}
}
