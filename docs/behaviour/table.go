package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// families are the parts of the table, in the order of ids.txt.
var families = [][2]string{
	{"MOD", "Objects"},
	{"ERR", "Errors"},
	{"CTL", "Controller"},
	{"NET", "Networks"},
	{"EP", "Endpoints"},
	{"SB", "Sandboxes"},
	{"GW", "The gateway network"},
	{"PER", "What is stored"},
	{"CLN", "Starting again"},
	{"CON", "Concurrency"},
	{"OPT", "Options"},
	{"CFG", "Configuration"},
	{"OPG", "Option maps"},
	{"DSC", "Host discovery"},
	{"DNS", "The embedded name server"},
	{"RES", "resolv.conf"},
	{"HST", "The hosts file"},
	{"OSL", "Namespaces"},
	{"EXT", "Namespaces from outside"},
	{"IP", "Address management"},
	{"BS", "Bit sets"},
	{"DS", "Stores"},
}

const preface = `# What holds

<!-- Made by make behaviour from the tests that passed; do not edit. -->

Each row is a statement about libnetwork and dnet, and the test that proves it on
every run. A statement is the name of a subtest, word by word: run it with
` + "`go test -run`" + `. The ids are only names to speak of a statement by. What one
might expect otherwise stands at the end, with the reason.
`

func writeTable(w io.Writer, ids []string, proofs map[string][]proof, readings map[string]string) {
	fmt.Fprint(w, preface)
	for _, f := range families {
		fmt.Fprintf(w, "\n## %s\n\n| id | what holds | test |\n| --- | --- | --- |\n", f[1])
		for _, id := range ids {
			if name, _, _ := strings.Cut(id, "-"); name == f[0] && len(proofs[id]) > 0 {
				writeRow(w, id, proofs[id])
			}
		}
	}
	fmt.Fprint(w, "\n## Read otherwise\n\n| id | reason |\n| --- | --- |\n")
	for _, id := range ids {
		if readings[id] != "" {
			fmt.Fprintf(w, "| %s | %s |\n", id, escape(readings[id]))
		}
	}
}

// writeRow writes one row: a statement a line, and the tests that they are of.
func writeRow(w io.Writer, id string, proofs []proof) {
	var statements, tests []string
	for _, p := range proofs {
		if s := escape(p.statement); !slices.Contains(statements, s) {
			statements = append(statements, s)
		}
		if t := "`" + p.test + "`"; !slices.Contains(tests, t) {
			tests = append(tests, t)
		}
	}
	fmt.Fprintf(w, "| %s | %s | %s |\n", id, strings.Join(statements, "<br>"), strings.Join(tests, "<br>"))
}

func escape(s string) string { return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(s) }

// checkTable compares a table with what has passed: each id has a row, no row is
// empty or of an unknown id, and the tests that a row names have proved its id.
func checkTable(text string, ids []string, proofs map[string][]proof) error {
	var errs []error
	seen := make(map[string]bool)
	for line := range strings.Lines(text) {
		row, ok := strings.CutPrefix(strings.TrimSpace(line), "| ")
		if !ok || strings.HasPrefix(row, "---") || strings.HasPrefix(row, "id |") {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(row, " |"), " | ")
		id := cells[0]
		seen[id] = true
		switch {
		case !slices.Contains(ids, id):
			errs = append(errs, fmt.Errorf("%s: no id of ids.txt", id))
		case len(cells) < 2 || slices.ContainsFunc(cells, func(c string) bool { return strings.TrimSpace(c) == "" }):
			errs = append(errs, fmt.Errorf("%s: the row is empty", id))
		case len(cells) == 3:
			for test := range strings.SplitSeq(cells[2], "<br>") {
				if !slices.ContainsFunc(proofs[id], func(p proof) bool { return "`"+p.test+"`" == test }) {
					errs = append(errs, fmt.Errorf("%s: %s has not passed", id, test))
				}
			}
		}
	}
	for _, id := range ids {
		if !seen[id] {
			errs = append(errs, fmt.Errorf("%s: no row", id))
		}
	}
	if len(errs) > 0 {
		errs = append(errs, errors.New("run make behaviour"))
	}
	return errors.Join(errs...)
}
