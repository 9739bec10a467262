package scenario_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// restores are the runs of programs that write rules of iptables, from now on until the
// test ends. What the kernel does for the legacy ones, nobody is told.
func restores(t *testing.T) (runs func() []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "runs")
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, variant := range []string{"", "-nft", "-legacy"} {
			if program := family + variant + "-restore"; installed(program) {
				wrap(t, program, `[ "$1" = --version ] || echo "`+program+` $*" >>'`+file+`'`)
			}
		}
	}
	return func() []string {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		return slices.Collect(strings.Lines(string(text)))
	}
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// wrap has whoever runs a program run lines of a shell first, until the test ends.
func wrap(t *testing.T, program, lines string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s\nexec %s \"$@\"\n", lines, path)
	if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

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
	refuse := filepath.Join(t.TempDir(), "refuse")
	variant, _ := strings.CutPrefix(string(on), "iptables-")
	programs := []string{"iptables-" + variant, "ip6tables-" + variant}
	for _, p := range programs {
		wrap(t, p+"-restore", fmt.Sprintf("[ ! -e %s ] || { echo the rules are refused >&2; exit 4; }", refuse))
	}
	h := newHost(t, on.option())
	h.network(1)
	h.ctl.Stop()
	h.sh("ip", "link", "del", "br1")
	for _, p := range programs {
		for _, table := range []string{"filter", "nat", "raw", "mangle"} {
			h.sh(p, "-w", "-t", table, "-F")
			// -X alone deletes the kernel's own chains, too, if nobody has rules there.
			h.sh("sh", "-c", fmt.Sprintf("%[1]s -w -t %[2]s -S | sed -n 's/^-N //p' | xargs -r -n 1 %[1]s -w -t %[2]s -X", p, table))
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
