package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	headerLen = unix.SizeofNlMsghdr
	genLen    = 4 // struct nfgenmsg
)

// A batch is a sequence of netlink messages under construction, as the bytes
// that go to the kernel.
type batch struct {
	buf   []byte
	start int // of the message under construction
	seq   uint32
	// lived says that the addresses to be counted may have had connections
	// before.
	lived bool
	// echo asks to be told of deleted elements as they were.
	echo bool
}

// begin opens a message of the nf_tables subsystem.
func (b *batch) begin(typ, flags uint16, family byte) {
	b.open(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags, family, 0)
}

func (b *batch) open(typ, flags uint16, family byte, res uint16) {
	b.start = len(b.buf)
	b.seq++
	b.buf = append(b.buf, 0, 0, 0, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, flags|unix.NLM_F_REQUEST)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, b.seq)
	b.buf = append(b.buf, 0, 0, 0, 0, family, unix.NFNETLINK_V0)
	b.buf = binary.BigEndian.AppendUint16(b.buf, res)
}

func (b *batch) end() {
	binary.NativeEndian.PutUint32(b.buf[b.start:], uint32(len(b.buf)-b.start))
}

func (b *batch) batchBegin() {
	b.open(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES)
	b.end()
}

func (b *batch) batchEnd() {
	b.open(unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES)
	b.end()
}

func (b *batch) str(typ uint16, s string) { b.attrString(typ, s, true) }

func (b *batch) attrString(typ uint16, s string, zero bool) {
	off := b.nestRaw(typ)
	b.buf = append(b.buf, s...)
	if zero {
		b.buf = append(b.buf, 0)
	}
	b.close(off)
}

func (b *batch) u32(typ uint16, v uint32) {
	off := b.nestRaw(typ)
	b.buf = binary.BigEndian.AppendUint32(b.buf, v)
	b.close(off)
}

func (b *batch) u64(typ uint16, v uint64) {
	off := b.nestRaw(typ)
	b.buf = binary.BigEndian.AppendUint64(b.buf, v)
	b.close(off)
}

// nest opens an attribute of attributes; close ends it.
func (b *batch) nest(typ uint16) int { return b.nestRaw(typ | unix.NLA_F_NESTED) }

func (b *batch) nestRaw(typ uint16) int {
	off := len(b.buf)
	b.buf = append(b.buf, 0, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	return off
}

func (b *batch) close(off int) {
	binary.NativeEndian.PutUint16(b.buf[off:], uint16(len(b.buf)-off))
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

// A conn is a netlink socket of the netfilter family. The kernel answers within
// the system call that sends, so nothing here waits for anything but the kernel's
// own work, and no context is needed.
type conn struct {
	fd  int
	seq uint32
	// sent is the size that the send buffer is known to hold.
	sent int
	rbuf []byte
}

func dial() (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("opening a netfilter socket: %w", os.NewSyscallError("socket", err))
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("opening a netfilter socket: %w", os.NewSyscallError("bind", err))
	}
	// Both only make errors better; a kernel without them still gives numbers.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &conn{fd: fd, sent: 64 << 10}, nil
}

// inherit goes on with the socket of an earlier process, which owns what that has owned, if
// it is one of this namespace.
func (c *conn) inherit(kept int) error {
	fd, err := unix.FcntlInt(uintptr(kept), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	for _, option := range []int{unix.SO_DOMAIN, unix.SO_PROTOCOL, unix.SO_NETNS_COOKIE} {
		have, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, option)
		want, _ := unix.GetsockoptUint64(c.fd, unix.SOL_SOCKET, option)
		if err != nil || have != want {
			return errors.Join(errors.New("it is not one of netfilter in this network namespace"), err, unix.Close(fd))
		}
	}
	own := conn{fd: c.fd}
	c.fd = fd
	c.drain()
	return own.Close()
}

func (c *conn) Close() error { return unix.Close(c.fd) }

// send grows the send buffer where the message needs it.
func (c *conn) send(buf []byte) error {
	if len(buf) > c.sent {
		// Twice, since the kernel counts its own overhead.
		if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*len(buf)); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		c.sent = len(buf)
	}
	for {
		err := unix.Sendto(c.fd, buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return os.NewSyscallError("sendto", err)
		}
	}
}

