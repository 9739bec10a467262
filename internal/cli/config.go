package cli

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

const (
	// defaultConfig is the configuration that need not be there.
	defaultConfig = "/etc/libnetwork/dnet.toml"
	// configEnv names another one.
	configEnv = "LIBNETWORK_CFG"
)

// configFile is the configuration of the daemon. Keys are the names of the
// fields in whatever case.
type configFile struct {
	Daemon struct {
		DataDir, RunDir, LogLevel string
		Debug, Insecure           bool
		Hosts                     []string
		// HeldPorts is how many published ports are held by a socket at most.
		HeldPorts *int
		// KeepAlive and Forwarding are on unless said otherwise.
		KeepAlive, Forwarding *bool
		// AllowDirectRouting opens published ports at containers' own addresses too.
		AllowDirectRouting bool
		// FirewallBackend is what the flag of that name says.
		FirewallBackend string
		// MetricsAddr is where metrics are served beside the Hosts.
		MetricsAddr string
	}
	// ignored are keys that others know and this daemon does not use.
	ignored []string
}

// foreign are tables and keys of the library's configuration that say nothing to
// the daemon: they are passed over with a warning.
func foreign() []string {
	return []string{
		"title", "cluster", "scopes", "datastore", "daemon.defaultnetwork", "daemon.defaultdriver", "daemon.labels", "daemon.drivercfg",
	}
}

// parseConfig reads a configuration. Its errors name the file and the line. A key
// that is not known is an error: what it was to say would not be done.
func parseConfig(path string, data []byte) (*configFile, error) {
	file := new(configFile)
	meta, err := toml.Decode(string(data), file)
	if err != nil {
		if parse, ok := errors.AsType[toml.ParseError](err); ok {
			return nil, usageError{fmt.Errorf("configuration %s:%d: %s", path, parse.Position.Line, parse.Message)}
		}
		return nil, usageError{fmt.Errorf("configuration %s: %w", path, err)}
	}
	for _, key := range meta.Undecoded() {
		name := strings.ToLower(key.String())
		known := slices.ContainsFunc(foreign(), func(f string) bool { return name == f || strings.HasPrefix(name, f+".") })
		if !known {
			return nil, usageError{fmt.Errorf("configuration %s:%d: key %s is not known", path, lineOf(data, key), key)}
		}
		file.ignored = append(file.ignored, key.String())
	}
	return file, nil
}

// lineOf finds where a key stands: the first line that begins with its last part,
// from the line of its table on.
func lineOf(data []byte, key toml.Key) int {
	last := key[len(key)-1]
	table := ""
	if len(key) > 1 {
		table = key[:len(key)-1].String()
	}
	in := ""
	for i, line := range bytes.Split(data, []byte("\n")) {
		s := strings.TrimSpace(string(line))
		if name, ok := strings.CutPrefix(s, "["); ok {
			in = strings.Trim(name, "[] ")
			if in == key.String() {
				return i + 1
			}
			continue
		}
		name, _, found := strings.Cut(s, "=")
		name = strings.Trim(strings.TrimSpace(name), `"'`)
		if found && (in == table && name == last || in == "" && name == key.String()) {
			return i + 1
		}
	}
	return 1
}
