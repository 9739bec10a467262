package nstest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long things may take to vanish that do so on their own: the
// kernel removes the links of a dead namespace later, a goroutine ends after
// its last word.
const settle = 10 * time.Second

// Leaks checks when the test ends that the process has no more descriptors,
// goroutines, mounts and links than now, and that all its threads are in the
// namespace in which they are now. Call it first: clean-ups run backwards.
func Leaks(t testing.TB) {
	t.Helper()
	warmUp()
	before := take(t)
	t.Cleanup(func() {
		Threads(t)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		var left []string
		for end := time.Now().Add(settle); time.Now().Before(end); <-tick.C {
			if left = before.left(take(t)); left == nil {
				return
			}
		}
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	})
}

// Threads checks that all threads of the process are in one network namespace,
// but those that are about to end.
func Threads(t testing.TB) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var astray string
	for end := time.Now().Add(settle); time.Now().Before(end); <-tick.C {
		if astray = strayThread(t); astray == "" {
			return
		}
	}
	t.Error(astray)
}

// strayThread names a thread that is in another namespace than the main one.
func strayThread(t testing.TB) string {
	t.Helper()
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range glob(t, "/proc/self/task/*/ns/net") {
		// An error means that the thread has ended.
		if ns, err := os.Readlink(task); err == nil && ns != home {
			return fmt.Sprintf("%s is %s, the main thread is in %s", task, ns, home)
		}
	}
	return ""
}

// warmUp makes what the runtime makes once and keeps: poller and template
// thread.
func warmUp() {
	if r, w, err := os.Pipe(); err == nil {
		_ = r.Close()
		_ = w.Close()
	}
	_ = onThread(func() error { return nil })
}

// snapshot is what a process holds, each thing by a text that tells it.
type snapshot struct {
	things     []string
	goroutines int
}

func take(t testing.TB) snapshot {
	t.Helper()
	s := snapshot{goroutines: runtime.NumGoroutine()}
	for _, fd := range glob(t, "/proc/self/fd/*") {
		if to, err := os.Readlink(fd); err == nil && !strings.HasPrefix(to, "/proc/") {
			s.things = append(s.things, "descriptor "+filepath.Base(fd)+" -> "+to)
		}
	}
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for m := range strings.Lines(string(mounts)) {
		s.things = append(s.things, "mount "+strings.TrimSpace(m))
	}
	links, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(links)) {
		if name, _, ok := strings.Cut(l, ":"); ok {
			s.things = append(s.things, "link "+strings.TrimSpace(name))
		}
	}
	return s
}

// left names what now has and s has not.
func (s snapshot) left(now snapshot) []string {
	var left []string
	for _, thing := range now.things {
		if !slices.Contains(s.things, thing) {
			left = append(left, thing)
		}
	}
	if n := now.goroutines - s.goroutines; n > 0 {
		buf := make([]byte, 1<<16)
		buf = buf[:runtime.Stack(buf, true)]
		left = append(left, fmt.Sprintf("%d goroutines of these:\n%s", n, buf))
	}
	return left
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("nothing matches %s (%v); thread %d", pattern, err, unix.Gettid())
	}
	return paths
}
