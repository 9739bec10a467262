package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork/types"
)

// public compares what a client sees.
func public() cmp.Option {
	return cmp.Options{cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreFields(StoreConfig{}, "TLS")}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func localDefault(dir string) *ScopeCfg {
	return &ScopeCfg{Client: ScopeClientCfg{
		Provider: "boltdb", Address: filepath.Join(dir, "libnetwork.db"), Config: &StoreConfig{Bucket: "libnetwork"},
	}}
}

func TestDefaults(t *testing.T) {
	want := &Config{
		Daemon: DaemonCfg{DataDir: "/var/lib/libnetwork", RunDir: "/run/libnetwork", DriverCfg: map[string]interface{}{}},
		Scopes: map[string]*ScopeCfg{"local": localDefault("/var/lib/libnetwork")},
	}
	t.Run("CFG-3 options alone give the local store by default and no other", func(t *testing.T) {
		got := ParseConfigOptions()
		if diff := cmp.Diff(want, got, public()); diff != "" {
			t.Errorf("ParseConfigOptions (-want +got):\n%s", diff)
		}
		if err := got.Err(); err != nil {
			t.Error(err)
		}
	})
	t.Run("CFG-3 an empty file gives the local store by default and no other", func(t *testing.T) {
		got, err := ParseConfig(write(t, "empty.toml", ""))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, public()); diff != "" {
			t.Errorf("ParseConfig (-want +got):\n%s", diff)
		}
	})
	t.Run("LoadDefaultScopes of a zero Config", func(t *testing.T) {
		var got Config
		got.LoadDefaultScopes("")
		if diff := cmp.Diff(want.Scopes, got.Scopes, public()); diff != "" {
			t.Errorf("LoadDefaultScopes (-want +got):\n%s", diff)
		}
		got.LoadDefaultScopes("/data")
		if diff := cmp.Diff(localDefault("/data"), got.Scopes["local"], public()); diff != "" {
			t.Errorf("LoadDefaultScopes again (-want +got):\n%s", diff)
		}
	})
	t.Run("CFG-5 paths belong to one configuration and do not change another", func(t *testing.T) {
		a, b := ParseConfigOptions(OptionDataDir("/a")), ParseConfigOptions(OptionDataDir("/b"))
		if a.Daemon.DataDir == b.Daemon.DataDir || a.Daemon.RunDir == b.Daemon.RunDir || a.Scopes["local"].Client.Address == b.Scopes["local"].Client.Address {
			t.Errorf("two data directories share a path:\n%+v\n%+v", a.Daemon, b.Daemon)
		}
		if got := ParseConfigOptions(); got.Scopes["local"].Client.Address != "/var/lib/libnetwork/libnetwork.db" {
			t.Errorf("the default has become %s", got.Scopes["local"].Client.Address)
		}
	})
}

func TestLabels(t *testing.T) {
	t.Run("DS-6 of labels as options those of com.docker.network alone are kept", func(t *testing.T) {
		got := ParseConfigOptions(OptionLabels([]string{"com.docker.network.a=1", "org.example=2", "com.docker.networ=3"}))
		if diff := cmp.Diff([]string{"com.docker.network.a=1"}, got.Daemon.Labels); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
	})
}

type fakeWatcher struct{ Watcher }

