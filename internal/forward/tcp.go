package forward

import (
	"context"
	"fmt"
	"net"
)

// acceptTCP carries the connections of one listener until it is closed.
func (f *Forwarder) acceptTCP(l *net.TCPListener) {
	for failures := 0; ; {
		select {
		case f.slots <- struct{}{}:
		case <-f.ctx.Done():
			return
		}
		c, err := l.AcceptTCP()
		if err != nil {
			<-f.slots
			if !f.pause("accept", err, failures) {
				return
			}
			failures++
			continue
		}
		failures = 0
		if f.cfg.Conns != nil {
			select {
			case f.cfg.Conns <- struct{}{}:
			case <-f.ctx.Done():
				reset(c)
				return
			}
		}
		f.stats.accepted.Add(1)
		f.stats.conns.Add(1)
		f.wg.Go(func() {
			f.carry(c)
			f.stats.conns.Add(-1)
			if f.cfg.Conns != nil {
				<-f.cfg.Conns
			}
			<-f.slots
		})
	}
}

// carry connects one client with the target until both have ended.
func (f *Forwarder) carry(client *net.TCPConn) {
	if !f.track(client) {
		return
	}
	defer f.drop(client)
	target, err := f.dialTCP()
	if err != nil {
		f.stats.failed.Add(1)
		f.warn("tcp", err)
		reset(client) // the nearest thing to the refusal that it would have got
		return
	}
	cut := func() {
		reset(client)
		reset(target)
	}
	if !f.track(target) {
		cut() // closed meanwhile: neither side shall take that for an end
		return
	}
	defer f.drop(target)
	back := make(chan struct{})
	f.wg.Go(func() {
		defer close(back)
		if !pass(client, target) {
			cut()
		}
	})
	if !pass(target, client) {
		cut()
	}
	<-back
}

func (f *Forwarder) dialTCP() (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(f.ctx, f.cfg.Timeout)
	defer cancel()
	c, err := f.cfg.Dial(ctx, "tcp", f.target)
	if err != nil {
		return nil, err
	}
	t, ok := c.(*net.TCPConn)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("dial tcp %s: got a %T, which is no TCP connection", f.target, c)
	}
	return t, nil
}

// pass carries one direction to its end and passes the end on. It returns false
// if the connection broke: then the other direction is to be cut too.
func pass(dst, src *net.TCPConn) bool {
	// ReadFrom, and not io.Copy: that would find WriteTo first and take a longer way.
	if _, err := dst.ReadFrom(src); err != nil {
		return false
	}
	return dst.CloseWrite() == nil
}

// reset ends a connection so that the other side sees that it was cut.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
