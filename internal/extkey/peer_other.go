//go:build !linux

package extkey

import (
	"net"
	"os"
)

// peer trusts the mode of the socket.
func peer(net.Conn) (uid int, err error) { return os.Geteuid(), nil }
