package engine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/hostsfile"
	"github.com/libnetwork/libnetwork/internal/model"
)

// What a kill amid an edit leaves of an own line goes; comments of users stay.
func TestDropStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	const keep = "10.0.0.3\tweb\n#10.0.0.3\tweb\n# web\n#1.1.1.1\tother\n#note\tweb\n"
	const stale = "#0.0.0.4\tweb\n10.0.0.5\tweb\n#0.0.0.3\tweb\n#d00::3\tweb\n"
	if err := os.WriteFile(path, []byte(keep+stale), 0o644); err != nil {
		t.Fatal(err)
	}
	own := []hostsfile.Record{{Hosts: "web", IP: "10.0.0.3"}}
	if err := dropStale(model.Files{Hosts: path, Hostname: "web"}, own); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keep, string(got)); diff != "" {
		t.Errorf("hosts file (-want +got):\n%s", diff)
	}
}
