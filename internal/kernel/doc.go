// Package kernel is the machine as the engine sees it: it makes and removes
// wanted objects with the packages of the kernel floor, finds after a start what
// is left of an earlier process, and lends sockets inside namespaces.
//
// What it makes carries the mark of its data directory: links their group, rules
// their table, namespaces their directory. It never changes or removes anything
// without that mark.
//
// All methods are safe for concurrent use, but for two calls about one object.
// One goroutine deletes links whose namespace lives on; Close ends it after its
// last deletion.
package kernel

import (
	"fmt"
	"hash/fnv"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/internal/firewalld"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/types"
)

// Group is the link group that marks the links of a data directory. It lies far
// from the small numbers that people use.
func Group(dataDir string) uint32 { return groupBase | hash(dataDir)&^groupBits }

// isGroup says whether a link group is that of a data directory.
func isGroup(g uint32) bool { return g&groupBits == groupBase }

// What the link groups of all data directories have in common.
const groupBase, groupBits = 0x6c000000, 0xff000000

// Table is the name of the firewall tables of a data directory.
func Table(dataDir string) string {
	if filepath.Clean(dataDir) == config.DefaultDataDir {
		return nft.DefaultTable
	}
	return nft.DefaultTable + "-" + strconv.FormatUint(uint64(hash(dataDir)), 16)
}

// Zone is the zone of firewalld that the bridges of a data directory are in, with the
// policy that lets others into it.
func Zone(dataDir string) firewalld.Zone {
	z := firewalld.Zone{
		Name: nft.DefaultTable, Policy: nft.DefaultTable + "-fwd",
		Description: "Made by libnetwork for the bridges of its networks in " + dataDir + ", removed with the last of them.",
	}
	if filepath.Clean(dataDir) != config.DefaultDataDir {
		// The name of the tables would be too long.
		z.Name = fmt.Sprintf("lnet-%08x", hash(dataDir))
		z.Policy = z.Name + "-fwd"
	}
	return z
}

// A Backend is a way to keep the firewall's rules in the kernel.
type Backend string

// The backends.
const (
	// Auto is NFTables where the kernel has it, else IPTablesLegacy.
	Auto     Backend = "auto"
	NFTables Backend = "nftables"
	// IPTables uses whatever program iptables-restore is.
	IPTables Backend = "iptables"
	// IPTablesNFT and IPTablesLegacy use one of its two variants.
	IPTablesNFT    Backend = "iptables-nft"
	IPTablesLegacy Backend = "iptables-legacy"
)

// Backends are all of them.
func Backends() []Backend { return []Backend{Auto, NFTables, IPTables, IPTablesNFT, IPTablesLegacy} }

// ParseBackend reads the name of a backend; the empty one is Auto. The error is of
// class BadRequest.
func ParseBackend(name string) (Backend, error) {
	if name == "" {
		return Auto, nil
	}
	if b := Backend(name); slices.Contains(Backends(), b) {
		return b, nil
	}
	return "", types.BadRequestErrorf("firewall backend %q is not known: there are %s", name, strings.Trim(fmt.Sprint(Backends()), "[]"))
}

func hash(dataDir string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(filepath.Clean(dataDir)))
	return h.Sum32()
}
