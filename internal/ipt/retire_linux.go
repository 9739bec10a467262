package ipt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/nft"
)

// What another backend has left is looked for and taken away by means of the kernel:
// the programs with which it was made may not be there any more.

// Present says whether there are chains of a firewall of that name and variant in the
// namespace of the calling thread.
func Present(ctx context.Context, name string, v Variant) (bool, error) {
	if v == NFT {
		return nft.HasIPTables(ctx, familyOf(name, false).owns)
	}
	for _, v6 := range []bool{false, true} {
		f := familyOf(name, v6)
		for table, chains := range f.chains { // somebody may have flushed some
			there, err := f.legacyHas(table, chains)
			if err != nil || there {
				return there, err
			}
		}
	}
	return false, nil
}

// RetireNFT removes all that a firewall of the variant nft has left, and says whether
// there was anything. Only Name, NoOwner, Steps and Logger of the configuration count.
func RetireNFT(ctx context.Context, cfg Config) (removed bool, err error) {
	if err := retireLinks(ctx, cfg); err != nil {
		return false, err
	}
	// The chains go last: they are what is looked for.
	if err := cfg.Steps.Next("ipt: remove chains"); err != nil {
		return false, err
	}
	removed, leads, err := nft.RemoveIPTables(ctx, familyOf(cfg.Name, false).owns)
	for _, l := range leads {
		if owner, _, _ := cutLast(l.Comment); owner != strings.ToLower(cfg.Name) && cfg.Logger != nil {
			cfg.Logger.Warn("a rule of somebody else led to a chain of ours, and has gone with it", "table", l.Table, "chain", l.Chain, "to", l.To, "comment", l.Comment)
		}
	}
	return removed, err
}

func retireLinks(ctx context.Context, cfg Config) error {
	if nft.ProbeBridge() != nil {
		return nil
	}
	links, err := nft.Open(ctx, nft.Config{Table: linksTable(cfg.Name, NFT), NoOwner: cfg.NoOwner, Steps: cfg.Steps, Logger: cfg.Logger})
	if err != nil {
		return err
	}
	_, err = links.Reconcile(ctx, model.FirewallChange{}, model.FirewallGuard{})
	return errors.Join(err, links.Close())
}

// A FormerNFT takes redirects away that a [Redirector] of the variant nft has made.
type FormerNFT struct{}

// Remove takes the redirect away; there being none is no error.
func (FormerNFT) Remove(ctx context.Context, nsFD int) error {
	if _, err := nft.RemoveIPTablesIn(ctx, nsFD, redirectFamily().owns); err != nil {
		return fmt.Errorf("removing the redirect of the DNS port: %w", err)
	}
	return nil
}

// Socket options by which the legacy variant reads its tables
// (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h).
const (
	soGetInfo    = 64
	soGetEntries = 65
	tableName    = 32     // bytes of a table's name
	infoLen      = 21 * 4 // struct ipt_getinfo: the name, 12 numbers, and the size of entries
)

// entriesHead is what comes before the entries in struct ipt_get_entries: the name and the
// size, aligned like the counters of the first entry.
func entriesHead() int {
	if runtime.GOARCH == "386" {
		return 36 // where 64 bits are aligned to 32
	}
	return 40
}

// legacyHas looks for chains in a table. The head of a chain is an entry with the target
// ERROR that holds its name, between the target's revision, which is zero, and a zero.
func (f *family) legacyHas(table string, chains []string) (bool, error) {
	used, err := legacyUses(table, f.v6)
	if err != nil || !used {
		return false, err // to ask would make the table
	}
	domain, level := unix.AF_INET, unix.SOL_IP
	if f.v6 {
		domain, level = unix.AF_INET6, unix.SOL_IPV6
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return false, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	for {
		info := make([]byte, infoLen)
		copy(info, table)
		if err := getsockopt(fd, level, soGetInfo, info); err != nil {
			return false, err
		}
		size := binary.NativeEndian.Uint32(info[infoLen-4:])
		buf := make([]byte, entriesHead()+int(size))
		copy(buf, table)
		binary.NativeEndian.PutUint32(buf[tableName:], size)
		switch err := getsockopt(fd, level, soGetEntries, buf); {
		case errors.Is(err, unix.EAGAIN): // changed meanwhile
		case err != nil:
			return false, err
		default:
			return slices.ContainsFunc(chains, func(c string) bool {
				return bytes.Contains(buf[entriesHead():], []byte("\x00"+f.chain(c)+"\x00"))
			}), nil
		}
	}
}

func getsockopt(fd, level, option int, buf []byte) error {
	size := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return os.NewSyscallError("getsockopt", errno)
	}
	return nil
}
