package api_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/types"
)

func TestEventFilter(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	network := api.Event{Type: "network", Action: "connect", Scope: "local", Actor: api.Actor{
		ID: id, Attributes: map[string]string{"name": "web", "container": "c1", "endpoint": "f" + id[1:], "type": "bridge"},
	}}
	endpoint := api.Event{Type: "endpoint", Action: "create", Scope: "local", Actor: api.Actor{
		ID: "f" + id[1:], Attributes: map[string]string{"name": "api", "network": "web"},
	}}
	for _, tt := range []struct {
		filters           string
		network, endpoint bool
	}{
		{`{}`, true, true},
		{`null`, true, true},
		{`{"type":["network"]}`, true, false},
		{`{"type":{"network":true,"endpoint":false}}`, true, false},
		{`{"type":["network","endpoint"]}`, true, true},
		{`{"event":["create"]}`, false, true},
		{`{"action":["create"],"type":["network"]}`, false, false},
		{`{"network":["web"]}`, true, true},
		{`{"network":["0123"]}`, true, false},
		{`{"network":["we"]}`, false, false},
		{`{"container":["c1"]}`, true, false},
		{`{"container":["c"]}`, false, false},
		{`{"endpoint":["f1234"]}`, true, true},
		{`{"name":["ap"]}`, false, true},
		{`{"id":["f"]}`, false, true},
		{`{"scope":["global"]}`, false, false},
	} {
		t.Run(tt.filters, func(t *testing.T) {
			var f api.EventFilter
			if err := json.Unmarshal([]byte(tt.filters), &f); err != nil {
				t.Fatal(err)
			}
			if err := f.Check(); err != nil {
				t.Fatal(err)
			}
			if got := [2]bool{f.Fits(network), f.Fits(endpoint)}; got != [2]bool{tt.network, tt.endpoint} {
				t.Errorf("network and endpoint fit: %v", got)
			}
		})
	}
	for _, bad := range []string{`7`, `{"type":"network"}`, `{"type":[7]}`, `{"type":{"network":7}}`} {
		t.Run(bad, func(t *testing.T) {
			if err := json.Unmarshal([]byte(bad), new(api.EventFilter)); err == nil {
				t.Error("it is read")
			}
		})
	}
	for _, bad := range []api.EventFilter{{"nope": {"x"}}, {"type": {""}}} {
		if err, ok := bad.Check().(types.BadRequestError); !ok {
			t.Errorf("%v: error is %v", bad, err)
		}
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	for _, tt := range []struct {
		text string
		want time.Time
	}{
		{"0s", now},
		{"10m", now.Add(-10 * time.Minute)},
		{"-1h", now.Add(time.Hour)},
		{"1700000000", time.Unix(1700000000, 0)},
		{"1700000000.000000001", time.Unix(1700000000, 1)},
		{"1700000000.5", time.Unix(1700000000, 500000000)},
		{"2025-12-31T23:59:58.000000007Z", time.Date(2025, 12, 31, 23, 59, 58, 7, time.UTC)},
		{"2025-12-31T23:59:58", time.Date(2025, 12, 31, 23, 59, 58, 0, now.Location())},
		{"2025-12-31T23:59", time.Date(2025, 12, 31, 23, 59, 0, 0, now.Location())},
		{"2025-12-31", time.Date(2025, 12, 31, 0, 0, 0, 0, now.Location())},
		{"1000-01-01", time.Unix(0, 0)},
		{"2000000h", time.Unix(0, 0)},
	} {
		got, err := api.ParseTime(tt.text, now)
		if err != nil || !got.Equal(tt.want) {
			t.Errorf("%s: got %v, %v, want %v", tt.text, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "x", ".", "1.2.3", "99999999999999999999", "1e9", "2025-13-01", "-5"} {
		if got, err := api.ParseTime(bad, now); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"10m", "1700000000.000000001", "2025-12-31T23:59:58Z", "0001-01-01", "9999-12-31", "1h2m3.5s", "."} {
		f.Add(s)
	}
	now := time.Unix(1700000000, 6)
	f.Fuzz(func(t *testing.T, s string) {
		at, err := api.ParseTime(s, now)
		if err != nil {
			if _, ok := err.(types.BadRequestError); !ok {
				t.Fatalf("%q: error %T %v, want a BadRequestError", s, err, err)
			}
			return
		}
		if at.Unix() < 0 {
			t.Fatalf("%q is %v", s, at)
		}
		again, err := api.ParseTime(api.FormatTime(at), now)
		if at.Year() < 2262 && (err != nil || !again.Equal(at)) {
			t.Fatalf("%q is %v, and written and read again %v, %v", s, at, again, err)
		}
	})
}

func FuzzEventFilter(f *testing.F) {
	for _, s := range []string{`{"type":["network"]}`, `{"type":{"network":true}}`, `{"network":["a"],"id":["0"]}`, `{"a":null}`, `[]`} {
		f.Add([]byte(s))
	}
	ev := api.Event{Type: "network", Actor: api.Actor{ID: "0", Attributes: map[string]string{"name": "a"}}}
	f.Fuzz(func(t *testing.T, data []byte) {
		var filter, again api.EventFilter
		if json.Unmarshal(data, &filter) != nil || filter.Check() != nil {
			return
		}
		text, err := json.Marshal(filter)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(filter.Fits(ev), again.Fits(ev)); diff != "" {
			t.Fatalf("%s as %s fits otherwise", data, text)
		}
	})
}
