package extkey

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/internal/unixsock"
	"github.com/libnetwork/libnetwork/types"
)

const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// listen serves until the test ends.
func listen(t *testing.T, dir string, setKey func(ctx context.Context, container, path string) error) *Server {
	t.Helper()
	return listenWith(t, Config{RunDir: dir, ID: id, SetKey: setKey})
}

func listenWith(t *testing.T, cfg Config) *Server {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	s, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func accept(context.Context, string, string) error { return nil }

// say writes texts to a server, one at a time, and returns all it answers.
func say(t *testing.T, path string, texts ...string) string {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, text := range texts {
		if _, err := io.WriteString(c, text); err != nil {
			break // it has heard enough
		}
	}
	reply, err := io.ReadAll(c)
	// What was not read when it closed the connection makes that a reset.
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	return string(reply)
}

func TestSocket(t *testing.T) {
	t.Run("EXT-1 the socket is in the given directory and has mode 0600", func(t *testing.T) {
		dir := filepath.Join(nstest.ShortDir(t), "made")
		s := listen(t, dir, accept)
		if want := filepath.Join(dir, "0123456789ab.sock"); s.Path() != want {
			t.Errorf("socket %s, want %s", s.Path(), want)
		}
		info, err := os.Lstat(s.Path())
		if err != nil || info.Mode() != os.ModeSocket|0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("in the directory are %v, %v", entries, err)
		}
	})
	t.Run("EXT-1 a path that is too long for a socket is refused with the directory's name", func(t *testing.T) {
		dir := "/" + strings.Repeat("d", unixsock.MaxPath-len("/0123456789ab.sock"))
		_, err := Listen(t.Context(), Config{RunDir: dir, ID: id, SetKey: accept})
		if !errors.As(err, new(types.BadRequestError)) || !strings.Contains(err.Error(), dir) {
			t.Errorf("error %v (%T)", err, err)
		}
	})
	t.Run("EXT-1 the socket of a controller that has died is replaced", func(t *testing.T) {
		dir := nstest.ShortDir(t)
		path, err := SocketPath(dir, id)
		if err != nil {
			t.Fatal(err)
		}
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		if err := dead.Close(); err != nil {
			t.Fatal(err)
		}
		listen(t, dir, accept)
		if err := Send(t.Context(), path, "c1", "/ns"); err != nil {
			t.Error(err)
		}
	})
	t.Run("EXT-1 the socket of any controller that has died is removed, others stay", func(t *testing.T) {
		dir := nstest.ShortDir(t)
		live := listen(t, dir, accept)
		dead, other := filepath.Join(dir, "fedcba987654.sock"), filepath.Join(dir, "dnet.sock")
		for _, path := range []string{dead, other} {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		half := filepath.Join(dir, ".s1234") // of one that was killed while it made its socket
		if err := os.Mkdir(half, 0o700); err != nil {
			t.Fatal(err)
		}
		listenWith(t, Config{RunDir: dir, ID: "aaaaaaaaaaaa", SetKey: accept})
		for _, path := range []string{dead, half} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", path, err)
			}
		}
		for _, path := range []string{other, live.Path()} {
			if _, err := os.Lstat(path); err != nil {
				t.Error(err)
			}
		}
		if err := Send(t.Context(), live.Path(), "c1", "/ns"); err != nil {
			t.Error(err)
		}
	})
	t.Run("EXT-1 an id that is a path is refused", func(t *testing.T) {
		for _, bad := range []string{"", "../x", "/x", "a/b"} {
			if _, err := SocketPath("/run", bad); !errors.As(err, new(types.BadRequestError)) {
				t.Errorf("id %q: %v", bad, err)
			}
		}
	})
	t.Run("EXT-1 Close removes the socket and ends connections that say nothing", func(t *testing.T) {
		s := listen(t, nstest.ShortDir(t), accept)
		c, err := net.Dial("unix", s.Path())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Lstat(s.Path()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
		_, err = io.ReadAll(c)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
	})
}

