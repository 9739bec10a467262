package config

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

// The default directories.
const (
	// DefaultDataDir is the default of DaemonCfg.DataDir.
	DefaultDataDir = "/var/lib/libnetwork"
	// DefaultRunDir is the default of DaemonCfg.RunDir for the default data directory.
	DefaultRunDir = "/run/libnetwork"
)

const (
	localScope  = "local"
	globalScope = "global"

	defaultProvider  = "boltdb"
	defaultBucket    = "libnetwork"
	defaultStoreFile = "libnetwork.db"
)

// LoadDefaultScopes completes the scopes that have a default, which is only the
// local one: the boltdb file libnetwork.db in dataDir, or in DefaultDataDir if that
// is empty. A provider or address that is given stays, but a provider other than
// boltdb without address gives way to the default.
func (c *Config) LoadDefaultScopes(dataDir string) {
	client := &c.scope(localScope).Client
	noAddress := !IsValidName(client.Address)
	if noAddress || !IsValidName(client.Provider) {
		client.Provider = defaultProvider
	}
	if noAddress || (client.Provider == defaultProvider && client.Address == c.filled.storeAddress) {
		client.Address = defaultStoreAddress(dataDir)
		c.filled.storeAddress = client.Address
	}
	if client.Provider != defaultProvider {
		return
	}
	if client.Config == nil {
		client.Config = &StoreConfig{}
	}
	if client.Config.Bucket == "" {
		client.Config.Bucket = defaultBucket
	}
}

// setDefaults fills in what is not given. What it filled in before follows the data
// directory.
func (c *Config) setDefaults() {
	if c.Daemon.DataDir == "" {
		c.Daemon.DataDir = DefaultDataDir
	}
	if c.Daemon.RunDir == "" || c.Daemon.RunDir == c.filled.runDir {
		c.Daemon.RunDir = defaultRunDir(c.Daemon.DataDir)
		c.filled.runDir = c.Daemon.RunDir
	}
	c.LoadDefaultScopes(c.Daemon.DataDir)
}

func defaultStoreAddress(dataDir string) string {
	if dataDir == "" {
		dataDir = DefaultDataDir
	}
	return filepath.Join(dataDir, defaultStoreFile)
}

// defaultRunDir returns a directory that belongs to the data directory alone, and
// is short enough for the path of a socket in it.
func defaultRunDir(dataDir string) string {
	dataDir = filepath.Clean(dataDir)
	if dataDir == filepath.Clean(DefaultDataDir) {
		return DefaultRunDir
	}
	sum := sha256.Sum256([]byte(dataDir))
	return filepath.Join(DefaultRunDir, hex.EncodeToString(sum[:6]))
}
