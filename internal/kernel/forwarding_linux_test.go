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

// What turning forwarding off puts back comes back too where an earlier process got no further
// than that; what somebody has turned off while it was on does not.
func TestForwardAgain(t *testing.T) {
	nstest.Require(t, nstest.NFTables, nstest.Veth)
	nstest.Command(t, "ip", "link", "add", "again0", "type", "veth", "peer", "name", "again1")
	t.Cleanup(func() { nstest.Command(t, "ip", "link", "del", "again0") })
	k, err := kernel.New(t.Context(), kernel.Config{
		DataDir: t.TempDir(), RunDir: "/run/again", Firewall: kernel.NFTables, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}()
	all, link := []string{"net", "ipv4", "ip_forward"}, []string{"net", "ipv4", "conf", "again0", "forwarding"}
	write := func(value string, path []string) {
		t.Helper()
		if err := sysctl.Write(nil, value, path...); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		path []string // is turned off meanwhile
		want string
	}{{"nothing", nil, "1"}, {"by an earlier process", all, "1"}, {"by somebody else", link, "0"}} {
		write("0", all)
		write("1", link)
		before, off, err := k.BeforeForwarding(t.Context(), false)
		if err != nil || !off {
			t.Fatal(off, err)
		}
		if err := k.Forward(t.Context(), false, true, model.BeforeForwarding{}); err != nil {
			t.Fatal(err)
		}
		if tt.path != nil {
			write("0", tt.path)
		}
		if err := k.Forward(t.Context(), false, false, before); err != nil {
			t.Fatal(err)
		}
		if got, err := sysctl.Read(link...); err != nil || got != tt.want {
			t.Errorf("turned off %s: the link forwards %s, %v; want %s", tt.name, got, err, tt.want)
		}
	}
}