func TestOptions(t *testing.T) {
	watcher := &fakeWatcher{}
	driver := map[string]interface{}{"com.docker.network.generic": map[string]interface{}{"BridgeName": "br1"}}
	got := ParseConfigOptions(
		nil,
		OptionDefaultNetwork(" net1\t"), OptionDefaultDriver(" bridge "),
		OptionDriverConfig("bridge", driver),
		OptionLabels([]string{"com.docker.network.driver.bridge.x=1", "org.example=2"}), OptionLabels([]string{"com.docker.network.y=3"}),
		OptionKVProvider(" etcd "), OptionKVProviderURL(" 192.0.2.1:2379/p "),
		OptionLocalKVProvider(" boltdb "), OptionLocalKVProviderURL(" /x/y.db "),
		OptionLocalKVProviderConfig(&StoreConfig{Bucket: "b", ConnectionTimeout: time.Second}),
		OptionDiscoveryWatcher(watcher), OptionDiscoveryAddress("192.0.2.9:1"),
		OptionDataDir("/data"), OptionRunDir("/rundir"),
	)
	if err := got.Err(); err != nil {
		t.Error(err)
	}
	if got.Cluster.Watcher != watcher {
		t.Errorf("Watcher = %v", got.Cluster.Watcher)
	}
	want := &Config{
		Daemon: DaemonCfg{
			DataDir: "/data", RunDir: "/rundir", DefaultNetwork: "net1", DefaultDriver: "bridge",
			Labels:    []string{"com.docker.network.driver.bridge.x=1", "com.docker.network.y=3"},
			DriverCfg: map[string]interface{}{"bridge": driver},
		},
		Cluster: ClusterCfg{Watcher: watcher, Address: "192.0.2.9:1"},
		Scopes: map[string]*ScopeCfg{
			"global": {Client: ScopeClientCfg{Provider: "etcd", Address: "192.0.2.1:2379/p"}},
			"local":  {Client: ScopeClientCfg{Provider: "boltdb", Address: "/x/y.db", Config: &StoreConfig{Bucket: "b", ConnectionTimeout: time.Second}}},
		},
	}
	if diff := cmp.Diff(want, got, public()); diff != "" {
		t.Errorf("ParseConfigOptions (-want +got):\n%s", diff)
	}

	var zero Config
	zero.ProcessOptions(OptionDriverConfig("x", driver), OptionKVProvider("zk"))
	if zero.Daemon.DriverCfg["x"] == nil || zero.Scopes["global"].Client.Provider != "zk" {
		t.Errorf("options on a zero Config give %+v", zero)
	}
}

