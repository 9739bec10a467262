package inplace

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// onEach runs a test on a file system in memory and on that of temporary files.
func onEach(t *testing.T, test func(t *testing.T, path string)) {
	t.Run("tmpfs", func(t *testing.T) {
		var fs unix.Statfs_t
		if err := unix.Statfs("/dev/shm", &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
			t.Skipf("/dev/shm is no tmpfs: %v", err)
		}
		dir, err := os.MkdirTemp("/dev/shm", "inplace") //nolint:usetesting // a certain file system
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		test(t, filepath.Join(dir, "hosts"))
	})
	t.Run("temporary files", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "hosts")) })
}

// watch reads the file again and again until the edits end, and checks each time
// that it holds whole lines that are allowed, and those that are always there.
func watch(t *testing.T, valid map[string]bool, always []string, read func() ([]byte, error), edits func()) {
	t.Helper()
	done := make(chan struct{})
	var reads atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				content, err := read()
				if err != nil {
					t.Error(err)
					return
				}
				reads.Add(1)
				seen := lineSet(content)
				for line := range seen {
					if !valid[line] {
						t.Errorf("HST-6: a reader saw %q in %q", line, content)
						return
					}
				}
				for _, line := range always {
					if !seen[line] {
						t.Errorf("HST-6: a reader missed %q in %q", line, content)
						return
					}
				}
			}
		})
	}
	edits()
	close(done)
	wg.Wait()
	t.Logf("%d reads", reads.Load())
}

func TestReaders(t *testing.T) {
	always := []string{"127.0.0.1\tlocalhost", "10.0.0.99\tlast"}
	valid := map[string]bool{always[0]: true, always[1]: true}
	var lines []string
	for i := range 40 {
		line := fmt.Sprintf("10.1.0.%d\tname%s", i, strings.Repeat("x", i%17))
		lines, valid[line] = append(lines, line), true
	}
	// texts of any length, whose last line moves
	text := func() []byte {
		text := always[0] + "\n"
		for range rand.IntN(6) {
			text += lines[rand.IntN(len(lines))] + "\n"
		}
		text += always[1] + "\n"
		for range rand.IntN(3) {
			text += lines[rand.IntN(len(lines))] + "\n"
		}
		return []byte(text)
	}
	edits := func(t *testing.T, path string, rounds int) {
		t.Helper()
		for range rounds {
			want := text()
			if err := Edit(path, func([]byte) []byte { return want }); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(Text(got))); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
		}
	}
	t.Run("HST-6 readers that open the file during 300 edits see whole lines", func(t *testing.T) {
		onEach(t, func(t *testing.T, path string) {
			if err := WriteFile(path, text()); err != nil {
				t.Fatal(err)
			}
			watch(t, valid, always, func() ([]byte, error) { return os.ReadFile(path) }, func() { edits(t, path, 300) })
		})
	})
	t.Run("HST-6 readers that keep the file open see whole lines", func(t *testing.T) {
		onEach(t, func(t *testing.T, path string) {
			if err := WriteFile(path, text()); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			watch(t, valid, always, func() ([]byte, error) {
				buf := make([]byte, 1<<14)
				n, err := unix.Pread(int(f.Fd()), buf, 0)
				return buf[:max(n, 0)], err
			}, func() { edits(t, path, 10) })
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("HST-6 readers see no byte that nobody wrote while the file grows", func(t *testing.T) {
		onEach(t, func(t *testing.T, path string) {
			if err := WriteFile(path, []byte(always[0]+"\n"+always[1]+"\n")); err != nil {
				t.Fatal(err)
			}
			watch(t, valid, always, func() ([]byte, error) { return os.ReadFile(path) }, func() {
				for i := range 250 { // over more than a page
					err := Edit(path, func(old []byte) []byte { return append(old, lines[i%len(lines)]+"\n"...) })
					if err != nil {
						t.Fatal(err)
					}
				}
			})
		})
	})
}

func TestLease(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		write := func(text, want string) {
			t.Helper()
			if err := WriteFile(path, []byte(text)); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		write("a b\nc d\n", "a b\nc d\n")
		write("a b\n", "a b\n")
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		write("e\n", "e\n   \n")
		mapped, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ, unix.MAP_SHARED)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		write("f\n", "f\n   \n")
		if err := unix.Munmap(mapped); err != nil {
			t.Fatal(err)
		}
		write("f\n", "f\n")
	})
}