func TestProtocol(t *testing.T) {
	var mu sync.Mutex // guards asked
	var asked []string
	s := listen(t, nstest.ShortDir(t), func(_ context.Context, container, path string) error {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, container+" "+path)
		if container == "unknown" {
			return types.BadRequestErrorf("no sandbox present for %%s %s", container)
		}
		return nil
	})
	const whole = `{"ContainerID":"c1","Key":"/proc/42/ns/net"}`
	long := `{"ContainerID":"c1","Key":"/ns","More":"` + strings.Repeat("x", 2000) + `"}`
	for _, tt := range []struct {
		name  string
		texts []string
		asked string // empty: nothing
		reply string // what it holds
	}{
		{"EXT-2 one JSON value without an end of line is a request", []string{whole}, "c1 /proc/42/ns/net", "success"},
		{"EXT-2 a request may come in pieces", strings.Split(whole, ""), "c1 /proc/42/ns/net", "success"},
		{"EXT-2 a request may be longer than 1280 bytes and hold other members", []string{long}, "c1 /ns", "success"},
		{"EXT-2 what follows the first value is not read", []string{whole + whole}, "c1 /proc/42/ns/net", "success"},
		{"EXT-2 no more than 64 KiB are read", []string{`{"ContainerID":"` + strings.Repeat("x", 1<<17)}, "", "longer than 65536 bytes"},
		{"EXT-2 what is no JSON is refused", []string{"GET / HTTP/1.1\r\n\r\n"}, "", "not understood"},
		{"EXT-2 a request without a container is refused", []string{`{"Key":"/ns"}`}, "", "ContainerID"},
		{"EXT-2 a request without a namespace is refused", []string{`{"ContainerID":"c1"}`}, "", "Key"},
		{"EXT-3 the reason for a refusal is the reply", []string{`{"ContainerID":"unknown","Key":"/ns"}`}, "unknown /ns", "no sandbox present for %s unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mu.Lock()
			asked = nil
			mu.Unlock()
			reply := say(t, s.Path(), tt.texts...)
			if reply != tt.reply && (tt.reply == "success" || !strings.Contains(reply, tt.reply)) {
				t.Errorf("reply %q, want %q", reply, tt.reply)
			}
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(asked, ", "); got != tt.asked {
				t.Errorf("asked for %q, want %q", got, tt.asked)
			}
		})
	}
	t.Run("EXT-2 a request that is cut short is refused", func(t *testing.T) {
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.Path(), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = io.WriteString(c, whole[:20])
		if err := errors.Join(err, c.CloseWrite()); err != nil {
			t.Fatal(err)
		}
		reply, err := io.ReadAll(c)
		if err != nil || !strings.Contains(string(reply), "not understood") {
			t.Errorf("reply %q, %v", reply, err)
		}
	})
	t.Run("EXT-2 who says nothing is refused when the time is over", func(t *testing.T) {
		s := listenWith(t, Config{RunDir: nstest.ShortDir(t), ID: id, SetKey: accept, readTime: time.Millisecond})
		if reply := say(t, s.Path()); !strings.Contains(reply, "in time") {
			t.Errorf("reply %q", reply)
		}
	})
	t.Run("EXT-4 the client returns what the controller refuses, as an error of its text", func(t *testing.T) {
		err := Send(t.Context(), s.Path(), "unknown", "/ns")
		if _, ok := err.(types.InternalError); !ok || err.Error() != "no sandbox present for %s unknown" {
			t.Errorf("error %v (%T)", err, err)
		}
	})
	t.Run("EXT-4 the client returns the error of a connection as it is", func(t *testing.T) {
		err := Send(t.Context(), s.Path()+".none", "c1", "/ns")
		//nolint:errorlint // it is not to be wrapped
		if _, ok := err.(*net.OpError); !ok || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v (%T)", err, err)
		}
	})
	t.Run("EXT-4 a reply that never comes is no success", func(t *testing.T) {
		path := filepath.Join(nstest.ShortDir(t), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = decode(c)
				_ = c.Close()
			}
		}()
		if err := Send(t.Context(), path, "c1", "/ns"); err == nil {
			t.Error("no error")
		}
	})
}

func TestReplyComesLast(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	var finished atomic.Bool
	s := listen(t, nstest.ShortDir(t), func(context.Context, string, string) error {
		close(begun)
		<-goOn
		finished.Store(true)
		return nil
	})
	sent := make(chan error, 1)
	go func() { sent <- Send(context.Background(), s.Path(), "c1", "/ns") }()
	<-begun
	t.Run("EXT-3 the reply comes when the sandbox has its namespace, not before", func(t *testing.T) {
		select {
		case err := <-sent:
			t.Errorf("a reply came at once: %v", err)
		default:
		}
		close(goOn)
		if err := <-sent; err != nil || !finished.Load() {
			t.Errorf("error %v, finished %t", err, finished.Load())
		}
	})
}

func TestManyHooks(t *testing.T) {
	var running, most atomic.Int32
	var once sync.Once
	full, goOn := make(chan struct{}), make(chan struct{})
	s := listen(t, nstest.ShortDir(t), func(context.Context, string, string) error {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == MaxConns {
			once.Do(func() { close(full) })
		}
		<-goOn
		return nil
	})
	errs := make(chan error)
	for range 2 * MaxConns {
		go func() { errs <- Send(context.Background(), s.Path(), "c", "/ns") }()
	}
	<-full
	close(goOn)
	t.Run("EXT-1 a limited number of hooks is served at a time, and all are", func(t *testing.T) {
		for range 2 * MaxConns {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if most.Load() != MaxConns {
			t.Errorf("%d at a time, want %d", most.Load(), MaxConns)
		}
	})
}

func TestCloseBreaksOff(t *testing.T) {
	begun := make(chan struct{})
	s := listen(t, nstest.ShortDir(t), func(ctx context.Context, _, _ string) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	})
	sent := make(chan error, 1)
	go func() { sent <- Send(context.Background(), s.Path(), "c1", "/ns") }()
	<-begun
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-sent; err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("error %v", err)
	}
}

