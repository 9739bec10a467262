package ipt

import (
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A stamp tells two states of a legacy table nat apart without a program being run: what the
// kernel says of it is how many rules it has, and how many bytes they take. Nothing else tells of
// a change by somebody else before the next look.
type stamp struct{ entries, size uint32 }

// getInfo asks for a legacy table (IPT_SO_GET_INFO and IP6T_SO_GET_INFO of
// linux/netfilter_ipv4/ip_tables.h and linux/netfilter_ipv6/ip6_tables.h).
const getInfo = 64

// info is struct ipt_getinfo, and struct ip6t_getinfo.
type info struct {
	name       [32]byte
	validHooks uint32
	hookEntry  [5]uint32
	underflow  [5]uint32
	stamp
}

// stampOf returns the stamp of a family, none for the variant nft, or without the table.
func (f *Firewall) stampOf(v6 bool) (s stamp, err error) {
	if f.variant != Legacy {
		return s, nil
	}
	family, level := unix.AF_INET, unix.SOL_IP
	if v6 {
		family, level = unix.AF_INET6, unix.SOL_IPV6
	}
	err = inside(f.ns, func() error {
		names, err := os.ReadFile(legacyTables(v6))
		if err != nil || !slices.Contains(strings.Fields(string(names)), tableNAT) {
			return err // the question would make the table
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		defer unix.Close(fd)
		var i info
		copy(i.name[:], tableNAT)
		size := uint32(unsafe.Sizeof(i))
		if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), getInfo,
			uintptr(unsafe.Pointer(&i)), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
			return os.NewSyscallError("getsockopt", errno)
		}
		s = i.stamp
		return nil
	})
	return s, err
}

// changed says whether somebody else has changed the table nat of a family since it was read, as
// far as its stamp tells. Where there is none, the rules stand as they were read.
func (f *Firewall) changed(i int) bool {
	now, err := f.stampOf(f.fams[i].v6)
	return err == nil && now != f.stamps[i]
}
