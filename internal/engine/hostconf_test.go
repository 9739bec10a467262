package engine

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestHostConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	h := hostConf{path: path}
	write := func(at, text string) {
		t.Helper()
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(name string, changes bool, do func()) {
		t.Helper()
		before := h.version()
		do()
		if after := h.version(); (before != after) != changes {
			t.Errorf("%s: version was %d and is %d", name, before, after)
		}
	}
	check("still missing", false, func() {})
	check("made", true, func() { write(path, "a\n") })
	check("same", false, func() {})
	check("of the same size", true, func() { write(path, "b\n") })
	check("at once again", true, func() { write(path, "c\n") })
	check("the same text", false, func() { write(path, "c\n") })
	check("long ago", false, func() {
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	})
	if !h.settled {
		t.Error("a file of an hour ago is read each time")
	}
	check("another file in its place, of the same size and time", true, func() {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		write(path+".new", "d\n")
		if err := os.Chtimes(path+".new", info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	})
	check("removed", true, func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	})
	check("a directory in its place counts as no change", false, func() {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	})
}
