//go:build !linux

package netns

import (
	"context"
	"net"
	"net/netip"
	"runtime"

	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// Namespace is an open network namespace, which this system does not have.
type Namespace struct{}

func missing() error {
	return types.NotImplementedErrorf("network namespaces: not on %s", runtime.GOOS)
}

// Create fails on this system.
func Create(context.Context, *step.Counter, string) (*Namespace, error) { return nil, missing() }

// Open fails on this system.
func Open(*step.Counter, string) (*Namespace, error) { return nil, missing() }

// Host fails on this system.
func Host(*step.Counter) (*Namespace, error) { return nil, missing() }

// OpenSelf fails on this system.
func OpenSelf(*step.Counter) (*Namespace, error) { return nil, missing() }

// EnsureDir fails on this system.
func EnsureDir(*step.Counter, string) error { return missing() }

// RemoveDir fails on this system.
func RemoveDir(*step.Counter, string) error { return missing() }

// Remove fails on this system.
func Remove(*step.Counter, string) error { return missing() }

// List fails on this system.
func List(string) ([]string, error) { return nil, missing() }

// IsNamespace is false on this system.
func IsNamespace(string) bool { return false }

// Same is false on this system.
func Same(_, _ *Namespace) bool { return false }

// Path is empty on this system.
func (*Namespace) Path() string { return "" }

// FD is -1 on this system.
func (*Namespace) FD() int { return -1 }

// Close fails on this system.
func (*Namespace) Close() error { return missing() }

// Do fails on this system.
func (*Namespace) Do(func() error) error { return missing() }

// Pin fails on this system.
func (*Namespace) Pin(string) error { return missing() }

// Rtnl fails on this system.
func (*Namespace) Rtnl() (*rtnl.Socket, error) { return nil, missing() }

// Listen fails on this system.
func (*Namespace) Listen(netip.AddrPort) (*net.UDPConn, *net.TCPListener, error) {
	return nil, nil, missing()
}

// ListenUDP fails on this system.
func (*Namespace) ListenUDP(netip.AddrPort) (*net.UDPConn, error) { return nil, missing() }

// ListenTCP fails on this system.
func (*Namespace) ListenTCP(netip.AddrPort) (*net.TCPListener, error) { return nil, missing() }

// Dial fails on this system.
func (*Namespace) Dial(context.Context, string, string) (net.Conn, error) { return nil, missing() }
