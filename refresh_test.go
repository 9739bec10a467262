//go:build linux

package libnetwork_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/types"
)

func TestRefresh(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", dual("10.1.0.0/24", "fd00:1::/64")...)
	other := newNetwork(t, c, "a", subnet("10.2.0.0/24"))
	newEndpoint(t, n, "db")
	dir := t.TempDir()
	hosts, resolv := filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")
	paths := []libnetwork.SandboxOption{libnetwork.OptionHostsPath(hosts), libnetwork.OptionResolvConfPath(resolv)}
	sb := newSandbox(t, c, "c1", append(paths, libnetwork.OptionHostname("old"), libnetwork.OptionGeneric(map[string]any{"l": "1"}))...)
	ep := newEndpoint(t, n, "e")
	ok(t, ep.Join(sb, libnetwork.JoinOptionPriority(nil, 1), libnetwork.CreateOptionAlias("db", "store")))
	ok(t, newEndpoint(t, other, "e").Join(sb))
	ns := inside(t, sb)
	eps, key := sb.Endpoints(), sb.Key()
	open := must(os.Open(hosts))(t) // so that its inode is not used again
	defer open.Close()
	t.Run("SB-8 files and labels are as the new options say", func(t *testing.T) {
		ok(t, sb.Refresh(append(paths, libnetwork.OptionHostname("new"), libnetwork.OptionExtraHost("x", "192.0.2.1"), libnetwork.OptionDNSSearch("ex.test"))...))
		text := read(t, hosts)
		if strings.Contains(text, "old") || !strings.Contains(text, "192.0.2.1\tx\n") || !strings.Contains(text, "10.1.0.3\tnew\n") {
			t.Errorf("hosts file is\n%s", text)
		}
		diff(t, "resolv.conf", "search ex.test\nnameserver 127.0.0.11\noptions ndots:0\n", read(t, resolv))
		diff(t, "labels", map[string]any{}, sb.Labels())
		if !os.SameFile(must(open.Stat())(t), must(os.Stat(hosts))(t)) {
			t.Error("HST-6: the hosts file is another one")
		}
	})
	kept := func(t *testing.T) {
		t.Helper()
		if !slices.Equal(sb.Endpoints(), eps) || sb.Key() != key || !netns.Same(ns, inside(t, sb)) {
			t.Errorf("endpoints are %v, key is %s", sb.Endpoints(), sb.Key())
		}
		diff(t, "links", []string{"eth0", "eth1"}, linkNames(t, ns))
		diff(t, "default routes", []string{"10.1.0.1 eth0", "fd00:1::1 eth0"}, defaults(t, ns))
		if ips, _ := sb.ResolveName("store", 1); len(ips) != 1 {
			t.Errorf("the alias resolves to %v", ips)
		}
		ask(t, ns, "udp", "store.", "A")
	}
	t.Run("SB-8 namespace, endpoints, aliases and priorities survive", kept)
	t.Run("SB-8 without options the files are those of no options, and name the embedded server", func(t *testing.T) {
		ok(t, sb.Refresh(paths...))
		kept(t)
		if text := read(t, resolv); !strings.Contains(text, "nameserver 127.0.0.11\n") {
			t.Errorf("resolv.conf is\n%s", text)
		}
		if text := read(t, hosts); strings.Contains(text, "new") {
			t.Errorf("hosts file is\n%s", text)
		}
	})
	t.Run("SB-8 with the options that it has, hosts and resolv.conf are made anew", func(t *testing.T) {
		want := map[string]string{hosts: read(t, hosts), resolv: read(t, resolv)}
		for path := range want {
			ok(t, os.WriteFile(path, []byte("# by the user\n"), 0o644))
		}
		ok(t, sb.Refresh(paths...))
		for path, text := range want {
			// What is blank at the end is room that an edit has left.
			diff(t, path, strings.TrimRight(text, " \n"), strings.TrimRight(read(t, path), " \n"))
		}
		if !strings.Contains(want[resolv], "nameserver 127.0.0.11\n") {
			t.Errorf("resolv.conf is\n%s", want[resolv])
		}
		kept(t)
	})
	t.Run("SB-8 a Join that fails is reported, and all is as before", func(t *testing.T) {
		l := must(net.Listen("tcp", "0.0.0.0:8123"))(t)
		defer l.Close()
		ok(t, os.WriteFile(hosts, append([]byte(read(t, hosts)), "192.0.2.7\tmine\n"...), 0o644))
		before := read(t, hosts)
		labels := sb.Labels()
		wantClass(t, sb.Refresh(append(paths, libnetwork.OptionHostname("never"),
			libnetwork.OptionPortMapping([]types.PortBinding{{Proto: types.TCP, Port: 80, HostPort: 8123}}))...), "Forbidden")
		kept(t)
		diff(t, "hosts file", before, read(t, hosts))
		diff(t, "labels", labels, sb.Labels())
	})
	t.Run("SB-8 files at the default paths stay the same files", func(t *testing.T) {
		sb := newSandbox(t, c, "c2", libnetwork.OptionHostname("old"))
		ok(t, newEndpoint(t, n, "c2").Join(sb))
		dir := filepath.Join(c.Config().Daemon.DataDir, "network", "files", sb.ID())
		var open []*os.File // so that their inodes are not used again
		for _, name := range []string{"hosts", "resolv.conf"} {
			f := must(os.Open(filepath.Join(dir, name)))(t)
			defer f.Close()
			open = append(open, f)
		}
		ok(t, sb.Refresh(libnetwork.OptionHostname("new")))
		for _, f := range open {
			if !os.SameFile(must(f.Stat())(t), must(os.Stat(f.Name()))(t)) {
				t.Errorf("%s is another file", f.Name())
			}
		}
		if text := read(t, filepath.Join(dir, "hosts")); !strings.Contains(text, "\tnew\n") {
			t.Errorf("hosts file is\n%s", text)
		}
	})
	t.Run("SB-8 a failure to make the files is reported and changes nothing", func(t *testing.T) {
		err := sb.Refresh(append(paths, libnetwork.OptionOriginResolvConfPath("/no/such/file"))...)
		if got := classesOf(err, false); len(got) != 1 {
			t.Errorf("error %v is of the classes %v, want one", err, got)
		}
		kept(t)
		if text := read(t, resolv); !strings.Contains(text, "nameserver 127.0.0.11\n") {
			t.Errorf("resolv.conf is\n%s", text)
		}
	})
}

