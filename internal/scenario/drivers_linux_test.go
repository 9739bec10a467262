package scenario_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/libnetwork/libnetwork/types"
)

func TestScenario23Contract(t *testing.T) {
	for _, driver := range []string{"bridge", "host", "null"} {
		t.Run(driver, func(t *testing.T) {
			h := newHost(t)
			n, err := h.ctl.NewNetwork(driver, "n")
			if err != nil {
				t.Fatal(err)
			}
			_, err = h.ctl.NewNetwork(driver, "n")
			failed(t, err, "Forbidden", "n")
			ep, err := n.CreateEndpoint("ep")
			if err != nil {
				t.Fatal(err)
			}
			_, err = n.CreateEndpoint("ep")
			failed(t, err, "Forbidden", "ep")
			_, err = n.EndpointByID("unknown")
			failed(t, err, "NotFound", "unknown")
			sb, err := h.ctl.NewSandbox("c")
			if err != nil {
				t.Fatal(err)
			}
			failed(t, ep.Leave(sb), "Forbidden", "ep")
			if err := ep.Join(sb); err != nil {
				t.Fatal(err)
			}
			failed(t, ep.Join(sb), "Forbidden", "ep")
			failed(t, ep.Delete(false), "Forbidden", "ep", "c")
			failed(t, n.Delete(), "Forbidden", "n")
			if err := ep.Delete(true); err != nil {
				t.Error(err)
			}
			failed(t, ep.Delete(false), "NotFound", "ep")
			if err := sb.Delete(); err != nil {
				t.Error(err)
			}
			failed(t, sb.Delete(), "Forbidden")
			if driver == "bridge" {
				h.drop(n)
				failed(t, n.Delete(), "NotFound", "n")
				_, err = n.CreateEndpoint("ep")
				failed(t, err, "NotFound", "n")
			}
		})
	}
}

func TestScenario23Concurrency(t *testing.T) {
	h := newHost(t)
	before := machine(t)
	shared := h.network(1)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for round := range 3 {
				if err := h.oneLife(fmt.Sprintf("c%d-%d", i, round), 10+i); err != nil {
					t.Error(err)
				}
				// All want the same name and the same subnet; one may have it.
				if n, err := h.tryNetwork(2); err == nil {
					if err := n.Delete(); err != nil {
						t.Error(err)
					}
				} else {
					failed(t, err, "Forbidden", "net2")
				}
			}
		})
	}
	wg.Wait()
	h.drop(shared)
	same(t, "the machine", before, func() string { return machine(t) })
}

// oneLife makes a network and a container on it and on net1, and deletes them.
func (h *host) oneLife(name string, num int) error {
	shared, err := h.ctl.NetworkByName("net1")
	if err != nil {
		return err
	}
	n, err := h.tryNetwork(num)
	if err != nil {
		return err
	}
	sb, err := h.ctl.NewSandbox(name, publish(types.PortBinding{Proto: types.TCP, Port: port})...)
	if err != nil {
		return err
	}
	c := &container{name: name, sb: sb}
	if _, err := c.join(n); err != nil {
		return err
	}
	if _, err := c.join(shared); err != nil {
		return err
	}
	if err := sb.Delete(); err != nil {
		return err
	}
	return n.Delete()
}

func TestScenario25HostAndNull(t *testing.T) {
	for _, driver := range []string{"host", "null"} {
		t.Run(driver, func(t *testing.T) {
			h := newHost(t)
			n, err := h.ctl.NewNetwork(driver, "only")
			if err != nil {
				t.Fatal(err)
			}
			_, err = h.ctl.NewNetwork(driver, "second")
			failed(t, err, "Forbidden", "second", driver)
			failed(t, n.Delete(), "Forbidden", "only")
			h.restart()
			failed(t, h.netByName("only").Delete(), "Forbidden", "only")
		})
	}
}