func TestLocalScopeIsCompleted(t *testing.T) {
	client := func(provider, address, bucket string) ScopeClientCfg {
		c := ScopeClientCfg{Provider: provider, Address: address}
		if bucket != "" {
			c.Config = &StoreConfig{Bucket: bucket}
		}
		return c
	}
	for _, tt := range []struct {
		name string
		opts []Option
		want ScopeClientCfg
	}{
		{"OPT-1 a local store without an address is the default one", []Option{OptionLocalKVProvider("boltdb")}, client("boltdb", "/d/libnetwork.db", "libnetwork")},
		{"OPT-1 a local store with a blank address is the default one", []Option{OptionLocalKVProvider("boltdb"), OptionLocalKVProviderURL("  ")}, client("boltdb", "/d/libnetwork.db", "libnetwork")},
		{"OPT-1 a local store of another provider without an address is the default one", []Option{OptionLocalKVProvider("consul")}, client("boltdb", "/d/libnetwork.db", "libnetwork")},
		{"OPT-1 a local store without a provider is of the default one", []Option{OptionLocalKVProviderURL("/x.db")}, client("boltdb", "/x.db", "libnetwork")},
		{"given bucket", []Option{OptionLocalKVProviderConfig(&StoreConfig{Bucket: "b"})}, client("boltdb", "/d/libnetwork.db", "b")},
		{"nil details", []Option{OptionLocalKVProviderConfig(nil)}, client("boltdb", "/d/libnetwork.db", "libnetwork")},
		{"other provider", []Option{OptionLocalKVProvider("consul"), OptionLocalKVProviderURL("192.0.2.1:8500")}, client("consul", "192.0.2.1:8500", "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ParseConfigOptions(append(tt.opts, OptionDataDir("/d"))...)
			if diff := cmp.Diff(tt.want, got.Scopes["local"].Client, public()); diff != "" {
				t.Errorf("local scope (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("the caller's details stay as they were", func(t *testing.T) {
		own := &StoreConfig{}
		ParseConfigOptions(OptionLocalKVProviderConfig(own))
		if own.Bucket != "" {
			t.Errorf("the bucket has become %q", own.Bucket)
		}
	})
}

func TestDirectories(t *testing.T) {
	own := ParseConfigOptions(OptionDataDir("/data")).Daemon.RunDir
	if dir, name := filepath.Split(own); dir != "/run/libnetwork/" || len(name) != 12 {
		t.Errorf("run directory of another data directory is %s", own)
	}
	for _, tt := range []struct {
		name               string
		file               string
		opts               []Option
		data, run, address string
	}{
		{"data directory", "", []Option{OptionDataDir("/data")}, "/data", own, "/data/libnetwork.db"},
		{"the same spelt otherwise", "", []Option{OptionDataDir("/data/")}, "/data/", own, "/data/libnetwork.db"},
		{"the default spelt otherwise", "", []Option{OptionDataDir("/var/lib/libnetwork/")}, "/var/lib/libnetwork/", "/run/libnetwork", "/var/lib/libnetwork/libnetwork.db"},
		{"both", "", []Option{OptionRunDir("/r"), OptionDataDir("/data")}, "/data", "/r", "/data/libnetwork.db"},
		{"default run directory by name", "", []Option{OptionDataDir("/data"), OptionRunDir("/run/libnetwork")}, "/data", "/run/libnetwork", "/data/libnetwork.db"},
		{"the other way round", "", []Option{OptionRunDir("/run/libnetwork"), OptionDataDir("/data")}, "/data", "/run/libnetwork", "/data/libnetwork.db"},
		{"file", "[daemon]\ndatadir='/data'", nil, "/data", own, "/data/libnetwork.db"},
		{"file, then option", "[daemon]\ndatadir='/other'", []Option{OptionDataDir("/data")}, "/data", own, "/data/libnetwork.db"},
		{"file with run directory, then option", "[daemon]\nrundir='/run/libnetwork'", []Option{OptionDataDir("/data")}, "/data", "/run/libnetwork", "/data/libnetwork.db"},
		{"file with address, then option", "[scopes.local.client]\naddress='/var/lib/libnetwork/libnetwork.db'", []Option{OptionDataDir("/data")}, "/data", own, "/var/lib/libnetwork/libnetwork.db"},
		{"empty file, then address and directory", " ", []Option{OptionLocalKVProviderURL("/a.db"), OptionRunDir("/r"), OptionDataDir("/data")}, "/data", "/r", "/a.db"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var cfg *Config
			if tt.file == "" {
				cfg = ParseConfigOptions(tt.opts...)
			} else {
				var err error
				if cfg, err = ParseConfig(write(t, "c.toml", tt.file)); err != nil {
					t.Fatal(err)
				}
				cfg.ProcessOptions(tt.opts...)
			}
			got := []string{cfg.Daemon.DataDir, cfg.Daemon.RunDir, cfg.Scopes["local"].Client.Address}
			if diff := cmp.Diff([]string{tt.data, tt.run, tt.address}, got); diff != "" {
				t.Errorf("data, run, store (-want +got):\n%s", diff)
			}
		})
	}
}

const sample = `
title = "a sample"
[daemon]
  debug = true
  DataDir = "/data"
  RUNDIR = "/r"
  defaultNetwork = "net1"
  defaultdriver = "bridge"
  labels = ["com.docker.network.a=b", "x=y"]
  filled = 1
  [daemon.drivercfg.bridge]
    "com.docker.network.generic" = { BridgeName = "br1" }
[cluster]
  discovery = "consul://192.0.2.1:8500"
  Address = "192.0.2.9:1"
  heartbeat = 20
  watcher = "x"
[datastore]
  embedded = false
[scopes.global.client]
  provider = "etcd"
  address = "192.0.2.1:2379"
  [scopes.global.client.config]
    connectiontimeout = "10s"
[scopes.local.client.config]
  bucket = "b"
  persistconnection = true
  connectiontimeout = 5
`

func TestParseConfig(t *testing.T) {
	t.Run("CFG-1 a file has the names of the fields as keys, in any case", func(t *testing.T) {
		got, err := ParseConfig(write(t, "c.toml", sample+"[filled]\nrundir='x'\n[err]\n"))
		if err != nil {
			t.Fatal(err)
		}
		local := localDefault("/data")
		local.Client.Config = &StoreConfig{Bucket: "b", PersistConnection: true, ConnectionTimeout: 5}
		want := &Config{
			Daemon: DaemonCfg{
				Debug: true, DataDir: "/data", RunDir: "/r", DefaultNetwork: "net1", DefaultDriver: "bridge",
				Labels: []string{"com.docker.network.a=b", "x=y"},
				DriverCfg: map[string]interface{}{
					"bridge": map[string]interface{}{"com.docker.network.generic": map[string]interface{}{"BridgeName": "br1"}},
				},
			},
			Cluster: ClusterCfg{Discovery: "consul://192.0.2.1:8500", Address: "192.0.2.9:1", Heartbeat: 20},
			Scopes: map[string]*ScopeCfg{
				"local":  local,
				"global": {Client: ScopeClientCfg{Provider: "etcd", Address: "192.0.2.1:2379", Config: &StoreConfig{ConnectionTimeout: 10 * time.Second}}},
			},
		}
		if diff := cmp.Diff(want, got, public()); diff != "" {
			t.Errorf("ParseConfig (-want +got):\n%s", diff)
		}
		if got.Err() != nil || got.filled.runDir != "" {
			t.Errorf("a file reaches what is not exported: %+v", got)
		}
	})
	t.Run("DS-6 a file tells of the daemon, the cluster and the store of each scope", func(t *testing.T) {
		got, err := ParseConfig(write(t, "c.toml", sample))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"/data", "net1", "bridge", "consul://192.0.2.1:8500", "192.0.2.9:1", "etcd", "192.0.2.1:2379"}, []string{
			got.Daemon.DataDir, got.Daemon.DefaultNetwork, got.Daemon.DefaultDriver, got.Cluster.Discovery, got.Cluster.Address,
			got.Scopes["global"].Client.Provider, got.Scopes["global"].Client.Address,
		}); diff != "" {
			t.Errorf("settings (-want +got):\n%s", diff)
		}
	})
	t.Run("DS-6 a scope that a file leaves out has its default store", func(t *testing.T) {
		got, err := ParseConfig(write(t, "c.toml", "[daemon]\ndatadir = '/data'\n"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]*ScopeCfg{"local": localDefault("/data")}, got.Scopes, public()); diff != "" {
			t.Errorf("scopes (-want +got):\n%s", diff)
		}
	})
	t.Run("CFG-2 keys and tables that are not known are ignored", func(t *testing.T) {
		want, err := ParseConfig(write(t, "empty.toml", ""))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseConfig(write(t, "c.toml", "title = 'x'\nfilled = 1\n[datastore]\nembedded = false\n[daemon]\nnone = 1\n[cluster]\nwatcher = 'x'\n"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, public()); diff != "" {
			t.Errorf("ParseConfig (-want +got):\n%s", diff)
		}
	})
	t.Run("missing", func(t *testing.T) {
		_, err := ParseConfig(filepath.Join(t.TempDir(), "none.toml"))
		if _, ok := err.(types.BadRequestError); !ok || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %T %v, want a BadRequestError around os.ErrNotExist", err, err)
		}
	})
	for name, text := range map[string]string{
		"no TOML":      "[daemon",
		"wrong type":   "[daemon]\ndebug = 'yes'",
		"scope type":   "scopes = 5",
		"driver type":  "[daemon]\ndriverCfg = 'x'",
		"client type":  "[scopes]\nlocal = 5",
		"timeout":      "[scopes.local.client.config]\nconnectiontimeout = 'soon'",
		"half a TLS":   "[scopes.x.client.config.clienttls]\ncertfile = 'c'",
		"TLS not read": "[scopes.x.client.config.clienttls]\ncertfile = '/none/c'\nkeyfile = '/none/k'\ncacertfile = '/none/a'",
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "bad.toml", text)
			cfg, err := ParseConfig(path)
			if _, ok := err.(types.BadRequestError); !ok || cfg != nil {
				t.Fatalf("%v, error %T %v, want a BadRequestError alone", cfg, err, err)
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("error %v does not name the file", err)
			}
		})
	}
	t.Run("cause of a syntax error", func(t *testing.T) {
		_, err := ParseConfig(write(t, "bad.toml", "\n[daemon"))
		if parse, ok := errors.AsType[toml.ParseError](err); !ok || parse.Position.Line != 2 {
			t.Errorf("error %v does not hold the toml.ParseError of line 2", err)
		}
	})
}

