package extkey

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/libnetwork/libnetwork/types"
)

// Name is the name under which a program is the hook.
const Name = "libnetwork-setkey"

// Usage says how the hook is called.
const Usage = Name + " [-exec-root DIR] CONTAINER_ID CONTROLLER_ID"

// maxState is how long the state of a container may be, in bytes: it holds the
// annotations of its user.
const maxState = 4 << 20

// Hook is the OCI hook createRuntime, or prestart: it reads the container's state
// from stdin (runtime-spec, "State") and hands the network namespace of its
// process to a controller. args are those after the name. The controller's socket
// is in runDir, or in the directory of -exec-root or the libnetwork one below it.
//
// The error is of class BadRequest for arguments or a state that make no sense.
func Hook(ctx context.Context, args []string, stdin io.Reader, runDir string) error {
	fs := flag.NewFlagSet(Name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	root := fs.String("exec-root", "", "")
	if err := fs.Parse(args); err != nil {
		return types.BadRequestErrorf("%w; usage: %s", err, Usage)
	}
	if fs.NArg() != 2 || fs.Arg(0) == "" {
		return types.BadRequestErrorf("a container's id and a controller's are wanted, not %q; usage: %s", fs.Args(), Usage)
	}
	container, controller := fs.Arg(0), fs.Arg(1)
	pid, err := readPID(stdin)
	if err != nil {
		return err
	}
	path, err := find(runDir, *root, controller)
	if err != nil {
		return err
	}
	return Send(ctx, path, container, fmt.Sprintf("/proc/%d/ns/net", pid))
}

// readPID reads the process of a container's state.
func readPID(stdin io.Reader) (int, error) {
	var state struct {
		PID int `json:"pid"`
	}
	if err := json.NewDecoder(io.LimitReader(stdin, maxState)).Decode(&state); err != nil {
		return 0, types.BadRequestErrorf("read the container's state from standard input: %w", err)
	}
	if state.PID <= 0 {
		return 0, types.BadRequestErrorf("the container's state names the process %d: the hook belongs under createRuntime or prestart, when there is one", state.PID)
	}
	return state.PID, nil
}

// find returns where the controller's socket is: with a root it may be the run
// directory, or that above it.
func find(runDir, root, controller string) (string, error) {
	if root == "" {
		return SocketPath(runDir, controller)
	}
	below, err := SocketPath(filepath.Join(root, "libnetwork"), controller)
	if err != nil {
		return "", err
	}
	if _, err := os.Lstat(below); err == nil {
		return below, nil
	}
	return SocketPath(root, controller)
}
