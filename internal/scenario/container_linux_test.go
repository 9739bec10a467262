package scenario_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/netlabel"
	"github.com/libnetwork/libnetwork/types"
)

// port is where every container serves, with TCP and UDP, in both families.
const port = 8080

// A container is a sandbox with a server inside.
type container struct {
	name string
	sb   libnetwork.Sandbox
	ns   *netns.Namespace
	srv  *server
	eps  []libnetwork.Endpoint
	// v4 and v6 are its addresses on its first network.
	v4, v6 netip.Addr
}

// start makes a container that is joined to networks, and serves.
func (h *host) container(name string, opts []libnetwork.SandboxOption, nets ...libnetwork.Network) *container {
	h.t.Helper()
	c, err := h.tryContainer(name, opts, nets...)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// tryContainer leaves nothing of the container when it fails.
func (h *host) tryContainer(name string, opts []libnetwork.SandboxOption, nets ...libnetwork.Network) (*container, error) {
	return h.containerWith(func(c *container) (err error) {
		c.srv, err = serve(c.ns, name, port)
		return err
	}, name, opts, nets...)
}

// containerWith starts a container that serves in a way of its own.
func (h *host) containerWith(start func(*container) error, name string, opts []libnetwork.SandboxOption, nets ...libnetwork.Network) (_ *container, err error) {
	c := &container{name: name}
	c.sb, err = h.ctl.NewSandbox(name, opts...)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for _, ep := range c.eps {
				_ = ep.Delete(true)
			}
			_ = c.sb.Delete()
			c.close()
		}
	}()
	for _, n := range nets {
		if _, err = c.join(n); err != nil {
			return nil, err
		}
	}
	if c.ns, err = netns.Open(nil, c.sb.Key()); err != nil {
		return nil, err
	}
	if err = start(c); err != nil {
		return nil, err
	}
	h.running = append(h.running, c)
	return c, nil
}

// join connects the container to one more network.
func (c *container) join(n libnetwork.Network) (libnetwork.Endpoint, error) {
	ep, err := n.CreateEndpoint(c.name)
	if err != nil {
		return nil, err
	}
	c.eps = append(c.eps, ep)
	if len(c.eps) == 1 {
		c.v4, c.v6 = toAddr(ep.Info().Iface().Address()), toAddr(ep.Info().Iface().AddressIPv6())
	}
	return ep, ep.Join(c.sb)
}

func toAddr(n *net.IPNet) netip.Addr {
	if n == nil {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(n.IP)
	return a.Unmap()
}

// remove deletes a container as a runtime does that forgets everything but it.
func (h *host) remove(c *container) {
	h.t.Helper()
	h.running = slices.DeleteFunc(h.running, func(x *container) bool { return x == c })
	c.close()
	if err := c.sb.Delete(); err != nil {
		h.t.Error(err)
	}
}

// close ends the server and lets go of the namespace.
func (c *container) close() {
	if c.srv != nil {
		c.srv.close()
	}
	if c.ns != nil {
		_ = c.ns.Close()
	}
}

// bindings returns what is published for the container.
func (c *container) bindings(t *testing.T) []types.PortBinding {
	t.Helper()
	info, err := c.eps[0].DriverInfo()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := info[netlabel.PortMap].([]types.PortBinding)
	return b
}

func publish(b ...types.PortBinding) []libnetwork.SandboxOption {
	return []libnetwork.SandboxOption{libnetwork.OptionPortMapping(b)}
}

// lookup asks the name server of the container.
func (c *container) lookup(ctx context.Context, network, name string) ([]netip.Addr, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return c.ns.Dial(ctx, "udp", "127.0.0.11:53")
	}}
	return r.LookupNetIP(ctx, network, name)
}

// A server answers every connection and every datagram with its name and the
// address of the client.
type server struct {
	name string
	tcp  []*net.TCPListener
	udp  []*net.UDPConn
	wg   sync.WaitGroup

	mu   sync.Mutex // guards seen
	seen [][]byte   // datagrams
}

// servers are those that run.
var servers struct {
	sync.Mutex
	list []*server
}

// hearers are the names of those that a datagram has come to.
func hearers(datagram string) (names []string) {
	servers.Lock()
	defer servers.Unlock()
	for _, s := range servers.list {
		if s.has(datagram) {
			names = append(names, s.name)
		}
	}
	return names
}

func serve(ns *netns.Namespace, name string, port uint16) (_ *server, err error) {
	s := &server{name: name}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		at := netip.AddrPortFrom(a, port)
		l, err := ns.ListenTCP(at)
		if err != nil {
			return nil, err
		}
		s.tcp = append(s.tcp, l)
		u, err := ns.ListenUDP(at)
		if err != nil {
			return nil, err
		}
		s.udp = append(s.udp, u)
		s.wg.Go(func() { s.serveTCP(l) })
		s.wg.Go(func() { s.serveUDP(u) })
	}
	servers.Lock()
	defer servers.Unlock()
	servers.list = append(servers.list, s)
	return s, nil
}

