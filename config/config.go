// Package config holds the configuration of a controller: the options of the
// library, and the file format of the same.
//
// It reads the files that it is told to and touches nothing else; whether a
// directory can be used or a store be reached is found out by the controller. A
// Config is for one goroutine, and belongs to one controller: all defaults are in
// its own fields.
package config

import (
	"crypto/tls"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/libnetwork/libnetwork/types"
)

// Config is the configuration of a controller.
type Config struct {
	// Daemon is about this process.
	Daemon DaemonCfg
	// Cluster is about the other nodes.
	Cluster ClusterCfg
	// Scopes holds the store of each scope, by its name: "local", "global".
	Scopes map[string]*ScopeCfg

	// filled holds the defaults that were filled in, so that they can follow a data
	// directory that is set later.
	filled struct{ runDir, storeAddress string }
	// err is the first thing that an option could not do.
	err error
}

// DaemonCfg is the configuration of this process.
type DaemonCfg struct {
	// Debug asks for debug messages.
	Debug bool
	// DataDir is the directory of what outlives a boot; by default DefaultDataDir.
	DataDir string
	// RunDir is the directory of what does not outlive a boot; by default
	// DefaultRunDir, or a directory of its own below that if DataDir is not the
	// default one.
	RunDir string
	// DefaultNetwork is the network that clients use when none is named.
	DefaultNetwork string
	// DefaultDriver is the network type that clients use when none is named.
	DefaultDriver string
	// Labels are of the form key=value. Those whose key begins with
	// netlabel.DriverPrefix and the network type go to its driver.
	Labels []string
	// DriverCfg holds for each network type the map[string]interface{} that its driver
	// is made with.
	DriverCfg map[string]interface{}
}

// ClusterCfg is the configuration of what is beyond this node.
type ClusterCfg struct {
	// Watcher tells of the nodes. It can be set by code only.
	Watcher Watcher `toml:"-"`
	// Address is what other nodes reach this one by, host:port.
	Address string
	// Discovery says where clients find the nodes, a URL.
	Discovery string
	// Heartbeat is the interval in seconds in which clients announce this node.
	Heartbeat uint64
}

// Watcher tells which nodes there are.
type Watcher interface {
	// Watch sends the list of all nodes, and again each time that it has changed,
	// until stopCh is closed. Errors in between go to the other channel.
	Watch(stopCh <-chan struct{}) (<-chan Entries, <-chan error)
}

// Entries are nodes, each in the form host:port.
type Entries []string

// ScopeCfg is the configuration of one scope.
type ScopeCfg struct {
	// Client says how the store of the scope is reached.
	Client ScopeClientCfg
}

// IsValid says whether a provider and an address are named.
func (s *ScopeCfg) IsValid() bool {
	return s != nil && IsValidName(s.Client.Provider) && IsValidName(s.Client.Address)
}

// ScopeClientCfg says how a store is reached.
type ScopeClientCfg struct {
	// Provider is boltdb, consul, etcd or zk.
	Provider string
	// Address is the path of the file for boltdb, and for the others
	// host:port[,host:port...][/prefix].
	Address string
	// Config holds the details; nil means that all are default.
	Config *StoreConfig
}

// StoreConfig is the configuration of a store's client.
type StoreConfig struct {
	// ClientTLS names the files that TLS was made from.
	ClientTLS *ClientTLSConfig
	// TLS is what connections are made with; nil means without TLS. It can be set by
	// code only, or from the files of ClientTLS.
	TLS *tls.Config `toml:"-"`
	// ConnectionTimeout limits the time to connect; 0 means the provider's default. In
	// a file it is a string such as "10s", or nanoseconds.
	ConnectionTimeout time.Duration
	// Bucket is the name of the bucket that boltdb uses.
	Bucket string
	// PersistConnection says that the file of boltdb stays open.
	PersistConnection bool
}

// ClientTLSConfig names the files of a TLS client, all in PEM.
type ClientTLSConfig struct {
	// CertFile is the certificate of the client.
	CertFile string
	// KeyFile is the key of that certificate.
	KeyFile string
	// CACertFile holds the authorities that the server's certificate may come from.
	CACertFile string
}

// ParseConfig reads a file in TOML. Keys are the names of the fields in whatever
// case; those that are not known are ignored. What the file does not say is
// default. It fails with BadRequest if the file, or a TLS file named by it, cannot
// be read; errors.Is then finds the cause, such as os.ErrNotExist.
func ParseConfig(tomlCfgFile string) (*Config, error) {
	data, err := os.ReadFile(tomlCfgFile)
	if err != nil {
		return nil, types.BadRequestErrorf("configuration: %w", err)
	}
	cfg := newConfig()
	meta, err := toml.Decode(string(data), cfg)
	if err == nil {
		err = checkTables(meta)
	}
	if err != nil {
		return nil, types.BadRequestErrorf("configuration %s: %w", tomlCfgFile, err)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Scopes)) {
		if err := cfg.Scopes[name].loadTLS(); err != nil {
			return nil, types.BadRequestErrorf("configuration %s: scope %s: %w", tomlCfgFile, name, err)
		}
	}
	cfg.setDefaults()
	return cfg, nil
}

// ParseConfigOptions returns the configuration that the options make; what they do
// not say is default. An option that has not worked is reported by Err.
func ParseConfigOptions(cfgOptions ...Option) *Config {
	cfg := newConfig()
	cfg.ProcessOptions(cfgOptions...)
	cfg.setDefaults()
	return cfg
}

// ProcessOptions applies the options in their order. One that does not work is
// reported by Err.
func (c *Config) ProcessOptions(options ...Option) {
	for _, opt := range options {
		if opt != nil {
			opt(c)
		}
	}
}

// Err returns the error of the first option that did not work, of class BadRequest,
// or nil.
func (c *Config) Err() error {
	return c.err
}

// IsValidName says whether a name is more than blanks.
func IsValidName(name string) bool {
	return strings.TrimSpace(name) != ""
}

// checkTables refuses other values where there must be a table. The decoder does so
// for structs, but passes over it for maps.
func checkTables(meta toml.MetaData) error {
	for _, key := range meta.Keys() {
		switch name := strings.ToLower(key.String()); name {
		case "scopes", "daemon.drivercfg":
			if kind := meta.Type(key...); kind != "Hash" {
				return types.BadRequestErrorf("%s: want a table, not %s", name, kind)
			}
		}
	}
	return nil
}

func newConfig() *Config {
	return &Config{
		Daemon: DaemonCfg{DriverCfg: make(map[string]interface{})},
		Scopes: make(map[string]*ScopeCfg),
	}
}

// fail keeps the first error of an option.
func (c *Config) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// scope returns the configuration of a scope to be changed.
func (c *Config) scope(name string) *ScopeCfg {
	if c.Scopes == nil {
		c.Scopes = make(map[string]*ScopeCfg)
	}
	s := c.Scopes[name]
	if s == nil {
		s = &ScopeCfg{}
		c.Scopes[name] = s
	}
	return s
}