func TestHook(t *testing.T) {
	var asked atomic.Value
	dir := nstest.ShortDir(t)
	listen(t, filepath.Join(dir, "libnetwork"), func(_ context.Context, container, path string) error {
		asked.Store(container + " " + path)
		if container == "refused" {
			return types.ForbiddenErrorf("not now")
		}
		return nil
	})
	run := filepath.Join(dir, "libnetwork")
	const state = `{"ociVersion":"1.0.2","id":"other","status":"creating","pid":4711,"bundle":"/b","root":"/r","annotations":{"pid":"1"}}`
	for _, tt := range []struct {
		name   string
		args   string
		state  string
		runDir string
		asked  string
		err    string // what the error holds; empty: none
	}{
		{"EXT-5 of the state the pid alone is used", "c1 " + id, state, run, "c1 /proc/4711/ns/net", ""},
		{"EXT-5 the first 12 digits of the controller's id will do", "c1 " + id[:12], state, run, "c1 /proc/4711/ns/net", ""},
		{"EXT-5 -exec-root is the run directory", "-exec-root " + run + " c1 " + id, state, "/none", "c1 /proc/4711/ns/net", ""},
		{"EXT-5 -exec-root is the directory above it", "-exec-root " + dir + " c1 " + id, state, "/none", "c1 /proc/4711/ns/net", ""},
		{"EXT-5 fewer than two arguments are a failure", "c1", state, run, "", Usage},
		{"EXT-5 more than two arguments are a failure", "c1 " + id + " x", state, run, "", Usage},
		{"EXT-5 an unknown flag is a failure", "-x c1 " + id, state, run, "", Usage},
		{"EXT-5 pid 0 is a failure", "c1 " + id, `{"pid":0}`, run, "", "process 0"},
		{"EXT-5 a negative pid is a failure", "c1 " + id, `{"pid":-1}`, run, "", "process -1"},
		{"EXT-5 a state without a pid is a failure", "c1 " + id, `{"id":"c1"}`, run, "", "process 0"},
		{"EXT-5 an empty standard input is a failure", "c1 " + id, "", run, "", "standard input"},
		{"EXT-5 a pid that is no number is a failure", "c1 " + id, `{"pid":"1"}`, run, "", "standard input"},
		{"EXT-5 a controller that is not there is a failure", "c1 ffffffffffff", state, run, "", "ffffffffffff.sock"},
		{"EXT-5 what the controller refuses is a failure with its text", "refused " + id, state, run, "refused /proc/4711/ns/net", "not now"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked.Store("")
			err := Hook(t.Context(), strings.Fields(tt.args), strings.NewReader(tt.state), tt.runDir)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if got := asked.Load(); got != tt.asked {
				t.Errorf("asked for %q, want %q", got, tt.asked)
			}
		})
	}
}

// FuzzDecode: a request is the same in whatever pieces it comes, nothing is read
// beyond the limit, and what is taken can be said again.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"ContainerID":"c1","Key":"/proc/1/ns/net"}`, `{"containerid":"c","key":"k","OTelTrace":{"a":"b"}} x`,
		`{"ContainerID":1}`, `[]`, `null`, `{`, "", `{"ContainerID":"\ud800","Key":"\u0000"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		req, err := decode(r)
		if read := len(data) - r.Len(); read > maxMessage {
			t.Errorf("%d bytes are read", read)
		}
		again, againErr := decode(iotest.OneByteReader(bytes.NewReader(data)))
		if (err == nil) != (againErr == nil) || req != again {
			t.Errorf("at once %+v, %v; byte by byte %+v, %v", req, err, again, againErr)
		}
		if err != nil {
			if req != (request{}) {
				t.Errorf("with an error there is a request %+v", req)
			}
			return
		}
		if req.ContainerID == "" || req.Key == "" {
			t.Errorf("request %+v", req)
		}
		text, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		said, err := decode(bytes.NewReader(text))
		if len(text) <= maxMessage && (err != nil || said != req) {
			t.Errorf("said again (-want +got), %v:\n%s", err, cmp.Diff(req, said))
		}
	})
}

// FuzzState: a hook has the number of a process, or an error.
func FuzzState(f *testing.F) {
	for _, seed := range []string{`{"pid":1}`, `{"pid":1e3}`, `{"pid":-1}`, `{"PID":7}`, `{"pid":99999999999999999999}`, "x", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pid, err := readPID(bytes.NewReader(data))
		if (err == nil) != (pid > 0) {
			t.Errorf("pid %d, error %v", pid, err)
		}
	})
}
