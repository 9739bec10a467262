package engine

import (
	"net"
	"net/netip"
	"sync"

	"github.com/libnetwork/libnetwork/internal/dnsserver"
	"github.com/libnetwork/libnetwork/internal/resolvfile"
	"github.com/libnetwork/libnetwork/types"
)

// serverPort is where DNS servers are.
const serverPort = 53

// OwnResolver is a name server that its user sets up and starts. The engine's
// own servers are none.
type OwnResolver struct {
	backend dnsserver.Backend

	mu      sync.Mutex // guards the following
	udp     net.PacketConn
	tcp     net.Listener
	err     error
	server  *dnsserver.Server
	servers []dnsserver.Upstream
}

// nobody knows no name.
type nobody struct{}

func (nobody) ResolveName(string, bool) ([]netip.Addr, bool) { return nil, false }

func (nobody) ResolveIP(netip.Addr) string { return "" }

// NewResolver makes a name server that answers for a sandbox; without one it
// forwards everything.
func NewResolver(s *Sandbox) *OwnResolver {
	if s == nil {
		return &OwnResolver{backend: nobody{}}
	}
	return &OwnResolver{backend: backend{s}}
}

// SetupFunc opens the sockets in the namespace of the thread that it runs on. They
// are at port 53 itself: nothing redirects there for a server of a user.
func (r *OwnResolver) SetupFunc() func() {
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closeSockets()
		addr := netip.AddrPortFrom(resolverAddr, serverPort)
		udp, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			r.err = err
			return
		}
		tcp, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(udp.LocalAddr().(*net.UDPAddr).AddrPort()))
		if err != nil {
			_ = udp.Close()
			r.err = err
			return
		}
		r.udp, r.tcp, r.err = udp, tcp, nil
	}
}

// Start makes it answer.
func (r *OwnResolver) Start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.err != nil:
		return types.InternalErrorf("set up the DNS server: %w", r.err)
	case r.udp == nil:
		return types.BadRequestErrorf("the DNS server is started without being set up")
	}
	r.server = dnsserver.New(dnsserver.Config{Backend: r.backend, Upstreams: r.servers})
	udp, tcp := r.udp, r.tcp
	r.udp, r.tcp = nil, nil
	return r.server.Serve([]net.PacketConn{udp}, []net.Listener{tcp})
}

// Stop ends it.
func (r *OwnResolver) Stop() {
	r.mu.Lock()
	server := r.server
	r.closeSockets()
	r.server, r.err = nil, nil
	r.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
}

// closeSockets gives up sockets that no server has taken over.
func (r *OwnResolver) closeSockets() {
	if r.udp != nil {
		_, _ = r.udp.Close(), r.tcp.Close()
		r.udp, r.tcp = nil, nil
	}
}

// NameServer is the address that containers find it at.
func (*OwnResolver) NameServer() string { return resolvfile.Server }

// SetExtServers replaces the servers that it forwards to. What is no address is
// left out.
func (r *OwnResolver) SetExtServers(servers []string) {
	const most = 3
	var list []dnsserver.Upstream
	for _, s := range servers {
		if a, err := netip.ParseAddr(s); err == nil && len(list) < most {
			list = append(list, dnsserver.Upstream{Addr: netip.AddrPortFrom(a, serverPort)})
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.servers = list
	if r.server != nil {
		r.server.SetUpstreams(list)
	}
}

// FlushExtServers makes it use new sockets to them.
func (r *OwnResolver) FlushExtServers() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.server != nil {
		r.server.FlushUpstreams()
	}
}

// ResolverOptions are the options that resolv.conf should have for it.
func (*OwnResolver) ResolverOptions() []string { return []string{"ndots:0"} }
