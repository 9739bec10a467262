// Package extkey is the unix socket on which OCI hooks hand the network namespaces
// of containers to a controller: the controller's end, the hook's end, and what
// goes between them.
//
// A hook connects, writes one JSON value, {"ContainerID":"c1","Key":"/proc/42/ns/net"},
// and reads until the end: "success" when the container has its network, else the
// reason why not. Only root and the user of the controller are listened to.
//
// A Server may be used from many goroutines; Close ends and awaits its own. No
// more than [MaxConns] hooks are served at a time, the next ones wait.
package extkey

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/libnetwork/libnetwork/types"
)

const (
	// MaxConns is how many hooks are served at a time.
	MaxConns = 64
	// maxMessage is how long a request or a reply may be, in bytes.
	maxMessage = 64 << 10
	// readTime is how long a hook may take to say what it wants.
	readTime = 10 * time.Second
	// serveTime is how long a hook waits for its reply, and how long the controller
	// tries.
	serveTime = 30 * time.Second

	// idLength is how much of a controller's id is in the name of its socket.
	idLength = 12
	success  = "success"
)

// request is what a hook says. Other members are for other controllers.
type request struct{ ContainerID, Key string }

// decode reads one request, and no further than maxMessage bytes.
func decode(r io.Reader) (request, error) {
	var req request
	limited := &io.LimitedReader{R: r, N: maxMessage}
	err := json.NewDecoder(limited).Decode(&req)
	switch {
	case err != nil && limited.N == 0:
		return request{}, types.BadRequestErrorf("the request is longer than %d bytes", maxMessage)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return request{}, types.TimeoutErrorf("no whole request came in time")
	case err != nil:
		return request{}, types.BadRequestErrorf("the request is not understood: %w", err)
	case req.ContainerID == "" || req.Key == "":
		return request{}, types.BadRequestErrorf("the request names no ContainerID or no Key")
	}
	return req, nil
}

// SocketPath is where the controller of an id listens.
func SocketPath(runDir, controllerID string) (string, error) {
	if controllerID == "" || filepath.Base(controllerID) != controllerID {
		return "", types.BadRequestErrorf("controller id %q is not one", controllerID)
	}
	return filepath.Join(runDir, controllerID[:min(idLength, len(controllerID))]+".sock"), nil
}

// Send tells the controller that listens at path which network namespace the
// sandbox of a container is to use. An error of the connection is returned as it
// is; what the controller refuses is an Internal error with its text.
func Send(ctx context.Context, path, containerID, key string) error {
	ctx, cancel := context.WithTimeout(ctx, serveTime)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	wrote := json.NewEncoder(c).Encode(request{containerID, key})
	// A controller that refuses may not have listened to the end: its reply counts.
	reply, err := io.ReadAll(io.LimitReader(c, maxMessage))
	switch {
	case string(reply) == success:
		return nil
	case len(reply) > 0:
		return types.InternalErrorf("%s", reply)
	case wrote != nil:
		return wrote
	case err != nil:
		return err
	}
	return types.InternalErrorf("the controller at %s has closed the connection without a reply", path)
}
