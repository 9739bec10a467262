package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/forward"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// maxConns and maxFlows are how many TCP connections and UDP flows a port carries at most.
const maxConns, maxFlows = 4096, 1024

// budget is how many TCP connections and UDP flows all ports carry together: half of the
// descriptors that the process may have are for all else, whatever clients do.
func budget() (conns, flows chan struct{}) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 1024
	}
	files := int(min(limit.Cur, 1<<20)) / 2
	return make(chan struct{}, max(1, files*2/3/forward.ConnFiles)), make(chan struct{}, max(1, files/3))
}

// createForward serves a port with the socket that holds it.
func (k *Kernel) createForward(o model.Forward) error {
	k.mu.Lock()
	_, there := k.forwards[o.Key()]
	k.mu.Unlock()
	if there {
		return nil // an undo makes again what may never have gone
	}
	file, err := k.ports.Serve(o.Proto, o.Host, o.Apart)
	if o.Beside && errors.As(err, new(types.NoServiceError)) {
		return nil // the rule does without
	}
	if err != nil {
		return err
	}
	defer file.Close()
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return k.host.DialBy(ctx, o.Link, network, address)
	}
	f := forward.New(forward.Config{
		Target: o.Target, Dial: dial, Logger: k.log,
		MaxConns: min(maxConns, max(1, cap(k.conns)/2)), Conns: k.conns,
		MaxFlows: min(maxFlows, max(1, cap(k.flows)/2)), Flows: k.flows,
	})
	if err := serveFile(f, o, file); err != nil {
		return errors.Join(fmt.Errorf("forward %s to %s: %w", o.Host, o.Target, err), f.Close(), k.ports.Rest(o.Proto, o.Host))
	}
	k.mu.Lock()
	closed := k.forwards == nil
	if !closed {
		k.forwards[o.Key()] = f
	}
	k.mu.Unlock()
	if closed {
		return errors.Join(fmt.Errorf("forward %s after the controller has been stopped: %w", o.Host, context.Canceled), f.Close())
	}
	return nil
}

// serveFile gives the forwarder the socket.
func serveFile(f *forward.Forwarder, o model.Forward, file *os.File) error {
	if o.Proto == unix.IPPROTO_UDP {
		c, err := net.FilePacketConn(file)
		if err != nil {
			return err
		}
		return f.ServeUDP(c.(*net.UDPConn))
	}
	l, err := net.FileListener(file)
	if err != nil {
		return err
	}
	return f.ServeTCP(l.(*net.TCPListener))
}

// deleteForward ends a forward. What it has connected is cut.
func (k *Kernel) deleteForward(o model.Forward) error {
	k.mu.Lock()
	f := k.forwards[o.Key()]
	delete(k.forwards, o.Key())
	k.mu.Unlock()
	if f == nil {
		return nil
	}
	// Deaf first: nobody shall get into the queue that nobody accepts from.
	return errors.Join(k.ports.Rest(o.Proto, o.Host), f.Close())
}

// closeForwards ends all of them for good.
func (k *Kernel) closeForwards() error {
	k.mu.Lock()
	all := k.forwards
	k.forwards = nil
	k.mu.Unlock()
	var errs []error
	for f := range maps.Values(all) {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
