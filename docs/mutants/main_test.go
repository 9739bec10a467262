package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestList checks that each defect fits the sources: a line that has changed
// shall not wait for the next make mutants.
func TestList(t *testing.T) {
	all, err := parse(list)
	if err != nil {
		t.Fatal(err)
	}
	const least = 20
	if len(all) < least {
		t.Errorf("there are %d defects, want at least %d", len(all), least)
	}
	seen := make(map[string]bool)
	for _, m := range all {
		text, err := os.ReadFile(filepath.Join("../..", m.file))
		if err != nil {
			t.Errorf("%s: %v", m.breaks, err)
			continue
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: %s has %q %d times, want once", m.breaks, m.file, m.old, n)
		}
		if seen[m.file+m.old+m.now] {
			t.Errorf("%s: it stands there twice", m.breaks)
		}
		seen[m.file+m.old+m.now] = true
	}
}

func TestParse(t *testing.T) {
	const whole = "breaks: b\nfile: f\nold: \tx: y\nnew: \tz\ntest: -run=A ./p\n"
	got, err := parse(whole + "\n" + whole)
	if err != nil || len(got) != 2 || got[0].old != "\tx: y" || got[1].now != "\tz" || len(got[0].tests) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "breaks: b", strings.Replace(whole, "file", "fyle", 1), strings.Replace(whole, "\tz", "\tx: y", 1)} {
		if got, err := parse(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, got)
		}
	}
}

func TestDeepest(t *testing.T) {
	out := "--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/b (0.00s)\n        --- FAIL: TestA/b/c (0.00s)\n--- FAIL: TestB (0.00s)\n"
	if got := deepest(failedTest.FindAllStringSubmatch(out, -1)); got != "TestA/b/c" {
		t.Errorf("got %s", got)
	}
}
