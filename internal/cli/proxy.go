package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/libnetwork/libnetwork/internal/forward"
)

// ProxyName is the name under which container engines start a program for each
// port that they publish.
const ProxyName = "docker-proxy"

// What a proxy inherits: the pipe for its report, and the socket to serve.
const (
	statusFD = 3
	listenFD = 4
)

// proxyConfig is the command line of a proxy.
type proxyConfig struct {
	proto                   string
	hostIP, containerIP     string
	hostPort, containerPort int
	inherited, version      bool
}

// dockerProxy carries one port to a container until it is told to end. Its
// command line and its report on descriptor 3 are those which Docker Engine
// expects of its helper docker-proxy: "0\n" when the port is served, "1\n" and a
// text when it cannot be.
func (a *app) dockerProxy() *cobra.Command {
	return &cobra.Command{
		Use: ProxyName, Short: "Carry one port of the host to a container", Hidden: true,
		Example:            "  dnet docker-proxy -proto tcp -host-ip 127.0.0.1 -host-port 8080 -container-ip 172.17.0.2 -container-port 80",
		DisableFlagParsing: true, // long flags have one dash
		RunE:               func(cmd *cobra.Command, args []string) error { return a.proxy(cmd.Context(), args) },
	}
}

func (a *app) proxy(ctx context.Context, args []string) error {
	f, err := a.startProxy(ctx, args)
	if err := a.reportProxy(err); err != nil {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
		return err
	}
	if f == nil {
		return nil
	}
	<-ctx.Done()
	return f.Close()
}

// reportProxy tells who has started the proxy how that went, and returns what is
// still to be said.
func (a *app) reportProxy(failed error) error {
	status := a.inherited(statusFD)
	if status == nil {
		return failed // started by hand
	}
	report := "0\n"
	if failed != nil {
		report = "1\n" + failed.Error()
	}
	_, err := io.WriteString(status, report)
	if err = errors.Join(err, status.Close()); err != nil {
		return errors.Join(failed, fmt.Errorf("report to the parent process: %w", err))
	}
	if failed != nil {
		return exitError{code: codeFailed}
	}
	return nil
}

// inherited returns a descriptor that was handed to the program, nil if there is
// none.
func (a *app) inherited(fd uintptr) *os.File {
	if a.Inherited == nil {
		return nil
	}
	return a.Inherited(fd)
}

// startProxy opens the port. It returns nil if all is said and done.
func (a *app) startProxy(ctx context.Context, args []string) (*forward.Forwarder, error) {
	var c proxyConfig
	fs := flag.NewFlagSet(ProxyName, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&c.proto, "proto", "tcp", "tcp or udp")
	fs.StringVar(&c.hostIP, "host-ip", "", "address of the host; none or 0.0.0.0 is all of both families")
	fs.IntVar(&c.hostPort, "host-port", -1, "port of the host")
	fs.StringVar(&c.containerIP, "container-ip", "", "address of the container")
	fs.IntVar(&c.containerPort, "container-port", -1, "port of the container")
	fs.BoolVar(&c.inherited, "use-listen-fd", false, "serve the socket that is inherited as descriptor 4")
	fs.BoolVar(&c.version, "version", false, "print the version and exit")
	fs.BoolVar(&c.version, "v", false, "print the version and exit")
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fs.SetOutput(a.Stdout)
		fs.Usage()
		return nil, nil
	case err != nil:
		return nil, err
	case fs.NArg() > 0:
		return nil, fmt.Errorf("%s takes flags alone, not %q", ProxyName, fs.Args())
	case c.version:
		_, err := fmt.Fprintf(a.Stdout, "dnet %s\n", a.Version)
		return nil, err
	}
	target, err := addrPort("container", c.containerIP, c.containerPort)
	if err != nil {
		return nil, err
	}
	if target.Addr().IsUnspecified() {
		return nil, fmt.Errorf("-container-ip %s is no address of a container", target.Addr())
	}
	f := forward.New(forward.Config{Target: target})
	if err := a.serveProxy(ctx, f, c); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// serveProxy gives the forwarder its socket.
func (a *app) serveProxy(ctx context.Context, f *forward.Forwarder, c proxyConfig) error {
	if c.proto != "tcp" && c.proto != "udp" {
		return fmt.Errorf("protocol %q is not supported: want tcp or udp", c.proto)
	}
	if c.inherited {
		return a.serveInherited(f, c.proto)
	}
	host, err := addrPort("host", c.hostIP, c.hostPort)
	if err != nil {
		return err
	}
	network, address := c.proto, host.String()
	switch {
	case host.Addr() == netip.IPv4Unspecified():
		address = ":" + strconv.Itoa(c.hostPort) // both families
	case host.Addr().Is4():
		network += "4"
	default:
		network += "6"
	}
	var lc net.ListenConfig
	if c.proto == "udp" {
		s, err := lc.ListenPacket(ctx, network, address)
		if err != nil {
			return err
		}
		return f.ServeUDP(s.(*net.UDPConn))
	}
	l, err := lc.Listen(ctx, network, address)
	if err != nil {
		return err
	}
	return f.ServeTCP(l.(*net.TCPListener))
}

// serveInherited serves the socket that came with the process.
func (a *app) serveInherited(f *forward.Forwarder, proto string) error {
	file := a.inherited(listenFD)
	if file == nil {
		return fmt.Errorf("-use-listen-fd: descriptor %d is not open", listenFD)
	}
	defer file.Close()
	if proto == "udp" {
		c, err := net.FilePacketConn(file)
		if err != nil {
			return fmt.Errorf("-use-listen-fd: descriptor %d: %w", listenFD, err)
		}
		if u, ok := c.(*net.UDPConn); ok {
			return f.ServeUDP(u)
		}
		return errors.Join(fmt.Errorf("-use-listen-fd: descriptor %d is no UDP socket", listenFD), c.Close())
	}
	l, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("-use-listen-fd: descriptor %d: %w", listenFD, err)
	}
	if t, ok := l.(*net.TCPListener); ok {
		return f.ServeTCP(t)
	}
	return errors.Join(fmt.Errorf("-use-listen-fd: descriptor %d does not listen for TCP", listenFD), l.Close())
}

// addrPort reads the two flags of one side. No address is the unspecified one.
func addrPort(side, ip string, port int) (netip.AddrPort, error) {
	addr := netip.IPv4Unspecified()
	if ip != "" {
		var err error
		if addr, err = netip.ParseAddr(ip); err != nil {
			return netip.AddrPort{}, fmt.Errorf("-%s-ip: %w", side, err)
		}
	}
	if port < 1 || port > 1<<16-1 {
		return netip.AddrPort{}, fmt.Errorf("-%s-port %d: want 1 to 65535", side, port)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
}
