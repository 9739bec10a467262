// Package resolvfile keeps the resolv.conf of one sandbox through its life:
// made with the sandbox, filtered at a join, pointed at the embedded name server
// when that starts.
//
// What a user writes into the file is never undone: a digest of what we wrote
// last stands in a file beside it, and when the two disagree the file is the
// user's. The functions are not synchronised: the caller has the sandbox's turn.
// A file keeps its inode, because it is bind-mounted, and its readers never meet
// a torn line.
package resolvfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/hostsfile/inplace"
	"github.com/libnetwork/libnetwork/resolvconf"
)

const (
	// Server is where the embedded name server answers in every sandbox.
	Server = "127.0.0.11"
	// HashSuffix is added to a file's path for the path of its digest.
	HashSuffix = ".hash"

	defaultOption = "ndots:0"
	port          = 53
)

// Spec says what a sandbox's file is made from. It is plain data.
type Spec struct {
	Path   string // of the sandbox's file
	Origin string // if not empty, the file is a copy of this one and is left alone afterwards

	// What the user gave. A list that is not empty stands for the host's.
	DNS, Search, Options []string

	// Host is the content of the host's file, empty if there is none.
	Host []byte
	// IPv6 says that the sandbox reaches IPv6 servers. It counts for Upstreams
	// once the file points at the embedded server.
	IPv6 bool
	// Defaults are the servers to use where the host names none that a container
	// can reach. Public ones are in it only if somebody configured that.
	Defaults []string
}

func (s Spec) overridden() bool {
	return len(s.DNS) > 0 || len(s.Search) > 0 || len(s.Options) > 0
}

// Upstream is a name server to forward to.
type Upstream struct {
	Addr netip.AddrPort `json:"addr"`
	// HostNS says that Addr is a loopback address of the host, to be reached
	// from the host's namespace.
	HostNS bool `json:"host_ns,omitempty"`
}

// Create makes the file and its digest, or makes them anew. The directory must
// exist.
func Create(s Spec) error {
	switch err := s.create(); {
	case err != nil:
		return err
	case s.Origin != "":
		return removeHash(s.Path)
	}
	return writeHash(s.Path)
}

func (s Spec) create() (err error) {
	var file *resolvconf.File
	switch {
	case s.Origin != "":
		if file, err = resolvconf.GetSpecific(s.Origin); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
	case s.overridden():
		_, err = resolvconf.Build(s.Path,
			either(s.DNS, resolvconf.GetNameservers(s.Host, resolvconf.IP)),
			either(s.Search, resolvconf.GetSearchDomains(s.Host)),
			either(s.Options, resolvconf.GetOptions(s.Host)))
		return err
	default:
		if file, err = s.filtered(); err != nil {
			return err
		}
	}
	if err := inplace.WriteFile(s.Path, file.Content); err != nil {
		return fmt.Errorf("resolver configuration: %w", err)
	}
	return nil
}

// filtered returns the host's content as a container can use it.
func (s Spec) filtered() (*resolvconf.File, error) {
	file, err := resolvconf.FilterResolvDNS(s.Host, true)
	if err != nil || len(resolvconf.GetNameservers(file.Content, resolvconf.IP)) > 0 || len(s.Defaults) == 0 {
		return file, err
	}
	content := file.Content
	if n := len(content); n > 0 && content[n-1] != '\n' {
		content = append(content, '\n')
	}
	for _, server := range s.Defaults {
		content = append(content, "nameserver "+server+"\n"...)
	}
	return resolvconf.FilterResolvDNS(content, true)
}

func either(first, second []string) []string {
	if len(first) > 0 {
		return first
	}
	return second
}

