package hostport

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

// A start that finds many ports taken looks at the host's processes once.
func TestManyTaken(t *testing.T) {
	nstest.Run(t, func() {
		nstest.Command(t, "ip", "link", "set", "lo", "up")
		var h Holder
		pid := fmt.Sprintf("(pid %d)", os.Getpid())
		for i := range 20 {
			port := uint16(7001 + i)
			l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv4Unspecified(), port)))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
		}
		var first time.Time
		for i := range 20 {
			port := uint16(7001 + i)
			_, err := h.Resume(t.Context(), unix.IPPROTO_TCP, netip.IPv4Unspecified(), port, port, false)
			if err == nil || !strings.Contains(err.Error(), pid) {
				t.Errorf("port %d: %v, want an error with %s", port, err, pid)
			}
			if i == 0 {
				first = h.programs.read
			}
		}
		if h.programs.read != first {
			t.Error("the processes were looked at again")
		}
	})
}
