package scenario_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// machine is what can be seen of the host from outside, as text.
func machine(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, args := range [][]string{
		{"nft", "-s", "list", "ruleset"},
		{"iptables-legacy-save"},
		{"ip6tables-legacy-save"},
		{"ip", "-br", "link"},
		{"ip", "-br", "addr"},
		{"ip", "-4", "route", "show", "table", "all"},
		{"ip", "-6", "route", "show", "table", "all"},
		{"ip", "rule"},
	} {
		out, err := run(args...)
		if errors.Is(err, exec.ErrNotFound) {
			continue // nor anything that it could show
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "# %s\n%s", strings.Join(args, " "), anyOrder(steady(out)))
	}
	for _, pattern := range []string{
		"ipv4/ip_*", "ipv4/conf/all/*", "ipv4/conf/default/*", "ipv4/conf/eth*/*", "ipv4/conf/lo/*",
		"ipv6/conf/all/*", "ipv6/conf/default/*", "ipv6/conf/eth*/*", "ipv6/conf/lo/*", "bridge/*",
	} {
		paths, err := filepath.Glob("/proc/sys/net/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			v, err := os.ReadFile(p)
			if err == nil {
				fmt.Fprintf(&b, "%s = %s", p, v)
			}
		}
	}
	b.WriteString(strings.Join(nstest.Mounts(t), ""))
	return b.String()
}

// What the kernel changes on its own account: whether a link carries packets, and
// addresses that it makes up for links.
var (
	carrier = regexp.MustCompile(` (UP|DOWN|UNKNOWN|LOWERLAYERDOWN) `)
	madeUp  = regexp.MustCompile(`(?m)^(veth.*) fe80::\S+|^.* dev veth.*\n|^multicast ff00.*\n`)
	counted = regexp.MustCompile(`(?m)^#.*\n| \[\d+:\d+\]$`)
	blanks  = regexp.MustCompile(` +`)
)

func steady(out string) string {
	out = counted.ReplaceAllString(madeUp.ReplaceAllString(out, "$1"), "")
	return blanks.ReplaceAllString(strings.NewReplacer("NO-CARRIER,", "", ",LOWER_UP", "", " linkdown", "").Replace(carrier.ReplaceAllString(out, " ")), " ")
}

// anyOrder sorts the tables of a ruleset, and the chains of each: after a flush they are
// made in another order. Nothing else has lines of "}" alone.
func anyOrder(ruleset string) string {
	tables := strings.Split(ruleset, "\n}\n")
	for i, t := range tables {
		name, chains, _ := strings.Cut(t, "\n")
		list := strings.Split(chains, "\n\n")
		slices.Sort(list)
		tables[i] = name + "\n" + strings.Join(list, "\n\n")
	}
	slices.Sort(tables)
	return strings.Join(tables, "\n}\n")
}

// store is what the files of the controller say, as text.
func (h *host) store() string {
	h.t.Helper()
	var b strings.Builder
	for _, dir := range []string{h.data, h.run} {
		err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if parent := strings.TrimPrefix(path, h.data); parent == "/network" || parent == "/network/files" {
				return nil // of all sandboxes
			}
			fmt.Fprintln(&b, path)
			if filepath.Ext(path) != ".db" {
				return nil
			}
			return dumpRecords(&b, path, h.t.TempDir())
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	return b.String()
}

// dumpRecords writes all records of a database, which may be in use by somebody
// who does not write at present.
func dumpRecords(w io.Writer, path, dir string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	duplicate := filepath.Join(dir, "copy.db")
	if err := os.WriteFile(duplicate, data, 0o600); err != nil {
		return err
	}
	db, err := bolt.Open(duplicate, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	err = db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			if string(name) == "meta" {
				return nil // counts commits
			}
			return dumpBucket(w, string(name), b)
		})
	})
	return errors.Join(err, db.Close())
}

func dumpBucket(w io.Writer, name string, b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return dumpBucket(w, name+"/"+string(k), b.Bucket(k))
		}
		_, err := fmt.Fprintf(w, "%s/%s = %q\n", name, k, v)
		return err
	})
}

// same waits until get returns what is wanted: the kernel removes some things
// later.
func same(t *testing.T, what, want string, get func() string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var got string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-tick.C {
		if got = get(); got == want {
			return
		}
	}
	t.Errorf("%s (-want +got):\n%s", what, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
}

// Classes of errors, each with the way to find it.
var classes = map[string]func(error) (direct, wrapped bool){
	"BadRequest":     classOf[types.BadRequestError],
	"NotFound":       classOf[types.NotFoundError],
	"Forbidden":      classOf[types.ForbiddenError],
	"NoService":      classOf[types.NoServiceError],
	"Internal":       classOf[types.InternalError],
	"NotImplemented": classOf[types.NotImplementedError],
	"Timeout":        classOf[types.TimeoutError],
	"Retry":          classOf[types.RetryError],
}

func classOf[E any](err error) (direct, wrapped bool) {
	_, direct = any(err).(E)
	var e E
	return direct, errors.As(err, &e)
}

// failed checks that an error has a class and names what it is about.
func failed(t *testing.T, err error, class string, names ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one of class %s", class)
		return
	}
	var has []string
	for name, is := range classes {
		direct, wrapped := is(err)
		if direct != wrapped {
			t.Errorf("%s: a type assertion finds class %s: %t, errors.As: %t", err, name, direct, wrapped)
		}
		if direct {
			has = append(has, name)
		}
	}
	if !slices.Equal(has, []string{class}) {
		t.Errorf("%T %q has the classes %v, want %s", err, err, has, class)
	}
	for _, n := range names {
		if !strings.Contains(err.Error(), n) {
			t.Errorf("%q does not name %q", err, n)
		}
	}
}
