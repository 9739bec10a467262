// Command behaviour makes the table of what holds, docs/behaviour.md, from the
// events of go test -json on its standard input.
//
// A subtest whose name begins with an id of ids.txt, such as "NET-3 a name is
// taken once", proves the statement of that name when it passes. What is not
// done as others would expect stands in readings.txt with the reason. The table
// goes to standard output; an id with neither, and a name that states nothing, is
// an error.
//
// With -check FILE it compares a table that was written before with the events:
// each id has a row with a statement, and each test that a row names has passed.
package main

import (
	"bufio"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

//go:embed ids.txt
var idList string

//go:embed readings.txt
var readingList string

func main() {
	check := flag.String("check", "", "check this table instead of writing one")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(events io.Reader, out io.Writer, check string) error {
	ids := strings.Fields(idList)
	readings, err := parseReadings(readingList, ids)
	if err != nil {
		return err
	}
	proofs, problems := readProofs(events, ids)
	if check != "" {
		text, err := os.ReadFile(check)
		if err != nil {
			return err
		}
		return errors.Join(problems, checkTable(string(text), ids, proofs))
	}
	w := bufio.NewWriter(out)
	writeTable(w, ids, proofs, readings)
	return errors.Join(w.Flush(), problems, missing(ids, proofs, readings))
}

// missing names the ids that nothing is known of.
func missing(ids []string, proofs map[string][]proof, readings map[string]string) error {
	var errs []error
	for _, id := range ids {
		if len(proofs[id]) == 0 && readings[id] == "" {
			errs = append(errs, fmt.Errorf("%s: no subtest of that name has passed, and readings.txt does not say why", id))
		}
	}
	return errors.Join(errs...)
}

// parseReadings reads lines of an id and the reason why it is read otherwise. A
// line that begins with # is a comment.
func parseReadings(text string, ids []string) (map[string]string, error) {
	out := make(map[string]string)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, reason, _ := strings.Cut(line, " ")
		switch {
		case !slices.Contains(ids, id):
			return nil, fmt.Errorf("readings.txt: %s is no id of ids.txt", id)
		case strings.TrimSpace(reason) == "":
			return nil, fmt.Errorf("readings.txt: %s has no reason", id)
		case out[id] != "":
			return nil, fmt.Errorf("readings.txt: %s stands there twice", id)
		}
		out[id] = strings.TrimSpace(reason)
	}
	return out, nil
}
