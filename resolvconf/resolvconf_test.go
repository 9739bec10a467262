package resolvconf

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/types"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name                    string
		in                      string
		any, v4, v6, cidr       []string
		search, options, filter []string
	}{
		{
			name: "empty",
		},
		{
			name: "RES-10 servers, search domains and options are read, and /32 is put behind each server",
			in:   "search ex.test b.test\nnameserver 192.0.2.53\nnameserver 2001:db8::53\noptions ndots:2 edns0\n",
			any:  []string{"192.0.2.53", "2001:db8::53"}, v4: []string{"192.0.2.53"}, v6: []string{"2001:db8::53"},
			cidr: []string{"192.0.2.53/32", "2001:db8::53/32"}, search: []string{"ex.test", "b.test"}, options: []string{"ndots:2", "edns0"},
		},
		{
			name: "RES-10 # starts a comment anywhere and ; at the start of a line",
			in:   "#nameserver 1.1.1.1\nnameserver 192.0.2.1 # first\nsearch a.test#b.test\n;nameserver 192.0.2.9\n ; options x\n",
			any:  []string{"192.0.2.1"}, v4: []string{"192.0.2.1"}, cidr: []string{"192.0.2.1/32"}, search: []string{"a.test"},
		},
		{
			name: "RES-10 lines may be indented, and the last one may lack its LF",
			in:   "  nameserver\t192.0.2.1\n\tsearch a.test\n  options  x\ty",
			any:  []string{"192.0.2.1"}, v4: []string{"192.0.2.1"}, cidr: []string{"192.0.2.1/32"}, search: []string{"a.test"}, options: []string{"x", "y"},
		},
		{
			name: "RES-10 of several search or options lines the last one wins", in: "search a.test\noptions x\nsearch b.test\noptions y z\n",
			search: []string{"b.test"}, options: []string{"y", "z"},
		},
		{
			name: "RES-10 a server may be an IPv6 address with a zone", in: "nameserver fe80::1%eth0\n",
			any: []string{"fe80::1%eth0"}, v6: []string{"fe80::1%eth0"}, cidr: []string{"fe80::1/32"},
		},
		{name: "domain stands in for search", in: "domain d.test\n", search: []string{"d.test"}},
		{name: "search beats domain", in: "search s.test\ndomain d.test\n", search: []string{"s.test"}},
		{name: "empty last lines", in: "search a.test\nsearch\noptions x\noptions\n"},
		{name: "what is no address is no server", in: "nameserver\nnameserver ns.test\nnameserver 300.1.1.1\nnameservers 192.0.2.1\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := []byte(tt.in)
			for what, pair := range map[string][2][]string{
				"any server":  {tt.any, GetNameservers(in, IP)},
				"IPv4 server": {tt.v4, GetNameservers(in, IPv4)},
				"IPv6 server": {tt.v6, GetNameservers(in, IPv6)},
				"cidr":        {tt.cidr, GetNameserversAsCIDR(in)},
				"search":      {tt.search, GetSearchDomains(in)},
				"options":     {tt.options, GetOptions(in)},
			} {
				if !slices.Equal(pair[0], pair[1]) {
					t.Errorf("%s (-want +got):\n%s", what, cmp.Diff(pair[0], pair[1]))
				}
			}
		})
	}
}

func TestFilterResolvDNS(t *testing.T) {
	tests := []struct {
		name     string
		in       string
		ipv6     bool
		want     string
		wantHash string
	}{
		{name: "RES-3 filtering removes servers on loopback and nothing else", in: "# top\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1\nsearch a.test\n", ipv6: true, want: "# top\nnameserver 192.0.2.1\nsearch a.test\n"},
		{name: "RES-4 filtering puts no server in the place of what it removed", in: "nameserver 127.0.0.1\noptions x", ipv6: true, want: "options x"},
		{name: "RES-4 an empty file stays empty", ipv6: true, wantHash: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{name: "RES-6 without IPv6 its servers are filtered out", in: "nameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\n", want: "nameserver 192.0.2.1\n"},
		{name: "RES-6 with IPv6 its servers stay", in: "nameserver 192.0.2.1\nnameserver 2001:db8::1\n", ipv6: true, want: "nameserver 192.0.2.1\nnameserver 2001:db8::1\n"},
		{name: "RES-10 an indented server line with a comment is filtered, too", in: "  nameserver 127.0.0.53 # stub\n", ipv6: true},
		{name: "comments that name loopback stay", in: "# nameserver 127.0.0.53\n;nameserver ::1\n", want: "# nameserver 127.0.0.53\n;nameserver ::1\n"},
		{name: "no server, kept", in: "nameserver 127.0.0.1.test\n", want: "nameserver 127.0.0.1.test\n"},
		{name: "RES-11 filtering returns the content with its digest", in: "nameserver 127.0.0.1\nabc", want: "abc", wantHash: "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FilterResolvDNS([]byte(tt.in), tt.ipv6)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got.Content)); diff != "" {
				t.Errorf("content (-want +got):\n%s", diff)
			}
			if tt.wantHash != "" && got.Hash != tt.wantHash {
				t.Errorf("hash %s, want %s", got.Hash, tt.wantHash)
			}
		})
	}
}

