package config

import (
	"maps"
	"strings"

	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// Option sets a part of a configuration. An option that does not work says so
// through Config.Err.
type Option func(c *Config)

// OptionDefaultNetwork sets the network that clients use when none is named.
func OptionDefaultNetwork(dn string) Option {
	return func(c *Config) { c.Daemon.DefaultNetwork = strings.TrimSpace(dn) }
}

// OptionDefaultDriver sets the network type that clients use when none is named.
func OptionDefaultDriver(dd string) Option {
	return func(c *Config) { c.Daemon.DefaultDriver = strings.TrimSpace(dd) }
}

// OptionDriverConfig sets what the driver of a network type is made with, by label;
// the usual one is netlabel.GenericData.
func OptionDriverConfig(networkType string, config map[string]interface{}) Option {
	return func(c *Config) {
		if c.Daemon.DriverCfg == nil {
			c.Daemon.DriverCfg = make(map[string]interface{})
		}
		c.Daemon.DriverCfg[networkType] = maps.Clone(config)
	}
}

// OptionLabels adds labels of the form key=value. Those that do not begin with
// netlabel.Prefix are none of ours and are left out.
func OptionLabels(labels []string) Option {
	return func(c *Config) {
		for _, label := range labels {
			if strings.HasPrefix(label, netlabel.Prefix) {
				c.Daemon.Labels = append(c.Daemon.Labels, label)
			}
		}
	}
}

// OptionKVProvider sets the provider of the global store.
func OptionKVProvider(provider string) Option {
	return optionProvider(globalScope, provider)
}

// OptionKVProviderURL sets the address of the global store, in the form of its
// provider.
func OptionKVProviderURL(url string) Option {
	return optionAddress(globalScope, url)
}

// OptionKVOpts sets the TLS files of the global store: kv.cacertfile, kv.certfile
// and kv.keyfile. It has an effect only if all three are given. If they cannot be
// read, Err returns a BadRequest.
func OptionKVOpts(opts map[string]string) Option {
	files := ClientTLSConfig{
		CACertFile: opts["kv.cacertfile"],
		CertFile:   opts["kv.certfile"],
		KeyFile:    opts["kv.keyfile"],
	}
	return func(c *Config) {
		if !files.complete() {
			return
		}
		tlsConfig, err := files.load()
		if err != nil {
			c.fail(types.BadRequestErrorf("TLS of the %s store: %w", globalScope, err))
			return
		}
		client := &c.scope(globalScope).Client
		if client.Config == nil {
			client.Config = &StoreConfig{}
		}
		client.Config.TLS = tlsConfig
		client.Config.ClientTLS = &files
	}
}

// OptionLocalKVProvider sets the provider of the local store; it can only be
// boltdb.
func OptionLocalKVProvider(provider string) Option {
	return optionProvider(localScope, provider)
}

// OptionLocalKVProviderURL sets the address of the local store, in the form of its
// provider. It moves nothing: the files of the local store are in the data
// directory and the run directory.
func OptionLocalKVProviderURL(url string) Option {
	return optionAddress(localScope, url)
}

// OptionLocalKVProviderConfig sets the details of the local store.
func OptionLocalKVProviderConfig(config *StoreConfig) Option {
	return func(c *Config) {
		var copied *StoreConfig
		if config != nil {
			v := *config
			copied = &v
		}
		c.scope(localScope).Client.Config = copied
	}
}

// OptionDiscoveryWatcher sets what tells of the nodes.
func OptionDiscoveryWatcher(watcher Watcher) Option {
	return func(c *Config) { c.Cluster.Watcher = watcher }
}

// OptionDiscoveryAddress sets what other nodes reach this one by, host:port.
func OptionDiscoveryAddress(address string) Option {
	return func(c *Config) { c.Cluster.Address = address }
}

// OptionDataDir sets the directory of what outlives a boot. The default local store
// and the default run directory go with it.
func OptionDataDir(dataDir string) Option {
	return func(c *Config) {
		c.Daemon.DataDir = dataDir
		// Only what was filled in before follows: with ParseConfigOptions the defaults
		// come after all options, and an option for the run directory may yet come.
		if c.filled.runDir != "" || c.filled.storeAddress != "" {
			c.setDefaults()
		}
	}
}

// OptionRunDir sets the directory of what does not outlive a boot.
func OptionRunDir(runDir string) Option {
	return func(c *Config) {
		c.Daemon.RunDir = runDir
		// It is given now, even if it is what the default was.
		c.filled.runDir = ""
	}
}

func optionProvider(scope, provider string) Option {
	return func(c *Config) {
		c.scope(scope).Client.Provider = strings.TrimSpace(provider)
	}
}

func optionAddress(scope, address string) Option {
	return func(c *Config) {
		c.scope(scope).Client.Address = strings.TrimSpace(address)
		if scope == localScope {
			// As with the run directory.
			c.filled.storeAddress = ""
		}
	}
}