// tlsFiles makes a certificate that is its own authority.
func tlsFiles(t *testing.T) ClientTLSConfig {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	keyPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return ClientTLSConfig{CertFile: write(t, "cert", certPEM), KeyFile: write(t, "key", keyPEM), CACertFile: write(t, "ca", certPEM)}
}

func kvOpts(f ClientTLSConfig) map[string]string {
	return map[string]string{"kv.certfile": f.CertFile, "kv.keyfile": f.KeyFile, "kv.cacertfile": f.CACertFile}
}

func TestOptionKVOpts(t *testing.T) {
	files := tlsFiles(t)
	check := func(t *testing.T, scope *ScopeCfg) {
		t.Helper()
		if scope == nil || scope.Client.Config == nil || scope.Client.Config.TLS == nil {
			t.Fatalf("no TLS in %+v", scope)
		}
		if diff := cmp.Diff(&files, scope.Client.Config.ClientTLS); diff != "" {
			t.Errorf("ClientTLS (-want +got):\n%s", diff)
		}
		if c := scope.Client.Config.TLS; c.RootCAs == nil || len(c.Certificates) != 1 || c.InsecureSkipVerify {
			t.Errorf("TLS = %+v", c)
		}
	}
	t.Run("DS-4 the three TLS files as options make the client's TLS", func(t *testing.T) {
		cfg := ParseConfigOptions(OptionKVProvider("etcd"), OptionKVOpts(kvOpts(files)))
		if err := cfg.Err(); err != nil {
			t.Fatal(err)
		}
		check(t, cfg.Scopes["global"])
	})
	t.Run("DS-4 the three TLS files of a configuration file make the client's TLS", func(t *testing.T) {
		cfg, err := ParseConfig(write(t, "c.toml", "[scopes.global.client.config.clienttls]\ncertfile='"+files.CertFile+"'\nkeyfile='"+files.KeyFile+"'\ncacertfile='"+files.CACertFile+"'"))
		if err != nil {
			t.Fatal(err)
		}
		check(t, cfg.Scopes["global"])
	})
	t.Run("DS-4 without all three TLS options there is no TLS", func(t *testing.T) {
		for _, key := range []string{"kv.certfile", "kv.keyfile", "kv.cacertfile"} {
			opts := kvOpts(files)
			opts[key] = ""
			cfg := ParseConfigOptions(OptionKVOpts(opts))
			if cfg.Err() != nil || cfg.Scopes["global"] != nil {
				t.Errorf("without %s: %+v, %v", key, cfg.Scopes["global"], cfg.Err())
			}
		}
	})
	for name, change := range map[string]func(*ClientTLSConfig){
		"no certificate file": func(f *ClientTLSConfig) { f.CertFile += ".none" },
		"no key file":         func(f *ClientTLSConfig) { f.KeyFile += ".none" },
		"no authority file":   func(f *ClientTLSConfig) { f.CACertFile += ".none" },
		"authority is a key":  func(f *ClientTLSConfig) { f.CACertFile = f.KeyFile },
	} {
		t.Run("DS-4 TLS that cannot be loaded is an error and no plain text: "+name, func(t *testing.T) {
			bad := files
			change(&bad)
			cfg := ParseConfigOptions(OptionKVOpts(kvOpts(bad)), OptionKVOpts(kvOpts(ClientTLSConfig{"second", "second", "second"})))
			err := cfg.Err()
			if _, ok := err.(types.BadRequestError); !ok || strings.Contains(err.Error(), "second") {
				t.Fatalf("error %T %v, want the first BadRequestError", err, err)
			}
			if strings.HasPrefix(name, "no ") && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("error %v does not hold os.ErrNotExist", err)
			}
			if cfg.Scopes["global"] != nil {
				t.Errorf("half an effect: %+v", cfg.Scopes["global"])
			}
		})
	}
}

