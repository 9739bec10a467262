package scenario_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/engine"
	assemble "github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/kernel"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nlevents"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// daemonEnv holds the data and run directories and the backend of a process that
// keeps containers alive as the daemon does, until its standard input ends.
const daemonEnv = "LIBNETWORK_SCENARIO_DAEMON"

// daemon says "ready" and the path of the namespace of its one container, which it
// makes if there is none.
func daemon() {
	if err := runDaemon(strings.Split(os.Getenv(daemonEnv), ":")); err != nil {
		println(err.Error())
		os.Exit(1)
	}
}

func runDaemon(args []string) error {
	ctx := context.Background()
	e, release, err := assemble.Open(ctx, assemble.Options{
		DataDir: args[0], RunDir: args[1], Firewall: kernel.Backend(args[2]), KeepAlive: true, SmallPools: true, Forwarding: true,
		DirectRouting: os.Getenv(daemonEnv+"_DIRECT") != "", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	s, err := e.SandboxByContainer("c1")
	if err != nil {
		if s, err = makeContainer(ctx, e); err != nil {
			return err
		}
	}
	if _, err := fmt.Println("ready", s.Record().Key); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	if os.Getenv(daemonEnv+"_END") != "" {
		if err := s.Delete(ctx); err != nil {
			return err
		}
		for _, n := range e.Networks() {
			if err := n.Delete(ctx); err != nil {
				return err
			}
		}
	}
	return release()
}

func makeContainer(ctx context.Context, e *engine.Engine) (*engine.Sandbox, error) {
	req := engine.NetworkRequest{
		Driver: "bridge", Name: "web", IPv6: os.Getenv(daemonEnv+"_FOUR") == "",
		IPAM: model.IPAM{Conf4: []model.IPAMConf{{Pool: "10.99.1.0/24"}}},
	}
	if req.IPv6 {
		req.IPAM.Conf6 = []model.IPAMConf{{Pool: "fd99:0:0:1::/64"}}
	}
	n, err := e.CreateNetwork(ctx, req)
	if err != nil {
		return nil, err
	}
	return e.CreateContainer(ctx, engine.SandboxRequest{ContainerID: "c1", Publish: []model.Publish{
		{Proto: unix.IPPROTO_TCP, First: 8080, Last: 8080, Port: port, PortLast: port},
		{Proto: unix.IPPROTO_UDP, First: 8080, Last: 8080, Port: port, PortLast: port},
	}}, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: "c1"}}})
}

// aDaemon is a process that runs as a daemon.
type aDaemon struct {
	*nstest.Child
	key string
}

func (h *host) daemon(on backend, env ...string) *aDaemon {
	h.t.Helper()
	c := nstest.StartChild(h.t, append(env, daemonEnv+"="+h.data+":"+h.run+":"+string(on.alone()))...)
	key, ok := strings.CutPrefix(c.Said, "ready ")
	if !ok {
		h.t.Fatalf("the daemon says %q", c.Said)
	}
	return &aDaemon{c, key}
}

// stop ends the daemon in peace, kill without.
func (d *aDaemon) stop(t *testing.T) {
	t.Helper()
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
}

func (d *aDaemon) kill(t *testing.T) {
	t.Helper()
	if err := d.Kill(); err != nil {
		t.Error(err)
	}
}

// echo answers what it gets, in a namespace, until the function returned is called.
func echo(t *testing.T, ns *netns.Namespace) (stop func()) {
	t.Helper()
	var wg sync.WaitGroup
	var closers []io.Closer
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		l, err := ns.ListenTCP(netip.AddrPortFrom(a, port))
		if err != nil {
			t.Fatal(err)
		}
		u, err := ns.ListenUDP(netip.AddrPortFrom(a, port))
		if err != nil {
			t.Fatal(err)
		}
		closers = append(closers, l, u)
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				wg.Go(func() {
					_, _ = io.Copy(c, c)
					_ = c.Close()
				})
			}
		})
		wg.Go(func() {
			buf := make([]byte, 64)
			for {
				n, from, err := u.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				_, _ = u.WriteToUDPAddrPort(buf[:n], from)
			}
		})
	}
	return func() {
		for _, c := range closers {
			_ = c.Close()
		}
		wg.Wait()
	}
}

// flows are connections over which numbers go back and forth.
type flows struct {
	conns  []net.Conn
	rounds []atomic.Int64
	wg     sync.WaitGroup
	stop   atomic.Bool
	errs   chan error
	udp    []*stream
}

// A stream is of datagrams, each with a number.
type stream struct {
	name       string
	conn       net.Conn
	sent, back atomic.Int64
}

// flows begins n connections and two streams.
func (h *host) flows(n int) *flows {
	h.t.Helper()
	f := h.tcpFlows(n)
	for _, addr := range []string{hostV4, hostV6} {
		s := &stream{name: addr, conn: h.dial("udp", addr)}
		f.udp = append(f.udp, s)
		f.wg.Go(func() { f.send(s) })
		f.wg.Go(func() { f.receive(s) })
	}
	return f
}

