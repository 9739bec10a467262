package nstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// probes asks for each feature once a process.
var probes sync.Map // Feature -> func() error

// probe says why the feature cannot be used, nothing if it can, and whether
// that is because the kernel lacks it.
func probe(f Feature) (reason string, lacks bool) {
	if os.Geteuid() != 0 {
		return "the tests do not run as root", false
	}
	ask, _ := probes.LoadOrStore(f, sync.OnceValue(func() error {
		ns, err := newNS()
		if err != nil {
			return err
		}
		defer ns.f.Close()
		return ns.Do(func() error { return try(f) })
	}))
	err := ask.(func() error)()
	if err == nil {
		return "", false
	}
	return err.Error(), errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) ||
		errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, os.ErrNotExist)
}

// try uses the feature in the namespace of the calling thread.
func try(f Feature) error {
	lo := netlink.LinkAttrs{Name: "p0", ParentIndex: 1}
	switch f {
	case Root:
		return nil
	case IPv6:
		return stat("/proc/sys/net/ipv6")
	case Bridge:
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "p0"}})
	case Veth:
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "p0"}, PeerName: "p1"})
	case Dummy:
		return netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "p0"}})
	case VXLAN:
		return netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "p0"}, VxlanId: 1, Port: 4789})
	case Macvlan, IPvlan, VLAN:
		return tryUpper(f, lo)
	case NFTables:
		return trySocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
	case IPTablesNFT, IPTablesLegacy:
		return tryIPTables(string(f))
	case Firewalld:
		return tryPrograms("dbus-daemon", "firewalld", "firewall-cmd")
	case Systemd:
		return tryPrograms("/lib/systemd/systemd", "systemctl")
	case Conntrack:
		_, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		return err
	case BrNetfilter:
		return stat("/proc/sys/net/bridge/bridge-nf-call-iptables")
	case SCTP:
		return trySocket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)
	case XFRM:
		return trySocket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM)
	}
	return fmt.Errorf("no such feature: %q", f)
}

// tryUpper makes a link that needs another one below it: a veth.
func tryUpper(f Feature, a netlink.LinkAttrs) error {
	below := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "q0"}, PeerName: "q1"}
	if err := netlink.LinkAdd(below); err != nil {
		return err
	}
	a.ParentIndex = below.Index
	switch f {
	case Macvlan:
		return netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_BRIDGE})
	case IPvlan:
		return netlink.LinkAdd(&netlink.IPVlan{LinkAttrs: a, Mode: netlink.IPVLAN_MODE_L2})
	default:
		return netlink.LinkAdd(&netlink.Vlan{LinkAttrs: a, VlanId: 2})
	}
}

// tryIPTables runs one of the variants. Where the kernel knows no legacy tables, it
// says so by the error.
func tryIPTables(program string) error {
	out, err := exec.CommandContext(context.Background(), program, "-w", "-t", "nat", "-n", "-L").CombinedOutput()
	if err == nil {
		return nil
	}
	if missing := stat("/proc/net/ip_tables_names"); program == string(IPTablesLegacy) && missing != nil {
		return missing
	}
	return fmt.Errorf("%s: %w: %s", program, err, out)
}

func tryPrograms(names ...string) error {
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			return err
		}
	}
	return nil
}

func stat(path string) error {
	_, err := os.Stat(path)
	return err
}

func trySocket(family, kind, proto int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	return unix.Close(fd)
}
