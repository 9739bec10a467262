package nft

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/types"
)

// redirectTable is the table inside a sandbox. It is not that of a firewall: the
// command in the sandbox may be a daemon itself.
const redirectTable = DefaultTable + "_dns"

// resolverAddr is where a container finds its DNS server, resolverPort the port
// at which it asks.
const resolverPort = 53

func resolverAddr() netip.Prefix { return netip.MustParsePrefix("127.0.0.11/32") }

// A Redirector sets redirects. The zero value is ready; it is safe for
// concurrent use.
type Redirector struct {
	once  sync.Once
	err   error
	fresh template // for a namespace without the table
	again template // for one that has it
	// buffers are those of connections, which are many and short.
	buffers sync.Pool
}

// A template is encoded messages that lack nothing but the port.
type template struct {
	buf      []byte
	ports    []int // offsets of the port
	comments []int // offsets of the rules' comments
}

// Set leads port 53 of 127.0.0.11, UDP and TCP, in the namespace that
// nsFD is open on, to another port of that address: both ways on output, without
// connection tracking, so the namespace needs none and port 53 stays free for
// anybody. What an earlier call left in the table "ip libnetwork_dns" of that
// namespace is replaced in one transaction; if it is as wanted, nothing is written.
func (r *Redirector) Set(ctx context.Context, nsFD int, port uint16) error {
	if port == 0 {
		return types.BadRequestErrorf("redirect of the DNS port: port 0")
	}
	if r.once.Do(r.prepare); r.err != nil {
		return r.err
	}
	c, done, err := r.dialIn(ctx, nsFD)
	if err != nil {
		return fmt.Errorf("redirecting the DNS port to %d: %w", port, err)
	}
	defer done()
	// Asking first costs little; a transaction that fails, or that deletes before
	// the socket is closed, makes the kernel wait for 15 ms or more.
	d, err := c.dumpTable(ctx, unix.NFPROTO_IPV4, redirectTable)
	switch {
	case err != nil:
	case d == nil:
		err = c.commit(r.fresh.patched(c, port, false))
	case d.same(redirectRules(port)):
	default:
		if err = c.commit(r.again.patched(c, port, false)); err != nil {
			// Somebody else's chain of that name.
			err = c.commit(r.fresh.patched(c, port, true))
		}
	}
	if err != nil {
		return fmt.Errorf("redirecting the DNS port to %d: %w", port, err)
	}
	return nil
}

// Remove takes the redirect away; there being none is no error. It is
// not needed for a namespace that is about to end.
func (r *Redirector) Remove(ctx context.Context, nsFD int) error {
	c, done, err := r.dialIn(ctx, nsFD)
	if err != nil {
		return fmt.Errorf("removing the redirect of the DNS port: %w", err)
	}
	defer done()
	// A transaction that fails makes the kernel wait.
	if _, ok, err := c.tableFlags(ctx, unix.NFPROTO_IPV4, redirectTable); err == nil && !ok {
		return nil
	}
	b := c.newBatch()
	b.delTable(unix.NFPROTO_IPV4, redirectTable)
	if err := c.commit(b); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing the redirect of the DNS port: %w", err)
	}
	return nil
}

// portMark stands in the template where the port goes.
const portMark = 0xfedc

// prepare encodes the messages once; only the port differs between sandboxes.
func (r *Redirector) prepare() {
	f := familyOf(false)
	chain := redirectChain(portMark)
	b := &batch{}
	b.newTable(f.num, redirectTable, 0, unix.NLM_F_EXCL)
	b.newChain(f.num, redirectTable, &chain, unix.NLM_F_EXCL)
	r.fresh, r.err = newTemplate(b, &chain)
	if r.err != nil {
		return
	}
	b = &batch{}
	b.newChain(f.num, redirectTable, &chain, 0)
	b.flushChain(f.num, redirectTable, chain.name)
	r.again, r.err = newTemplate(b, &chain)
}

// newTemplate adds the rules to b and finds the port.
func newTemplate(b *batch, chain *chainDef) (template, error) {
	for _, r := range chain.rules {
		err := b.newRule(unix.NFPROTO_IPV4, redirectTable, chain.name, r.comment(), r.exprs, 0)
		if err != nil {
			return template{}, err
		}
	}
	t := template{buf: b.buf}
	mark := binary.BigEndian.AppendUint16(nil, portMark)
	for i := 0; i+1 < len(b.buf); i++ {
		if b.buf[i] == mark[0] && b.buf[i+1] == mark[1] {
			t.ports = append(t.ports, i)
		}
	}
	for _, r := range chain.rules {
		t.comments = append(t.comments, bytes.Index(b.buf, []byte(r.comment())))
	}
	if len(t.ports) != len(chain.rules) {
		return template{}, types.InternalErrorf("the redirect's template holds the port %d times", len(t.ports))
	}
	return t, nil
}

