package libnetwork

import (
	"context"
	"io"

	"github.com/libnetwork/libnetwork/internal/extkey"
	"github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/types"
)

// SetExternalKey tells the controller of another process which network namespace
// the sandbox of a container is to use: key is its path. The controller is found
// by its id in the default run directory, or in LIBNETWORK_RUN_DIR. It returns when
// the sandbox has the namespace, with all that is joined to it.
func SetExternalKey(controllerID string, containerID string, key string) error {
	path, err := extkey.SocketPath(host.RunDirFromEnv(), controllerID)
	if err != nil {
		return err
	}
	return extkey.Send(context.Background(), path, containerID, key)
}

// SetKeyHook makes the calling program an OCI hook (createRuntime, or prestart)
// that hands a container's network namespace to its controller, for a sandbox made
// with OptionUseExternalKey. args are those of the program,
//
//	libnetwork-setkey [-exec-root DIR] CONTAINER_ID CONTROLLER_ID
//
// and stdin has the container's state. DIR is the controller's run directory, by
// default as for SetExternalKey.
//
// No program needs it: the hook may be the program dnet, under the name
// libnetwork-setkey, for any controller. It is for those that bring one program
// alone; they call it, and exit, when they find that name in os.Args[0].
func SetKeyHook(args []string, stdin io.Reader) error {
	if len(args) == 0 {
		return types.BadRequestErrorf("no arguments; usage: %s", extkey.Usage)
	}
	return extkey.Hook(context.Background(), args[1:], stdin, host.RunDirFromEnv())
}
