package conntrack

import (
	"errors"
	"os"
	"path/filepath"
)

// settings is where the kernel shows what it tracks in this namespace.
const settings = "/proc/sys/net/netfilter"

// TracksSCTP says whether the kernel follows SCTP associations. One that cannot
// be asked yet, since its connection tracking is a module that is not loaded, is
// taken for one that does.
func TracksSCTP() bool { return tracksSCTP(settings) }

func tracksSCTP(dir string) bool {
	missing := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return errors.Is(err, os.ErrNotExist)
	}
	return missing("nf_conntrack_max") || !missing("nf_conntrack_sctp_timeout_established")
}
