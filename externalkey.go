package libnetwork

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"time"

	"github.com/libnetwork/libnetwork/internal/host"
)

// externalKeyTime is how long SetExternalKey waits for a controller.
const externalKeyTime = 30 * time.Second

// SetExternalKey tells the controller of another process which network namespace
// the sandbox of a container is to use: key is its path. The controller is found
// by its id in the default run directory, or in LIBNETWORK_RUN_DIR.
func SetExternalKey(controllerID string, containerID string, key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), externalKeyTime)
	defer cancel()
	path := filepath.Join(host.RunDirFromEnv(), controllerID[:min(12, len(controllerID))]+".sock")
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	request := struct{ ContainerID, Key string }{containerID, key}
	if err := json.NewEncoder(c).Encode(request); err != nil {
		return err
	}
	const most = 64 << 10
	reply, err := io.ReadAll(io.LimitReader(c, most))
	if err != nil {
		return err
	}
	if string(reply) != "success" {
		return errors.New(string(reply))
	}
	return nil
}
