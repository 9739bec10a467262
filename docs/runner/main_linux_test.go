package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

// runnerEnv makes the test binary the program.
const runnerEnv = "LIBNETWORK_TEST_RUNNER"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == serveArg {
		serve()
		return
	}
	if os.Getenv(runnerEnv) != "" || os.Args[0] == childName {
		main()
		return
	}
	nstest.Main(m)
}

// serveArg makes the test binary a server in a container.
const serveArg = "serve-one"

// serve says its host name to the first who asks.
func serve() {
	l, err := net.Listen("tcp", ":80")
	if err == nil {
		fmt.Println("ready")
		var c net.Conn
		if c, err = l.Accept(); err == nil {
			name, _ := os.Hostname()
			_, err = io.WriteString(c, name)
			err = errors.Join(err, c.Close())
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// start runs the program; its answer is what the command says.
func start(t *testing.T, data string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", append([]string{"-data", data}, args...)...)
	cmd.Env = append(os.Environ(), runnerEnv+"=1")
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), 0
}

func TestRunner(t *testing.T) {
	nstest.Require(t, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables)
	data := filepath.Join(t.TempDir(), "data")
	t.Run("a command sees its own interface, names and host name", func(t *testing.T) {
		out, code := start(t, data, "-name", "box", "sh", "-c",
			"cat /proc/net/dev /etc/hosts /etc/resolv.conf /proc/sys/kernel/hostname")
		for _, want := range []string{"eth0:", "\tbox\n", "nameserver 127.0.0.11\n", "\nbox\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("the command does not see %q", want)
			}
		}
		if code != 0 || strings.Contains(out, "br-") {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
	t.Run("exit codes are those of the command", func(t *testing.T) {
		if _, code := start(t, data, "sh", "-c", "exit 7"); code != 7 {
			t.Errorf("exit code %d, want 7", code)
		}
	})
	t.Run("a published port leads to the command", func(t *testing.T) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-data", data, "-name", "web", "-publish", "8080", self, serveArg)
		cmd.Env = append(os.Environ(), runnerEnv+"=1")
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Fatalf("the server says %q, %v", line, err)
		}
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != "web" {
			t.Errorf("the server answers %q, %v", got, err)
		}
		if err := errors.Join(c.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	})
	t.Run("nothing is left but the network", func(t *testing.T) {
		links, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if strings.HasPrefix(l.Name, "veth") {
				t.Errorf("link %s is left", l.Name)
			}
		}
	})
	t.Run("what cannot be is said", func(t *testing.T) {
		if out, code := start(t, data); code != 125 || !strings.Contains(out, "which command?") {
			t.Errorf("exit code %d: %s", code, out)
		}
		if out, code := start(t, data, "no-such-command"); code != 1 || !strings.Contains(out, "no-such-command") {
			t.Errorf("exit code %d: %s", code, out)
		}
	})
}
