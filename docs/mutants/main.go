// Command mutants puts one defect after another into a copy of the sources, each
// a replacement of one line of text from mutants.txt, and runs the tests of the
// packages that it names: they must notice. The table of what noticed goes to
// standard output, docs/mutants.md; exit status 1 when a defect was not noticed or
// its line is not there any more.
//
// It is run in the module's directory. Arguments are words: then only the defects
// whose description or file holds one of them are tried.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

//go:embed mutants.txt
var list string

// mutant is a defect.
type mutant struct {
	breaks         string // what does not hold any more
	file, old, now string
	tests          []string // arguments of go test
}

func main() {
	if err := run(context.Background(), os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, words []string) (err error) {
	all, err := parse(list)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := copySources(ctx, dir); err != nil {
		return err
	}
	fmt.Fprint(out, preface)
	var errs []error
	for _, m := range all {
		if len(words) > 0 && !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(m.breaks+m.file, w) }) {
			continue
		}
		noticed, err := m.try(ctx, dir)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.breaks, err))
			noticed = "nothing"
		}
		fmt.Fprintln(os.Stderr, m.breaks+": "+noticed)
		fmt.Fprintf(out, "| %s | `%s` | %s |\n", m.breaks, m.file, noticed)
	}
	return errors.Join(errs...)
}

const preface = `# Seeded defects

<!-- Made by make mutants; do not edit. -->

Each row is a defect that was put into the sources by itself, and the first test that
failed for it. The defects stand in docs/mutants/mutants.txt; one that no test
notices, or that does not fit the sources any more, fails the run.

| what was broken | file | noticed by |
| --- | --- | --- |
`

// parse reads blocks of lines "key: value", divided by blank lines. Values of old
// and new are taken as they stand behind the blank.
func parse(text string) ([]mutant, error) {
	var all []mutant
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		var m mutant
		for line := range strings.SplitSeq(block, "\n") {
			key, value, _ := strings.Cut(line, ": ")
			switch strings.TrimSuffix(key, ":") {
			case "breaks":
				m.breaks = value
			case "file":
				m.file = value
			case "old":
				m.old = value
			case "new":
				m.now = value
			case "test":
				m.tests = strings.Fields(value)
			default:
				return nil, fmt.Errorf("mutants.txt: %q: unknown key", line)
			}
		}
		if m.breaks == "" || m.file == "" || m.old == "" || m.old == m.now || len(m.tests) == 0 {
			return nil, fmt.Errorf("mutants.txt: not whole: %s", block)
		}
		all = append(all, m)
	}
	return all, nil
}

// copySources copies the files that git knows or would take.
func copySources(ctx context.Context, dir string) error {
	names, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not committed yet
		}
		to := filepath.Join(dir, name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(to), 0o755)
		}
		if err == nil {
			err = os.WriteFile(to, data, 0o755)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// failedTest finds the tests that failed in the output of go test -v.
var failedTest = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)

// panicked finds a panic of a goroutine that is no test.
var panicked = regexp.MustCompile(`(?m)^panic: (.*?)( \[recovered.*)?$`)

// try puts the defect into the copy in dir, runs the tests, and takes it out.
func (m *mutant) try(ctx context.Context, dir string) (noticed string, err error) {
	path := filepath.Join(dir, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("%s has %q %d times, want once", m.file, m.old, n)
	}
	mutated := bytes.Replace(text, []byte(m.old), []byte(m.now), 1)
	if err := os.WriteFile(path, mutated, 0o644); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.WriteFile(path, text, 0o644)) }()
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-count=1", "-timeout=2m"}, m.tests...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", errors.New("no test has noticed")
	case !errors.As(err, &exit):
		return "", err
	case bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")):
		return "", fmt.Errorf("it does not build:\n%s", out)
	}
	if failed := failedTest.FindAllStringSubmatch(string(out), -1); len(failed) > 0 {
		return "`" + deepest(failed) + "`", nil
	}
	if bytes.Contains(out, []byte("panic: test timed out")) {
		return "a test that hangs", nil
	}
	if p := panicked.FindSubmatch(out); p != nil {
		return "a panic: " + string(p[1]), nil
	}
	return "", fmt.Errorf("the run failed without a failed test:\n%s", out)
}

// deepest is the innermost of the first test that failed and its subtests, as go
// test prints them, the outer ones first.
func deepest(failed [][]string) string {
	name := failed[0][1]
	for _, f := range failed[1:] {
		if !strings.HasPrefix(f[1], name+"/") {
			break
		}
		name = f[1]
	}
	return name
}
