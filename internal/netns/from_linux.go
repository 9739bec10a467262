package netns

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// Pin pins the namespace of somebody else, such as /proc/PID/ns/net, to the file
// path, in place of whatever was pinned there. If it fails nothing is pinned.
func Pin(steps *step.Counter, from, path string) error {
	if !IsNamespace(from) {
		return types.BadRequestErrorf("%s is not a network namespace", from)
	}
	if err := Remove(steps, path); err != nil {
		return err
	}
	if err := steps.Next("netns: pin " + from + " to " + path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("pin network namespace: %w", err)
	}
	if err := f.Close(); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	if err := unix.Mount(from, path, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("pin network namespace: bind %s on %s: %w", from, path, err), os.Remove(path))
	}
	return nil
}
