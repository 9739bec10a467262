package arch

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floors are the floors of the house, the lowest first. A package imports only
// packages of floors below its own. An entry that ends in "/..." stands for
// everything below it, a longer entry wins over a shorter one.
var floors = [][]string{
	{ // vocabulary: values, labels, error classes; and what tests stand on
		"types", "options", "netlabel", "discoverapi", "resolvconf/dns",
		"internal/step", "internal/runset", "internal/hostsfile/inplace", "internal/forward", "internal/nstest", "internal/arch",
	},
	{ // contracts, and pure code on the vocabulary
		"driverapi", "ipamapi", "config", "bitseq", "resolvconf",
		"internal/model", "internal/hostsfile",
	},
	{ // pure code on the contracts
		"internal/fwtest", // what tests of firewalls have in common
		"idm", "drivers/remote/api", "ipams/remote/api", "ipams/null",
		"internal/drivers/...", "internal/ipam/...", "internal/resolvfile", "internal/exposure",
	},
	{ // kernel and store floor: one facility each
		"internal/sysctl", "internal/conntrack", "internal/hostport", "internal/nlevents", "internal/store/...",
		"internal/unixsock", "internal/systemd", "internal/firewalld/...",
	},
	{"internal/rtnl", "internal/nft", "internal/ipt"},
	{"internal/netns"}, // opens the others' sockets in a namespace
	{ // what is built of them
		"osl", "ipamutils", "internal/apply", "internal/kernel", "internal/dnsserver/...", "internal/run",
		"internal/extkey",
	},
	{"internal/engine"},
	{"internal/engine/enginetest"},
	{"internal/host"},     // assembles an engine for this machine
	{".", "internal/api"}, // the two faces of the engine: the library, and what the daemon speaks
	{"internal/api/server", "internal/client", "internal/metrics", "bench/...", "docs/...", "internal/crash", "internal/scenario"},
	{"internal/daemon"},
	{"internal/cli"},
	{"cmd/..."},
}

// sameFloor are the imports that are allowed beside the floors, each with its
// reason.
var sameFloor = map[[2]string]string{
	{"drivers/remote/api", "driverapi"}: "messages carry the contract's values",
	{"internal/ipt", "internal/nft"}:    "the rules of iptables-nft are tables of nf_tables, which tells of their changes",
}

// kernelFloor are the packages that may talk to the kernel and run programs.
// All above them decides without an operating system, so it is tested without
// root, on any system.
var kernelFloor = []string{
	"internal/netns", "internal/rtnl", "internal/nft", "internal/ipt", "internal/nlevents", "internal/hostport", "internal/conntrack",
	"internal/sysctl", "internal/store/...", "internal/step", "internal/nstest", "internal/firewalld/firewalldtest", "internal/kernel", "internal/run",
	"internal/systemd", "internal/unixsock", "internal/extkey", "internal/hostsfile/inplace", "osl", "ipamutils", "cmd/...",
	"docs/runner", "docs/mutants", // an example of what users do, and a tool that runs tests
}

// kernelImports are what only the kernel floor imports, with all below them.
var kernelImports = []string{
	"syscall", "os/exec", "golang.org/x/sys/unix",
	"github.com/vishvananda/netlink", "github.com/vishvananda/netns",
	"github.com/google/nftables", "github.com/mdlayher/netlink",
}

// publicToInternal are the internal packages on which public ones may stand.
// The other public packages are vocabulary: a user reads them as they are.
var publicToInternal = map[string][]string{
	".":          {"internal/..."},
	"osl":        {"internal/..."},
	"ipamutils":  {"internal/rtnl"},
	"resolvconf": {"internal/hostsfile/inplace"}, // writes a bind-mounted file
	"bitseq":     {"internal/runset"},            // the set that address pools are, too
}

// covers reports whether an entry of the tables stands for the package.
func covers(entry, name string) bool {
	if below, ok := strings.CutSuffix(entry, "/..."); ok {
		return name == below || strings.HasPrefix(name, below+"/")
	}
	return entry == name
}

// floor is the number of the package's floor, -1 if the table has none.
func floor(name string) int {
	found, length := -1, -1
	for i, entries := range floors {
		for _, e := range entries {
			if covers(e, name) && len(e) > length {
				found, length = i, len(e)
			}
		}
	}
	return found
}

func isInternal(name string) bool {
	return slices.Contains(strings.Split(name, "/"), "internal")
}

// eachImport calls f with every import of every file that is no test: from is
// the package inside the module, to the import path.
func eachImport(t *testing.T, f func(from, to, file string)) {
	t.Helper()
	each(t, func(p pkg, s source) {
		for _, i := range s.Imports {
			to, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			f(p.name(), to, s.path)
		}
	})
}

// own is the name inside the module of an import path, if it is one of ours.
func own(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func TestFloors(t *testing.T) {
	missing := map[string]bool{}
	each(t, func(p pkg, _ source) {
		if floor(p.name()) < 0 && !missing[p.name()] {
			missing[p.name()] = true
			t.Errorf("package %s has no floor: add it to the table in imports_test.go and to ARCHITECTURE.md", p.name())
		}
	})
	eachImport(t, func(from, to, file string) {
		name, ok := own(to)
		if !ok || floor(from) < 0 {
			return
		}
		// A tree of packages under one entry may be divided as it likes; the
		// compiler refuses circles.
		if tree(from) != "" && tree(from) == tree(name) {
			return
		}
		if _, ok := sameFloor[[2]string{from, name}]; ok {
			return
		}
		if floor(name) >= floor(from) {
			t.Errorf("%s: %s (floor %d) imports %s (floor %d): imports go down", file, from, floor(from), name, floor(name))
		}
	})
}

// tree is the "/..." entry that covers the package, if there is one.
func tree(name string) string {
	for _, entries := range floors {
		for _, e := range entries {
			if strings.HasSuffix(e, "/...") && covers(e, name) {
				return e
			}
		}
	}
	return ""
}

func TestKernelFloor(t *testing.T) {
	eachImport(t, func(from, to, file string) {
		if slices.ContainsFunc(kernelFloor, func(e string) bool { return covers(e, from) }) {
			return
		}
		if slices.ContainsFunc(kernelImports, func(k string) bool { return covers(k+"/...", to) }) {
			t.Errorf("%s: %s imports %s: only the kernel floor talks to the kernel; ask one of its packages", file, from, to)
		}
	})
}

func TestPublicImports(t *testing.T) {
	eachImport(t, func(from, to, file string) {
		name, ok := own(to)
		if !ok || isInternal(from) || strings.HasPrefix(from, "cmd/") {
			return
		}
		if isInternal(name) && !slices.ContainsFunc(publicToInternal[from], func(e string) bool { return covers(e, name) }) {
			t.Errorf("%s: %s imports %s: a public package stands on the internal ones of the table alone", file, from, name)
		}
	})
}

func TestNoTestingInProduction(t *testing.T) {
	eachImport(t, func(from, to, file string) {
		if strings.HasSuffix(from, "test") {
			return
		}
		if name, ok := own(to); to == "testing" || ok && strings.HasSuffix(name, "test") {
			t.Errorf("%s: %s imports %s: that is for tests", file, from, to)
		}
	})
}
