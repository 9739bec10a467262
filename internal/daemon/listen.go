package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/libnetwork/libnetwork/internal/api"
	"github.com/libnetwork/libnetwork/internal/systemd"
	"github.com/libnetwork/libnetwork/internal/unixsock"
	"github.com/libnetwork/libnetwork/types"
)

const (
	// socketGroup may use the socket beside root, where it exists.
	socketGroup = "dnet"
	socketMode  = 0o660
	// activated is the address that stands for sockets handed over by the service
	// manager.
	activated = "fd://"
	// probeTime is how long another daemon may take to answer.
	probeTime = 2 * time.Second
)

// checkHosts refuses addresses that cannot be served, before anything is begun.
func checkHosts(hosts []string, insecure bool) error {
	if len(hosts) == 0 {
		return types.BadRequestErrorf("no address to listen at")
	}
	seen := make(map[string]bool)
	for _, h := range hosts {
		if seen[h] {
			return types.BadRequestErrorf("address %s is given twice", h)
		}
		seen[h] = true
		if h == activated {
			continue
		}
		network, address, err := api.ParseHost(h)
		if err != nil {
			return err
		}
		if network == "tcp" && !insecure && !loopback(address) {
			return types.BadRequestErrorf("address %s can be reached from other hosts, and whoever reaches it owns this one: use a loopback address, or say --insecure", h)
		}
	}
	return nil
}

// checkMetricsAddr refuses an address that nothing can listen at. All addresses of
// the host have to be named: who can see what it does is to be somebody's choice.
func checkMetricsAddr(addr string) error {
	if addr == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return types.BadRequestErrorf("address for metrics %q: want HOST:PORT, such as 127.0.0.1:9323", addr)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return types.BadRequestErrorf("address for metrics %q: the port is not a number up to 65535", addr)
	}
	return nil
}

// loopback says whether an address is one of this host alone. Names other than
// localhost are not looked up: what they mean can change.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// listenAll opens all listeners, or none.
func listenAll(ctx context.Context, cfg Config, manager *systemd.Manager) (out []net.Listener, err error) {
	defer func() {
		if err != nil {
			closeAll(out)
		}
	}()
	for _, h := range cfg.Hosts {
		if h == activated {
			list, err := manager.Listeners()
			if err != nil {
				return out, fmt.Errorf("address %s: %w", activated, err)
			}
			out = append(out, list...)
			continue
		}
		network, address, err := api.ParseHost(h)
		if err != nil {
			return out, err
		}
		var l net.Listener
		if network == "unix" {
			l, err = listenUnix(ctx, address, cfg.Engine.Logger)
		} else {
			cfg.Engine.Logger.Warn("every user of this host can use the daemon over TCP, as root", "host", h)
			l, err = new(net.ListenConfig).Listen(ctx, network, address)
		}
		if err != nil {
			return out, fmt.Errorf("listen at %s: %w", h, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// listenMetrics opens the listener for metrics, if there is to be one.
func listenMetrics(ctx context.Context, addr string) ([]net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve metrics at %s: %w", addr, err)
	}
	return []net.Listener{l}, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

// listenUnix makes a socket that only root and the group can use. A socket there
// that nobody answers at is replaced.
func listenUnix(ctx context.Context, path string, log *slog.Logger) (net.Listener, error) {
	if err := probe(ctx, path); err != nil {
		return nil, err
	}
	return unixsock.Listen(ctx, path, func(path string) error {
		if g, err := user.LookupGroup(socketGroup); err == nil {
			gid, err := strconv.Atoi(g.Gid)
			if err == nil {
				err = os.Chown(path, -1, gid)
			}
			if err != nil {
				log.Warn("the group cannot use the socket", "group", socketGroup, "err", err)
			}
		}
		return os.Chmod(path, socketMode)
	})
}

// probe refuses a path that is in use.
func probe(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return types.ForbiddenErrorf("%s exists and is not a socket: remove it, or choose another path", path)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil //nolint:nilerr // nobody answers: the file is stale
	}
	_ = conn.Close()
	return types.ForbiddenErrorf("another daemon answers at %s: stop it first, or choose another path with -H", path)
}
