package crash

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/sysctl"
	"github.com/libnetwork/libnetwork/types"
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

// TestLostRecords loses both files while containers run: nothing alive is removed
// until somebody says so.
func TestLostRecords(t *testing.T) {
	inCell(t, func(t *testing.T) {
		empty := pristine(t)
		w := &world{}
		must(t, w.open(true))
		must(t, w.base())
		must(t, w.release())
		links := hostLinks(t)
		for _, path := range []string{filepath.Join(dataDir, "libnetwork.db"), filepath.Join(runDir, "state.db")} {
			must(t, os.Remove(path))
		}
		for _, start := range []string{"the first start", "the second start"} {
			must(t, w.open(true))
			if got := w.e.Networks(); len(got) > 0 {
				t.Errorf("%s knows networks: %v", start, got)
			}
			if diff := cmp.Diff(links, hostLinks(t)); diff != "" {
				t.Errorf("links after %s (-want +got):\n%s", start, diff)
			}
			_, err := w.e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: "bridge", Name: "new"})
			if !errors.As(err, new(types.ForbiddenError)) || !strings.Contains(err.Error(), "--remove-unowned") {
				t.Errorf("%s: a network beside what is left alone: %v", start, err)
			}
			must(t, w.release())
		}
		must(t, w.openWith(host.Options{KeepAlive: true, RemoveUnowned: true}))
		must(t, w.release())
		// That it was us who made the host a router was in the records, too.
		must(t, sysctl.Write(nil, "0", "net", "ipv4", "ip_forward"))
		must(t, sysctl.Write(nil, "0", "net", "ipv6", "conf", "all", "forwarding"))
		sameAs(t, "left behind", empty)
		if t.Failed() {
			reset(t)
		}
	})
}
