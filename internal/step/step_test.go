package step

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// childEnv makes the test binary act as the process that "kill:N" kills.
const childEnv = "STEP_TEST_CHILD"

func TestMain(m *testing.M) {
	if v := os.Getenv(childEnv); v != "" {
		c, err := FromEnv(v)
		if err != nil {
			panic(err)
		}
		for range 5 {
			if c.Next("child") == nil {
				_, _ = os.Stdout.WriteString("x")
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestCounterCounts(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    *Counter
		want int
	}{
		{"nil counter", nil, 0},
		{"zero value", &Counter{}, 800},
		{"nil hook", New(nil), 800},
		{"hook", New(func(int, string) error { return nil }), 800},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 100 {
						if err := tc.c.Next("call"); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if got := tc.c.Count(); got != tc.want {
				t.Errorf("Count() = %d, want %d", got, tc.want)
			}
		})
	}
}

func TestFail(t *testing.T) {
	c, err := FromEnv("fail:3")
	if err != nil {
		t.Fatal(err)
	}
	var failed []int
	for i := 1; i <= 5; i++ {
		if err := c.Next("link add"); err != nil {
			failed = append(failed, i)
			if !errors.Is(err, ErrInjected) || !strings.Contains(err.Error(), "link add") {
				t.Errorf("error %q does not wrap ErrInjected or lacks the name", err)
			}
		}
	}
	if diff := cmp.Diff([]int{3}, failed); diff != "" {
		t.Errorf("failed calls (-want +got):\n%s", diff)
	}
}

func TestTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace")
	for range 2 { // a second process goes on in the same file
		c, err := FromEnv("trace:" + path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b c"} {
			if err := c.Next(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("a\nb c\na\nb c\n", string(got)); diff != "" {
		t.Errorf("trace (-want +got):\n%s", diff)
	}
}

func TestKill(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=kill:4")
	out, err := cmd.Output()
	if err == nil {
		t.Error("the child ended normally")
	}
	if diff := cmp.Diff("xxx", string(out)); diff != "" {
		t.Errorf("calls made before the kill (-want +got):\n%s", diff)
	}
	if code := cmd.ProcessState.ExitCode(); code != -1 && code != 137 {
		t.Errorf("exit code %d, want a kill", code)
	}
}

func TestFromEnvRefuses(t *testing.T) {
	for _, v := range []string{"fail", "fail:", "fail:0", "fail:-1", "fail:x", "kill:1.5", "trace:", "stop:1", ":1"} {
		t.Run(v, func(t *testing.T) {
			if c, err := FromEnv(v); err == nil || c != nil {
				t.Errorf("FromEnv(%q) = %v, %v, want an error", v, c, err)
			}
		})
	}
	t.Run("empty means none", func(t *testing.T) {
		if c, err := FromEnv(""); err != nil || c != nil {
			t.Errorf(`FromEnv("") = %v, %v, want nil, nil`, c, err)
		}
	})
}

func FuzzFromEnv(f *testing.F) {
	f.Add("fail:1")
	f.Add("kill:99999999999999999999")
	f.Fuzz(func(t *testing.T, v string) {
		if strings.HasPrefix(v, "trace:") {
			t.Skip("would create the file")
		}
		c, err := FromEnv(v)
		if err != nil && c != nil {
			t.Errorf("FromEnv(%q) returned both a counter and %v", v, err)
		}
	})
}

func BenchmarkNext(b *testing.B) {
	for _, bc := range []struct {
		name string
		c    *Counter
	}{{"nil counter", nil}, {"nil hook", New(nil)}} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = bc.c.Next("call")
			}
		})
	}
}
