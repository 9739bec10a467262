package api

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/libnetwork/libnetwork/types"
)

// DefaultSocket is the path of the daemon's socket.
const DefaultSocket = "/run/libnetwork/dnet.sock"

// DefaultHost is where the daemon is if nothing else is said.
const DefaultHost = "unix://" + DefaultSocket

// maxSocketPath is the room for a path in struct sockaddr_un, less the final
// zero.
const maxSocketPath = 107

// ParseHost reads the address of a daemon, unix:///PATH or tcp://HOST:PORT, into
// what package net calls network and address.
func ParseHost(s string) (network, address string, err error) {
	scheme, rest, found := strings.Cut(s, "://")
	bad := func(why string) (string, string, error) {
		return "", "", types.BadRequestErrorf("daemon address %q: %s; want unix:///PATH or tcp://HOST:PORT", s, why)
	}
	if !found {
		return bad("it has no scheme")
	}
	switch scheme {
	case "unix":
		switch {
		case !filepath.IsAbs(rest) && !strings.HasPrefix(rest, "/"):
			return bad("the path is not absolute")
		case len(rest) > maxSocketPath:
			return bad("the path is longer than " + strconv.Itoa(maxSocketPath) + " bytes")
		}
		return "unix", rest, nil
	case "tcp":
		host, port, err := net.SplitHostPort(rest)
		if err != nil || host == "" {
			return bad("it has no host or no port")
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 && port != "0" {
			return bad("the port is not a number up to 65535")
		}
		return "tcp", net.JoinHostPort(host, port), nil
	default:
		return bad("scheme " + scheme + " is not known")
	}
}
