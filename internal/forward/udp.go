package forward

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	// maxDatagram is more than any datagram has, so that none is cut short.
	maxDatagram = 1<<16 - 1
	// maxErrors is how many errors in a row (ICMP: nobody has the port) a flow
	// survives without an answer.
	maxErrors = 64
)

// packetConn is what the forwarder needs of a UDP socket.
type packetConn interface {
	ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error)
	WriteMsgUDPAddrPort(b, oob []byte, addr netip.AddrPort) (n, oobn int, err error)
	Close() error
}

// peer says which flow a datagram belongs to: who has sent it, and to which of
// the host's addresses, if the socket has several.
type peer struct {
	client netip.AddrPort
	host   netip.Addr
}

// A flow is what one client exchanges with the target.
type flow struct {
	peer
	conn net.Conn
	oob  []byte // makes answers leave from the peer's host address
	last time.Time
	elem *list.Element
	// evicted says that another flow has its place.
	evicted bool
}

// flows are those of one socket.
type flows struct {
	f       *Forwarder
	sock    packetConn
	buffers sync.Pool // *[maxDatagram]byte; fresh ones take only the memory that is used

	mu     sync.Mutex // guards the following, and the fields last and evicted of flows
	byPeer map[peer]*flow
	silent list.List // of *flow, that which was silent longest first
}

// serveUDP starts the loop of a socket.
func (f *Forwarder) serveUDP(sock packetConn, ctl control) error {
	fs := &flows{f: f, sock: sock, byPeer: make(map[peer]*flow)}
	fs.buffers.New = func() any { return new([maxDatagram]byte) }
	return f.serve(sock, func() { fs.read(ctl) })
}

// read takes datagrams from clients until the socket is closed.
func (fs *flows) read(ctl control) {
	msg, oob := make([]byte, maxDatagram), make([]byte, controlSize)
	for failures := 0; ; {
		n, oobn, _, client, err := fs.sock.ReadMsgUDPAddrPort(msg, oob)
		if err != nil {
			if !fs.f.pause("read", err, failures) {
				return
			}
			failures++
			continue
		}
		failures = 0
		if host, ok := ctl.host(oob[:oobn]); ok {
			fs.send(peer{client, host}, msg[:n], ctl)
		}
	}
}

// send passes a datagram on to the target.
func (fs *flows) send(p peer, msg []byte, ctl control) {
	fl, err := fs.get(p, ctl)
	if err == nil {
		_, err = fl.conn.Write(msg)
	}
	if err != nil && fl != nil {
		// The socket may have told of an earlier datagram, which nobody has taken.
		_, err = fl.conn.Write(msg)
	}
	if err != nil {
		fs.f.warn("udp", err)
	}
}

// get returns the peer's flow, a new one if it has none.
func (fs *flows) get(p peer, ctl control) (*flow, error) {
	if fl := fs.find(p); fl != nil {
		return fl, nil
	}
	// Only the goroutine that reads the socket gets here: there is one flow a peer.
	if !fs.takePlace() {
		return nil, errNoPlace
	}
	conn, err := fs.f.cfg.Dial(fs.f.ctx, "udp", fs.f.target)
	if err == nil && !fs.f.track(conn) {
		err = ErrClosed
	}
	if err != nil {
		fs.f.leavePlace()
		return nil, err
	}
	fl := &flow{peer: p, conn: conn, oob: ctl.from(p.host), last: time.Now()}
	fs.mu.Lock()
	fs.byPeer[p] = fl
	fl.elem = fs.silent.PushBack(fl)
	fs.mu.Unlock()
	fs.f.stats.opened.Add(1)
	fs.f.stats.flows.Add(1)
	fs.f.wg.Go(func() {
		fs.answer(fl)
		fs.end(fl)
		fs.f.stats.flows.Add(-1)
	})
	return fl, nil
}

// errNoPlace is told of a datagram that is dropped.
var errNoPlace = errors.New("all ports together have as many UDP flows as they may")

// takePlace takes the place of one more flow. Where all are taken the flow of the socket that
// was silent longest leaves its own, if there is one.
func (fs *flows) takePlace() bool {
	fs.mu.Lock()
	full := len(fs.byPeer) >= fs.f.cfg.MaxFlows
	if !full && fs.f.cfg.Flows != nil {
		select {
		case fs.f.cfg.Flows <- struct{}{}:
		default:
			full = true
		}
	}
	var oldest *flow
	if e := fs.silent.Front(); full && e != nil {
		oldest = e.Value.(*flow)
		oldest.evicted = true
		fs.forgetLocked(oldest)
	}
	fs.mu.Unlock()
	if oldest != nil {
		fs.f.stats.evicted.Add(1)
		fs.f.drop(oldest.conn)
	}
	return !full || oldest != nil
}

// leavePlace gives the place of a flow to others.
func (f *Forwarder) leavePlace() {
	if f.cfg.Flows != nil {
		<-f.cfg.Flows
	}
}

// find returns the peer's flow, which has then said something, or nil.
func (fs *flows) find(p peer) *flow {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fl := fs.byPeer[p]
	if fl != nil {
		fs.touchLocked(fl)
	}
	return fl
}

// touch notes that the flow has said something and returns until when it may be
// silent.
func (fs *flows) touch(fl *flow) time.Time {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.touchLocked(fl)
}

func (fs *flows) touchLocked(fl *flow) time.Time {
	fl.last = time.Now()
	fs.silent.MoveToBack(fl.elem) // does nothing if it is forgotten
	return fl.last.Add(fs.f.cfg.Idle)
}

// answer passes on what the target says, until the flow is idle or closed.
func (fs *flows) answer(fl *flow) {
	buf := fs.buffers.Get().(*[maxDatagram]byte)
	defer fs.buffers.Put(buf)
	until, live := fs.until(fl)
	for failures := 0; live && failures < maxErrors; {
		if fl.conn.SetReadDeadline(until) != nil {
			return
		}
		n, err := fl.conn.Read(buf[:])
		switch {
		case err == nil:
			failures = 0
			until = fs.touch(fl)
			// What cannot be sent is lost, as on any wire.
			_, _, _ = fs.sock.WriteMsgUDPAddrPort(buf[:n], fl.oob, fl.client)
		case errors.Is(err, os.ErrDeadlineExceeded):
			until, live = fs.until(fl)
		default:
			failures++
		}
	}
}

// until says when the flow has been idle for long enough if nothing comes. It
// forgets one that already has been, in the same moment, so that a datagram finds
// either a flow that lives on or none.
func (fs *flows) until(fl *flow) (time.Time, bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	until := fl.last.Add(fs.f.cfg.Idle)
	if !time.Now().Before(until) {
		fs.forgetLocked(fl)
		return until, false
	}
	return until, true
}

// end closes the flow.
func (fs *flows) end(fl *flow) {
	fs.mu.Lock()
	fs.forgetLocked(fl)
	leaves := !fl.evicted
	fs.mu.Unlock()
	fs.f.drop(fl.conn)
	if leaves {
		fs.f.leavePlace()
	}
}

// forgetLocked takes the flow out of the table, if it is still in it.
func (fs *flows) forgetLocked(fl *flow) {
	if fs.byPeer[fl.peer] == fl {
		delete(fs.byPeer, fl.peer)
		fs.silent.Remove(fl.elem)
	}
}
