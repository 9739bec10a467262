package inplace

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// slowFile applies every write byte by byte and lets a reader look in between.
type slowFile struct {
	content []byte
	look    func(content []byte)
	calls   int
	failAt  int // the call that fails, 0 for none
}

var errDisk = errors.New("disk full")

func (f *slowFile) call() error {
	if f.calls++; f.calls == f.failAt {
		return errDisk
	}
	return nil
}

func (f *slowFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.call(); err != nil {
		return 0, err
	}
	for i, c := range b {
		switch n := int(at) + i; {
		case n < len(f.content):
			f.content[n] = c
		case n == len(f.content):
			f.content = append(f.content, c)
		default:
			panic("write behind the end")
		}
		f.look(f.content)
	}
	return len(b), nil
}

func (f *slowFile) Truncate(n int64) error {
	if err := f.call(); err != nil {
		return err
	}
	f.content = f.content[:n]
	f.look(f.content)
	return nil
}

func lineSet(text []byte) map[string]bool {
	set := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSuffix(line, "\n"); line != "" && line[0] != '#' {
			set[line] = true
		}
	}
	return set
}

// checkRewrite proves the package's promise at every byte.
func checkRewrite(t *testing.T, old, text string) {
	t.Helper()
	oldLines, newLines := lineSet([]byte(old)), lineSet([]byte(text))
	f := &slowFile{content: []byte(old)}
	f.look = func(content []byte) {
		seen := lineSet(content)
		for line := range seen {
			if !oldLines[line] && !newLines[line] {
				t.Fatalf("rewrite %q to %q: torn line %q in %q", old, text, line, content)
			}
		}
		for line := range oldLines {
			if newLines[line] && !seen[line] {
				t.Fatalf("rewrite %q to %q: line %q is missing in %q", old, text, line, content)
			}
		}
	}
	if err := Rewrite(f, []byte(old), []byte(text)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, string(f.content)); diff != "" {
		t.Errorf("rewrite %q (-want +got):\n%s", old, diff)
	}
}

func TestRewrite(t *testing.T) {
	tests := []struct{ name, old, text string }{
		{"nothing to nothing", "", ""},
		{"first text", "", "a b\nc d\n"},
		{"no change", "a b\n", "a b\n"},
		{"append", "a\n", "a\nb c\n"},
		{"append to an unfinished line", "a\nb", "a\nb\nc\n"},
		{"drop the last line", "a\nb c\n", "a\n"},
		{"drop everything", "a\nb c\n", ""},
		{"drop the first line", "10.0.0.1\ta\n10.0.0.2\tb\n10.0.0.3\tc\n", "10.0.0.2\tb\n10.0.0.3\tc\n"},
		{"longer line in the middle", "a\n1 b\nc\n", "a\n1000000000000000000000 b\nc\n"},
		{"shorter line in the middle", "a\n1000000000000000000000 b\nc\n", "a\n1 b\nc\n"},
		{"one byte longer", "a\nbb\nc\n", "a\nbbb\nc\n"},
		{"comments and blank lines", "# x\n\n a\nb\n\n", "\n# y\nb\n\na\n"},
		{"result without LF", "a\nb\n", "b\na"},
		{"unfinished old line replaced", "a", "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkRewrite(t, tt.old, tt.text) })
	}
}

func TestRewriteError(t *testing.T) {
	old, text := "a\nb\nc\n", "a\nx\nc\n"
	calls := 1
	for failAt := 1; failAt <= calls; failAt++ {
		f := &slowFile{content: []byte(old), look: func([]byte) {}, failAt: failAt}
		err := Rewrite(f, []byte(old), []byte(text))
		if !errors.Is(err, errDisk) {
			t.Fatalf("call %d fails: error %v", failAt, err)
		}
		if f.calls != failAt {
			t.Errorf("call %d fails: %d calls", failAt, f.calls)
		}
		if !lineSet(f.content)["a"] || !lineSet(f.content)["c"] {
			t.Errorf("call %d fails: lines lost in %q", failAt, f.content)
		}
		whole := &slowFile{content: []byte(old), look: func([]byte) {}}
		if err := Rewrite(whole, []byte(old), []byte(text)); err != nil {
			t.Fatal(err)
		}
		calls = whole.calls
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nc\n")
	f.Add("a", "b\n\n#c\nd")
	f.Fuzz(func(t *testing.T, old, text string) {
		if len(old)+len(text) > 400 || bytes.ContainsAny([]byte(old+text), "\x00") {
			return
		}
		checkRewrite(t, old, text)
	})
}
