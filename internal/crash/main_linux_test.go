package crash

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

const (
	// cellEnv names the test for which the process was started.
	cellEnv = "LIBNETWORK_CRASH_CELL"
	// victimEnv names what a process does that is to be killed.
	victimEnv = "LIBNETWORK_CRASH_VICTIM"
	// backendEnv names the backend of the firewall.
	backendEnv = "LIBNETWORK_CRASH_BACKEND"
	// nstestEnv is how package nstest tells its processes apart. Without it a test
	// binary makes namespaces of its own.
	nstestEnv = "LIBNETWORK_NSTEST_MAIN"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(victimEnv); name != "" {
		os.Exit(victim(name))
	}
	// Most of the time is spent waiting for the kernel.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	nstest.Main(m)
}

// inCell runs the body of a test in a process of its own, in fresh namespaces,
// beside other tests.
func inCell(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	nstest.Require(t, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables, nstest.IPv6)
	if os.Getenv(cellEnv) == t.Name() {
		body(t)
		return
	}
	if os.Getenv(cellEnv) != "" {
		t.Skip("not the test that this process is for")
	}
	t.Parallel()
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	args := []string{"-test.run=" + pattern, "-test.v", "-test.timeout=5m"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, nstestEnv+"=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, cellEnv+"="+t.Name())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil || !strings.Contains(out.String(), "--- PASS: "+t.Name()+" ") {
		t.Errorf("%v\n%s", err, out.String())
	}
	for line := range strings.Lines(out.String()) {
		if _, told, ok := strings.Cut(line, "TOLD: "); ok {
			t.Log(strings.TrimSpace(told))
		}
	}
}
