package hostsfile

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/types"
)

const sixLines = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, content string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBuild(t *testing.T) {
	tests := []struct {
		name, ip, host, domain string
		extra                  []Record
		want                   string
	}{
		{name: "HST-1 the file begins with six default lines", want: sixLines},
		{name: "HST-1 extra hosts follow in order", extra: []Record{{"z.test z", "192.0.2.1"}, {"a", "2001:db8::1"}}, want: sixLines + "192.0.2.1\tz.test z\n2001:db8::1\ta\n"},
		{name: "HST-2 the own line has host.domain and host, and is the first", ip: "192.0.2.9", host: "web", domain: "ex.test", want: "192.0.2.9\tweb.ex.test web\n" + sixLines},
		{name: "HST-2 without a domain the own line has the host alone", ip: "192.0.2.9", host: "web", want: "192.0.2.9\tweb\n" + sixLines},
		{name: "HST-2 a full name given as host is split at its first dot", ip: "192.0.2.9", host: "web.ex.test", want: "192.0.2.9\tweb.ex.test web\n" + sixLines},
		{name: "HST-3 an address without a name gives no line", ip: "192.0.2.9", want: sixLines},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, before := range []string{"", "left over\n" + sixLines} {
				path := filepath.Join(t.TempDir(), "hosts")
				if before != "" {
					path = write(t, before)
				}
				if err := Build(path, tt.ip, tt.host, tt.domain, tt.extra); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, read(t, path)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if mode := info.Mode().Perm(); mode != 0o644 && os.PathSeparator == '/' {
					t.Errorf("mode %o, want 644", mode)
				}
			}
		})
	}
}

