package types

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// TransportPort is a port of a transport protocol.
type TransportPort struct {
	Proto Protocol
	Port  uint16
}

// Equal says whether both are the same port. Two nils are equal.
func (t *TransportPort) Equal(o *TransportPort) bool {
	if t == nil || o == nil {
		return t == o
	}
	return *t == *o
}

// GetCopy returns a copy of t.
func (t *TransportPort) GetCopy() TransportPort {
	return *t
}

// String returns the form tcp/80.
func (t *TransportPort) String() string {
	return fmt.Sprintf("%s/%d", t.Proto, t.Port)
}

// FromString sets t from the form that String returns. A name that is no known
// protocol gives protocol 0. Anything else it cannot read fails with BadRequest
// and leaves t as it was.
func (t *TransportPort) FromString(s string) error {
	proto, port, ok := strings.Cut(s, "/")
	if !ok {
		return BadRequestErrorf("transport port %q is not of the form protocol/port", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return BadRequestErrorf("transport port %q: %w", s, err)
	}
	*t = TransportPort{Proto: ParseProtocol(proto), Port: uint16(n)}
	return nil
}

// PortBinding says that a port of a container is reached through a port of the
// host.
type PortBinding struct {
	Proto Protocol
	// IP and Port are the container's side.
	IP   net.IP
	Port uint16
	// HostIP is the address of the host that is listened on; nil or unspecified
	// means all of them.
	HostIP net.IP
	// HostPort is the port of the host; 0 means that a free one is chosen.
	HostPort uint16
	// HostPortEnd is the last port of the range, beginning at HostPort, that one is
	// chosen from; 0 or HostPort means that there is no choice.
	HostPortEnd uint16
}

// HostAddr returns the host's side as a *net.TCPAddr or *net.UDPAddr. For other
// protocols it fails with ErrInvalidProtocolBinding.
func (p *PortBinding) HostAddr() (net.Addr, error) {
	return transportAddr(p.Proto, p.HostIP, p.HostPort)
}

// ContainerAddr returns the container's side as a *net.TCPAddr or *net.UDPAddr.
// For other protocols it fails with ErrInvalidProtocolBinding.
func (p *PortBinding) ContainerAddr() (net.Addr, error) {
	return transportAddr(p.Proto, p.IP, p.Port)
}

// GetCopy returns a copy that shares no memory with p.
func (p *PortBinding) GetCopy() PortBinding {
	c := *p
	c.IP = GetIPCopy(p.IP)
	c.HostIP = GetIPCopy(p.HostIP)
	return c
}

// Equal says whether all fields are equal, addresses in whatever form. Two nils
// are equal.
func (p *PortBinding) Equal(o *PortBinding) bool {
	if p == nil || o == nil {
		return p == o
	}
	return p.Proto == o.Proto &&
		p.Port == o.Port && p.IP.Equal(o.IP) &&
		p.HostPort == o.HostPort && p.HostIP.Equal(o.HostIP) &&
		p.HostPortEnd == o.HostPortEnd
}

// String returns the form tcp/172.17.0.2:80/192.0.2.1:8080: protocol, container's
// side, host's side. A nil address is left empty, an IPv6 address stands in
// brackets. HostPortEnd is not part of it.
func (p *PortBinding) String() string {
	return p.Proto.String() + "/" + hostPort(p.IP, p.Port) + "/" + hostPort(p.HostIP, p.HostPort)
}

// FromString sets p from the form that String returns; HostPortEnd becomes 0. A
// name that is no known protocol gives protocol 0. Anything else it cannot read
// fails with BadRequest and leaves p as it was.
func (p *PortBinding) FromString(s string) error {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return BadRequestErrorf("port binding %q is not of the form protocol/ip:port/hostip:hostport", s)
	}
	b := PortBinding{Proto: ParseProtocol(parts[0])}
	var err error
	if b.IP, b.Port, err = splitHostPort(parts[1]); err != nil {
		return BadRequestErrorf("port binding %q: container: %w", s, err)
	}
	if b.HostIP, b.HostPort, err = splitHostPort(parts[2]); err != nil {
		return BadRequestErrorf("port binding %q: host: %w", s, err)
	}
	*p = b
	return nil
}

// ErrInvalidProtocolBinding is the error for a port binding whose protocol, its
// value, has no address type. Its class is BadRequest.
type ErrInvalidProtocolBinding string

// Error says which protocol it was.
func (e ErrInvalidProtocolBinding) Error() string {
	return "port binding: protocol " + string(e) + " is neither tcp nor udp"
}

// BadRequest makes it a BadRequestError.
func (ErrInvalidProtocolBinding) BadRequest() {}

func transportAddr(proto Protocol, ip net.IP, port uint16) (net.Addr, error) {
	switch proto {
	case TCP:
		return &net.TCPAddr{IP: GetIPCopy(ip), Port: int(port)}, nil
	case UDP:
		return &net.UDPAddr{IP: GetIPCopy(ip), Port: int(port)}, nil
	default:
		return nil, ErrInvalidProtocolBinding(proto.String())
	}
}

func hostPort(ip net.IP, port uint16) string {
	var host string
	if len(ip) > 0 {
		host = ip.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func splitHostPort(s string) (net.IP, uint16, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return nil, 0, err
	}
	var ip net.IP
	if host != "" {
		if ip = net.ParseIP(host); ip == nil {
			return nil, 0, fmt.Errorf("%q is no IP address", host)
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, 0, err
	}
	return ip, uint16(n), nil
}