func (s *server) serveTCP(l *net.TCPListener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(c, "%s %s", s.name, c.RemoteAddr())
		_ = c.Close()
	}
}

func (s *server) serveUDP(u *net.UDPConn) {
	buf := make([]byte, 100)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.seen = append(s.seen, bytes.Clone(buf[:n]))
		s.mu.Unlock()
		_, _ = u.WriteToUDPAddrPort(fmt.Appendf(nil, "%s %s", s.name, from), from)
	}
}

// has says whether a datagram has come.
func (s *server) has(datagram string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.seen, func(b []byte) bool { return string(b) == datagram })
}

func (s *server) close() {
	servers.Lock()
	servers.list = slices.DeleteFunc(servers.list, func(x *server) bool { return x == s })
	servers.Unlock()
	for _, l := range s.tcp {
		_ = l.Close()
	}
	for _, u := range s.udp {
		_ = u.Close()
	}
	s.wg.Wait()
}

// How long clients wait for an answer: where there must be one, and where there
// must be none.
const (
	patience   = 5 * time.Second
	impatience = 300 * time.Millisecond
)

// A visit is one attempt of a client to reach a server.
type visit struct {
	who  string
	from *netns.Namespace
	to   string // address and port
	want string // the server's name; "" if nobody shall answer
	sees string // the client's address as the server shall see it; "" is any
}

// visit makes all attempts with TCP and UDP, at the same time.
func (h *host) visit(list ...visit) {
	h.t.Helper()
	h.visitBy([]string{"tcp", "udp"}, list...)
}

// visitBy has each attempt with UDP send a word of its own: that no answer comes does not
// mean that nobody hears it.
func (h *host) visitBy(protos []string, list ...visit) {
	h.t.Helper()
	var wg sync.WaitGroup
	words := make(map[string]visit)
	for _, v := range list {
		for _, proto := range protos {
			word := fmt.Sprint("visit ", visits.Add(1))
			if proto == "udp" {
				words[word] = v
			}
			wg.Go(func() {
				if err := v.check(proto, word); err != nil {
					h.t.Errorf("%s to %s %s: %v", v.who, proto, v.to, err)
				}
			})
		}
	}
	wg.Wait()
	for word, v := range words {
		for _, name := range hearers(word) {
			if name != v.want {
				h.t.Errorf("%s to udp %s: %s hears it, want %q", v.who, v.to, name, v.want)
			}
		}
	}
}

// visits counts the attempts of all tests.
var visits atomic.Int64

func (v visit) check(proto, word string) error {
	wait := patience
	if v.want == "" {
		wait = impatience
	}
	answer, err := tell(v.from, proto, v.to, word, wait)
	name, seen, _ := strings.Cut(answer, " ")
	switch {
	case v.want == "" && err == nil:
		return fmt.Errorf("%s answers, nobody shall", answer)
	case v.want == "":
		return nil
	case err != nil:
		return fmt.Errorf("%w, want an answer of %s", err, v.want)
	case name != v.want:
		return fmt.Errorf("%s answers, want %s", answer, v.want)
	}
	if from, err := netip.ParseAddrPort(seen); v.sees != "" && (err != nil || from.Addr().Unmap().String() != v.sees) {
		return fmt.Errorf("the server sees %s, want %s", seen, v.sees)
	}
	return nil
}

// ask connects from a namespace and returns the answer.
func ask(from *netns.Namespace, proto, to string, wait time.Duration) (string, error) {
	return tell(from, proto, to, "hello", wait)
}

// tell is ask with what a datagram says.
func tell(from *netns.Namespace, proto, to, word string, wait time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	c, err := from.Dial(ctx, proto, to)
	if err != nil {
		return "", err
	}
	defer c.Close()
	end := time.Now().Add(wait)
	buf := make([]byte, 100)
	if proto == "tcp" {
		_ = c.SetDeadline(end)
		n, err := c.Read(buf)
		return string(buf[:n]), err
	}
	// Datagrams get lost, as on a link that is just coming up.
	for {
		if _, err := io.WriteString(c, word); err != nil {
			return "", err
		}
		_ = c.SetReadDeadline(time.Now().Add(impatience / 2))
		n, err := c.Read(buf)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end) {
			return string(buf[:n]), err
		}
	}
}

// at puts an address and a port together.
func at[A netip.Addr | string](a A, port uint16) string {
	return net.JoinHostPort(fmt.Sprint(a), fmt.Sprint(port))
}

// to returns visits of a container in both families, at its own address.
func to(who string, from *netns.Namespace, c *container, want string) []visit {
	list := []visit{{who: who, from: from, to: at(c.v4, port), want: want}}
	if c.v6.IsValid() {
		list = append(list, visit{who: who, from: from, to: at(c.v6, port), want: want})
	}
	return list
}