func TestOwn(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	tests := []struct {
		name, host, domain string
		addrs              []netip.Addr
		want               []Record
	}{
		{"HST-3 there is one line for each address family", "a", "x.test", []netip.Addr{v4, v6}, []Record{{"a.x.test a", "192.0.2.1"}, {"a.x.test a", "2001:db8::1"}}},
		{"HST-3 without an address there is no line", "a", "", []netip.Addr{{}, {}}, nil},
		{"HST-3 an IPv6 address alone gives its line", "a", "", []netip.Addr{{}, v6}, []Record{{"a", "2001:db8::1"}}},
		{"HST-3 without a host name there is no line", "", "x.test", []netip.Addr{v4}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Own(tt.host, tt.domain, tt.addrs...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEdit(t *testing.T) {
	add := func(recs ...Record) func(string) error { return func(p string) error { return Add(p, recs) } }
	del := func(recs ...Record) func(string) error { return func(p string) error { return Delete(p, recs) } }
	update := func(ip, host string) func(string) error {
		return func(p string) error { return Update(p, ip, host) }
	}
	tests := []struct {
		name, before string
		do           func(path string) error
		want         string
	}{
		{"HST-3 a join appends its lines", sixLines, add(Record{"a", "10.0.0.2"}, Record{"a", "fd00::2"}), sixLines + "10.0.0.2\ta\nfd00::2\ta\n"},
		{"HST-3 records without address or name are left out", sixLines, add(Record{"", "10.0.0.2"}, Record{"a", ""}), sixLines},
		{"user's file without LF at the end", "10.0.0.1 user", add(Record{"a", "10.0.0.2"}), "10.0.0.1 user\n10.0.0.2\ta\n"},
		{"HST-4 leaving removes the lines of that address alone", "10.0.0.2\ta\n10.1.0.2\ta\n10.1.0.3\tb\n", del(Record{"a", "10.0.0.2"}), "10.1.0.2\ta\n10.1.0.3\tb\n"},
		{"HST-4 lines of the user stay", "10.0.0.2\ta\n10.0.0.9 a # mine\n10.9.9.9\tmine a\n", del(Record{"a", "10.0.0.2"}), "10.0.0.9 a # mine\n10.9.9.9\tmine a\n"},
		{"HST-5 deleting a name never removes another that begins with it", "10.0.0.2\tprefix\n10.0.0.3\tprefix2\n10.0.0.4\tmy prefix\n", del(Record{Hosts: "prefix"}), "10.0.0.3\tprefix2\n10.0.0.4\tmy prefix\n"},
		{"HST-5 a deletion drops blank lines and keeps comments", "# 10.0.0.2\ta\n\n  \n#10.0.0.2\ta\n10.0.0.2\ta\n", del(Record{Hosts: "a"}), "# 10.0.0.2\ta\n#10.0.0.2\ta\n"},
		{"HST-5 several records are deleted at once", "1.1.1.1\ta\n1.1.1.2\tb\n1.1.1.3\tc", del(Record{Hosts: "a"}, Record{Hosts: "c"}), "1.1.1.2\tb\n"},
		{"HST-5 a dot in a name is no wildcard", "1.1.1.1\taxb\n", del(Record{Hosts: "a.b"}), "1.1.1.1\taxb\n"},
		{"HST-5 to delete no records changes nothing", "1.1.1.1\ta\n\n", del(), "1.1.1.1\ta\n\n"},
		{"HST-5 an update changes the lines whose first name is exactly that one", "10.0.0.2\thost.d.test host\n10.0.0.2\thost2\n10.0.0.3\thost\n10.0.0.4\tx host\n#1.1.1.1\thost\n", update("10.9.0.1", "host"), "10.9.0.1\thost.d.test host\n10.0.0.2\thost2\n10.9.0.1\thost\n10.0.0.4\tx host\n#1.1.1.1\thost\n"},
		{"HST-5 an update keeps a line without LF", "10.0.0.2\thost", update("fd00::1", "host"), "fd00::1\thost"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.before)
			inode, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.do(path); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, read(t, path)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			now, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if !os.SameFile(inode, now) {
				t.Error("HST-6 the file has a new inode")
			}
		})
	}
}

func TestErrors(t *testing.T) {
	path := write(t, sixLines)
	missing := filepath.Join(t.TempDir(), "none")
	for name, err := range map[string]error{
		"line break in a name":   Add(path, []Record{{"a\n1.1.1.1\tbank.test", "10.0.0.1"}}),
		"blank in an address":    Add(path, []Record{{"a", "10.0.0.1 b"}}),
		"comment in a name":      Build(path, "", "", "", []Record{{"a #", "10.0.0.1"}}),
		"own address is no such": Build(path, "host-gateway", "a", "", nil),
		"update to no address":   Update(path, "", "a"),
		"update of no name":      Update(path, "10.0.0.1", ""),
	} {
		if _, ok := err.(types.BadRequestError); !ok {
			t.Errorf("%s: %v, want BadRequest", name, err)
		}
	}
	if diff := cmp.Diff(sixLines, read(t, path)); diff != "" {
		t.Errorf("refused edits changed the file (-want +got):\n%s", diff)
	}
	if err := Add(missing, []Record{{"a", "10.0.0.1"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("add to a missing file: %v, want not exist", err)
	}
	if err := Add(missing, nil); err != nil {
		t.Errorf("HST-5 add of nothing: %v", err)
	}
	if err := Delete(missing, nil); err != nil {
		t.Errorf("HST-5 delete of nothing: %v", err)
	}
}

// TestConcurrentEdits proves HST-6: no edit is lost, and a reader finds the
// lines that nobody touches in every read.
func TestConcurrentEdits(t *testing.T) {
	t.Run("HST-6 parallel edits of one path are serialised and lose nothing", concurrentEdits)
}

func concurrentEdits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	if err := Build(path, "10.0.0.1", "me", "", []Record{{"last", "10.0.0.254"}}); err != nil {
		t.Fatal(err)
	}
	const writers, rounds = 8, 50
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				rec := Record{fmt.Sprintf("w%d-%d", w, i), fmt.Sprintf("10.1.%d.%d", w, i)}
				if err := Add(path, []Record{rec}); err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					if err := Delete(path, []Record{rec}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		got := read(t, path)
		for _, want := range []string{"10.0.0.1\tme\n", "::1\tlocalhost ip6-localhost ip6-loopback\n", "10.0.0.254\tlast\n"} {
			if !strings.Contains(got, want) {
				t.Fatalf("HST-6 %q is missing in:\n%s", want, got)
			}
		}
	}
	lines := slices.Collect(strings.Lines(read(t, path)))
	if want := 8 + writers*rounds/2; len(lines) != want {
		t.Errorf("HST-6 %d lines, want %d", len(lines), want)
	}
	if n := len(paths.inUse); n != 0 {
		t.Errorf("%d locks left", n)
	}
}

// FuzzEdit: whatever a file holds, a line that is added stands at its end, and goes
// again with all that say the same, while every other line stays as it is.
func FuzzEdit(f *testing.F) {
	f.Add(sixLines, "host", "10.0.0.1")
	f.Add("\n\t\n#\n1.1.1.1\ta b", "a b", "fd00::1")
	f.Add("10.0.0.1\thost\n10.0.0.1 host\r\n#10.0.0.1\thost\n \n", "host", "10.0.0.1")
	f.Fuzz(func(t *testing.T, before, host, ip string) {
		path := write(t, before)
		rec := []Record{{host, ip}}
		if err := Add(path, rec); err != nil || host == "" || ip == "" {
			return
		}
		if want := ip + "\t" + host + "\n"; !strings.HasSuffix(read(t, path), want) {
			t.Fatalf("added %q, file is %q", want, read(t, path))
		}
		if err := Delete(path, rec); err != nil {
			t.Fatal(err)
		}
		var want []string
		for line := range strings.Lines(before) {
			bare := strings.TrimRight(line, "\r\n")
			if strings.TrimSpace(bare) != "" && (line[0] == '#' || strings.TrimSpace(strings.TrimSuffix(bare, "\t"+host)) != strings.TrimSpace(ip) || !strings.HasSuffix(bare, "\t"+host)) {
				want = append(want, strings.TrimSuffix(line, "\n"))
			}
		}
		var got []string
		for line := range strings.Lines(read(t, path)) {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("lines of %q (-want +got):\n%s", before, diff)
		}
	})
}

func BenchmarkAddDelete(b *testing.B) {
	path := filepath.Join(b.TempDir(), "hosts")
	if err := Build(path, "", "", "", nil); err != nil {
		b.Fatal(err)
	}
	rec := []Record{{"web.ex.test web", "10.0.0.2"}}
	for b.Loop() {
		if err := Add(path, rec); err != nil {
			b.Fatal(err)
		}
		if err := Delete(path, rec); err != nil {
			b.Fatal(err)
		}
	}
}
