package kernel_test

import (
	"os"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
)

// A container is found by its IPv6 address as soon as it is there. The kernel makes it so
// a moment after it has taken the address, in one container of ten (seen on Linux 6.18).
func TestFoundAtOnce(t *testing.T) {
	s := newSite(t, "/run/found")
	s.bridge.IPv6, s.veth.Addrs = true, prefixes("fd99::12:3456/64", "10.99.1.2/24")
	s.want[0], s.want[2] = s.bridge, s.veth
	k := s.start(t)
	ns, err := netns.Open(nil, s.veth.Netns)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := k.Delete(t.Context(), []model.Object{s.veth}); err != nil {
			t.Fatal(err)
		}
		if err := k.Create(t.Context(), []model.Object{s.veth}); err != nil {
			t.Fatal(err)
		}
		err := ns.Do(func() error {
			groups, err := os.ReadFile("/proc/thread-self/net/igmp6")
			if !strings.Contains(string(groups), "ff0200000000000000000001ff123456") {
				t.Errorf("round %d: the container is not in the group of its address:\n%s", i, groups)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := ns.Close(); err != nil {
		t.Error(err)
	}
	s.away(t, k)
}
