package cli_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/cli"
)

// TestAuditFindings asks a daemon on which something is wrong.
func TestAuditFindings(t *testing.T) {
	const body = `{"pools":2,"addresses":7,"findings":[` +
		`{"problem":"unowned","manager":"default","pool":"LocalDefault/10.9.0.0/16","owners":[]},` +
		`{"problem":"unallocated","manager":"default","pool":"LocalDefault/10.8.0.0/24","address":"10.8.0.5","owners":["endpoint c1 of network web"]}]}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/ipam/audit" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, body)
	}))
	defer srv.Close()
	for _, tt := range []struct {
		name   string
		args   []string
		stdout string
	}{
		{"an audit prints what it has found and fails", nil, `PROBLEM             POOL                       ADDRESS             OWNERS
unowned             LocalDefault/10.9.0.0/16   -                   -
unallocated         LocalDefault/10.8.0.0/24   10.8.0.5            endpoint c1 of network web
`},
		{"an audit prints its findings as JSON and fails", []string{"--format", "json"}, body + "\n"},
		{"an audit prints its findings by a template and fails", []string{"--format", "{{.Problem}} {{.Address}}"}, "unowned -\nunallocated 10.8.0.5\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := cli.Main(t.Context(), cli.Env{
				Args:   append([]string{"-H", "tcp://" + strings.TrimPrefix(srv.URL, "http://"), "ipam", "audit"}, tt.args...),
				Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" },
			})
			if code != 1 {
				t.Errorf("exit status %d, want 1", code)
			}
			if diff := cmp.Diff(tt.stdout, stdout.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			if want := "dnet: 2 findings among 7 addresses in 2 pools; dnet ipam audit --help says what they mean\n"; stderr.String() != want {
				t.Errorf("stderr %q, want %q", stderr.String(), want)
			}
		})
	}
}