func (h *host) dial(proto, addr string) net.Conn {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	c, err := h.lan.Dial(ctx, proto, at(addr, 8080))
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// tcpFlows begins n connections, of both families.
func (h *host) tcpFlows(n int) *flows {
	h.t.Helper()
	f := &flows{rounds: make([]atomic.Int64, n), errs: make(chan error, n+4)}
	for i := range n {
		c := h.dial("tcp", []string{hostV4, hostV6}[i%2])
		f.conns = append(f.conns, c)
		f.wg.Go(func() { f.errs <- f.talk(c, &f.rounds[i]) })
	}
	return f
}

func (f *flows) talk(c net.Conn, rounds *atomic.Int64) error {
	var out, in [8]byte
	tick := time.NewTicker(time.Millisecond) // what is tested is that it goes on, not how fast
	defer tick.Stop()
	for ; !f.stop.Load(); <-tick.C {
		n := rounds.Add(1)
		binary.BigEndian.PutUint64(out[:], uint64(n))
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write(out[:]); err != nil {
			return fmt.Errorf("connection, round %d: %w", n, err)
		}
		if _, err := io.ReadFull(c, in[:]); err != nil || in != out {
			return fmt.Errorf("connection, round %d: %w, got %x", n, err, in)
		}
	}
	return nil
}

func (f *flows) send(s *stream) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var b [8]byte
	for !f.stop.Load() {
		<-tick.C
		binary.BigEndian.PutUint64(b[:], uint64(s.sent.Add(1)))
		if _, err := s.conn.Write(b[:]); err != nil {
			f.errs <- fmt.Errorf("datagram %d to %s: %w", s.sent.Load(), s.name, err)
			return
		}
	}
}

func (f *flows) receive(s *stream) {
	var b [8]byte
	for {
		_ = s.conn.SetReadDeadline(time.Now().Add(impatience))
		_, err := s.conn.Read(b[:])
		switch {
		case err == nil:
			s.back.Add(1)
		case f.stop.Load():
			return
		case !errors.Is(err, os.ErrDeadlineExceeded):
			f.errs <- fmt.Errorf("datagram %d from %s: %w", s.back.Load(), s.name, err)
			return
		}
	}
}

// goOn waits until everything has made some more rounds.
func (f *flows) goOn(t *testing.T) {
	t.Helper()
	const more = 5
	var counts []*atomic.Int64
	for i := range f.rounds {
		counts = append(counts, &f.rounds[i])
	}
	for _, s := range f.udp {
		counts = append(counts, &s.back)
	}
	want := make([]int64, len(counts))
	for i, c := range counts {
		want[i] = c.Load() + more
	}
	eventually(t, "traffic has stopped", func() bool {
		for i, c := range counts {
			if c.Load() < want[i] {
				return false
			}
		}
		return true
	})
}

func (f *flows) end(t *testing.T) {
	t.Helper()
	f.stop.Store(true)
	f.wg.Wait()
	close(f.errs)
	for err := range f.errs {
		if err != nil {
			t.Error(err)
		}
	}
	for _, c := range f.conns {
		_ = c.Close()
	}
	for _, s := range f.udp {
		_ = s.conn.Close()
		if sent, back := s.sent.Load(), s.back.Load(); sent != back {
			t.Errorf("%d of %d datagrams came back from %s", back, sent, s.name)
		} else {
			t.Logf("%d datagrams to %s, all came back", sent, s.name)
		}
	}
}