func TestRename(t *testing.T) {
	c := newController(t)
	a, b := newNetwork(t, c, "a"), newNetwork(t, c, "b")
	sb := newSandbox(t, c, "c1")
	ea, eb := newEndpoint(t, a, "old"), newEndpoint(t, b, "old", libnetwork.CreateOptionAnonymous(), libnetwork.CreateOptionMyAlias("also"))
	ok(t, ea.Join(sb))
	ok(t, eb.Join(sb))
	t.Run("SB-9 all endpoints get the new name, and the old one is free", func(t *testing.T) {
		ok(t, sb.Rename("new"))
		if ea.Name() != "new" || eb.Name() != "new" || must(a.EndpointByName("new"))(t) != ea {
			t.Errorf("names are %s and %s", ea.Name(), eb.Name())
		}
		_, err := a.EndpointByName("old")
		wantErr[libnetwork.ErrNoSuchEndpoint](t, err, "NotFound")
		newEndpoint(t, a, "old")
	})
	t.Run("SB-9 a renamed anonymous endpoint is published under the new name", func(t *testing.T) {
		for _, name := range []string{"new.a", "new.b", "also.b"} {
			if ips, _ := sb.ResolveName(name, 1); len(ips) != 1 {
				t.Errorf("%s resolves to %v", name, ips)
			}
		}
	})
	t.Run("SB-9 the same name changes nothing", func(t *testing.T) { ok(t, sb.Rename("new")) })
	t.Run("SB-9 a name that is taken is Forbidden and changes nothing", func(t *testing.T) {
		newEndpoint(t, b, "taken")
		wantClass(t, sb.Rename("taken"), "Forbidden")
		if ea.Name() != "new" || eb.Name() != "new" {
			t.Errorf("names are %s and %s", ea.Name(), eb.Name())
		}
		if ips, _ := sb.ResolveName("new.a", 1); len(ips) != 1 {
			t.Errorf("the old name resolves to %v", ips)
		}
	})
	t.Run("SB-9 a blank name is refused", func(t *testing.T) {
		wantErr[libnetwork.ErrInvalidName](t, sb.Rename(""), "BadRequest")
		wantErr[libnetwork.ErrInvalidName](t, sb.Rename(" "), "BadRequest")
	})
	t.Run("SB-9 a sandbox without endpoints can be renamed", func(t *testing.T) { ok(t, newSandbox(t, c, "c2").Rename("x")) })
}