// recv reads one datagram. Its bytes are valid until the next call.
func (c *conn) recv() ([]byte, error) {
	if c.rbuf == nil {
		c.rbuf = make([]byte, 64<<10)
	}
	for {
		n, _, err := unix.Recvfrom(c.fd, c.rbuf, unix.MSG_DONTWAIT)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		return c.rbuf[:n], nil
	}
}

// drain throws away what an earlier failure may have left unread.
func (c *conn) drain() {
	for {
		if _, err := c.recv(); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
	}
}

// newBatch returns a batch that continues the connection's sequence numbers.
func (c *conn) newBatch() *batch {
	b := &batch{seq: c.seq}
	b.batchBegin()
	return b
}

// commit sends the batch as one transaction.
func (c *conn) commit(b *batch) error { return c.commitEcho(b, nil) }

// commitEcho is commit that hands on what the kernel tells of messages with
// NLM_F_ECHO.
func (c *conn) commitEcho(b *batch, echo func(message)) error {
	first, last := c.seq+1, b.seq
	// Only the last message asks for an answer: errors come unasked, and one
	// answer instead of one a message saves as many system calls.
	binary.NativeEndian.PutUint16(b.buf[b.start+6:],
		binary.NativeEndian.Uint16(b.buf[b.start+6:])|unix.NLM_F_ACK)
	b.batchEnd()
	c.seq = b.seq
	if err := c.send(b.buf); err != nil {
		return err
	}
	var failed error
	for {
		buf, err := c.recv()
		if err != nil {
			c.drain()
			if failed != nil {
				return failed
			}
			return fmt.Errorf("reading the kernel's answer: %w", err)
		}
		for _, m := range messages(buf) {
			if m.typ != unix.NLMSG_ERROR {
				// Linux 6.18 gives what it tells of elements the number 0.
				if echo != nil {
					echo(m)
				}
				continue
			}
			if m.seq < first || m.seq > b.seq {
				continue
			}
			if err := m.err(); err != nil && failed == nil {
				failed = fmt.Errorf("%s: %w", b.describe(m.seq), err)
			}
			if m.seq == last {
				return failed
			}
		}
	}
}

