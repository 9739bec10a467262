//go:build linux

package libnetwork_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

func TestSetKey(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	given := nstest.New(t)
	ns := must(netns.Open(nil, given.Path()))(t)
	defer ns.Close()
	placed, where := newPaths(t)
	sb := newSandbox(t, c, "c1", append(where, libnetwork.OptionUseExternalKey(), libnetwork.OptionHostname("h"))...)
	file := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(file, nil, 0o600))
	refused := func(t *testing.T) {
		t.Helper()
		for _, path := range []string{"", "/no/such/file", file, t.TempDir(), "/proc/self/ns/mnt"} {
			wantClass(t, sb.SetKey(path), "BadRequest")
		}
	}
	t.Run("SB-10 a path that is no namespace is BadRequest, also without an endpoint", refused)
	ep := newEndpoint(t, n, "e")
	ok(t, ep.Join(sb))
	key := sb.Key()
	t.Run("OSL-18 a join before SetKey configures nothing", func(t *testing.T) {
		if ep.Info().Sandbox() != sb {
			t.Errorf("sandbox is %v", ep.Info().Sandbox())
		}
		diff(t, "links of the host", []string{"br-" + n.ID()[:12]}, hostLinks(t))
		if _, err := os.Stat(key); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("there is a key before SetKey: %v", err)
		}
		diff(t, "hosts file", defaultHosts+ep.Info().Iface().Address().IP.String()+"\th\n", read(t, placed.hosts))
		if strings.Contains(read(t, placed.resolv), "127.0.0.11") {
			t.Error("resolv.conf names a server that does not listen yet")
		}
		refused(t)
	})
	t.Run("OSL-18 joins before SetKey take effect with it, joins after it at once", func(t *testing.T) {
		ok(t, sb.SetKey(given.Path()))
		diff(t, "links", []string{"eth0"}, linkNames(t, ns))
		diff(t, "routes", []string{"10.1.0.1 eth0"}, defaults(t, ns))
		t.Run("OSL-17 the key stays the same path", func(t *testing.T) { diff(t, "key", key, sb.Key()) })
		if !netns.Same(inside(t, sb), ns) {
			t.Error("the key is not the namespace given")
		}
		ok(t, newEndpoint(t, n, "e2").Join(sb))
		if !strings.Contains(read(t, placed.resolv), "nameserver 127.0.0.11\n") {
			t.Errorf("resolv.conf is\n%s", read(t, placed.resolv))
		}
		diff(t, "links after one more join", []string{"eth0", "eth1"}, linkNames(t, ns))
		ask(t, ns, "udp", "e2.", "A")
	})
	t.Run("SB-10 after a path that is refused the former namespace is in use", func(t *testing.T) {
		refused(t)
		diff(t, "links", []string{"eth0", "eth1"}, linkNames(t, ns))
		ask(t, ns, "tcp", "e2.", "A")
	})
	t.Run("OSL-17 links, routes and name server go to another namespace, the former one is left empty", func(t *testing.T) {
		next := nstest.New(t)
		ok(t, sb.SetKey(next.Path()))
		in := inside(t, sb)
		diff(t, "links", []string{"eth0", "eth1"}, linkNames(t, in))
		ask(t, in, "udp", "e2.", "A")
		eventually(t, "the former one keeps its links", func() bool { return len(linkNames(t, ns)) == 0 })
		diff(t, "routes of the former one", []string{}, defaults(t, ns))
	})
	t.Run("OSL-17 a namespace of its own is given up for another one", func(t *testing.T) {
		own := attach(t, c, "c2", n)
		next := nstest.New(t)
		ok(t, own.SetKey(next.Path()))
		diff(t, "links", []string{"eth0"}, linkNames(t, inside(t, own)))
		ask(t, inside(t, own), "udp", "c2.", "A")
	})
	t.Run("SB-6 the namespace of somebody else outlives the sandbox", func(t *testing.T) {
		ok(t, sb.Delete())
		ok(t, given.Do(func() error { return nil }))
	})
}

// userLinks puts links of the user into a namespace: a veth pair.
func userLinks(t *testing.T, ns *netns.Namespace, name, peer string) {
	t.Helper()
	ok(t, ns.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peer})
	}))
}

