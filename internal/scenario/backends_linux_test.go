package scenario_test

import (
	"errors"
	"os/exec"
	"strings"
	"sync"
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

// onEach runs a test on each backend.
func onEach(t *testing.T, test func(*testing.T, backend)) {
	t.Helper()
	for b, feature := range backends() {
		t.Run(string(b), func(t *testing.T) {
			nstest.Require(t, feature)
			test(t, b)
		})
	}
}

// option is the configuration that chooses the backend.
func (b backend) option() config.Option {
	return config.OptionDriverConfig("bridge", map[string]any{
		netlabel.GenericData: map[string]any{"FirewallBackend": string(b)},
	})
}

// backend is that of the host's configuration.
func (h *host) backend() backend {
	cfg := config.ParseConfigOptions(h.opts...)
	bridge, _ := cfg.Daemon.DriverCfg["bridge"].(map[string]any)
	generic, _ := bridge[netlabel.GenericData].(map[string]any)
	name, _ := generic["FirewallBackend"].(string)
	return backend(name)
}

// restartOn is restart with another backend.
func (h *host) restartOn(b backend) {
	h.t.Helper()
	h.opts = []config.Option{b.option()}
	h.restart()
}

// standardTables is makeTables, once: the programs make them on first use and leave
// them, so they are no part of what a test leaves.
var standardTables = sync.OnceValue(makeTables)

// makeTables makes the tables of iptables with their chains.
func makeTables() error {
	const text = "*filter\n-A FORWARD\n-D FORWARD\n-A INPUT\n-D INPUT\nCOMMIT\n" +
		"*nat\n-A PREROUTING\n-D PREROUTING\n-A OUTPUT\n-D OUTPUT\n-A POSTROUTING\n-D POSTROUTING\nCOMMIT\n" +
		"*raw\n-A PREROUTING\n-D PREROUTING\nCOMMIT\n"
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
