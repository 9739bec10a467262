// Package conntrack makes the kernel forget connections that go by rules which
// are no more: without it a client that keeps sending stays tied to the container
// that had the port, or the address, before.
//
// A [Flusher] is safe for concurrent use, works in the network namespace of the
// calling thread, and starts no goroutine. The kernel has no index by address: a few
// IPv4 addresses and ports are handed to it as filters (Linux 6.9), each a walk
// over its table, and all else is one dump a family, which takes as long as some
// fifteen of these.
package conntrack

import (
	"net/netip"

	"github.com/libnetwork/libnetwork/internal/model"
)

// A Filter says which connections to forget. The zero value names none.
type Filter struct {
	// Addrs are containers: connections that they opened, and those that end at
	// them, whatever address the client asked.
	Addrs []netip.Addr
	// Ports are publications: connections to the host's port (never the
	// container's), whoever answers them now. Connections that only pass through
	// the host to the same port elsewhere are not meant.
	Ports []model.Port
}
