package conntrack

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTracksSCTP(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string
		want  bool
	}{
		{"not loaded", nil, true},
		{"without", []string{"nf_conntrack_max"}, false},
		{"with", []string{"nf_conntrack_max", "nf_conntrack_sctp_timeout_established"}, true},
	} {
		t.Run("a kernel without SCTP is told by its settings: "+tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := tracksSCTP(dir); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}
