package crash

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/step"
)

func modelPort(n uint16) model.Port {
	return model.Port{Proto: tcp, Host: netip4Any, First: n, Last: n}
}

// failEverywhere lets each step of an operation fail. Where it says so,
// everything is as before and it succeeds when it is repeated. Where it does not,
// since it had been recorded or the step was not vital, the state is the one
// after it, and a start puts the kernel right.
func failEverywhere(t *testing.T, o op, out outcome, empty []string) {
	t.Helper()
	if strings.HasPrefix(o.name, "start") {
		t.Skip("a start goes on after a failure")
	}
	failed := 0
	for n := 1; n <= out.steps; n += stride() {
		what := strings.ReplaceAll(out.names[n-1], "/", "|")
		t.Run(fmt.Sprintf("%d %s", n, what), func(t *testing.T) {
			failed += failOnce(t, o, out, empty, n)
			if t.Failed() {
				reset(t)
			}
		})
	}
	if failed == 0 {
		t.Error("no fault made the operation fail")
	}
}

func failOnce(t *testing.T, o op, out outcome, empty []string, n int) (failed int) {
	t.Helper()
	w := &world{}
	must(t, w.open(true))
	must(t, w.prepare(o))
	before := snapshot(t)
	c, err := step.FromEnv(fmt.Sprintf("fail:%d", n))
	must(t, err)
	err = w.under(c, func() error { return o.run(w) })
	if c.Count() < n {
		// A step of the background.
		w.away(t, empty)
		return 0
	}
	if err != nil {
		failed = 1
		if !errors.Is(err, step.ErrInjected) {
			t.Errorf("the error does not tell its cause: %v", err)
		}
		sameAs(t, "kernel and files after "+err.Error(), before)
		if diff := cmp.Diff(out.before, w.state()); diff != "" {
			t.Errorf("state after the failure (-want +got):\n%s", diff)
		}
		w.verify(t)
		if o.still != nil {
			if err := o.still(w); err != nil {
				t.Error(err)
			}
		}
		if err := o.run(w); err != nil {
			t.Errorf("without the fault: %v", err)
		}
	}
	if diff := cmp.Diff(out.after, w.state()); diff != "" {
		t.Errorf("state after the operation (-want +got):\n%s", diff)
	}
	if failed == 0 {
		must(t, w.release())
		must(t, w.open(true))
	}
	w.verify(t)
	w.away(t, empty)
	return failed
}