func TestSetKeyFails(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	for i, tt := range []struct {
		name  string
		given bool
	}{
		{"SB-10 when the other namespace cannot be wired, the sandbox's own one stays with all that is in it", false},
		{"SB-10 when the other namespace cannot be wired, one that was given before stays with all that is in it", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := fmt.Sprint("c", i)
			sb := attach(t, c, id, n)
			if tt.given {
				ok(t, sb.SetKey(nstest.New(t).Path()))
			}
			former := inside(t, sb)
			userLinks(t, former, "mine", "mine2")
			l := must(former.ListenTCP(netip.MustParseAddrPort("127.0.0.1:80")))(t)
			defer l.Close()
			next := nstest.New(t)
			ns := must(netns.Open(nil, next.Path()))(t)
			defer ns.Close()
			userLinks(t, ns, "eth0", "other")
			key := sb.Key()

			err := sb.SetKey(next.Path())
			wantClass(t, err, "Forbidden")
			if !netns.Same(inside(t, sb), former) || sb.Key() != key {
				t.Errorf("key %s is another namespace than before", sb.Key())
			}
			eventually(t, "links of the former namespace are not as before", func() bool {
				return fmt.Sprint(linkNames(t, former)) == "[eth0 mine mine2]"
			})
			diff(t, "default routes", []string{"10.1.0.1 eth0"}, defaults(t, former))
			ask(t, former, "udp", id+".", "A")
			conn := must(former.Dial(t.Context(), "tcp", l.Addr().String()))(t)
			ok(t, conn.Close())
			diff(t, "links of the other namespace", []string{"eth0", "other"}, linkNames(t, ns))

			ok(t, ns.Do(func() error {
				link, err := netlink.LinkByName("eth0")
				return errors.Join(err, netlink.LinkDel(link))
			}))
			ok(t, sb.SetKey(next.Path()))
			diff(t, "links when nothing is in the way", []string{"eth0"}, linkNames(t, ns))
			ok(t, sb.Delete())
		})
	}
}

// TestSetKeySerialised gives a sandbox namespaces while endpoints come and go, and
// deletes it in the middle.
func TestSetKeySerialised(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	sb := newSandbox(t, c, "c1", libnetwork.OptionUseExternalKey())
	given := []*nstest.NS{nstest.New(t), nstest.New(t)}
	const rounds = 5
	var wg sync.WaitGroup
	check := func(what string, err error) {
		if err != nil && !is[types.ForbiddenError](err) {
			t.Errorf("%s: %v (%T)", what, err, err)
		}
	}
	churn := func() {
		for _, ns := range given {
			wg.Go(func() {
				for range rounds {
					check("set key", sb.SetKey(ns.Path()))
				}
			})
		}
		for i := range 3 {
			wg.Go(func() {
				ep, err := n.CreateEndpoint(fmt.Sprint("e", i))
				if err != nil {
					t.Error(err)
					return
				}
				for range rounds {
					check("join", ep.Join(sb))
					check("leave", ep.Leave(sb))
				}
				check("join", ep.Join(sb))
			})
		}
	}
	t.Run("OSL-19 SetKey takes its turn with Join and Leave", func(t *testing.T) {
		churn()
		wg.Wait()
		if len(sb.Endpoints()) != 3 {
			t.Errorf("endpoints are %v", sb.Endpoints())
		}
		in := inside(t, sb)
		eventually(t, "the namespace does not have the links of all endpoints", func() bool { return len(linkNames(t, in)) == 3 })
		for _, ns := range given {
			other := must(netns.Open(nil, ns.Path()))(t)
			if !netns.Same(in, other) {
				eventually(t, "the namespace that was left has links", func() bool { return len(linkNames(t, other)) == 0 })
			}
			ok(t, other.Close())
		}
		ask(t, in, "udp", "e0.", "A")
		for _, ep := range n.Endpoints() {
			ok(t, ep.Delete(true))
		}
	})
	t.Run("OSL-19 SetKey takes its turn with Delete", func(t *testing.T) {
		for range rounds {
			wg.Go(func() { check("set key", sb.SetKey(given[0].Path())) })
			wg.Go(func() { check("set key", sb.SetKey(given[1].Path())) })
		}
		wg.Go(func() { check("delete", sb.Delete()) })
		wg.Wait()
		wantClass(t, sb.SetKey(given[0].Path()), "Forbidden")
		for _, ns := range given {
			left := must(netns.Open(nil, ns.Path()))(t)
			eventually(t, "a namespace still has links", func() bool { return len(linkNames(t, left)) == 0 })
			ok(t, left.Close())
		}
	})
}
