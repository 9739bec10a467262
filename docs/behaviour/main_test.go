package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pass is the event of a test that passed.
func pass(pkg, test string) string {
	return `{"Action":"run","Package":"` + pkg + `","Test":"` + test + `"}
{"Action":"pass","Package":"` + pkg + `","Test":"` + test + `"}
`
}

func TestReadProofs(t *testing.T) {
	ids := []string{"NET-3", "EP-7", "OSL-6a"}
	for _, tt := range []struct {
		name, events string
		want         map[string][]proof
		err          string
	}{
		{"a statement", pass(module, "TestA/NET-3_a_name_is_taken_once"), map[string][]proof{"NET-3": {{"a name is taken once", "libnetwork.TestA"}}}, ""},
		{"a letter", pass(module+"/osl", "TestA/OSL-6a_x_y"), map[string][]proof{"OSL-6a": {{"x y", "osl.TestA"}}}, ""},
		{"a nested one", pass(module, "TestA/EP-7_a") + pass(module, "TestA/EP-7_a/NET-3_b"), map[string][]proof{"EP-7": {{"a", "libnetwork.TestA"}}, "NET-3": {{"b", "libnetwork.TestA"}}}, ""},
		{"a step is none", pass(module, "TestA/EP-7_a") + pass(module, "TestA/EP-7_a/step"), map[string][]proof{"EP-7": {{"a", "libnetwork.TestA"}}}, ""},
		{"a slash in a statement", pass(module, "TestA/EP-7_10.0.0.0/8_is_there"), map[string][]proof{"EP-7": {{"10.0.0.0/8 is there", "libnetwork.TestA"}}}, ""},
		{"several of one name", pass(module, "TestA/EP-7_a") + pass(module, "TestA/EP-7_a#01"), map[string][]proof{"EP-7": {{"a", "libnetwork.TestA"}}}, ""},
		{"several tests in order", pass(module, "TestB/EP-7_a") + pass(module, "TestA/EP-7_b"), map[string][]proof{"EP-7": {{"b", "libnetwork.TestA"}, {"a", "libnetwork.TestB"}}}, ""},
		{"no id", pass(module, "TestA/a_name") + pass(module, "TestA") + pass(module, "TestA/EP-7x_x"), map[string][]proof{}, "EP-7x is no id"},
		{"a failed one", `{"Action":"fail","Package":"p","Test":"TestA/EP-7_a"}`, map[string][]proof{}, ""},
		{"a skipped one", `{"Action":"skip","Package":"p","Test":"TestA/EP-7_a"}`, map[string][]proof{}, ""},
		{"no words", pass(module, "TestA/EP-7"), nil, "does not say what holds"},
		{"two ids", pass(module, "TestA/EP-7_NET-3_a"), nil, "one id a subtest"},
		{"two ids with a comma", pass(module, "TestA/EP-7,NET-3_a"), nil, "one id a subtest"},
		{"an unknown id", pass(module, "TestA/NET-99_a"), nil, "NET-99 is no id"},
		{"no JSON", "{", nil, "unexpected end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readProofs(strings.NewReader(tt.events), ids)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error is %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(proof{})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestTable(t *testing.T) {
	ids := []string{"NET-3", "EP-7", "EP-8"}
	proofs := map[string][]proof{
		"NET-3": {{"a | b", "libnetwork.TestA"}, {"c", "libnetwork.TestA"}},
		"EP-7":  {{"d", "osl.TestB"}},
	}
	readings, err := parseReadings("# comment\n\nEP-8 why not\n", ids)
	if err != nil {
		t.Fatal(err)
	}
	if err := missing(ids, proofs, readings); err != nil {
		t.Error(err)
	}
	var b bytes.Buffer
	writeTable(&b, ids, proofs, readings)
	for _, want := range []string{
		"| NET-3 | a \\| b<br>c | `libnetwork.TestA` |\n", "| EP-7 | d | `osl.TestB` |\n", "| EP-8 | why not |\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table has no row %s:\n%s", want, &b)
		}
	}
	if err := checkTable(b.String(), ids, proofs); err != nil {
		t.Errorf("the table is refused: %v", err)
	}
	for _, tt := range []struct{ name, old, now, err string }{
		{"an empty row", "| EP-7 | d |", "| EP-7 |  |", "EP-7: the row is empty"},
		{"no row", "| EP-8 | why not |\n", "", "EP-8: no row"},
		{"an unknown id", "| EP-8 |", "| EP-9 |", "EP-9: no id"},
		{"a test that is gone", "osl.TestB", "osl.TestC", "EP-7: `osl.TestC` has not passed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := checkTable(strings.Replace(b.String(), tt.old, tt.now, 1), ids, proofs)
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error is %v, want %q", err, tt.err)
			}
		})
	}
	t.Run("an id that nothing is known of", func(t *testing.T) {
		if err := missing(append(ids, "EP-10"), proofs, readings); err == nil || !strings.Contains(err.Error(), "EP-10") {
			t.Errorf("error is %v", err)
		}
	})
	for _, bad := range []string{"EP-99 x", "EP-7", "EP-7 a\nEP-7 b"} {
		t.Run("readings "+bad, func(t *testing.T) {
			if got, err := parseReadings(bad, ids); err == nil {
				t.Errorf("they are read as %v", got)
			}
		})
	}
}

// TestFiles looks at the files of the command itself.
func TestFiles(t *testing.T) {
	ids := strings.Fields(idList)
	if _, err := parseReadings(readingList, ids); err != nil {
		t.Error(err)
	}
	for _, id := range ids {
		if family.FindString(id) != id {
			t.Errorf("%s is of no family", id)
		}
	}
	file := filepath.Join(t.TempDir(), "table.md")
	if err := os.WriteFile(file, []byte("| id | what holds | test |\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(strings.NewReader(""), nil, file); err == nil || !strings.Contains(err.Error(), "MOD-1: no row") {
		t.Errorf("an empty table is accepted: %v", err)
	}
	if err := run(strings.NewReader(""), nil, file+"x"); err == nil {
		t.Error("no table is accepted")
	}
}
