package engine_test

import (
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
)

// TestOddRecords changes each field of each record in turn to what no engine has
// written. Whatever that makes of the record, the engine starts, and what the
// record does not concern is there.
func TestOddRecords(t *testing.T) {
	data, run := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run")
	k := new(enginetest.Kernel)
	start := func(t *testing.T) *engine.Engine {
		t.Helper()
		return need(enginetest.Open(t.Context(), k, data, run, slog.New(slog.DiscardHandler)))(t)
	}
	e := start(t)
	for _, name := range []string{"web", "spare"} {
		n := need(e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: name, IPv6: true, IPAM: model.IPAM{Conf6: []model.IPAMConf{{}}}}))(t)
		need(e.CreateContainer(t.Context(), engine.SandboxRequest{
			ContainerID: name, Publish: []model.Publish{{Proto: 6, Port: 80, PortLast: 80}},
			Files: model.Files{Hostname: "h", DNS: []string{"192.0.2.1"}, Extra: []model.ExtraHost{{Name: "x", Addr: "192.0.2.2"}}},
		}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: name}}}))(t)
	}
	spare := need(e.NetworkByName("spare"))(t).ID()
	spareBox := need(e.SandboxByContainer("spare"))(t).ID()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	good := records(t, data, run)
	for _, r := range good {
		if strings.Contains(string(r.Value), spare) || r.ID == spareBox || r.Kind == "host" {
			continue
		}
		var v any
		if err := json.Unmarshal(r.Value, &v); err != nil {
			t.Fatal(err)
		}
		t.Run("a "+r.Kind+" record with any field odd or missing keeps nothing else from coming up", func(t *testing.T) {
			changes := 0
			oddities(v, r.Kind, func(what string) {
				changes++
				value, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				ops := []store.Op{{Kind: r.Kind, ID: r.ID, Value: value}}
				for _, g := range good { // what the start before has set aside or ended
					if g.ID != r.ID {
						ops = append(ops, store.Op{Kind: g.Kind, ID: g.ID, Value: g.Value, Durable: g.Durable})
					}
				}
				putAt(t, thisBoot(), data, run, ops...)
				e := start(t)
				n, err := e.NetworkByName("spare")
				if err != nil || len(n.Endpoints()) != 1 {
					t.Errorf("%s: the other network: %v", what, err)
				}
				if s, err := e.SandboxByContainer("spare"); err != nil || len(s.Endpoints()) != 1 {
					t.Errorf("%s: the other container: %v", what, err)
				}
				if err := e.Close(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			})
			if changes < 20 {
				t.Errorf("%d changes alone", changes)
			}
		})
	}
}

// thisBoot is what an engine takes for the id of the boot; empty where there is
// none.
func thisBoot() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// records are those of a store.
func records(t *testing.T, data, run string) []store.Record {
	t.Helper()
	s := need(store.Open(t.Context(), store.Config{DataDir: data, RunDir: run, BootID: thisBoot(), Logger: slog.New(slog.DiscardHandler)}))(t)
	list, _ := s.Records()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return list
}

// oddities changes one value after the other somewhere in v, and has each seen.
func oddities(v any, path string, see func(what string)) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			was, name := v[key], path+"."+key
			for _, odd := range strange(was) {
				v[key] = odd
				text, _ := json.Marshal(odd)
				see(name + " = " + string(text))
			}
			delete(v, key)
			see(name + " missing")
			v[key] = was
			oddities(was, name, see)
		}
	case []any:
		for _, one := range v {
			oddities(one, path+"[]", see)
		}
	}
}

// strange are values of the kind of v that nobody writes.
func strange(v any) []any {
	switch v := v.(type) {
	case string:
		return []any{"", "\x00/..", "255.255.255.255/32"}
	case float64:
		return []any{-1, 65535}
	case bool:
		return []any{!v}
	case []any:
		return []any{[]any{}, []any{nil}}
	default:
		return []any{nil, map[string]any{}}
	}
}
