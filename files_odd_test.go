//go:build linux

package libnetwork_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork"
)

// TestOddFiles has somebody take the files of a sandbox away, or put a pipe in their
// place, whose reader waits for a writer.
func TestOddFiles(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "n", subnet("10.1.0.0/24"))
	for _, tt := range []struct {
		name, file, class string
		change            func(path string) error
	}{
		{"HST-1 a hosts file that is gone does not keep an endpoint out", "hosts", "", os.Remove},
		{"HST-1 a hosts file that has become a pipe is refused", "hosts", "BadRequest", pipe},
		{"RES-4 a resolv.conf that has become a pipe is refused", "resolv.conf", "BadRequest", pipe},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			sb := newSandbox(t, c, "c1", libnetwork.OptionHostname("c1"), libnetwork.OptionHostsPath(filepath.Join(dir, "hosts")), libnetwork.OptionResolvConfPath(filepath.Join(dir, "resolv.conf")))
			ok(t, tt.change(filepath.Join(dir, tt.file)))
			ep := newEndpoint(t, n, "e")
			if err := ep.Join(sb); tt.class == "" {
				ok(t, err)
			} else {
				wantClass(t, err, tt.class)
			}
			ok(t, ep.Delete(true))
			ok(t, sb.Delete())
		})
	}
	ok(t, n.Delete())
}

// pipe puts a pipe in the place of a file.
func pipe(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return unix.Mkfifo(path, 0o600)
}
