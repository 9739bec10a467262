package scenario_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// A bridge that somebody else has removed is there again at once, or with the next
// controller; a join that meets it in between fails whole, with an error that names
// it.
func TestVanishedBridge(t *testing.T) {
	dir := t.TempDir()
	c, err := libnetwork.New(config.OptionDataDir(dir))
	if err != nil {
		t.Fatal(err)
	}
	bridge := map[string]string{"com.docker.network.bridge.name": "gone0"}
	_, err = c.NewNetwork("bridge", "web", libnetwork.NetworkOptionGeneric(map[string]any{netlabel.GenericData: bridge}))
	if err != nil {
		t.Fatal(err)
	}
	remove := func() {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "ip", "link", "del", "gone0").CombinedOutput(); err != nil {
			t.Fatal(string(out))
		}
	}
	remove()
	eventually(t, "no join succeeds", func() bool {
		err := joinOne(t, c)
		if err != nil && (!errors.As(err, new(types.InternalError)) || !strings.Contains(err.Error(), "bridge gone0 has been removed")) {
			t.Errorf("join: %v", err)
		}
		return err == nil
	})
	c.Stop()
	remove()
	if c, err = libnetwork.New(config.OptionDataDir(dir)); err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	if err := joinOne(t, c); err != nil {
		t.Errorf("join with the next controller: %v", err)
	}
	n, err := c.NetworkByName("web")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Delete(); err != nil {
		t.Error(err)
	}
}

// joinOne joins a container to the network web and takes it away again.
func joinOne(t *testing.T, c libnetwork.NetworkController) error {
	t.Helper()
	n, err := c.NetworkByName("web")
	if err != nil {
		t.Fatal(err)
	}
	ep, err := n.CreateEndpoint("ep")
	if err != nil {
		t.Fatal(err)
	}
	sb, err := c.NewSandbox("c1")
	if err != nil {
		t.Fatal(err)
	}
	joinErr := ep.Join(sb)
	if err := errors.Join(sb.Delete(), ignoreNotFound(ep.Delete(true))); err != nil {
		t.Error(err)
	}
	return joinErr
}

func ignoreNotFound(err error) error {
	if errors.As(err, new(types.NotFoundError)) {
		return nil
	}
	return err
}
