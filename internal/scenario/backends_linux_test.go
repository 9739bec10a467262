package scenario_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/netlabel"
)

// A backend is one of the ways in which the firewall can be kept. What holds of one
// holds of all.
type backend string

const (
	nftables       backend = "nftables"
	iptablesNFT    backend = "iptables-nft"
	iptablesLegacy backend = "iptables-legacy"
)

// backends are all, each with what it needs.
func backends() map[backend]nstest.Feature {
	return map[backend]nstest.Feature{
		nftables: nstest.NFTables, iptablesNFT: nstest.IPTablesNFT, iptablesLegacy: nstest.IPTablesLegacy,
	}
}

// onEach runs a test on each backend. The statement is what it proves.
func onEach(t *testing.T, statement string, test func(*testing.T, backend)) {
	t.Helper()
	for b, feature := range backends() {
		t.Run(statement+" ("+string(b)+")", func(t *testing.T) {
			nstest.Require(t, feature)
			test(t, b)
		})
	}
}

// besideDocker is a label of hosts that have Docker's rules, and frames that pass
// the rules of IP.
const besideDocker = "beside=docker"

// onEachBesideDocker is onEach, and again on hosts where Docker's forward chain drops
// all that Docker does not know, also frames that a bridge forwards.
func onEachBesideDocker(t *testing.T, statement string, test func(*testing.T, backend)) {
	t.Helper()
	onEach(t, statement, test)
	onEach(t, statement+", beside Docker", func(t *testing.T, b backend) {
		nstest.Require(t, nstest.BrNetfilter)
		test(t, b+"+docker")
	})
}

// alone is the backend without its neighbour.
func (b backend) alone() backend {
	name, _ := strings.CutSuffix(string(b), "+docker")
	return backend(name)
}

// option is the configuration that chooses the backend, and turns on the settings of
// these names.
func (b backend) option(on ...string) config.Option {
	name, docker := strings.CutSuffix(string(b), "+docker")
	generic := map[string]any{"FirewallBackend": name}
	for _, setting := range on {
		generic[setting] = true
	}
	return func(c *config.Config) {
		config.OptionDriverConfig("bridge", map[string]any{netlabel.GenericData: generic})(c)
		if docker {
			c.Daemon.Labels = append(c.Daemon.Labels, besideDocker)
		}
	}
}

// backend is that of the host's configuration.
func (h *host) backend() backend {
	cfg := config.ParseConfigOptions(h.opts...)
	bridge, _ := cfg.Daemon.DriverCfg["bridge"].(map[string]any)
	generic, _ := bridge[netlabel.GenericData].(map[string]any)
	name, _ := generic["FirewallBackend"].(string)
	return backend(name)
}

// standardTables makes the tables of iptables with their chains: the programs make
// them on first use and leave them, so they are no part of what a test leaves.
func standardTables() error {
	const text = "*filter\n-A FORWARD\n-D FORWARD\n-A INPUT\n-D INPUT\n-A OUTPUT\n-D OUTPUT\nCOMMIT\n" +
		"*nat\n-A PREROUTING\n-D PREROUTING\n-A INPUT\n-D INPUT\n-A OUTPUT\n-D OUTPUT\n-A POSTROUTING\n-D POSTROUTING\nCOMMIT\n" +
		"*raw\n-A PREROUTING\n-D PREROUTING\n-A OUTPUT\n-D OUTPUT\nCOMMIT\n" +
		"*mangle\n-A PREROUTING\n-D PREROUTING\n-A INPUT\n-D INPUT\n-A FORWARD\n-D FORWARD\n-A OUTPUT\n-D OUTPUT\n-A POSTROUTING\n-D POSTROUTING\nCOMMIT\n"
	for _, kind := range []string{"nft", "legacy"} {
		for _, program := range []string{"iptables-", "ip6tables-"} {
			cmd := exec.Command(program+kind+"-restore", "--noflush", "-w")
			cmd.Stdin = strings.NewReader(text)
			if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrNotFound) {
				return err
			}
		}
	}
	return nil
}
