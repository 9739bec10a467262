package nstest_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestNew(t *testing.T) {
	nstest.Leaks(t)
	ns := nstest.New(t)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	err = ns.Do(func() error {
		inside, err := os.Readlink("/proc/thread-self/ns/net")
		if err == nil && inside == own {
			t.Errorf("Do ran in the process's own namespace %s", own)
		}
		if _, err := net.InterfaceByName("lo"); err != nil {
			t.Error(err)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(ns.Path()); err != nil {
		t.Error(err)
	}
}

func TestRun(t *testing.T) {
	nstest.Leaks(t)
	nstest.Run(t, func() {
		names, err := os.ReadDir("/run")
		if err != nil || len(names) != 0 {
			t.Fatalf("/run holds %v (%v), want nothing", names, err)
		}
		if err := os.WriteFile("/run/x", nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := os.Stat("/run/x"); err == nil {
		t.Error("a file made inside is seen outside")
	}
	t.Run("skip inside", func(t *testing.T) {
		nstest.Run(t, func() { t.Skip("as asked") })
		t.Error("Run returned after a skip")
	})
}

func TestMainIsolates(t *testing.T) {
	nstest.Require(t, nstest.Root)
	ifs, err := net.Interfaces()
	if err != nil || len(ifs) != 1 || ifs[0].Flags&net.FlagUp == 0 {
		t.Errorf("interfaces are %v (%v), want only a raised lo", ifs, err)
	}
	if list := nstest.Mounts(t); len(list) != 3 || !strings.Contains(list[0], " / /run ") {
		t.Errorf("mounts are %q, want those of /run, /var/lib and /sys", list)
	}
}

func TestRequireKnowsFeatures(t *testing.T) {
	for _, f := range []nstest.Feature{
		nstest.Root, nstest.IPv6, nstest.Bridge, nstest.Veth, nstest.Macvlan, nstest.IPvlan, nstest.VLAN,
		nstest.VXLAN, nstest.Dummy, nstest.NFTables, nstest.Conntrack, nstest.BrNetfilter, nstest.SCTP, nstest.XFRM,
		nstest.Firewalld, nstest.Systemd,
	} {
		t.Run(string(f), func(t *testing.T) { nstest.Require(t, f) })
	}
}
