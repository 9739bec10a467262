package scenario_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// TestRulesRefused has programs of iptables that change nothing when the controller
// starts, as after a boot: no container is connected before its network has rules.
func TestRulesRefused(t *testing.T) {
	for _, on := range []backend{iptablesNFT, iptablesLegacy} {
		t.Run(fmt.Sprintf("no network is open as long as its rules are refused (%s)", on), func(t *testing.T) {
			nstest.Require(t, backends()[on])
			testRulesRefused(t, on)
		})
	}
}

func testRulesRefused(t *testing.T, on backend) {
	dir := t.TempDir()
	refuse := filepath.Join(dir, "refuse")
	variant, _ := strings.CutPrefix(string(on), "iptables-")
	programs := []string{"iptables-" + variant, "ip6tables-" + variant}
	for _, p := range programs {
		path, err := exec.LookPath(p + "-restore")
		if err != nil {
			t.Fatal(err)
		}
		script := fmt.Sprintf("#!/bin/sh\n[ ! -e %s ] || { echo the rules are refused >&2; exit 4; }\nexec %s \"$@\"\n", refuse, path)
		if err := os.WriteFile(filepath.Join(dir, p+"-restore"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	h := newHost(t, on.option())
	h.network(1)
	h.ctl.Stop()
	h.sh("ip", "link", "del", "br1")
	for _, p := range programs {
		for _, table := range []string{"filter", "nat", "raw"} {
			h.sh(p, "-w", "-t", table, "-F")
			h.sh(p, "-w", "-t", table, "-X")
		}
	}
	if err := os.WriteFile(refuse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	there := func() bool {
		_, err := run("ip", "link", "show", "br1")
		return err == nil
	}
	if there() {
		t.Error("the bridge of a network without rules is there")
	}
	if _, err := h.tryContainer("c1", nil, h.netByName("net1")); !errors.As(err, new(types.InternalError)) || !strings.Contains(err.Error(), "the rules are refused") {
		t.Errorf("a container without rules: %v", err)
	}
	if _, err := h.tryNetwork(2); err == nil {
		t.Error("a network without rules was made")
	}
	if err := os.Remove(refuse); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the network does not come back when its rules can", there)
	c := h.container("c1", nil, h.netByName("net1"))
	if !strings.Contains(h.sh(programs[0]+"-save"), "-i br1 ") {
		t.Error("there are no rules")
	}
	h.remove(c)
}
