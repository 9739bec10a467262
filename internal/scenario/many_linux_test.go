package scenario_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork/internal/engine"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// TestHealMany has a bridge with many ports deleted. What a port costs to be put back does
// not grow with their number.
func TestHealMany(t *testing.T) {
	t.Run("a bridge with many containers that is deleted is there again within 15 ms a container", func(t *testing.T) {
		nstest.Require(t, nstest.NFTables)
		h := bareHost(t, nftables.option())
		const many = 240
		e := h.engine(assemble.Options{Firewall: kernel.NFTables})
		n, beside := h.wideNetwork(e, 1), h.wideNetwork(e, 2)
		for i := range 2 * many {
			name, n := fmt.Sprint("c", i), n
			if i >= many {
				n = beside
			}
			if _, err := e.CreateContainer(t.Context(), engine.SandboxRequest{ContainerID: name},
				[]engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: name}}}); err != nil {
				t.Fatal(err)
			}
		}
		bridge := n.Record().Bridge.Link
		ports := func() int {
			out, _ := run("ip", "-o", "link", "show", "master", bridge, "up") // there may be no bridge
			return strings.Count(out, "\n")
		}
		if got := ports(); got != many {
			t.Fatalf("%d ports, want %d", got, many)
		}
		h.sh("ip", "link", "del", bridge)
		begun := time.Now()
		eventually(t, "not all ports are there again", func() bool { return ports() == many })
		if took := time.Since(begun); took > many*15*time.Millisecond {
			t.Errorf("it took %v", took)
		} else {
			t.Logf("%d ports in %v", many, took.Round(time.Millisecond))
		}
	})
}
