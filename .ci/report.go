// Command report reads the events of go test -json and prints what a person
// wants of them: the output of what failed or was skipped, the closing line of
// each package, and last the number of tests and subtests that passed and failed. A package
// that fails without a failed test, because it does not build or its TestMain
// ends with an error, counts as one failed. Exit status 1 when something failed
// or nothing has run.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is an event of cmd/test2json, or of the build before it.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events
	Test       string
	Output     string
}

// report is what the events have told so far.
type report struct {
	output  map[[2]string]*strings.Builder // by package and test
	failed  map[string]int                 // tests by package
	closing []string
	passed  int
	skipped int
	total   int // failed ones
}

func main() {
	r := report{output: map[[2]string]*strings.Builder{}, failed: map[string]int{}}
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	for _, line := range r.closing {
		fmt.Print(line)
	}
	if r.skipped > 0 {
		fmt.Printf("%d skipped\n", r.skipped)
	}
	fmt.Printf("%d passed, %d failed\n", r.passed, r.total)
	if r.total > 0 || r.passed == 0 {
		os.Exit(1)
	}
}

func (r *report) read(from io.Reader) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 && line[0] == '{' {
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("event %q: %w", line, err)
			}
			r.take(e)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) take(e event) {
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Print(e.Output)
	case "output":
		if e.Test == "" && isClosing(e.Output) {
			r.closing = append(r.closing, e.Output)
		}
		if r.output[key] == nil {
			r.output[key] = &strings.Builder{}
		}
		r.output[key].WriteString(e.Output)
	case "pass", "skip":
		if e.Test != "" && e.Action == "pass" {
			r.passed++
		}
		if b := r.output[key]; b != nil && e.Test != "" && e.Action == "skip" {
			r.skipped++
			fmt.Printf("skipped: %s %s\n%s", e.Package, e.Test, b)
		}
		delete(r.output, key)
	case "fail":
		if e.Test != "" {
			r.failed[e.Package]++
			r.total++
		} else if r.failed[e.Package] == 0 {
			r.total++
		}
		if b := r.output[key]; b != nil {
			fmt.Printf("%s %s\n%s", e.Package, e.Test, b)
		}
		delete(r.output, key)
	}
}

// isClosing reports whether the line is the one by which go test closes a
// package.
func isClosing(line string) bool {
	for _, start := range []string{"ok  \t", "FAIL\t", "?   \t"} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	return false
}