// dump sends one request and calls fn with each answer until the last.
func (c *conn) dump(ctx context.Context, b *batch, fn func(m message) error) error {
	c.seq = b.seq
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.send(b.buf); err != nil {
		return err
	}
	var failed error
	interrupted := false
	for {
		buf, err := c.recv()
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, m := range messages(buf) {
			if m.seq != b.seq {
				continue
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.typ {
			case unix.NLMSG_ERROR:
				return errors.Join(failed, m.err())
			case unix.NLMSG_DONE:
				if failed == nil && interrupted {
					failed = errInterrupted
				}
				return failed
			}
			if failed == nil {
				failed = fn(m)
			}
			if m.flags&unix.NLM_F_MULTI == 0 {
				return failed
			}
		}
	}
}

// errInterrupted says that the dumped objects changed meanwhile.
var errInterrupted = errors.New("dump interrupted")

// A message is one received netlink message.
type message struct {
	typ, flags uint16
	seq        uint32
	data       []byte
}

func (m message) family() byte {
	if len(m.data) < genLen {
		return 0
	}
	return m.data[0]
}

// attrs are the attributes behind the nfnetlink header.
func (m message) attrs() attrs {
	if len(m.data) < genLen {
		return nil
	}
	return attrs(m.data[genLen:])
}

// A kernelError is the kernel's refusal with its own words, where it has some.
type kernelError struct {
	errno unix.Errno
	text  string
}

func (e kernelError) Error() string {
	if e.text == "" {
		return e.errno.Error()
	}
	return e.errno.Error() + " (" + e.text + ")"
}

func (e kernelError) Unwrap() error { return e.errno }

// err is what an NLMSG_ERROR says, nil for an acknowledgement.
func (m message) err() error {
	if len(m.data) < 4+headerLen {
		return errors.New("truncated answer")
	}
	code := -int32(binary.NativeEndian.Uint32(m.data))
	if code == 0 {
		return nil
	}
	e := kernelError{errno: unix.Errno(code)}
	const extAck = 0x200 // NLM_F_ACK_TLVS
	if m.flags&extAck != 0 {
		rest := m.data[4+headerLen:]
		if m.flags&unix.NLM_F_CAPPED == 0 {
			skip := int(binary.NativeEndian.Uint32(m.data[4:])) - headerLen
			rest = rest[min(max(skip, 0), len(rest)):]
		}
		for typ, val := range attrs(rest).all {
			if typ == 1 { // NLMSGERR_ATTR_MSG
				e.text = cstring(val)
			}
		}
	}
	return e
}

// messages cuts a datagram into its messages; what is malformed ends it.
func messages(buf []byte) []message {
	var list []message
	for len(buf) >= headerLen {
		n := int(binary.NativeEndian.Uint32(buf))
		if n < headerLen || n > len(buf) {
			break
		}
		list = append(list, message{
			typ:   binary.NativeEndian.Uint16(buf[4:]),
			flags: binary.NativeEndian.Uint16(buf[6:]),
			seq:   binary.NativeEndian.Uint32(buf[8:]),
			data:  buf[headerLen:n],
		})
		buf = buf[min((n+3)&^3, len(buf)):]
	}
	return list
}

// attrs is a sequence of netlink attributes.
type attrs []byte

// all yields type and value of each attribute; what is malformed ends it.
func (a attrs) all(yield func(uint16, []byte) bool) {
	for len(a) >= 4 {
		n := int(binary.NativeEndian.Uint16(a))
		if n < 4 || n > len(a) {
			return
		}
		typ := binary.NativeEndian.Uint16(a[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if !yield(typ, a[4:n]) {
			return
		}
		a = a[min((n+3)&^3, len(a)):]
	}
}

// get is the value of the first attribute of a type, nil without one.
func (a attrs) get(typ uint16) []byte {
	for t, v := range a.all {
		if t == typ {
			return v
		}
	}
	return nil
}

func cstring(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func be64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// describe says in words what the message with a sequence number was to do.
func (b *batch) describe(seq uint32) string {
	for _, m := range messages(b.buf) {
		if m.seq != seq {
			continue
		}
		if m.typ>>8 != unix.NFNL_SUBSYS_NFTABLES {
			return "transaction"
		}
		family := "ip"
		if m.family() == unix.NFPROTO_IPV6 {
			family = "ip6"
		}
		a := m.attrs()
		// The table is attribute 1 of all objects, the name is 3 of chains and
		// 2 of all others.
		table := family + " " + cstring(a.get(1))
		name := cstring(a.get(2))
		switch m.typ & 0xff {
		case unix.NFT_MSG_NEWTABLE:
			return "creating table " + table
		case unix.NFT_MSG_DELTABLE:
			return "deleting table " + table
		case unix.NFT_MSG_NEWCHAIN:
			return "creating chain " + table + " " + cstring(a.get(unix.NFTA_CHAIN_NAME))
		case unix.NFT_MSG_DELCHAIN:
			return "deleting chain " + table + " " + cstring(a.get(unix.NFTA_CHAIN_NAME))
		case unix.NFT_MSG_NEWSET:
			return "creating set " + table + " " + name
		case unix.NFT_MSG_NEWSETELEM:
			return "adding to set " + table + " " + name
		case unix.NFT_MSG_DELSETELEM:
			return "deleting from set " + table + " " + name
		case unix.NFT_MSG_NEWRULE:
			return "adding a rule to chain " + table + " " + name
		case unix.NFT_MSG_DELRULE:
			return "deleting a rule of chain " + table + " " + name
		}
	}
	return "transaction"
}
