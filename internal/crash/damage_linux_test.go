package crash

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLostStore loses or damages one file of the store while containers run.
func TestLostStore(t *testing.T) {
	data, run := filepath.Join(dataDir, "libnetwork.db"), filepath.Join(runDir, "state.db")
	zero := func(path string) error {
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, make([]byte, st.Size()), 0o600)
	}
	inCell(t, func(t *testing.T) {
		empty := pristine(t)
		for _, tc := range []struct {
			name   string
			path   string
			damage func(string) error
			// whole says that nothing at all is lost.
			whole bool
		}{
			{"data file lost", data, os.Remove, true},
			{"data file damaged", data, zero, true},
			{"run file lost", run, os.Remove, false},
			{"run file damaged", run, zero, false},
		} {
			t.Run(tc.name, func(t *testing.T) {
				w := &world{}
				must(t, w.open(true))
				must(t, w.base())
				want := w.state()
				must(t, w.release())
				must(t, tc.damage(tc.path))
				must(t, w.open(true))
				if !tc.whole {
					want = networksOnly(want)
				}
				if diff := cmp.Diff(want, w.state()); diff != "" {
					t.Errorf("state after the start (-want +got):\n%s", diff)
				}
				w.verify(t)
				if !tc.whole {
					must(t, w.base())
					w.verify(t)
				}
				aside, err := filepath.Glob(tc.path + ".*")
				must(t, err)
				must(t, w.clear())
				must(t, w.release())
				for _, path := range aside {
					must(t, os.Remove(path))
				}
				sameAs(t, "left behind", empty)
				if t.Failed() {
					reset(t)
				}
			})
		}
	})
}
