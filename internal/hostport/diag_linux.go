package hostport

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A socket is a socket of the host, as the kernel lists it.
type socket struct {
	addr  netip.Addr
	port  uint16
	peer  netip.AddrPort // of a connected one
	inode uint32
	// v6only says that an IPv6 socket takes no IPv4.
	v6only bool
}

const (
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	tcpDiag          = 18 // TCPDIAG_GETSOCK: of TCP, both families
	diagReqLen       = 56 // struct inet_diag_req_v2
	tcpDiagLen       = 60 // struct inet_diag_req
	diagMsgLen       = 72 // struct inet_diag_msg
	attrV6Only       = 11 // INET_DIAG_SKV6ONLY
	listen           = 10 // TCP_LISTEN
)

// sockets returns the sockets that keep a port of an address, or all ports if it
// is 0, from others.
func sockets(ctx context.Context, proto uint8, host netip.Addr, port uint16) ([]socket, error) {
	return dump(ctx, proto, host, port, dumps(proto, host.Is4(), port))
}

// dump returns the sockets of an address that requests yield.
func dump(ctx context.Context, proto uint8, host netip.Addr, port uint16, requests []netlink.Message) ([]socket, error) {
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var list []socket
	for _, m := range requests {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m.Header.Flags = netlink.Request | netlink.Dump
		msgs, err := c.Execute(m)
		if err != nil {
			return nil, fmt.Errorf("listing %s sockets: %w", protocol(proto), err)
		}
		for _, m := range msgs {
			if s, ok := parseSocket(m.Data); ok && s.blocks(host) && (port == 0 || s.port == port) {
				list = append(list, s)
			}
		}
	}
	return list, nil
}

// dumps are the requests for the sockets that may be in the way.
func dumps(proto uint8, v4 bool, port uint16) []netlink.Message {
	if proto == unix.IPPROTO_TCP && port == 0 {
		// Of both families at once. Sockets that are bound and do nothing are not asked for
		// (they are listed since Linux 6.8): for these the kernel walks through its table of
		// connections, 1.2 ms for 2^18 places (seen on Linux 6.18), and they get no
		// packet anyway.
		req := make([]byte, tcpDiagLen)
		binary.NativeEndian.PutUint32(req[52:], 1<<listen)
		return []netlink.Message{{Header: netlink.Header{Type: tcpDiag}, Data: req}}
	}
	families := []byte{unix.AF_INET6}
	if v4 {
		families = append(families, unix.AF_INET)
	}
	var list []netlink.Message
	for _, fam := range families {
		req := make([]byte, diagReqLen)
		req[0], req[1] = fam, proto
		binary.NativeEndian.PutUint32(req[4:], ^uint32(0))
		binary.BigEndian.PutUint16(req[8:], port)
		list = append(list, netlink.Message{Header: netlink.Header{Type: sockDiagByFamily}, Data: req})
	}
	return list
}

// parseSocket reads a struct inet_diag_msg and its attributes.
func parseSocket(b []byte) (socket, bool) {
	if len(b) < diagMsgLen {
		return socket{}, false
	}
	s := socket{
		port:  binary.BigEndian.Uint16(b[4:]),
		addr:  netip.AddrFrom4([4]byte(b[8:12])),
		inode: binary.NativeEndian.Uint32(b[68:]),
	}
	peer := netip.AddrFrom4([4]byte(b[24:28]))
	if b[0] == unix.AF_INET6 {
		s.addr, peer = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	}
	s.peer = netip.AddrPortFrom(peer, binary.BigEndian.Uint16(b[6:]))
	ad, err := netlink.NewAttributeDecoder(b[diagMsgLen:])
	if err != nil {
		return socket{}, false
	}
	for ad.Next() {
		if ad.Type() == attrV6Only && len(ad.Bytes()) > 0 {
			s.v6only = ad.Bytes()[0] != 0
		}
	}
	return s, ad.Err() == nil
}

// blocks says whether the socket keeps others from binding host.
func (s socket) blocks(host netip.Addr) bool {
	a := s.addr
	if a.Is4In6() {
		a = a.Unmap()
	}
	if a.Is4() == host.Is4() {
		return a.IsUnspecified() || host.IsUnspecified() || a == host.WithZone("")
	}
	return host.Is4() && a.IsUnspecified() && !s.v6only
}

const (
	// maxNamed bounds how many programs an error names.
	maxNamed = 3
	// programsAge is for how long it is believed who has a socket.
	programsAge = time.Second
)

// programs are those that have sockets open, as "nginx (pid 123)", by inode. They are read
// all at once, since that takes a look at each descriptor of each process: a start may find
// many ports taken.
type programs struct {
	mu     sync.Mutex
	read   time.Time
	byNode map[uint32][]string
}

// of names the programs that have sockets open, empty if none is visible.
func (p *programs) of(ctx context.Context, socks []socket) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.read) < programsAge {
		if who := p.named(socks); who != "" {
			return who
		}
	}
	p.byNode, p.read = readPrograms(ctx), time.Now()
	time.AfterFunc(programsAge, p.forget)
	return p.named(socks)
}

func (p *programs) named(socks []socket) string {
	var names []string
	for _, s := range socks {
		for _, name := range p.byNode[s.inode] {
			if len(names) < maxNamed && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, ", ")
}

// forget frees what is too old: a host may have many sockets.
func (p *programs) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.read) >= programsAge {
		p.byNode = nil
	}
}

func readPrograms(ctx context.Context) map[uint32][]string {
	list := make(map[uint32][]string)
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		if ctx.Err() != nil {
			break
		}
		fds, err := os.ReadDir(p + "/fd")
		if err != nil {
			continue // ended, or not ours to see
		}
		var name string
		for _, fd := range fds {
			to, _ := os.Readlink(p + "/fd/" + fd.Name())
			number, ok := strings.CutPrefix(strings.TrimSuffix(to, "]"), "socket:[")
			inode, err := strconv.ParseUint(number, 10, 32)
			if !ok || err != nil {
				continue
			}
			if name == "" {
				comm, _ := os.ReadFile(p + "/comm")
				name = strings.TrimSpace(string(comm)) + " (pid " + filepath.Base(p) + ")"
			}
			list[uint32(inode)] = append(list[uint32(inode)], name)
		}
	}
	return list
}
