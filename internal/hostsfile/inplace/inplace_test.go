package inplace

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// slowFile applies every write byte by byte, in any order. As in the kernel, the
// end of the file moves when the bytes are there. It keeps what readers may have
// seen since the last outwait.
type slowFile struct {
	content []byte
	states  [][]byte
	look    func(content []byte)
	calls   int
	failAt  int // the call that fails, 0 for none
}

var errDisk = errors.New("disk full")

func (f *slowFile) WriteAt(b []byte, at int64) (int, error) {
	if f.calls++; f.calls == f.failAt {
		return 0, errDisk
	}
	size := len(f.content)
	if int(at) > size {
		panic("write behind the end")
	}
	over := min(len(b), size-int(at))
	for _, i := range rand.Perm(over) {
		f.content[int(at)+i] = b[i]
		f.changed()
	}
	f.content = append(f.content, b[over:]...)
	f.changed()
	return len(b), nil
}

// changed lets a reader look who was held up once in the middle of its read: it
// has the beginning of an earlier state. It found the end of the file then, or
// finds it now.
func (f *slowFile) changed() {
	f.look(f.content)
	for range min(len(f.states), 4) {
		was := f.states[rand.IntN(len(f.states))]
		at := rand.IntN(len(was) + 1)
		mixed := append(bytes.Clone(was[:at]), f.content[at:]...)
		f.look(mixed)
		f.look(mixed[:len(was)])
	}
	f.states = append(f.states, bytes.Clone(f.content))
}

func (f *slowFile) outwait() { f.states = [][]byte{bytes.Clone(f.content)} }

// lineSet is what a parser finds in a text.
func lineSet(text []byte) map[string]bool {
	set := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if bare := strings.TrimLeft(line, " \t"); bare != "" && bare[0] != '#' {
			set[line] = true
		}
	}
	return set
}

// checkRewrite proves the package's promise at every byte, for a file that others
// keep open.
func checkRewrite(t *testing.T, old, text string) {
	t.Helper()
	oldLines, newLines := lineSet([]byte(old)), lineSet([]byte(text))
	f := &slowFile{content: []byte(old)}
	f.outwait()
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
	outwait := f.outwait
	if grows([]byte(old), []byte(text)) {
		outwait = nil
	}
	if err := Rewrite(f, []byte(old), []byte(text), outwait); err != nil {
		t.Fatal(err)
	}
	want := text
	if pad := len(f.content) - len(text); pad > 0 && !strings.HasSuffix(text, "\n") && text != "" {
		want += "\n"
	}
	got, fill := f.content[:min(len(want), len(f.content))], f.content[min(len(want), len(f.content)):]
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("rewrite %q (-want +got):\n%s", old, diff)
	}
	if n := len(fill); n > 0 && string(fill) != strings.Repeat(" ", n-1)+"\n" && !bytes.HasPrefix([]byte(old), f.content) {
		t.Errorf("rewrite %q to %q: behind the text is %q", old, text, fill)
	}
	if most := max(len(old), 3*max(len(old), len(text))+3); len(f.content) > most || len(f.content) < len(old) {
		t.Errorf("rewrite %q to %q: %d bytes, most is %d", old, text, len(f.content), most)
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
		{"shorter and without LF", "a\nbcdef\n", "a\nb"},
		{"room is used again", "a\n              \n", "a\n10.0.0.2\tb\n"},
		{"room for the line and no more", "a\n   \n", "a\nb c\n"},
		{"room is too small", "a\n   \n", "a\n10.0.0.2\tb\n"},
		{"room for the second copy", "1\ta\n2\tb\n3\tc\n                       \n", "2\tb\n3\tc\n"},
		{"room for a part of the second copy", "1\ta\n2\tb\n3\tc\n    \n", "2\tb\n3\tc\n"},
		{"blank lines of the user at the end", "a\n\n \t\n\n", "a\nb\n"},
		{"nothing but blanks", "  \n", "a\n"},
		{"blanks without LF", "a\n  ", "a\nb\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkRewrite(t, tt.old, tt.text) })
	}
}

// TestSequence: a reader may also be held up from one edit to another.
func TestSequence(t *testing.T) {
	always := []string{"127.0.0.1\tlocalhost", "10.0.0.99\tlast"}
	var lines []string
	valid := map[string]bool{always[0]: true, always[1]: true}
	for i := range 9 {
		line := fmt.Sprintf("10.0.0.%d\tname%s", i, strings.Repeat("x", i*i%17))
		lines, valid[line] = append(lines, line), true
	}
	f := &slowFile{content: []byte(strings.Join(always, "\n") + "\n")}
	f.outwait()
	longest := len(f.content)
	for range 40 {
		text := always[0] + "\n"
		for _, j := range rand.Perm(len(lines))[:rand.IntN(5)] {
			text += lines[j] + "\n"
		}
		text += always[1] + "\n"
		if len(f.content) < 400 && rand.IntN(2) == 0 { // many edits append
			text = string(Text(f.content)) + lines[rand.IntN(len(lines))] + "\n"
		}
		outwait := f.outwait
		if grows(f.content, []byte(text)) {
			outwait = nil
		}
		f.look = func(content []byte) {
			seen := lineSet(content)
			for line := range seen {
				if !valid[line] {
					t.Fatalf("torn line %q in %q", line, content)
				}
			}
			for _, line := range always {
				if !seen[line] {
					t.Fatalf("line %q is missing in %q", line, content)
				}
			}
		}
		if err := Rewrite(f, bytes.Clone(f.content), []byte(text), outwait); err != nil {
			t.Fatal(err)
		}
		if got := string(Text(f.content)); got != text {
			t.Fatalf("text is %q, want %q", got, text)
		}
		if longest = max(longest, len(text)); len(f.content) > 3*longest+3 {
			t.Fatalf("%d bytes, the longest text has %d", len(f.content), longest)
		}
	}
}

func TestRewriteError(t *testing.T) {
	old, text := "a\nb\nc\n", "a\nx\nc\n"
	calls := 1
	for failAt := 1; failAt <= calls; failAt++ {
		f := &slowFile{content: []byte(old), look: func([]byte) {}, failAt: failAt}
		err := Rewrite(f, []byte(old), []byte(text), nil)
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
		if err := Rewrite(whole, []byte(old), []byte(text), nil); err != nil {
			t.Fatal(err)
		}
		calls = whole.calls
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nc\n")
	f.Add("a", "b\n\n#c\nd")
	f.Add("a\nb\n     \n", "b\n")
	f.Fuzz(func(t *testing.T, old, text string) {
		if len(old)+len(text) > 400 || bytes.ContainsAny([]byte(old+text), "\x00") {
			return
		}
		checkRewrite(t, old, text)
	})
}
