package libnetwork

import (
	"maps"
	"slices"

	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/drivers/bridge"
	"github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/options"
	"github.com/libnetwork/libnetwork/types"
)

// bridgeSettings are the options of the bridge driver.
type bridgeSettings struct {
	// EnableIPForwarding lets the driver turn packet forwarding on.
	EnableIPForwarding bool
	// EnableIPTables is true unless it is said to be false: without rules there is
	// no isolation and no masquerading, and no published port but by the process.
	EnableIPTables bool
	// EnableUserlandProxy has the process serve published ports besides the rules,
	// which come first: it gets what they do not translate, and all where there are
	// none.
	EnableUserlandProxy bool
	// AllowDirectRouting opens published ports of networks of mode nat at the
	// containers' own addresses too, for whoever has a route to those.
	AllowDirectRouting bool
	// FirewallBackend is auto, nftables, iptables, iptables-nft or iptables-legacy.
	FirewallBackend kernel.Backend
}

// hostOptions reads from a configuration what the machine's engine is made with.
func hostOptions(cfg *config.Config) (host.Options, error) {
	if err := cfg.Err(); err != nil {
		return host.Options{}, err
	}
	if err := checkScopes(cfg); err != nil {
		return host.Options{}, err
	}
	b, err := bridgeConfig(cfg)
	if err != nil {
		return host.Options{}, err
	}
	return host.Options{
		DataDir: cfg.Daemon.DataDir, RunDir: cfg.Daemon.RunDir,
		Forwarding: b.EnableIPForwarding, NoFirewall: !b.EnableIPTables, UserlandProxy: b.EnableUserlandProxy,
		DirectRouting: b.AllowDirectRouting, Firewall: b.FirewallBackend,
	}, nil
}

// checkScopes refuses stores that there are none of.
func checkScopes(cfg *config.Config) error {
	for name, scope := range cfg.Scopes {
		switch {
		case !scope.IsValid():
			return types.BadRequestErrorf("scope %s: a store needs a provider and an address", name)
		case !slices.Contains([]string{"boltdb", "consul", "etcd", "zk"}, scope.Client.Provider):
			return types.BadRequestErrorf("scope %s: unknown store provider %q: there are boltdb, consul, etcd, zk", name, scope.Client.Provider)
		case name != "local":
			return noGlobalScope(name)
		case scope.Client.Provider != "boltdb":
			return types.NotImplementedErrorf("scope local: the state of one host is kept in files: the provider is boltdb, not %s", scope.Client.Provider)
		}
	}
	return nil
}

func noGlobalScope(name string) error {
	return types.NotImplementedErrorf("scope %s: a store for several hosts is not supported yet", name)
}

// bridgeConfig reads the configuration of the bridge driver: a map under the
// generic label, or fields by their names.
func bridgeConfig(cfg *config.Config) (bridgeSettings, error) {
	bad := func(v any) error {
		return types.BadRequestErrorf("configuration of driver %s: %T is not a map of options", bridge.Type, v)
	}
	s := bridgeSettings{EnableIPTables: true}
	raw, ok := cfg.Daemon.DriverCfg[bridge.Type]
	if !ok || raw == nil {
		return s, nil
	}
	m, ok := generic(raw)
	if !ok {
		return s, bad(raw)
	}
	if inner, ok := m[netlabel.GenericData]; ok {
		if m, ok = generic(inner); !ok {
			return s, bad(inner)
		}
	}
	for name, field := range map[string]*bool{
		"EnableIPForwarding": &s.EnableIPForwarding, "EnableIPTables": &s.EnableIPTables, "EnableUserlandProxy": &s.EnableUserlandProxy,
		"AllowDirectRouting": &s.AllowDirectRouting,
	} {
		v, ok := m[name]
		if !ok {
			continue
		}
		if *field, ok = v.(bool); !ok {
			return s, types.BadRequestErrorf("configuration of driver %s: %s is a %T, not a bool", bridge.Type, name, v)
		}
	}
	if v, ok := m["FirewallBackend"]; ok {
		name, ok := v.(string)
		if !ok {
			return s, types.BadRequestErrorf("configuration of driver %s: FirewallBackend is a %T, not a string", bridge.Type, v)
		}
		var err error
		if s.FirewallBackend, err = kernel.ParseBackend(name); err != nil {
			return s, types.BadRequestErrorf("configuration of driver %s: %w", bridge.Type, err)
		}
	}
	return s, nil
}

// generic views the kinds of option maps that callers use as one.
func generic(v any) (map[string]any, bool) {
	switch m := v.(type) {
	case map[string]any:
		return m, true
	case options.Generic:
		return m, true
	default:
		return nil, false
	}
}

// copyConfig copies what a caller could otherwise change.
func copyConfig(c *config.Config) config.Config {
	out := *c
	out.Daemon.Labels = slices.Clone(c.Daemon.Labels)
	if c.Daemon.DriverCfg != nil {
		out.Daemon.DriverCfg = copyOptions(c.Daemon.DriverCfg)
	}
	out.Scopes = make(map[string]*config.ScopeCfg, len(c.Scopes))
	for name, s := range c.Scopes {
		scope := *s
		if s.Client.Config != nil {
			store := *s.Client.Config
			scope.Client.Config = &store
		}
		out.Scopes[name] = &scope
	}
	return out
}

// copyOptions copies the kinds of option maps that callers use, and those inside
// of them.
func copyOptions(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for label, v := range m {
		switch v := v.(type) {
		case map[string]any:
			out[label] = copyOptions(v)
		case options.Generic:
			out[label] = options.Generic(copyOptions(v))
		case map[string]string:
			out[label] = maps.Clone(v)
		default:
			out[label] = v
		}
	}
	return out
}
