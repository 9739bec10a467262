package dnsserver

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// frameTimeout is how long a TCP client may take for one message, once
	// begun, and for taking one reply.
	frameTimeout = 2 * time.Second
	// pipeline is how many forwarded queries of one connection may wait; further
	// ones are left in the socket.
	pipeline = 32
)

// clientConn is a TCP connection from a client.
type clientConn struct {
	net.Conn
	active atomic.Int64 // UnixNano of the last message
	slots  chan struct{}

	writeMu sync.Mutex // one reply at a time
}

// serveTCP accepts connections until the listener is closed.
func (s *Server) serveTCP(l net.Listener) {
	for failures := 0; ; {
		conn, err := l.Accept()
		if err != nil {
			if !s.pause("accept", err, failures) {
				return
			}
			failures++
			continue
		}
		failures = 0
		c := &clientConn{Conn: conn, slots: make(chan struct{}, pipeline)}
		c.active.Store(time.Now().UnixNano())
		if !s.admit(c) {
			return
		}
		s.wg.Go(func() { s.serveConn(c) })
	}
}

// admit notes a new connection, at the cost of the most silent one if there are
// too many: whoever holds connections open cannot shut others out.
func (s *Server) admit(c *clientConn) bool {
	if !s.track(c) {
		return false
	}
	s.mu.Lock()
	var silent *clientConn
	if len(s.conns) >= s.cfg.MaxConns {
		for o := range s.conns {
			if silent == nil || o.active.Load() < silent.active.Load() {
				silent = o
			}
		}
		delete(s.conns, silent)
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	if silent != nil {
		s.drop(silent)
	}
	return true
}

// serveConn answers the messages of one connection, in any order (RFC 7766
// section 6.2.1.1), until the client ends it or breaks the protocol.
func (s *Server) serveConn(c *clientConn) {
	var waiting sync.WaitGroup
	defer func() {
		// A client may close its side after the last query and still read.
		waiting.Wait()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.drop(c)
	}()
	a := answerer{s: s}
	var msg, out []byte
	for {
		var err error
		if msg, err = c.readMessage(msg, s.cfg.IdleTimeout); err != nil {
			return
		}
		reply, forward := a.handle(append(out[:0], 0, 0), msg, false)
		switch {
		case len(reply) > 0:
			out = reply
			if err := c.writeFrame(reply); err != nil {
				return
			}
		case len(forward) > 0:
			select {
			case c.slots <- struct{}{}:
			case <-s.ctx.Done():
				return
			}
			query := append([]byte(nil), forward...)
			waiting.Add(1)
			s.wg.Go(func() {
				defer func() { <-c.slots; waiting.Done() }()
				s.forwardTCP(c, query)
			})
		}
	}
}

// readMessage reads one message into buf, which grows as needed.
func (c *clientConn) readMessage(buf []byte, idle time.Duration) ([]byte, error) {
	var size [2]byte
	_ = c.SetReadDeadline(time.Now().Add(idle))
	if _, err := io.ReadFull(c, size[:1]); err != nil {
		return buf, err
	}
	now := time.Now()
	c.active.Store(now.UnixNano())
	_ = c.SetReadDeadline(now.Add(frameTimeout))
	if _, err := io.ReadFull(c, size[1:]); err != nil {
		return buf, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n < headerLen {
		return buf, io.ErrUnexpectedEOF
	}
	if cap(buf) < n {
		buf = make([]byte, max(n, minUDP))
	}
	_, err := io.ReadFull(c, buf[:n])
	return buf[:n], err
}

// writeFrame sends a reply that has room for its length in the first two bytes.
func (c *clientConn) writeFrame(frame []byte) error {
	binary.BigEndian.PutUint16(frame, uint16(len(frame)-2))
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(frameTimeout))
	_, err := c.Write(frame)
	return err
}

func (s *Server) forwardTCP(c *clientConn, msg []byte) {
	var reply []byte
	if s.enter() {
		defer s.outstanding.Add(-1)
		reply = s.resolve("tcp", msg)
	} else {
		reply = s.failure(msg, rcodeLimit)
	}
	if reply == nil {
		return // the server is closed
	}
	if err := c.writeFrame(append(make([]byte, 2, 2+len(reply)), reply...)); err != nil {
		_ = c.Close() // ends its reader
	}
}