// patched returns the transaction for a port; replace deletes the table first.
func (t template) patched(c *conn, port uint16, replace bool) *batch {
	b := c.newBatch()
	if replace {
		b.delTable(unix.NFPROTO_IPV4, redirectTable)
	}
	off := len(b.buf)
	b.buf = append(b.buf, t.buf...)
	for _, at := range t.ports {
		binary.BigEndian.PutUint16(b.buf[off+at:], port)
	}
	for i, rule := range redirectChain(port).rules {
		copy(b.buf[off+t.comments[i]:], rule.comment())
	}
	// Messages of the template get the numbers that follow.
	for at := off; at < len(b.buf); {
		b.seq++
		b.start = at
		binary.NativeEndian.PutUint32(b.buf[at+8:], b.seq)
		at += int(binary.NativeEndian.Uint32(b.buf[at:]))
	}
	return b
}

// redirectChain rewrites questions and answers: both leave by the same hook,
// since both ends are in this namespace. It stands before connection tracking
// (priority -200).
func redirectChain(port uint16) chainDef {
	f := familyOf(false)
	chain := chainDef{
		name: "output", kind: "filter", hook: "output", hooknum: unix.NF_INET_LOCAL_OUT, priority: -300,
	}
	for _, p := range []struct {
		name string
		num  byte
		csum uint32 // offset of the checksum
	}{{"udp", unix.IPPROTO_UDP, 6}, {"tcp", unix.IPPROTO_TCP, 16}} {
		chain.rules = append(chain.rules,
			newRule("", f.addr("daddr", true, resolverAddr()), l4proto(p.name, p.num),
				portIs("dport", 2, resolverPort), notrack(), setPort(p.name+" dport", 2, p.csum, port)),
			newRule("", f.addr("saddr", true, resolverAddr()), l4proto(p.name, p.num),
				portIs("sport", 0, port), notrack(), setPort(p.name+" sport", 0, p.csum, resolverPort)))
	}
	return chain
}

func portIs(word string, off uint32, port uint16) stmt {
	return stmt{fmt.Sprintf("th %s %d", word, port), []expr.Any{
		&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseTransportHeader, Offset: off, Len: 2},
		compare(expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, port)),
	}}
}

func notrack() stmt { return stmt{"notrack", []expr.Any{&expr.Notrack{}}} }

func setPort(word string, off, csum uint32, port uint16) stmt {
	return stmt{fmt.Sprintf("%s set %d", word, port), []expr.Any{
		&expr.Immediate{Register: reg0, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: reg0,
			Base: expr.PayloadBaseTransportHeader, Offset: off, Len: 2,
			CsumType: expr.CsumTypeInet, CsumOffset: csum,
		},
	}}
}

// RenderRedirect is the text of a redirect's table.
func RenderRedirect(port uint16) string {
	return redirectRules(port).text(redirectTable)
}

func redirectRules(port uint16) *ruleset {
	return &ruleset{fam: familyOf(false), chains: []chainDef{redirectChain(port)}}
}

// dialIn opens a connection to the kernel in another namespace, to be ended by done.
func (r *Redirector) dialIn(ctx context.Context, nsFD int) (c *conn, done func(), err error) {
	if c, err = dialIn(ctx, nsFD); err != nil {
		return nil, nil, err
	}
	if buf, ok := r.buffers.Get().(*[]byte); ok {
		c.rbuf = *buf
	}
	return c, func() {
		_ = c.Close()
		r.buffers.Put(&c.rbuf)
	}, nil
}

// dialIn opens a connection to the kernel in another namespace. The socket stays
// there; the thread comes back, or ends with the goroutine that it is locked to.
func dialIn(ctx context.Context, nsFD int) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	type result struct {
		c   *conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			done <- result{nil, fmt.Errorf("opening the thread's namespace: %w", err)}
			return
		}
		defer unix.Close(home)
		if err := unix.Setns(nsFD, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- result{nil, os.NewSyscallError("setns", err)}
			return
		}
		c, err := dial()
		// Without the way back the thread stays locked, and ends here.
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- result{c, err}
	}()
	r := <-done
	return r.c, r.err
}
