package crash

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/step"
)

// outcome is what an operation does, as one undisturbed run of it shows.
type outcome struct {
	before, after []string
	steps         int
	names         []string
}

// undisturbed runs the operation once.
func undisturbed(t *testing.T, o op, empty []string) outcome {
	t.Helper()
	w := &world{}
	must(t, w.open(true))
	must(t, w.prepare(o))
	out := outcome{before: w.state()}
	w.verify(t)
	var mu sync.Mutex // guards names
	var names []string
	c := step.New(func(_ int, name string) error {
		mu.Lock()
		defer mu.Unlock()
		names = append(names, name)
		return nil
	})
	err := w.under(c, func() error {
		if err := o.run(w); err != nil {
			return err
		}
		out.after = w.state()
		return w.release() // what is left to do in the background is part of it
	})
	must(t, err)
	out.steps, out.names = c.Count(), names
	must(t, w.open(true))
	w.verify(t)
	w.away(t, empty)
	if t.Failed() {
		t.FailNow()
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// prepare makes what the operation finds.
func (w *world) prepare(o op) error {
	if err := w.base(); err != nil || o.setup == nil {
		return err
	}
	return o.setup(w)
}

// away deletes everything, closes, and sees to it that nothing is left.
func (w *world) away(t *testing.T, empty []string) {
	t.Helper()
	if err := errors.Join(w.clear(), w.release()); err != nil {
		t.Error(err)
	}
	sameAs(t, "left behind", empty)
	for _, p := range []uint16{18080, 18090, 18092, 18100, 18102} {
		if err := listen(modelPort(p)); err != nil {
			t.Errorf("port %d is not free: %v", p, err)
		}
	}
}

// TestOperations stops every operation at every step: by an error, after which
// everything is as before, and by a kill, after which a start finds the state
// before or after it and leaves nothing behind.
func TestOperations(t *testing.T) {
	t.Run("CLN-6 an operation that fails or is killed at any step leaves nothing behind and loses nothing", func(t *testing.T) {
		for _, o := range ops() {
			t.Run(o.name, func(t *testing.T) {
				inCell(t, func(t *testing.T) { everyStep(t, o, kernel.NFTables) })
			})
		}
	})
}

func everyStep(t *testing.T, o op, b kernel.Backend) {
	t.Helper()
	t.Setenv(backendEnv, string(b))
	empty := pristine(t)
	out := undisturbed(t, o, empty)
	if out.steps == 0 {
		t.Fatal("the operation has no steps")
	}
	t.Run("fail", func(t *testing.T) { failEverywhere(t, o, out, empty) })
	t.Run("kill", func(t *testing.T) { killEverywhere(t, o, out, empty) })
	t.Logf("TOLD: %d steps: %s", out.steps, strings.Join(out.names, ", "))
}

// TestOperationsIPTables does the same to operations that change rules, with the
// backend that needs several batches for one change.
func TestOperationsIPTables(t *testing.T) {
	nstest.Require(t, nstest.IPTablesLegacy)
	changing := []string{
		"network-create", "network-delete", "join-ports", "leave-moves-gateway", "sandbox-delete", "sandbox-delete-in-foreign",
		"start-keep-alive",
	}
	for _, o := range ops() {
		if slices.Contains(changing, o.name) {
			t.Run(o.name, func(t *testing.T) {
				inCell(t, func(t *testing.T) { everyStep(t, o, kernel.IPTablesLegacy) })
			})
		}
	}
}

// stride is how many steps short runs pass over.
func stride() int {
	if testing.Short() {
		return 4
	}
	return 1
}

func killEverywhere(t *testing.T, o op, out outcome, empty []string) {
	t.Helper()
	for n := 1; n <= out.steps+1; n += stride() {
		for _, keep := range []bool{true, false} {
			if !keep && n%2 == 0 && n <= out.steps {
				continue // without keep-alive less can go wrong
			}
			what := "the end"
			if n <= out.steps {
				what = strings.ReplaceAll(out.names[n-1], "/", "|")
			}
			t.Run(fmt.Sprintf("%d before %s, keep-alive %t", n, what, keep), func(t *testing.T) {
				killOnce(t, o, out, empty, n, keep)
				if t.Failed() {
					reset(t)
				}
			})
		}
	}
}

// killOnce kills the operation before one step and starts again.
func killOnce(t *testing.T, o op, out outcome, empty []string, n int, keep bool) {
	t.Helper()
	said := kill(t, o.name, fmt.Sprintf("%s=kill:%d", stepsEnv, n))
	w := &world{}
	must(t, w.open(keep))
	// What was cut short is not what somebody else has changed.
	none := map[string]uint64{"firewall": 0, "link": 0, "forwarding": 0}
	if diff := cmp.Diff(none, w.e.Repairs()); diff != "" && !o.alters {
		t.Errorf("repairs that the start tells of (-want +got):\n%s", diff)
	}
	want, got := out.before, w.state()
	if said == answered || cmp.Equal(out.after, got) {
		want = out.after
	}
	if keep {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("state after the start (-want +got):\n%s", diff)
		}
		if o.still != nil && cmp.Equal(got, out.before) {
			if err := o.still(w); err != nil {
				t.Error(err)
			}
		}
	} else if diff := cmp.Diff(networksOnly(got), got); diff != "" {
		t.Errorf("more than networks after the start (-want +got):\n%s", diff)
	} else if !cmp.Equal(got, networksOnly(out.before)) || said == answered {
		if diff := cmp.Diff(networksOnly(out.after), got); diff != "" {
			t.Errorf("networks after the start (-want +got):\n%s", diff)
		}
	}
	w.verify(t)
	if !keep {
		// Names, addresses and ports are free again.
		if err := w.base(); err != nil {
			t.Errorf("the same again: %v", err)
		}
	} else if !cmp.Equal(want, out.after) && !strings.HasPrefix(o.name, "start") {
		if err := o.run(w); err != nil {
			t.Errorf("the same again: %v", err)
		}
		if diff := cmp.Diff(out.after, w.state()); diff != "" {
			t.Errorf("state after the same again (-want +got):\n%s", diff)
		}
		w.verify(t)
	}
	w.away(t, empty)
}

// kill runs a victim and returns what it said before it was killed.
func kill(t *testing.T, name string, env ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(append(os.Environ(), victimEnv+"="+name), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ws, ok := cmd.ProcessState.Sys().(interface{ Signal() unix.Signal }); !ok || ws.Signal() != unix.SIGKILL {
		t.Fatalf("the victim was not killed: %v\n%s", err, stderr.String())
	}
	return stdout.String()
}
