package engine

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/libnetwork/libnetwork/internal/dnsserver"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/resolvfile"
	"github.com/libnetwork/libnetwork/types"
)

// The embedded DNS server listens on 127.0.0.11, on resolverPort or, where the
// container has that, on one of the next resolverTries ports. They lie below the
// range that the kernel takes ports from by itself.
const (
	resolverPort  = 30053
	resolverTries = 64
)

var resolverAddr = netip.MustParseAddr(resolvfile.Server)

// resolver is the embedded DNS server of one sandbox.
type resolver struct {
	port   uint16
	udp    net.PacketConn
	tcp    net.Listener
	server *dnsserver.Server
}

// openResolver opens the server's sockets inside the sandbox's namespace, on
// first or the next port that is free.
func (s *Sandbox) openResolver(netns string, first uint16) (*resolver, error) {
	for port := first; ; port++ {
		udp, tcp, err := s.e.kernel.Listen(netns, netip.AddrPortFrom(resolverAddr, port))
		if errors.As(err, new(types.ForbiddenError)) && port < first+resolverTries {
			continue
		}
		if err != nil {
			return nil, err
		}
		return &resolver{port: port, udp: udp, tcp: tcp}, nil
	}
}

// close gives up sockets that no server has taken over, or ends the server.
func (r *resolver) close() error {
	switch {
	case r == nil:
		return nil
	case r.server != nil:
		return r.server.Close()
	default:
		return errors.Join(r.udp.Close(), r.tcp.Close())
	}
}

// startResolver makes the sandbox's server answer.
func (s *Sandbox) startResolver(r *resolver) {
	rec := s.Record()
	r.server = dnsserver.New(dnsserver.Config{
		Backend: backend{s}, TTL: s.e.cfg.TTL, Logger: s.e.log,
		Follow: s.follow(rec), Upstreams: s.e.upstreamsOf(s.View()),
		Dial: func(ctx context.Context, network, addr string, hostNS bool) (net.Conn, error) {
			netns := rec.Key
			if hostNS {
				netns = ""
			}
			return s.e.kernel.Dial(ctx, netns, network, addr)
		},
	})
	s.e.dns.add(r.server)
	s.mu.Lock()
	old := s.resolver
	s.resolver = r
	s.mu.Unlock()
	s.e.endResolver(rec.ID, old)
	s.e.logErr("start DNS server", rec.ID, r.server.Serve([]net.PacketConn{r.udp}, []net.Listener{r.tcp}))
}

func (s *Sandbox) stopResolver() {
	s.mu.Lock()
	r := s.resolver
	s.resolver = nil
	s.mu.Unlock()
	s.e.endResolver(s.ID(), r)
}

// endResolver ends the server of a sandbox, if there is one.
func (e *Engine) endResolver(sandbox string, r *resolver) {
	e.logErr("stop DNS server", sandbox, r.close())
	if r != nil {
		e.dns.remove(r.server)
	}
}

// flushResolver makes the server use new sockets to other servers, since the
// sandbox's routes have changed.
func (s *Sandbox) flushResolver() {
	s.mu.Lock()
	r := s.resolver
	s.mu.Unlock()
	if r != nil {
		r.server.FlushUpstreams()
	}
}

// editedUpstreams returns the servers that the user has written into a sandbox's
// file, which is about to be pointed at the sandbox's own server.
func (e *Engine) editedUpstreams(sb *model.Sandbox) []netip.AddrPort {
	spec, err := files{resolvConf: e.cfg.ResolvConf}.spec(sb.Files)
	if err != nil {
		e.logErr("read the host's resolver configuration", sb.ID, err)
		return nil
	}
	found, err := resolvfile.Edited(spec)
	e.logErr("find the name servers of sandbox", sb.ID, err)
	var out []netip.AddrPort
	for _, u := range found {
		out = append(out, u.Addr)
	}
	return out
}

// upstreamsOf returns the servers that a sandbox's server forwards to.
func (e *Engine) upstreamsOf(v *model.View) []dnsserver.Upstream {
	sb := v.Sandbox
	if len(sb.Upstreams) > 0 {
		var out []dnsserver.Upstream
		for _, a := range sb.Upstreams {
			out = append(out, dnsserver.Upstream{Addr: a})
		}
		return out
	}
	spec, err := files{resolvConf: e.cfg.ResolvConf}.spec(sb.Files)
	if err != nil {
		e.logErr("read the host's resolver configuration", sb.ID, err)
		return nil
	}
	spec.IPv6 = hasIPv6(v)
	found, err := resolvfile.Upstreams(spec)
	if err != nil {
		e.logErr("find the name servers of sandbox", sb.ID, err)
		return nil
	}
	out := make([]dnsserver.Upstream, 0, len(found))
	for _, u := range found {
		out = append(out, dnsserver.Upstream{Addr: u.Addr, HostNS: u.HostNS})
	}
	return out
}

// backend answers the server of one sandbox.
type backend struct{ s *Sandbox }

func (b backend) ResolveName(name string, v6 bool) ([]netip.Addr, bool) { return b.s.resolve(name, v6) }

func (b backend) ResolveIP(a netip.Addr) string {
	name, _ := b.s.reverse(a)
	return name
}

// Resolve looks a name up as a query from inside the sandbox would. known says
// that the name exists here, though perhaps without an address of the family.
func (s *Sandbox) Resolve(name string, v6 bool) (addrs []netip.Addr, known bool) {
	return s.resolve(name, v6)
}

// ResolveReverse returns name.network for an address as PTR records write it,
// 4.3.2.1 or 32 hex digits between dots, or the empty string.
func (s *Sandbox) ResolveReverse(rev string) string {
	rev = strings.ToLower(strings.TrimSuffix(rev, "."))
	for _, zone := range []string{".in-addr.arpa", ".ip6.arpa"} {
		if a, ok := dnsserver.ReverseAddr(rev + zone); ok {
			return backend{s}.ResolveIP(a)
		}
	}
	return ""
}