func TestBuild(t *testing.T) {
	tests := []struct {
		name                 string
		dns, search, options []string
		want                 string
	}{
		{name: "RES-11 a built file has search, servers and options in that order, each ended by LF, and its digest", dns: []string{"192.0.2.1", "::1"}, search: []string{"a.test", "b.test"}, options: []string{"x", "y"}, want: "search a.test b.test\nnameserver 192.0.2.1\nnameserver ::1\noptions x y\n"},
		{name: "RES-2 the search list . leaves no search line", dns: []string{"192.0.2.1"}, search: []string{"."}, want: "nameserver 192.0.2.1\n"},
		{name: "RES-2 blank options leave no options line", dns: []string{"192.0.2.1"}, options: []string{"", " "}, want: "nameserver 192.0.2.1\n"},
		{name: "nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "resolv.conf")
			got, err := Build(path, tt.dns, tt.search, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			read, err := GetSpecific(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(read.Content)); diff != "" {
				t.Errorf("content (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(read, got, cmp.Comparer(bytes.Equal)); diff != "" {
				t.Errorf("result and file (-file +result):\n%s", diff)
			}
		})
	}
	t.Run("an entry with a line break", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "resolv.conf")
		_, err := Build(path, nil, []string{"a\nnameserver 203.0.113.1"}, nil)
		if _, ok := err.(types.BadRequestError); !ok {
			t.Errorf("error %v, want BadRequest", err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stat: %v, want no file", err)
		}
	})
	t.Run("a directory that is missing", func(t *testing.T) {
		if _, err := Build(filepath.Join(t.TempDir(), "no", "file"), nil, nil, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v, want not exist", err)
		}
	})
}

func TestGetIfChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if _, err := getIfChanged(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v, want not exist", err)
	}
	steps := []struct {
		name, content string
		changed       bool
	}{
		{"first", "nameserver 192.0.2.1\n", true},
		{"same", "nameserver 192.0.2.1\n", false},
		{"other", "nameserver 192.0.2.2\n", true},
	}
	for _, step := range steps {
		if err := os.WriteFile(path, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := getIfChanged(path)
		if err != nil {
			t.Fatal(err)
		}
		if (got != nil) != step.changed {
			t.Errorf("%s: changed %v, want %v", step.name, got != nil, step.changed)
		}
		if got := GetLastModified(); string(got.Content) != step.content {
			t.Errorf("%s: last modified is %q, want %q", step.name, got.Content, step.content)
		}
	}
	GetLastModified().Content[0] = 'X'
	if got := GetLastModified(); got.Content[0] == 'X' {
		t.Error("a caller changed what is remembered")
	}
}

// FuzzParse: what was filtered has no loopback server and, filtered again, is
// the same; what was built from parsed values parses to the same values.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "nameserver 127.0.0.1\n", "search a b # c\noptions x\r\n\nnameserver ::1%lo", ";\n#\n \n", "nameserver 192.0.2.1\nnameserver fe80::1%e\n"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, ipv6 bool) {
		one, _ := FilterResolvDNS(in, ipv6)
		two, _ := FilterResolvDNS(one.Content, ipv6)
		if diff := cmp.Diff(one, two); diff != "" {
			t.Errorf("second filtering (-first +second):\n%s", diff)
		}
		if !ipv6 && len(GetNameservers(one.Content, IPv6)) > 0 {
			t.Errorf("IPv6 servers left in %q", one.Content)
		}
		if !slices.Equal(GetSearchDomains(in), GetSearchDomains(one.Content)) || !slices.Equal(GetOptions(in), GetOptions(one.Content)) {
			t.Errorf("filtering changed more than servers: %q", one.Content)
		}
		if len(one.Content) > 0 && !strings.HasSuffix(string(in), string(one.Content[len(one.Content)-1:])) && len(one.Content) > len(in) {
			t.Errorf("filtering added something: %q", one.Content)
		}
		path := filepath.Join(t.TempDir(), "f")
		servers, search, options := GetNameservers(in, IP), GetSearchDomains(in), GetOptions(in)
		built, err := Build(path, servers, search, options)
		if err != nil {
			return // a NUL byte or the like in a word
		}
		if got := GetNameservers(built.Content, IP); !slices.Equal(servers, got) {
			t.Errorf("servers (-want +got):\n%s", cmp.Diff(servers, got))
		}
		if got := GetSearchDomains(built.Content); !slices.Equal(search, got) && !slices.Equal(search, []string{"."}) {
			t.Errorf("search domains (-want +got):\n%s", cmp.Diff(search, got))
		}
		if got := GetOptions(built.Content); !slices.Equal(options, got) {
			t.Errorf("options (-want +got):\n%s", cmp.Diff(options, got))
		}
	})
}