// changes counts what the kernel tells of links, addresses, routes and nf_tables, on
// the host and in a container, as ip monitor and nft monitor do, and the runs of
// iptables-restore, of which it may tell nothing.
func changes(t *testing.T, inside *netns.Namespace, runs func() []string) (count func() []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var seen []string
	before := len(runs())
	const tables = 7 // NFNLGRP_NFTABLES
	listen := func(where string, protocol int, groups []int) {
		s, err := nlevents.Open(protocol, groups...)
		if err != nil {
			t.Error(err)
			return
		}
		wg.Go(func() {
			err := s.Read(ctx, func(m nlevents.Message) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, fmt.Sprintf("%s, protocol %d type %#x, %d bytes", where, protocol, m.Type, len(m.Body)))
			}, func() { t.Error("messages were lost") })
			if err := errors.Join(err, s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	for protocol, groups := range map[int][]int{
		unix.NETLINK_NETFILTER: {tables},
		unix.NETLINK_ROUTE: {
			unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
			unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
		},
	} {
		listen("host", protocol, groups)
		if err := inside.Do(func() error { listen("container", protocol, groups); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return func() []string {
		cancel()
		wg.Wait()
		return append(seen, runs()[before:]...)
	}
}

// ownership is what a listing of nft says of who has a table: a process that has
// changed nothing has not taken it.
var ownership = regexp.MustCompile(`(?m)^\s*flags .*\n| # progname .*$`)

// otherVersion gives our rules the shape that another version may have left: a rule
// too many, and some too few.
func otherVersion(t *testing.T, on backend, rules string) {
	t.Helper()
	commands := [][]string{
		{"sh", "-c", "nft insert rule ip $TABLE forward counter"},
		{"sh", "-c", "nft add chain ip6 $TABLE older"},
		{"sh", "-c", "nft flush chain ip $TABLE hairpin"},
	}
	if on != nftables {
		chain := regexp.MustCompile(`-j (\S+)-MSS`).FindStringSubmatch(rules)
		if chain == nil {
			t.Fatalf("no chain for the segment size in\n%s", rules)
		}
		commands = [][]string{
			{string(on), "-I", chain[1] + "-FORWARD", "-p", "tcp"},
			{string(on), "-N", chain[1] + "-OLDER"},
			{string(on), "-F", chain[1] + "-MSS"},
		}
	}
	for _, c := range commands {
		if out, err := run(c...); err != nil {
			t.Fatalf("%v: %v: %s", c, err, out)
		}
	}
}

// TestFlushAfterRestart has connections that wait for each answer, at ports that a socket
// holds, go on when somebody flushes all rules after a start, which owns no table before its
// first change. Until the rules are back, what belongs to them comes to those sockets. Who
// sends on meanwhile, or to a port without a socket, is refused by the host or by the one
// that gets his packets without translation.
func TestFlushAfterRestart(t *testing.T) {
	onEach(t, "connections go on over a flush of all rules", func(t *testing.T, on backend) {
		h := bareHost(t, on.option())
		on = on.alone()
		d := h.daemon(on)
		ns, err := netns.Open(nil, d.key)
		if err != nil {
			t.Fatal(err)
		}
		stop := echo(t, ns)
		// What a container says then has its own address, which is refused by who has a
		// way to say so.
		for _, family := range []string{"-4", "-6"} {
			way := strings.Fields(h.in(h.lan.Path(), "ip", family, "route", "show", "default"))[:5] // default via A dev D
			h.in(h.lan.Path(), append([]string{"ip", family, "route", "del"}, way...)...)
			defer h.in(h.lan.Path(), append([]string{"ip", family, "route", "add"}, way...)...)
		}
		f := h.tcpFlows(20)
		f.goOn(t)
		for range 3 {
			d.stop(t)
			d = h.daemon(on)
			if on == "iptables-legacy" {
				h.flush(on)
			} else {
				h.sh("nft", "flush", "ruleset") // which fails if a table has an owner
			}
			f.goOn(t)
		}
		f.end(t)
		d.stop(t)
		stop()
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
		h.clean(on)
		if err := standardTables(); err != nil {
			t.Error(err)
		}
	})
}

// TestRestart has connections and a stream of datagrams go on over the end of the
// daemon, in peace and by kill -9, and over new starts, which write nothing; and
// over a start that finds the rules of another version and makes them its own.
func TestRestart(t *testing.T) {
	onEachBesideDocker(t, "connections go on over restarts", testRestart)
}

func testRestart(t *testing.T, on backend) {
	h := bareHost(t, on.option())
	on = on.alone()
	runs := restores(t)
	d := h.daemon(on)
	ns, err := netns.Open(nil, d.key)
	if err != nil {
		t.Fatal(err)
	}
	stop := echo(t, ns)
	eventually(t, "the kernel still makes up addresses", func() bool {
		const tentative = "ip -6 addr show tentative"
		return h.sh(strings.Fields(tentative)...)+h.in(d.key, strings.Fields(tentative)...) == ""
	})
	f := h.flows(100)
	f.goOn(t)
	start := func(what string) {
		t.Helper()
		quiet := changes(t, ns, runs)
		d = h.daemon(on)
		if seen := quiet(); len(seen) > 0 {
			t.Errorf("%s: the start has changed the kernel: %v", what, seen)
		}
		f.goOn(t)
	}
	d.stop(t)
	f.goOn(t)
	start("after a stop")
	d.kill(t)
	f.goOn(t)
	start("after a kill")
	d.stop(t)
	start("again")

	t.Setenv("TABLE", kernel.Table(h.data))
	listing := func() string { return ownership.ReplaceAllString(allRules(t, kernel.Backend(on)), "") }
	rules := listing()
	d.kill(t)
	otherVersion(t, on, rules)
	d = h.daemon(on)
	f.goOn(t)
	if diff := cmp.Diff(rules, listing()); diff != "" {
		t.Errorf("after an upgrade (-want +got):\n%s", diff)
	}
	d.kill(t)
	start("after an upgrade")
	f.end(t)
	d.stop(t)
	stop()
	if err := ns.Close(); err != nil {
		t.Error(err)
	}
	h.clean(on)
}

// clean removes what daemons have made, when none runs.
func (h *host) clean(on backend) {
	h.t.Helper()
	h.daemon(on, daemonEnv+"_END=1").stop(h.t)
	if err := errors.Join(netns.RemoveDir(nil, h.run+"/netns"), os.RemoveAll(h.run)); err != nil {
		h.t.Error(err)
	}
}
