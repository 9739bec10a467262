package engine_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/engine/enginetest"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/store"
)

// logged keeps what is logged as text.
type logged struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) handler() slog.Handler { return slog.NewTextHandler(l, nil) }

// keptAside are the keys of the records that a store file has set aside, without
// the time.
func keptAside(t *testing.T, path string) (keys []string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("damaged"))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, _ []byte) error {
			key, _, _ := strings.Cut(string(k), "@")
			keys = append(keys, key)
			return nil
		})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return keys
}

// stored makes a network web with an endpoint a and a network spare, and closes
// the engine.
func stored(t *testing.T, data, run string) (web, spare *model.Network, ep *model.Endpoint) {
	t.Helper()
	e, _ := openLedger(t, data, run, slog.DiscardHandler)
	n := need(e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "web"}))(t)
	a := need(n.CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "a"}))(t)
	s := need(e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "spare"}))(t)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return n.Record(), s.Record(), a.Record()
}

// put writes records behind the engine's back.
func put(t *testing.T, data, run string, ops ...store.Op) {
	t.Helper()
	putAt(t, "boot", data, run, ops...)
}

// putAt writes records in a boot of the machine.
func putAt(t *testing.T, boot, data, run string, ops ...store.Op) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{DataDir: data, RunDir: run, BootID: boot, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Commit(t.Context(), ops...), s.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedRecords(t *testing.T) {
	const dataFile, runFile = "libnetwork.db", "state.db"
	network := func(value string) func(*model.Network, *model.Endpoint) store.Op {
		return func(n *model.Network, _ *model.Endpoint) store.Op {
			return store.Op{Kind: "network", ID: n.ID, Value: []byte(strings.ReplaceAll(value, "ID", n.ID))}
		}
	}
	for _, tt := range []struct {
		name string
		op   func(*model.Network, *model.Endpoint) store.Op
		// data and run are the kinds of the records that are set aside.
		data, run string
	}{
		{"a network record that is no JSON is set aside with its key and hides nothing else", network(`{`), "network", "endpoint"},
		{"a network record of an unknown version is set aside with its key", network(`{"version":99,"id":"ID"}`), "network", "endpoint"},
		{"a network record that calls itself otherwise is set aside with its key", network(`{"version":1,"id":"other"}`), "network", "endpoint"},
		{"a network record that says nothing is set aside with its key", network(`{"version":1,"id":"ID","driver":"bridge"}`), "network", "endpoint"},
		{"an endpoint record that is no JSON is set aside with its key and hides nothing else", func(_ *model.Network, ep *model.Endpoint) store.Op {
			return store.Op{Kind: "endpoint", ID: ep.ID, Value: []byte(`[]`)}
		}, "", "endpoint"},
		{"an endpoint record whose address is taken is set aside with its key", func(_ *model.Network, ep *model.Endpoint) store.Op {
			second := *ep
			second.ID, second.Name = "zz", "b"
			return store.Op{Kind: "endpoint", ID: "zz", Value: model.Encode(&second)}
		}, "", "endpoint"},
		{"an endpoint record whose name is taken is set aside with its key", func(_ *model.Network, ep *model.Endpoint) store.Op {
			second := *ep
			second.ID, second.V4 = "zz", netip.Prefix{}
			return store.Op{Kind: "endpoint", ID: "zz", Value: model.Encode(&second)}
		}, "", "endpoint"},
		{"a sandbox record that is no JSON is set aside with its key", func(*model.Network, *model.Endpoint) store.Op {
			return store.Op{Kind: "sandbox", ID: "s", Value: []byte(`"`)}
		}, "", "sandbox"},
		{"a host record that is no JSON is set aside with its key", func(*model.Network, *model.Endpoint) store.Op {
			return store.Op{Kind: "host", ID: "forwarding", Value: []byte(`"`), Durable: true}
		}, "host", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, run := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run")
			web, spare, ep := stored(t, data, run)
			op := tt.op(web, ep)
			put(t, data, run, op)

			var log logged
			e, m := openLedger(t, data, run, log.handler())
			if n, err := e.NetworkByID(spare.ID); err != nil || n.Record().IPAM.Pools4[0].ID != spare.IPAM.Pools4[0].ID {
				t.Errorf("the other network: %v", err)
			}
			if n, err := e.NetworkByID(web.ID); op.Kind != "network" && (err != nil || len(n.Endpoints()) > 1) {
				t.Errorf("the network: %v", err)
			} else if op.Kind == "network" && err == nil {
				t.Error("the damaged network is back")
			}
			if text := log.String(); !strings.Contains(text, "set aside") || !strings.Contains(text, op.ID) || !strings.Contains(text, "kind="+op.Kind) {
				t.Errorf("%s %s is not reported in:\n%s", op.Kind, op.ID, text)
			}
			if a, err := e.Audit(t.Context()); err != nil || len(a.Findings) > 0 {
				t.Errorf("audit: %+v, %v; the pools are %v", a.Findings, err, m.Pools())
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			for file, kind := range map[string]string{dataFile: tt.data, runFile: tt.run} {
				got := keptAside(t, filepath.Join(map[string]string{dataFile: data, runFile: run}[file], file))
				if kind == "" && len(got) > 0 || kind != "" && (len(got) != 1 || !strings.HasPrefix(got[0], kind+"/")) {
					t.Errorf("%s has set aside %v, want %q", file, got, kind)
				}
			}
			var again logged
			if openLedger(t, data, run, again.handler()); strings.Contains(again.String(), "set aside") {
				t.Errorf("reported again:\n%s", again.String())
			}
		})
	}
}

// TestDamagedFiles spoils the store's files. The engine starts, says so, and has
// what the other file knows.
func TestDamagedFiles(t *testing.T) {
	for _, spoil := range []struct {
		name string
		how  func(path string) error
	}{
		{"cut", func(path string) error { return os.Truncate(path, 9000) }},
		{"zeroed", func(path string) error { return os.WriteFile(path, make([]byte, 32<<10), 0o600) }},
		{"of a foreign kind", func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte(strings.Repeat("SQLite format 3\n", 4096)), 0o600))
		}},
		{"a directory", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }},
	} {
		for _, which := range []struct {
			name               string
			data, run          bool
			networks, endpoint bool
		}{
			{"the data file", true, false, true, true},
			{"the run file", false, true, true, false},
			{"both files", true, true, false, false},
		} {
			t.Run("the engine starts with "+which.name+" "+spoil.name, func(t *testing.T) {
				data, run := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run")
				web, _, _ := stored(t, data, run)
				var spoiled []string
				if which.data {
					spoiled = append(spoiled, filepath.Join(data, "libnetwork.db"))
				}
				if which.run {
					spoiled = append(spoiled, filepath.Join(run, "state.db"))
				}
				for _, path := range spoiled {
					if err := spoil.how(path); err != nil {
						t.Fatal(err)
					}
				}
				var log logged
				e, _ := openLedger(t, data, run, log.handler())
				n, err := e.NetworkByID(web.ID)
				if (err == nil) != which.networks {
					t.Errorf("the network is there: %v, want %v", err == nil, which.networks)
				}
				if err == nil && (len(n.Endpoints()) > 0) != which.endpoint {
					t.Errorf("endpoints: %v, want %v", n.Endpoints(), which.endpoint)
				}
				for _, path := range spoiled {
					aside, _ := filepath.Glob(path + ".damaged-*")
					if len(aside) != 1 || !strings.Contains(log.String(), aside[0]) {
						t.Errorf("%s: set aside as %v, reported:\n%s", path, aside, log.String())
					}
				}
				need(e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "new"}))(t)
			})
		}
	}
}

