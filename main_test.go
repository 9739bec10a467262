//go:build linux

package libnetwork_test

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// ownerEnv makes the test binary a process that has a controller on the data
// directory that it names until its standard input ends.
const ownerEnv = "LIBNETWORK_TEST_OWNER"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == hookName {
		os.Exit(hook())
	}
	if dir := os.Getenv(ownerEnv); dir != "" {
		os.Exit(own(dir))
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	nstest.Main(m)
}

// own says on standard output what became of the controller.
func own(dir string) int {
	c, err := libnetwork.New(config.OptionDataDir(dir), config.OptionRunDir(os.Getenv("LIBNETWORK_TEST_RUN")))
	if err != nil {
		_, _ = os.Stdout.WriteString(err.Error() + "\n")
		return 1
	}
	defer c.Stop()
	_, _ = os.Stdout.WriteString("ready\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// dirs are the directories of a controller.
type dirs struct{ data, run string }

// newDirs makes directories, and checks when the test ends that a controller
// that starts on them and deletes what it finds leaves nothing behind.
func newDirs(t testing.TB) dirs {
	t.Helper()
	nstest.Require(t, nstest.Bridge, nstest.Veth, nstest.NFTables)
	nstest.Leaks(t)
	run, err := os.MkdirTemp("/run", "t") //nolint:usetesting // short, and in memory as it is on a machine
	if err != nil {
		t.Fatal(err)
	}
	d := dirs{data: filepath.Join(t.TempDir(), "d"), run: run}
	t.Cleanup(func() { d.purge(t) })
	return d
}

func (d dirs) options(more ...config.Option) []config.Option {
	return append([]config.Option{config.OptionDataDir(d.data), config.OptionRunDir(d.run)}, more...)
}

// open starts a controller that stops with the test.
func (d dirs) open(t testing.TB, more ...config.Option) libnetwork.NetworkController {
	t.Helper()
	c, err := libnetwork.New(d.options(more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

func (d dirs) purge(t testing.TB) {
	t.Helper()
	c, err := libnetwork.New(d.options()...)
	if err != nil {
		t.Errorf("start again: %v", err)
		return
	}
	if sbs := c.Sandboxes(); len(sbs) > 0 {
		t.Errorf("CLN-1: %d sandboxes after a new start", len(sbs))
	}
	for _, n := range c.Networks() {
		if eps := n.Endpoints(); len(eps) > 0 {
			t.Errorf("CLN-2: network %s has %d endpoints after a new start", n.Name(), len(eps))
		}
		if err := n.Delete(); err != nil && n.Type() == "bridge" {
			t.Errorf("CLN-4: delete network %s after a new start: %v", n.Name(), err)
		}
	}
	c.Stop()
	d.empty(t)
	if err := errors.Join(netns.RemoveDir(nil, filepath.Join(d.run, "netns")), os.RemoveAll(d.run)); err != nil {
		t.Error(err)
	}
}

// empty checks that there is neither a namespace nor a file of a sandbox.
func (d dirs) empty(t testing.TB) {
	t.Helper()
	for _, dir := range []string{filepath.Join(d.run, "netns"), filepath.Join(d.data, "network", "files")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		for _, e := range entries {
			if name, _, _ := strings.Cut(e.Name(), "~"); len(name) == 12 || len(name) == 64 {
				t.Errorf("left behind: %s", filepath.Join(dir, e.Name()))
			}
		}
	}
}

// newController starts a controller on directories of its own.
func newController(t testing.TB, more ...config.Option) libnetwork.NetworkController {
	t.Helper()
	return newDirs(t).open(t, more...)
}

// subnet is the option for a network of one IPv4 subnet.
func subnet(cidr string) libnetwork.NetworkOption {
	return libnetwork.NetworkOptionIpam("", "", []*libnetwork.IpamConf{{PreferredPool: cidr}}, nil, nil)
}

// dual is the options for a network of both families.
func dual(v4, v6 string) []libnetwork.NetworkOption {
	return []libnetwork.NetworkOption{
		libnetwork.NetworkOptionEnableIPv6(true),
		libnetwork.NetworkOptionIpam("", "", []*libnetwork.IpamConf{{PreferredPool: v4}}, []*libnetwork.IpamConf{{PreferredPool: v6}}, nil),
	}
}

func newNetwork(t testing.TB, c libnetwork.NetworkController, name string, opts ...libnetwork.NetworkOption) libnetwork.Network {
	t.Helper()
	return must(c.NewNetwork("bridge", name, opts...))(t)
}

func newEndpoint(t testing.TB, n libnetwork.Network, name string, opts ...libnetwork.EndpointOption) libnetwork.Endpoint {
	t.Helper()
	return must(n.CreateEndpoint(name, opts...))(t)
}

func newSandbox(t testing.TB, c libnetwork.NetworkController, container string, opts ...libnetwork.SandboxOption) libnetwork.Sandbox {
	t.Helper()
	return must(c.NewSandbox(container, opts...))(t)
}

// must returns the value of a call that may not fail.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// attach joins a new endpoint of each network to a new sandbox; all have the
// name of the container.
func attach(t testing.TB, c libnetwork.NetworkController, container string, nets ...libnetwork.Network) libnetwork.Sandbox {
	t.Helper()
	sb := newSandbox(t, c, container)
	for _, n := range nets {
		ok(t, newEndpoint(t, n, container).Join(sb))
	}
	return sb
}

// inside opens the namespace of a sandbox.
func inside(t testing.TB, sb libnetwork.Sandbox) *netns.Namespace {
	t.Helper()
	ns := must(netns.Open(nil, sb.Key()))(t)
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

// linkNames are the links of a namespace but for lo, sorted.
func linkNames(t testing.TB, ns *netns.Namespace) []string {
	t.Helper()
	rt := must(ns.Rtnl())(t)
	var out []string
	for _, l := range must(rt.Links(t.Context()))(t) {
		if l.Name != "lo" {
			out = append(out, l.Name)
		}
	}
	slices.Sort(out)
	return out
}

// defaults are the default routes of a namespace, that of IPv4 first: "via dev".
func defaults(t testing.TB, ns *netns.Namespace) []string {
	t.Helper()
	rt := must(ns.Rtnl())(t)
	out := []string{}
	for _, to := range []string{"198.51.100.1", "2001:db8::1"} {
		dev, via, err := rt.RouteTo(t.Context(), netip.MustParseAddr(to))
		if err == nil && via.IsValid() {
			out = append(out, via.String()+" "+dev)
		}
	}
	return out
}

// classesOf names the classes of an error, as a type assertion finds them or as
// errors.As does.
func classesOf(err error, unwrap bool) []string {
	var out []string
	add := func(name string, direct, as bool) {
		if !unwrap && direct || unwrap && as {
			out = append(out, name)
		}
	}
	add("Maskable", is[types.MaskableError](err), errors.As(err, new(types.MaskableError)))
	add("Retry", is[types.RetryError](err), errors.As(err, new(types.RetryError)))
	add("BadRequest", is[types.BadRequestError](err), errors.As(err, new(types.BadRequestError)))
	add("NotFound", is[types.NotFoundError](err), errors.As(err, new(types.NotFoundError)))
	add("Forbidden", is[types.ForbiddenError](err), errors.As(err, new(types.ForbiddenError)))
	add("NoService", is[types.NoServiceError](err), errors.As(err, new(types.NoServiceError)))
	add("Timeout", is[types.TimeoutError](err), errors.As(err, new(types.TimeoutError)))
	add("NotImplemented", is[types.NotImplementedError](err), errors.As(err, new(types.NotImplementedError)))
	add("Internal", is[types.InternalError](err), errors.As(err, new(types.InternalError)))
	return out
}

func is[T any](err error) bool { _, ok := err.(T); return ok }

// wantClass checks that an error is of one class, and that both ways to ask find
// it.
func wantClass(t testing.TB, err error, class string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want class %s", class)
		return
	}
	if diff := cmp.Diff([]string{class}, classesOf(err, false)); diff != "" {
		t.Errorf("class of %q by type assertion (-want +got):\n%s", err, diff)
	}
	if as := classesOf(err, true); !slices.Contains(as, class) {
		t.Errorf("errors.As finds %v in %q, want %s", as, err, class)
	}
}

// wantErr checks that an error is exactly of a type, and of a class.
func wantErr[T error](t testing.TB, err error, class string) {
	t.Helper()
	if !is[T](err) {
		t.Errorf("error is a %T (%v), want a %T", err, err, *new(T))
	}
	wantClass(t, err, class)
}

// bind puts content in place of a file of the machine, for this process and the
// rest of the test.
func bind(t testing.TB, path, content string) {
	t.Helper()
	from := filepath.Join(t.TempDir(), "bound")
	ok(t, os.WriteFile(from, []byte(content), 0o644))
	ok(t, unix.Mount(from, path, "", unix.MS_BIND, ""))
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// eventually waits for what the kernel does on its own.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Error(what)
			return
		}
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	return string(must(os.ReadFile(path))(t))
}

func diff(t testing.TB, what string, want, got any, opts ...cmp.Option) {
	t.Helper()
	if d := cmp.Diff(want, got, opts...); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}
