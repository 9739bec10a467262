//go:build linux

package libnetwork_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork"
)

// watchdog ends the process with the stacks of all goroutines if the test hangs.
func watchdog(t testing.TB) {
	t.Helper()
	const hang = 100 * time.Second
	timer := time.AfterFunc(hang, func() {
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
		panic(t.Name() + " hangs")
	})
	t.Cleanup(func() { timer.Stop() })
}

func TestConcurrentJoins(t *testing.T) {
	watchdog(t)
	c := newController(t)
	nets := []libnetwork.Network{newNetwork(t, c, "a"), newNetwork(t, c, "b", dual("10.2.0.0/24", "fd00:2::/64")...)}
	t.Run("CON-2 many goroutines join and leave endpoints and sandboxes of their own without an error", func(t *testing.T) {
		const workers, rounds = 8, 5
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				name := fmt.Sprint("own", w)
				sb, err := c.NewSandbox(name)
				if err != nil {
					t.Error(err)
					return
				}
				ep, err := nets[w%2].CreateEndpoint(name)
				if err != nil {
					t.Error(err)
					return
				}
				for range rounds {
					if err := ep.Join(sb); err != nil {
						t.Error(err)
					}
					if ips, _ := sb.ResolveName(name, 1); len(ips) != 1 {
						t.Errorf("%s resolves to %v", name, ips)
					}
					if err := ep.Leave(sb); err != nil {
						t.Error(err)
					}
				}
				if err := sb.Delete(); err != nil {
					t.Error(err)
				}
				if err := ep.Delete(false); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		t.Run("EP-21 after parallel creations and deletions each network has the endpoints that are left", func(t *testing.T) {
			for _, n := range nets {
				if eps := n.Endpoints(); len(eps) != 0 {
					t.Errorf("endpoints of %s are %v", n.Name(), eps)
				}
			}
		})
	})
	t.Run("CON-2 many goroutines with one sandbox and a few endpoints get nothing but success and Forbidden", func(t *testing.T) {
		sb := newSandbox(t, c, "shared")
		var eps []libnetwork.Endpoint
		for i := range 4 {
			eps = append(eps, newEndpoint(t, nets[i%2], fmt.Sprint("e", i)))
		}
		var wg sync.WaitGroup
		for w := range 8 {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			wg.Go(func() {
				for range 8 {
					ep := eps[r.IntN(len(eps))]
					err := ep.Join(sb)
					if r.IntN(2) == 0 {
						err = ep.Leave(sb)
					}
					if err != nil && !slices.Equal(classesOf(err, false), []string{"Forbidden"}) {
						t.Errorf("%v (%T)", err, err)
					}
				}
			})
		}
		wg.Wait()
		joined := sb.Endpoints()
		for _, ep := range eps {
			if (ep.Info().Sandbox() == sb) != slices.Contains(joined, ep) {
				t.Errorf("endpoint %s is joined to %v, and the sandbox has %v", ep.Name(), ep.Info().Sandbox(), joined)
			}
		}
		want := 0
		for _, ep := range eps {
			if ep.Info().Sandbox() != nil {
				want++
			}
		}
		ok(t, sb.Refresh()) // drains links that are about to go
		if len(joined) != want {
			t.Errorf("%d endpoints in the sandbox, %d joined to it", len(joined), want)
		}
		ok(t, sb.Delete())
	})
}

// TestMixedLoad does everything at once on the same few objects. Errors of the
// classes that tell of a lost race are fine; the leak check of the controller does
// the rest.
func TestMixedLoad(t *testing.T) {
	watchdog(t)
	c := newController(t)
	fine := []string{"Forbidden", "NotFound", "BadRequest", "Retry"}
	check := func(what string, err error) {
		if err == nil {
			return
		}
		if got := classesOf(err, false); len(got) != 1 || !slices.Contains(fine, got[0]) {
			t.Errorf("%s: %v (%T) of classes %v", what, err, err, got)
		}
	}
	const workers, rounds = 8, 25
	var wg sync.WaitGroup
	for w := range workers {
		r := rand.New(rand.NewPCG(2, uint64(w)))
		wg.Go(func() {
			for range rounds {
				network, container := fmt.Sprint("n", r.IntN(2)), fmt.Sprint("c", r.IntN(3))
				n, err := c.NetworkByName(network)
				if err != nil {
					_, err = c.NewNetwork("bridge", network)
					check("create network", err)
					continue
				}
				sb, err := c.NewSandbox(container)
				check("create sandbox", err)
				if err != nil {
					c.WalkSandboxes(libnetwork.SandboxContainerWalker(&sb, container))
				}
				if sb == nil {
					continue
				}
				ep, err := n.CreateEndpoint(container)
				check("create endpoint", err)
				if err != nil {
					ep, err = n.EndpointByName(container)
					check("find endpoint", err)
				}
				if err != nil {
					continue
				}
				switch r.IntN(9) {
				case 0:
					check("delete sandbox", sb.Delete())
				case 1:
					check("delete endpoint", ep.Delete(true))
				case 2:
					check("delete network", n.Delete())
				case 3:
					check("rename", sb.Rename(fmt.Sprint("r", r.IntN(3))))
				case 4:
					check("leave", ep.Leave(sb))
				case 5:
					check("refresh", sb.Refresh(libnetwork.OptionHostname(container)))
				default:
					check("join", ep.Join(sb))
					sb.ResolveName(container, 1)
					_, _ = sb.Statistics() // of links that may be gone
				}
			}
		})
	}
	wg.Wait()
	for _, sb := range c.Sandboxes() {
		for _, ep := range sb.Endpoints() {
			if info := ep.Info(); info == nil || info.Sandbox() != sb {
				t.Errorf("endpoint %s is in sandbox %s and does not say so", ep.Name(), sb.ContainerID())
			}
		}
		ok(t, sb.Delete())
	}
	for _, n := range c.Networks() {
		for _, ep := range n.Endpoints() {
			ok(t, ep.Delete(false))
		}
		ok(t, n.Delete())
	}
	// The kernel removes the links of a namespace later.
	eventually(t, "links are left", func() bool { return len(hostLinks(t)) == 0 })
}

func TestStopDuringLoad(t *testing.T) {
	watchdog(t)
	d := newDirs(t)
	c := d.open(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	t.Run("CTL-12 Stop during other calls lets them end, each with success or one class of error", func(t *testing.T) {
		var wg sync.WaitGroup
		started := make(chan struct{}, 4)
		for w := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					name := fmt.Sprint("s", w, "-", i)
					sb, err := c.NewSandbox(name)
					if err == nil {
						var ep libnetwork.Endpoint
						if ep, err = n.CreateEndpoint(name); err == nil {
							err = ep.Join(sb)
						}
					}
					if i == 0 {
						started <- struct{}{}
					}
					if err != nil {
						if got := classesOf(err, false); len(got) != 1 {
							t.Errorf("error %v is of the classes %v, want one", err, got)
						}
						return
					}
				}
			})
		}
		for range 4 {
			<-started
		}
		c.Stop()
		wg.Wait()
	})
}
