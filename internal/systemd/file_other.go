//go:build !unix

package systemd

import (
	"errors"
	"net"
	"os"
)

func sendFile(*net.UnixConn, string, int) error { return errors.ErrUnsupported }

func closeOnExec(*os.File) {}
