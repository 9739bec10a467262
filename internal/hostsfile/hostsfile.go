// Package hostsfile keeps the hosts file (hosts(5)) of a sandbox.
//
// Every function is safe for concurrent use: edits of one path are serialised
// in the process, edits of different paths run in parallel. A file keeps its
// inode, because it is bind-mounted into the container, and a reader there never
// meets a torn line (see package inplace). Lines that others wrote stay.
// Limit: a line that the container itself writes in the very moment of an edit
// may be lost, as there is no lock between it and us.
package hostsfile

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/hostsfile/inplace"
	"github.com/libnetwork/libnetwork/types"
)

// Record is one line of a hosts file.
type Record struct {
	Hosts string // one or more names, separated by single blanks
	IP    string // an address as text
}

// defaults begin every file.
var defaults = [...]Record{
	{"localhost", "127.0.0.1"},
	{"localhost ip6-localhost ip6-loopback", "::1"},
	{"ip6-localnet", "fe00::0"},
	{"ip6-mcastprefix", "ff00::0"},
	{"ip6-allnodes", "ff02::1"},
	{"ip6-allrouters", "ff02::2"},
}

// Own returns the lines of a host that joins a network with these addresses:
// one an address, without the invalid ones, none if the host name is empty. A
// host name that holds its domain ("a.b.c" and no domain) is split at its first
// dot.
func Own(hostname, domainname string, addrs ...netip.Addr) []Record {
	if hostname == "" {
		return nil
	}
	names := hostname
	if domainname != "" {
		names = hostname + "." + domainname + " " + hostname
	} else if short, _, ok := strings.Cut(hostname, "."); ok && short != "" {
		names = hostname + " " + short
	}
	var recs []Record
	for _, addr := range addrs {
		if addr.IsValid() {
			recs = append(recs, Record{Hosts: names, IP: addr.WithZone("").String()})
		}
	}
	return recs
}

// Build makes the file at path, mode 0644, or replaces its content: the host's
// own line if ip is not empty, the six lines every file has, then extra.
func Build(path, ip, hostname, domainname string, extra []Record) error {
	recs := make([]Record, 0, 1+len(defaults)+len(extra))
	if ip != "" {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return types.BadRequestErrorf("hosts file %s: own address: %w", path, err)
		}
		recs = append(recs, Own(hostname, domainname, addr)...)
	}
	recs = append(append(recs, defaults[:]...), extra...)
	text, err := recordLines(path, recs)
	if err != nil {
		return err
	}
	defer paths.lock(path)()
	if err := inplace.WriteFile(path, text); err != nil {
		return fmt.Errorf("hosts file: %w", err)
	}
	return nil
}

// Copy makes the file at path, mode 0644, a copy of another file, or replaces its
// content. An origin that is missing is an error that satisfies
// errors.Is(err, fs.ErrNotExist).
func Copy(path, origin string) error {
	text, err := os.ReadFile(origin)
	if err != nil {
		return fmt.Errorf("hosts file: %w", err)
	}
	defer paths.lock(path)()
	if err := inplace.WriteFile(path, text); err != nil {
		return fmt.Errorf("hosts file: %w", err)
	}
	return nil
}

// Add appends a line for each record. Records without address or names are left
// out.
func Add(path string, recs []Record) error {
	added, err := recordLines(path, recs)
	if err != nil {
		return err
	}
	if len(added) == 0 {
		return nil
	}
	return edit(path, func(old []byte) []byte {
		text := slices.Clone(old)
		if n := len(text); n > 0 && text[n-1] != '\n' {
			text = append(text, '\n')
		}
		return append(text, added...)
	})
}

// Delete removes the lines whose names, all of them and in this order, are those
// of a record. A record with an address removes only lines with that address, so
// that the same host's lines for other networks stay. Blank lines go too, comments
// stay, except where the record's address begins with their #.
func Delete(path string, recs []Record) error {
	recs = slices.DeleteFunc(slices.Clone(recs), func(r Record) bool { return r.Hosts == "" })
	if len(recs) == 0 {
		return nil
	}
	return edit(path, func(old []byte) []byte {
		text := make([]byte, 0, len(old))
		for line := range strings.Lines(string(old)) {
			if bare := strings.TrimRight(line, "\r\n"); strings.TrimSpace(bare) != "" && !matches(bare, recs) {
				text = append(text, line...)
			}
		}
		return text
	})
}

func matches(line string, recs []Record) bool {
	return slices.ContainsFunc(recs, func(r Record) bool {
		ip, ok := strings.CutSuffix(line, "\t"+r.Hosts)
		return ok && (r.IP == "" && line[0] != '#' || strings.TrimSpace(ip) == strings.TrimSpace(r.IP))
	})
}

// Update gives the lines whose first name is hostname, alone or followed by its
// domain, the address ip.
func Update(path, ip, hostname string) error {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return types.BadRequestErrorf("hosts file %s: address of %q: %w", path, hostname, err)
	}
	if hostname == "" {
		return types.BadRequestErrorf("hosts file %s: host name is empty", path)
	}
	return edit(path, func(old []byte) []byte {
		text := make([]byte, 0, len(old)+16)
		for line := range strings.Lines(string(old)) {
			was, names, ok := strings.Cut(line, "\t")
			rest, first := strings.CutPrefix(names, hostname)
			if ok && first && line[0] != '#' && !strings.Contains(was, " ") && (rest == "" || strings.ContainsAny(rest[:1], " \t\r\n.")) {
				line = addr.String() + "\t" + names
			}
			text = append(text, line...)
		}
		return text
	})
}

// recordLines checks the records for the file at path and returns their lines.
func recordLines(path string, recs []Record) ([]byte, error) {
	var b []byte
	for _, r := range recs {
		if r.IP == "" || r.Hosts == "" {
			continue
		}
		if strings.ContainsAny(r.IP, "\n\r\t #\x00") || strings.ContainsAny(r.Hosts, "\n\r#\x00") {
			return nil, types.BadRequestErrorf("hosts file %s: entry %q for address %q would break its line", path, r.Hosts, r.IP)
		}
		b = append(b, r.IP+"\t"+r.Hosts+"\n"...)
	}
	return b, nil
}

// edit gives the file the text that change makes of its content.
func edit(path string, change func(old []byte) []byte) error {
	defer paths.lock(path)()
	err := inplace.Edit(path, change)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return types.NotFoundErrorf("hosts file: %w", err)
	case err != nil:
		return fmt.Errorf("hosts file: %w", err)
	}
	return nil
}
