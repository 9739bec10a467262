package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"unicode"

	"github.com/spf13/pflag"
)

// output are the flags of lists and inspections.
type output struct {
	format  string
	quiet   bool
	noTrunc bool
	filters []string
}

func (o *output) addFormat(fs *pflag.FlagSet) {
	fs.StringVar(&o.format, "format", "", "`json`, \"table TEMPLATE\", or a template such as '{{.ID}}'")
}

func (o *output) addList(fs *pflag.FlagSet, filters string) {
	o.addRows(fs, filters)
	fs.BoolVar(&o.noTrunc, "no-trunc", false, "do not shorten ids")
}

// addRows is for lists whose ids are never shortened.
func (o *output) addRows(fs *pflag.FlagSet, filters string) {
	o.addFormat(fs)
	fs.BoolVarP(&o.quiet, "quiet", "q", false, "print ids only")
	fs.StringArrayVarP(&o.filters, "filter", "f", nil, "print what fits `KEY=VALUE` only; keys are "+filters)
}

// id is an id as it is shown. What somebody has chosen himself is not shortened: no command
// would know it again.
func (o *output) id(id string) string {
	if o.noTrunc || len(id) != idLen {
		return id
	}
	return id[:12]
}

const idLen = 64 // hexadecimal digits of an id that is made here, or by Docker

// functions are those of templates.
func functions() template.FuncMap {
	return template.FuncMap{
		"json": func(v any) (string, error) {
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			err := enc.Encode(v)
			return strings.TrimSuffix(b.String(), "\n"), err
		},
		"join":  func(list []string, sep string) string { return strings.Join(list, sep) },
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
		"title": title,
		"split": func(s, sep string) []string { return strings.Split(s, sep) },
		"truncate": func(s string, n int) string {
			if r := []rune(s); n >= 0 && n < len(r) {
				return string(r[:n])
			}
			return s
		},
		"pad": func(s string, before, after int) (string, error) {
			const most = 1 << 12
			if before < 0 || after < 0 || before > most || after > most {
				return "", fmt.Errorf("pad %d %d: want 0 to %d blanks", before, after, most)
			}
			return strings.Repeat(" ", before) + s + strings.Repeat(" ", after), nil
		},
	}
}

// title makes the first letter of each word a capital.
func title(s string) string {
	start := true
	return strings.Map(func(r rune) rune {
		was := start
		start = unicode.IsSpace(r)
		if was {
			return unicode.ToTitle(r)
		}
		return r
	}, s)
}

// parse reads a template in which \t and \n may be written as such.
func parse(format string) (*template.Template, error) {
	format = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(format)
	t, err := template.New("format").Funcs(functions()).Parse(format)
	if err != nil {
		return nil, formatError(err)
	}
	return t, nil
}

func formatError(err error) error {
	if exec, ok := errors.AsType[template.ExecError](err); ok {
		err = exec.Err
	}
	return usageError{fmt.Errorf("--format: %s", strings.TrimPrefix(err.Error(), "template: "))}
}

// list is what a list command prints.
type list[T any] struct {
	// rows are for tables and templates, objects for JSON.
	rows    []T
	objects []any
	ids     []string
	// table is the default format, headers the heading of each field.
	table   string
	headers map[string]string
}

func (l *list[T]) print(w io.Writer, o *output) error {
	switch format := o.format; {
	case o.quiet:
		for _, id := range l.ids {
			fmt.Fprintln(w, o.id(id))
		}
		return nil
	case format == "json":
		return printJSON(w, l.objects)
	case format == "", format == "table":
		return l.printTable(w, l.table)
	case strings.HasPrefix(format, "table "):
		return l.printTable(w, strings.TrimPrefix(format, "table "))
	default:
		return printTemplate(w, format, l.rows)
	}
}

// printJSON prints one object a line.
func printJSON(w io.Writer, objects []any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, v := range objects {
		if err := enc.Encode(v); err != nil {
			return err
		}
	}
	return nil
}

func printTemplate[T any](w io.Writer, format string, rows []T) error {
	t, err := parse(format)
	if err != nil {
		return err
	}
	for _, row := range rows {
		var b bytes.Buffer
		if err := t.Execute(&b, row); err != nil {
			return formatError(err)
		}
		fmt.Fprintln(w, b.String())
	}
	return nil
}

// The widths of tables.
const (
	minWidth = 20
	padding  = 3
)

func (l *list[T]) printTable(w io.Writer, format string) error {
	t, err := parse(format)
	if err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, minWidth, 1, padding, ' ', 0)
	var head bytes.Buffer
	// Headings have the names of the fields, but not their types: the functions of
	// the template leave them as they are, and a template that cannot do with that
	// has no head.
	plain := template.FuncMap{}
	for name := range functions() {
		plain[name] = func(v any, _ ...any) any { return v }
	}
	plain["join"], plain["split"] = plain["json"], plain["json"]
	if h, err := t.Clone(); err == nil {
		if err := h.Funcs(plain).Execute(&head, l.headers); err == nil {
			fmt.Fprintln(tw, head.String())
		}
	}
	for _, row := range l.rows {
		var b bytes.Buffer
		if err := t.Execute(&b, row); err != nil {
			return formatError(err)
		}
		fmt.Fprintln(tw, b.String())
	}
	return tw.Flush()
}

// printInspect prints objects as one JSON array, or each by a template.
func printInspect[T any](w io.Writer, format string, objects []T) error {
	switch format {
	case "":
		if objects == nil {
			objects = []T{}
		}
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "    ")
		return enc.Encode(objects)
	case "json":
		all := make([]any, 0, len(objects))
		for _, v := range objects {
			all = append(all, v)
		}
		return printJSON(w, all)
	default:
		return printTemplate(w, format, objects)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
