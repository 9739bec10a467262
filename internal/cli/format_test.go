package cli

import (
	"bytes"
	"testing"

	"github.com/libnetwork/libnetwork/internal/api"
)

func TestPrintEvent(t *testing.T) {
	ev := api.Event{
		Version: 1, Type: "network", Action: "connect", Scope: "local", Time: 1700000000, TimeNano: 1700000000000000001,
		Actor: api.Actor{ID: "0123", Attributes: map[string]string{"name": "web", "container": "c1"}},
	}
	for _, tt := range []struct{ format, want string }{
		{"json", `{"version":1,"Type":"network","Action":"connect","Actor":{"ID":"0123","Attributes":{"container":"c1","name":"web"}},` +
			`"scope":"local","time":1700000000,"timeNano":1700000000000000001}` + "\n"},
		{"{{.Type}} {{.Actor.Attributes.name}}", "network web\n"},
	} {
		var out bytes.Buffer
		a := &app{Env: Env{Stdout: &out}}
		if err := a.printEvent(ev, &output{format: tt.format}); err != nil {
			t.Fatal(err)
		}
		if out.String() != tt.want {
			t.Errorf("%s: got %s", tt.format, out.String())
		}
	}
	var out bytes.Buffer
	if err := (&app{Env: Env{Stdout: &out}}).printEvent(ev, &output{}); err != nil {
		t.Fatal(err)
	}
	if _, rest, _ := bytes.Cut(out.Bytes(), []byte(" ")); string(rest) != "network connect 0123 (container=c1, name=web)\n" {
		t.Errorf("got %s", out.String())
	}
}

func TestTemplateFunctions(t *testing.T) {
	type row struct{ S string }
	for _, tt := range []struct{ format, s, want string }{
		{"{{json .}}", "<a&b>", `{"S":"<a&b>"}`},
		{"{{title .S}}", "two words", "Two Words"},
		{"{{truncate .S 2}}", "äöü", "äö"},
		{"{{truncate .S 9}}", "äöü", "äöü"},
		{`{{.S}}\t{{.S}}\n`, "a", "a\ta\n"},
		{"{{pad .S 0 2}}|", "a", "a  |"},
		{`{{join (split .S ",") "+"}}`, "a,b", "a+b"},
	} {
		var out bytes.Buffer
		if err := printTemplate(&out, tt.format, []row{{tt.s}}); err != nil {
			t.Errorf("%s: %v", tt.format, err)
		}
		if out.String() != tt.want+"\n" {
			t.Errorf("%s: got %q, want %q", tt.format, out.String(), tt.want)
		}
	}
	for _, format := range []string{"{{", "{{nope .S}}", "{{.T}}", "{{pad .S -1 0}}", "{{pad .S 0 1000000000}}", "{{truncate .S}}"} {
		err := printTemplate(new(bytes.Buffer), format, []row{{"a"}})
		if err == nil || exitCode(err) != codeUsage {
			t.Errorf("%s: got %v", format, err)
		}
	}
}
