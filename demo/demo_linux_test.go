// Package demo has the test of the demo, and of the commands that it shows as
// exit codes.
package demo

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

// build makes the program.
func build(t *testing.T) string {
	t.Helper()
	nstest.Require(t, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables)
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "dnet")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", file, "github.com/libnetwork/libnetwork/cmd/dnet")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

// bash runs a script and returns its exit code and what it wrote.
func bash(t *testing.T, args ...string) (int, string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "bash", args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), string(out)
	} else if err != nil {
		t.Fatal(err)
	}
	return 0, string(out)
}

func TestDemo(t *testing.T) {
	dnet := build(t)
	t.Run("works", func(t *testing.T) {
		code, out := bash(t, "run.sh", dnet)
		if code != 0 || !strings.HasSuffix(out, "\nDone.\n") {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
	t.Run("a failed step", func(t *testing.T) {
		broken := filepath.Join(t.TempDir(), "dnet")
		script := "#!/bin/bash\n[ \"$1\" != network ] || exit 1\nexec " + dnet + " \"$@\"\n"
		if err := os.WriteFile(broken, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		code, out := bash(t, "run.sh", broken)
		if code == 0 || !strings.Contains(out, "network create") {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
	t.Run("no program", func(t *testing.T) {
		code, out := bash(t, "run.sh", "/no/such/dnet")
		if code == 0 || !strings.Contains(out, "make build") {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
}

// session runs a script in throw-away namespaces; $dnet is the program.
func session(t *testing.T, dnet, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", `
		mount -t tmpfs none /run && mount -t tmpfs none /var/lib && mount -t sysfs none /sys || exit
		try() { "$@"; echo "code $?"; }
		begin() {
			$dnet daemon 2> /run/log & daemon=$!
			until $dnet version > /run/out 2>&1; do kill -0 $daemon || exit; read -rt 0.02 <> <(:); done
		}
		`+script)
	cmd.Env = append(os.Environ(), "dnet="+dnet)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(bytes.ReplaceAll(out, []byte(dnet), []byte("dnet")))
}

func TestCommands(t *testing.T) {
	dnet := build(t)
	for _, tt := range []struct{ name, script, want string }{
		{"no daemon", `try $dnet run -- true 2>&1 | grep -o 'sudo dnet daemon\|code.*'; try $dnet exec c1 -- true 2>/dev/null`, "sudo dnet daemon\ncode 125\ncode 125\n"},
		{"exit codes", `begin
			try $dnet run -- bash -c 'exit 3'
			try $dnet run -- bash -c 'kill -9 $$'
			try $dnet run -- no-such-command
			try $dnet run -- /etc/passwd
			try $dnet run --network nope -- true
			try $dnet run --nope -- true
			try $dnet run
			try $dnet exec nope -- true
			try $dnet exec
			$dnet container ls -q`, `code 3
code 137
dnet: command "no-such-command" is not in PATH: file does not exist
code 127
dnet: command /etc/passwd: is not executable: permission denied
code 126
dnet: network nope not found
code 125
dnet: unknown flag: --nope; see dnet run --help
code 125
dnet: dnet run needs a command to run; see dnet run --help
code 125
dnet: container nope not found
code 125
dnet: dnet exec needs a container and a command; see dnet exec --help
code 125
`},
		{"the network default", `begin; $dnet run --name c1 -- bash -c 'uname -n; dnet=$1; $dnet container ls --format "{{.ID}} {{.Networks}}"' - $dnet; $dnet network ls --format '{{.Name}}'`, "c1\nc1 default\ndefault\n"},
		{"exec", `begin; mkfifo /run/go
			$dnet run --name c1 -- bash -c 'mount -t tmpfs none /mnt; echo marked > /mnt/mark; read x < /run/go' &
			until $dnet exec c1 -- cat /mnt/mark 2> /dev/null; do read -rt 0.02 <> <(:); done
			try $dnet exec c1 -- bash -c 'uname -n; exit 4'
			echo > /run/go; wait %2; $dnet container ls -q`, "marked\nc1\ncode 4\n"},
		{"the sandbox goes with the command while the daemon is dead", `begin
			$dnet run --name c1 -- bash -c 'echo $$ > /run/pid; kill -STOP $$' &
			run=$!
			until [ -s /run/pid ]; do read -rt 0.02 <> <(:); done
			# The stopped command becomes a child of this shell: a wait for all would not end.
			kill -9 $run $daemon; wait $run $daemon 2> /dev/null
			kill -9 $(cat /run/pid)
			begin
			while [ -n "$($dnet container ls -q)" ]; do read -rt 0.02 <> <(:); done
			ls /run/libnetwork/netns | wc -l`, "0\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, session(t, dnet, tt.script)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
