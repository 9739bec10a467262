package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	module = "github.com/libnetwork/libnetwork"

	// maxLines is how long a file may be that is neither test nor generated.
	maxLines = 600
)

// pkg is the part of go list's answer that the tests use. IgnoredGoFiles are
// those of other systems, tests among them.
type pkg struct {
	ImportPath     string
	Dir            string
	GoFiles        []string
	CgoFiles       []string
	IgnoredGoFiles []string
}

// name is the import path inside the module, "." for the root.
func (p pkg) name() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

// sources are the paths of the files that are no tests, of every system.
func (p pkg) sources() []string {
	var paths []string
	for _, name := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles) {
		if !strings.HasSuffix(name, "_test.go") {
			paths = append(paths, filepath.Join(p.Dir, name))
		}
	}
	slices.Sort(paths)
	return paths
}

// packages lists the packages of the module that have code, once for all
// tests.
var packages = sync.OnceValues(func() ([]pkg, error) {
	// -e: what does not build is for the compiler to report. The answer shall
	// be the same on every system.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,GoFiles,CgoFiles,IgnoredGoFiles", module+"/...")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		case len(p.sources()) > 0:
			all = append(all, p)
		}
	}
})

// source is one parsed file.
type source struct {
	*ast.File
	path string // from the module's directory
	text []byte
}

// each parses every file that is no test and calls f with it.
func each(t *testing.T, f func(pkg, source)) {
	t.Helper()
	all, err := packages()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) < 2 {
		t.Fatalf("go list names %d packages: the tests would prove nothing", len(all))
	}
	root := moduleDir(t)
	for _, p := range all {
		for _, path := range p.sources() {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Errorf("%v", err)
				continue
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			f(p, source{file, filepath.ToSlash(rel), text})
		}
	}
}

// moduleDir is the directory of go.mod.
func moduleDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPackageDoc(t *testing.T) {
	docs := map[string][]string{}
	each(t, func(p pkg, s source) {
		if _, ok := docs[p.name()]; !ok {
			docs[p.name()] = nil
		}
		if s.Doc == nil || ast.IsGenerated(s.File) {
			return
		}
		docs[p.name()] = append(docs[p.name()], s.path)
		want := "Package " + s.Name.Name + " "
		if s.Name.Name == "main" {
			want = "Command " + filepath.Base(p.Dir) + " "
		}
		if !strings.HasPrefix(s.Doc.Text(), want) {
			t.Errorf("%s: the package doc does not begin with %q", s.path, want)
		}
	})
	for name, files := range docs {
		if len(files) != 1 {
			t.Errorf("package %s has %d package docs, want 1: %v", name, len(files), files)
		}
	}
}

func TestNoInit(t *testing.T) {
	each(t, func(_ pkg, s source) {
		if ast.IsGenerated(s.File) {
			return
		}
		for _, d := range s.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init: importing a package does nothing; give the user a constructor to call", s.path)
			}
		}
	})
}

func TestFileLength(t *testing.T) {
	each(t, func(_ pkg, s source) {
		if n := bytes.Count(s.text, []byte("\n")); n > maxLines && !ast.IsGenerated(s.File) {
			t.Errorf("%s has %d lines, want at most %d: split it by subject", s.path, n, maxLines)
		}
	})
}
