package extkey

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/libnetwork/libnetwork/internal/nstest"
)

// clientEnv makes the test binary a client of the socket that it names.
const clientEnv = "LIBNETWORK_EXTKEY_CLIENT"

func TestMain(m *testing.M) {
	if path := os.Getenv(clientEnv); path != "" {
		if err := Send(context.Background(), path, "c1", "/ns"); err != nil {
			_, _ = os.Stdout.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// sendAs connects as another user and returns what became of it.
func sendAs(t *testing.T, uid uint32, path string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), clientEnv+"="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.Output()
	return string(out), err
}

func TestOtherUsers(t *testing.T) {
	nstest.Require(t, nstest.Root)
	dir := nstest.ShortDir(t)
	var asked atomic.Int32
	s := listen(t, dir, func(context.Context, string, string) error {
		asked.Add(1)
		return nil
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	t.Run("EXT-1 another user cannot connect", func(t *testing.T) {
		if out, err := sendAs(t, nobody, s.Path()); err == nil || !strings.Contains(out, "permission denied") {
			t.Errorf("%q, %v", out, err)
		}
	})
	t.Run("EXT-1 another user is refused by a socket that somebody has opened to all", func(t *testing.T) {
		if err := os.Chmod(s.Path(), 0o777); err != nil {
			t.Fatal(err)
		}
		if out, err := sendAs(t, nobody, s.Path()); err == nil || !strings.Contains(out, "user 65534 may not") {
			t.Errorf("%q, %v", out, err)
		}
	})
	if asked.Load() != 0 {
		t.Error("a namespace was taken")
	}
	t.Run("EXT-1 root is served", func(t *testing.T) {
		if out, err := sendAs(t, 0, s.Path()); err != nil {
			t.Errorf("%q, %v", out, err)
		}
	})
}
