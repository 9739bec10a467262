package resolvfile

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/resolvconf"
)

const hostFile = "search ex.test\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n"

// play runs steps on a file in a fresh directory and returns what the last
// resolver step gave, "addr" or "addr@host" in order.
func play(t *testing.T, s Spec, steps ...string) (got Spec, upstreams string) {
	t.Helper()
	s.Path = filepath.Join(t.TempDir(), "resolv.conf")
	for _, step := range steps {
		verb, arg, _ := strings.Cut(step, " ")
		var list []Upstream
		var err error
		switch verb {
		case "create":
			err = Create(s)
		case "join4":
			err = OnJoin(s, false)
		case "join6":
			err = OnJoin(s, true)
		case "resolver":
			list, err = OnResolver(s)
		case "restart":
			list, err = Upstreams(s)
		case "host":
			s.Host = []byte(arg)
		case "edit":
			err = os.WriteFile(s.Path, []byte(arg), 0o600)
		case "append":
			old := content(t, s.Path)
			err = os.WriteFile(s.Path, []byte(old+arg), 0o600)
		case "losehash":
			err = os.Remove(s.Path + HashSuffix)
		default:
			t.Fatalf("unknown step %q", step)
		}
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if verb == "resolver" || verb == "restart" {
			var words []string
			for _, u := range list {
				word := u.Addr.Addr().String()
				if u.HostNS {
					word += "@host"
				}
				if u.Addr.Port() != 53 {
					t.Errorf("port of %v", u.Addr)
				}
				words = append(words, word)
			}
			upstreams = strings.Join(words, " ")
		}
	}
	return s, upstreams
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLife(t *testing.T) {
	stub := "nameserver 127.0.0.53\noptions edns0\n"
	tests := []struct {
		name      string
		spec      Spec
		steps     []string
		want      string
		upstreams string
		noHash    bool
	}{
		{name: "RES-2 servers of the user are not filtered, the other lists come from the host", spec: Spec{Host: []byte(hostFile + "options x\n"), DNS: []string{"127.0.0.1", "198.51.100.1"}}, steps: []string{"create", "join4"}, want: "search ex.test\nnameserver 127.0.0.1\nnameserver 198.51.100.1\noptions x\n"},
		{name: "RES-2 with a search list of the user the host's servers are not filtered", spec: Spec{Host: []byte(stub), Search: []string{"a.test"}}, steps: []string{"create", "join4"}, want: "search a.test\nnameserver 127.0.0.53\noptions edns0\n"},
		{name: "RES-2 the search list . and blank options leave no line", spec: Spec{Host: []byte(hostFile), Search: []string{"."}, Options: []string{""}}, steps: []string{"create"}, want: "nameserver 192.0.2.53\nnameserver 2001:db8::53\n"},
		{name: "RES-3 the file is the host's without servers on loopback", spec: Spec{Host: []byte("# top\nnameserver 127.0.0.1\nnameserver ::1\n" + hostFile)}, steps: []string{"create"}, want: "# top\n" + hostFile},
		{name: "RES-4 a host without the file counts as an empty one", steps: []string{"create", "join6", "resolver"}, want: "nameserver 127.0.0.11\noptions ndots:0\n"},
		{name: "RES-4 no public server is put in by itself", spec: Spec{Host: []byte(stub)}, steps: []string{"create"}, want: "options edns0\n"},
		{name: "RES-4 configured default servers are used where the host names none", spec: Spec{Host: []byte("options x"), Defaults: []string{"9.9.9.9", "2620:fe::fe"}}, steps: []string{"create", "join4"}, want: "options x\nnameserver 9.9.9.9\n"},
		{name: "RES-4 servers on the host's loopback stay as upstream servers", spec: Spec{Host: []byte(stub)}, steps: []string{"create", "join6", "resolver"}, want: "nameserver 127.0.0.11\noptions edns0 ndots:0\n", upstreams: "127.0.0.53@host"},
		{name: "RES-4 a server on the host's loopback makes default servers unnecessary", spec: Spec{Host: []byte(stub), Defaults: []string{"9.9.9.9"}}, steps: []string{"create", "resolver", "restart"}, want: "nameserver 127.0.0.11\noptions edns0 ndots:0\n", upstreams: "127.0.0.53@host"},
		{name: "default servers as upstreams", spec: Spec{Defaults: []string{"9.9.9.9"}}, steps: []string{"create", "resolver", "restart"}, want: "nameserver 127.0.0.11\noptions ndots:0\n", upstreams: "9.9.9.9"},
		{name: "RES-6 a join to a network without IPv6 removes IPv6 servers", spec: Spec{Host: []byte(hostFile)}, steps: []string{"create", "join4"}, want: "search ex.test\nnameserver 192.0.2.53\n"},
		{name: "RES-6 without a digest the file counts as unedited", spec: Spec{Host: []byte(hostFile)}, steps: []string{"create", "losehash", "join4"}, want: "search ex.test\nnameserver 192.0.2.53\n"},
		{name: "RES-6 a file that the user has edited is left alone", spec: Spec{Host: []byte(hostFile)}, steps: []string{"create", "edit nameserver ::1\n", "join4"}, want: "nameserver ::1\n"},
		{name: "RES-7 what the user adds survives leave and join", spec: Spec{Host: []byte(hostFile)}, steps: []string{"create", "join6", "resolver", "append search mine.test\n", "join4", "join6"}, want: "search ex.test\nnameserver 127.0.0.11\nnameserver 2001:db8::53\noptions ndots:0\nsearch mine.test\n", upstreams: "192.0.2.53 2001:db8::53"},
		{name: "RES-7 joins leave the file alone also after the digest is lost", spec: Spec{Host: []byte(hostFile)}, steps: []string{"create", "resolver", "losehash", "join4"}, want: "search ex.test\nnameserver 127.0.0.11\nnameserver 2001:db8::53\noptions ndots:0\n", upstreams: "192.0.2.53 2001:db8::53", noHash: true},
		{name: "RES-7 a start that is repeated changes nothing", spec: Spec{Host: []byte(hostFile)}, steps: []string{"create", "join6", "resolver", "resolver"}, want: "search ex.test\nnameserver 127.0.0.11\nnameserver 2001:db8::53\noptions ndots:0\n", upstreams: "192.0.2.53 2001:db8::53"},
		{name: "RES-7 servers that the user has written become upstream servers", spec: Spec{Host: []byte(hostFile)}, steps: []string{"create", "edit nameserver 198.51.100.7\nnameserver 127.0.0.1\n", "resolver"}, want: "nameserver 127.0.0.11\noptions ndots:0\n", upstreams: "198.51.100.7 127.0.0.1"},
		{name: "RES-8 on an IPv6 network IPv6 servers stay behind 127.0.0.11", spec: Spec{Host: []byte(hostFile)}, steps: []string{"create", "join6", "resolver"}, want: "search ex.test\nnameserver 127.0.0.11\nnameserver 2001:db8::53\noptions ndots:0\n", upstreams: "192.0.2.53 2001:db8::53"},
		{name: "RES-8 on an IPv4 network 127.0.0.11 is the only server", spec: Spec{Host: []byte(hostFile)}, steps: []string{"create", "join4", "resolver"}, want: "search ex.test\nnameserver 127.0.0.11\noptions ndots:0\n", upstreams: "192.0.2.53"},
		{name: "RES-9 ndots of the user stays and ndots:0 is not added", spec: Spec{Host: []byte(hostFile), Options: []string{"ndots:3", "edns0"}}, steps: []string{"create", "resolver"}, want: "search ex.test\nnameserver 127.0.0.11\nnameserver 2001:db8::53\noptions ndots:3 edns0\n", upstreams: "192.0.2.53 2001:db8::53"},
		{name: "DNS-17 upstream servers are in the host's order", spec: Spec{Host: []byte("nameserver 192.0.2.1\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.2\n")}, steps: []string{"create", "resolver"}, want: "nameserver 127.0.0.11\noptions ndots:0\n", upstreams: "192.0.2.1 127.0.0.53@host ::1@host 192.0.2.2"},
		{name: "DNS-24 a loopback server that the user gave is the container's own", spec: Spec{Host: []byte(stub), DNS: []string{"127.0.0.1"}}, steps: []string{"create", "resolver", "restart"}, want: "nameserver 127.0.0.11\noptions edns0 ndots:0\n", upstreams: "127.0.0.1"},
		{name: "never ourselves", spec: Spec{DNS: []string{"127.0.0.11", "192.0.2.1"}}, steps: []string{"create", "resolver"}, want: "nameserver 127.0.0.11\noptions ndots:0\n", upstreams: "192.0.2.1"},
		{name: "the host's own embedded server", spec: Spec{Host: []byte("nameserver 127.0.0.11\n"), Search: []string{"a.test"}}, steps: []string{"create", "resolver"}, want: "search a.test\nnameserver 127.0.0.11\noptions ndots:0\n", upstreams: "127.0.0.11@host"},
		{name: "DNS-17 after a change of the host's file its new servers are upstream servers", spec: Spec{Host: []byte(hostFile)}, steps: []string{"create", "join6", "resolver", "host nameserver 192.0.2.99\nnameserver 127.0.0.53\n", "restart"}, want: "search ex.test\nnameserver 127.0.0.11\nnameserver 2001:db8::53\noptions ndots:0\n", upstreams: "192.0.2.99 127.0.0.53@host 2001:db8::53"},
		{name: "DNS-17 new IPv6 servers of the host are upstream servers of a sandbox with IPv6", spec: Spec{Host: []byte("nameserver 192.0.2.53\n"), IPv6: true}, steps: []string{"create", "join6", "resolver", "host nameserver 2001:db8::99\n", "restart"}, want: "nameserver 127.0.0.11\noptions ndots:0\n", upstreams: "2001:db8::99"},
		{name: "DNS-17 new IPv6 servers of the host are none for a sandbox without IPv6", spec: Spec{Host: []byte("nameserver 192.0.2.53\n")}, steps: []string{"create", "join4", "resolver", "host nameserver 2001:db8::99\nnameserver 192.0.2.99\n", "restart"}, want: "nameserver 127.0.0.11\noptions ndots:0\n", upstreams: "192.0.2.99"},
		{name: "refresh makes the file anew", spec: Spec{Host: []byte(hostFile)}, steps: []string{"create", "join4", "resolver", "create", "join6", "resolver"}, want: "search ex.test\nnameserver 127.0.0.11\nnameserver 2001:db8::53\noptions ndots:0\n", upstreams: "192.0.2.53 2001:db8::53"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, upstreams := play(t, tt.spec, tt.steps...)
			if diff := cmp.Diff(tt.want, content(t, s.Path)); diff != "" {
				t.Errorf("content (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.upstreams, upstreams); diff != "" {
				t.Errorf("upstreams (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(s.Path + HashSuffix); (err != nil) != tt.noHash {
				t.Errorf("digest: %v", err)
			}
		})
	}
}

func TestOrigin(t *testing.T) {
	t.Run("RES-1 with an origin the file is a byte copy without digest, and left alone", func(t *testing.T) {
		origin := filepath.Join(t.TempDir(), "origin")
		text := "nameserver 127.0.0.1 # any\nnameserver 192.0.2.1"
		if err := os.WriteFile(origin, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, upstreams := play(t, Spec{Origin: origin, Host: []byte(hostFile), DNS: []string{"192.0.2.9"}}, "create", "join4", "resolver")
		if diff := cmp.Diff(text, content(t, s.Path)); diff != "" {
			t.Errorf("content (-want +got):\n%s", diff)
		}
		if upstreams != "127.0.0.1 192.0.2.1" {
			t.Errorf("upstreams %q", upstreams)
		}
		if _, err := os.Stat(s.Path + HashSuffix); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("digest: %v, want none", err)
		}
	})
	t.Run("RES-1 an origin that is missing is an error", func(t *testing.T) {
		dir := t.TempDir()
		if err := Create(Spec{Path: filepath.Join(dir, "f"), Origin: filepath.Join(dir, "none")}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v, want not exist", err)
		}
	})
}

func TestFiles(t *testing.T) {
	s, _ := play(t, Spec{Host: []byte(hostFile)}, "create")
	before, err := os.Stat(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("RES-5 the digest is that of the file's content", func(t *testing.T) {
		file, err := resolvconf.GetSpecific(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(file.Hash, content(t, s.Path+HashSuffix)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	for _, path := range []string{s.Path, s.Path + HashSuffix} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o644 && os.PathSeparator == '/' {
			t.Errorf("mode of %s is %o, want 644", path, mode)
		}
	}
	if err := OnJoin(s, false); err != nil {
		t.Fatal(err)
	}
	if _, err := OnResolver(s); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("the file has a new inode")
	}
	entries, err := os.ReadDir(filepath.Dir(s.Path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("files left: %v", entries)
	}
	for range 2 { // the second time nothing is there
		if err := Remove(s.Path); err != nil {
			t.Error(err)
		}
	}
	if err := OnJoin(s, true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("join without a file: %v, want not exist", err)
	}
	if _, err := OnResolver(s); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("resolver without a file: %v, want not exist", err)
	}
}

func TestSave(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []string
	}{
		{"as made", []string{"create"}},
		{"edited", []string{"create", "edit nameserver 192.0.2.7\n# mine"}},
		{"without digest", []string{"create", "losehash"}},
		{"taken", []string{"create", "resolver"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := play(t, Spec{Host: []byte(hostFile)}, tt.steps...)
			text, by := content(t, s.Path), writerOf(t, s.Path)
			// Somebody reads the file all the time, so what is put back may have a blank
			// line at its end.
			reader, err := os.Open(s.Path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = reader.Close() }()
			restore := Save(s.Path)
			s.Host = []byte("# " + strings.Repeat("a longer line ", 20) + "\nnameserver 192.0.2.99\n")
			_, err = OnResolver(s)
			if err := errors.Join(err, Create(s), restore()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimSuffix(text, "\n"), strings.TrimRight(content(t, s.Path), " \n")); diff != "" {
				t.Errorf("content (-want +got):\n%s", diff)
			}
			if now := writerOf(t, s.Path); now != by && tt.name != "without digest" {
				t.Errorf("the file's writer is %d, was %d", now, by)
			}
		})
	}
}

func writerOf(t *testing.T, path string) writer {
	t.Helper()
	_, by, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	return by
}

// FuzzLife: whatever the host's file holds, the sandbox's file names the embedded
// server first and never comes back as an upstream.
func FuzzLife(f *testing.F) {
	f.Add([]byte(hostFile), true)
	f.Add([]byte("nameserver 127.0.0.11\nnameserver 127.0.0.53\noptions ndots:5"), false)
	f.Fuzz(func(t *testing.T, host []byte, ipv6 bool) {
		s := Spec{Path: filepath.Join(t.TempDir(), "f"), Host: host}
		if err := errors.Join(Create(s), OnJoin(s, ipv6)); err != nil {
			t.Fatal(err)
		}
		list, err := OnResolver(s)
		if err != nil {
			return // a NUL byte in a word
		}
		servers := resolvconf.GetNameservers([]byte(content(t, s.Path)), resolvconf.IP)
		if len(servers) == 0 || servers[0] != Server {
			t.Errorf("servers %q", servers)
		}
		self := netip.MustParseAddr(Server)
		for _, u := range list {
			if u.Addr.Addr() == self && !u.HostNS {
				t.Errorf("upstreams %v", list)
			}
		}
	})
}
