package kernel_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/sysctl"
)

// Two data directories turn forwarding on and off, or somebody else turns it on, on a host with
// many links: none of these is taken for a router that was one before.
func TestBeforeForwarding(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.Veth)
	for i := range 40 {
		nstest.Command(t, "ip", "link", "add", fmt.Sprint("many", i), "type", "veth", "peer", "name", fmt.Sprint("ends", i))
		t.Cleanup(func() { nstest.Command(t, "ip", "link", "del", fmt.Sprint("many", i)) })
	}
	k, err := kernel.New(t.Context(), kernel.Config{
		DataDir: t.TempDir(), RunDir: "/run/before", Firewall: kernel.NFTables, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, v6 := range []bool{false, true} {
		all := []string{"net", "ipv4", "ip_forward"}
		if v6 {
			all = []string{"net", "ipv6", "conf", "all", "forwarding"}
		}
		for name, on := range map[string]func() error{
			"another data directory": func() error { return k.Forward(t.Context(), v6, true, model.BeforeForwarding{}) },
			"somebody else":          func() error { return sysctl.Write(nil, "1", all...) },
		} {
			stop := make(chan struct{})
			var busy sync.WaitGroup
			busy.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					time.Sleep(rand.N(60 * time.Millisecond))
					err := on()
					if err == nil {
						err = k.Forward(t.Context(), v6, false, model.BeforeForwarding{})
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
			found := 0
			for end := time.Now().Add(10 * time.Second); found < 20 && time.Now().Before(end); {
				b, off, err := k.BeforeForwarding(t.Context(), v6)
				if err != nil {
					t.Error(err)
				}
				if off {
					if found++; len(b.Set) > 0 {
						t.Errorf("%s, IPv6 %t: %d links were set before", name, v6, len(b.Set))
						break
					}
				}
			}
			close(stop)
			busy.Wait()
			if found == 0 {
				t.Errorf("%s, IPv6 %t: forwarding is never off", name, v6)
			}
		}
	}
}