// FuzzRecover starts an engine on records of any content. It starts, and its
// books are right.
func FuzzRecover(f *testing.F) {
	f.Add("network", []byte(`{"version":1,"id":"x","name":"n","driver":"bridge","scope":"local","ipam":{"driver":"default","space":"LocalDefault",`+
		`"pools4":[{"id":"LocalDefault/10.0.0.0/24","space":"LocalDefault","prefix":"10.0.0.0/24","gateway":"10.0.0.1/24"}]},"bridge":{"link":"br"}}`))
	f.Add("endpoint", []byte(`{"version":1,"id":"x","name":"e","network":"n"}`))
	f.Add("sandbox", []byte(`{"version":1,"id":"x","containerID":"c","host":true}`))
	f.Add("host", []byte(`{"v4":true}`))
	f.Fuzz(func(t *testing.T, kind string, value []byte) {
		if op := (store.Op{Kind: kind, ID: "x", Value: value}); len(value) == 0 || kind == "" || strings.Contains(kind, "/") || len(kind) > 100 {
			t.Skip("no record", op.ID)
		}
		data, run := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run")
		put(t, data, run, store.Op{Kind: kind, ID: "x", Value: value, Durable: kind == "network"})
		e, _ := openLedger(t, data, run, slog.DiscardHandler)
		if a, err := e.Audit(t.Context()); err != nil || len(a.Findings) > 0 {
			t.Errorf("audit: %+v, %v", a.Findings, err)
		}
	})
}