func TestIsValid(t *testing.T) {
	for name, want := range map[string]bool{"": false, " \t\n": false, "a": true, " a ": true, "a/b?": true} {
		if got := IsValidName(name); got != want {
			t.Errorf("IsValidName(%q) = %v, want %v", name, got, want)
		}
	}
	for _, tt := range []struct {
		name  string
		scope *ScopeCfg
		want  bool
	}{
		{"DS-1 no scope is none to use", nil, false},
		{"DS-1 a scope without provider and address is none to use", &ScopeCfg{}, false},
		{"DS-1 a scope with a blank address is none to use", &ScopeCfg{Client: ScopeClientCfg{Provider: "etcd", Address: " "}}, false},
		{"DS-1 a scope without a provider is none to use", &ScopeCfg{Client: ScopeClientCfg{Address: "x"}}, false},
		{"DS-1 a scope with provider and address can be used", &ScopeCfg{Client: ScopeClientCfg{Provider: "etcd", Address: "x"}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.scope.IsValid(); got != tt.want {
				t.Errorf("IsValid of %+v = %v, want %v", tt.scope, got, tt.want)
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("[scopes.local]\n[scopes.x.client.config.clienttls]\n"))
	f.Add([]byte("[daemon.drivercfg]\nx = 1979-05-27T07:32:00Z\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(strings.ToLower(string(data)), "tls") {
			t.Skip("might name files of the machine")
		}
		path := filepath.Join(dir, "c.toml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := ParseConfig(path)
		if err != nil {
			if _, ok := err.(types.BadRequestError); !ok {
				t.Fatalf("error %T %v, want a BadRequestError", err, err)
			}
			return
		}
		if cfg.Daemon.DataDir == "" || cfg.Daemon.RunDir == "" || !cfg.Scopes["local"].IsValid() {
			t.Fatalf("not complete: %+v", cfg)
		}
	})
}
