//go:build linux

package libnetwork_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/resolvconf"
)

const defaultHosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n" +
	"ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"

// paths are the files of a container in a directory of the test.
type paths struct{ hosts, resolv string }

func newPaths(t testing.TB) (paths, []libnetwork.SandboxOption) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "made")
	p := paths{filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")}
	return p, []libnetwork.SandboxOption{libnetwork.OptionHostsPath(p.hosts), libnetwork.OptionResolvConfPath(p.resolv)}
}

func mode(t testing.TB, path string) os.FileMode {
	t.Helper()
	return must(os.Stat(path))(t).Mode().Perm()
}

func TestHostsFile(t *testing.T) {
	c := newController(t)
	n := newNetwork(t, c, "web", subnet("10.1.0.0/24"))
	six := newNetwork(t, c, "six", dual("10.6.0.0/24", "fd00:6::/64")...)
	count := 0
	made := func(t *testing.T, opts ...libnetwork.SandboxOption) (libnetwork.Sandbox, paths) {
		t.Helper()
		count++
		p, placed := newPaths(t)
		return newSandbox(t, c, fmt.Sprint("c", count), append(placed, opts...)...), p
	}
	t.Run("HST-1 a new sandbox has a hosts file of six default lines and its extra hosts in order", func(t *testing.T) {
		_, p := made(t, libnetwork.OptionHostname("h"), libnetwork.OptionExtraHost("b", "192.0.2.2"), libnetwork.OptionExtraHost("a", "192.0.2.1"), libnetwork.OptionExtraHost("six", "fd00::1"))
		diff(t, "file", defaultHosts+"192.0.2.2\tb\n192.0.2.1\ta\nfd00::1\tsix\n", read(t, p.hosts))
		if m := mode(t, p.hosts); m != 0o644 {
			t.Errorf("mode is %o", m)
		}
		if m := mode(t, filepath.Dir(p.hosts)); m != 0o755 {
			t.Errorf("OPT: mode of the directory is %o", m)
		}
	})
	t.Run("HST-1 without a path of the user the file is in the data directory", func(t *testing.T) {
		sb := newSandbox(t, c, "default")
		dir := filepath.Join(c.Config().Daemon.DataDir, "network", "files", sb.ID())
		diff(t, "file", defaultHosts, read(t, filepath.Join(dir, "hosts")))
		read(t, filepath.Join(dir, "resolv.conf"))
	})
	for _, tt := range []struct {
		name string
		opts []libnetwork.SandboxOption
		want []string
	}{
		{"HST-3 a join adds a line of address and host name for each family", []libnetwork.SandboxOption{libnetwork.OptionHostname("h")}, []string{"10.6.0.2\th", "fd00:6::2\th"}},
		{"HST-3 a joined line has host.domain and host", []libnetwork.SandboxOption{libnetwork.OptionHostname("h"), libnetwork.OptionDomainname("ex.test")}, []string{"10.6.0.2\th.ex.test h", "fd00:6::2\th.ex.test h"}},
		{"HST-2 a host name that holds its domain gives both names", []libnetwork.SandboxOption{libnetwork.OptionHostname("h.ex.test")}, []string{"10.6.0.2\th.ex.test h", "fd00:6::2\th.ex.test h"}},
		{"HST-3 without a host name a join adds no line", nil, nil},
		{"HST-3 a domain alone adds no line", []libnetwork.SandboxOption{libnetwork.OptionDomainname("ex.test")}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sb, p := made(t, tt.opts...)
			ep := newEndpoint(t, six, "e", address("10.6.0.2"))
			i := ep.Info().Iface()
			want := defaultHosts
			for _, line := range tt.want {
				want += strings.ReplaceAll(line, "fd00:6::2", i.AddressIPv6().IP.String()) + "\n"
			}
			ok(t, ep.Join(sb))
			diff(t, "file", want, read(t, p.hosts))
			ok(t, ep.Leave(sb))
			diff(t, "HST-4 file after leaving", defaultHosts, read(t, p.hosts))
			ok(t, ep.Delete(false))
		})
	}
	t.Run("HST-4 leaving a network removes its own lines alone, not those of other networks or of the user", func(t *testing.T) {
		sb, p := made(t, libnetwork.OptionHostname("h"), libnetwork.OptionExtraHost("h", "192.0.2.1"))
		e1, e2 := newEndpoint(t, n, "e1", address("10.1.0.2")), newEndpoint(t, six, "e2", address("10.6.0.2"))
		ok(t, e1.Join(sb))
		ok(t, e2.Join(sb))
		v6 := e2.Info().Iface().AddressIPv6().IP.String()
		user := read(t, p.hosts) + "# mine\n10.1.0.2\th2\n10.1.0.2\tother h\n"
		f := must(os.OpenFile(p.hosts, os.O_WRONLY|os.O_TRUNC, 0))(t)
		_ = must(f.WriteString(user))(t)
		ok(t, f.Close())
		ok(t, e1.Leave(sb))
		diff(t, "file", defaultHosts+"192.0.2.1\th\n10.6.0.2\th\n"+v6+"\th\n# mine\n10.1.0.2\th2\n10.1.0.2\tother h\n", read(t, p.hosts))
	})
	t.Run("HST-1 a file copied from an origin gets no line of ours", func(t *testing.T) {
		origin := filepath.Join(t.TempDir(), "origin")
		ok(t, os.WriteFile(origin, []byte("127.0.0.1 mine\n"), 0o600))
		sb, p := made(t, libnetwork.OptionOriginHostsPath(origin), libnetwork.OptionHostname("h"), libnetwork.OptionExtraHost("a", "192.0.2.1"))
		ok(t, newEndpoint(t, n, "copy").Join(sb))
		diff(t, "file", "127.0.0.1 mine\n", read(t, p.hosts))
		_, p = made(t, libnetwork.OptionOriginHostsPath("/no/such/file"))
		diff(t, "file without its origin", defaultHosts, read(t, p.hosts))
	})
	t.Run("HST-5 an update of a parent changes the lines of that very name alone", func(t *testing.T) {
		parent, p := made(t, libnetwork.OptionExtraHost("db", "192.0.2.1"), libnetwork.OptionExtraHost("db2", "192.0.2.2"), libnetwork.OptionExtraHost("x", "192.0.2.3"))
		made(t, libnetwork.OptionParentUpdate(parent.ContainerID(), "db", "192.0.2.9"), libnetwork.OptionParentUpdate("unknown", "x", "192.0.2.9"))
		diff(t, "the parent's file", defaultHosts+"192.0.2.9\tdb\n192.0.2.2\tdb2\n192.0.2.3\tx\n", read(t, p.hosts))
	})
	for _, dir := range []string{os.TempDir(), "/run"} {
		t.Run("HST-6 a reader sees one and the same file, whole at any time, below "+dir, func(t *testing.T) {
			tmp := must(os.MkdirTemp(dir, "hosts"))(t) //nolint:usetesting // a certain file system
			t.Cleanup(func() { ok(t, os.RemoveAll(tmp)) })
			path := filepath.Join(tmp, "hosts")
			sb, _ := made(t, libnetwork.OptionHostname("h"), libnetwork.OptionHostsPath(path))
			before := must(os.Stat(path))(t)
			ep := newEndpoint(t, n, "inode")
			own := ep.Info().Iface().Address().IP.String() + "\th\n"
			done := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					text, err := os.ReadFile(path)
					rest, found := strings.CutPrefix(string(text), defaultHosts)
					rest = strings.TrimRight(rest, " \n") // blank lines
					if err != nil || !found || rest != "" && rest[0] != '#' && rest+"\n" != own || !strings.HasSuffix(string(text), "\n") {
						t.Errorf("a reader saw %q (%v)", text, err)
						return
					}
				}
			})
			for range 50 {
				ok(t, ep.Join(sb))
				ok(t, ep.Leave(sb))
			}
			close(done)
			wg.Wait()
			diff(t, "file", defaultHosts, read(t, path))
			if !os.SameFile(before, must(os.Stat(path))(t)) {
				t.Error("the file is another one")
			}
			ok(t, ep.Delete(false))
		})
	}
	t.Run("HST-6 parallel joins of one sandbox lose no line", func(t *testing.T) {
		sb, p := made(t, libnetwork.OptionHostname("h"))
		var wg sync.WaitGroup
		for i := range 8 {
			ep := newEndpoint(t, n, fmt.Sprint("par", i))
			wg.Go(func() {
				if err := ep.Join(sb); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := strings.Count(read(t, p.hosts), "\th\n"); got != 8 {
			t.Errorf("%d of 8 lines are there:\n%s", got, read(t, p.hosts))
		}
	})
}

func TestResolvConf(t *testing.T) {
	c := newController(t)
	v4 := newNetwork(t, c, "four", subnet("10.4.0.0/24"))
	v6 := newNetwork(t, c, "six", dual("10.6.0.0/24", "fd00:6::/64")...)
	host := "search ex.test\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"
	dns, search, options := libnetwork.OptionDNS, libnetwork.OptionDNSSearch, libnetwork.OptionDNSOptions
	for i, tt := range []struct {
		name, host string
		net        libnetwork.Network
		opts       []libnetwork.SandboxOption
		made       string // at NewSandbox
		joined     string
	}{
		{
			"RES-8 on an IPv6 network the file keeps IPv6 servers behind 127.0.0.11", host, v6, nil, host,
			"search ex.test\nnameserver 127.0.0.11\nnameserver 2001:db8::53\noptions ndots:0\n",
		},
		{
			"RES-8 on an IPv4 network the file names 127.0.0.11 alone", host, v4, nil, host,
			"search ex.test\nnameserver 127.0.0.11\noptions ndots:0\n",
		},
		{
			"RES-3 servers on loopback go and all other lines of the host stay",
			"# comment\nsortlist 10.0.0.0\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.53\noptions edns0\n", v4, nil,
			"# comment\nsortlist 10.0.0.0\nnameserver 192.0.2.53\noptions edns0\n",
			"nameserver 127.0.0.11\noptions edns0 ndots:0\n",
		},
		{
			"RES-4 no public server takes the place of a loopback one", "nameserver 127.0.0.53\n", v4, nil, "",
			"nameserver 127.0.0.11\noptions ndots:0\n",
		},
		{"RES-9 ndots of the host stays and ndots:0 is not added", "nameserver 192.0.2.53\noptions ndots:3\n", v4, nil, "nameserver 192.0.2.53\noptions ndots:3\n", "nameserver 127.0.0.11\noptions ndots:3\n"},
		{
			"RES-2 servers of the user stand for those of the host, unfiltered", host, v6,
			[]libnetwork.SandboxOption{dns("192.0.2.1"), dns("127.0.0.1")},
			"search ex.test\nnameserver 192.0.2.1\nnameserver 127.0.0.1\n",
			"search ex.test\nnameserver 127.0.0.11\noptions ndots:0\n",
		},
		{
			"RES-9 ndots of the user stays and ndots:0 is not added", host, v4,
			[]libnetwork.SandboxOption{search("a.test"), search("b.test"), options("ndots:2"), options("rotate")},
			"search a.test b.test\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions ndots:2 rotate\n",
			"search a.test b.test\nnameserver 127.0.0.11\nnameserver 2001:db8::53\noptions ndots:2 rotate\n",
		},
		{
			"RES-2 the search list . leaves no search line", host, v4,
			[]libnetwork.SandboxOption{search(".")},
			"nameserver 192.0.2.53\nnameserver 2001:db8::53\n",
			"nameserver 127.0.0.11\nnameserver 2001:db8::53\noptions ndots:0\n",
		},
		{
			"RES-10 comments and indented lines are understood, and the last search line wins",
			"; a\nsearch old.test\n  search new.test # b\n\tnameserver 192.0.2.53 # c\n", v4, nil,
			"; a\nsearch old.test\n  search new.test # b\n\tnameserver 192.0.2.53 # c\n",
			"search new.test\nnameserver 127.0.0.11\noptions ndots:0\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bind(t, "/etc/resolv.conf", tt.host)
			p, placed := newPaths(t)
			name := fmt.Sprint("c", i)
			sb := newSandbox(t, c, name, append(placed, tt.opts...)...)
			diff(t, "file at NewSandbox", tt.made, read(t, p.resolv))
			t.Run("RES-5 beside the file is its digest, both of mode 0644", func(t *testing.T) {
				sum := sha256.Sum256([]byte(tt.made))
				diff(t, "digest", "sha256:"+hex.EncodeToString(sum[:]), read(t, p.resolv+".hash"))
				if m, h := mode(t, p.resolv), mode(t, p.resolv+".hash"); m != 0o644 || h != 0o644 {
					t.Errorf("modes are %o and %o", m, h)
				}
			})
			before := must(os.Stat(p.resolv))(t)
			ep := newEndpoint(t, tt.net, name)
			ok(t, ep.Join(sb))
			diff(t, "file at Join", tt.joined, read(t, p.resolv))
			if !os.SameFile(before, must(os.Stat(p.resolv))(t)) {
				t.Error("HST-6: the file is another one")
			}
			t.Run("RES-7 what the user writes into the file survives leave and join", func(t *testing.T) {
				ok(t, os.WriteFile(p.resolv, []byte("# mine\n"+tt.joined), 0o644))
				ok(t, ep.Leave(sb))
				ok(t, ep.Join(sb))
				diff(t, "file", "# mine\n"+tt.joined, read(t, p.resolv))
			})
		})
	}
	t.Run("RES-1 a copy of an origin is byte for byte, without digest, and left alone", func(t *testing.T) {
		origin := filepath.Join(t.TempDir(), "origin")
		ok(t, os.WriteFile(origin, []byte("nameserver 127.0.0.1"), 0o600))
		p, placed := newPaths(t)
		sb := newSandbox(t, c, "copy", append(placed, libnetwork.OptionOriginResolvConfPath(origin), dns("192.0.2.1"))...)
		ok(t, newEndpoint(t, v4, "copy").Join(sb))
		diff(t, "file", "nameserver 127.0.0.1", read(t, p.resolv))
		if m := mode(t, p.resolv); m != 0o644 {
			t.Errorf("mode is %o", m)
		}
		if _, err := os.Stat(p.resolv + ".hash"); !os.IsNotExist(err) {
			t.Errorf("there is a digest: %v", err)
		}
	})
	t.Run("RES-4 a host without resolv.conf counts as an empty one", func(t *testing.T) {
		ok(t, unix.Mount("tmpfs", "/etc", "tmpfs", 0, ""))
		defer func() { ok(t, unix.Unmount("/etc", unix.MNT_DETACH)) }()
		if _, err := resolvconf.Get(); err == nil {
			t.Fatal("there is a file")
		}
		p, placed := newPaths(t)
		sb := newSandbox(t, c, "none", placed...)
		diff(t, "file", "", read(t, p.resolv))
		ok(t, newEndpoint(t, v4, "none").Join(sb))
		diff(t, "file at Join", "nameserver 127.0.0.11\noptions ndots:0\n", read(t, p.resolv))
	})
	t.Run("RES-6 a join leaves a file alone that the user has edited", func(t *testing.T) {
		bind(t, "/etc/resolv.conf", host)
		p, placed := newPaths(t)
		sb := newSandbox(t, c, "edited", placed...)
		ok(t, os.WriteFile(p.resolv, []byte("nameserver 2001:db8::99\nsearch mine.test\n"), 0o644))
		ok(t, newEndpoint(t, v4, "edited", libnetwork.CreateOptionDisableResolution()).Join(sb))
		diff(t, "file without the embedded server", "nameserver 2001:db8::99\nsearch mine.test\n", read(t, p.resolv))
		ok(t, newEndpoint(t, v4, "edited2").Join(sb))
		diff(t, "file with it", "search mine.test\nnameserver 127.0.0.11\nnameserver 2001:db8::99\noptions ndots:0\n", read(t, p.resolv))
	})
	t.Run("RES-6 without a digest the file counts as unedited and is filtered", func(t *testing.T) {
		bind(t, "/etc/resolv.conf", host)
		p, placed := newPaths(t)
		sb := newSandbox(t, c, "nohash", placed...)
		ok(t, os.Remove(p.resolv+".hash"))
		ok(t, newEndpoint(t, v4, "nohash", libnetwork.CreateOptionDisableResolution()).Join(sb))
		diff(t, "file", "search ex.test\nnameserver 192.0.2.53\n", read(t, p.resolv))
		sum := sha256.Sum256([]byte("search ex.test\nnameserver 192.0.2.53\n"))
		diff(t, "digest", "sha256:"+hex.EncodeToString(sum[:]), read(t, p.resolv+".hash"))
	})
}