// Containers that go on keep their network, also the default one of the driver.
func TestDefaultBridgeGoesOn(t *testing.T) {
	data, run := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run")
	for _, keep := range []bool{true, false} {
		start := func() *engine.Engine {
			t.Helper()
			return need(engine.Open(t.Context(), engine.Config{
				DataDir: data, RunDir: run, BootID: "boot", Kernel: &enginetest.Kernel{}, KeepAlive: keep,
				Drivers: []model.Driver{bridge.Driver{Group: enginetest.Group}}, IPAM: managers(t),
				ResolvConf: filepath.Join(data, "none"), Logger: slog.New(slog.DiscardHandler),
			}))(t)
		}
		e := start()
		n := need(e.CreateNetwork(t.Context(), engine.NetworkRequest{
			Driver: bridge.Type, Name: "web", Options: map[string]string{"com.docker.network.bridge.default_bridge": "true"},
		}))(t)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e = start()
		if again, err := e.NetworkByID(n.ID()); keep != (err == nil) {
			t.Errorf("with containers that go on %t the network after a start: %v", keep, err)
		} else if keep {
			if err := again.Delete(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The address that a published port leads to is given to the next container when the
// record of its endpoint is lost.
func TestPortsOfLostEndpoint(t *testing.T) {
	data, run := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run")
	k := &enginetest.Kernel{}
	start := func() *engine.Engine {
		t.Helper()
		e, err := engine.Open(t.Context(), engine.Config{
			DataDir: data, RunDir: run, BootID: "boot", Kernel: k, KeepAlive: true,
			Drivers: []model.Driver{bridge.Driver{Group: enginetest.Group}}, IPAM: managers(t),
			ResolvConf: filepath.Join(data, "none"), Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := start()
	n := need(e.CreateNetwork(t.Context(), engine.NetworkRequest{Driver: bridge.Type, Name: "web"}))(t)
	container(t, e, n, n.Record().IPAM.Pools4[0].Prefix.Addr().Next().Next().Next())
	lost := n.Endpoints()[0].ID()
	if len(e.Sandboxes()[0].Published()) == 0 {
		t.Fatal("nothing is published")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, data, run, store.Op{Kind: "endpoint", ID: lost, Value: []byte(`[]`)})
	for _, when := range []string{"the start that drops them", "the next one"} {
		e = start()
		s := e.Sandboxes()[0]
		if p := s.Published(); len(p) > 0 {
			t.Errorf("after %s published are %v", when, p)
		}
		for _, o := range s.View().Objects() {
			if p, ok := o.(model.Port); ok {
				t.Errorf("after %s wanted is %s", when, p.Key())
			}
		}
		if when == "the next one" {
			// They come back with a network.
			ep := need(e.Networks()[0].CreateEndpoint(t.Context(), engine.EndpointRequest{Name: "again"}))(t)
			if err := ep.Join(t.Context(), s, engine.JoinRequest{}); err != nil {
				t.Error(err)
			}
			if len(s.Published()) == 0 {
				t.Error("the ports do not come back")
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
