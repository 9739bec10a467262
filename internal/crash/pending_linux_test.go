package crash

import (
	"errors"
	"fmt"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
)

// TestPendingCleanUp lets each step fail by which a start removes the sandboxes of
// an earlier process. What could not be removed is nobody's sandbox: it is found by
// its mark, and goes with the next start.
func TestPendingCleanUp(t *testing.T) {
	nstest.Require(t, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables, nstest.IPv6)
	empty := pristine(t)
	var steps int
	var listed, refused, left []string
	for n := 1; ; n++ {
		w := &world{}
		must(t, w.open(true))
		must(t, w.base())
		former := w.sb("work").ID()
		must(t, w.release())

		c, err := step.FromEnv(fmt.Sprintf("fail:%d", n))
		must(t, err)
		if err := w.under(c, func() error { return w.open(false) }); errors.Is(err, step.ErrInjected) {
			// It has not started at all, and said so.
			must(t, w.open(false))
		} else {
			must(t, err)
		}
		for _, s := range w.e.Sandboxes() {
			listed = append(listed, fmt.Sprintf("step %d: %s", n, s.ContainerID()))
		}
		if err := w.base(); err != nil {
			refused = append(refused, fmt.Sprintf("step %d: %v", n, err))
		} else if w.sb("work").ID() == former {
			refused = append(refused, fmt.Sprintf("step %d: the id of the former sandbox", n))
		}
		must(t, w.release())
		must(t, w.open(true))
		w.verify(t)
		if t.Failed() {
			left = append(left, fmt.Sprint("step ", n))
		}
		w.away(t, empty)
		if c.Count() < n {
			steps = n - 1
			break
		}
	}
	if steps == 0 {
		t.Fatal("a start has no steps")
	}
	t.Run("CTL-9 a sandbox whose clean-up has failed is not listed", func(t *testing.T) {
		if len(listed) > 0 {
			t.Error(listed)
		}
	})
	t.Run("SB-2 a container whose former sandbox could not be removed gets another one", func(t *testing.T) {
		if len(refused) > 0 {
			t.Error(refused)
		}
	})
	t.Run("CLN-6 what a start could not remove goes with the next one", func(t *testing.T) {
		if len(left) > 0 {
			t.Error(left)
		}
	})
	t.Logf("%d steps", steps)
}
