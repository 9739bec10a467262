package hostport

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

// A port that was in use when nobody is found who has it may be free now: it is tried
// again, and not for long.
func TestReserveAgain(t *testing.T) {
	nstest.Run(t, func() {
		for busy, fails := range map[int]bool{0: false, 1: false, lookAgain: false, lookAgain + 1: true} {
			tries := 0
			take := func(proto uint8, host netip.Addr, port uint16, share bool) (int, error) {
				if tries++; tries <= busy {
					return -1, unix.EADDRINUSE
				}
				return bind(proto, host, port, share)
			}
			h := new(Holder)
			hold, err := h.reserve(t.Context(), take, lookAgain, false, unix.IPPROTO_TCP, netip.IPv4Unspecified(), 7001, 7001)
			if errors.Is(err, unix.EADDRINUSE) != fails || tries != min(busy, lookAgain)+1 {
				t.Errorf("busy %d times: %v after %d tries", busy, err, tries)
			}
			if hold != nil {
				if err := hold.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