// OnJoin adapts the file to a network: without IPv6, IPv6 servers go. It leaves
// alone a file that the user edited, that the resolver has taken over, or that
// was made from an origin or from the user's options.
func OnJoin(s Spec, ipv6 bool) error {
	if s.Origin != "" || s.overridden() {
		return nil
	}
	old, by, err := read(s.Path)
	if err != nil || by != ours {
		return err
	}
	file, err := resolvconf.FilterResolvDNS(old.Content, ipv6)
	if err != nil || bytes.Equal(file.Content, old.Content) {
		return err
	}
	if err := inplace.WriteFile(s.Path, file.Content); err != nil {
		return fmt.Errorf("resolver configuration: %w", err)
	}
	return writeHash(s.Path)
}

// OnResolver points the file at the embedded server, keeping search domains,
// options and IPv6 servers, and returns the servers that it is to forward to, in
// order. It is for the first start of a resolver, or the first after Create; it
// may be repeated after a failure, as a file that names the embedded server is
// not written again. For a sandbox that is taken over by a new process there is
// Upstreams. A file copied from an origin is never written.
func OnResolver(s Spec) ([]Upstream, error) {
	old, by, err := read(s.Path)
	if err != nil {
		return nil, err
	}
	if s.Origin != "" || by == taken {
		return upstreams(s, old.Content, by), nil
	}
	options := resolvconf.GetOptions(old.Content)
	if !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "ndots:") }) {
		options = append(slices.Clone(options), defaultOption)
	}
	// The digest stays: it no longer fits, so later joins leave the file alone.
	if _, err := resolvconf.Build(s.Path,
		append([]string{Server}, resolvconf.GetNameservers(old.Content, resolvconf.IPv6)...),
		resolvconf.GetSearchDomains(old.Content), options); err != nil {
		return nil, err
	}
	return upstreams(s, old.Content, by), nil
}

// Upstreams returns the servers to forward to and writes nothing. If the file
// points at the embedded server already, they are worked out from where they
// came from, so that a new process finds the host's present ones.
func Upstreams(s Spec) ([]Upstream, error) {
	old, by, err := read(s.Path)
	if err != nil {
		return nil, err
	}
	return upstreams(s, old.Content, by), nil
}

// Edited returns the servers to forward to if the user has edited the file, and
// nil otherwise: these servers have to be remembered, since they stand nowhere
// once the file points at the embedded server. A missing file is not edited.
func Edited(s Spec) ([]Upstream, error) {
	old, by, err := read(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || by != edited {
		return nil, err
	}
	return upstreams(s, old.Content, by), nil
}

// upstreams returns the servers that content, the file before it is pointed at
// the embedded server, stands for. Those that the filter took out because only
// the host reaches them come back in, in the host's order, and make default
// servers unnecessary: they know names that public ones must not be asked for.
func upstreams(s Spec, content []byte, by writer) []Upstream {
	var host []netip.Addr
	servers := addrs(resolvconf.GetNameservers(content, resolvconf.IP))
	switch {
	case by == edited || s.Origin != "": // what is written is all there is
	case len(s.DNS) > 0:
		if by == taken {
			servers = addrs(s.DNS)
		}
	default:
		host = addrs(resolvconf.GetNameservers(s.Host, resolvconf.IP))
		if by == taken {
			servers = append(addrs(s.Defaults), servers...)
		}
	}
	var list []Upstream
	add := func(addr netip.Addr, hostNS bool) {
		u := Upstream{netip.AddrPortFrom(addr, port), hostNS}
		// The host may have a server at the same address as we; that is not a loop.
		self := !hostNS && addr.String() == Server
		if !self && !slices.ContainsFunc(list, func(o Upstream) bool { return o.Addr == u.Addr }) {
			list = append(list, u)
		}
	}
	for _, addr := range host {
		if loop := addr.IsLoopback(); loop || slices.Contains(servers, addr) || by == taken && (addr.Is4() || s.IPv6) {
			add(addr, loop)
		}
	}
	fromHost, defaults := len(list), addrs(s.Defaults)
	for _, addr := range servers {
		if fromHost == 0 || !slices.Contains(defaults, addr) {
			add(addr, false)
		}
	}
	return list
}

func addrs(list []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		if addr, err := netip.ParseAddr(s); err == nil {
			out = append(out, addr.Unmap())
		}
	}
	return out
}
