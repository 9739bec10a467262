package engine

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/dnsserver"
	"github.com/libnetwork/libnetwork/internal/model"
)

// hostConf sees when the host's resolver configuration changes. It looks at the
// file when it is asked, so there is nothing that could miss a change or would
// have to be stopped: a look is one stat(2), where forwarding a query costs
// several packets.
type hostConf struct {
	path string

	mu      sync.Mutex  // guards the following; held while the file is read
	info    os.FileInfo // nil if there is no file
	settled bool        // a later change will show in info
	content string
	number  uint64
}

// version returns a number that changes with the content of the file. A file
// that cannot be read counts as unchanged, a missing one as empty.
func (h *hostConf) version() uint64 {
	// Two changes closer to each other than this may give a file the same time.
	const tick = time.Second
	h.mu.Lock()
	defer h.mu.Unlock()
	info, err := os.Stat(h.path)
	var content []byte
	switch {
	case errors.Is(err, fs.ErrNotExist):
		info = nil
	case err != nil:
		return h.number
	case h.settled && h.info != nil && os.SameFile(h.info, info) && h.info.ModTime().Equal(info.ModTime()) && h.info.Size() == info.Size():
		return h.number
	default:
		if content, err = os.ReadFile(h.path); err != nil {
			return h.number
		}
	}
	h.info, h.settled = info, info != nil && time.Since(info.ModTime()) > tick
	if h.content != string(content) {
		h.content = string(content)
		h.number++
	}
	return h.number
}

// follow returns what tells the server of a sandbox which servers to ask when
// the host's configuration has changed; nil if the sandbox does not depend on it.
func (s *Sandbox) follow(rec *model.Sandbox) func() ([]dnsserver.Upstream, bool) {
	if len(rec.Files.DNS) > 0 || rec.Files.OriginResolvConf != "" || len(rec.Upstreams) > 0 {
		return nil
	}
	seen := s.e.hostConf.version()
	return func() ([]dnsserver.Upstream, bool) {
		now := s.e.hostConf.version()
		if now == seen {
			return nil, false
		}
		seen = now
		return s.e.upstreamsOf(s.View()), true
	}
}

// hasIPv6 says whether a sandbox has an address of that family.
func hasIPv6(v *model.View) bool {
	for _, a := range v.Attached {
		if a.Endpoint.V6 != (netip.Prefix{}) {
			return true
		}
	}
	return false
}
