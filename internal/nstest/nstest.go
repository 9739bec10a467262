// Package nstest gives tests a network of their own: namespaces that vanish
// with the test, a whole test binary apart from the machine, a question for
// the features of the kernel, and a check that nothing is left behind.
//
// A test that needs the kernel calls [Require] first. [New] is for tests that
// open sockets in a namespace, [Run] for those whose code under test uses the
// namespace of the calling thread, [Main] for packages with goroutines of their
// own: it runs the whole test binary again in fresh namespaces. [Leaks] looks
// at the process as a whole, so it is of no use beside parallel tests.
//
// The package is for tests only and stands below all others: it imports nothing
// of the module.
package nstest

import (
	"os"
	"testing"
)

// RequireEnv is the environment variable that turns skipped tests into failed
// ones. With "1" a test fails that this kernel could run, with "all" any that
// [Require] would skip.
const RequireEnv = "LIBNETWORK_REQUIRE_KERNEL"

// A Feature is something of the kernel that a test needs.
type Feature string

// The features that [Require] knows. All but [Root] include [Root].
const (
	Root      Feature = "root"
	IPv6      Feature = "ipv6"
	Bridge    Feature = "bridge"
	Veth      Feature = "veth"
	Macvlan   Feature = "macvlan"
	IPvlan    Feature = "ipvlan"
	VLAN      Feature = "vlan"
	VXLAN     Feature = "vxlan"
	Dummy     Feature = "dummy"
	NFTables  Feature = "nftables"
	Conntrack Feature = "conntrack"

	IPTablesNFT    Feature = "iptables-nft"
	IPTablesLegacy Feature = "iptables-legacy"

	Firewalld Feature = "firewalld"
	Systemd   Feature = "systemd"

	BrNetfilter Feature = "br_netfilter"
	SCTP        Feature = "sctp"
	XFRM        Feature = "xfrm"
)

// Require skips the test with the reason unless the kernel has all features and
// the process may use them; see [RequireEnv] for when it fails instead.
func Require(t testing.TB, features ...Feature) {
	t.Helper()
	for _, f := range features {
		reason, lacks := probe(f)
		if reason == "" {
			continue
		}
		env := os.Getenv(RequireEnv)
		if env == "all" || env != "" && !lacks {
			t.Fatalf("%s=%s, and %s is not usable: %s", RequireEnv, env, f, reason)
		}
		t.Skipf("%s is not usable: %s", f, reason)
	}
}

// ShortDir makes a directory for sockets, whose paths may have about 100 bytes: the
// name of the test in it, as in those of [testing.TB.TempDir], would make it too long.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "t") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
