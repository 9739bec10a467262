package arch

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write api/*.txt")

// TestAPI holds what the public packages export on Linux against api/*.txt, so
// that a change of it is seen in review.
func TestAPI(t *testing.T) {
	all, err := packages()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dir := filepath.Join(moduleDir(t), "api")
	known := map[string]bool{}
	for _, p := range all {
		if isInternal(p.name()) || strings.HasPrefix(p.name(), "cmd/") || strings.HasPrefix(p.name(), "docs/") {
			continue
		}
		file := strings.ReplaceAll(strings.Replace(p.name(), ".", "libnetwork", 1), "/", "_") + ".txt"
		known[file] = true
		t.Run(p.name(), func(t *testing.T) {
			got := strings.Join(exported(t, p), "\n") + "\n"
			path := filepath.Join(dir, file)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("exported identifiers changed; if that is meant, run make api (-want +got):\n%s", diff)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if known[filepath.Base(path)] {
			continue
		}
		if !*update {
			t.Errorf("api/%s belongs to no public package", filepath.Base(path))
		} else if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// exported lists what the package exports, sorted, a line each.
func exported(t *testing.T, p pkg) []string {
	t.Helper()
	l := &lister{fset: token.NewFileSet()}
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(l.fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				l.function(d)
			case *ast.GenDecl:
				l.general(d)
			}
		}
	}
	slices.Sort(l.lines)
	return l.lines
}

// A lister collects lines about exported identifiers.
type lister struct {
	fset  *token.FileSet
	lines []string
}

func (l *lister) add(format string, args ...any) {
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

// source is the node's text on one line.
func (l *lister) source(node any) string {
	var b bytes.Buffer
	if err := printer.Fprint(&b, l.fset, node); err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// signature is the text of a function type without the word func.
func (l *lister) signature(f *ast.FuncType) string {
	return strings.TrimPrefix(l.source(f), "func")
}

func (l *lister) function(d *ast.FuncDecl) {
	if !d.Name.IsExported() {
		return
	}
	if d.Recv == nil {
		l.add("func %s%s", d.Name, l.signature(d.Type))
		return
	}
	receiver := l.source(d.Recv.List[0].Type)
	base, _, _ := strings.Cut(strings.TrimPrefix(receiver, "*"), "[")
	if ast.IsExported(base) {
		l.add("method (%s) %s%s", receiver, d.Name, l.signature(d.Type))
	}
}

func (l *lister) general(d *ast.GenDecl) {
	// What a constant of a group does not say, it has from the one above.
	var typ ast.Expr
	var values []ast.Expr
	for i, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() {
				l.typ(s)
			}
		case *ast.ValueSpec:
			if s.Type != nil || s.Values != nil {
				typ, values = s.Type, s.Values
			}
			for n, name := range s.Names {
				if name.IsExported() {
					l.value(d.Tok, name, typ, values, n, i)
				}
			}
		}
	}
}

// value adds a constant with its value, or a variable: the value of that one
// is no promise, and its type stands for it where it is written.
func (l *lister) value(tok token.Token, name *ast.Ident, typ ast.Expr, values []ast.Expr, n, iota int) {
	line := tok.String() + " " + name.Name
	if typ != nil {
		line += " " + l.source(typ)
	}
	if n < len(values) && (tok == token.CONST || typ == nil) {
		text := l.source(values[n])
		if tok == token.CONST && strings.Contains(text, "iota") {
			text += fmt.Sprintf(" // iota is %d", iota)
		}
		line += " = " + text
	}
	l.add("%s", line)
}

func (l *lister) typ(s *ast.TypeSpec) {
	name := s.Name.Name
	if s.TypeParams != nil {
		var params []string
		for _, f := range s.TypeParams.List {
			for _, n := range f.Names {
				params = append(params, n.Name+" "+l.source(f.Type))
			}
		}
		name += "[" + strings.Join(params, ", ") + "]"
	}
	if s.Assign.IsValid() {
		name += " ="
	}
	switch typ := s.Type.(type) {
	case *ast.StructType:
		l.add("type %s struct", name)
		l.fields(s.Name.Name, typ)
	case *ast.InterfaceType:
		l.add("type %s interface", name)
		for _, m := range typ.Methods.List {
			f, ok := m.Type.(*ast.FuncType)
			if !ok {
				l.add("interface %s embeds %s", s.Name, l.source(m.Type))
				continue
			}
			// Unexported methods count: they seal the interface.
			for _, n := range m.Names {
				l.add("interface %s has %s%s", s.Name, n, l.signature(f))
			}
		}
	default:
		l.add("type %s %s", name, l.source(s.Type))
	}
}

func (l *lister) fields(name string, s *ast.StructType) {
	for _, f := range s.Fields.List {
		tag := ""
		if f.Tag != nil {
			tag = " " + f.Tag.Value
		}
		if f.Names == nil {
			l.add("field %s embeds %s%s", name, l.source(f.Type), tag)
		}
		for _, n := range f.Names {
			if n.IsExported() {
				l.add("field %s.%s %s%s", name, n, l.source(f.Type), tag)
			}
		}
	}
}
