package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// module is what the names of packages begin with.
const module = "github.com/libnetwork/libnetwork"

// proof is a subtest that passed.
type proof struct {
	// statement is what holds, test the test function: package.TestName.
	statement, test string
}

// family matches the beginning of a path element that is meant as an id.
var family = regexp.MustCompile(`^(MOD|ERR|CTL|NET|EP|SB|GW|PER|CLN|CON|OPT|CFG|OPG|DSC|DNS|RES|HST|OSL|EXT|IP|BS|DS)-[0-9]+[a-z]?`)

// reference matches a statement that begins with a reference instead of words.
var reference = regexp.MustCompile(`^(,|([A-Z]+-?[0-9]+[a-z]?|and|or)[ ,:])`)

// readProofs reads the events of go test -json and returns the subtests that
// passed by id, in the order of their tests, and what is wrong with others.
func readProofs(events io.Reader, ids []string) (map[string][]proof, error) {
	passed, known, err := readEvents(events)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]proof)
	var errs []error
	for _, t := range passed {
		id, statement, ok := split(t, known)
		if !ok {
			continue
		}
		switch {
		case !slices.Contains(ids, id):
			errs = append(errs, fmt.Errorf("%s: %s is no id of ids.txt", t, id))
		case statement == "":
			errs = append(errs, fmt.Errorf("%s: the name does not say what holds", t))
		case reference.MatchString(statement):
			errs = append(errs, fmt.Errorf("%s: one id a subtest, then words", t))
		default:
			p := proof{statement, t.short()}
			if !slices.Contains(out[id], p) {
				out[id] = append(out[id], p)
			}
		}
	}
	for _, proofs := range out {
		slices.SortFunc(proofs, func(a, b proof) int {
			return strings.Compare(a.test+a.statement, b.test+b.statement)
		})
	}
	return out, errors.Join(errs...)
}

// testName is a test or subtest of a package.
type testName struct{ pkg, path string }

func (t testName) String() string { return t.pkg + " " + t.path }

// short names the test function without what all packages have in common.
func (t testName) short() string {
	pkg := strings.TrimPrefix(strings.TrimPrefix(t.pkg, module), "/")
	if pkg == "" {
		pkg = "libnetwork"
	}
	fn, _, _ := strings.Cut(t.path, "/")
	return pkg + "." + fn
}

// readEvents returns the tests that passed, and all that were named.
func readEvents(events io.Reader) (passed []testName, known map[testName]bool, _ error) {
	known = make(map[testName]bool)
	in := bufio.NewReader(events)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 && line[0] == '{' {
			var e struct{ Action, Package, Test string }
			if err := json.Unmarshal(line, &e); err != nil {
				return nil, nil, fmt.Errorf("event %q: %w", line, err)
			}
			if e.Test != "" {
				t := testName{e.Package, e.Test}
				known[t] = true
				if e.Action == "pass" {
					passed = append(passed, t)
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return passed, known, nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// split finds the id and the statement in the name of a subtest. A statement may
// hold slashes: what follows the id belongs to it, unless it is the name of a
// subtest of another one.
func split(t testName, known map[testName]bool) (id, statement string, ok bool) {
	elements := strings.Split(t.path, "/")
	for i := len(elements) - 1; i > 0; i-- {
		id = family.FindString(elements[i])
		if id == "" {
			if known[testName{t.pkg, strings.Join(elements[:i], "/")}] {
				return "", "", false // a step of a subtest
			}
			continue
		}
		text := strings.TrimPrefix(strings.Join(elements[i:], "/"), id)
		if text != "" && text[0] != '_' && text[0] != '#' && text[0] != ',' {
			return "", "", false // another word
		}
		return id, words(text), true
	}
	return "", "", false
}

// words undoes what package testing does to a name.
func words(text string) string {
	if i := strings.LastIndexByte(text, '#'); i >= 0 && strings.Trim(text[i+1:], "0123456789") == "" {
		text = text[:i] // one of several of that name
	}
	return strings.TrimSpace(strings.ReplaceAll(text, "_", " "))
}
