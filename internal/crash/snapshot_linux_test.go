package crash

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/ipt"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// settle is how long the kernel may take for what it does in its own time: the
// links of a dead namespace go later.
const settle = 5 * time.Second

// snapshot is all that the kernel and the directories hold, by lines: links,
// addresses, routes and rules, of the host and of every namespace that is pinned,
// mounts, files and settings.
func snapshot(t *testing.T) []string {
	t.Helper()
	lines := namespaceLines(t, "host")
	for _, line := range nstest.Mounts(t) {
		if path := strings.Fields(line)[4]; strings.HasPrefix(path, "/run/") || strings.HasPrefix(path, dataDir) {
			lines = append(lines, "mount "+path)
		}
	}
	for _, dir := range []string{dataDir, runDir, foreignDir} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) == ".db" {
				return err
			}
			line := "file " + path
			if b, err := os.ReadFile(path); err == nil && d.Type().IsRegular() && filepath.Base(path) != "lock" {
				line += fmt.Sprintf(" %q", b)
			}
			lines = append(lines, line)
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		pinned, err := netns.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		inside, err := netns.List(filepath.Join(dir, "netns"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range append(pinned, inside...) {
			within(t, path, func() error {
				lines = append(lines, namespaceLines(t, path)...)
				return nil
			})
		}
	}
	for _, s := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		b, err := os.ReadFile("/proc/sys/net/" + s)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, "setting "+s+" "+strings.TrimSpace(string(b)))
	}
	slices.Sort(lines)
	return lines
}

// within runs f in a namespace.
func within(t *testing.T, path string, f func() error) {
	t.Helper()
	ns, err := netns.Open(nil, path)
	if err != nil {
		t.Errorf("open namespace: %v", err)
		return
	}
	defer ns.Close()
	if err := ns.Do(f); err != nil {
		t.Errorf("in %s: %v", path, err)
	}
}

// namespaceLines describes the namespace of the calling thread.
func namespaceLines(t *testing.T, name string) []string {
	t.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, name+": "+fmt.Sprintf(format, args...)) }
	links, err := whole(netlink.LinkList)
	if err != nil {
		t.Error(err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, l := range links {
		a := l.Attrs()
		add("link %s %s up %t mtu %d group %d in %q", a.Name, l.Type(), a.Flags&unix.IFF_UP != 0, a.MTU, a.Group, names[a.MasterIndex])
		addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
		if err != nil {
			t.Error(err)
		}
		for _, addr := range addrs {
			if !addr.IP.IsLinkLocalUnicast() {
				add("address %s on %s", addr.IPNet, a.Name)
			}
		}
	}
	for _, fam := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, fam) })
		if err != nil {
			t.Error(err)
		}
		for _, r := range routes {
			if r.Dst == nil || !r.Dst.IP.IsLinkLocalUnicast() {
				add("route %s via %s dev %s", r.Dst, r.Gw, names[r.LinkIndex])
			}
		}
	}
	return append(lines, ruleLines(t, name)...)
}

// ruleLines describes the firewall of the namespace of the calling thread.
func ruleLines(t *testing.T, name string) []string {
	t.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, name+": "+fmt.Sprintf(format, args...)) }
	c, err := nftables.New()
	if err != nil {
		t.Error(err)
		return nil
	}
	tables, err := c.ListTables()
	if err != nil {
		t.Error(err)
	}
	for _, tab := range tables {
		add("table %d %s", tab.Family, tab.Name)
		chains, err := c.ListChainsOfTableFamily(tab.Family)
		if err != nil {
			t.Error(err)
		}
		for _, ch := range chains {
			if ch.Table.Name != tab.Name {
				continue
			}
			add("chain %d %s", tab.Family, ch.Name)
			rules, err := c.GetRules(tab, ch)
			if err != nil {
				t.Error(err)
			}
			for i, r := range rules {
				add("rule %d %s %d %q", tab.Family, ch.Name, i, r.UserData)
			}
		}
		sets, err := c.GetSets(tab)
		if err != nil {
			t.Error(err)
		}
		for _, s := range sets {
			elems, err := c.GetSetElements(s)
			if err != nil {
				t.Error(err)
			}
			for _, el := range elems {
				add("element %d %s %x: %x %v", tab.Family, s.Name, el.Key, el.Val, el.VerdictData)
			}
		}
	}
	return lines
}

// sameAs waits until the snapshot is as wanted.
func sameAs(t *testing.T, what string, want []string) {
	t.Helper()
	eventually(t, what, func() string { return cmp.Diff(want, snapshot(t)) })
}

// eventually waits until a check has nothing to say any more.
func eventually(t *testing.T, what string, check func() string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	said := ""
	for end := time.Now().Add(settle); time.Now().Before(end); <-tick.C {
		if said = check(); said == "" {
			return
		}
	}
	t.Errorf("%s (-want +got):\n%s", what, said)
}

// reset makes the namespace of the process fit for the next case, whatever the
// last one has left.
func reset(t *testing.T) {
	t.Helper()
	for range 3 { // a link may take others with it
		links, err := whole(netlink.LinkList)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if l.Attrs().Name != "lo" {
				_ = netlink.LinkDel(l)
			}
		}
	}
	fw, err := nft.Open(context.Background(), nft.Config{Table: kernel.Table(dataDir)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fw.Reconcile(context.Background(), nft.Change{}, nft.Guard{}); err != nil {
		t.Fatal(err)
	}
	if err := fw.Close(); err != nil {
		t.Fatal(err)
	}
	if iptables() {
		fw, err := ipt.Open(context.Background(), ipt.Config{Name: kernel.Table(dataDir), Variant: ipt.Legacy})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fw.Reconcile(context.Background(), nft.Change{}, nft.Guard{}); err != nil {
			t.Fatal(err)
		}
		if err := fw.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{filepath.Join(runDir, "netns"), foreignDir} {
		pinned, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range pinned {
			for unix.Unmount(path, unix.MNT_DETACH) == nil {
			}
		}
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
		}
	}
	for _, dir := range []string{dataDir, runDir, foreignDir} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+s, []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := makeForeign(); err != nil {
		t.Fatal(err)
	}
}

// pristine resets and returns the snapshot of what a controller leaves that has
// nothing.
func pristine(t *testing.T) []string {
	t.Helper()
	reset(t)
	w := &world{}
	must(t, w.open(false))
	_, err := w.sandbox("first", nil) // makes directories that stay
	must(t, err)
	must(t, w.clear())
	must(t, w.release())
	return snapshot(t)
}

var netip4Any = netip.IPv4Unspecified()

// whole repeats a listing that a change has come in between of.
func whole[T any](list func() ([]T, error)) ([]T, error) {
	for {
		got, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return got, err
		}
	}
}
